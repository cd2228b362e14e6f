//! What each address of the target got: counted, added over shards, and in words.

use super::format;
use super::stored::{Address, StoredPhase};
use crate::collector::histogram::{Hist, Status};
use crate::collector::snapshot::Measured;

/// What all addresses after the hundredth are called together.
const OTHERS: &str = "others";

/// The addresses of a phase.
pub(super) fn of_phase(measured: &Measured, index: usize) -> Vec<Address> {
    let Some(tally) = measured.tally.phases.get(index) else { return Vec::new() };
    let row = |(address, count): (&Option<std::net::SocketAddr>, &_)| {
        let name = address.map_or_else(|| OTHERS.to_owned(), |address| address.to_string());
        let crate::collector::tally::AddressCount { sessions, failures, connect } = count;
        with_times(
            Address { address: name, sessions: *sessions, failures: *failures, ..Address::default() },
            connect,
        )
    };
    tally.addresses.iter().map(row).collect()
}

/// The addresses of one shard's phase, added to those of the others.
pub(super) fn add(sum: &mut Vec<Address>, part: &[Address]) {
    for part in part {
        let Some(own) = sum.iter_mut().find(|own| own.address == part.address) else {
            sum.push(part.clone());
            continue;
        };
        own.sessions += part.sessions;
        own.failures += part.failures;
        let times = |address: &Address| address.hdr_base64.as_deref().map(Hist::decode);
        let merged = match (times(own), times(part)) {
            (None, None) => Some(Hist::default()),
            (Some(Ok(one)), None) | (None, Some(Ok(one))) => Some(one),
            (Some(Ok(mut one)), Some(Ok(other))) => {
                one.merge(&other);
                Some(one)
            }
            // What cannot be read leaves the median unknown: medians are not averaged (M17).
            _ => None,
        };
        *own = with_times(own.clone(), &merged.unwrap_or_default());
    }
}

fn with_times(address: Address, connect: &Hist) -> Address {
    let median = connect.quantiles(&[0.5]).first().copied();
    Address {
        connect_p50_ns: median.filter(|p50| p50.status != Status::NotAvailable).map(|p50| p50.value_ns),
        hdr_base64: (!connect.is_empty()).then(|| connect.encode()),
        ..address
    }
}

/// Which address got what, in words; `None` where it goes without saying: all sessions at one address.
pub(super) fn in_words(phase: &StoredPhase) -> Option<String> {
    let is_plain = phase.addresses.len() < 2 && phase.addresses.iter().all(|address| address.failures == 0);
    if is_plain {
        return None;
    }
    let row = |address: &Address| {
        let mut words = format!("{}: {}", address.address, format::counted(address.sessions, "session"));
        if address.failures > 0 {
            words.push_str(&format!(", {} failed to connect", format::count(address.failures)));
        }
        if let Some(p50) = address.connect_p50_ns {
            words.push_str(&format!(", connect p50 {}", format::duration(p50 as f64)));
        }
        words
    };
    Some(phase.addresses.iter().map(row).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::snapshot::{Gauges, Health};
    use crate::collector::tally::{AddressCount, Tally};

    fn measured(addresses: &[(&str, u64, u64, &[u64])]) -> Measured {
        let mut tally = Tally::new(1);
        for (address, sessions, failures, times) in addresses {
            let mut connect = Hist::default();
            times.iter().for_each(|ns| connect.record(*ns));
            let count = AddressCount { sessions: *sessions, failures: *failures, connect };
            tally.phases[0].addresses.insert(address.parse().ok(), count);
        }
        Measured {
            tally,
            windows: Vec::new(),
            held_back: Vec::new(),
            drained_for: Vec::new(),
            began_at: std::time::Duration::ZERO,
            work: Vec::new(),
            starts: Vec::new(),
            gauges: Gauges::default(),
            peak_sessions: Vec::new(),
            health: Health::default(),
            interrupted: false,
            aborted_by: None,
            took: std::time::Duration::ZERO,
            transcripts: Vec::new(),
        }
    }

    #[test]
    fn shards_add_up_to_what_one_machine_would_have_measured() {
        let (one, other): (Vec<u64>, Vec<u64>) = ((1..=40).collect(), (100..=150).collect());
        let union: Vec<u64> = one.iter().chain(&other).copied().collect();
        let mut sum = of_phase(&measured(&[("127.0.0.1:25", 40, 1, &one), ("[::1]:25", 0, 3, &[])]), 0);
        add(&mut sum, &of_phase(&measured(&[("127.0.0.1:25", 51, 2, &other), ("[::2]:25", 0, 1, &[])]), 0));
        let whole = of_phase(
            &measured(&[("127.0.0.1:25", 91, 3, &union), ("[::1]:25", 0, 3, &[]), ("[::2]:25", 0, 1, &[])]),
            0,
        );
        assert_eq!(sum, whole);
        assert!(whole[0].connect_p50_ns.is_some_and(|p50| p50 >= 100));
        sum[0].hdr_base64 = Some("broken".to_owned());
        add(&mut sum, &whole);
        assert_eq!((sum[0].sessions, sum[0].connect_p50_ns), (182, None));
    }

    #[test]
    fn a_median_needs_its_values_and_the_rest_has_a_name() {
        let rows = of_phase(&measured(&[("127.0.0.1:25", 3, 0, &[1, 2, 3]), ("", 7, 0, &[5; 7])]), 0);
        assert_eq!((rows[0].address.as_str(), rows[0].connect_p50_ns), (OTHERS, Some(5)));
        assert_eq!((rows[1].sessions, rows[1].connect_p50_ns), (3, None), "M18");
    }
}
