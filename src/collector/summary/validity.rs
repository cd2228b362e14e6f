//! Decides whether a measurement can be trusted (M23), and collects the reasons why it may show the generator instead of
//! the listener.
//!
//! # Decisions
//! - A warm-up phase gives no reason, with one exception: counts that do not reconcile are a fault of smtpress in any phase.
//! - An event whose command did not succeed makes the run invalid, because its effect is missing. There is an exception: if
//!   the user or an assertion stopped the run before the command ran or ended, the run is reported as stopped.
//! - Arrivals that did not start are no reason if the profile sheds them, if all allowed sessions were open, or if the
//!   run was stopped.

mod hindered;

use std::time::Duration;

use super::reason::{Code, ValidityReason};
use super::{PhaseSummary, whatever_outcome};
use crate::collector::agents::AgentEnd;
use crate::collector::histogram::{least_read_as, rank};
use crate::collector::snapshot::Measured;
use crate::collector::tally::ConditionKey;
use crate::collector::tally::{Counts, PhaseTally};
use crate::collector::{Metric, Outcome};
use crate::condition::Condition;
use crate::condition::Group;
use crate::event::CommandEnd;

/// Whether a measurement can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// The reasons why the measurement is invalid, in the order of phases; empty: it can be trusted.
    pub reasons: Vec<ValidityReason>,
}

impl Validity {
    /// Whether the measurement can be trusted.
    pub fn is_valid(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// The lateness of a timer of the receiver that may not be exceeded even once.
const RECEIVER_LATE: Duration = Duration::from_millis(250);
/// The share of its cores that the receiver may use.
const RECEIVER_BUSY: f64 = 0.85;
/// The lateness that is allowed for any service time.
const LAG_FLOOR: Duration = Duration::from_millis(5);
/// The allowed lateness as a share of the median service time, if that is more.
const LAG_SHARE: f64 = 0.05;
/// The share of scheduled arrivals that must be started.
const STARTED: f64 = 0.99;
/// The allowed share of a phase's seconds with saturated CPU.
const SATURATED: f64 = 0.05;
/// The wall clock may differ from the monotonic clock by `CLOCK_STEP` plus `CLOCK_SLEW` times the length of the run. No
/// clock discipline slews more than `CLOCK_SLEW`.
const CLOCK_STEP: Duration = Duration::from_millis(250);
const CLOCK_SLEW: f64 = 0.001;
/// How far apart agents may start a phase.
const STARTS_APART: Duration = Duration::from_millis(100);

impl Validity {
    pub(super) fn of(measured: &Measured, phases: &[PhaseSummary]) -> Validity {
        let mut reasons = Vec::new();
        // The counts of a missing shard end early, so the sums need not reconcile.
        let is_whole = measured.agents.iter().all(|agent| agent.end == AgentEnd::Done);
        for (index, (tally, phase)) in measured.tally.phases.iter().zip(phases).enumerate() {
            let mut found = Vec::new();
            if !phase.info.warmup {
                found.extend(generator_lag(tally));
                found.extend(not_started(measured, phase).filter(|_| is_whole));
                found.extend(own_resource(tally));
                found.extend(generator_cpu(measured, index));
                if let Some(hindrance) = measured.health.hindrances.get(index) {
                    found.extend(
                        hindered::stalled(hindrance).map(|sentence| (Code::GeneratorStalled, sentence)),
                    );
                    found.extend(
                        hindered::throttled(hindrance).map(|sentence| (Code::GeneratorThrottled, sentence)),
                    );
                }
            }
            found.extend(
                conservation(&tally.counts).filter(|_| is_whole).map(|sentence| (Code::Counts, sentence)),
            );
            reasons.extend(found.into_iter().map(|(code, sentence)| ValidityReason {
                code,
                phase: Some(index),
                sentence: format!("phase `{}`: {sentence}", phase.info.name),
            }));
        }
        let of_run = clock_jumped(measured)
            .into_iter()
            .chain(worker_lost(measured))
            .chain(agents_lost(measured))
            .chain(shards_apart(measured, phases))
            .chain(receiver_overloaded(measured))
            .chain(deliveries_incomplete(measured))
            .chain(events(measured));
        reasons.extend(of_run.map(|(code, sentence)| ValidityReason { code, phase: None, sentence }));
        // If the measurement of one agent is invalid, so is that of the run.
        let of = measured.agents.len();
        reasons.extend(measured.agents.iter().flat_map(|agent| {
            let named = move |reason: &ValidityReason| ValidityReason {
                sentence: format!("{}: {}", agent.in_words(of), reason.sentence),
                ..reason.clone()
            };
            agent.reasons.iter().map(named)
        }));
        Validity { reasons }
    }
}

type FoundReason = Option<(Code, String)>;

fn generator_lag(tally: &PhaseTally) -> FoundReason {
    let found = whatever_outcome(tally, Metric::Lag).late();
    let service = whatever_outcome(tally, Metric::Service);
    let median = Duration::from_nanos(service.at_rank(rank(0.5, service.count())));
    let allowed = LAG_FLOOR.max(median.mul_f64(LAG_SHARE));
    (Duration::from_nanos(least_read_as(found)) > allowed).then(|| {
        let sentence = format!(
            "the generator started 1 % of the arrivals {:.1} ms late or more, {:.1} ms are allowed; lower the load, give the generator \
             more threads, or run it on a machine of its own",
            found as f64 / 1e6,
            allowed.as_secs_f64() * 1e3
        );
        (Code::GeneratorLag, sentence)
    })
}

fn not_started(measured: &Measured, phase: &PhaseSummary) -> FoundReason {
    let Counts { scheduled, started, .. } = phase.counts;
    let full = phase.peak_sessions >= u64::from(phase.info.max_sessions);
    let stopped = measured.interrupted || measured.aborted_by.is_some();
    if phase.info.sheds || full || stopped || started as f64 >= STARTED * scheduled as f64 {
        return None;
    }
    let remedy = match phase.info.paced {
        true => "connect_rate held them back; raise it, or lower the load",
        false => "lower the load or give the generator more threads",
    };
    let sentence = format!(
        "only {started} of {scheduled} scheduled arrivals were started, though at most {} of {} sessions were open; {remedy}",
        phase.peak_sessions, phase.info.max_sessions
    );
    Some((Code::NotStarted, sentence))
}

fn own_resource(tally: &PhaseTally) -> FoundReason {
    let named: Vec<String> = tally
        .conditions
        .iter()
        .filter(|(key, _)| key.condition.group() == Group::Generator)
        .map(|(key, count)| format!("{} ({})", key.condition, count.count))
        .collect();
    let failures = tally.counts.own_failures;
    (failures > 0 || !named.is_empty()).then(|| {
        let what = if named.is_empty() { format!("{failures} failures") } else { named.join(", ") };
        let own = || tally.conditions.keys().filter(|key| key.condition.group() == Group::Generator);
        let met = |condition| own().any(|key: &ConditionKey| key.condition == condition);
        let alone = |condition| met(condition) && own().all(|key| key.condition == condition);
        let sentence = if alone(Condition::ContentLost) {
            format!("messages could not be sent to their end: {what}; leave their files alone while a run goes on")
        } else if met(Condition::TargetNotAllowed) {
            format!(
                "the target's name came to resolve to an address that was not allowed: {what}; nothing was sent there; find out \
                 who changed the name, or say --allow-target if that host may be loaded"
            )
        } else if alone(Condition::NoSourceAddress) {
            format!(
                "the generator's machine has no address from which the target can be reached: {what}; give it one of the \
                 target's family, or name another target"
            )
        } else {
            format!(
                "the generator's machine ran out of something: {what}; raise its limits (`smtpress check` says what the \
                 profile needs)"
            )
        };
        (Code::OwnResource, sentence)
    })
}

fn generator_cpu(measured: &Measured, index: usize) -> FoundReason {
    let share = *measured.health.cpu_saturated.get(index)?;
    (share > SATURATED).then(|| {
        let sentence = format!(
            "the generator's threads used more than 85 % of their CPU in {:.0} % of the seconds, 5 % are allowed; lower \
             the load, give the generator more threads, or run it on a machine of its own",
            share * 100.0
        );
        (Code::GeneratorCpu, sentence)
    })
}

/// Returns a reason if the counts of starts and ends do not agree (conservation, M10).
fn conservation(counts: &Counts) -> Option<String> {
    let shed = counts.arrivals.of(Outcome::Shed);
    let sums = [
        ("scheduled", counts.scheduled, "shed + started", shed + counts.started),
        ("started", counts.started, "all outcomes", counts.arrivals.ended()),
        ("transactions started", counts.attempted, "their outcomes", counts.transactions.ended()),
    ];
    let wrong: Vec<String> = sums
        .iter()
        .filter(|(_, left, _, right)| left != right)
        .map(|(name, left, sum, right)| format!("{name} is {left}, but {sum} is {right}"))
        .collect();
    (!wrong.is_empty())
        .then(|| format!("the counts do not reconcile, which is a fault in smtpress: {}", wrong.join("; ")))
}

fn clock_jumped(measured: &Measured) -> FoundReason {
    let drift = Duration::from_nanos(measured.health.clock_drift_ns);
    (drift > CLOCK_STEP + measured.took.mul_f64(CLOCK_SLEW)).then(|| {
        let sentence = format!(
            "the wall clock and the monotonic clock parted by {:.1} s: the clock was set or the machine slept",
            drift.as_secs_f64()
        );
        (Code::ClockJumped, sentence)
    })
}

/// Returns the reasons why a delivery log is incomplete: it may lack deliveries that came out of the relay.
fn deliveries_incomplete(measured: &Measured) -> impl Iterator<Item = (Code, String)> + '_ {
    let sentences = measured.delivered.iter().flat_map(|delivered| &delivered.incomplete);
    sentences.map(|sentence| (Code::DeliveriesIncomplete, sentence.clone()))
}

/// Returns a reason if the receiver was overloaded, which makes the relay look slow (M32).
fn receiver_overloaded(measured: &Measured) -> FoundReason {
    let health = measured.delivered.as_ref()?.receiver;
    let late = health.late > 1 && health.late * 100 > health.turns;
    let busy = health.cpu_share > RECEIVER_BUSY;
    let found = if health.accept_errors > 0 {
        format!("{} connections failed because no descriptor was left", health.accept_errors)
    } else if late || health.lag_max > RECEIVER_LATE {
        format!(
            "its timers were late by up to {:.0} ms, and by more than 50 ms in {} of {} turns; 1 % and {} ms are allowed",
            health.lag_max.as_secs_f64() * 1e3,
            health.late,
            health.turns,
            RECEIVER_LATE.as_millis()
        )
    } else if busy {
        format!("its threads used {:.0} % of their cores, 85 % are allowed", health.cpu_share * 100.0)
    } else {
        return None;
    };
    let sentence = format!(
        "the receiver behind the relay could not keep up: {found}; lower the load, give it more addresses, or more cores"
    );
    Some((Code::ReceiverOverloaded, sentence))
}

fn worker_lost(measured: &Measured) -> FoundReason {
    let lost = measured.health.lost_workers;
    (lost > 0).then(|| {
        let sentence =
            format!("{lost} workers or shards never reported their end; what they sent is missing");
        (Code::WorkerLost, sentence)
    })
}

fn agents_lost(measured: &Measured) -> impl Iterator<Item = (Code, String)> {
    let of = measured.agents.len();
    measured.agents.iter().filter_map(move |agent| Some((Code::AgentLost, agent.lost(of)?)))
}

fn shards_apart(measured: &Measured, phases: &[PhaseSummary]) -> FoundReason {
    let all = measured.starts_apart.iter().zip(phases).enumerate();
    let counted = all.filter(|(_, (_, phase))| !phase.info.warmup);
    let (phase, (apart, _)) = counted.max_by_key(|(_, (apart, _))| **apart)?;
    (*apart > STARTS_APART).then(|| {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let sentence = format!(
            "the agents began phase {} of the profile up to {:.0} ms apart, {:.0} ms are allowed: they were not one load; where \
             the phase opens all its sessions first, each agent waits for its own",
            phase + 1,
            ms(*apart),
            ms(STARTS_APART)
        );
        (Code::ShardsApart, sentence)
    })
}

fn events(measured: &Measured) -> impl Iterator<Item = (Code, String)> {
    let stopped = measured.interrupted || measured.aborted_by.is_some();
    measured.events.iter().filter_map(move |event| {
        let end = event.end.as_ref().unwrap_or(&CommandEnd::NotRun);
        let by_stop = stopped && matches!(end, CommandEnd::Stopped | CommandEnd::NotRun);
        (!end.is_success() && !by_stop).then(|| {
            let remedy = match end {
                CommandEnd::NotRun => "give the run more to do, or let the event start earlier",
                CommandEnd::TimedOut(_) => {
                    "give it a longer `timeout`, or let what it starts run in the background"
                }
                _ => "see its output in the report",
            };
            let sentence = format!("the command of event `{}` {end}; {remedy}", event.name);
            (Code::EventFailed, sentence)
        })
    })
}
