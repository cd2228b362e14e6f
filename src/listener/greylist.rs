//! A greylist (RFC 6647): a recipient is deferred until a time has passed since its first attempt.
//!
//! # Decisions
//! - A triplet is client address, sender and recipient (RFC 6647 2.4). Each triplet is remembered until the listener
//!   stops, in an entry of 24 bytes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The key by which a recipient of a message is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Triplet(u64);

impl Triplet {
    /// Creates the key of an attempt. All clients without an address (on a unix socket) count as the same client.
    pub fn new(client: Option<IpAddr>, sender: &str, recipient: &str) -> Triplet {
        let of_client = client.map_or(0, |address| xxh3_64_with_seed(address.to_string().as_bytes(), 0));
        let of_sender = xxh3_64_with_seed(sender.as_bytes(), of_client);
        Triplet(xxh3_64_with_seed(recipient.as_bytes(), of_sender))
    }
}

/// The triplets that were seen.
#[derive(Debug)]
pub(super) struct Greylist {
    delay: Duration,
    seen: Mutex<HashMap<Triplet, Instant>>,
}

impl Greylist {
    /// Returns a greylist that defers for this long.
    pub fn new(delay: Duration) -> Greylist {
        Greylist { delay, seen: Mutex::default() }
    }

    /// Whether a recipient that is named at `now` is deferred.
    pub fn defers(&self, now: Instant, triplet: Triplet) -> bool {
        // A panic of another session leaves at most one additional entry.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.entry(triplet) {
            Entry::Vacant(entry) => {
                entry.insert(now);
                true
            }
            Entry::Occupied(first) => now.saturating_duration_since(*first.get()) < self.delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the origin of a virtual clock")]
    fn the_time_counts_from_the_first_attempt_of_the_same_client_sender_and_recipient() {
        let (start, list) = (Instant::now(), Greylist::new(Duration::from_secs(300)));
        let host = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let at = |seconds: u64, client, sender: &str, recipient: &str| {
            list.defers(start + Duration::from_secs(seconds), Triplet::new(client, sender, recipient))
        };
        assert!(at(0, host(1), "a@s.example", "a@r.example"));
        assert!(at(299, host(1), "a@s.example", "a@r.example"), "an early attempt does not begin anew");
        assert!(at(299, host(2), "a@s.example", "a@r.example"), "another client");
        assert!(at(299, host(1), "b@s.example", "a@r.example"), "another sender");
        assert!(at(299, host(1), "a@s.example", "b@r.example"), "another recipient");
        assert!(at(299, None, "a@s.example", "a@r.example"), "a client without an address");
        assert!(!at(300, host(1), "a@s.example", "a@r.example"));
        assert!(!at(301, host(1), "a@s.example", "a@r.example"), "it is known from then on");
    }
}
