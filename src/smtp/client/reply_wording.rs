//! The wording of the replies of a session, which shows whether chunked transactions are in step.
//!
//! # Decisions
//! - The wording of a reply is its code and its words; those that hold a digit or an address count for nothing
//!   ([`RawReply::wording`]), for queue numbers and recipients differ from message to message.
//! - A fixed number of wordings is known. A listener that has more of them is asked more often, and nothing else.

use crate::smtp::reply::RawReply;
use crate::smtp::step::Step;

/// How many wordings are known of one kind.
const KNOWN: usize = 8;

/// What a reply answers: the step, and whether it was a chunk before the last.
type ReplyKind = (Step, bool);

/// The wordings known of one kind, the oldest of which goes first.
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

/// Whether the replies of a session can be told apart.
#[derive(Debug, Default)]
pub(super) struct ReplyWordings {
    /// What the last reply answered, and its fingerprint.
    last: Option<(ReplyKind, u64)>,
    /// Two replies in a row, to commands of different kinds, were the same.
    alike: bool,
    /// Two of LMTP's to the content under way were.
    twice: bool,
    /// What was said to last chunks of messages that were proven.
    whole: KnownWordings,
    proven: bool,
    /// What was said to the last chunk of the message under way.
    fresh: KnownWordings,
    unusual: bool,
    /// What was said to everything else.
    others: KnownWordings,
    /// A reply to the last chunk was worded as those to something else were.
    misplaced: bool,
}

impl ReplyWordings {
    /// A positive reply came to this step, or any to the last chunk; `midway`: to a chunk before the last.
    pub(super) fn note(&mut self, step: Step, midway: bool, raw: RawReply<'_>) {
        // RSET and NOOP may well be answered by the same words.
        let step = if step == Step::Idle { Step::Command } else { step };
        let (kind, text, wording) = ((step, midway), raw.fingerprint(), raw.wording());
        let whole = kind == (Step::Body, false);
        if let Some((before, known)) = self.last {
            self.alike |= before != kind && known == text;
            self.twice |= whole && !self.fresh.is_empty() && before == kind && known == text;
        }
        self.last = Some((kind, text));
        match kind {
            (Step::Body, false) => {
                self.misplaced |= self.others.holds(wording) && !self.whole.holds(wording);
                self.unusual |= self.others.holds(wording) || !self.whole.holds(wording);
                self.fresh.learn(wording);
            }
            (Step::Mail | Step::Rcpt | Step::Body, _) => self.others.learn(wording),
            _ => {}
        }
    }

    /// Two of those to the content under way could not.
    pub(super) fn came_twice(&self) -> bool {
        self.twice
    }

    /// Those to the last chunk are not what the session has shown to be in step.
    pub(super) fn are_unusual(&self) -> bool {
        self.unusual || self.alike
    }

    /// They cannot belong to what they answer.
    pub(super) fn are_misplaced(&self) -> bool {
        self.alike || self.misplaced
    }

    /// A message of the session was proven, and its replies can be told apart.
    pub(super) fn tell_apart(&self) -> bool {
        self.proven && !self.alike
    }

    /// The message under way is over. `proven`: the replies to it are in step.
    pub(super) fn settle(&mut self, proven: bool) {
        let fresh = std::mem::take(&mut self.fresh);
        if proven {
            self.proven |= !fresh.is_empty();
            fresh.known.into_iter().flatten().for_each(|wording| self.whole.learn(wording));
        }
        (self.unusual, self.misplaced, self.twice) = (false, false, false);
    }
}
