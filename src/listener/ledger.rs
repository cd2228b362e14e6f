//! The ledger of the embedded listener: its own counts, independent of the generator's.
//!
//! # Decisions
//! - A message counts as delivered when its 250 is queued for writing. So, whatever fails between both sides, the
//!   generator's counts must satisfy accepted <= delivered <= accepted + in doubt.
//! - With LMTP a message counts as delivered if the 250 for each of its accepted recipients is queued, as on the
//!   client's side. Each recipient also counts separately.
//! - The digest of the delivered messages is a sum, so it is the same for any order and number of threads.
//! - Locks are taken when a connection opens and closes and when a message ends, and are held for a few additions.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::dialects::Saying;
use super::limits::{Limits, RateLimit};
use crate::smtp::script::TlsMode;

/// The counts of the listener so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerSnapshot {
    /// Connections taken from the kernel, including the refused ones.
    pub connections: u64,
    /// Connections refused by a limit or the server's state, before or in place of the greeting.
    pub refused_connections: u64,
    /// Sessions being served now.
    pub sessions: u64,
    /// The most sessions served at once.
    pub sessions_peak: u64,
    /// The most sessions served at once from one client address.
    pub host_sessions_peak: u64,
    /// Delivered messages: the 250 after the content was queued for writing; with LMTP, the 250 for every accepted
    /// recipient.
    pub messages: u64,
    /// Recipients of the delivered messages. With LMTP a recipient counts even if the message was refused for other
    /// recipients.
    pub recipients: u64,
    /// Bytes of content of the delivered messages, without dot stuffing.
    pub content_bytes: u64,
    /// Bytes read from all connections, without PROXY headers.
    pub received_bytes: u64,
    /// Bytes written to all connections.
    pub sent_bytes: u64,
    /// TLS handshakes that were completed.
    pub tls_handshakes: u64,
    /// Handshakes that resumed an earlier session.
    pub tls_resumed: u64,
    /// TLS handshakes that failed or were given up, including clear text in their place.
    pub tls_failed: u64,
    /// The most TLS sessions at once.
    pub tls_sessions_peak: u64,
    /// Failures to accept a connection, mostly for lack of a free descriptor.
    pub accept_errors: u64,
    /// Successful logins (RFC 4954): the 235 was queued for writing.
    pub logins: u64,
    /// Failed logins.
    pub failed_logins: u64,
    /// The logins by user.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub logins_by_user: BTreeMap<String, u64>,
    /// Refusals by the name of their condition. `forced` counts the profile's own replies, and `proxy-header` the
    /// connections that were closed because their PROXY header was missing, malformed or late.
    pub refused: BTreeMap<String, u64>,
    /// The sum of the digests of the delivered messages, 32 hexadecimal digits.
    pub digest: String,
}

/// The counters that all threads of the listener share.
#[derive(Debug, Default)]
pub(super) struct LedgerCounts {
    open: Mutex<ServedSessions>,
    delivered: Mutex<DeliveredCounts>,
    message_tokens: Mutex<TokenBucket>,
    in_flight: AtomicU32,
    queued: AtomicU64,
    refused: Vec<AtomicU64>,
    forced: AtomicU64,
    tls_sessions: AtomicU64,
    tls_peak: AtomicU64,
    tls_handshakes: AtomicU64,
    tls_resumed: AtomicU64,
    tls_failed: AtomicU64,
    bad_headers: AtomicU64,
    /// Bytes read.
    pub received: AtomicU64,
    /// Bytes written.
    pub sent: AtomicU64,
    /// Failures to accept.
    pub accept_errors: AtomicU64,
}

#[derive(Debug, Default)]
struct ServedSessions {
    connections: u64,
    refused: u64,
    sessions: u64,
    peak: u64,
    host_peak: u64,
    hosts: HashMap<IpAddr, u64>,
    tokens: TokenBucket,
}

#[derive(Debug, Default)]
struct DeliveredCounts {
    messages: u64,
    recipients: u64,
    content_bytes: u64,
    digest: u128,
}

impl LedgerCounts {
    /// Creates counts that are all zero.
    pub fn new() -> LedgerCounts {
        let refused = Saying::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        LedgerCounts { refused, ..LedgerCounts::default() }
    }

    /// Counts a connection.
    pub fn arrive(&self) {
        lock(&self.open).connections += 1;
    }

    /// Takes a place for the session of a connection. `host` is the address for the limits of one host; `None` if these
    /// limits do not count the session.
    ///
    /// # Errors
    /// The reply if a limit is exceeded. Then no place is taken.
    pub fn open(&self, now: Instant, host: Option<IpAddr>, limits: &Limits) -> Result<(), Saying> {
        let mut open = lock(&self.open);
        let refusal = if limits.connection_rate.is_some_and(|rate| !open.tokens.take(now, rate)) {
            Some(Saying::ConnectionRate)
        } else if host.is_some_and(|host| over(limits.max_connections_per_host, open.from(host))) {
            Some(Saying::TooManyFromHost)
        } else if over(limits.max_connections, open.sessions) {
            Some(Saying::TooManyToHost)
        } else if over(limits.max_connections_per_listener, open.sessions) {
            Some(Saying::TooManyToListener)
        } else if limits.tls == TlsMode::Implicit && !self.open_tls(limits.max_tls_sessions) {
            Some(Saying::TooManyTlsSessions)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            open.refused += 1;
            return Err(refusal);
        }
        open.sessions += 1;
        open.peak = open.peak.max(open.sessions);
        open.enter(host);
        Ok(())
    }

    /// Moves the place of a session from the host `from` to the announced host `to`.
    ///
    /// # Errors
    /// The reply if `to` has too many sessions. Then the place is released.
    pub fn change_host(&self, from: Option<IpAddr>, to: IpAddr, limits: &Limits) -> Result<(), Saying> {
        let mut open = lock(&self.open);
        open.leave(from);
        if over(limits.max_connections_per_host, open.from(to)) {
            open.sessions -= 1;
            open.refused += 1;
            return Err(Saying::TooManyFromHost);
        }
        open.enter(Some(to));
        Ok(())
    }

    /// Counts a connection that was closed because its PROXY header was missing, malformed or late.
    pub fn refuse_header(&self) {
        self.bad_headers.fetch_add(1, Relaxed);
        self.arrive();
        self.turn_away();
    }

    /// Counts a connection that is refused without a limit: the service is not available, the licence has expired, or
    /// the PROXY header is faulty.
    pub fn turn_away(&self) {
        lock(&self.open).refused += 1;
    }

    /// Releases the place of a session.
    pub fn close(&self, host: Option<IpAddr>) {
        let mut open = lock(&self.open);
        open.sessions -= 1;
        open.leave(host);
    }

    /// Takes a place for a TLS session, if fewer than `limit` are open.
    pub fn open_tls(&self, limit: Option<u32>) -> bool {
        let within = |n: u64| limit.is_none_or(|limit| n < u64::from(limit)).then_some(n + 1);
        let taken = self.tls_sessions.fetch_update(Relaxed, Relaxed, within);
        taken.map(|before| self.tls_peak.fetch_max(before + 1, Relaxed)).is_ok()
    }

    /// Releases the place of a TLS session.
    pub fn close_tls(&self) {
        self.tls_sessions.fetch_sub(1, Relaxed);
    }

    /// Counts a complete handshake.
    pub fn handshake(&self, resumed: bool) {
        self.tls_handshakes.fetch_add(1, Relaxed);
        self.tls_resumed.fetch_add(u64::from(resumed), Relaxed);
    }

    /// Counts a failed handshake.
    pub fn handshake_failed(&self) {
        self.tls_failed.fetch_add(1, Relaxed);
    }

    /// Takes a token for a message. Returns whether the rate allows the message.
    pub fn take_message_token(&self, now: Instant, rate: RateLimit) -> bool {
        lock(&self.message_tokens).take(now, rate)
    }

    /// Starts a transaction, if fewer than `limit` are in progress.
    pub fn begin(&self, limit: u32) -> bool {
        self.in_flight.fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// Ends a transaction that was started.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Whether the queue holds `limit` messages.
    pub fn is_full(&self, limit: u64) -> bool {
        self.queued.load(Relaxed) >= limit
    }

    /// Takes a place in a queue of `limit`.
    pub fn enqueue(&self, limit: u64) -> bool {
        self.queued.fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// Releases a place in the queue, because the message was not delivered.
    pub fn dequeue(&self) {
        self.queued.fetch_sub(1, Relaxed);
    }

    /// Counts a delivered message.
    pub fn deliver(&self, recipients: u64, content_bytes: u64, digest: u128) {
        let mut delivered = lock(&self.delivered);
        delivered.messages += 1;
        delivered.recipients += recipients;
        delivered.content_bytes += content_bytes;
        delivered.digest = delivered.digest.wrapping_add(digest);
    }

    /// Counts a message that was delivered to some of its recipients only (LMTP).
    pub fn deliver_partly(&self, recipients: u64) {
        if recipients > 0 {
            lock(&self.delivered).recipients += recipients;
        }
    }

    /// Counts a refusal; `None` for a reply forced by the profile.
    pub fn refuse(&self, saying: Option<Saying>) {
        saying.map_or(&self.forced, |saying| &self.refused[saying as usize]).fetch_add(1, Relaxed);
    }

    /// Returns all counts so far, without the logins.
    pub fn snapshot(&self) -> LedgerSnapshot {
        let mut refused = BTreeMap::new();
        let named = Saying::ALL.iter().filter_map(|saying| {
            Some((saying.condition()?.as_str(), self.refused[*saying as usize].load(Relaxed)))
        });
        let others =
            [("forced", self.forced.load(Relaxed)), ("proxy-header", self.bad_headers.load(Relaxed))];
        for (name, count) in named.chain(others) {
            if count > 0 {
                *refused.entry(name.to_owned()).or_default() += count;
            }
        }
        let open = lock(&self.open);
        let delivered = lock(&self.delivered);
        LedgerSnapshot {
            connections: open.connections,
            refused_connections: open.refused,
            sessions: open.sessions,
            sessions_peak: open.peak,
            host_sessions_peak: open.host_peak,
            messages: delivered.messages,
            recipients: delivered.recipients,
            content_bytes: delivered.content_bytes,
            received_bytes: self.received.load(Relaxed),
            sent_bytes: self.sent.load(Relaxed),
            tls_handshakes: self.tls_handshakes.load(Relaxed),
            tls_resumed: self.tls_resumed.load(Relaxed),
            tls_failed: self.tls_failed.load(Relaxed),
            tls_sessions_peak: self.tls_peak.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            refused,
            digest: format!("{:032x}", delivered.digest),
            ..LedgerSnapshot::default()
        }
    }
}

impl ServedSessions {
    /// Returns the number of sessions from one host.
    fn from(&self, host: IpAddr) -> u64 {
        self.hosts.get(&host).copied().unwrap_or(0)
    }

    fn enter(&mut self, host: Option<IpAddr>) {
        let Some(host) = host else { return };
        let sessions = self.hosts.entry(host).or_default();
        *sessions += 1;
        self.host_peak = self.host_peak.max(*sessions);
    }

    fn leave(&mut self, host: Option<IpAddr>) {
        let Some(host) = host else { return };
        if let Some(sessions) = self.hosts.get_mut(&host) {
            *sessions -= 1;
            if *sessions == 0 {
                self.hosts.remove(&host);
            }
        }
    }
}

fn over(limit: Option<u32>, sessions: u64) -> bool {
    limit.is_some_and(|limit| sessions >= u64::from(limit))
}

/// Locks a mutex. The counts stay valid after a panic of another thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token bucket, which is full at the start.
#[derive(Debug, Default)]
struct TokenBucket {
    /// The number of tokens at the time of the last request, and that time; `None` before the first request.
    level: Option<(f64, Instant)>,
}

impl TokenBucket {
    fn take(&mut self, now: Instant, rate: RateLimit) -> bool {
        let burst = f64::from(rate.burst);
        let tokens = self.level.map_or(burst, |(tokens, then)| {
            let refilled = now.saturating_duration_since(then).as_secs_f64() * rate.per_second;
            (tokens + refilled).min(burst)
        });
        let well = tokens >= 1.0;
        self.level = Some((if well { tokens - 1.0 } else { tokens }, now));
        well
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the origin of a virtual clock")]
    fn a_bucket_lets_its_burst_through_and_then_its_rate() {
        let start = Instant::now();
        let rate = RateLimit { per_second: 2.0, burst: 3 };
        let mut bucket = TokenBucket::default();
        let mut take = |ms| bucket.take(start + Duration::from_millis(ms), rate);
        assert_eq!([take(0), take(0), take(0), take(0)], [true, true, true, false]);
        assert_eq!([take(499), take(500), take(501)], [false, true, false]);
        assert_eq!([take(60_000), take(60_000), take(60_000), take(60_000)], [true, true, true, false]);
    }
}
