//! What the client tells its owner, and the ways in which a step fails.

use std::time::Instant;

use crate::smtp::machine::Closed;
use crate::smtp::reply::{Malformed, Reply};
use crate::smtp::step::Step;

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A reply that refuses, asked for or not: 4yz or 5yz.
    Reply(Reply),
    /// A reply that does not fit the step, such as 250 to DATA, or 250 when nothing was asked.
    Unexpected(Reply),
    /// The listener does not offer an extension that is required.
    NotOffered {
        /// The extension's keyword.
        keyword: &'static str,
        /// What it offers.
        reply: Reply,
    },
    /// No reply within the step's time-out; what had come of an unfinished one.
    TimedOut(String),
    /// The session took longer than its time-out.
    SessionTimedOut,
    /// The connection is gone.
    Closed(Closed),
    /// What came is no reply.
    Malformed(Malformed),
    /// Given up by our own side.
    Aborted,
}

/// What the client tells its owner.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step ended.
    Step {
        /// Which.
        step: Step,
        /// When it began: its command was written, alone or in a group. A failure that no wait met begins when it ends.
        started: Instant,
        /// When it ended.
        ended: Instant,
        /// The code of the reply that ended it; 0 if none did.
        code: u16,
        /// `None`: it succeeded.
        failure: Option<Box<Failure>>,
        /// The final dot, or the chunk marked LAST, may be out and no reply says what became of the message: the listener may have it.
        in_doubt: bool,
    },
    /// The session can send mail: greeting and hello succeeded.
    Established,
    /// [`Client::begin`](super::Client::begin) or [`Client::finish`](super::Client::finish) may be called. If neither is,
    /// the session rests.
    Ready {
        /// The last transaction is still under way: the next one would go out in one group with its content, or behind
        /// its last chunk.
        /// Not calling `begin` now is no rest; another `Ready` follows.
        early: bool,
    },
    /// MAIL of the transaction begun last is being written.
    Begun(Instant),
    /// The oldest transaction ended; told for each that was given to [`Client::begin`](super::Client::begin), in order.
    /// What failed, if it did, was told by the steps before. One without [`Event::Begun`] never went out.
    Transaction {
        /// The positive reply to the end of the content was read; with LMTP that of every accepted recipient.
        accepted: bool,
        /// When it ended.
        ended: Instant,
    },
    /// The session is over; nothing follows.
    Ended {
        /// The listener ended it before we left: by closing, by 421, or by breaking the protocol.
        by_peer: bool,
    },
}
