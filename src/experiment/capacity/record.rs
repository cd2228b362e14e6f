//! The record of each trial, from which every report is made and an interrupted search is continued.
//!
//! The records are stored with the state of a search; `report` converts them for `result.json`. Names of durations end in
//! their unit. Shares are numbers from 0 to 1.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::classify::TrialVerdict;
use super::controller::{Controller, NextTrial, TrialResult};
use super::goal::GoalVerdict;
use super::relayed::TrialDelivery;
use super::search_plan::CapacityPlan;
use super::sustained::{BacklogGrowth, Sustained};
use crate::collector::histogram::Status;
use crate::collector::snapshot::Measured;
use crate::collector::summary::{PhaseInfo, Summary};
use crate::collector::{Metric, Outcome};
use crate::plan::{OnSaturation, Phase};

/// The largest length of a sample reply, in characters.
const SAMPLE: usize = 300;

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The number, from 1.
    pub number: usize,
    /// The load, in the unit of the goals' bounds.
    pub load: f64,
    /// The intended length of the load.
    pub length_s: f64,
    /// Why it was made: `start`, `down`, `double`, `bisect`, `classify` or `confirm`.
    pub why: String,
    /// The start, since the start of the search.
    pub began_s: f64,
    /// Whether the trial was ended early, because no goal could be met any more.
    pub ended_early: bool,
    /// The reasons why the trial is invalid; an invalid trial counts for no goal.
    pub invalid: Vec<TrialFault>,
    /// Arrivals that were scheduled.
    pub scheduled: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that were accepted.
    pub accepted: u64,
    /// Arrivals that were never started.
    pub shed: u64,
    /// Sessions that the listener did not let become ready.
    #[serde(default)]
    pub refused_sessions: u64,
    /// Arrivals that were scheduled, a second.
    pub offered_per_s: f64,
    /// Arrivals that were accepted, a second.
    pub accepted_per_s: f64,
    /// The mean number of arrivals in flight.
    pub concurrency: f64,
    /// The largest number of sessions at once.
    pub peak_sessions: u64,
    /// The median of the response times of accepted arrivals; `null`: there are too few.
    pub p50_ns: Option<u64>,
    /// The 90th percentile of these times.
    pub p90_ns: Option<u64>,
    /// The 99th percentile of these times.
    pub p99_ns: Option<u64>,
    /// The longest of these times.
    pub max_ns: Option<u64>,
    /// The growth of the backlog; `null`: it is not judged in this search, or the trial is invalid, was ended early, or is
    /// too short for an estimate.
    pub backlog: Option<BacklogGrowth>,
    /// The deliveries of the relay; `null`: there was no receiver.
    #[serde(default)]
    pub delivery: Option<TrialDelivery>,
    /// The results for the goals, in their order. Empty if the trial is invalid.
    pub goals: Vec<GoalVerdict>,
    /// The conditions of failures and expected refusals.
    pub conditions: Vec<TrialCondition>,
    /// How long the listener took, after the trial, to be as fast as before the search; `null`: not measured.
    pub cooldown_s: Option<f64>,
    /// Whether the listener did not become as fast again within the allowed time.
    pub backlog_left: bool,
}

impl TrialRecord {
    /// Returns the quantities that may grow in a trial, as (name, growth, load with which the growth is compared). A growth
    /// is `None` if the trial is too short, or the growth is not judged.
    pub fn growths(&self) -> impl Iterator<Item = (&'static str, Option<BacklogGrowth>, f64)> + '_ {
        let delivery = self.delivery.iter().flat_map(|delivery| {
            [
                ("the relay's queue", delivery.queue, delivery.accepts_per_s),
                ("what the relay did not accept", delivery.shortfall, delivery.offered_per_s),
            ]
        });
        [("the backlog", self.backlog, self.load)].into_iter().chain(delivery)
    }

    /// Returns the quantities that grew, and how fast.
    pub fn grown(&self) -> impl Iterator<Item = (&'static str, BacklogGrowth)> + '_ {
        let grown = |growth: &BacklogGrowth| growth.verdict == Sustained::Unsustained;
        self.growths().filter_map(move |(name, growth, _)| Some((name, growth.filter(grown)?)))
    }

    /// Makes the trial bad for the goals that it met, if one of these quantities grew or an assertion about the deliveries
    /// failed.
    pub(super) fn hold_to_growths_and_deliveries(&mut self) {
        let unsustained = self.grown().next().is_some();
        let undelivered = self.delivery.as_ref().is_some_and(|delivery| !delivery.failed.is_empty());
        for goal in self.goals.iter_mut().filter(|goal| goal.good) {
            (goal.unsustained, goal.undelivered) = (unsustained, undelivered);
            goal.good = !unsustained && !undelivered;
        }
    }
}

/// A reason why a trial is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialFault {
    /// The code: `generator-lag`, `own-resource`, ...
    pub code: String,
    /// The reason, in a sentence.
    pub sentence: String,
}

/// A condition of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialCondition {
    /// The condition.
    pub condition: String,
    /// The step.
    pub step: String,
    /// The reply's code; `null`: the condition was not a reply.
    pub code: Option<u16>,
    /// The number of occurrences.
    pub count: u64,
    /// Whether the profile expects the condition.
    pub expected: bool,
    /// The first reply of this kind, shortened.
    pub sample: String,
}

/// A search as it is stored after each trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchState {
    /// The version of this format: 1.
    pub version: u32,
    /// The SHA-256 of the resolved profile. A search is continued only with the same profile.
    pub profile_sha256: String,
    /// The identifier of the search in its messages.
    pub run_id: String,
    /// The controller, with the results of the trials in the order of `records`.
    pub controller: Controller,
    /// The trials.
    pub records: Vec<TrialRecord>,
    /// The number of probes so far. Each has messages of its own, also after an interruption.
    #[serde(default)]
    pub probes: usize,
    /// How long the search has taken so far.
    pub elapsed_s: f64,
    /// The median of an idle listener's response times, before the first trial; `null`: no probe was accepted.
    pub base_ns: Option<u64>,
    /// The median of an idle relay's delivery times, before the first trial; `null`: there was no receiver.
    #[serde(default)]
    pub base_delivery_ns: Option<u64>,
}

/// The version of the stored search.
pub const VERSION: u32 = 1;

impl SearchState {
    /// Creates a new search.
    pub fn new(controller: Controller, profile_sha256: String, run_id: String) -> SearchState {
        SearchState {
            version: VERSION,
            profile_sha256,
            run_id,
            controller,
            records: Vec::new(),
            probes: 0,
            elapsed_s: 0.0,
            base_ns: None,
            base_delivery_ns: None,
        }
    }

    /// Whether backlogs should be judged and none could be, because the time of the idle listener is not known: no load of
    /// this search is known to be sustained.
    pub fn lacks_judged_backlogs(&self, capacity: &CapacityPlan) -> bool {
        capacity.judges_backlog() && self.base_ns.is_none()
    }

    /// Adds a trial.
    pub(super) fn add(&mut self, record: TrialRecord) {
        let doubtful =
            record.growths().any(|(_, growth, load)| growth.is_some_and(|growth| growth.is_doubtful(load)));
        let verdict = |goal: &GoalVerdict| TrialVerdict { doubtful, ..(*goal).into() };
        let judged = record.invalid.is_empty().then(|| record.goals.iter().map(verdict).collect());
        self.controller.tell(TrialResult { load: record.load, seconds: record.length_s, judged });
        self.records.push(record);
    }
}

/// Returns the properties of a trial's phase that its summary needs.
fn info(phase: &Phase) -> PhaseInfo {
    PhaseInfo {
        name: phase.name.clone(),
        warmup: false,
        unit: phase.unit.as_str(),
        // The warning about Little's law is only for runs, because no report shows the warnings of a trial.
        steady: false,
        sheds: phase.on_saturation == OnSaturation::Drop,
        paced: phase.connect_rate.is_some(),
        max_sessions: phase.max_sessions,
        length: phase.load.length,
        total: phase.load.model.total(),
    }
}

/// Makes the record of a trial, without its goals, the growth of its backlog and its cool-down.
pub(super) fn record(
    ask: &NextTrial,
    number: usize,
    began_s: f64,
    phase: &Phase,
    measured: &Measured,
) -> TrialRecord {
    let summary = Summary::new(measured, &[info(phase)]);
    let phase_summary = &summary.phases[0];
    let counts = &phase_summary.counts;
    let window_ns = phase_summary.window.as_nanos() as f64;
    let response = phase_summary
        .metrics
        .iter()
        .find(|row| row.metric == Metric::Response && row.outcome == Outcome::Accepted);
    let quantile = |q: f64| {
        let found = response?.quantiles.iter().find(|found| found.q == q)?;
        (found.status != Status::NotAvailable).then_some(found.value_ns)
    };
    let reasons = summary.validity.reasons.iter();
    // A condition with the outcome accepted fails no arrival, for example a reset at QUIT.
    let failures = summary.conditions.iter().filter(|row| row.key.outcome != Outcome::Accepted);
    let conditions = failures.map(|row| TrialCondition {
        condition: row.key.condition.to_string(),
        step: row.key.step.as_str().to_owned(),
        code: row.key.code,
        count: row.count,
        expected: row.key.outcome == Outcome::Expected,
        sample: row.sample.chars().take(SAMPLE).collect(),
    });
    TrialRecord {
        number,
        load: ask.load,
        length_s: ask.seconds,
        why: ask.why.as_str().to_owned(),
        began_s,
        ended_early: measured.aborted_by.is_some(),
        invalid: reasons
            .map(|reason| TrialFault { code: reason.code.to_string(), sentence: reason.sentence.clone() })
            .collect(),
        scheduled: counts.scheduled,
        started: counts.started,
        accepted: counts.arrivals.of(Outcome::Accepted),
        shed: counts.arrivals.of(Outcome::Shed),
        refused_sessions: counts.refused,
        offered_per_s: phase_summary.offered_per_s,
        accepted_per_s: phase_summary.accepted_per_s,
        concurrency: if window_ns > 0.0 { counts.in_flight_ns as f64 / window_ns } else { 0.0 },
        peak_sessions: phase_summary.peak_sessions,
        p50_ns: quantile(0.5),
        p90_ns: quantile(0.9),
        p99_ns: quantile(0.99),
        max_ns: response.map(|row| row.max_ns),
        backlog: None,
        delivery: TrialDelivery::of(measured, Duration::from_secs_f64(ask.seconds)),
        goals: Vec::new(),
        conditions: conditions.collect(),
        cooldown_s: None,
        backlog_left: false,
    }
}
