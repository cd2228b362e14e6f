//! Acceptances that are not proven yet, and what proves them. A message is reported as accepted only when the order of the
//! replies shows that the 250 answers its content.
//!
//! With DATA the 354 shows that the replies are in step: no other command has it. BDAT has no such reply. When MAIL, RCPT
//! and the chunks go out in one group, and the listener says one reply too many to any of them, the last chunk is answered
//! by what belongs to RCPT, and every 250 fits.
//!
//! # Decisions
//! - Replies are compared by their wording (`reply_wording`). The reply to the last chunk is worded in another way than those
//!   before it, as real listeners do (2.1.0, 2.1.5, a queue number), and in the same way for each message. A reply too many
//!   puts what belongs to RCPT, to a chunk or to nothing in its place.
//! - After the first message of a session that goes on, and after each that is answered in other words than those before it,
//!   hello is said again (RFC 5321 4.1.4 allows it at any time; it counts as no error, and not as one of the commands without
//!   mail that listeners limit). Its reply offers CHUNKING and cannot be mistaken for another: the replies are in step. If
//!   something else comes, QUIT follows, and 221 in its place shows that no reply was left over; failing that the message is
//!   in doubt, whether it seemed to be accepted or refused.
//! - Where two replies in a row are alike, or one to a last chunk is worded as those to MAIL or RCPT were, the same is done,
//!   and nothing but the proof counts. Otherwise a listener that closes or resets instead of answering hello was believed
//!   before, and still is.
//! - LMTP's replies to the content are as many as the recipients. Where two in a row are alike, one may be there twice: LHLO
//!   is said again.
//! - The last message of a session is reported when QUIT is answered, for at most [`HOLD`]: a surplus reply that came after the
//!   command it would answer shows itself there. Whatever is said instead of 221, silence or a close included, is the
//!   listener's manner and changes nothing. Only if it is nothing that is said to QUIT (with BDAT: not 221; after a refusal:
//!   a yes) and one more reply follows within [`DRAIN`], the message is in doubt.
//! - Behind a last chunk the next transaction goes out only once a message of the session was proven. If the replies turn
//!   alike, or one to a last chunk is worded as those to MAIL or RCPT were, the session is out of step.
//! - A yes to a chunk behind one that was refused, or where all recipients were, is what no listener says that is in step:
//!   the message is in doubt.
//! - What cannot be known: a listener that answers one command of a group twice and another one not at all sends what one
//!   sends that answers each once. So does one that says to RCPT also what it says to a last chunk. With DATA, a reply too
//!   many that comes between the 354 and the reply to the dot, in a session that goes on with another message, is seen by
//!   what follows, and the message before it stays as it was reported: to ask after each message would be a command more each.

use std::time::{Duration, Instant};

use super::event::{Event, Failure};
use super::extra_commands::ExtraCommand;
use super::misbehave::HalfClose;
use super::reply_check::{failure, is_strange, surplus};
use super::{Client, ClientState};
use crate::smtp::hello::Offer;
use crate::smtp::machine::Close;
use crate::smtp::reply::RawReply;
use crate::smtp::script::{Protocol, Quit};
use crate::smtp::step::Step;
use crate::smtp::transaction::Content;

/// How long the last message waits for the reply to QUIT before it is reported.
const HOLD: Duration = Duration::from_secs(5);
/// How long another reply is waited for when QUIT was answered by something else than 221.
const DRAIN: Duration = Duration::from_millis(250);

/// What the order of the replies proves of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyOrder {
    /// 354 came before the content, and one reply after it.
    Proves,
    /// 354 came before the content, and several replies after it (LMTP).
    Several,
    /// It went in chunks.
    Chunks,
}

/// A message whose last reply was read and that is not reported yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnprovenMessage {
    /// When it was read.
    ended: Instant,
    /// What it said.
    accepted: bool,
    /// ReplyOrder alone proves nothing of it: it went in chunks, or LMTP has several replies to it.
    counted: bool,
    /// It must be proven; otherwise it must only not be disproved.
    doubted: bool,
    /// Hello is said again for it.
    asked: bool,
}

impl<C: Content> Client<C> {
    /// Whether a message is accepted as it seems, and the listener may not have it for all that.
    pub(super) fn is_doubted(&self) -> bool {
        self.held.is_some_and(|held| held.doubted)
    }

    /// The current transaction, which was the only one, ended at `now` with the reply to its content. True: something is to
    /// be said first.
    pub(super) fn hold(&mut self, now: Instant, accepted: bool, order: ReplyOrder) -> bool {
        let chunked = order == ReplyOrder::Chunks;
        let doubted = accepted && chunked && self.wordings.are_misplaced();
        let unusual = chunked && !self.leaves_properly() && self.wordings.are_unusual();
        let asked = doubted || unusual || accepted && self.wordings.came_twice();
        self.held = Some(UnprovenMessage {
            ended: now,
            accepted,
            counted: order != ReplyOrder::Proves,
            doubted,
            asked,
        });
        if asked {
            self.command(ClientState::Extra(ExtraCommand::Again));
        }
        asked
    }

    /// Nothing follows but QUIT, and its reply is waited for.
    fn leaves_properly(&self) -> bool {
        let quits =
            matches!(self.script.quit, Quit::Clean | Quit::Hold) && self.half_closed == HalfClose::Open;
        self.finishing && quits && self.script.between.is_empty()
    }

    /// Tells what is held, unless something is still to be seen first.
    pub(super) fn tell_held(&mut self) {
        if self.held.is_none() {
            return;
        }
        let leaves = self.leaves_properly()
            && matches!(self.state, ClientState::Rest | ClientState::Quit | ClientState::Drained);
        if !leaves && !self.held.is_some_and(|held| held.asked) {
            self.release_held(true);
        }
    }

    /// A reply came that answers nothing. True: it puts the message that is held in doubt, and the session is over.
    pub(super) fn is_disproved(&mut self, now: Instant, raw: RawReply<'_>) -> bool {
        // With DATA only the reply to the dot can have been given twice, and both say the same.
        let disproved = self.held.is_some_and(|held| held.counted || (raw.code / 100 == 2) != held.accepted);
        if disproved {
            self.doubt(now, raw);
        }
        disproved
    }

    /// The message that is held was answered as it seems (`known`), or that never will be known.
    pub(super) fn release_held(&mut self, known: bool) {
        if let Some(UnprovenMessage { ended, accepted, .. }) = self.held.take() {
            self.wordings.settle(known);
            self.events.push_back(Event::Transaction { accepted: accepted && known, ended });
        }
    }

    /// This reply shows that there was one too many: the message that is held may be with the listener or not.
    pub(super) fn doubt(&mut self, now: Instant, raw: RawReply<'_>) {
        let failure = Some(surplus(raw));
        self.report_since(now, Step::Body, now, raw.code, failure, true);
        self.release_held(false);
        self.end(now, Close::Clean, true);
    }

    /// A reply to the second hello.
    pub(super) fn said_again(&mut self, now: Instant, raw: RawReply<'_>) {
        self.alive = now;
        if raw.code / 100 == 2 && !raw.is_contradictory() && self.offers_as_before(raw) {
            self.release_held(true);
            return self.extra(ExtraCommand::after_transaction(&self.script));
        }
        // Some listeners refuse it.
        let refused = matches!(raw.code / 100, 4 | 5);
        match self.script.quit {
            Quit::Clean | Quit::Hold if refused => {
                if let Some(held) = &mut self.held {
                    held.doubted = true;
                }
                self.leave(now);
            }
            _ => self.doubt(now, raw),
        }
    }

    /// What only the reply to hello says.
    fn offers_as_before(&self, raw: RawReply<'_>) -> bool {
        let offer = Offer::parse(&raw.to_reply());
        // RFC 2033 5: every listener of LMTP offers it.
        offer.chunking || self.script.protocol == Protocol::Lmtp && offer.pipelining
    }

    /// A reply to QUIT while a message is held.
    pub(super) fn farewell(&mut self, now: Instant, raw: RawReply<'_>) {
        let proven = raw.code == 221 && !raw.is_contradictory();
        if !proven && self.is_doubted() {
            return self.doubt(now, raw);
        }
        let (counted, accepted) = self.held.map_or((false, true), |held| (held.counted, held.accepted));
        self.report(now, Step::Quit, raw.code, failure(Step::Quit, raw));
        // What listeners say to QUIT that do not say 221, and what none says to it but to content.
        let fits = matches!(raw.code, 421 | 500 | 502 | 503) || accepted && raw.code / 100 == 2;
        // Where hello was refused, the refusal may have been the reply left over, and this another.
        let asked = self.held.is_some_and(|held| held.asked);
        if proven && !asked || fits && !counted {
            self.release_held(true);
            return self.end(now, Close::Clean, false);
        }
        self.alive = now;
        self.state = ClientState::Drained;
    }

    /// When the held message is reported at the latest.
    pub(super) fn held_until(&self) -> Option<Instant> {
        match self.state {
            ClientState::Drained => self.alive.checked_add(DRAIN),
            ClientState::Quit if self.written && self.held.is_some_and(|held| !held.doubted) => {
                self.since.checked_add(HOLD)
            }
            _ => None,
        }
    }

    /// Nothing disproved the message that is held.
    pub(super) fn held_long_enough(&mut self, now: Instant) {
        self.release_held(true);
        if self.state == ClientState::Drained {
            self.end(now, Close::Clean, false);
        }
    }

    /// The session ends by this. What is no reply to the second hello may be one too many, or a part of it; nor is it known
    /// what would have come when the client gives up before.
    pub(super) fn suspect(&mut self, failure: &Failure) {
        let unknown = is_strange(failure) || *failure == Failure::Aborted;
        if let Some(held) = self.held.as_mut().filter(|_| unknown) {
            held.doubted |= held.asked;
        }
    }

    /// The session is over, and with it the wait for a proof.
    pub(super) fn lose_held(&mut self) {
        let doubted = self.is_doubted();
        self.release_held(!doubted);
    }
}
