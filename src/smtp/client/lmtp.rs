//! LMTP: what happens when fewer replies to the content come than there are recipients.
//!
//! # Decisions
//! - That a reply is missing is seen by the listener's silence, and a slow delivery is silent too. When a reply came and
//!   nothing for [`QUIET`] and ten times as long as that one took, QUIT is said (RFC 2920 3.1 lets it follow): a listener that
//!   owes replies gives them first, and one that answered once for all recipients says 221 in their place. So it is known
//!   in seconds, and not by the time-out. The session ends by it.

use std::time::{Duration, Instant};

use super::event::Failure;
use super::{Client, ClientState};
use crate::smtp::reply::RawReply;
use crate::smtp::transaction::Content;

/// How long nothing came, at the least, before the listener is asked.
const QUIET: Duration = Duration::from_secs(5);

/// Whether the listener is asked for the replies that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingReplyCheck {
    /// It is not.
    No,
    /// QUIT is to be written.
    Due,
    /// It was.
    Yes,
}

impl<C: Content> Client<C> {
    /// The failure of the step that is waited for; [`Failure::Missing`] if some of LMTP's replies came.
    pub(super) fn named(&self, failure: Failure) -> Failure {
        // 421 refuses them all, and what is out of step is that before all.
        let loss = matches!(
            failure,
            Failure::TimedOut(_) | Failure::SessionTimedOut | Failure::Closed(_) | Failure::Aborted
        );
        match self.transactions.replies_due().filter(|_| loss && self.state == ClientState::Mail) {
            Some((came, due)) => Failure::Missing { came, due, why: Box::new(failure) },
            None => failure,
        }
    }

    /// When the listener is asked for the replies that are missing.
    pub(super) fn asks_at(&self) -> Option<Instant> {
        let may = self.state == ClientState::Mail
            && self.asked == MissingReplyCheck::No
            && self.transactions.is_single();
        self.transactions.replies_due().filter(|_| may)?;
        let first = self.alive.saturating_duration_since(self.since());
        self.alive.checked_add(QUIET.max(first * 10))
    }

    /// The listener says goodbye instead of what it owes: it answered for all recipients before.
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
