//! Percentiles: by rank, with an interval, with values of which only a lower bound is known, or not at all.
//!
//! # Decisions
//! - A percentile is the value of rank ceil(q n) (nearest rank), reported as the greatest value of its bucket, as every
//!   reader of HdrHistogram files does, never outside the exact minimum and maximum.
//! - It is given only when the sample reaches it: n so large that with 99 % a value lies beyond it (M18).
//! - The interval runs between two order statistics whose ranks enclose the true percentile with 99 % (M19), whatever the
//!   shape of the distribution. Where no rank is high or low enough, maximum or minimum stand in.
//! - A censored value ("still waiting after t") is counted at t: the percentile so found cannot be above the true one. Counted
//!   as greater than all, it gives one that cannot be below the true one. Where both are the same the percentile is known,
//!   otherwise it is "at least" the first (M12): a few that were lost at once do not make all others unknown, and many that
//!   hang cannot be left out.

use super::Hist;

/// How far a percentile can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is the percentile.
    Exact,
    /// The percentile is this or more: arrivals without an end lie among the values below it.
    AtLeast,
    /// Too few values; the numbers beside it are 0.
    NotAvailable,
}

impl Status {
    /// The status's name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Exact => "exact",
            Status::AtLeast => "at-least",
            Status::NotAvailable => "n/a",
        }
    }
}

/// One percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// Which, above 0 and below 1.
    pub q: f64,
    /// Its value in nanoseconds.
    pub value_ns: u64,
    /// The lower end of its 99 % interval.
    pub low_ns: u64,
    /// The upper end of its 99 % interval.
    pub high_ns: u64,
    /// How far it can be trusted.
    pub status: Status,
    /// It is not above this, in nanoseconds; `u64::MAX` if arrivals without an end could put it anywhere.
    pub at_most_ns: u64,
}

/// The least number of values for which the percentile is given: ceil(ln 0.01 / ln q) (M18).
pub fn needed(q: f64) -> u64 {
    (0.01_f64.ln() / q.ln()).ceil() as u64
}

impl Hist {
    /// The percentiles of these values.
    pub fn quantiles(&self, qs: &[f64]) -> Vec<Quantile> {
        read(self, self, qs)
    }

    /// The percentiles of these values together with `censored` ones, whose true values are greater than recorded.
    pub fn quantiles_censored(&self, censored: &Hist, qs: &[f64]) -> Vec<Quantile> {
        if censored.is_empty() {
            return self.quantiles(qs);
        }
        let mut pooled = self.clone();
        pooled.merge(censored);
        read(&pooled, self, qs)
    }

    /// The value of this rank, from 1 for the least; 0 without values.
    pub fn at_rank(&self, rank: u64) -> u64 {
        Ranked::new(self).at(rank)
    }

    /// How late we ourselves were: the 99th percentile by rank, whether or not there are enough values to print it. Of fewer
    /// than a hundred values the greatest is left out: a single hiccup says nothing about a percentile.
    pub fn late(&self) -> u64 {
        let n = self.count();
        self.at_rank(rank(0.99, n).min(n.saturating_sub(1).max(1)))
    }
}

/// The rank of a percentile among `n` values: ceil(q n), between 1 and n.
pub fn rank(q: f64, n: u64) -> u64 {
    // q n of a whole product may stand a rounding error above it; without the correction 0.07 of 100 would be rank 8.
    let exact = q * n as f64 * (1.0 - 4.0 * f64::EPSILON);
    (exact.ceil() as u64).clamp(1, n.max(1))
}

/// `known`: those of the values that are exact.
fn read(all: &Hist, known: &Hist, qs: &[f64]) -> Vec<Quantile> {
    let n = all.count();
    let (ranked, exact) = (Ranked::new(all), Ranked::new(known));
    // All that is not exact may be greater than all that is.
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
            // Both are of one bucket where the greatest value of all is not that of the exact ones.
            let (status, value_ns) = match at_most_ns <= value_ns {
                true => (Status::Exact, at_most_ns),
                false => (Status::AtLeast, value_ns),
            };
            Quantile { q, value_ns, low_ns: ranked.at(low), high_ns, status, at_most_ns }
        })
        .collect()
}

/// The values in order: (rank of the last of its bucket, greatest value of the bucket).
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

/// The ranks whose values enclose the percentile with 99 %: the number of values below it is binomial(n, q).
fn interval(n: u64, q: f64) -> (u64, u64) {
    const TAIL: f64 = 0.005;
    const Z: f64 = 2.575_829_303_548_901;
    let (mean, variance) = (n as f64 * q, n as f64 * q * (1.0 - q));
    if variance > 10_000.0 {
        // The normal approximation is off by less than a rank here, and the sum below would be long.
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

/// Binomial probabilities up to a common factor: the first k that matters, and the weights from there on. Walking outwards
/// from the mode needs neither factorials nor their logarithms.
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
