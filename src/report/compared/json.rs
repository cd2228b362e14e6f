//! A comparison as JSON, and its schema.
//!
//! Units are in the names: `_ns`, `_per_s`, `_share` (from 0 to 1). Ratios have no unit.

use schemars::JsonSchema;
use serde::Serialize;

use super::Compared;
use crate::report::format;
use crate::report::stored::RunResult;
use crate::verdict::ExitCode;
use crate::verdict::compare::{self, Measure, MetricComparison};

/// The version of the format that is written.
const SCHEMA_VERSION: u32 = 1;

/// A comparison of two sets of runs, as `smtpress compare --json` writes it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Comparison")]
struct Json<'a> {
    /// The version of this format: 1.
    schema_version: u32,
    /// The verdict over all metrics: regressed if a metric is; else inconclusive if a metric is, or if there is no
    /// metric; else improved if a metric is; else equivalent. Lost, duplicated, altered or bounced messages of a relay can
    /// change it to regressed or inconclusive.
    #[schemars(extend("enum" = ["regressed", "improved", "equivalent", "inconclusive"]))]
    verdict: &'static str,
    /// The exit code of the process.
    #[schemars(extend("enum" = [
        ExitCode::Success.number(), ExitCode::Inconclusive.number(), ExitCode::Failed.number(),
    ]))]
    exit_code: u8,
    /// The profile's name.
    profile_name: &'a str,
    /// The seed of all randomness in the runs.
    seed: u64,
    /// The runs of the base.
    base: Vec<JsonRun<'a>>,
    /// The runs of the candidate.
    candidate: Vec<JsonRun<'a>>,
    /// `tested`: the unit of evidence is the run. `unknown`: there are too few runs to know how much runs differ from
    /// each other, and the intervals come from within the runs.
    #[schemars(extend("enum" = ["tested", "unknown"]))]
    run_to_run: &'static str,
    /// The metrics, by phase.
    metrics: Vec<JsonRow<'a>>,
    /// Notes for the reader, in sentences.
    notes: &'a [String],
    /// The reasons against the comparison, if the user forced it.
    forced: &'a [String],
}

/// A run.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Run")]
struct JsonRun<'a> {
    /// The directory, as the user named it.
    path: &'a str,
    /// Identifies the run, as in the header `X-Smtpress-Run` of its messages.
    run_id: &'a str,
    /// When the run started, in UTC (RFC 3339).
    started_at: &'a str,
    /// The target as a URL, or `embedded`.
    target: &'a str,
}

/// One metric of one phase. It has `values_ns`, `values_per_s` or `values_share`, and `ratio` or `difference_share`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Metric")]
struct JsonRow<'a> {
    /// The phase.
    phase: &'a str,
    /// The name of the metric, such as `response p99`, `accepted rate` or `unexpected rate`.
    metric: String,
    /// For a time: its quantile in each run, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    values_ns: Option<Values<'a>>,
    /// For a rate: its value in each run, in 1/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    values_per_s: Option<Values<'a>>,
    /// For a share: its value in each run, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    values_share: Option<Values<'a>>,
    /// The ratio of the medians, candidate to base; 1: no change. A change within 1 / (1 + margin) to 1 + margin does
    /// not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<JsonChange>,
    /// The difference of the medians of shares, candidate minus base; 0: no change. A change within -margin to margin
    /// does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference_share: Option<JsonChange>,
    /// The p-value: the probability of a difference at least this large if both sides are equal; `null` without a test.
    p: Option<f64>,
    /// The p-value after Holm's correction for the number of metrics.
    p_holm: Option<f64>,
    /// The verdict on this metric.
    #[schemars(extend("enum" = ["regressed", "improved", "equivalent", "inconclusive"]))]
    verdict: &'static str,
    /// Why there is no verdict, in words, unless the numbers show the reason.
    why: Option<&'a str>,
}

/// The values of a metric, in the order of the runs.
#[derive(Serialize, JsonSchema)]
struct Values<'a> {
    /// The value of each run of the base; `null` if a run does not have it.
    base: &'a [Option<f64>],
    /// The value of each run of the candidate.
    candidate: &'a [Option<f64>],
    /// The median of the base; `null` if one of its runs does not have the value.
    base_median: Option<f64>,
    /// The median of the candidate.
    candidate_median: Option<f64>,
}

/// A change, its 95 % interval and the margin.
#[derive(Serialize, JsonSchema)]
struct JsonChange {
    /// The change; `null` if one side does not have the value.
    middle: Option<f64>,
    /// The lower end of its 95 % interval; `null` if there is none.
    low: Option<f64>,
    /// The upper end of its 95 % interval.
    high: Option<f64>,
    /// The margin within which a change does not matter.
    margin: f64,
}

/// Returns the comparison as JSON, with a line end.
pub fn json(compared: Compared<'_>) -> String {
    let comparison = compared.comparison;
    let profile = compared.base.first().map(|(_, result)| &result.profile);
    let whole = Json {
        schema_version: SCHEMA_VERSION,
        verdict: comparison.judgement.as_str(),
        exit_code: comparison.judgement.exit_code().number(),
        profile_name: profile.map_or("", |profile| &profile.name),
        seed: profile.map_or(0, |profile| profile.seed),
        base: compared.base.iter().map(run).collect(),
        candidate: compared.candidate.iter().map(run).collect(),
        run_to_run: if comparison.is_tested() { "tested" } else { "unknown" },
        metrics: comparison.rows.iter().map(row).collect(),
        notes: &comparison.notes,
        forced: compared.forced,
    };
    let text = serde_json::to_string_pretty(&whole).expect("it has only text keys and plain values");
    format::harmless_json(text) + "\n"
}

/// Returns the JSON Schema (2020-12) of the comparison.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Json<'_>).to_value()
}

fn run((path, result): &(String, RunResult)) -> JsonRun<'_> {
    JsonRun { path, run_id: &result.run_id, started_at: &result.started_at, target: &result.target }
}

fn row(row: &MetricComparison) -> JsonRow<'_> {
    let finite = |value: f64| value.is_finite().then_some(value);
    let (base_median, candidate_median) = row.medians();
    let values = Values { base: &row.base, candidate: &row.candidate, base_median, candidate_median };
    let (values_ns, values_per_s, values_share) = match row.measure {
        Measure::Time(..) => (Some(values), None, None),
        Measure::AcceptedRate => (None, Some(values), None),
        Measure::UnexpectedRate => (None, None, Some(values)),
    };
    let change = JsonChange {
        middle: row.change.and_then(|change| finite(change.middle)),
        low: row.change.and_then(|change| finite(change.low)),
        high: row.change.and_then(|change| finite(change.high)),
        margin: row.measure.margin(),
    };
    let (ratio, difference_share) =
        if row.measure.is_ratio() { (Some(change), None) } else { (None, Some(change)) };
    JsonRow {
        phase: &row.phase,
        metric: compare::measure_name(row.measure),
        values_ns,
        values_per_s,
        values_share,
        ratio,
        difference_share,
        p: row.p.map(|p| p.0),
        p_holm: row.p.map(|p| p.1),
        verdict: row.judgement.as_str(),
        why: row.why.as_deref(),
    }
}
