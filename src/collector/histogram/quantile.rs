//! Percentiles by rank, with a confidence interval, and with censored values: those of which only a lower bound is known.
//!
//! # Decisions
//! - A percentile is the value of rank ceil(q n) (nearest rank). It is reported as the greatest value of its bucket, as
//!   by every reader of HdrHistogram files, but never outside the exact minimum and maximum.
//! - A percentile is given only if the sample is so large that, with a probability of 99 %, a value lies above the true
//!   percentile (M18).
//! - The interval lies between two order statistics that enclose the true percentile with a probability of 99 % (M19), for
//!   any shape of the distribution. If no rank is high or low enough, the maximum or the minimum is used.
//! - Two percentiles are computed if there are censored values ("still waiting after t"). With each censored value counted
//!   at t, the percentile is at most the true one. With censored values counted as greater than all others, it is at
//!   least the true one. If both are equal, the percentile is known; otherwise it is "at least" the first (M12). So a few
//!   early losses do not make all percentiles unknown, and many hanging arrivals are not ignored.

use super::Hist;

/// The status of a percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The value is known.
    Exact,
    /// The true percentile is at least the value, because arrivals without an end are among the values below it.
    AtLeast,
    /// There are too few values for the percentile; `value_ns`, `low_ns` and `high_ns` are 0.
    NotAvailable,
}

impl Status {
    /// Returns the status's name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Exact => "exact",
            Status::AtLeast => "at-least",
            Status::NotAvailable => "n/a",
        }
    }
}

/// A percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// The quantile, above 0 and below 1.
    pub q: f64,
    /// The value, in nanoseconds.
    pub value_ns: u64,
    /// The lower end of the 99 % interval, in nanoseconds.
    pub low_ns: u64,
    /// The upper end of the 99 % interval, in nanoseconds.
    pub high_ns: u64,
    /// The status.
    pub status: Status,
    /// The upper bound of the percentile, in nanoseconds; `u64::MAX`: arrivals without an end leave it unbounded, or there
    /// are too few values.
    pub at_most_ns: u64,
}

/// Returns the least number of values for which the percentile is given: ceil(ln 0.01 / ln q) (M18).
pub fn needed(q: f64) -> u64 {
    (0.01_f64.ln() / q.ln()).ceil() as u64
}

impl Hist {
    /// Returns the percentiles of these values.
    pub fn quantiles(&self, qs: &[f64]) -> Vec<Quantile> {
        read(self, self, qs)
    }

    /// Returns the percentiles of these values together with `censored` values, whose true values are greater than the
    /// recorded ones.
    pub fn quantiles_censored(&self, censored: &Hist, qs: &[f64]) -> Vec<Quantile> {
        if censored.is_empty() {
            return self.quantiles(qs);
        }
        let mut pooled = self.clone();
        pooled.merge(censored);
        read(&pooled, self, qs)
    }

    /// Returns the value of a rank, from 1 for the least; 0 without values.
    pub fn at_rank(&self, rank: u64) -> u64 {
        Ranked::new(self).at(rank)
    }

    /// Returns the 99th percentile by rank, for lateness of the generator, also if there are fewer values than M18 requires.
    /// Among 2 to 99 values the greatest is left out, because a single late value is no percentile.
    pub fn late(&self) -> u64 {
        let n = self.count();
        self.at_rank(rank(0.99, n).min(n.saturating_sub(1).max(1)))
    }
}

/// Returns the rank of a percentile among `n` values: ceil(q n), between 1 and n.
pub fn rank(q: f64, n: u64) -> u64 {
    // The product q n may be above a whole number by a rounding error: without the correction the rank of q = 0.07 among
    // 100 values is 8.
    let exact = q * n as f64 * (1.0 - 4.0 * f64::EPSILON);
    (exact.ceil() as u64).clamp(1, n.max(1))
}

/// Returns the percentiles of `all` values; `known`: the values that are not censored.
fn read(all: &Hist, known: &Hist, qs: &[f64]) -> Vec<Quantile> {
    let n = all.count();
    let (ranked, exact) = (Ranked::new(all), Ranked::new(known));
    // All censored values may be greater than all others.
    let at_most = |rank: u64| if rank <= known.count() { exact.at(rank) } else { u64::MAX };
    qs.iter()
        .map(|&q| {
            if n < needed(q) {
                let status = Status::NotAvailable;
                return Quantile { q, value_ns: 0, low_ns: 0, high_ns: 0, status, at_most_ns: u64::MAX };
            }
            let rank = rank(q, n);
            let (value_ns, at_most_ns) = (ranked.at(rank), at_most(rank));
            let (low, high) = interval(n, q);
            let high_ns = match at_most(high) {
                u64::MAX => ranked.at(high),
                high_ns => high_ns,
            };
            // The value is known if both bounds are in one bucket. The upper bound may be the smaller one, because it is
            // never above the greatest value that is not censored.
            let (status, value_ns) = match at_most_ns <= value_ns {
                true => (Status::Exact, at_most_ns),
                false => (Status::AtLeast, value_ns),
            };
            Quantile { q, value_ns, low_ns: ranked.at(low), high_ns, status, at_most_ns }
        })
        .collect()
}

/// The values of a histogram in order, as (rank of the last value of the bucket, greatest value of the bucket).
struct Ranked<'a> {
    steps: Vec<(u64, u64)>,
    hist: &'a Hist,
}

impl Ranked<'_> {
    fn new(hist: &Hist) -> Ranked<'_> {
        let mut last = 0;
        let steps = hist.buckets().map(|(value, count)| {
            last += count;
            (last, value)
        });
        Ranked { steps: steps.collect(), hist }
    }

    fn at(&self, rank: u64) -> u64 {
        let at = self.steps.partition_point(|(last, _)| *last < rank);
        match self.steps.get(at) {
            Some((_, value)) => (*value).clamp(self.hist.min_ns(), self.hist.max_ns()),
            None => self.hist.max_ns(),
        }
    }
}

/// Returns the ranks whose values enclose the percentile with a probability of 99 %. The number of values below the
/// percentile has the distribution binomial(n, q).
fn interval(n: u64, q: f64) -> (u64, u64) {
    const TAIL: f64 = 0.005;
    const Z: f64 = 2.575_829_303_548_901;
    let (mean, variance) = (n as f64 * q, n as f64 * q * (1.0 - q));
    if variance > 10_000.0 {
        // Here the ranks of the normal approximation are off by at most one, and the exact sum would be long.
        let half = Z * variance.sqrt();
        let (low, high) = ((mean - half).floor(), (mean + half).ceil() + 1.0);
        return ((low as u64).max(1), (high as u64).min(n));
    }
    let (first, weights) = binomial(n, q);
    let total: f64 = weights.iter().sum();
    let (mut low, mut high, mut below) = (1, n, 0.0);
    for (k, weight) in (first..).zip(&weights) {
        if below / total <= TAIL {
            low = k.max(1);
        }
        below += weight;
        if below / total >= 1.0 - TAIL {
            high = (k + 1).min(n);
            break;
        }
    }
    (low, high)
}

/// Returns binomial probabilities up to a common factor: the first k whose weight is not negligible, and the weights from
/// this k on. The weights are computed outwards from the mode, without factorials.
fn binomial(n: u64, q: f64) -> (u64, Vec<f64>) {
    const NEGLIGIBLE: f64 = 1e-17;
    let mode = (((n + 1) as f64 * q) as u64).min(n);
    let odds = q / (1.0 - q);
    let (mut first, mut weight, mut weights) = (mode, 1.0, vec![1.0]);
    while first > 0 {
        weight *= first as f64 / ((n - first + 1) as f64 * odds);
        if weight < NEGLIGIBLE {
            break;
        }
        first -= 1;
        weights.push(weight);
    }
    weights.reverse();
    weight = 1.0;
    for k in mode..n {
        weight *= (n - k) as f64 / (k + 1) as f64 * odds;
        if weight < NEGLIGIBLE {
            break;
        }
        weights.push(weight);
    }
    (first, weights)
}

#[cfg(test)]
mod tests;
