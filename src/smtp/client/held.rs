//! Acceptances that are not proven yet, and what proves them.
//!
//! With DATA the 354 shows that the replies are in step: no other command has it. BDAT has no such reply. When MAIL, RCPT
//! and the chunks go out in one group, and the listener says one reply too many to any of them, the last chunk is answered
//! by what belongs to RCPT, and every 250 fits.
//!
//! # Decisions
//! - Replies that can be told apart need no proof: each kind of command is answered by other words than the one before it,
//!   as real listeners do (2.1.0, 2.1.5, a queue number). A reply that is said twice makes two in a row alike.
//! - Where two in a row are alike, hello is said again after the message (RFC 5321 4.1.4 allows it at any time; it counts as no error,
//!   and not as one of the commands without mail that listeners limit). Its reply, which offers CHUNKING, cannot be mistaken
//!   for another. If something else comes, QUIT follows, and 221 in its place shows that no reply was left over; failing that
//!   the message is in doubt.
//! - The last message of a session is told when QUIT is answered, for at most [`HOLD`]: a reply too many that came after the
//!   command it would answer shows itself there. Whatever is said instead of 221, silence or a close included, is the
//!   listener's manner and changes nothing. Only if it is nothing that is said to QUIT (or, with BDAT, not 221) and one more
//!   reply follows within [`DRAIN`], the message is in doubt.
//! - Behind a last chunk the next transaction goes out only once a message of the session was answered by words that can be
//!   told apart. If two are alike for all that, the session is out of step.
//! - What cannot be known: a listener that answers one command of a group twice and another one not at all sends what one
//!   sends that answers each once. A reply too many that comes between the 354 and the reply to the dot, in a session that
//!   goes on with another message, is seen by what follows, and the message before it stays accepted.

use std::time::{Duration, Instant};

use super::aside::Turn;
use super::event::Event;
use super::fits::{failure, surplus};
use super::rude::Half;
use super::{Client, State};
use crate::smtp::hello::Offer;
use crate::smtp::machine::Close;
use crate::smtp::reply::RawReply;
use crate::smtp::script::Quit;
use crate::smtp::step::Step;
use crate::smtp::transaction::Content;

/// How long the last message waits for the reply to QUIT before it is told.
const HOLD: Duration = Duration::from_secs(5);
/// How long another reply is waited for when QUIT was answered by something else than 221.
const DRAIN: Duration = Duration::from_millis(250);

/// A message whose acceptance was read and is not told yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// When it was read.
    ended: Instant,
    /// It went in chunks.
    chunked: bool,
    /// It must be proven; otherwise it must only not be disproved.
    doubted: bool,
}

/// Whether the replies of a session can be told apart, as far as transactions in chunks need it.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// What the last reply answered (the step, and whether it was a chunk before the last), and its fingerprint.
    last: Option<((Step, bool), u64)>,
    /// Two replies in a row, to commands of different kinds, were the same.
    alike: bool,
    /// A last chunk was answered.
    whole: bool,
}

impl Marks {
    /// A positive reply came to this step; `midway`: to a chunk before the last.
    pub(super) fn note(&mut self, step: Step, midway: bool, raw: RawReply<'_>) {
        // RSET and NOOP may well be answered by the same words.
        let step = if step == Step::Idle { Step::Command } else { step };
        let (kind, text) = ((step, midway), raw.fingerprint());
        self.alike |= self.last.is_some_and(|(before, known)| before != kind && known == text);
        self.last = Some((kind, text));
        self.whole |= kind == (Step::Body, false);
    }

    /// Two of them could not be told apart.
    pub(super) fn are_alike(&self) -> bool {
        self.alike
    }

    /// Those to all kinds of commands came, and can be told apart.
    pub(super) fn tell_apart(&self) -> bool {
        self.whole && !self.alike
    }
}

impl<C: Content> Client<C> {
    /// Whether a message is accepted as it seems, and the listener may not have it for all that.
    pub(super) fn is_doubted(&self) -> bool {
        self.held.is_some_and(|held| held.doubted)
    }

    /// The current transaction, which was the only one, is accepted at `now`. True: something is to be said first.
    pub(super) fn hold(&mut self, now: Instant, chunked: bool) -> bool {
        let doubted = chunked && self.marks.are_alike();
        self.held = Some(Held { ended: now, chunked, doubted });
        if doubted {
            self.command(State::Aside(Turn::Again));
        }
        doubted
    }

    /// Tells what is held, unless something is still to be seen first.
    pub(super) fn tell_held(&mut self) {
        let quits = matches!(self.script.quit, Quit::Clean | Quit::Hold) && self.half_closed == Half::Open;
        let leaves =
            self.finishing && quits && matches!(self.state, State::Rest | State::Quit | State::Drained);
        if !leaves && !self.is_doubted() {
            self.let_go(true);
        }
    }

    /// A reply came that answers nothing. True: it puts the message that is held in doubt, and the session is over.
    pub(super) fn is_disproved(&mut self, now: Instant, raw: RawReply<'_>) -> bool {
        // With DATA only the reply to the dot can have been given twice, and both say yes.
        let disproved = self.held.is_some_and(|held| held.chunked || raw.code / 100 != 2);
        if disproved {
            self.doubt(now, raw);
        }
        disproved
    }

    /// The message that is held was accepted, or it never will be known.
    pub(super) fn let_go(&mut self, accepted: bool) {
        if let Some(Held { ended, .. }) = self.held.take() {
            self.events.push_back(Event::Transaction { accepted, ended });
        }
    }

    /// This reply shows that there was one too many: the message that is held may be with the listener or not.
    pub(super) fn doubt(&mut self, now: Instant, raw: RawReply<'_>) {
        let failure = Some(surplus(raw));
        self.told(now, Step::Body, now, raw.code, failure, true);
        self.let_go(false);
        self.end(now, Close::Clean, true);
    }

    /// A reply to the second hello.
    pub(super) fn said_again(&mut self, now: Instant, raw: RawReply<'_>) {
        self.alive = now;
        if raw.code / 100 == 2 && !raw.is_contradictory() && Offer::parse(&raw.to_reply()).chunking {
            self.let_go(true);
            return self.aside(Turn::after_transaction(&self.script));
        }
        // Some listeners refuse it.
        match self.script.quit {
            Quit::Clean | Quit::Hold => self.leave(now),
            Quit::Close | Quit::Reset => self.doubt(now, raw),
        }
    }

    /// A reply to QUIT while a message is held.
    pub(super) fn farewell(&mut self, now: Instant, raw: RawReply<'_>) {
        let proven = raw.code == 221 && !raw.is_contradictory();
        if !proven && self.is_doubted() {
            return self.doubt(now, raw);
        }
        let chunked = self.held.is_some_and(|held| held.chunked);
        self.tell(now, Step::Quit, raw.code, failure(Step::Quit, raw));
        // What listeners say to QUIT that do not say 221, and what none says to it but to content.
        let fits = matches!(raw.code, 200..300 | 421 | 500 | 502 | 503);
        if proven || fits && !chunked {
            self.let_go(true);
            return self.end(now, Close::Clean, false);
        }
        self.alive = now;
        self.state = State::Drained;
    }

    /// By when the message that is held is told whatever comes.
    pub(super) fn held_until(&self) -> Option<Instant> {
        match self.state {
            State::Drained => self.alive.checked_add(DRAIN),
            State::Quit if self.written && self.held.is_some_and(|held| !held.doubted) => {
                self.since.checked_add(HOLD)
            }
            _ => None,
        }
    }

    /// Nothing disproved the message that is held.
    pub(super) fn held_long_enough(&mut self, now: Instant) {
        self.let_go(true);
        if self.state == State::Drained {
            self.end(now, Close::Clean, false);
        }
    }

    /// The session is over, and with it the wait for a proof.
    pub(super) fn lose_held(&mut self) {
        let doubted = self.is_doubted();
        self.let_go(!doubted);
    }
}
