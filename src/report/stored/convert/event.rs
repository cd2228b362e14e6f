//! Converts an event of a run to its stored form.

use crate::collector::Outcome;
use crate::collector::effect::{EventEffect, EventRecovery, EventSide, Outage};
use crate::collector::flow::AcceptedStretch;
use crate::event::{CommandEnd, EventRun};
use crate::report::stored::event::{
    StoredEffect, StoredEvent, StoredEventSide, StoredEventStatus, StoredOutage, StoredSideDelivery,
};

/// Converts an event and its effect.
pub(super) fn event((event, effect): &(EventRun, Option<EventEffect>)) -> StoredEvent {
    let status = status(event);
    StoredEvent {
        name: event.name.clone(),
        command: event.command.clone(),
        due_s: event.due.map(|at| at.as_secs_f64()),
        started_s: event.started.map(|at| at.as_secs_f64()),
        ended_s: event.ended.map(|at| at.as_secs_f64()),
        status,
        exit_code: match event.end {
            Some(CommandEnd::Exited(code)) => Some(code),
            _ => None,
        },
        explanation: event.end.as_ref().map_or_else(|| status.to_string(), CommandEnd::to_string),
        output: event.output.clone(),
        // Before the end of the event its effect is unknown.
        effect: effect.as_ref().filter(|_| event.end.is_some()).map(stored_effect),
    }
}

fn status(event: &EventRun) -> StoredEventStatus {
    match &event.end {
        None if event.started.is_some() => StoredEventStatus::Running,
        None => StoredEventStatus::Waiting,
        Some(CommandEnd::Exited(0)) => StoredEventStatus::Done,
        Some(CommandEnd::Exited(_) | CommandEnd::Signalled(_) | CommandEnd::Unknown(_)) => {
            StoredEventStatus::Failed
        }
        Some(CommandEnd::TimedOut(_)) => StoredEventStatus::TimedOut,
        Some(CommandEnd::Stopped) => StoredEventStatus::Stopped,
        Some(CommandEnd::NotStarted(_)) => StoredEventStatus::NotStarted,
        Some(CommandEnd::NotRun) => StoredEventStatus::NotRun,
    }
}

fn stored_effect(effect: &EventEffect) -> StoredEffect {
    let (recovery_s, not_recovered_within_s, recovery_unknown) = match &effect.recovery {
        EventRecovery::After(time) => (Some(time.as_secs_f64()), None, None),
        EventRecovery::NotWithin(time) => (None, Some(time.as_secs_f64()), None),
        EventRecovery::Unknown(why) => (None, None, Some(why.clone())),
    };
    StoredEffect {
        outage: effect.outage.as_ref().map(outage),
        recovery_s,
        not_recovered_within_s,
        recovery_unknown,
        before: side(&effect.before),
        after: side(&effect.after),
    }
}

fn outage(outage: &Outage) -> StoredOutage {
    StoredOutage {
        s: outage.length().as_secs_f64(),
        at_most_s: outage.at_most.map(|most| most.as_secs_f64()),
        from_s: outage.from.as_secs_f64(),
        to_s: outage.to.as_secs_f64(),
        failed: outage.failed,
    }
}

fn side(side: &EventSide) -> StoredEventSide {
    let of = |outcome| side.arrivals.outcomes.of(outcome);
    StoredEventSide {
        from_s: side.from.as_secs_f64(),
        to_s: side.to.as_secs_f64(),
        offered: side.arrivals.offered(),
        accepted: of(Outcome::Accepted),
        expected: of(Outcome::Expected),
        deferred: of(Outcome::Deferred),
        rejected: of(Outcome::Rejected),
        refused: of(Outcome::Refused),
        dropped: of(Outcome::Dropped),
        timed_out: of(Outcome::TimedOut),
        in_doubt: of(Outcome::InDoubt),
        malformed: of(Outcome::Malformed),
        interrupted: of(Outcome::Interrupted),
        shed: of(Outcome::Shed),
        delivery: side.accepted.as_ref().map(accepted),
    }
}

fn accepted(stretch: &AcceptedStretch) -> StoredSideDelivery {
    StoredSideDelivery {
        accepted_recipients: stretch.accepted,
        delivered: stretch.delivered,
        bounced: stretch.bounced,
        missing: stretch.missing(),
    }
}
