//! Merges the deliveries of shards. Each shard has its own receiver.
//!
//! # Decisions
//! - Counts are added. The largest queue is the sum over the shards, and the drain is the longest of a shard: both are
//!   upper bounds.
//! - Slopes of queues are added, and so are the ends of their intervals, because the queues belong to one relay and are
//!   not independent.
//! - The merged times are as uncertain as those of the least certain clock. If one clock is unknown there are no times,
//!   because those of the other shards are not those of the whole.
//! - A message that the relay delivers to the receiver of another shard counts as foreign in that shard, and as missing
//!   in its own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::seconds_of as seconds;
use crate::collector::delivery::{
    Altered, BounceCount, ClockRelation, Delivered, DeliveryCounts, MissingRecipient, PhaseDelivery,
    ReceiverHealth,
};
use crate::collector::growth::Growth;
use crate::report::stored::delivery::{
    StoredAltered, StoredClock, StoredDelivery, StoredPhaseDelivery, StoredReceiver,
};
use crate::report::stored::{RunResult, StoredPhase};

/// Returns the merged deliveries; `None` if no shard had a receiver.
pub fn delivered(results: &[RunResult]) -> Option<Box<Delivered>> {
    let runs: Vec<&StoredDelivery> = results.iter().filter_map(|shard| shard.delivery.as_ref()).collect();
    if runs.is_empty() {
        return None;
    }
    let clock = clock(results);
    let phases = (0..results[0].phases.len())
        .map(|index| phase(results.iter().filter_map(|shard| shard.phases.get(index)).collect(), clock))
        .collect();
    let sum = |of: fn(&StoredDelivery) -> u64| runs.iter().map(|run| of(run)).sum();
    Some(Box::new(Delivered {
        phases,
        foreign: sum(|run| run.foreign),
        delayed: sum(|run| run.delayed),
        ended: seconds(runs.iter().map(|run| run.ended_s).fold(0.0, f64::max)),
        silent_for: runs.iter().filter_map(|run| run.silent_s).reduce(f64::min).map(seconds),
        cut_short: runs.iter().any(|run| run.cut_short),
        missing: results.iter().flat_map(missing).collect(),
        altered: runs.iter().flat_map(|run| &run.altered).map(altered).collect(),
        bounces: bounces(&runs),
        receiver: runs
            .iter()
            .map(|run| receiver(&run.receiver))
            .reduce(ReceiverHealth::and)
            .unwrap_or_default(),
        clock,
        ..Delivered::default()
    }))
}

/// Returns the relation of the receivers' clocks about which the least is known.
pub fn clock(results: &[RunResult]) -> ClockRelation {
    let uncertainty = |clock: &ClockRelation| match clock {
        ClockRelation::Own => (0, Duration::ZERO),
        ClockRelation::Same => (1, Duration::ZERO),
        ClockRelation::Offset { bound, .. } => (2, *bound),
        ClockRelation::Unknown => (3, Duration::ZERO),
    };
    let relations = results.iter().filter_map(|shard| shard.delivery.as_ref()).map(|own| relation(own.clock));
    relations.max_by_key(uncertainty).unwrap_or_default()
}

fn relation(clock: Option<StoredClock>) -> ClockRelation {
    match clock {
        None => ClockRelation::Own,
        Some(StoredClock::Same) => ClockRelation::Same,
        Some(StoredClock::Unknown) => ClockRelation::Unknown,
        // Only a changed file has a bound that is no length of time.
        Some(StoredClock::Offset { ahead_s, bound_s }) => {
            Duration::try_from_secs_f64(bound_s).map_or(ClockRelation::Unknown, |bound| {
                ClockRelation::Offset { ahead_ns: (ahead_s * 1e9).round() as i64, bound }
            })
        }
    }
}

fn receiver(own: &StoredReceiver) -> ReceiverHealth {
    ReceiverHealth {
        cpu_share: own.cpu_share,
        lag_max: seconds(own.lag_max_ms / 1e3),
        connections: own.connections,
        refusals: own.refusals,
        ..ReceiverHealth::default()
    }
}

fn phase(shards: Vec<&StoredPhase>, clock: ClockRelation) -> PhaseDelivery {
    let own: Vec<(&StoredPhaseDelivery, f64)> =
        shards.iter().filter_map(|phase| Some((phase.delivery.as_ref()?, phase.window_s))).collect();
    let mut counts = DeliveryCounts::default();
    own.iter().for_each(|(phase, _)| counts += counts_of(phase));
    let growths: Option<Vec<_>> = own.iter().map(|(phase, _)| phase.queued_growth_per_s).collect();
    PhaseDelivery {
        counts,
        queued_max: own.iter().map(|(phase, _)| phase.queued_max).sum(),
        queued_growth: growths.filter(|growths| !growths.is_empty()).map(|growths| Growth {
            slope: growths.iter().map(|growth| growth.value).sum(),
            low: growths.iter().map(|growth| growth.low).sum(),
            high: growths.iter().map(|growth| growth.high).sum(),
        }),
        delivered_in_window: own
            .iter()
            .map(|(phase, window)| Some((phase.delivered_per_s? * window).round() as u64))
            .sum(),
        // A shard without a drain had nothing to deliver, or its times are unknown.
        drain: own
            .iter()
            .filter_map(|(phase, _)| phase.drain_s)
            .reduce(f64::max)
            .filter(|_| clock != ClockRelation::Unknown)
            .map(seconds),
        // The deliveries by second are in the time series of the shards.
        seconds: BTreeMap::new(),
        times: BTreeMap::new(),
    }
}

fn counts_of(phase: &StoredPhaseDelivery) -> DeliveryCounts {
    DeliveryCounts {
        accepted: phase.accepted_recipients,
        delivered: phase.delivered,
        bounced: phase.bounced,
        missing: phase.missing,
        in_doubt: phase.in_doubt,
        in_doubt_delivered: phase.in_doubt_delivered,
        in_doubt_bounced: phase.in_doubt_bounced,
        in_doubt_missing: phase.in_doubt_missing,
        duplicated: phase.duplicated,
        altered: phase.altered,
        unexpected: phase.unexpected,
        bounced_and_delivered: phase.bounced_and_delivered,
    }
}

/// Returns the missing recipients. Their intended starts are set to 0: a result does not store them, and no report shows
/// them.
fn missing(shard: &RunResult) -> Vec<MissingRecipient> {
    let index = |name: &str| shard.phases.iter().position(|phase| phase.name == name);
    let named = shard.delivery.iter().flat_map(|delivery| &delivery.missing);
    named
        .filter_map(|own| {
            Some(MissingRecipient {
                seq: own.seq,
                recipient: own.recipient,
                phase: u32::try_from(index(&own.phase)?).ok()?,
                answered: seconds(own.accepted_s),
                intended: Duration::ZERO,
            })
        })
        .collect()
}

fn altered(own: &StoredAltered) -> Altered {
    Altered { seq: own.seq, what: own.what.clone() }
}

/// Adds up the bounces by status and meaning, the most frequent first.
fn bounces(runs: &[&StoredDelivery]) -> Vec<BounceCount> {
    let mut all: Vec<BounceCount> = Vec::new();
    for own in runs.iter().flat_map(|run| &run.bounces) {
        let condition = own.condition.as_ref().and_then(|name| name.parse().ok());
        match all.iter_mut().find(|known| known.status == own.status && known.condition == condition) {
            Some(known) => known.count += own.count,
            None => all.push(BounceCount {
                status: own.status.clone(),
                condition,
                count: own.count,
                sample: own.sample.clone(),
            }),
        }
    }
    all.sort_by_key(|bounce| std::cmp::Reverse(bounce.count));
    all
}
