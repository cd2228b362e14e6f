//! Converts the deliveries of a relay to their stored form.

use std::time::Duration;

use crate::collector::delivery::{ClockRelation, Delivered, PhaseDelivery};
use crate::collector::growth::Growth;
use crate::collector::summary::{PhaseSummary, per_second};
use crate::report::stored::delivery::{
    StoredAltered, StoredBounce, StoredClock, StoredDelivery, StoredGrowth, StoredMissing,
    StoredPhaseDelivery, StoredReceiver,
};

/// Converts the deliveries of a phase.
pub(in crate::report) fn phase(delivery: &PhaseDelivery, window: Duration) -> StoredPhaseDelivery {
    let counts = &delivery.counts;
    let growth = |Growth { slope, low, high }| StoredGrowth { value: slope, low, high };
    StoredPhaseDelivery {
        accepted_recipients: counts.accepted,
        delivered: counts.delivered,
        bounced: counts.bounced,
        missing: counts.missing,
        duplicated: counts.duplicated,
        altered: counts.altered,
        unexpected: counts.unexpected,
        in_doubt: counts.in_doubt,
        in_doubt_delivered: counts.in_doubt_delivered,
        in_doubt_bounced: counts.in_doubt_bounced,
        in_doubt_missing: counts.in_doubt_missing,
        bounced_and_delivered: counts.bounced_and_delivered,
        queued_max: delivery.queued_max,
        queued_growth_per_s: delivery.queued_growth.map(growth),
        drain_s: delivery.drain.map(|drain| drain.as_secs_f64()),
        delivered_per_s: delivery.delivered_in_window.map(|count| per_second(count, window)),
    }
}

/// Converts the deliveries of a run.
pub(in crate::report) fn of_run(delivered: &Delivered, phases: &[PhaseSummary]) -> StoredDelivery {
    let name =
        |phase: u32| phases.get(phase as usize).map(|phase| phase.info.name.clone()).unwrap_or_default();
    StoredDelivery {
        foreign: delivered.foreign,
        delayed: delivered.delayed,
        ended_s: delivered.ended.as_secs_f64(),
        silent_s: delivered.silent_for.map(|silent| silent.as_secs_f64()),
        cut_short: delivered.cut_short,
        missing: delivered
            .missing
            .iter()
            .map(|missing| StoredMissing {
                phase: name(missing.phase),
                seq: missing.seq,
                recipient: missing.recipient,
                accepted_s: missing.answered.as_secs_f64(),
            })
            .collect(),
        altered: delivered
            .altered
            .iter()
            .map(|altered| StoredAltered { seq: altered.seq, what: altered.what.clone() })
            .collect(),
        bounces: delivered
            .bounces
            .iter()
            .map(|bounce| StoredBounce {
                status: bounce.status.clone(),
                condition: bounce.condition.map(|condition| condition.to_string()),
                count: bounce.count,
                sample: bounce.sample.clone(),
            })
            .collect(),
        receiver: StoredReceiver {
            cpu_share: delivered.receiver.cpu_share,
            lag_max_ms: delivered.receiver.lag_max.as_secs_f64() * 1e3,
            connections: delivered.receiver.connections,
            refusals: delivered.receiver.refusals,
        },
        clock: match delivered.clock {
            ClockRelation::Own => None,
            ClockRelation::Same => Some(StoredClock::Same),
            ClockRelation::Offset { ahead_ns, bound } => {
                Some(StoredClock::Offset { ahead_s: ahead_ns as f64 / 1e9, bound_s: bound.as_secs_f64() })
            }
            ClockRelation::Unknown => Some(StoredClock::Unknown),
        },
    }
}
