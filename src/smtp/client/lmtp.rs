//! LMTP: what the client does when there are fewer replies to the content than recipients.
//!
//! # Decisions
//! - A missing reply shows only as silence, and a slow delivery is silent too. The client asks when at least one reply
//!   came, and the silence after the last reply has lasted at least [`QUIET`] and at least ten times the wait for that
//!   last reply. A listener with outstanding replies sends them first. A listener that answered once for all recipients
//!   replies to the question instead. So the result is known in seconds, not only after the time-out.
//! - After the last message of a session the question is QUIT, which only 221 answers (RFC 2920 3.1 allows QUIT here).
//!   Before it, the question is LHLO, so that the session goes on: its reply also proves the message (see `proof`). If
//!   that reply could be one to the content, the question is QUIT all the same, and the session ends with it.

use std::time::{Duration, Instant};

use super::event::{Event, Failure};
use super::extra_commands::ExtraCommand;
use super::reply_check::failure;
use super::{Client, ClientState};
use crate::smtp::command;
use crate::smtp::reply::RawReply;
use crate::smtp::step::Step;
use crate::smtp::transaction::Content;

/// The shortest silence after which the client asks the listener.
const QUIET: Duration = Duration::from_secs(5);

/// Whether the client asked the listener for missing replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingReplyCheck {
    /// The client did not ask.
    No,
    /// This command must be written.
    Due(ReplyQuestion),
    /// This command is written.
    Asked(ReplyQuestion),
}

/// The command that asks for missing replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyQuestion {
    Hello,
    Quit,
}

impl<C: Content> Client<C> {
    /// Returns the failure of the outstanding step: [`Failure::Missing`] if some of LMTP's replies came and the rest is
    /// lost, else `failure`.
    pub(super) fn named(&self, failure: Failure) -> Failure {
        // A 421 refuses all recipients, and a session out of step keeps its own failure.
        let loss = matches!(
            failure,
            Failure::TimedOut(_) | Failure::SessionTimedOut | Failure::Closed(..) | Failure::Aborted
        );
        match self.transactions.replies_due().filter(|_| loss && self.state == ClientState::Mail) {
            Some((came, due)) => Failure::Missing { came, due, why: Box::new(failure) },
            None => failure,
        }
    }

    /// Returns when the client asks the listener for the missing replies.
    pub(super) fn asks_at(&self) -> Option<Instant> {
        let may = self.state == ClientState::Mail
            && self.asked == MissingReplyCheck::No
            && self.transactions.is_single();
        self.transactions.replies_due().filter(|_| may)?;
        let first = self.alive.saturating_duration_since(self.since());
        self.alive.checked_add(QUIET.max(first * 10))
    }

    /// Chooses the command that asks for the missing replies.
    pub(super) fn ask(&mut self) {
        let can_tell_apart = self.hello_is_unmistakable || self.wordings.tell_hello_apart();
        let question =
            if can_tell_apart && !self.finishing { ReplyQuestion::Hello } else { ReplyQuestion::Quit };
        self.asked = MissingReplyCheck::Due(question);
    }

    /// Appends the command that asks for the missing replies. Returns false if none is due.
    pub(super) fn write_question(&mut self, out: &mut Vec<u8>) -> bool {
        let MissingReplyCheck::Due(question) = self.asked else { return false };
        self.asked = MissingReplyCheck::Asked(question);
        match question {
            ReplyQuestion::Hello => ExtraCommand::Again.write(&self.script, out),
            ReplyQuestion::Quit => out.extend_from_slice(command::QUIT),
        }
        true
    }

    /// Ends the current transaction, whose replies all came after the question: the listener was only slow. The reply to
    /// the question follows.
    pub(super) fn was_only_slow(&mut self, now: Instant, accepted: bool, question: ReplyQuestion) {
        self.asked = MissingReplyCheck::No;
        self.transactions.over();
        match question {
            // Without the reply to hello, one of the replies may have been that reply.
            ReplyQuestion::Hello => self.hold_asked(now, accepted),
            ReplyQuestion::Quit => {
                self.events.push_back(Event::Transaction { accepted, ended: now });
                self.command(ClientState::Quit);
            }
        }
        (self.written, self.since) = (true, now);
    }

    /// Returns the failure if the listener answers the question instead of the missing replies: it answered once for all
    /// recipients.
    pub(super) fn has_no_more(&self, raw: RawReply<'_>) -> Option<Failure> {
        let (came, due) = self.transactions.replies_due().filter(|_| self.state == ClientState::Mail)?;
        let answers = match self.asked {
            MissingReplyCheck::Asked(ReplyQuestion::Quit) => raw.code == 221,
            MissingReplyCheck::Asked(ReplyQuestion::Hello) => {
                failure(Step::Hello, raw).is_none() && self.answers_hello(raw)
            }
            MissingReplyCheck::No | MissingReplyCheck::Due(_) => false,
        };
        answers.then(|| Failure::Missing { came, due, why: Box::new(Failure::Unexpected(raw.to_reply())) })
    }
}
