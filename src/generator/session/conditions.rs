//! Records the conditions of a session for its own state and for its transcript.

use super::Session;
use crate::collector::Outcome;
use crate::generator::failure_class::FailureClass;
use crate::smtp::{Reply, Step};

impl Session {
    /// Reports the condition of a failed step and returns the outcome that counts. `harmless`: the failure fails no
    /// arrival (see [`Session::is_harmless`]).
    pub(super) fn condition(
        &mut self,
        step: Step,
        class: FailureClass,
        harmless: bool,
        reply: Option<&Reply>,
        sample: impl Fn() -> String,
    ) -> Outcome {
        let FailureClass { condition, outcome } = class;
        if outcome == Outcome::Interrupted && self.is_needless {
            self.failed.get_or_insert(outcome);
            return outcome;
        }
        let outcome = self.accounting.condition(self.current_phase(), step, class, harmless, reply, &sample);
        if let Some(transcript) = &mut self.transcript {
            transcript
                .note(self.pool.context.now(), &format!("{step}: {condition} ({outcome}): {}", sample()));
        }
        self.condition.get_or_insert(condition);
        self.last_condition = Some(condition);
        if !harmless {
            self.failed.get_or_insert(outcome);
        }
        outcome
    }
}
