//! Percentiles: by rank, with an interval, with the values of which only a lower bound is known, or not at all.
//!
//! # Decisions
//! - A percentile is the value of rank ceil(q n) (nearest rank), reported as the greatest value of its bucket as every
//!   reader of HdrHistogram files does, never above the exact maximum.
//! - It is given only when the sample reaches it: n large enough that with 99 % a value lies beyond it (M18).
//! - The interval runs between two order statistics whose ranks hold the true percentile with 99 % (M19): no assumption on
//!   the shape of the distribution. Where no rank is high enough, the maximum stands in.
//! - A censored value ("still waiting after t") is counted at t. The percentile so found cannot be above the true one, and
//!   is the true one when it lies below every censored value; otherwise it is "at least" (M12).

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
}

/// The least number of values for which the percentile is given: ceil(ln 0.01 / ln q) (M18).
pub fn needed(q: f64) -> u64 {
    (0.01_f64.ln() / q.ln()).ceil() as u64
}

impl Hist {
    /// The percentiles of these values.
    pub fn quantiles(&self, qs: &[f64]) -> Vec<Quantile> {
        todo!()
    }

    /// The percentiles of these values together with `censored` ones, whose true values are greater than recorded.
    pub fn quantiles_censored(&self, censored: &Hist, qs: &[f64]) -> Vec<Quantile> {
        todo!()
    }
}
