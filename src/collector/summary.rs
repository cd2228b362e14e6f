//! The summary of a run: per phase the counts, three rates, every distribution in numbers, and the conditions met.
//!
//! Plain data, computed once from [`Measured`]; the reports print it and the verdict reads it. Whether the numbers can be
//! trusted at all is said by [`Validity`].
//!
//! # Decisions
//! - Where messages are tried again (`[session.retry]`), arrivals are messages: each is counted once, as it ended. Times are of
//!   attempts, but `time_to_accept`, which is of messages: those that were given up, or had no end when the run ended, are
//!   lower bounds in its percentiles.
//! - Percentiles of response and service times of accepted arrivals count the arrivals whose answer never came as censored
//!   (M12, [`Outcome::lacks_end`]): leaving them out would make a listener that hangs look fast. Count, minimum, maximum and
//!   mean, and the stored distribution, remain those of the accepted alone (M22).

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

/// The percentiles that are reported.
pub const QUANTILES: [f64; 6] = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999];

/// What must be known of a phase to sum it up; made from the plan's phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseInfo {
    /// Its name.
    pub name: String,
    /// Never measured (M15).
    pub warmup: bool,
    /// What an arrival is: `session` or `message`.
    pub unit: &'static str,
    /// The load asks the same all the time, so that Little's law must hold (M20).
    pub steady: bool,
    /// Arrivals without a free session are shed, because the profile says so.
    pub sheds: bool,
    /// The profile bounds the connections opened a second, so that arrivals may have to wait for theirs.
    pub paced: bool,
    /// The most sessions the profile allows at once.
    pub max_sessions: u32,
    /// How long arrivals are scheduled in it; `None`: until they are used up.
    pub length: Option<Duration>,
}

/// A run, summed up.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// By phase index, warm-up phases included.
    pub phases: Vec<PhaseSummary>,
    /// Every condition met, by phase, then the most frequent first.
    pub conditions: Vec<ConditionRow>,
    /// Whether the numbers can be trusted.
    pub validity: Validity,
    /// What is odd and does not make the numbers wrong, in sentences (M20).
    pub warnings: Vec<String>,
    /// The resources that this process used.
    pub health: Health,
    /// The 99th percentile of our own lateness over the measured phases, by rank, in nanoseconds; 0 without arrivals.
    pub lag_p99_ns: u64,
    /// The user stopped the run.
    pub interrupted: bool,
    /// An aborting assertion stopped the run; which one.
    pub aborted_by: Option<String>,
    /// What was done to the listener meanwhile, in the order of the plan, and what that did; `None`: it did not start.
    pub events: Vec<(EventRun, Option<EventEffect>)>,
}

/// A phase, summed up.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseSummary {
    /// What it is.
    pub info: PhaseInfo,
    /// The denominator of its rates (M21).
    pub window: Duration,
    /// Its counts.
    pub counts: Counts,
    /// The most sessions open at once.
    pub peak_sessions: u64,
    /// Arrivals scheduled a second.
    pub offered_per_s: f64,
    /// Arrivals started within the window, a second.
    pub started_per_s: f64,
    /// Arrivals accepted within the window, a second.
    pub accepted_per_s: f64,
    /// How long after the window the last arrival ended.
    pub drained_for: Duration,
    /// Every distribution that holds a value, in the order of [`Metric::all`] and [`Outcome::ALL`].
    pub metrics: Vec<MetricRow>,
    /// Per `[[expect]]` of the profile by its index: how many refusals it covered.
    pub expects: Vec<(u32, Covered)>,
    /// Messages that are tried again, by the number of their attempts: how they ended.
    pub attempts: Vec<(u32, ByOutcome)>,
}

/// A distribution in numbers; all times in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// What was timed.
    pub metric: Metric,
    /// How it ended.
    pub outcome: Outcome,
    /// The number of values.
    pub count: u64,
    /// Values of which only a lower bound is known, counted in the percentiles and nowhere else.
    pub censored: u64,
    /// The exact minimum.
    pub min_ns: u64,
    /// The exact maximum.
    pub max_ns: u64,
    /// The exact mean.
    pub mean_ns: f64,
    /// At [`QUANTILES`].
    pub quantiles: Vec<Quantile>,
}

/// A row of the conditions table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionRow {
    /// The phase's index.
    pub phase: usize,
    /// What it is.
    pub key: ConditionKey,
    /// How often.
    pub count: u64,
    /// How often of that after the window of the phase.
    pub drained: u64,
    /// When first, since the run's epoch.
    pub first: Duration,
    /// When last.
    pub last: Duration,
    /// The first reply of this kind, or what happened in words.
    pub sample: String,
}

impl ConditionRow {
    /// Whether the profile expects it.
    pub fn expected(&self) -> bool {
        self.key.outcome == Outcome::Expected
    }
}

impl Summary {
    /// Sums up a run. `phases` are the plan's, in its order.
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

    /// What kept the load threads from running in the phases that count; `None` if it was not looked at.
    pub fn hindrance(&self) -> Option<Hindrance> {
        let phases = self.phases.iter().zip(&self.health.hindrances);
        phases.filter(|(phase, _)| !phase.info.warmup).map(|(_, met)| *met).reduce(Hindrance::worst)
    }

    /// The phases that count (M15).
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

/// The values that count as censored beside those of this metric and outcome (M12): none, but for the response and service
/// times of what was accepted, and for the time to acceptance.
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

/// A count over a window, as a number a second; 0 without a window.
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

/// A metric over all outcomes of the phases that count. Only for what is our own doing, or where outcomes do not matter.
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
        // Stable: equal counts stay in the order of their keys.
        of_phase.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows.append(&mut of_phase);
    }
    rows
}

/// A phase that was to open all its sessions before its first message (`open_first`), and never had them all.
fn never_opened(phase: &PhaseSummary) -> String {
    format!(
        "phase `{}` began no message: its {} sessions were to be open first and were never open all at once (at most {}); see \
         what the listener refused, lower `sessions`, or allow more time",
        phase.info.name, phase.info.max_sessions, phase.peak_sessions
    )
}

/// The listener does not know EHLO.
fn helo_for_ehlo(phases: &[PhaseSummary]) -> Option<String> {
    let sessions: u64 = phases.iter().map(|phase| phase.counts.helo_for_ehlo).sum();
    (sessions > 0).then(|| {
        format!(
            "the listener refused EHLO in {sessions} sessions, and HELO was said instead: no extension was used in them, be it \
             PIPELINING, SIZE, STARTTLS or AUTH; hello = \"ehlo-only\" makes it a failure, hello = \"helo\" spares the EHLO"
        )
    })
}

/// What this machine does not let a socket have, and what that does to the run.
fn without_options(phases: &[PhaseSummary]) -> Vec<String> {
    let sum = |count: fn(&Counts) -> u64| phases.iter().map(|phase| count(&phase.counts)).sum::<u64>();
    let sentence = |connections: u64, what: &str| {
        (connections > 0).then(|| format!("this machine refuses {what} ({connections} connections)"))
    };
    let no_delay = "sockets TCP_NODELAY: what is written in pieces may wait up to 40 ms for an acknowledgement, and such times \
                    are this machine's, not the listener's";
    let late_port = "sockets IP_BIND_ADDRESS_NO_PORT: each connection from one of `sources` takes a local port for all targets \
                     at once, so that ports run out early";
    let watch = "sockets TCP keepalive or TCP_USER_TIMEOUT: held sessions whose host is gone are not told from silent ones";
    [
        sentence(sum(|counts| counts.without_no_delay), no_delay),
        sentence(sum(|counts| counts.without_late_port), late_port),
        sentence(sum(|counts| counts.unwatched), watch),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// More messages waited for their next attempt than are kept.
fn unkept(phases: &[PhaseSummary]) -> Option<String> {
    let unkept: u64 = phases.iter().map(|phase| phase.counts.retry.unkept).sum();
    (unkept > 0).then(|| {
        format!(
            "{unkept} messages were not tried again, because too many waited for their next attempt; they count as interrupted: \
             lower the rate or shorten `[session.retry]`"
        )
    })
}

/// Little's law (M20): in a steady phase mean concurrency = throughput x mean service time. Both sides have the window in
/// the denominator, so the areas are compared.
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
