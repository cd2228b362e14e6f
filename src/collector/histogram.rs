//! One distribution of durations: HdrHistogram's buckets, with exact minimum, maximum and sum.
//!
//! `quantile` computes percentiles, `codec` encodes distributions for files, and `wire` for other processes.
//!
//! # Decisions
//! - smtpress keeps the counts itself, in the buckets of HdrHistogram (three significant digits), and uses the library's
//!   histogram only for its tables of percentiles. Each message adds eight values. In the library's growing histogram they cost
//!   more than the rest of the accounting, and to clear or merge a histogram the library visits 170 kB, while the values
//!   fill a tenth of it.
//! - Only the buckets between minimum and maximum can hold values; other buckets are not visited.

mod codec;
mod quantile;
mod wire;

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

pub use codec::{DecodeError, Encoder};
pub use quantile::{Quantile, Status, needed, rank};

const SIGNIFICANT_DIGITS: u8 = 3;
/// The number of buckets for each power of two. Each value below twice this number has its own bucket.
const OCTAVE: usize = 1024;

/// A distribution of durations in nanoseconds, with an error of at most 0.1 % (M16). It records any value (M14).
#[derive(Clone, Debug)]
pub struct Hist {
    /// The counts by bucket, from bucket `first` on: whole groups of [`OCTAVE`] buckets, from the least to the greatest
    /// value ever added.
    counts: Vec<u64>,
    first: usize,
    total: u64,
    min: u64,
    max: u64,
    sum: u128,
}

impl Default for Hist {
    fn default() -> Self {
        Hist { counts: Vec::new(), first: 0, total: 0, min: u64::MAX, max: 0, sum: 0 }
    }
}

impl Hist {
    /// Adds one value, in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        *self.at(bucket(ns)) += 1;
        self.total += 1;
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        self.sum += u128::from(ns);
    }

    /// Adds one duration.
    pub fn time(&mut self, length: Duration) {
        let seconds = length.as_secs().saturating_mul(1_000_000_000);
        self.record(seconds.saturating_add(u64::from(length.subsec_nanos())));
    }

    /// Adds all values of `other`, count by count (M17).
    pub fn merge(&mut self, other: &Hist) {
        let filled = other.filled();
        if filled.is_empty() {
            return;
        }
        self.reach(filled.clone());
        let from = filled.start - self.first;
        for (own, other) in self.counts[from..].iter_mut().zip(other.held(filled)) {
            *own = own.saturating_add(*other);
        }
        self.total = self.total.saturating_add(other.total);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Removes every value and keeps the memory.
    pub fn clear(&mut self) {
        let (filled, first) = (self.filled(), self.first);
        let mut counts = std::mem::take(&mut self.counts);
        if !filled.is_empty() {
            counts[filled.start - first..filled.end - first].fill(0);
        }
        *self = Hist { counts, first, ..Hist::default() };
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Whether the distribution holds no value.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Returns the exact least value; 0 without values.
    pub fn min_ns(&self) -> u64 {
        if self.is_empty() { 0 } else { self.min }
    }

    /// Returns the exact greatest value; 0 without values.
    pub fn max_ns(&self) -> u64 {
        self.max
    }

    /// Returns the greatest value of the bucket of the greatest value, which is what readers of the encoding see; 0
    /// without values.
    pub fn max_read(&self) -> u64 {
        if self.is_empty() { 0 } else { greatest(bucket(self.max)) }
    }

    /// Returns the exact sum.
    pub fn sum_ns(&self) -> u128 {
        self.sum
    }

    /// Returns the exact mean; 0 without values.
    pub fn mean_ns(&self) -> f64 {
        if self.is_empty() { 0.0 } else { self.sum as f64 / self.count() as f64 }
    }

    /// Returns the filled buckets in rising order, as (greatest value of the bucket, count), for charts and tables.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = self.filled();
        let counts = filled.clone().zip(self.held(filled));
        counts.filter(|(_, count)| **count > 0).map(|(bucket, count)| (greatest(bucket), *count))
    }

    /// Returns the number of values that are certainly greater than `ns`. Of the bucket of `ns` only the least and the
    /// greatest value of the distribution are known.
    pub fn above(&self, ns: u64) -> u64 {
        if self.min_ns() > ns {
            return self.count();
        }
        let beyond = self.buckets().filter(|(greatest, _)| least_read_as(*greatest) > ns);
        beyond.map(|(_, count)| count).sum::<u64>().max(u64::from(self.max_ns() > ns))
    }

    /// Converts to the library's histogram, for writers of HdrHistogram's own formats.
    pub fn to_hdr(&self) -> Histogram<u64> {
        // The bound is as low as possible, because the library visits every bucket below it.
        let mut hdr = Histogram::new_with_bounds(1, self.max_read().max(2), SIGNIFICANT_DIGITS)
            .expect("the greatest value is at least twice the least");
        for (value, count) in self.buckets() {
            hdr.record_n(value, count).expect("no value is above the greatest");
        }
        hdr
    }

    /// Returns the buckets from the least to the greatest value.
    fn filled(&self) -> Range<usize> {
        if self.is_empty() { 0..0 } else { bucket(self.min)..bucket(self.max) + 1 }
    }

    /// Returns the counts of a range of the filled buckets.
    fn held(&self, filled: Range<usize>) -> &[u64] {
        if filled.is_empty() { &[] } else { &self.counts[filled.start - self.first..filled.end - self.first] }
    }

    /// Returns the count of a bucket, and makes room for it if needed.
    fn at(&mut self, bucket: usize) -> &mut u64 {
        // For a bucket below the first, the difference wraps to a huge number.
        if bucket.wrapping_sub(self.first) >= self.counts.len() {
            self.reach(bucket..bucket + 1);
        }
        &mut self.counts[bucket - self.first]
    }

    /// Makes room for these buckets.
    #[cold]
    fn reach(&mut self, wanted: Range<usize>) {
        let (mut first, mut end) = (wanted.start / OCTAVE * OCTAVE, wanted.end.next_multiple_of(OCTAVE));
        if !self.counts.is_empty() {
            (first, end) = (first.min(self.first), end.max(self.first + self.counts.len()));
        }
        if end - first > self.counts.len() {
            // A new allocation and not a resize, because zeroed pages take no memory before their first use.
            let mut counts = vec![0; end - first];
            let filled = self.filled();
            if !filled.is_empty() {
                counts[filled.start - first..filled.end - first].copy_from_slice(self.held(filled));
            }
            (self.counts, self.first) = (counts, first);
        }
    }
}

impl PartialEq for Hist {
    fn eq(&self, other: &Hist) -> bool {
        let exact = |hist: &Hist| (hist.total, hist.min, hist.max, hist.sum);
        exact(self) == exact(other) && self.held(self.filled()) == other.held(other.filled())
    }
}

/// Returns the number of the bucket of a value, as in HdrHistogram. The value 0 belongs to the bucket of 1.
fn bucket(ns: u64) -> usize {
    let octave = ns.max(OCTAVE as u64).ilog2() - OCTAVE.ilog2();
    (ns.max(1) >> octave) as usize + octave as usize * OCTAVE
}

/// Returns the greatest value of a bucket.
fn greatest(bucket: usize) -> u64 {
    least(bucket) + ((1 << octave(bucket)) - 1)
}

/// Returns the least value of a bucket.
fn least(bucket: usize) -> u64 {
    let octave = octave(bucket);
    ((bucket - octave * OCTAVE) as u64) << octave
}

fn octave(bucket: usize) -> usize {
    (bucket / OCTAVE).saturating_sub(1)
}

/// Returns the least true value of a percentile that reads `ns`: the least value of the bucket. A reading that is not the
/// greatest value of a bucket is an exact minimum or maximum.
pub fn least_read_as(ns: u64) -> u64 {
    let bucket = bucket(ns);
    if ns == greatest(bucket) { least(bucket) } else { ns }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Random values, evenly over all orders of magnitude.
        #[test]
        fn m16_buckets_are_those_of_the_library(ns in any::<u64>(), shift in 0_u32..64) {
            let (ns, mut library) = ((ns >> shift).max(1), Histogram::<u64>::new(SIGNIFICANT_DIGITS).unwrap());
            library.auto(true);
            library.record(ns).unwrap();
            let mut ours = Hist::default();
            ours.record(ns);
            let theirs: Vec<_> =
                library.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
            prop_assert_eq!(ours.buckets().collect::<Vec<_>>(), theirs);
            prop_assert_eq!(greatest(bucket(ns)), library.highest_equivalent(ns));
        }

        #[test]
        fn what_is_cleared_is_as_new_wherever_its_values_lay(
            before in proptest::collection::vec(any::<u64>(), 0..50),
            after in proptest::collection::vec(0_u64..10_000, 0..50),
        ) {
            let (mut used, mut new) = (Hist::default(), Hist::default());
            before.iter().for_each(|ns| used.record(*ns >> (*ns % 64)));
            used.clear();
            prop_assert!(used.is_empty() && used.counts.iter().all(|count| *count == 0));
            after.iter().for_each(|ns| (used.record(*ns), new.record(*ns)).0);
            prop_assert_eq!(used, new);
        }
    }

    #[test]
    fn m14_any_duration_is_filed() {
        let mut hist = Hist::default();
        // Zero, a nanosecond, a minute, a year, and the greatest values of 64 bits.
        let values = [0, 1, 60_000_000_000, 31_536_000_000_000_000, u64::MAX / 2, u64::MAX];
        for (number, ns) in (1..).zip(values) {
            hist.record(ns);
            assert_eq!((hist.count(), hist.max_ns()), (number, ns));
        }
        let mut both = Hist::default();
        both.record(7);
        both.merge(&hist);
        assert_eq!((both.count(), both.min_ns(), both.max_ns()), (7, 0, u64::MAX));
    }
}
