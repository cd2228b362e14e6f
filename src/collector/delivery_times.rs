//! Transit and delivery times by the second of the delivery, for the seconds of a run that is joined with a delivery
//! log.
//!
//! # Decisions
//! - A second that has passed is packed in the encoding of stored distributions: an hour of 1,000 deliveries a second
//!   takes some 30 MB. A log of two receivers may return to a packed second; then the new times are added to it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Metric;
use super::histogram::Hist;

/// The metrics that are kept.
pub const TIMES: [Metric; 2] = [Metric::Transit, Metric::Delivery];
/// The largest number of seconds that stay unpacked.
const OPEN: usize = 3;

/// The times of one phase's recipients, by the second of the delivery.
#[derive(Clone, Debug, Default)]
pub struct TimesBySecond {
    open: BTreeMap<u64, [Hist; 2]>,
    packed: BTreeMap<u64, PackedTimes>,
}

/// The encoded distributions of one second, in the order of [`TIMES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedTimes([String; 2]);

impl PackedTimes {
    /// Encodes distributions. The encoding depends on the counts of the buckets only, so the result does not depend on
    /// whether a second was packed in one part or in several.
    fn of(times: [Hist; 2]) -> PackedTimes {
        PackedTimes(times.map(|hist| hist.encode()))
    }

    /// Returns the decoded distributions.
    pub fn hists(&self) -> [Hist; 2] {
        [&self.0[0], &self.0[1]].map(|text| decoded(text))
    }
}

/// Decodes a distribution that this program encoded.
fn decoded(text: &str) -> Hist {
    Hist::decode(text).unwrap_or_default()
}

impl TimesBySecond {
    /// Adds the times of one recipient, in the order of [`TIMES`]. `at`: its delivery, since the run's epoch.
    pub fn add(&mut self, at: Duration, times: [Duration; 2]) {
        let hists = self.open.entry(at.as_secs()).or_default();
        hists.iter_mut().zip(times).for_each(|(hist, time)| hist.time(time));
        while self.open.len() > OPEN
            && let Some((second, times)) = self.open.pop_first()
        {
            pack(&mut self.packed, second, times);
        }
    }

    /// Returns all seconds in packed form.
    pub fn packed(&self) -> BTreeMap<u64, PackedTimes> {
        let mut packed = self.packed.clone();
        self.open.iter().for_each(|(second, times)| pack(&mut packed, *second, times.clone()));
        packed
    }
}

fn pack(packed: &mut BTreeMap<u64, PackedTimes>, second: u64, mut times: [Hist; 2]) {
    if let Some(known) = packed.get(&second) {
        times.iter_mut().zip(known.hists()).for_each(|(hist, known)| hist.merge(&known));
    }
    packed.insert(second, PackedTimes::of(times));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_deliveries_makes_no_difference_and_each_is_counted() {
        let at = |n: u64| Duration::from_millis(n * 37 % 9_000);
        let times = |n: u64| [Duration::from_micros(n * 91), Duration::from_micros(n * 91 + 700)];
        let of = |order: &mut dyn Iterator<Item = u64>| {
            let mut all = TimesBySecond::default();
            order.for_each(|n| all.add(at(n), times(n)));
            assert!(all.open.len() <= OPEN);
            all.packed()
        };
        let forward = of(&mut (0..300));
        assert_eq!(forward, of(&mut (0..300).rev()));
        let mut by_time: Vec<u64> = (0..300).collect();
        by_time.sort_by_key(|n| at(*n));
        assert_eq!(forward, of(&mut by_time.into_iter()));
        let counts: Vec<u64> = forward.values().map(|packed| packed.hists()[0].count()).collect();
        assert_eq!((counts.iter().sum::<u64>(), counts.len()), (300, 9));
        let plain = (0..300).filter(|n| at(*n).as_secs() == 4).map(|n| times(n)[1].as_nanos());
        let [_, delivery] = forward[&4].hists();
        // The encoding keeps three significant digits.
        let most = plain.max().unwrap() as f64;
        assert!((delivery.max_ns() as f64 / most - 1.0).abs() < 1e-3, "{} of {most}", delivery.max_ns());
    }
}
