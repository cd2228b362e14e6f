//! The comparison of runs: is the candidate slower than the base, faster, the same, or is that not known?
//!
//! It takes what was measured in blocks of time and gives a verdict for each metric and one for all. `rank_sum` tests,
//! `deliveries` holds what came out of relays against each other,
//! `bootstrap` says how far off a ratio may be, `sample` is a run as both of them need it. Nothing is read or shown here.
//!
//! # Decisions
//! - The unit of evidence is the run. The messages of a run are alike because they met the same listener in the same minute;
//!   pooled, they would make any two runs differ.
//! - From four runs a side a change is held to be real when the exact rank-sum test over runs says so, after Holm's correction
//!   for the number of metrics, and the ratio is beyond the margin. The interval alone is too narrow with few runs.
//! - With fewer runs there is no such test. Then the whole interval, drawn from blocks within the runs, must lie beyond the
//!   margin: the margin stands in for what one run differs from the next, which nobody knows.
//! - Equivalent means that the whole interval lies within the margin, not that nothing was found.
//! - Ratios are computed as logarithms, and each run draws from a random generator seeded with its measurements. So the
//!   answer is the same every time, swapped sides give exactly the opposite, and a run is equal to itself.
//! - The share of unexpected outcomes is 0 in most runs and has no ratio; its difference is judged, in percentage points.
//! - Of the times behind a relay three are compared, not twelve: each further metric takes from the power of all others.

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

/// From so many runs a side the runs are tested; below, what differs from run to run is unknown.
pub const ENOUGH_RUNS: usize = 4;
/// The chance of a false finding among all metrics together.
const ALPHA: f64 = 0.05;
/// With fewer blocks in a run nothing can be said from within it.
const ENOUGH_BLOCKS: usize = 3;

/// What is compared of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// This quantile of one of the times.
    Time(TimeMetric, f64),
    /// What was accepted, a second.
    AcceptedRate,
    /// The part of the arrivals that ended neither accepted nor as expected.
    UnexpectedRate,
}

impl Measure {
    /// All, in the order of a reader.
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

    /// The change that does not matter: 0.05 is 5 %, or of a share 5 percentage points.
    pub fn margin(self) -> f64 {
        match self {
            Measure::Time(_, q) if q >= 0.99 => 0.10,
            Measure::Time(..) | Measure::AcceptedRate => 0.05,
            Measure::UnexpectedRate => 0.001,
        }
    }

    /// Whether the change is a ratio; else it is a difference.
    pub fn is_ratio(self) -> bool {
        self != Measure::UnexpectedRate
    }

    /// A change on the scale of [`Measure::margin`] in which 0 is none and the other direction is the exact negative.
    fn inner(self, change: f64) -> f64 {
        if self.is_ratio() { change.ln_1p() } else { change }
    }

    /// From the inner scale to what is shown: a ratio (1: none) or a difference (0: none).
    fn shown(self, inner: f64) -> f64 {
        if self.is_ratio() { inner.exp() } else { inner }
    }

    /// What there is between two values, on the inner scale.
    fn between(self, base: f64, candidate: f64) -> f64 {
        if self.is_ratio() {
            // Nothing at all has no logarithm; a value far below any that is measured stands for it.
            candidate.max(1e-9).ln() - base.max(1e-9).ln()
        } else {
            candidate - base
        }
    }

    /// A change so that more is worse.
    fn worse(self, change: ChangeInterval) -> ChangeInterval {
        match self {
            Measure::AcceptedRate => {
                ChangeInterval { middle: -change.middle, low: -change.high, high: -change.low }
            }
            _ => change,
        }
    }
}

/// How a metric, or the whole, is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The candidate is worse.
    Regressed,
    /// The candidate is better.
    Improved,
    /// Whatever the difference is, it does not matter.
    Equivalent,
    /// Neither is shown.
    Inconclusive,
}

impl Judgement {
    /// The name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Judgement::Regressed => "regressed",
            Judgement::Improved => "improved",
            Judgement::Equivalent => "equivalent",
            Judgement::Inconclusive => "inconclusive",
        }
    }

    /// The exit code of a comparison that ends so.
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
    /// Of the medians.
    pub middle: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl ChangeInterval {
    fn map(self, to: impl Fn(f64) -> f64) -> ChangeInterval {
        ChangeInterval { middle: to(self.middle), low: to(self.low), high: to(self.high) }
    }
}

/// One phase of the runs of both sides.
#[derive(Clone, Debug, Default)]
pub struct PhaseRuns {
    /// Its name.
    pub name: String,
    /// By run.
    pub base: Vec<RunBlocks>,
    /// By run.
    pub candidate: Vec<RunBlocks>,
}

/// One metric of one phase, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricComparison {
    /// The phase.
    pub phase: String,
    /// What.
    pub measure: Measure,
    /// The values of the base by run, in nanoseconds, a second or as a share; absent where a run cannot say it.
    pub base: Vec<Option<f64>>,
    /// Those of the candidate.
    pub candidate: Vec<Option<f64>>,
    /// The ratio of the medians (or their difference, see [`Measure::is_ratio`]), candidate to base.
    pub change: Option<ChangeInterval>,
    /// The chance of such a difference between runs that are alike, before and after Holm's correction.
    pub p: Option<(f64, f64)>,
    /// The judgement.
    pub judgement: Judgement,
    /// Why there is none, in words, where that is not plain from the numbers.
    pub why: Option<String>,
}

/// Runs, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// How many runs the sides have.
    pub runs: (usize, usize),
    /// By phase and metric.
    pub rows: Vec<MetricComparison>,
    /// What a reader must know, in sentences.
    pub notes: Vec<String>,
    /// Over all metrics: regressed if one is; else inconclusive if one is; else improved if one is.
    pub judgement: Judgement,
}

impl Comparison {
    /// Whether the runs were tested: there are enough of them on both sides.
    pub fn is_tested(&self) -> bool {
        self.runs.0.min(self.runs.1) >= ENOUGH_RUNS
    }
}

/// Compares the runs of the phases. Every phase has the same number of runs on a side, at least one.
pub fn compare(phases: &[PhaseRuns], measures: &[Measure], effort: Effort) -> Comparison {
    let runs = phases.first().map_or((0, 0), |phase| (phase.base.len(), phase.candidate.len()));
    let few = runs.0.min(runs.1) < ENOUGH_RUNS;
    let mut notes = Vec::new();
    if few {
        notes.push(format!(
            "run-to-run variation unknown: with fewer than {ENOUGH_RUNS} runs a side the intervals come from within the runs"
        ));
    }
    let mut rows = Vec::new();
    for phase in phases {
        let samples = |courses: &[RunBlocks]| {
            courses.iter().map(|course| RunSample::new(course, effort)).collect::<Vec<RunSample>>()
        };
        let (base, candidate) = (samples(&phase.base), samples(&phase.candidate));
        let changes = bootstrap::changes(&base, &candidate, few, effort);
        for (at, measure) in Measure::ALL.into_iter().enumerate().filter(|(_, one)| measures.contains(one)) {
            match row(&phase.name, at, measure, (&base, &candidate), few, &changes[at]) {
                Ok(row) => rows.push(row),
                // Without a receiver nobody asks for its times, unless they are named.
                Err(LeftOut::Unmeasured) if measures.len() == Measure::ALL.len() => (),
                Err(left_out) => notes.push(left_out.sentence(&phase.name, measure)),
            }
        }
    }
    correct(&mut rows, few);
    if !few {
        notes.extend(powerless(&rows, runs));
    }
    let judgement = overall(&rows);
    Comparison { runs, rows, notes, judgement }
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

/// A row without its judgement, unless that is plain already; or why the metric is left out.
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
        // Where one side says it and the other does not, something has changed.
        if lack == MetricValue::Few && lacking(base).is_some() && lacking(candidate).is_some() {
            return Err(LeftOut::Few);
        }
        row.why = Some(lack.words(measure));
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
            "a run is shorter than {} s: too short to be compared alone",
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

/// Holm's correction over all metrics that could differ at all, and the judgement of each.
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
    /// The medians of the sides, base first; absent where a run of the side cannot say the value.
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
    // The nearer end of the interval, and the change, each taken as if it were for the worse.
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

/// That even the clearest difference could not be shown with so few runs for so many metrics, and what would do.
fn powerless(rows: &[MetricComparison], runs: (usize, usize)) -> Option<String> {
    let metrics = rows.iter().filter(|row| row.p.is_some() && row.varies()).count();
    let shows = |a: usize, b: usize| rank_sum::least(a, b) * metrics as f64 <= ALPHA;
    if metrics == 0 || shows(runs.0, runs.1) {
        return None;
    }
    let wanted = (ENOUGH_RUNS..).find(|n| shows(*n, *n))?;
    Some(format!(
        "with {} and {} runs a change in one of {metrics} metrics cannot be proven (Holm's correction): give {wanted} runs a side, or name fewer metrics with --metric",
        runs.0, runs.1
    ))
}

/// The name of a metric, as text and JSON have it: `response p99`.
pub fn measure_name(measure: Measure) -> String {
    match measure {
        Measure::Time(metric, q) => format!("{} p{}", metric.as_str(), (q * 1e5).round() / 1e3),
        Measure::AcceptedRate => "accepted rate".to_owned(),
        Measure::UnexpectedRate => "unexpected rate".to_owned(),
    }
}
