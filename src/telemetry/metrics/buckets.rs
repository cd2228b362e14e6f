//! A distribution in the buckets that metrics systems use: fixed bounds, and exponential ones.
//!
//! # Decisions
//! - All values of a bucket of the collector (0.1 % wide) count as the greatest value of the bucket, as in every report.
//!   So a duration may count as up to 0.1 % longer than it was, and may cross one bound. No value is lost or counted
//!   twice. Count, sum, least and greatest value are exact.
//! - The exponential buckets are those that Prometheus and OpenTelemetry share, with the upper bound included. At scale
//!   4 each is 4.4 % wide, which is also the precision of quantiles. Durations from 10 µs to 10 s need at most 320
//!   buckets.

use crate::collector::histogram::Hist;

/// The upper bounds of the classic buckets, in seconds. Longer durations count only in the bucket without a bound.
pub const BOUNDS: [f64; 20] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 120.0, 300.0,
];

/// The scale (or schema) of the exponential buckets: each bound is 2^(2^-4) times the bound below.
pub const SCALE: i32 = 4;

const NS: f64 = 1e9;

/// Returns the sum in seconds.
pub fn sum(hist: &Hist) -> f64 {
    hist.sum_ns() as f64 / NS
}

/// Returns the count of each bucket of [`BOUNDS`], and of the durations above the last bound.
pub fn classic(hist: &Hist) -> [u64; BOUNDS.len() + 1] {
    let mut counts = [0; BOUNDS.len() + 1];
    for (ns, count) in hist.buckets() {
        let seconds = ns as f64 / NS;
        counts[BOUNDS.partition_point(|bound| *bound < seconds)] += count;
    }
    counts
}

/// Returns the exponential buckets that are not empty, as (index, count) with rising indexes. The bucket of index i
/// ends with 2^(i / 16) seconds, included. No value counts as zero: the least bucket of the collector is that of a
/// nanosecond.
pub fn exponential(hist: &Hist) -> Vec<(i32, u64)> {
    let mut filled: Vec<(i32, u64)> = Vec::new();
    for (ns, count) in hist.buckets() {
        let index = index(ns.max(1) as f64 / NS);
        match filled.last_mut() {
            Some((last, counts)) if *last == index => *counts += count,
            _ => filled.push((index, count)),
        }
    }
    filled
}

/// Returns the index of the bucket that holds a positive duration.
fn index(seconds: f64) -> i32 {
    // The result is at most 35 * 16 for a u64 of nanoseconds.
    (seconds.log2() * f64::from(1 << SCALE)).ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hist(values: impl IntoIterator<Item = u64>) -> Hist {
        let mut hist = Hist::default();
        values.into_iter().for_each(|ns| hist.record(ns));
        hist
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below() {
        // Below 2048 ns a bucket of the collector holds one value. A longer duration counts as up to 0.1 % longer.
        let counts = classic(&hist([0, 1, 99_000, 101_000, 5_000_000_000_000]));
        assert_eq!((counts[0], counts[1], counts[BOUNDS.len()]), (3, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!((index(1.0), index(0.5), index(2.0), index(1.0 + 1e-9)), (0, -16, 16, 1));
    }

    #[test]
    fn none_is_lost_and_each_is_where_it_belongs_but_for_a_tenth_of_a_per_cent() {
        // From a nanosecond to an hour.
        let values: Vec<u64> = (0..4_000_u32)
            .map(|n| 1.007_26_f64.powi(n as i32) as u64)
            .filter(|ns| *ns < 3_600 * 1_000_000_000)
            .collect();
        assert!(values.len() > 3_000);
        let of = hist(values.iter().copied());
        let whole = exponential(&of);
        assert_eq!(whole.iter().map(|(_, count)| count).sum::<u64>(), of.count());
        assert_eq!(classic(&of).iter().sum::<u64>(), of.count());
        assert!(whole.is_sorted_by(|a, b| a.0 < b.0), "rising, each index once");
        for ns in values {
            let filled = exponential(&hist([ns]));
            let [(at, 1)] = filled[..] else { panic!("{filled:?}") };
            let upper = (f64::from(at) / 16.0).exp2() * 1e9;
            let lower = (f64::from(at - 1) / 16.0).exp2() * 1e9;
            let exact = ns as f64;
            assert!(lower / 1.001 < exact && exact <= upper * 1.000_001, "{lower} {exact} {upper}");
        }
    }

    #[test]
    fn a_zero_is_a_nanosecond() {
        assert_eq!(exponential(&hist([0, 1])), [(index(1e-9), 2)]);
    }
}
