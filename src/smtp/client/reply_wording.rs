//! The wording of the replies of a session. It shows whether chunked transactions are in step.
//!
//! # Decisions
//! - The wording of a reply is its code and its words. Words that hold a digit or an address are ignored
//!   ([`RawReply::wording`]), because queue numbers and recipients differ from message to message.
//! - At most [`KNOWN`] wordings of each kind are remembered. A listener with more wordings only needs more proofs.

use crate::smtp::reply::RawReply;
use crate::smtp::step::Step;

/// How many wordings of one kind are remembered.
const KNOWN: usize = 8;

/// The command that a reply answers: its step, and whether it was a chunk before the last.
type ReplyKind = (Step, bool);

/// The known wordings of one kind. A new wording replaces the oldest.
#[derive(Debug, Default)]
struct KnownWordings {
    known: [Option<u64>; KNOWN],
    next: usize,
}

impl KnownWordings {
    fn holds(&self, wording: u64) -> bool {
        self.known.contains(&Some(wording))
    }

    fn is_empty(&self) -> bool {
        self.known[0].is_none()
    }

    fn learn(&mut self, wording: u64) {
        if !self.holds(wording) {
            self.known[self.next] = Some(wording);
            self.next = (self.next + 1) % KNOWN;
        }
    }
}

/// The wordings of the replies of a session, to see whether the replies can be told apart.
#[derive(Debug, Default)]
pub(super) struct ReplyWordings {
    /// The command that the last reply answered, and the fingerprint of the reply.
    last: Option<(ReplyKind, u64)>,
    /// Whether two replies in a row, to commands of different kinds, were the same.
    alike: bool,
    /// Whether two replies of LMTP to the current content were the same.
    twice: bool,
    /// The wordings of the replies to the last chunks of proven messages.
    whole: KnownWordings,
    proven: bool,
    /// The wordings of the replies to the last chunk of the current message.
    fresh: KnownWordings,
    unusual: bool,
    /// The wordings of the replies to MAIL, to RCPT and to chunks before the last.
    others: KnownWordings,
    /// Whether a reply to the last chunk had the wording of a reply to MAIL, to RCPT or to an earlier chunk.
    misplaced: bool,
    /// The wording of the last reply to hello in the opening.
    hello: Option<u64>,
    /// Whether a reply to the current content had the wording of the reply to hello.
    like_hello: bool,
}

impl ReplyWordings {
    /// Notes the reply to hello in the opening.
    pub(super) fn note_hello(&mut self, raw: RawReply<'_>) {
        self.hello = Some(raw.wording());
    }

    /// Whether a reply has the wording of the reply to hello, and no reply to the current content had it.
    pub(super) fn are_of_hello(&self, raw: RawReply<'_>) -> bool {
        self.tell_hello_apart() && self.hello == Some(raw.wording())
    }

    /// Whether no reply to the current content had the wording of the reply to hello.
    pub(super) fn tell_hello_apart(&self) -> bool {
        !self.like_hello && self.hello.is_some()
    }

    /// Notes a positive reply to this step, or any reply to the last chunk. `midway` means a chunk before the last.
    pub(super) fn note(&mut self, step: Step, midway: bool, raw: RawReply<'_>) {
        // RSET and NOOP count as one kind, because their replies may be the same.
        let step = if step == Step::Idle { Step::Command } else { step };
        let (kind, text) = ((step, midway), raw.fingerprint());
        let whole = kind == (Step::Body, false);
        if let Some((before, known)) = self.last {
            self.alike |= before != kind && known == text;
            self.twice |= whole && !self.fresh.is_empty() && before == kind && known == text;
        }
        self.last = Some((kind, text));
        match kind {
            (Step::Body, false) => {
                let wording = raw.wording();
                self.misplaced |= self.others.holds(wording) && !self.whole.holds(wording);
                self.unusual |= self.others.holds(wording) || !self.whole.holds(wording);
                self.like_hello |= self.hello == Some(wording);
                self.fresh.learn(wording);
            }
            (Step::Mail | Step::Rcpt | Step::Body, _) => self.others.learn(raw.wording()),
            _ => {}
        }
    }

    /// Whether two replies in a row to the current content were the same.
    pub(super) fn came_twice(&self) -> bool {
        self.twice
    }

    /// Whether hello must prove the message: a reply to the last chunk has a wording that no proven message had, or
    /// that of another command, or two replies in a row to different commands were the same.
    pub(super) fn are_unusual(&self) -> bool {
        self.unusual || self.alike
    }

    /// Whether a reply may not belong to the command that it seems to answer.
    pub(super) fn are_misplaced(&self) -> bool {
        self.alike || self.misplaced
    }

    /// Whether a message of the session was proven, and its replies can be told apart.
    pub(super) fn tell_apart(&self) -> bool {
        self.proven && !self.alike
    }

    /// Ends the current message. `proven` says that its replies were in step.
    pub(super) fn settle(&mut self, proven: bool) {
        if self.fresh.is_empty() {
            return;
        }
        let fresh = std::mem::take(&mut self.fresh);
        if proven {
            self.proven |= !fresh.is_empty();
            fresh.known.into_iter().flatten().for_each(|wording| self.whole.learn(wording));
        }
        (self.unusual, self.misplaced, self.twice, self.like_hello) = (false, false, false, false);
    }
}
