//! The answers to each recipient of a session's transactions, where they are to be matched with what comes out of a relay.
//!
//! # Decisions
//! - Replies come in the order of the commands, so a step belongs to the transaction whose MAIL was answered last, although the
//!   end of the one before may be reported later.
//! - With one recipient the end of the transaction says all, and nothing is stored.

use std::collections::VecDeque;

use crate::collector::delivery::{Answers, FinalAnswer};
use crate::smtp::Step;
use crate::smtp::script::Protocol;

/// The answers of a session.
pub(super) struct RecipientAnswers {
    recipients: u32,
    protocol: Protocol,
    /// Transactions whose MAIL was answered and whose end was not reported, oldest first.
    open: VecDeque<ReportedTransaction>,
}

#[derive(Default)]
struct ReportedTransaction {
    /// Whether each RCPT was accepted.
    taken: Vec<bool>,
    /// The replies to the content, with LMTP one for each recipient that was taken.
    content: Vec<FinalAnswer>,
    in_doubt: bool,
}

impl RecipientAnswers {
    /// For messages with so many recipients.
    pub fn new(recipients: u32, protocol: Protocol) -> RecipientAnswers {
        RecipientAnswers { recipients, protocol, open: VecDeque::new() }
    }

    /// A step ended; `in_doubt`: the listener may have the message.
    pub fn step(&mut self, step: Step, is_accepted: bool, in_doubt: bool) {
        let is_in_transaction = matches!(step, Step::Mail | Step::Rcpt | Step::Data | Step::Body);
        if step == Step::Mail && !in_doubt || self.open.is_empty() && in_doubt {
            self.open.push_back(ReportedTransaction::default());
        } else if !is_in_transaction && !in_doubt {
            return;
        }
        let Some(open) = self.open.back_mut() else { return };
        open.in_doubt |= in_doubt;
        match step {
            _ if self.recipients == 1 => {}
            Step::Rcpt => open.taken.push(is_accepted),
            Step::Body => open.content.push(match is_accepted {
                true => FinalAnswer::Accepted,
                false if in_doubt => FinalAnswer::InDoubt,
                false => FinalAnswer::Refused,
            }),
            _ => {}
        }
    }

    /// The oldest transaction ended.
    pub fn ended(&mut self, is_accepted: bool) -> Answers {
        let open = self.open.pop_front().unwrap_or_default();
        let whole = match is_accepted {
            true => FinalAnswer::Accepted,
            false if open.in_doubt => FinalAnswer::InDoubt,
            false => FinalAnswer::Refused,
        };
        let all_taken = open.taken.iter().all(|taken| *taken);
        if self.recipients == 1 || all_taken && (is_accepted || self.protocol == Protocol::Smtp) {
            return Answers::All(whole);
        }
        let mut content = open.content.into_iter();
        let answer = |index: usize| match (open.taken.get(index), self.protocol) {
            (Some(false), _) => FinalAnswer::Refused,
            (_, Protocol::Smtp) => whole,
            // A reply that did not come: as the whole.
            (_, Protocol::Lmtp) => content.next().unwrap_or(whole),
        };
        Answers::Each((0..self.recipients as usize).map(answer).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(answers: &[FinalAnswer]) -> Answers {
        Answers::Each(answers.into())
    }

    #[test]
    fn m31_each_recipient_has_the_answer_to_its_command_and_to_the_content() {
        let mut answers = RecipientAnswers::new(3, Protocol::Smtp);
        [Step::Connect, Step::Greeting, Step::Hello]
            .into_iter()
            .for_each(|step| answers.step(step, true, false));
        let rcpts = |answers: &mut RecipientAnswers, taken: [bool; 3]| {
            answers.step(Step::Mail, true, false);
            taken.into_iter().for_each(|taken| answers.step(Step::Rcpt, taken, false));
            answers.step(Step::Data, true, false);
        };
        rcpts(&mut answers, [true; 3]);
        answers.step(Step::Body, true, false);
        assert_eq!(answers.ended(true), Answers::All(FinalAnswer::Accepted));
        rcpts(&mut answers, [true, false, true]);
        answers.step(Step::Body, true, false);
        assert_eq!(
            answers.ended(true),
            each(&[FinalAnswer::Accepted, FinalAnswer::Refused, FinalAnswer::Accepted])
        );
        rcpts(&mut answers, [true, false, true]);
        answers.step(Step::Body, false, true);
        assert_eq!(
            answers.ended(false),
            each(&[FinalAnswer::InDoubt, FinalAnswer::Refused, FinalAnswer::InDoubt])
        );
        answers.step(Step::Mail, false, false);
        assert_eq!(answers.ended(false), Answers::All(FinalAnswer::Refused));
        assert_eq!(answers.ended(false), Answers::All(FinalAnswer::Refused), "nothing was answered");
    }

    #[test]
    fn with_lmtp_the_content_is_answered_for_each_that_was_taken() {
        let mut answers = RecipientAnswers::new(3, Protocol::Lmtp);
        answers.step(Step::Mail, true, false);
        [true, false, true].into_iter().for_each(|taken| answers.step(Step::Rcpt, taken, false));
        answers.step(Step::Body, true, false);
        answers.step(Step::Body, false, false);
        assert_eq!(
            answers.ended(false),
            each(&[FinalAnswer::Accepted, FinalAnswer::Refused, FinalAnswer::Refused])
        );
        answers.step(Step::Mail, true, false);
        [true, true, true].into_iter().for_each(|taken| answers.step(Step::Rcpt, taken, false));
        answers.step(Step::Body, true, false);
        // The connection is lost before the second reply.
        answers.step(Step::Body, false, true);
        assert_eq!(
            answers.ended(false),
            each(&[FinalAnswer::Accepted, FinalAnswer::InDoubt, FinalAnswer::InDoubt])
        );
    }

    #[test]
    fn an_end_that_is_reported_late_takes_its_own_answers() {
        let mut answers = RecipientAnswers::new(2, Protocol::Smtp);
        answers.step(Step::Mail, true, false);
        [true, false].into_iter().for_each(|taken| answers.step(Step::Rcpt, taken, false));
        answers.step(Step::Body, true, false);
        answers.step(Step::Mail, true, false);
        [true, true].into_iter().for_each(|taken| answers.step(Step::Rcpt, taken, false));
        assert_eq!(answers.ended(true), each(&[FinalAnswer::Accepted, FinalAnswer::Refused]));
        answers.step(Step::Body, false, true);
        assert_eq!(answers.ended(false), Answers::All(FinalAnswer::InDoubt));
        // A group behind the last chunk, of which nothing was answered.
        answers.step(Step::Mail, false, true);
        assert_eq!(answers.ended(false), Answers::All(FinalAnswer::InDoubt));
    }
}
