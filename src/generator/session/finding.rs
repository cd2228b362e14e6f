//! What a session finds, as it is entered in the books: the conditions, and how they count.

use super::Session;
use crate::collector::Outcome;
use crate::collector::tally::ConditionKey;
use crate::condition::Condition;
use crate::condition::expect::Expect;
use crate::generator::failure_class::FailureClass;
use crate::smtp::{Reply, Step};

impl Session {
    /// Files what a failed step means; returns how it counts. `manner`: for no arrival (see [`Session::is_manner`]).
    pub(super) fn file(
        &mut self,
        step: Step,
        judged: FailureClass,
        manner: bool,
        reply: Option<&Reply>,
        sample: impl Fn() -> String,
    ) -> Outcome {
        let FailureClass { condition, mut outcome } = judged;
        if outcome == Outcome::Interrupted && self.is_needless {
            self.failed.get_or_insert(outcome);
            return outcome;
        }
        let worker = &self.worker;
        let phase = self.current_phase();
        let code = reply.map(|reply| reply.code);
        let sessions = worker.open_sessions();
        let covers = |expect: &Expect| expect.covers(phase, step, condition, code, sessions);
        // What our own side failed at is never right, and what the listener may have taken never a plain refusal.
        let expectable = !matches!(outcome, Outcome::Shed | Outcome::InDoubt | Outcome::Interrupted);
        let expected = worker.plan().expects.iter().position(|expect| expectable && covers(expect));
        let late = worker.is_drained(phase, worker.now());
        let mut books = worker.books.borrow_mut();
        if let Some(index) = expected.and_then(|index| u32::try_from(index).ok()) {
            books.expect(phase, index, late);
            outcome = Outcome::Expected;
        }
        let counted = if manner && outcome != Outcome::Expected { Outcome::Accepted } else { outcome };
        let enhanced = reply.and_then(|reply| reply.enhanced);
        let key = ConditionKey { step, condition, code, enhanced, outcome: counted };
        books.condition(phase, key, worker.now(), late, &sample);
        drop(books);
        worker.tapes.borrow_mut().met(condition);
        if let Some(tape) = &mut self.tape {
            tape.note(worker.now(), &format!("{step}: {condition} ({outcome}): {}", sample()));
        }
        if outcome != Outcome::Expected && !manner {
            worker.notes.borrow_mut().failed(phase, worker.now(), step, condition);
        }
        self.condition.get_or_insert(condition);
        self.last_condition = Some(condition);
        if !manner {
            self.failed.get_or_insert(outcome);
        }
        outcome
    }

    /// Files a reply whose lines had different codes.
    pub(super) fn mixed(&self, step: Step, reply: &Reply) {
        let key = ConditionKey {
            step,
            condition: Condition::MixedReply,
            code: Some(reply.code),
            enhanced: reply.enhanced,
            // By itself it ends nothing.
            outcome: Outcome::Accepted,
        };
        let worker = &self.worker;
        let (phase, now) = (self.current_phase(), worker.now());
        let late = worker.is_drained(phase, now);
        worker.books.borrow_mut().condition(phase, key, now, late, || reply.to_string());
    }
}
