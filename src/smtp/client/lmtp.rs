//! LMTP: what the client does when there are fewer replies to the content than recipients.
//!
//! # Decisions
//! - A missing reply shows only as silence, and a slow delivery is silent too. The client sends QUIT when at least one
//!   reply came, and the silence after the last reply has lasted at least [`QUIET`] and at least ten times the wait for
//!   that last reply (RFC 2920 3.1 allows QUIT here). A listener with outstanding replies sends them first. A listener
//!   that answered once for all recipients replies with 221 instead. So the result is known in seconds, not only after
//!   the time-out. The session ends with this QUIT.

use std::time::{Duration, Instant};

use super::event::Failure;
use super::{Client, ClientState};
use crate::smtp::reply::RawReply;
use crate::smtp::transaction::Content;

/// The shortest silence after which the client asks the listener.
const QUIET: Duration = Duration::from_secs(5);

/// Whether the client asked the listener for missing replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingReplyCheck {
    /// The client did not ask.
    No,
    /// QUIT must be written.
    Due,
    /// QUIT is written.
    Yes,
}

impl<C: Content> Client<C> {
    /// Returns the failure of the outstanding step: [`Failure::Missing`] if some of LMTP's replies came and the rest is
    /// lost, else `failure`.
    pub(super) fn named(&self, failure: Failure) -> Failure {
        // A 421 refuses all recipients, and a session out of step keeps its own failure.
        let loss = matches!(
            failure,
            Failure::TimedOut(_) | Failure::SessionTimedOut | Failure::Closed(_) | Failure::Aborted
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

    /// Returns the failure if the listener answers QUIT by 221 instead of the missing replies: it answered once for all
    /// recipients.
    pub(super) fn has_no_more(&self, raw: RawReply<'_>) -> Option<Failure> {
        let (came, due) = self.transactions.replies_due()?;
        let asked = self.state == ClientState::Mail && self.asked == MissingReplyCheck::Yes;
        (asked && raw.code == 221).then(|| Failure::Missing {
            came,
            due,
            why: Box::new(Failure::Unexpected(raw.to_reply())),
        })
    }
}
