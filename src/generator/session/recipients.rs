//! Keeps the answers to each recipient of a session's transactions: for matching with a relay's deliveries, or for
//! retries of some recipients.
//!
//! # Decisions
//! - Replies come in the order of the commands, so a step belongs to the transaction whose MAIL was answered last,
//!   although the end of the previous transaction may be reported later.
//! - With one recipient the end of the transaction is enough, and nothing is stored.
//! - A recipient without an answer of its own has the result of the transaction: its last failure, except for refusals
//!   of other recipients. A recipient with an unknown result may still get the message.
//! - With LMTP a message that one recipient refused is refused, whatever comes after. If the session is lost or out of
//!   step before the replies for the others, these are in doubt all the same: the listener has the message.
//! - A recipient that is not part of an attempt is listed as refused: over all attempts the best answer counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{ActiveArrival, Session};
use crate::collector::Outcome;
use crate::collector::delivery::{Answers, FinalAnswer, Transaction};
use crate::generator::dispatch::{ScheduledArrival, may_pass};
use crate::generator::failure_class;
use crate::smtp::Step;
use crate::smtp::client::Failure;
use crate::smtp::script::Protocol;

/// The answers of a session.
pub(super) struct RecipientAnswers {
    recipients: u32,
    protocol: Protocol,
    /// The recipients of each unfinished transaction, oldest first, by index; `None`: all.
    started: VecDeque<Option<Arc<[u32]>>>,
    /// Unfinished transactions whose MAIL was answered, oldest first.
    open: VecDeque<ReportedTransaction>,
}

#[derive(Default)]
struct ReportedTransaction {
    /// The outcome of each RCPT.
    taken: Vec<Outcome>,
    /// The outcomes of the content; with LMTP one for each accepted recipient.
    content: Vec<Outcome>,
    /// The last failure, except for refused recipients.
    failed: Option<Outcome>,
    in_doubt: bool,
    /// LMTP: whether only some of the replies to the content came.
    is_partly_answered: bool,
}

impl ReportedTransaction {
    /// LMTP: whether as many replies to the content came as were due.
    fn is_answered(&self) -> bool {
        let accepted = self.taken.iter().filter(|answer| **answer == Outcome::Accepted);
        self.content.len() == accepted.count()
    }

    /// Returns the outcome of each recipient, in order; `whole`: the outcome of recipients without an answer of their
    /// own.
    fn outcomes(
        self,
        recipients: usize,
        protocol: Protocol,
        whole: Outcome,
    ) -> impl Iterator<Item = Outcome> {
        let mut content = self.content.into_iter();
        (0..recipients).map(move |index| match (self.taken.get(index), protocol) {
            (Some(refused), _) if *refused != Outcome::Accepted => *refused,
            (_, Protocol::Smtp) => whole,
            (Some(_), Protocol::Lmtp) => content.next().unwrap_or(whole),
            (None, Protocol::Lmtp) => whole,
        })
    }
}

impl RecipientAnswers {
    /// Makes the state for messages with this many recipients.
    pub fn new(recipients: u32, protocol: Protocol) -> RecipientAnswers {
        RecipientAnswers { recipients, protocol, started: VecDeque::new(), open: VecDeque::new() }
    }

    /// Starts a transaction for these recipients, by index; `None`: all.
    pub fn begin(&mut self, only: Option<Arc<[u32]>>) {
        self.started.push_back(only);
    }

    /// Notes that the replies for the other recipients of the current transaction will not come.
    pub fn partly_answered(&mut self) {
        if let Some(open) = self.open.back_mut().filter(|open| !open.content.is_empty()) {
            open.is_partly_answered = true;
        }
    }

    /// Processes the end of a step; [`Outcome::InDoubt`]: the listener may have the message. `is_lost`: the step failed
    /// without a reply.
    pub fn step(&mut self, step: Step, outcome: Outcome, is_lost: bool) {
        let in_doubt = outcome == Outcome::InDoubt;
        let is_in_transaction = matches!(step, Step::Mail | Step::Rcpt | Step::Data | Step::Body);
        if step == Step::Mail && !in_doubt || self.open.is_empty() && in_doubt {
            self.open.push_back(ReportedTransaction::default());
        } else if !is_in_transaction && !in_doubt {
            return;
        }
        let Some(open) = self.open.back_mut() else { return };
        open.in_doubt |= in_doubt;
        if self.recipients == 1 {
            return;
        }
        match step {
            Step::Rcpt if !is_lost => open.taken.push(outcome),
            // A lost reply is not stored: its recipient counts like those whose replies are missing.
            Step::Body if !is_lost => open.content.push(outcome),
            _ => {}
        }
        let is_of_one = step == Step::Rcpt || step == Step::Body && self.protocol == Protocol::Lmtp;
        if outcome != Outcome::Accepted && (is_lost || !is_of_one) {
            open.failed = Some(outcome);
        }
        if in_doubt && is_lost && self.protocol == Protocol::Lmtp && open.is_answered() {
            // One of the replies may have been said twice: only the first is certainly that of its recipient.
            open.content.truncate(1);
        }
    }

    /// Ends the oldest transaction. Returns the answers to the recipients and, if a message has several recipients, the
    /// recipients that may still get the message.
    pub fn ended(&mut self, is_accepted: bool) -> (Answers, Option<Arc<[u32]>>) {
        let (open, only) = (self.open.pop_front().unwrap_or_default(), self.started.pop_front().flatten());
        let whole = match is_accepted {
            true => FinalAnswer::Accepted,
            false if open.in_doubt => FinalAnswer::InDoubt,
            false => FinalAnswer::Refused,
        };
        if self.recipients == 1 {
            return (Answers::All(whole), None);
        }
        let of_rest = match (is_accepted, open.in_doubt || open.is_partly_answered) {
            (true, _) => Outcome::Accepted,
            (false, true) => Outcome::InDoubt,
            (false, false) => open.failed.unwrap_or(Outcome::Dropped),
        };
        let places = only.unwrap_or_else(|| (0..self.recipients).collect());
        let ends: Vec<Outcome> = open.outcomes(places.len(), self.protocol, of_rest).collect();
        let left = places.iter().zip(&ends).filter(|(_, end)| may_pass(**end)).map(|(place, _)| *place);
        let left = left.collect();
        let answer = |end: Outcome| match end {
            Outcome::Accepted => FinalAnswer::Accepted,
            Outcome::InDoubt => FinalAnswer::InDoubt,
            _ => FinalAnswer::Refused,
        };
        let is_all = places.len() == self.recipients as usize;
        if is_all && ends.iter().all(|end| answer(*end) == whole) {
            return (Answers::All(whole), Some(left));
        }
        let mut each = vec![FinalAnswer::Refused; self.recipients as usize];
        places.iter().zip(&ends).for_each(|(place, end)| each[*place as usize] = answer(*end));
        (Answers::Each(each.into()), Some(left))
    }
}

impl Session {
    /// Notes the answer of a step to the recipients.
    pub(super) fn answered(&mut self, step: Step, failure: Option<&Failure>, outcome: Outcome) {
        let Some(answers) = &mut self.answers else { return };
        // A reply that does not fit is the answer to no recipient.
        let is_of_content = step == Step::Body && self.takes_recipients == Step::Body;
        let is_strange = matches!(failure, Some(Failure::Unexpected(_) | Failure::Surplus(_)));
        let is_lost = failure.is_some_and(|failure| failure_class::reply(failure).is_none());
        if is_of_content
            && (is_strange || matches!(failure, Some(Failure::Missing { .. } | Failure::Malformed(_))))
        {
            answers.partly_answered();
        }
        answers.step(step, outcome, is_lost || is_of_content && is_strange);
    }

    /// Records the transaction that ends, if the plan asks for it. Returns the recipients that may still get its
    /// message.
    pub(super) fn list_transaction(&mut self, accepted: bool, ended: Duration) -> Option<Arc<[u32]>> {
        let (answers, left) = self.answers.as_mut()?.ended(accepted);
        if !self.pool.context.plan.lists_transactions {
            return left;
        }
        let first = |bound: ScheduledArrival| {
            (bound, self.pool.context.plan.messages.number(bound.seq, self.settled))
        };
        // A message that was never started is given back, for another session.
        let started = self.active[0].filter(|active| active.opened.or(active.started).is_some());
        let pooled = |active: ActiveArrival| (active.arrival, active.arrival.seq);
        let Some((arrival, seq)) = self.bound.map(first).or(started.map(pooled)) else { return left };
        let (phase, intended) = (arrival.phase, arrival.first_intended());
        let answered = ended;
        self.accounting.recorder().transaction(Transaction { seq, phase, intended, answered, answers });
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(answers: &[FinalAnswer]) -> Answers {
        Answers::Each(answers.into())
    }

    impl RecipientAnswers {
        /// Ends a step as accepted, as deferred, or without a reply and with the message in doubt.
        fn ends(&mut self, step: Step, is_accepted: bool, in_doubt: bool) {
            let outcome = match (is_accepted, in_doubt) {
                (true, _) => Outcome::Accepted,
                (false, false) => Outcome::Deferred,
                (false, true) => Outcome::InDoubt,
            };
            self.step(step, outcome, in_doubt);
        }

        /// Returns the answers of the transaction that ended.
        fn of_ended(&mut self, is_accepted: bool) -> Answers {
            self.ended(is_accepted).0
        }
    }

    #[test]
    fn m31_each_recipient_has_the_answer_to_its_command_and_to_the_content() {
        let mut answers = RecipientAnswers::new(3, Protocol::Smtp);
        [Step::Connect, Step::Greeting, Step::Hello]
            .into_iter()
            .for_each(|step| answers.ends(step, true, false));
        let rcpts = |answers: &mut RecipientAnswers, taken: [bool; 3]| {
            answers.ends(Step::Mail, true, false);
            taken.into_iter().for_each(|taken| answers.ends(Step::Rcpt, taken, false));
            answers.ends(Step::Data, true, false);
        };
        rcpts(&mut answers, [true; 3]);
        answers.ends(Step::Body, true, false);
        assert_eq!(answers.of_ended(true), Answers::All(FinalAnswer::Accepted));
        rcpts(&mut answers, [true, false, true]);
        answers.ends(Step::Body, true, false);
        assert_eq!(
            answers.of_ended(true),
            each(&[FinalAnswer::Accepted, FinalAnswer::Refused, FinalAnswer::Accepted])
        );
        rcpts(&mut answers, [true, false, true]);
        answers.ends(Step::Body, false, true);
        assert_eq!(
            answers.of_ended(false),
            each(&[FinalAnswer::InDoubt, FinalAnswer::Refused, FinalAnswer::InDoubt])
        );
        answers.ends(Step::Mail, false, false);
        assert_eq!(answers.of_ended(false), Answers::All(FinalAnswer::Refused));
        assert_eq!(answers.of_ended(false), Answers::All(FinalAnswer::Refused), "nothing was answered");
    }

    #[test]
    fn with_lmtp_the_content_is_answered_for_each_that_was_taken() {
        let mut answers = RecipientAnswers::new(3, Protocol::Lmtp);
        answers.ends(Step::Mail, true, false);
        [true, false, true].into_iter().for_each(|taken| answers.ends(Step::Rcpt, taken, false));
        answers.ends(Step::Body, true, false);
        answers.ends(Step::Body, false, false);
        assert_eq!(
            answers.of_ended(false),
            each(&[FinalAnswer::Accepted, FinalAnswer::Refused, FinalAnswer::Refused])
        );
        answers.ends(Step::Mail, true, false);
        [true, true, true].into_iter().for_each(|taken| answers.ends(Step::Rcpt, taken, false));
        answers.ends(Step::Body, true, false);
        // The connection is lost before the second reply.
        answers.ends(Step::Body, false, true);
        assert_eq!(
            answers.of_ended(false),
            each(&[FinalAnswer::Accepted, FinalAnswer::InDoubt, FinalAnswer::InDoubt])
        );
    }

    #[test]
    fn with_lmtp_the_recipients_without_a_reply_are_in_doubt_although_another_one_refused() {
        for is_answered in [true, false] {
            let mut answers = RecipientAnswers::new(3, Protocol::Lmtp);
            answers.ends(Step::Mail, true, false);
            (0..3).for_each(|_| answers.ends(Step::Rcpt, true, false));
            if is_answered {
                answers.ends(Step::Body, false, false);
            }
            // The connection is lost. The message is refused, or was never sent to its end.
            answers.partly_answered();
            answers.step(Step::Body, Outcome::Dropped, true);
            let (ends, left) = answers.ended(false);
            let in_doubt = [FinalAnswer::Refused, FinalAnswer::InDoubt, FinalAnswer::InDoubt];
            let expected = if is_answered { each(&in_doubt) } else { Answers::All(FinalAnswer::Refused) };
            assert_eq!((ends, left.unwrap().len()), (expected, 3), "all may be tried again");
        }
    }

    #[test]
    fn with_lmtp_only_the_first_reply_is_certain_once_one_may_have_been_said_twice() {
        let mut answers = RecipientAnswers::new(2, Protocol::Lmtp);
        answers.ends(Step::Mail, true, false);
        (0..2).for_each(|_| answers.ends(Step::Rcpt, true, false));
        (0..2).for_each(|_| answers.ends(Step::Body, true, false));
        // What answers the second hello shows that a reply was surplus.
        answers.step(Step::Body, Outcome::InDoubt, true);
        assert_eq!(answers.of_ended(false), each(&[FinalAnswer::Accepted, FinalAnswer::InDoubt]));
    }

    #[test]
    fn an_end_that_is_reported_late_takes_its_own_answers() {
        let mut answers = RecipientAnswers::new(2, Protocol::Smtp);
        answers.ends(Step::Mail, true, false);
        [true, false].into_iter().for_each(|taken| answers.ends(Step::Rcpt, taken, false));
        answers.ends(Step::Body, true, false);
        answers.ends(Step::Mail, true, false);
        [true, true].into_iter().for_each(|taken| answers.ends(Step::Rcpt, taken, false));
        assert_eq!(answers.of_ended(true), each(&[FinalAnswer::Accepted, FinalAnswer::Refused]));
        answers.ends(Step::Body, false, true);
        assert_eq!(answers.of_ended(false), Answers::All(FinalAnswer::InDoubt));
        // The next group of commands was sent together with the last chunk, and gets no reply.
        answers.ends(Step::Mail, false, true);
        assert_eq!(answers.of_ended(false), Answers::All(FinalAnswer::InDoubt));
    }

    /// Plays a transaction for these recipients, with the outcome of each RCPT and of the rest; returns the recipients
    /// that are left.
    fn left_of(
        protocol: Protocol,
        only: Option<&[u32]>,
        rcpts: &[Outcome],
        content: &[(Step, Outcome, bool)],
        is_accepted: bool,
    ) -> Vec<u32> {
        let mut answers = RecipientAnswers::new(4, protocol);
        answers.begin(only.map(Arc::from));
        answers.step(Step::Mail, Outcome::Accepted, false);
        rcpts.iter().for_each(|outcome| answers.step(Step::Rcpt, *outcome, false));
        content.iter().for_each(|(step, outcome, is_lost)| answers.step(*step, *outcome, *is_lost));
        answers.ended(is_accepted).1.unwrap().to_vec()
    }

    #[test]
    fn those_are_left_that_were_neither_accepted_nor_refused_for_good() {
        use Outcome::{Accepted, Deferred, Dropped, Expected, InDoubt, Rejected};
        let smtp = |rcpts: &[Outcome], content: &[_], is_accepted| {
            left_of(Protocol::Smtp, None, rcpts, content, is_accepted)
        };
        let mixed = [Accepted, Deferred, Rejected, Expected];
        assert_eq!(smtp(&mixed, &[(Step::Body, Accepted, false)], true), [1]);
        assert_eq!(smtp(&mixed, &[(Step::Body, Deferred, false)], false), [0, 1]);
        assert_eq!(
            smtp(&mixed, &[(Step::Body, Rejected, false)], false),
            [1],
            "the content, for those that took it"
        );
        assert_eq!(smtp(&mixed, &[(Step::Body, InDoubt, true)], false), [0, 1]);
        assert_eq!(smtp(&[Rejected; 4], &[], false), [0; 0]);
        assert_eq!(smtp(&[Rejected, Deferred, Rejected, Rejected], &[], false), [1]);
        assert_eq!(smtp(&[Rejected, Accepted], &[(Step::Rcpt, Dropped, true)], false), [1, 2, 3]);
        assert_eq!(smtp(&[], &[], false), [0, 1, 2, 3], "nothing was answered");

        let some = |rcpts: &[Outcome]| {
            left_of(Protocol::Smtp, Some(&[1, 3]), rcpts, &[(Step::Body, Accepted, false)], true)
        };
        assert_eq!((some(&[Accepted, Deferred]), some(&[Deferred, Accepted])), (vec![3], vec![1]));

        let lmtp = |content: &[Outcome], is_accepted| {
            let content: Vec<_> =
                content.iter().map(|outcome| (Step::Body, *outcome, *outcome == InDoubt)).collect();
            left_of(Protocol::Lmtp, None, &[Accepted, Rejected, Accepted, Accepted], &content, is_accepted)
        };
        assert_eq!(lmtp(&[Accepted, Deferred, Rejected], false), [2]);
        assert_eq!(lmtp(&[Accepted, InDoubt], false), [2, 3]);
        assert_eq!(lmtp(&[Accepted; 3], true), [0; 0]);
    }

    #[test]
    fn an_attempt_for_some_answers_for_these_in_their_places() {
        let mut answers = RecipientAnswers::new(3, Protocol::Smtp);
        answers.begin(Some([2].into()));
        [Step::Mail, Step::Rcpt, Step::Data, Step::Body]
            .into_iter()
            .for_each(|step| answers.ends(step, true, false));
        let accepted_at_2 = [FinalAnswer::Refused, FinalAnswer::Refused, FinalAnswer::Accepted];
        assert_eq!(answers.of_ended(true), each(&accepted_at_2));
    }
}
