//! One distribution of durations: an HDR histogram with exact minimum, maximum and sum beside it.
//!
//! How percentiles are read from it is the business of `quantile`, how it is stored that of `codec`.

mod codec;
mod quantile;

use hdrhistogram::Histogram;

pub use codec::DecodeError;
pub use quantile::{Quantile, Status, needed, rank};

const SIGNIFICANT_DIGITS: u8 = 3;

/// Durations in nanoseconds with three significant digits (error at most 0.1 %, M16); grows as needed, never clips (M14).
#[derive(Clone, Debug, PartialEq)]
pub struct Hist {
    inner: Histogram<u64>,
    min: u64,
    max: u64,
    sum: u128,
    clipped: u64,
}

impl Default for Hist {
    fn default() -> Self {
        let mut inner =
            Histogram::new_with_bounds(1, 1 << 30, SIGNIFICANT_DIGITS).expect("constant bounds are valid");
        inner.auto(true);
        Hist { inner, min: u64::MAX, max: 0, sum: 0, clipped: 0 }
    }
}

impl Hist {
    /// Adds one value, in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        if self.inner.record(ns.max(1)).is_err() {
            self.clipped += 1;
            return;
        }
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        self.sum += u128::from(ns);
    }

    /// Adds all values of `other`, count by count (M17).
    pub fn merge(&mut self, other: &Hist) {
        self.inner.add(&other.inner).expect("an automatic histogram takes any other");
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.clipped += other.clipped;
    }

    /// Forgets every value and keeps the memory.
    pub fn clear(&mut self) {
        self.inner.reset();
        (self.min, self.max, self.sum, self.clipped) = (u64::MAX, 0, 0, 0);
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.inner.len()
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The exact least value; 0 without values.
    pub fn min_ns(&self) -> u64 {
        if self.is_empty() { 0 } else { self.min }
    }

    /// The exact greatest value; 0 without values.
    pub fn max_ns(&self) -> u64 {
        self.max
    }

    /// The exact sum.
    pub fn sum_ns(&self) -> u128 {
        self.sum
    }

    /// The exact mean; 0 without values.
    pub fn mean_ns(&self) -> f64 {
        if self.is_empty() { 0.0 } else { self.sum as f64 / self.count() as f64 }
    }

    /// Values that could not be filed; a measurement with any is invalid (M14). It cannot happen while memory lasts.
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// As if a value could not be filed.
    #[cfg(test)]
    pub(crate) fn clip(&mut self) {
        self.clipped += 1;
    }

    /// The distinct values held, rising, as (greatest value of the bucket, count): for charts and tables.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.inner.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// The histogram underneath, for writers of HdrHistogram's own formats.
    pub fn as_hdr(&self) -> &Histogram<u64> {
        &self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m14_any_duration_is_filed() {
        let mut hist = Hist::default();
        // From nothing at all over a nanosecond, a minute and a year to what 64 bits hold.
        let values = [0, 1, 60_000_000_000, 31_536_000_000_000_000, u64::MAX / 2, u64::MAX];
        for (number, ns) in (1..).zip(values) {
            hist.record(ns);
            assert_eq!((hist.count(), hist.clipped(), hist.max_ns()), (number, 0, ns));
        }
        let mut both = Hist::default();
        both.record(7);
        both.merge(&hist);
        assert_eq!((both.count(), both.clipped(), both.min_ns(), both.max_ns()), (7, 0, 0, u64::MAX));
    }
}
