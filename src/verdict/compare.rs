//! Compares runs: whether the candidate is slower than the base, faster, equivalent, or whether this is unknown.
//!
//! The input is measurements in blocks of time. The output is a verdict for each metric and one for all metrics.
//! `rank_sum` tests, `deliveries` compares deliveries, `bootstrap` computes the interval of a ratio, `sample` prepares
//! a run for both. This module reads no files and prints nothing.
//!
//! # Decisions
//! - The unit of evidence is the run. The messages of a run resemble each other because they met the same listener in
//!   the same minute; pooled, they would show a difference between any two runs.
//! - From four runs a side a change is real if the exact rank-sum test over runs is significant after Holm's correction
//!   for the number of metrics, and the ratio is beyond the margin. The interval alone is too narrow with few runs.
//! - With fewer runs there is no such test. Then the whole interval, drawn from blocks within the runs, must lie beyond
//!   the margin: the margin replaces the unknown variation from run to run. There are draws enough that Holm's correction
//!   for the metrics that differ leaves a clear change significant.
//! - Equivalent means that the whole interval lies within the margin, not that no difference was found.
//! - Ratios are computed as logarithms, and each run draws from a random generator seeded with its measurements. So the
//!   result is deterministic, swapped sides give exactly the opposite, and a run is equal to itself.
//! - The share of unexpected outcomes is 0 in most runs and has no ratio; its difference is judged, in percentage points.
//! - Only three of the twelve times behind a relay are compared: each further metric reduces the power for all others.

mod bootstrap;
mod deliveries;
mod rank_sum;
mod sample;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

pub use bootstrap::Effort;
pub use deliveries::DeliveryFaults;
pub use sample::{BLOCK, RunBlocks, TimeBlock, TimeMetric};

use super::exit_code::ExitCode;
use sample::{MetricValue, RunSample};

/// The least number of runs on each side for the rank-sum test. With fewer runs the variation from run to run is
/// unknown.
pub const ENOUGH_RUNS: usize = 4;
/// The chance of a false finding among all metrics together.
const ALPHA: f64 = 0.05;
/// The least number of blocks for an interval from within a run.
const ENOUGH_BLOCKS: usize = 3;

/// A metric that is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// This quantile of one of the times.
    Time(TimeMetric, f64),
    /// The accepted rate.
    AcceptedRate,
    /// The share of arrivals that were neither accepted nor expected.
    UnexpectedRate,
}

impl Measure {
    /// All metrics, in the order of reports.
    pub const ALL: [Measure; 9] = [
        Measure::Time(TimeMetric::Response, 0.5),
        Measure::Time(TimeMetric::Response, 0.9),
        Measure::Time(TimeMetric::Response, 0.99),
        Measure::Time(TimeMetric::Response, 0.999),
        Measure::AcceptedRate,
        Measure::UnexpectedRate,
        Measure::Time(TimeMetric::Transit, 0.5),
        Measure::Time(TimeMetric::Transit, 0.99),
        Measure::Time(TimeMetric::Delivery, 0.99),
    ];

    /// Returns the margin: 0.05 is 5 %, or 5 percentage points of a share.
    pub fn margin(self) -> f64 {
        match self {
            Measure::Time(_, q) if q >= 0.99 => 0.10,
            Measure::Time(..) | Measure::AcceptedRate => 0.05,
            Measure::UnexpectedRate => 0.001,
        }
    }

    /// Whether the change is a ratio. Otherwise it is a difference.
    pub fn is_ratio(self) -> bool {
        self != Measure::UnexpectedRate
    }

    /// Converts a change to the inner scale, on which 0 is no change and the opposite change is the exact negative.
    fn inner(self, change: f64) -> f64 {
        if self.is_ratio() { change.ln_1p() } else { change }
    }

    /// Converts from the inner scale to a ratio (1: no change) or a difference (0: no change).
    fn shown(self, inner: f64) -> f64 {
        if self.is_ratio() { inner.exp() } else { inner }
    }

    /// Returns the change between two values, on the inner scale.
    fn between(self, base: f64, candidate: f64) -> f64 {
        if self.is_ratio() {
            // Zero has no logarithm; a value far below any measured one is used.
            candidate.max(1e-9).ln() - base.max(1e-9).ln()
        } else {
            candidate - base
        }
    }

    /// Returns a change with the sign that makes larger values worse.
    fn worse(self, change: ChangeInterval) -> ChangeInterval {
        match self {
            Measure::AcceptedRate => {
                ChangeInterval { middle: -change.middle, low: -change.high, high: -change.low }
            }
            _ => change,
        }
    }
}

/// The verdict on a metric, or on the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The candidate is worse.
    Regressed,
    /// The candidate is better.
    Improved,
    /// The difference is within the margin.
    Equivalent,
    /// Neither a regression nor an improvement nor equivalence is shown.
    Inconclusive,
}

impl Judgement {
    /// Returns the name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Judgement::Regressed => "regressed",
            Judgement::Improved => "improved",
            Judgement::Equivalent => "equivalent",
            Judgement::Inconclusive => "inconclusive",
        }
    }

    /// Returns the exit code of a comparison with this verdict.
    pub const fn exit_code(self) -> ExitCode {
        match self {
            Judgement::Regressed => ExitCode::Failed,
            Judgement::Inconclusive => ExitCode::Inconclusive,
            Judgement::Improved | Judgement::Equivalent => ExitCode::Success,
        }
    }
}

/// A change and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangeInterval {
    /// The change of the medians.
    pub middle: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl ChangeInterval {
    fn map(self, to: impl Fn(f64) -> f64) -> ChangeInterval {
        ChangeInterval { middle: to(self.middle), low: to(self.low), high: to(self.high) }
    }
}

/// A phase of the runs of both sides.
#[derive(Clone, Debug, Default)]
pub struct PhaseRuns {
    /// The name of the phase.
    pub name: String,
    /// The runs of the base.
    pub base: Vec<RunBlocks>,
    /// The runs of the candidate.
    pub candidate: Vec<RunBlocks>,
}

/// The comparison of a metric in a phase.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricComparison {
    /// The phase.
    pub phase: String,
    /// The metric.
    pub measure: Measure,
    /// The values of the base by run: in nanoseconds, in 1/s or as a share. A value is absent if the run has too few
    /// values.
    pub base: Vec<Option<f64>>,
    /// The values of the candidate by run.
    pub candidate: Vec<Option<f64>>,
    /// The ratio of the medians (or their difference, see [`Measure::is_ratio`]), candidate to base.
    pub change: Option<ChangeInterval>,
    /// The probability of such a difference between equal runs, before and after Holm's correction.
    pub p: Option<(f64, f64)>,
    /// The verdict.
    pub judgement: Judgement,
    /// Why there is no verdict, in words, if the numbers do not show it.
    pub why: Option<String>,
}

/// The comparison of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The number of runs of each side.
    pub runs: (usize, usize),
    /// The comparisons by phase and metric.
    pub rows: Vec<MetricComparison>,
    /// Notes for the reader, in sentences.
    pub notes: Vec<String>,
    /// The verdict over all metrics: regressed if one metric is, else inconclusive if one is, else improved if one is.
    pub judgement: Judgement,
}

impl Comparison {
    /// Whether there are enough runs on both sides for the test.
    pub fn is_tested(&self) -> bool {
        self.runs.0.min(self.runs.1) >= ENOUGH_RUNS
    }
}

/// Compares the runs of the phases. All phases have the same number of runs on a side, at least one.
pub fn compare(phases: &[PhaseRuns], measures: &[Measure], effort: Effort) -> Comparison {
    let runs = phases.first().map_or((0, 0), |phase| (phase.base.len(), phase.candidate.len()));
    let few = runs.0.min(runs.1) < ENOUGH_RUNS;
    let mut notes = Vec::new();
    if few {
        notes.push(format!(
            "run-to-run variation unknown: with fewer than {ENOUGH_RUNS} runs a side the intervals come from within the runs"
        ));
    }
    let effort = if few { effort.enough_for(differing(phases, measures), ALPHA) } else { effort };
    let mut rows = Vec::new();
    for phase in phases {
        let samples = |runs: &[RunBlocks]| {
            runs.iter().map(|run| RunSample::new(run, effort)).collect::<Vec<RunSample>>()
        };
        let (base, candidate) = (samples(&phase.base), samples(&phase.candidate));
        let changes = bootstrap::changes(&base, &candidate, few, effort);
        for (at, measure) in Measure::ALL.into_iter().enumerate().filter(|(_, one)| measures.contains(one)) {
            match row(&phase.name, at, measure, (&base, &candidate), few, &changes[at]) {
                Ok(row) => rows.push(row),
                // A metric that was not measured gets a note only if the user chose the metrics.
                Err(LeftOut::Unmeasured) if measures.len() == Measure::ALL.len() => (),
                Err(left_out) => notes.push(left_out.sentence(&phase.name, measure)),
            }
        }
    }
    correct(&mut rows, few);
    let least_p = if few { effort.least_p() } else { rank_sum::least(runs.0, runs.1) };
    notes.extend(powerless(&rows, runs, least_p));
    let judgement = overall(&rows);
    Comparison { runs, rows, notes, judgement }
}

/// Returns how many metrics of all phases are not the same in all runs.
fn differing(phases: &[PhaseRuns], measures: &[Measure]) -> usize {
    let differs = |phase: &PhaseRuns, measure: Measure| {
        let mut values = phase.base.iter().chain(&phase.candidate).map(|run| sample::value(run, measure));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let of_phase = |phase| measures.iter().filter(|measure| differs(phase, **measure)).count();
    phases.iter().map(of_phase).sum()
}

/// Why a metric has no row.
enum LeftOut {
    /// Too few values on both sides (M18).
    Few,
    /// No run of a side measures it.
    Unmeasured,
}

impl LeftOut {
    fn sentence(&self, phase: &str, measure: Measure) -> String {
        let why = match self {
            LeftOut::Few => MetricValue::Few.words(measure),
            LeftOut::Unmeasured => MetricValue::Unmeasured.words(measure),
        };
        format!("{phase}: {} left out, {why}", measure_name(measure))
    }
}

/// Returns a row, or why the metric is left out. [`correct`] judges a row that has a change and no `why`.
fn row(
    phase: &str,
    at: usize,
    measure: Measure,
    (base, candidate): (&[RunSample], &[RunSample]),
    few: bool,
    drawn: &bootstrap::Drawn,
) -> Result<MetricComparison, LeftOut> {
    let of =
        |samples: &[RunSample]| samples.iter().map(|sample| sample.values[at].known()).collect::<Vec<_>>();
    let mut row = MetricComparison {
        phase: phase.to_owned(),
        measure,
        base: of(base),
        candidate: of(candidate),
        change: None,
        p: None,
        judgement: Judgement::Inconclusive,
        why: None,
    };
    let unmeasured =
        |samples: &[RunSample]| samples.iter().all(|sample| sample.values[at] == MetricValue::Unmeasured);
    if unmeasured(base) || unmeasured(candidate) {
        return Err(LeftOut::Unmeasured);
    }
    let lacking = |samples: &[RunSample]| samples.iter().find_map(|sample| sample.values[at].lack());
    if let Some(lack) = lacking(base).or(lacking(candidate)) {
        // The metric is left out only if both sides have too few values. If one side has them, the row stays and is
        // inconclusive.
        if lack == MetricValue::Few && lacking(base).is_some() && lacking(candidate).is_some() {
            return Err(LeftOut::Few);
        }
        row.why = Some(lack.words(measure));
        return Ok(row);
    }
    if measure == Measure::AcceptedRate && !base.iter().chain(candidate).any(|sample| sample.is_served) {
        row.why = Some("nothing was accepted on either side".to_owned());
        return Ok(row);
    }
    let values = |side: &[Option<f64>]| side.iter().flatten().copied().collect::<Vec<f64>>();
    let (own, other) = (values(&row.base), values(&row.candidate));
    let middle = measure.between(bootstrap::median(own.clone()), bootstrap::median(other.clone()));
    let same = bootstrap::digests(base) == bootstrap::digests(candidate);
    let short = few && base.iter().chain(candidate).any(|sample| sample.blocks < ENOUGH_BLOCKS);
    if short && !same {
        let change = measure.shown(middle);
        row.change = Some(ChangeInterval { middle: change, low: f64::NAN, high: f64::NAN });
        row.why = Some(format!(
            "a run is shorter than {} s: too short with fewer than {ENOUGH_RUNS} runs a side",
            ENOUGH_BLOCKS as u64 * BLOCK.as_secs()
        ));
        return Ok(row);
    }
    let (low, high) = drawn.interval();
    row.change = Some(ChangeInterval { middle, low, high }.map(|inner| measure.shown(inner)));
    let p = if few { drawn.p_value() } else { rank_sum::p_value(&own, &other) };
    row.p = Some((p, p));
    Ok(row)
}

/// Applies Holm's correction over all metrics that can differ at all, and judges each.
fn correct(rows: &mut [MetricComparison], few: bool) {
    let mut family: Vec<usize> =
        (0..rows.len()).filter(|at| rows[*at].p.is_some() && rows[*at].varies()).collect();
    family.sort_by(|a, b| {
        rows[*a].p.map(|p| p.0).partial_cmp(&rows[*b].p.map(|p| p.0)).expect("p is a number")
    });
    let mut least: f64 = 0.0;
    for (place, at) in family.iter().enumerate() {
        if let Some((p, corrected)) = &mut rows[*at].p {
            least = least.max((*p * (family.len() - place) as f64).min(1.0));
            *corrected = least;
        }
    }
    for row in rows {
        if let (Some(change), Some((_, p)), None) = (row.change, row.p, &row.why) {
            row.judgement = judge(row.measure, change, p, few);
        }
    }
}

impl MetricComparison {
    /// Returns the medians of the sides, base first. A median is absent if a run of that side has no value.
    pub fn medians(&self) -> (Option<f64>, Option<f64>) {
        let median = |side: &[Option<f64>]| {
            let known: Option<Vec<f64>> = side.iter().copied().collect();
            known.filter(|known| !known.is_empty()).map(bootstrap::median)
        };
        (median(&self.base), median(&self.candidate))
    }

    /// Whether any two of its values differ.
    fn varies(&self) -> bool {
        let mut all = self.base.iter().chain(&self.candidate).flatten();
        let first = all.next();
        all.any(|value| Some(value) != first)
    }
}

fn judge(measure: Measure, shown: ChangeInterval, p: f64, few: bool) -> Judgement {
    let inner = |value: f64| if measure.is_ratio() { value.ln() } else { value };
    let change = measure.worse(shown.map(inner));
    let margin = measure.inner(measure.margin());
    // `middle` is the change, and `near` is the end of the interval that is nearer to 0. Both are positive for a change
    // in the tested direction.
    let beyond = |middle: f64, near: f64| if few { near > margin } else { middle > margin && near > 0.0 };
    if p < ALPHA && beyond(change.middle, change.low) {
        Judgement::Regressed
    } else if p < ALPHA && beyond(-change.middle, -change.high) {
        Judgement::Improved
    } else if change.low >= -margin && change.high <= margin {
        Judgement::Equivalent
    } else {
        Judgement::Inconclusive
    }
}

fn overall(rows: &[MetricComparison]) -> Judgement {
    let any = |judgement| rows.iter().any(|row| row.judgement == judgement);
    match () {
        () if any(Judgement::Regressed) => Judgement::Regressed,
        () if rows.is_empty() || any(Judgement::Inconclusive) => Judgement::Inconclusive,
        () if any(Judgement::Improved) => Judgement::Improved,
        () => Judgement::Equivalent,
    }
}

/// Returns a note if even the largest difference could not be shown with this few runs for this many metrics. The note
/// says how many runs are enough. `least_p`: the smallest p that these runs can give.
fn powerless(rows: &[MetricComparison], runs: (usize, usize), least_p: f64) -> Option<String> {
    let metrics = rows.iter().filter(|row| row.p.is_some() && row.varies()).count();
    let shows = |least_p: f64| least_p * (metrics as f64) < ALPHA;
    if shows(least_p) {
        return None;
    }
    let wanted = (ENOUGH_RUNS..).find(|n| shows(rank_sum::least(*n, *n)))?;
    Some(format!(
        "with {} and {} runs a change in one of {metrics} metrics cannot be proven (Holm's correction): give {wanted} runs a side, or name fewer metrics with --metric",
        runs.0, runs.1
    ))
}

/// Returns the name of a metric in text and JSON: `response p99`.
pub fn measure_name(measure: Measure) -> String {
    match measure {
        Measure::Time(metric, q) => format!("{} p{}", metric.as_str(), (q * 1e5).round() / 1e3),
        Measure::AcceptedRate => "accepted rate".to_owned(),
        Measure::UnexpectedRate => "unexpected rate".to_owned(),
    }
}
