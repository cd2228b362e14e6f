//! The ends of a session and of its arrivals: what is entered in the books, and what the dispatcher is told.

use std::time::Duration;

use super::{ActiveArrival, Session, nanos};
use crate::collector::{Metric, Outcome};
use crate::condition::Condition;
use crate::generator::dispatch::{ScheduledArrival, SessionEnd};
use crate::generator::failure_class::FailureClass;
use crate::generator::times::Times;
use crate::generator::worker::Instruction;
use crate::smtp::Step;
use crate::smtp::client::Failure;

impl Session {
    /// Everything is over: the socket is closed, the books are brought up to date, the slot is free.
    pub(super) fn over(&mut self) {
        let worker = self.worker.clone();
        let now = worker.now();
        if let Some(Instruction::Serve(due, _)) = self.mailbox.take() {
            worker.give_back(self.slot, due);
        }
        let outcome = self.failed.unwrap_or(Outcome::Accepted);
        self.note_held(now);
        {
            let mut books = worker.books.borrow_mut();
            let counts = books.counts(self.phase);
            counts.bytes_sent += self.bytes.0;
            counts.bytes_received += self.bytes.1;
            if !self.established && !matches!(outcome, Outcome::Interrupted | Outcome::Shed) {
                counts.refused += 1;
            }
            books.value(self.phase, Metric::Session, outcome, nanos(now.saturating_sub(self.started)));
        }
        if let Some(due) = self.opened_for() {
            let times = match self.first {
                Some(due) => self.as_first(due).times(now),
                None => Times { decided: self.decided, opened: None, served: Some(self.started), ended: now },
            };
            match outcome {
                Outcome::Shed => worker.failed_to_start(due, self.started),
                // It was ended by our own side before it came to the message that it was opened for.
                Outcome::Accepted if self.first.is_some() => self.end(due, &times, Outcome::Interrupted),
                outcome => self.end(due, &times, outcome),
            }
        }
        if let Some(mut tape) = self.tape.take() {
            if let Some(heard) = &mut self.heard {
                tape.received(now, &heard.rest());
            }
            worker.tapes.borrow_mut().over(&tape, worker.index, self.condition);
        }
        worker.session_closed();
        let timed_out = self.failed == Some(Outcome::TimedOut);
        let end = match self.established {
            false => SessionEnd::NotOpened(outcome),
            true if self.ended_by_listener || timed_out => SessionEnd::ByListener(outcome),
            true => SessionEnd::ByClient,
        };
        worker.session_over(self.slot, end);
    }

    /// An arrival that began ends.
    pub(super) fn end(&self, due: ScheduledArrival, times: &Times, outcome: Outcome) {
        self.worker.notes.borrow_mut().ended(due.phase, due.intended, outcome, self.last_condition);
        self.worker.end(due, times, outcome);
    }

    /// The arrival that the session is itself ends with its last message, not with its leave.
    pub(super) fn end_bound(&self, due: ScheduledArrival, ended: Duration) {
        let times = Times { decided: self.decided, opened: None, served: Some(self.started), ended };
        self.end(due, &times, self.failed.unwrap_or(Outcome::Accepted));
    }

    /// Whether all that it was opened for is done, and only its leave is left.
    pub(super) fn is_done(&self) -> bool {
        let idle = if self.is_held() { self.released } else { self.left == 0 };
        self.established && idle && self.settled == self.sent
    }

    /// Whether a failure is the listener's manner, which changes nothing of what it accepted: how the session ends once its
    /// work is done, how one of the pool ends between two messages, and that it refuses a command beside the messages.
    pub(super) fn is_manner(&self, step: Step, failure: &Failure, judged: FailureClass) -> bool {
        let refused = matches!(failure, Failure::Reply(reply) if reply.code != 421);
        let carries = self.sent > 0 || self.left > 0;
        let between = self.bound.is_none() && self.sent > 0 && self.live[0].is_none();
        judged.outcome != Outcome::InDoubt
            && match step {
                // A host that is gone has none.
                Step::Quit => self.hold.unheard_since().is_none(),
                Step::Idle => self.is_done() || between,
                Step::Command => self.established && carries && (refused || self.is_done() || between),
                _ => false,
            }
    }

    /// Notes whether the listener ended a session that was to be held to its phase's end.
    fn note_held(&self, now: Duration) {
        let Some(due) = self.bound.filter(|_| self.established && self.is_held()) else { return };
        if let Some(since) = self.hold.unheard_since() {
            let mut notes = self.worker.notes.borrow_mut();
            notes.failed(due.phase, now, Step::Quit, Condition::HostUnreachable);
            return notes.unheard(due.phase, since);
        }
        let too_early = self.worker.phase_end(due.phase).is_some_and(|end| now < end);
        if self.ended_by_listener && too_early && self.failed != Some(Outcome::Expected) {
            self.worker.notes.borrow_mut().lost(due.phase, now);
        }
    }

    /// The message that the session was opened for, as an arrival of its own.
    pub(super) fn as_first(&self, due: ScheduledArrival) -> ActiveArrival {
        ActiveArrival { due, decided: self.decided, opened: Some(self.started), started: None }
    }

    /// The listener took a message, or refused one and goes on.
    pub(super) fn prove(&mut self) {
        if !std::mem::replace(&mut self.proven, true) {
            self.worker.served(self.slot);
        }
    }
}
