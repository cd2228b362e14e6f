//! Merges the shards of one run into one result.
//!
//! Counts and distributions are added count by count (M17), and the sum is summarized and judged by the same code as
//! any run. No value is averaged. Times are aligned on the starts of phases.
//!
//! # Decisions
//! - Whole runs are never merged: they are separate measurements, for `compare`.
//! - A shard that is missing or given twice is refused, and so are shards of different loads.
//! - Shards that did not start together were not one load, and the run is invalid. Each shard stores its start by the
//!   clock of its machine.
//! - The run is invalid if one of its shards is, and interrupted if one of them was.
//! - The largest number of sessions at once is unknown: the sum over the shards is reported, with a warning.

mod delivery;
mod parts;
mod seconds;

use std::collections::BTreeMap;
use std::time::Duration;

use super::seconds::LONGEST;
use super::stored::convert;
use super::stored::{
    RunResult, StoredAssertion, StoredAssertionStatus, StoredMetric, StoredPhase, StoredStatus,
    StoredVerdict, ValidityStatus,
};
use crate::collector::Metric;
use crate::collector::delivery::ClockRelation;
use crate::collector::histogram::{DecodeError, Hist};
use crate::collector::snapshot::{Gauges, Health, Interval, Measured};
use crate::collector::summary::{Code, PhaseInfo, Summary, ValidityReason};
use crate::collector::tally::{ConditionCount, ConditionKey, Tally};
use crate::condition::expect::{Expect, When};
use crate::verdict::grammar::{self, Subject};
use crate::verdict::{self, Windows};

pub use seconds::MergedSeconds;

/// Why runs cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A run is not a shard.
    #[error(
        "{run} is a whole run and no shard: only the shards of one run (run --shard I/N) can be merged; use `smtpress compare` for whole runs"
    )]
    NotAShard {
        /// The run.
        run: String,
    },
    /// A run is not a shard of the same load.
    #[error(
        "{run} is no shard of the same run as {other}: its {what} is another; give all shards the same profile, the same --seed and the same --shard count"
    )]
    Other {
        /// The run.
        run: String,
        /// The run with which it was compared.
        other: String,
        /// The difference.
        what: &'static str,
    },
    /// A shard is given twice.
    #[error("{run} and {other} are both shard {index} of {of}: give each shard once")]
    Doubled {
        /// The run.
        run: String,
        /// The other run.
        other: String,
        /// The shard's index.
        index: u32,
        /// The number of all shards.
        of: u32,
    },
    /// A run has another number of shards than the user expects.
    #[error(
        "{run} is shard {index} of {of}, and --expect-shards says {expected}: give the shards of a run that was shared out over {expected}, or --expect-shards {of}"
    )]
    NotOfExpected {
        /// The run.
        run: String,
        /// The index of the shard.
        index: u32,
        /// The number of all shards, as the shard states it.
        of: u32,
        /// The number of all shards, as the user states it.
        expected: u32,
    },
    /// Shards are missing.
    #[error("shard{} {missing} of {of} {} missing: give all shards of the run", if *many { "s" } else { "" }, if *many { "are" } else { "is" })]
    Missing {
        /// The missing shards, as text.
        missing: String,
        /// Whether more than one is missing.
        many: bool,
        /// The number of all shards.
        of: u32,
    },
    /// A stored distribution cannot be read.
    #[error("failed to read {run}: the histogram of {metric} is {source}")]
    Histogram {
        /// The run.
        run: String,
        /// The metric.
        metric: String,
        /// The fault.
        source: DecodeError,
    },
    /// A distribution is not stored.
    #[error(
        "failed to merge {run}: the histogram of {metric} is not in it, and percentiles cannot be merged"
    )]
    NoHistogram {
        /// The run.
        run: String,
        /// The metric.
        metric: String,
    },
}

/// All shards of one run, in order.
#[derive(Debug)]
pub struct Shards {
    results: Vec<RunResult>,
    /// The position of each shard among the given runs.
    given: Vec<usize>,
    /// The largest allowed difference between the starts of two shards.
    max_skew: Duration,
}

/// The default for the largest difference between the starts of two shards.
const MAX_SKEW: Duration = Duration::from_millis(100);

impl Shards {
    /// Checks that each run is a shard of a run with `expected` shards; [`Shards::of`] checks that no shard is missing.
    ///
    /// # Errors
    /// A run is not a shard, or has another number of shards.
    pub fn expect(runs: &[(String, RunResult)], expected: u32) -> Result<(), MergeError> {
        runs.iter().try_for_each(|(run, result)| match result.shard {
            None => Err(MergeError::NotAShard { run: run.clone() }),
            Some(shard) if shard.of != expected => Err(MergeError::NotOfExpected {
                run: run.clone(),
                index: shard.index,
                of: shard.of,
                expected,
            }),
            Some(_) => Ok(()),
        })
    }

    /// Checks that the runs are all shards of one run. Each run comes with the name that the user gave.
    ///
    /// # Errors
    /// The runs are not shards of one run, or a shard is missing.
    pub fn of(runs: Vec<(String, RunResult)>) -> Result<Shards, MergeError> {
        let mut found: BTreeMap<u32, usize> = BTreeMap::new();
        let (first_name, first) = runs.first().expect("there is at least one run");
        let of = first.shard.map_or(1, |shard| shard.of);
        for (at, (name, result)) in runs.iter().enumerate() {
            let Some(shard) = result.shard else { return Err(MergeError::NotAShard { run: name.clone() }) };
            if let Some(what) = difference(first, result) {
                return Err(MergeError::Other { run: name.clone(), other: first_name.clone(), what });
            }
            if let Some(other) = found.insert(shard.index, at) {
                let other = runs[other].0.clone();
                return Err(MergeError::Doubled { run: name.clone(), other, index: shard.index, of });
            }
        }
        // `of` may be any number in a file, so at most 20 missing shards are listed.
        let missing: Vec<u32> = (0..of).filter(|index| !found.contains_key(index)).take(20).collect();
        if !missing.is_empty() {
            let numbers: Vec<String> = missing.iter().map(u32::to_string).collect();
            let further = (of as usize).saturating_sub(found.len() + missing.len());
            let more = if further > 0 { format!(" and {further} more") } else { String::new() };
            let many = missing.len() > 1;
            return Err(MergeError::Missing { missing: numbers.join(", ") + &more, many, of });
        }
        let given: Vec<usize> = found.into_values().collect();
        let mut results: Vec<Option<RunResult>> = runs.into_iter().map(|(_, result)| Some(result)).collect();
        Ok(Shards {
            results: given.iter().filter_map(|at| results[*at].take()).collect(),
            given,
            max_skew: MAX_SKEW,
        })
    }

    /// Sets the largest allowed difference between the starts of two shards.
    #[must_use]
    pub fn with_max_skew(self, max_skew: Duration) -> Shards {
        Shards { max_skew, ..self }
    }

    /// Returns the position of each shard among the given runs.
    pub fn given(&self) -> &[usize] {
        &self.given
    }

    /// Returns for each shard how many whole seconds each phase started later than in the first shard.
    pub fn shifts(&self) -> Vec<Vec<i64>> {
        let first = &self.results[0].phases;
        let of = |result: &RunResult| {
            result
                .phases
                .iter()
                .zip(first)
                .map(|(own, first)| (own.start_s - first.start_s).round() as i64)
                .collect()
        };
        self.results.iter().map(of).collect()
    }

    /// Returns for each phase from when and until when in the merged run it is open in all shards; `Duration::MAX`: time does
    /// not end it.
    fn spans(&self) -> Vec<(Duration, Duration)> {
        let shifts = self.shifts();
        let of = |phase: usize| {
            let spans = self.results.iter().zip(&shifts).filter_map(|(result, shifts)| {
                let (own, shift) = (result.phases.get(phase)?, *shifts.get(phase)? as f64);
                let start = own.start_s - shift;
                Some((start, if ends_by_number(own) { f64::INFINITY } else { start + own.window_s }))
            });
            let (start, end) =
                spans.reduce(|all, own| (all.0.max(own.0), all.1.min(own.1))).unwrap_or_default();
            (seconds_of(start), if end.is_finite() { seconds_of(end) } else { Duration::MAX })
        };
        (0..self.results[0].phases.len()).map(of).collect()
    }

    /// Returns the merged run. `seconds` are its seconds, if their files exist: assertions with a window cannot be judged
    /// without them.
    ///
    /// # Errors
    /// A stored distribution cannot be read.
    pub fn merge(
        &self,
        seconds: Option<&mut dyn Iterator<Item = Interval>>,
    ) -> Result<RunResult, MergeError> {
        let first = &self.results[0];
        let phases = parts::phases(&self.results);
        let infos: Vec<PhaseInfo> = phases.iter().map(info).collect();
        let expects = expects(&phases);
        let tally = self.tally(&expects)?;
        let assertions: Vec<grammar::Assertion> = first.assertions.iter().filter_map(asserted).collect();
        let mut windows = Windows::default();
        if let Some(seconds) = seconds {
            let watched: Vec<grammar::Assertion> = assertions.iter().map(watched).collect();
            // A phase is open while it is open in all shards.
            let spans = self.spans();
            windows = Windows::new(&watched, &infos, &expects);
            for second in seconds {
                // The returned assertion does not end anything here: it has already ended the shards.
                let _ = windows.feed(&second, &|phase| (Some(spans[phase].0), spans[phase].1));
            }
        }
        let measured = self.measured(tally, &phases);
        let validity = parts::validity(&self.results, self.max_skew);
        let mut summary = Summary::new(&measured, &infos);
        // Each shard has found its own reasons; they are copied.
        let lost = ValidityReason { code: Code::WorkerLost, phase: None, sentence: String::new() };
        let invalid = validity.status == ValidityStatus::Invalid;
        summary.validity.reasons = if invalid { vec![lost] } else { Vec::new() };
        let judged = verdict::Verdict::judge(&measured, &summary, &expects, &assertions, &windows);
        let mut verdict = StoredVerdict {
            status: judged.status.into(),
            exit_code: judged.exit_code.number(),
            aborted_by: summary.aborted_by.clone(),
        };
        let mut assertions: Vec<StoredAssertion> = judged.results.iter().map(convert::assertion).collect();
        assertions.extend(first.assertions.iter().filter(|own| asserted(own).is_none()).map(unjudged));
        if verdict.status == StoredStatus::Pass
            && assertions.iter().any(|own| own.status != StoredAssertionStatus::Pass)
        {
            verdict = StoredVerdict {
                status: StoredStatus::Fail,
                exit_code: verdict::ExitCode::Failed.number(),
                aborted_by: None,
            };
        }
        let mut phases = phases;
        let delivered = measured.delivered.as_deref();
        for (phase, own) in phases.iter_mut().zip(delivered.iter().flat_map(|delivered| &delivered.phases)) {
            let window = seconds_of(phase.window_s);
            phase.delivery = Some(convert::delivery::phase(own, window));
        }
        Ok(RunResult {
            run_id: self.results.iter().map(|shard| shard.run_id.as_str()).collect::<Vec<_>>().join("+"),
            // The merged run has no directory.
            directory: None,
            started_at: self.results.iter().map(|shard| shard.started_at.clone()).min().unwrap_or_default(),
            took_s: measured.took.as_secs_f64(),
            shard: None,
            validity,
            verdict,
            warnings: parts::warnings(&self.results),
            metrics: self.metrics(&measured, &summary),
            conditions: parts::conditions(&self.results),
            assertions,
            generator: parts::generator(&self.results, summary.lag_p99_ns),
            ledger: parts::ledger(&self.results),
            delivery: delivered.map(|delivered| convert::delivery::of_run(delivered, &summary.phases)),
            phases,
            ..first.clone()
        })
    }

    /// Returns the sum of the counts and distributions of all shards. Warm-ups have no stored distributions.
    fn tally(&self, expects: &[Expect]) -> Result<Tally, MergeError> {
        let mut tally = Tally::new(self.results[0].phases.len());
        let is_timed = delivery::clock(&self.results) != ClockRelation::Unknown;
        for result in &self.results {
            for (whole, phase) in tally.phases.iter_mut().zip(&result.phases) {
                parts::count(whole, phase, expects);
                for metric in
                    result.metrics.iter().filter(|metric| metric.phase == phase.name && !phase.warmup)
                {
                    let (Ok(name), Ok(outcome)) = (metric.name.parse(), metric.outcome.parse()) else {
                        continue;
                    };
                    if !is_timed && matches!(name, Metric::Transit | Metric::Delivery) {
                        continue;
                    }
                    whole.hists.entry((name, outcome)).or_default().merge(&histogram(result, metric)?);
                }
                for row in result.conditions.iter().filter(|row| row.phase == phase.name) {
                    let (Ok(step), Ok(condition), Ok(outcome)) =
                        (row.step.parse(), row.condition.parse(), row.outcome.parse())
                    else {
                        continue;
                    };
                    let key = ConditionKey { step, condition, code: None, enhanced: None, outcome };
                    let none = || ConditionCount {
                        count: 0,
                        drained: 0,
                        first: Duration::ZERO,
                        last: Duration::ZERO,
                        sample: String::new(),
                    };
                    let own = whole.conditions.entry(key).or_insert_with(none);
                    own.count += row.count;
                    own.drained += row.drained.unwrap_or(0);
                }
            }
        }
        Ok(tally)
    }

    fn measured(&self, tally: Tally, phases: &[StoredPhase]) -> Measured {
        let results = &self.results;
        Measured {
            windows: phases.iter().map(|phase| seconds_of(phase.window_s)).collect(),
            starts: phases.iter().map(|phase| seconds_of(phase.start_s)).collect(),
            held_back: vec![false; phases.len()],
            work: parts::work(results),
            drained_for: phases
                .iter()
                .map(|phase| seconds_of(phase.drained.as_ref().map_or(0.0, |drained| drained.s)))
                .collect(),
            began_at: Duration::ZERO,
            gauges: Gauges::default(),
            peak_sessions: phases.iter().map(|phase| phase.sessions.peak).collect(),
            health: Health::default(),
            interrupted: results.iter().any(|shard| shard.verdict.status == StoredStatus::Interrupted),
            aborted_by: results.iter().find_map(|shard| shard.verdict.aborted_by.clone()),
            took: seconds_of(results.iter().map(|shard| shard.took_s).fold(0.0, f64::max)),
            tally,
            delivered: delivery::delivered(results),
            ..Measured::default()
        }
    }

    /// Returns the distributions of all shards; those of warm-ups without percentiles.
    fn metrics(&self, measured: &Measured, summary: &Summary) -> Vec<StoredMetric> {
        let mut metrics = Vec::new();
        for (index, phase) in summary.phases.iter().enumerate() {
            if phase.info.warmup {
                let name = &phase.info.name;
                let own = self.results.iter().flat_map(|shard| &shard.metrics).filter(|m| m.phase == *name);
                metrics.extend(parts::rough(own));
            } else {
                metrics.extend(convert::metrics(measured, index, phase));
            }
        }
        metrics
    }
}

/// Returns what differs between two results that should be of one run.
fn difference(first: &RunResult, other: &RunResult) -> Option<&'static str> {
    let names = |result: &RunResult| result.phases.iter().map(|phase| phase.name.clone()).collect::<Vec<_>>();
    let claims = |result: &RunResult| {
        result.assertions.iter().map(|own| (own.expr.clone(), own.phase.clone())).collect::<Vec<_>>()
    };
    let schedule = |result: &RunResult| result.profile.schedule_sha256.clone();
    // A run that was cut off has no stored schedule hash; profile and seed determine it.
    let is_known = |result: &RunResult| !schedule(result).is_empty();
    let differs = [
        ("seed", first.profile.seed != other.profile.seed),
        ("profile", first.profile.sha256 != other.profile.sha256),
        ("schedule", is_known(first) && is_known(other) && schedule(first) != schedule(other)),
        ("number of shards", first.shard.map(|shard| shard.of) != other.shard.map(|shard| shard.of)),
        ("list of phases", names(first) != names(other)),
        ("list of assertions", claims(first) != claims(other)),
    ];
    differs.into_iter().find(|(_, differs)| *differs).map(|(what, _)| what)
}

/// Returns the distribution of a metric, with its exact minimum and maximum.
///
/// # Errors
/// The distribution is not stored, or cannot be read.
pub fn histogram(result: &RunResult, metric: &StoredMetric) -> Result<Hist, MergeError> {
    let named = || (result.run_id.clone(), format!("{}/{}/{}", metric.phase, metric.name, metric.outcome));
    let Some(text) = &metric.hdr_base64 else {
        let (run, metric) = named();
        return Err(MergeError::NoHistogram { run, metric });
    };
    Hist::decode(text).and_then(|hist| hist.with_exact(metric.min_ns, metric.max_ns, metric.mean_ns)).map_err(
        |source| {
            let (run, metric) = named();
            MergeError::Histogram { run, metric, source }
        },
    )
}

/// Returns a stored length of time; zero if it is invalid or longer than any run, as in a changed file.
pub(super) fn seconds_of(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).ok().filter(|time| *time <= LONGEST).unwrap_or_default()
}

/// Whether the number of its arrivals ends a stored phase.
fn ends_by_number(phase: &StoredPhase) -> bool {
    phase.model == "shared-messages"
}

/// Returns the properties of a stored phase that its plan determined.
pub(super) fn info(phase: &StoredPhase) -> PhaseInfo {
    let length = seconds_of(phase.window_s);
    PhaseInfo {
        name: phase.name.clone(),
        warmup: phase.warmup,
        unit: if phase.unit == "session" { "session" } else { "message" },
        // Little's law needs areas that are not stored; each shard checked it.
        steady: false,
        sheds: true,
        paced: false,
        max_sessions: 0,
        length: (!ends_by_number(phase)).then_some(length),
        total: ends_by_number(phase).then_some(phase.scheduled),
    }
}

/// Returns the expected refusals (`[[expect]]`) that expressions may name.
fn expects(phases: &[StoredPhase]) -> Vec<Expect> {
    let mut names: Vec<&String> = phases.iter().flat_map(|phase| phase.expects.keys()).collect();
    names.sort();
    names.dedup();
    let named = |name: &String| Expect {
        name: Some(name.clone()),
        phase: None,
        step: None,
        condition: None,
        code: None,
        when: When::Always,
    };
    names.into_iter().map(named).collect()
}

/// Parses a stored assertion; `None` if this version does not understand it. An older result does not say when the
/// assertion was checked for the first time: one that aborts and has no window is judged by the totals alone.
fn asserted(assertion: &StoredAssertion) -> Option<grammar::Assertion> {
    let parsed = grammar::Assertion::parse(&assertion.expr).ok()?;
    let window = assertion.window_s.and_then(|window| Duration::try_from_secs_f64(window).ok());
    let grace = assertion.grace_s.map(seconds_of);
    let abort = assertion.abort && (grace.is_some() || window.is_some());
    let (phase, builtin, grace) = (assertion.phase.clone(), assertion.builtin, grace.unwrap_or_default());
    Some(grammar::Assertion { phase, window, builtin, abort, grace, ..parsed })
}

/// Returns the assertion; one that is not checked second by second if the stored seconds do not hold its subject.
fn watched(assertion: &grammar::Assertion) -> grammar::Assertion {
    let is_stored = matches!(
        assertion.expr.subject,
        Subject::Latency(..)
            | Subject::Scheduled
            | Subject::Started
            | Subject::Arrivals(_)
            | Subject::Unexpected
    );
    let (window, abort) = (assertion.window.filter(|_| is_stored), assertion.abort && is_stored);
    grammar::Assertion { window, abort, ..assertion.clone() }
}

fn unjudged(assertion: &StoredAssertion) -> StoredAssertion {
    let observed = "this version does not understand it".to_owned();
    StoredAssertion { observed, status: StoredAssertionStatus::NoData, ..assertion.clone() }
}

#[cfg(test)]
mod tests;
