//! Messages whose acceptance is not proven yet, and the replies that prove it. A message is reported as accepted only
//! when the order of the replies shows that the 250 answers its content.
//!
//! With DATA the 354 shows that the replies are in step, because no other command has this reply. BDAT has no such
//! reply. Suppose that MAIL, RCPT and the chunks go out in one group, and the listener sends a surplus reply to one of
//! them. Then the reply to RCPT seems to answer the last chunk, and every 250 fits.
//!
//! # Decisions
//! - Replies are compared by their wording (`reply_wording`). The reply of a real listener to the last chunk has
//!   another wording than the replies before it (2.1.0, 2.1.5, a queue number), and the same wording for each message.
//!   After a surplus reply, another reply stands in its place: the reply to RCPT or to an earlier chunk, or the surplus
//!   reply itself.
//! - The client sends hello again after the first message of a session that goes on, and after each message whose reply
//!   has a new wording. RFC 5321 4.1.4 allows hello at any time. Listeners count it neither as an error nor as one of
//!   the commands without mail that they limit. The reply to hello offers CHUNKING and cannot be mistaken for another
//!   reply, so it proves that the replies are in step. If another reply comes, QUIT follows, and a 221 to it shows that
//!   no reply was left over. Without that 221 the message is in doubt, whether it seemed to be accepted or refused.
//! - The client also sends hello where two replies in a row are alike, or where the reply to a last chunk is worded
//!   like the replies to MAIL or RCPT. In this case the message counts as accepted only after a proof. In the other
//!   cases, a listener that closes or resets instead of answering hello does not change the result.
//! - LMTP answers the content once for each recipient. Where two of these replies in a row are alike, one may have been
//!   sent twice: the client sends LHLO again. A listener whose hello offers neither CHUNKING nor PIPELINING proves the
//!   message by the wording of its reply: that of its first reply to hello, which no reply to the content had. If the
//!   wordings are the same, QUIT follows as after a refused hello.
//! - The last message of a session is reported when QUIT is answered, after at most [`HOLD`]. If a surplus reply came
//!   after the command that it seems to answer, another reply than 221 answers QUIT. Silence or a close instead of 221
//!   is a habit of the listener and changes nothing. The message is in doubt only if the reply does not fit QUIT and
//!   one more reply follows within [`DRAIN`]. With BDAT every reply but 221 does not fit; after a refused message, a
//!   positive reply does not fit.
//! - The next transaction is sent behind a last chunk only once a message of the session was proven. If replies then
//!   become alike, or the reply to a last chunk is worded like the replies to MAIL or RCPT, the session is out of step.
//! - A positive reply to a chunk after a refused chunk, or after every recipient was refused, shows that the listener
//!   is out of step: the message is in doubt.
//! - Limits of the proof: if a listener answers one command of a group twice and another one not at all, its replies
//!   look like those of a listener that answers each command once. The same holds for a listener whose replies to RCPT
//!   have the wording of its replies to last chunks. With DATA, a surplus reply may come between the 354 and the reply
//!   to the dot. If the session goes on with another message, later replies show the surplus reply, but the earlier
//!   message keeps its reported result. Proof for each message would cost one more command each. A wording proves only
//!   that at most one reply of LMTP was surplus: the reply that is left over then accepts its recipient, too.

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
/// How long the client waits for another reply when QUIT was answered by another code than 221.
const DRAIN: Duration = Duration::from_millis(250);

/// What the order of the replies proves about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyOrder {
    /// 354 came before the content, and one reply after it.
    Proves,
    /// 354 came before the content, and several replies after it (LMTP).
    Several,
    /// The content was sent in chunks.
    Chunks,
}

/// A message whose last reply was read and that is not reported yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnprovenMessage {
    /// When the last reply was read.
    ended: Instant,
    /// Whether the last reply accepted the message.
    accepted: bool,
    /// Whether the order of the replies proves nothing: the message was sent in chunks, or LMTP has several replies to
    /// it.
    counted: bool,
    /// Whether the message must be proven. Otherwise it stays accepted unless a reply disproves it.
    doubted: bool,
    /// Whether hello is sent again to prove the message.
    asked: bool,
}

impl<C: Content> Client<C> {
    /// Whether the held message must be proven: it seems to be accepted, but the listener may not have it.
    pub(super) fn is_doubted(&self) -> bool {
        self.held.is_some_and(|held| held.doubted)
    }

    /// Holds the current transaction, which was the only one and ended at `now` with the reply to its content. Returns
    /// true if a command must be sent before the next transaction.
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

    /// Holds the current transaction of LMTP, which ended at `now` after hello was written to ask for its replies.
    pub(super) fn hold_asked(&mut self, now: Instant, accepted: bool) {
        self.held = Some(UnprovenMessage { ended: now, accepted, counted: true, doubted: true, asked: true });
        self.command(ClientState::Extra(ExtraCommand::Again));
    }

    /// Whether only QUIT follows, and the client waits for its reply.
    fn leaves_properly(&self) -> bool {
        let quits =
            matches!(self.script.quit, Quit::Clean | Quit::Hold) && self.half_closed == HalfClose::Open;
        self.finishing && quits && self.script.between.is_empty()
    }

    /// Reports the held message, unless a reply that is still due may disprove it.
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

    /// Processes a reply that answers no command. Returns true if it puts the held message in doubt and ends the
    /// session.
    pub(super) fn is_disproved(&mut self, now: Instant, raw: RawReply<'_>) -> bool {
        // With DATA only the reply to the dot can have been sent twice, and both copies have the same code.
        let disproved = self.held.is_some_and(|held| held.counted || (raw.code / 100 == 2) != held.accepted);
        if disproved {
            self.doubt(now, raw);
        }
        disproved
    }

    /// Reports the held message: with its result if the result is `known`, else as not accepted.
    pub(super) fn release_held(&mut self, known: bool) {
        if let Some(UnprovenMessage { ended, accepted, .. }) = self.held.take() {
            self.wordings.settle(known);
            self.events.push_back(Event::Transaction { accepted: accepted && known, ended });
        }
    }

    /// Processes a reply that shows a surplus reply before it. The held message is in doubt.
    pub(super) fn doubt(&mut self, now: Instant, raw: RawReply<'_>) {
        let failure = Some(surplus(raw));
        self.report_since(now, Step::Body, now, raw.code, failure, true);
        self.release_held(false);
        self.end(now, Close::Clean, true);
    }

    /// Processes a reply to the second hello.
    pub(super) fn said_again(&mut self, now: Instant, raw: RawReply<'_>) {
        self.alive = now;
        let fits = failure(Step::Hello, raw).is_none();
        if fits && self.answers_hello(raw) {
            self.release_held(true);
            return self.extra(ExtraCommand::after_transaction(&self.script));
        }
        // Some listeners refuse a second hello, and the replies of some to hello cannot be told from others.
        let proves_nothing = matches!(raw.code / 100, 4 | 5) || fits && !self.hello_is_unmistakable;
        match self.script.quit {
            Quit::Clean | Quit::Hold if proves_nothing => {
                if let Some(held) = &mut self.held {
                    held.doubted = true;
                }
                self.leave(now);
            }
            _ => self.doubt(now, raw),
        }
    }

    /// Whether an offer holds what no reply but that to hello has.
    pub(super) fn is_unmistakable(&self, offer: &Offer) -> bool {
        // RFC 2033 5: listeners of LMTP should offer PIPELINING; those of Python do not.
        offer.chunking || self.script.protocol == Protocol::Lmtp && offer.pipelining
    }

    /// Whether a positive reply to the second hello cannot be a reply to the content.
    pub(super) fn answers_hello(&self, raw: RawReply<'_>) -> bool {
        // Chunks have more replies that could be taken for that to hello, and their listener offers CHUNKING.
        let is_worded_so = || !self.transactions.goes_in_chunks() && self.wordings.are_of_hello(raw);
        self.is_unmistakable(&Offer::parse(&raw.to_reply())) || is_worded_so()
    }

    /// Processes a reply to QUIT while a message is held.
    pub(super) fn farewell(&mut self, now: Instant, raw: RawReply<'_>) {
        let proven = raw.code == 221 && !raw.is_contradictory();
        if !proven && self.is_doubted() {
            return self.doubt(now, raw);
        }
        let (counted, accepted) = self.held.map_or((false, true), |held| (held.counted, held.accepted));
        self.report(now, Step::Quit, raw.code, failure(Step::Quit, raw));
        // Listeners without 221 answer QUIT with these codes. After an accepted message, 2yz is such a code too.
        let fits = matches!(raw.code, 421 | 500 | 502 | 503) || accepted && raw.code / 100 == 2;
        // If hello was refused, the refusal may have been a surplus reply, and this reply the true answer to hello.
        let asked = self.held.is_some_and(|held| held.asked);
        if proven && !asked || fits && !counted {
            self.release_held(true);
            return self.end(now, Close::Clean, false);
        }
        self.alive = now;
        self.state = ClientState::Drained;
    }

    /// Returns when the held message is reported at the latest.
    pub(super) fn held_until(&self) -> Option<Instant> {
        match self.state {
            ClientState::Drained => self.alive.checked_add(DRAIN),
            ClientState::Quit if self.written && self.held.is_some_and(|held| !held.doubted) => {
                self.since.checked_add(HOLD)
            }
            _ => None,
        }
    }

    /// Reports the held message when its wait ends: no reply has disproved it.
    pub(super) fn held_long_enough(&mut self, now: Instant) {
        self.release_held(true);
        if self.state == ClientState::Drained {
            self.end(now, Close::Clean, false);
        }
    }

    /// Notes how the session ends. A wrong reply to the second hello may be a surplus reply, or a part of one. If the
    /// client gives up before the reply came, the reply is unknown.
    pub(super) fn suspect(&mut self, failure: &Failure) {
        let unknown = is_strange(failure) || *failure == Failure::Aborted;
        if let Some(held) = self.held.as_mut().filter(|_| unknown) {
            held.doubted |= held.asked;
        }
    }

    /// Reports the held message when the session is over: no proof can follow.
    pub(super) fn lose_held(&mut self) {
        let doubted = self.is_doubted();
        self.release_held(!doubted);
    }
}
