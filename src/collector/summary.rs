//! The summary of a run: for each phase the counts, three rates, the figures of each distribution, and the conditions.
//!
//! The summary is plain data. It is computed once from [`Measured`], for reports and verdict. [`Validity`] says whether
//! the numbers can be trusted.
//!
//! # Decisions
//! - With `[session.retry]` arrivals are messages, and each message is counted once, by its end. Times are those of
//!   attempts, except for `time_to_accept`. In its percentiles, messages that were given up or that still waited at the
//!   end of the run are lower bounds.
//! - In the percentiles of response and service times of accepted arrivals, arrivals without a reply are censored values
//!   (M12, [`Outcome::lacks_end`]): without them a listener that hangs would look fast. Count, minimum, maximum and mean,
//!   and the stored distribution, are those of the accepted arrivals alone (M22).

mod reason;
mod validity;

use std::time::Duration;

use super::delivery::ClockRelation;
use super::effect::{EventEffect, effects};
use super::histogram::{Hist, Quantile};
use super::snapshot::{Health, Hindrance, Measured};
use super::tally::{ByOutcome, ConditionKey, Counts, Covered, PhaseTally};
use super::{Metric, Outcome};
use crate::event::EventRun;

pub use reason::{Code, ValidityReason};
pub use validity::Validity;

/// The quantiles that are reported.
pub const QUANTILES: [f64; 6] = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999];

/// The properties of a phase that its summary needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseInfo {
    /// The name.
    pub name: String,
    /// Whether the phase is a warm-up, which is never measured (M15).
    pub warmup: bool,
    /// The unit of an arrival: `session` or `message`.
    pub unit: &'static str,
    /// Whether the load is constant, so that Little's law must hold (M20).
    pub steady: bool,
    /// Whether arrivals are shed if no session is free.
    pub sheds: bool,
    /// Whether the profile limits the connections a second, so that arrivals may wait for a connection.
    pub paced: bool,
    /// The largest number of sessions that the profile allows at once; of a shard, its share of them.
    pub max_sessions: u32,
    /// How long arrivals are scheduled; `None`: until the last one.
    pub length: Option<Duration>,
    /// The number of arrivals that ends the phase; `None`: only time ends it.
    pub total: Option<u64>,
}

/// The summary of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The phases by index, warm-up phases included.
    pub phases: Vec<PhaseSummary>,
    /// All conditions, by phase; within a phase the most frequent first.
    pub conditions: Vec<ConditionRow>,
    /// Whether the numbers can be trusted.
    pub validity: Validity,
    /// Warnings, in sentences; they do not make the run invalid (M20).
    pub warnings: Vec<String>,
    /// The resources that this process used.
    pub health: Health,
    /// The 99th percentile of the generator's lateness over the measured phases, by rank, in nanoseconds; 0 without
    /// arrivals.
    pub lag_p99_ns: u64,
    /// Whether the user stopped the run.
    pub interrupted: bool,
    /// The aborting assertion that stopped the run, if one did.
    pub aborted_by: Option<String>,
    /// The records of the plan's events, in the order of the plan, each with its effect; `None`: its command did not start.
    pub events: Vec<(EventRun, Option<EventEffect>)>,
}

/// The summary of a phase.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseSummary {
    /// The properties.
    pub info: PhaseInfo,
    /// The length of the window, over which the rates are computed (M21).
    pub window: Duration,
    /// The counts.
    pub counts: Counts,
    /// The largest number of sessions open at once.
    pub peak_sessions: u64,
    /// Arrivals scheduled a second.
    pub offered_per_s: f64,
    /// Arrivals started within the window, a second.
    pub started_per_s: f64,
    /// Arrivals accepted within the window, a second.
    pub accepted_per_s: f64,
    /// How long after the window the last arrival ended.
    pub drained_for: Duration,
    /// The distributions that hold a value, by metric and outcome.
    pub metrics: Vec<MetricRow>,
    /// The number of refusals that each `[[expect]]` of the profile covered, by its index.
    pub expects: Vec<(u32, Covered)>,
    /// The outcomes of messages that may be tried again, by the number of their attempts.
    pub attempts: Vec<(u32, ByOutcome)>,
}

/// The figures of a distribution; all times are in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// The metric.
    pub metric: Metric,
    /// The outcome.
    pub outcome: Outcome,
    /// The number of values.
    pub count: u64,
    /// The number of censored values, which count only in the percentiles.
    pub censored: u64,
    /// The exact minimum.
    pub min_ns: u64,
    /// The exact maximum.
    pub max_ns: u64,
    /// The exact mean.
    pub mean_ns: f64,
    /// The percentiles at [`QUANTILES`].
    pub quantiles: Vec<Quantile>,
}

/// A row of the conditions table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionRow {
    /// The phase's index.
    pub phase: usize,
    /// The properties.
    pub key: ConditionKey,
    /// The count.
    pub count: u64,
    /// The count after the window of the phase.
    pub drained: u64,
    /// The first occurrence, since the run's epoch.
    pub first: Duration,
    /// The last occurrence, since the run's epoch.
    pub last: Duration,
    /// The first reply of this kind, or a description.
    pub sample: String,
}

impl ConditionRow {
    /// Whether the profile expects the condition.
    pub fn expected(&self) -> bool {
        self.key.outcome == Outcome::Expected
    }
}

impl Summary {
    /// Summarizes a run. `phases` are those of the plan, in its order.
    pub fn new(measured: &Measured, phases: &[PhaseInfo]) -> Summary {
        let phases: Vec<PhaseSummary> = phases
            .iter()
            .zip(&measured.tally.phases)
            .enumerate()
            .map(|(index, (info, tally))| PhaseSummary::new(measured, index, info, tally))
            .collect();
        let lag = measured_hist(measured, &phases, Metric::Lag);
        let short = phases.iter().zip(&measured.work).filter(|(_, work)| !work.is_done());
        let short = short.map(|(phase, work)| format!("phase `{}` did not do all: {work}", phase.info.name));
        Summary {
            conditions: conditions(measured, phases.len()),
            validity: Validity::of(measured, &phases),
            warnings: phases
                .iter()
                .zip(&measured.held_back)
                .filter_map(|(phase, held_back)| {
                    held_back.then(|| never_opened(phase)).or_else(|| little(phase))
                })
                .chain(short)
                .chain(refused_beside(&phases, &measured.tally.phases))
                .chain(helo_for_ehlo(&phases))
                .chain(without_options(&phases))
                .chain(unkept(&phases))
                .collect(),
            health: measured.health.clone(),
            lag_p99_ns: lag.late(),
            interrupted: measured.interrupted,
            aborted_by: measured.aborted_by.clone(),
            events: events(measured, &phases),
            phases,
        }
    }

    /// Returns what kept the load threads from running in the measured phases; `None` if that was not observed.
    pub fn hindrance(&self) -> Option<Hindrance> {
        let phases = self.phases.iter().zip(&self.health.hindrances);
        phases.filter(|(phase, _)| !phase.info.warmup).map(|(_, met)| *met).reduce(Hindrance::worst)
    }

    /// Returns the measured phases (M15).
    pub fn measured_phases(&self) -> impl Iterator<Item = &PhaseSummary> {
        self.phases.iter().filter(|phase| !phase.info.warmup)
    }
}

fn events(measured: &Measured, phases: &[PhaseSummary]) -> Vec<(EventRun, Option<EventEffect>)> {
    let starts = phases.iter().zip(&measured.starts).filter(|(phase, _)| !phase.info.warmup);
    let load = starts.map(|(phase, start)| (*start, *start + phase.window));
    let load = load.reduce(|all, phase| (all.0.min(phase.0), all.1.max(phase.1))).unwrap_or_default();
    let timed = measured.delivered.as_ref().filter(|delivered| delivered.clock != ClockRelation::Unknown);
    let flow = timed.map(|delivered| &delivered.flow);
    let effects = effects(&measured.slices, flow, &measured.events, load);
    measured.events.iter().cloned().zip(effects).collect()
}

impl PhaseSummary {
    fn new(measured: &Measured, index: usize, info: &PhaseInfo, tally: &PhaseTally) -> PhaseSummary {
        let window = measured.windows.get(index).copied().unwrap_or_default();
        let counts = tally.counts;
        let metrics = tally.hists.iter().filter(|(_, hist)| !hist.is_empty());
        PhaseSummary {
            info: info.clone(),
            window,
            counts,
            peak_sessions: measured.peak_sessions.get(index).copied().unwrap_or_default(),
            offered_per_s: per_second(counts.scheduled, window),
            started_per_s: per_second(counts.started - counts.drained.started, window),
            accepted_per_s: per_second(
                counts.arrivals.of(Outcome::Accepted) - counts.drained.arrivals.of(Outcome::Accepted),
                window,
            ),
            drained_for: measured.drained_for.get(index).copied().unwrap_or_default(),
            metrics: metrics.map(|((metric, outcome), hist)| row(*metric, *outcome, hist, tally)).collect(),
            expects: tally.expects.iter().map(|(index, count)| (*index, *count)).collect(),
            attempts: tally.attempts.iter().map(|(attempts, ends)| (*attempts, *ends)).collect(),
        }
    }
}

/// Returns the censored values for this metric and outcome (M12). Only accepted arrivals can have censored values: in
/// their response, service, transit and delivery times, and in the time to acceptance.
pub fn censored(tally: &PhaseTally, metric: Metric, outcome: Outcome) -> Hist {
    let mut censored = Hist::default();
    let is_bound: fn(Outcome) -> bool = match metric {
        Metric::Response | Metric::Service | Metric::Transit | Metric::Delivery => Outcome::lacks_end,
        Metric::TimeToAccept => Outcome::is_unexpected,
        _ => |_| false,
    };
    if outcome == Outcome::Accepted {
        for without_end in Outcome::ALL.into_iter().filter(|outcome| is_bound(*outcome)) {
            if let Some(hist) = tally.hists.get(&(metric, without_end)) {
                censored.merge(hist);
            }
        }
    }
    censored
}

/// Returns a count in a window as a rate a second; 0 if the window has no length.
pub fn per_second(count: u64, window: Duration) -> f64 {
    if window.is_zero() { 0.0 } else { count as f64 / window.as_secs_f64() }
}

fn row(metric: Metric, outcome: Outcome, hist: &Hist, tally: &PhaseTally) -> MetricRow {
    let censored = censored(tally, metric, outcome);
    MetricRow {
        metric,
        outcome,
        count: hist.count(),
        censored: censored.count(),
        min_ns: hist.min_ns(),
        max_ns: hist.max_ns(),
        mean_ns: hist.mean_ns(),
        quantiles: hist.quantiles_censored(&censored, &QUANTILES),
    }
}

/// Adds up a metric over all outcomes of the measured phases. This is allowed only for values of the generator, because
/// values of the listener are kept apart by outcome (M22).
fn measured_hist(measured: &Measured, phases: &[PhaseSummary], metric: Metric) -> Hist {
    let mut all = Hist::default();
    for (tally, phase) in measured.tally.phases.iter().zip(phases) {
        if !phase.info.warmup {
            all.merge(&whatever_outcome(tally, metric));
        }
    }
    all
}

fn whatever_outcome(tally: &PhaseTally, metric: Metric) -> Hist {
    let mut all = Hist::default();
    let of_metric = tally.hists.iter().filter(|((m, _), _)| *m == metric);
    of_metric.for_each(|(_, hist)| all.merge(hist));
    all
}

fn conditions(measured: &Measured, phases: usize) -> Vec<ConditionRow> {
    let mut rows = Vec::new();
    for (phase, tally) in measured.tally.phases.iter().enumerate().take(phases) {
        let mut of_phase: Vec<ConditionRow> = tally
            .conditions
            .iter()
            .map(|(key, count)| ConditionRow {
                phase,
                key: key.clone(),
                count: count.count,
                drained: count.drained,
                first: count.first,
                last: count.last,
                sample: count.sample.clone(),
            })
            .collect();
        // A stable sort: equal counts stay in the order of their keys.
        of_phase.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows.append(&mut of_phase);
    }
    rows
}

/// Returns the warning about a phase with `open_first` whose sessions were never all open at once.
fn never_opened(phase: &PhaseSummary) -> String {
    format!(
        "phase `{}` began no message: its {} sessions were to be open first and were never open all at once (at most {}); see \
         what the listener refused, lower `sessions`, or allow more time",
        phase.info.name, phase.info.max_sessions, phase.peak_sessions
    )
}

/// Returns the warnings about closed loads of messages that went on without some of their sessions. `tallies`: of the phases.
/// With retries it is not known which phase a session was opened for.
fn refused_beside(phases: &[PhaseSummary], tallies: &[PhaseTally]) -> Vec<String> {
    let is_retried = phases.iter().any(|phase| phase.counts.retry.retries > 0);
    let pairs = phases.iter().zip(tallies).filter(|_| !is_retried);
    pairs.filter_map(|(phase, tally)| refused_beside_in(phase, tally)).collect()
}

fn refused_beside_in(phase: &PhaseSummary, tally: &PhaseTally) -> Option<String> {
    // What this machine could not do, or cut off, was refused by nobody.
    let refused = || {
        let rows = tally.conditions.iter();
        rows.filter(|(key, _)| key.step.is_of_opening() && key.outcome.is_failure())
    };
    let count: u64 = refused().map(|(_, row)| row.count).sum();
    let arrivals = &phase.counts.arrivals;
    // In an open load each refused session fails an arrival.
    let failed = arrivals.ended() - arrivals.of(Outcome::Accepted);
    let (most, _) = refused().max_by_key(|(_, row)| row.count).filter(|_| count > failed)?;
    Some(format!(
        "phase `{}` went on without some of its sessions: {count} of {} connections were refused, most of them by {}, and no \
         message failed with {} of them; if each session must be served, assert `condition.{} == 0`",
        phase.info.name,
        phase.counts.opened,
        most.condition,
        count - failed,
        most.condition
    ))
}

/// Returns a warning if the listener refuses EHLO.
fn helo_for_ehlo(phases: &[PhaseSummary]) -> Option<String> {
    let sessions: u64 = phases.iter().map(|phase| phase.counts.helo_for_ehlo).sum();
    (sessions > 0).then(|| {
        format!(
            "the listener refused EHLO in {sessions} sessions, and HELO was sent instead: these sessions used no extension such as PIPELINING, SIZE, STARTTLS or AUTH; hello = \"ehlo-only\" makes this a failure, hello = \"helo\" sends no EHLO"
        )
    })
}

/// Returns the warnings about socket options that this machine refuses, with their effects on the run.
fn without_options(phases: &[PhaseSummary]) -> Vec<String> {
    let sum = |count: fn(&Counts) -> u64| phases.iter().map(|phase| count(&phase.counts)).sum::<u64>();
    let sentence = |connections: u64, what: &str| {
        (connections > 0).then(|| format!("this machine refuses {what} ({connections} connections)"))
    };
    let no_delay = "sockets TCP_NODELAY: what is written in pieces may wait up to 40 ms for an acknowledgement, and such times \
                    are this machine's, not the listener's";
    let late_port = "sockets IP_BIND_ADDRESS_NO_PORT: each connection from one of `sources` takes a local port for all targets \
                     at once, so that ports run out early";
    let watch = "sockets TCP keepalive or TCP_USER_TIMEOUT: held sessions whose host is gone cannot be distinguished from \
                 silent ones";
    [
        sentence(sum(|counts| counts.without_no_delay), no_delay),
        sentence(sum(|counts| counts.without_late_port), late_port),
        sentence(sum(|counts| counts.unwatched), watch),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns a warning about messages that were not kept for their next attempt, because too many waited.
fn unkept(phases: &[PhaseSummary]) -> Option<String> {
    let unkept: u64 = phases.iter().map(|phase| phase.counts.retry.unkept).sum();
    (unkept > 0).then(|| {
        format!(
            "{unkept} messages were not tried again, because too many waited for their next attempt; they count as interrupted: \
             lower the rate or shorten `[session.retry]`"
        )
    })
}

/// Returns a warning if Little's law does not hold (M20): in a steady phase, mean concurrency = throughput x mean service
/// time. Both sides are divided by the window, so the areas are compared.
fn little(phase: &PhaseSummary) -> Option<String> {
    if phase.info.warmup || !phase.info.steady || phase.window.is_zero() {
        return None;
    }
    let Counts { in_flight_ns, service_ns, .. } = phase.counts;
    (in_flight_ns.abs_diff(service_ns) * 20 > in_flight_ns).then(|| {
        let window = phase.window.as_nanos() as f64;
        let concurrency = in_flight_ns as f64 / window;
        let explained = service_ns as f64 / window;
        format!(
            "phase `{}` was not steady: {concurrency:.2} arrivals in flight on average, but throughput x mean service time \
             explains {explained:.2} (Little's law allows 5 % apart); make it longer or lower its load",
            phase.info.name
        )
    })
}

#[cfg(test)]
mod tests;
