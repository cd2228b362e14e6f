//! Ends a session and its arrivals: reports to the accounting and to the pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ActiveArrival, Session};
use crate::collector::{Metric, Outcome};
use crate::condition::Condition;
use crate::generator::dispatch::{AttemptEnd, ScheduledArrival, SessionEnd};
use crate::generator::failure_class::FailureClass;
use crate::generator::session_pool::Instruction;
use crate::generator::times::Times;
use crate::smtp::Step;
use crate::smtp::client::Failure;

impl Session {
    /// Reports the end of the session, whose socket is closed, and frees its slot.
    pub(super) fn over(&mut self) {
        let now = self.pool.context.now();
        if let Some(Instruction::Serve(arrival, _)) = self.instructions.take() {
            self.pool.give_back(self.slot, arrival);
        }
        // The client ended the session before its last message, for example to ask for missing replies of LMTP.
        let means_to = self.pool.connector.script().manners.half_close.is_some();
        let is_cut_short =
            self.bound.is_some() && self.established && !self.is_held() && self.left > 0 && !means_to;
        let unfailed = if is_cut_short { Outcome::Interrupted } else { Outcome::Accepted };
        let outcome = self.failed.unwrap_or(unfailed);
        self.note_held(now);
        self.accounting.count(self.phase, |counts| {
            counts.bytes_sent += self.bytes.0;
            counts.bytes_received += self.bytes.1;
            let refused = !self.established && !matches!(outcome, Outcome::Interrupted | Outcome::Shed);
            counts.refused += u64::from(refused);
        });
        self.accounting.time(self.phase, Metric::Session, outcome, now.saturating_sub(self.started));
        if let Some(arrival) = self.opened_for() {
            let times = match self.first {
                Some(arrival) => self.as_first(arrival).times(now),
                None => Times { decided: self.decided, opened: None, served: Some(self.started), ended: now },
            };
            match outcome {
                Outcome::Shed => {
                    self.pool.attempt_ended(&arrival, self.attempt_end(outcome, None));
                    self.accounting.arrival_not_started(&arrival, self.started);
                }
                // The generator ended the session before it sent the message for which it was opened.
                Outcome::Accepted if self.first.is_some() => {
                    self.end(arrival, &times, Outcome::Interrupted, None);
                }
                outcome => self.end(arrival, &times, outcome, None),
            }
        }
        if let Some(mut transcript) = self.transcript.take() {
            if let Some(heard) = &mut self.heard {
                transcript.received(now, &heard.rest());
            }
            self.accounting.keep_transcript(now, &mut transcript, self.condition);
        }
        self.accounting.session_closed();
        let timed_out = self.failed == Some(Outcome::TimedOut);
        let end = match self.established {
            false => SessionEnd::NotOpened(outcome),
            true if self.ended_by_listener || timed_out => SessionEnd::ByListener(outcome),
            true => SessionEnd::ByClient,
        };
        self.pool.session_ended(self.slot, end);
    }

    /// Ends the arrival for which the session was opened, because the opening failed at `ended`. The QUIT that follows is
    /// no part of it: a listener may take its time to answer it.
    pub(super) fn opening_failed(&mut self, ended: Instant) {
        let ended = self.pool.context.clock.offset_of(ended);
        if let Some(arrival) = self.first.take() {
            // The dispatcher counts the arrival until the slot is free, so that it waits for the end of the session.
            let times = self.as_first(arrival).times(ended);
            self.end(arrival, &times, self.failed.unwrap_or(Outcome::Accepted), None);
        } else if let Some(arrival) = self.bound.take() {
            self.end_bound(arrival, ended);
        }
    }

    /// Ends a started arrival. `left`: the recipients that may still get its message, if it has several.
    pub(super) fn end(
        &self,
        arrival: ScheduledArrival,
        times: &Times,
        outcome: Outcome,
        left: Option<Arc<[u32]>>,
    ) {
        let after = self.pool.attempt_ended(&arrival, self.attempt_end(outcome, left));
        self.accounting.arrival_ended(arrival, times, outcome, self.last_condition, after);
    }

    fn attempt_end(&self, outcome: Outcome, left: Option<Arc<[u32]>>) -> AttemptEnd {
        AttemptEnd { outcome, for_good: self.refused_for_good, session: self.serial, left }
    }

    /// Ends the arrival that is this session: at its last message, not at QUIT.
    pub(super) fn end_bound(&self, arrival: ScheduledArrival, ended: Duration) {
        let times = Times { decided: self.decided, opened: None, served: Some(self.started), ended };
        self.end(arrival, &times, self.failed.unwrap_or(Outcome::Accepted), None);
    }

    /// Whether the work of the session is done, and only QUIT is left.
    pub(super) fn is_done(&self) -> bool {
        let idle = if self.is_held() { self.released } else { self.left == 0 };
        self.established && idle && self.settled == self.sent
    }

    /// Whether a failure does not change what the listener accepted: the end of a session after its work, the end of a
    /// session of the pool between two messages, or the refusal of an extra command.
    pub(super) fn is_harmless(&self, step: Step, failure: &Failure, class: FailureClass) -> bool {
        let refused = matches!(failure, Failure::Reply(reply) if reply.code != 421);
        let carries = self.sent > 0 || self.left > 0;
        let between = self.bound.is_none() && self.sent > 0 && self.active[0].is_none();
        class.outcome != Outcome::InDoubt
            && match step {
                // If the host of a held session is gone, the session was not held to its end.
                Step::Quit => self.hold.unheard_since().is_none(),
                Step::Idle => self.is_done() || between,
                Step::Command => self.established && carries && (refused || self.is_done() || between),
                _ => false,
            }
    }

    /// Notes a session that was to be held until the end of its phase, if it ended before without an instruction, or if
    /// its host is gone.
    fn note_held(&self, now: Duration) {
        let Some(arrival) = self.bound.filter(|_| self.established && self.is_held()) else { return };
        if let Some(since) = self.hold.unheard_since() {
            let mut notes = self.accounting.notes();
            notes.failed(arrival.phase, now, Step::Quit, Condition::HostUnreachable);
            return notes.unheard(arrival.phase, since);
        }
        let too_early = self.accounting.phase_end(arrival.phase).is_some_and(|end| now < end);
        let told = self.released || self.finishing;
        if !told && too_early && self.failed != Some(Outcome::Expected) {
            self.accounting.notes().lost(arrival.phase, now);
        }
    }

    /// Returns the message for which the session was opened.
    pub(super) fn as_first(&self, arrival: ScheduledArrival) -> ActiveArrival {
        ActiveArrival { arrival, decided: self.decided, opened: Some(self.started), started: None }
    }

    /// Notes that the listener accepted a message, or refused one and went on.
    pub(super) fn prove(&mut self) {
        if !std::mem::replace(&mut self.proven, true) {
            self.pool.served(self.slot);
        }
    }
}
