//! The events of the client, and the ways in which a step fails.

use std::time::Instant;

use crate::smtp::auth::Mechanism;
use crate::smtp::hello::Offer;
use crate::smtp::machine::{Closed, Handshake, Insecure};
use crate::smtp::reply::{Malformed, Reply};
use crate::smtp::step::Step;

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A reply that refuses, asked for or not: 4yz or 5yz.
    Reply(Reply),
    /// A reply that refuses a login, and the challenge before it that says why.
    Challenged {
        /// The reply.
        reply: Reply,
        /// The challenge, in text.
        challenge: String,
        /// It is the listener's reason to refuse a token (RFC 7628 3.2.2). Otherwise it could not be answered, and the login
        /// was cancelled: nothing is known of the credentials.
        understood: bool,
    },
    /// A reply that does not fit the step, such as 250 to DATA, or 250 when nothing was asked.
    Unexpected(Reply),
    /// A reply too many: it was there before the command that it would answer was written, or it came when all that was
    /// written had been answered. What answers what can no longer be told.
    Surplus(Reply),
    /// No reply within the step's time-out; what had come of an unfinished one.
    TimedOut(String),
    /// The session took longer than its time-out.
    SessionTimedOut,
    /// The connection is gone.
    Closed(Closed),
    /// What came is no reply.
    Malformed(Malformed),
    /// The session was to have what the listener does not offer.
    NotOffered(Lacking),
    /// Bytes came in clear text between the 220 to STARTTLS and the handshake (the flaw of CVE-2011-0411): the first of them.
    Injected(String),
    /// The TLS handshake failed.
    Insecure(Insecure),
    /// The rest of the content cannot be had: our own failure. Its end was not sent, so the listener has no message.
    Lost(String),
    /// LMTP: only some of the replies to the content came, and what ended the wait for the others.
    Missing {
        /// So many came.
        came: u32,
        /// So many recipients were accepted before.
        due: u32,
        /// What took their place.
        why: Box<Failure>,
    },
    /// The run ended or gave the session up.
    Aborted,
}

/// What the session was to have and the listener does not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// STARTTLS.
    Starttls,
    /// XCLIENT, to us.
    Xclient,
    /// PIPELINING.
    Pipelining,
    /// Another extension that is required; its keyword.
    Extension(&'static str),
    /// The AUTH mechanism.
    Mechanism(Mechanism),
    /// The session is in clear text, and a login must not be.
    Encryption,
    /// The session's TLS has no channel binding (RFC 9266), and the mechanism needs one.
    ChannelBinding,
}

/// An event of the client.
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
    /// The listener does not know what was said, and it is said again in an older way on the same connection: HELO for
    /// EHLO, AUTH without an initial response. The step goes on.
    SteppedDown {
        /// Which.
        step: Step,
        /// How the first try was refused.
        reply: Box<Reply>,
    },
    /// A reply whose lines have different codes came to this step. The last line's counts; the outcome of the step is an
    /// event of its own.
    Mixed(Step, Box<Reply>),
    /// The TLS handshake is complete.
    Secured(Box<Handshake>),
    /// The session can send mail: all that the script asks before its first transaction succeeded. What the listener
    /// offers.
    Established(Box<Offer>),
    /// [`Client::begin`](super::Client::begin) or [`Client::finish`](super::Client::finish) may be called. If neither is,
    /// the session rests.
    Ready {
        /// The last transaction is still under way: the next one would go out in one group with its content, or behind
        /// its last chunk.
        /// Not calling `begin` now is no rest; another `Ready` follows.
        early: bool,
    },
    /// MAIL of the newest transaction is being written.
    Started(Instant),
    /// The oldest transaction ended; reported for each that was given to [`Client::begin`](super::Client::begin), in order.
    /// The events before it name the step that failed, if one did. One without [`Event::Started`] was never sent. It is reported when
    /// no later reply can contradict it, which may be after steps that follow it.
    Transaction {
        /// The positive reply to the end of the content was read; with LMTP that of every accepted recipient.
        accepted: bool,
        /// When it ended: the final reply was read.
        ended: Instant,
    },
    /// The session is over; nothing follows.
    Ended {
        /// The listener ended it before we left: by closing, by 421, or by breaking the protocol.
        by_peer: bool,
    },
}
