//! One distribution of durations: an HDR histogram with exact minimum and maximum beside it.

use hdrhistogram::Histogram;

/// Durations in nanoseconds with three significant digits (error at most 0.1 %, M16); grows as needed, never clips (M14).
#[derive(Clone, Debug)]
pub struct Hist {
    inner: Histogram<u64>,
    min: u64,
    max: u64,
    sum: u128,
}

impl Default for Hist {
    fn default() -> Self {
        let mut inner = Histogram::new_with_bounds(1, 1 << 30, 3).expect("constant bounds are valid");
        inner.auto(true);
        Hist { inner, min: u64::MAX, max: 0, sum: 0 }
    }
}

impl Hist {
    /// Adds one value, in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.inner.saturating_record(ns.max(1));
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
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.inner.len()
    }
}
