//! HdrHistogram's table of percentiles (`.hgrm`), for its plotters.
//!
//! The form is that of `outputPercentileDistribution` in the Java library: five ticks for each halving of the remaining
//! distance to 100 %, and values in milliseconds.

use std::fmt::Write;

use super::merge::{self, MergeError};
use super::stored::{RunResult, StoredMetric};
use crate::collector::histogram::Hist;

/// The number of ticks for each halving of the remaining distance to 100 %.
const TICKS: u32 = 5;
/// The number of sub-buckets of the first bucket, in HdrHistogram's words; each further bucket adds half as many.
const SUB_BUCKETS: u32 = 2048;
const NS_PER_MS: f64 = 1e6;

/// Why the table cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HgrmError {
    /// The run has no distribution of this name.
    #[error("the run has no distribution {wanted}; it has {}", has.join(", "))]
    Unknown {
        /// The requested name.
        wanted: String,
        /// The names that exist.
        has: Vec<String>,
    },
    /// The distribution is not stored, or cannot be read.
    #[error(transparent)]
    Histogram(#[from] MergeError),
}

/// Returns the distribution of this name: `phase/metric/outcome` of a measured phase, or `metric/outcome` for the sum of
/// all measured phases.
///
/// # Errors
/// There is no such distribution, or it cannot be read.
pub fn pick(result: &RunResult, wanted: &str) -> Result<Hist, HgrmError> {
    let whole = |metric: &StoredMetric| format!("{}/{}/{}", metric.phase, metric.name, metric.outcome);
    let short = |metric: &StoredMetric| format!("{}/{}", metric.name, metric.outcome);
    let phases = result.measured_phases();
    let is_measured = |metric: &&StoredMetric| phases.contains(metric.phase.as_str());
    let measured = || result.metrics.iter().filter(is_measured);
    let mut found = Hist::default();
    for metric in measured().filter(|metric| whole(metric) == wanted || short(metric) == wanted) {
        found.merge(&merge::histogram(result, metric)?);
    }
    if found.is_empty() {
        let has = measured().map(whole).collect();
        return Err(HgrmError::Unknown { wanted: wanted.to_owned(), has });
    }
    Ok(found)
}

/// Returns the distribution as a table of percentiles.
pub fn write(hist: &Hist) -> String {
    let hdr = hist.to_hdr();
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in hdr.iter_quantiles(TICKS) {
        total += step.count_since_last_iteration();
        let (value, q) = (step.value_iterated_to() as f64 / NS_PER_MS, step.quantile_iterated_to());
        let line = match q < 1.0 {
            true => writeln!(text, "{value:12.3} {q:2.12} {total:10} {:14.2}", 1.0 / (1.0 - q)),
            false => writeln!(text, "{value:12.3} {q:2.12} {total:10}"),
        };
        line.expect("text takes any line");
    }
    let (mean, deviation, max) =
        (hdr.mean() / NS_PER_MS, hdr.stdev() / NS_PER_MS, hdr.max() as f64 / NS_PER_MS);
    let (count, buckets) = (hdr.len(), hdr.buckets());
    text.push_str(&format!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n"));
    text.push_str(&format!("#[Max     = {max:12.3}, Total count    = {count:12}]\n"));
    text.push_str(&format!("#[Buckets = {buckets:12}, SubBuckets     = {SUB_BUCKETS:12}]\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_java_library() {
        let mut hist = Hist::default();
        (1..=10).for_each(|ms| hist.record(ms * 1_000_000));
        let text = write(&hist);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[2], "       1.000 0.000000000000          1           1.00");
        assert!(text.contains("       5.001 0.500000000000          5           2.00\n"), "{text}");
        assert!(text.contains("      10.002 1.000000000000         10\n"), "{text}");
        assert!(text.contains("#[Max     =       10.002, Total count    =           10]\n"), "{text}");
        assert!(write(&Hist::default()).contains("Total count    =            0]\n"));
    }
}
