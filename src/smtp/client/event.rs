//! The events of the client, and the ways in which a step fails.

use std::time::Instant;

use crate::smtp::auth::{Mechanism, Redactor};
use crate::smtp::hello::Offer;
use crate::smtp::machine::{Closed, Handshake, Insecure};
use crate::smtp::reply::{Malformed, Reply};
use crate::smtp::step::Step;

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A reply that refuses (4yz or 5yz), to a command or unasked.
    Reply(Reply),
    /// A reply that refuses a login, and the challenge before it that gives the reason.
    Challenged {
        /// The reply.
        reply: Reply,
        /// The challenge as text.
        challenge: String,
        /// Whether the challenge is the listener's reason to refuse a token (RFC 7628 3.2.2). Otherwise the client
        /// could not answer the challenge and cancelled the login; this says nothing about the credentials.
        understood: bool,
    },
    /// A reply that does not fit the step, such as 250 to DATA, or 250 when nothing was asked.
    Unexpected(Reply),
    /// A surplus reply. It was there before the command that it would answer was written, or it came when all commands
    /// had been answered. From then on it is not certain which command each reply answers.
    Surplus(Reply),
    /// No complete reply within the step's time-out; the text holds the part that came.
    TimedOut(String),
    /// The session took longer than its time-out.
    SessionTimedOut,
    /// The connection is gone; the text holds the part of a reply that came.
    Closed(Closed, String),
    /// The bytes received are no reply.
    Malformed(Malformed),
    /// The listener does not offer what the session requires.
    NotOffered(Lacking),
    /// Bytes came in clear text between the 220 to STARTTLS and the handshake (the flaw of CVE-2011-0411). The text
    /// holds the first bytes.
    Injected(String),
    /// The TLS handshake failed.
    Insecure(Insecure),
    /// The rest of the content cannot be read, which is a failure of the client. The end of the content was not sent,
    /// so the listener has no message.
    Lost(String),
    /// LMTP: only some of the replies to the content came.
    Missing {
        /// How many replies came.
        came: u32,
        /// How many replies were due: one for each accepted recipient.
        due: u32,
        /// What ended the wait for the missing replies.
        why: Box<Failure>,
    },
    /// The owner gave the session up, for example because the run ended.
    Aborted,
}

impl Failure {
    /// Returns the failure without the secret of a login, which the listener may have repeated.
    #[must_use]
    pub fn redacted(&self, redactor: &Redactor) -> Failure {
        match self {
            Failure::Reply(reply) => Failure::Reply(redactor.reply(reply)),
            Failure::Challenged { reply, challenge, understood } => Failure::Challenged {
                reply: redactor.reply(reply),
                challenge: redactor.fragment(challenge),
                understood: *understood,
            },
            Failure::Unexpected(reply) => Failure::Unexpected(redactor.reply(reply)),
            Failure::Surplus(reply) => Failure::Surplus(redactor.reply(reply)),
            Failure::TimedOut(partial) => Failure::TimedOut(redactor.fragment(partial)),
            Failure::Malformed(malformed) => Failure::Malformed(redactor.malformed(malformed)),
            Failure::Injected(bytes) => Failure::Injected(redactor.fragment(bytes)),
            Failure::Missing { came, due, why } => {
                Failure::Missing { came: *came, due: *due, why: Box::new(why.redacted(redactor)) }
            }
            Failure::Closed(how, partial) => Failure::Closed(*how, redactor.fragment(partial)),
            Failure::SessionTimedOut
            | Failure::NotOffered(_)
            | Failure::Insecure(_)
            | Failure::Lost(_)
            | Failure::Aborted => self.clone(),
        }
    }
}

/// A feature that the session requires and the listener does not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// STARTTLS.
    Starttls,
    /// XCLIENT, for this client.
    Xclient,
    /// PIPELINING.
    Pipelining,
    /// Another required extension, by its keyword.
    Extension(&'static str),
    /// The AUTH mechanism.
    Mechanism(Mechanism),
    /// Encryption: the session is in clear text, and the login must not be.
    Encryption,
    /// The session's TLS has no channel binding (RFC 9266), and the mechanism needs one.
    ChannelBinding,
}

/// An event of the client.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step ended.
    Step {
        /// The step.
        step: Step,
        /// When the step began: its command was written, alone or in a group. A failure without a wait begins when it
        /// ends.
        started: Instant,
        /// The end of the step.
        ended: Instant,
        /// The code of the reply that ended the step; 0 if no reply did.
        code: u16,
        /// Why the step failed; `None` if it succeeded.
        failure: Option<Box<Failure>>,
        /// Whether the listener may have the message: its final dot, or the chunk marked LAST, may be sent, and no
        /// reply gives the result.
        in_doubt: bool,
    },
    /// The listener does not know a command, and the client repeats it in an older form on the same connection: HELO
    /// for EHLO, AUTH without an initial response. The step goes on.
    SteppedDown {
        /// The step.
        step: Step,
        /// The reply that refused the first form.
        reply: Box<Reply>,
    },
    /// A reply to this step whose lines have different codes. The code of the last line counts. The result of the step
    /// is an event of its own.
    Mixed(Step, Box<Reply>),
    /// The TLS handshake is complete.
    Secured(Box<Handshake>),
    /// The session can send mail: everything that the script asks before its first transaction succeeded. Carries what
    /// the listener offers.
    Established(Box<Offer>),
    /// [`Client::begin`](super::Client::begin) or [`Client::finish`](super::Client::finish) may be called. If neither
    /// is called, the session stays idle.
    Ready {
        /// The last transaction is still in progress. The next one would be sent in one group with its content, or
        /// behind its last chunk. If `begin` is not called now, another `Ready` follows.
        early: bool,
    },
    /// MAIL of the newest transaction is being written.
    Started(Instant),
    /// The oldest transaction ended. Every transaction that was given to [`Client::begin`](super::Client::begin) is
    /// reported, in order. If a step failed, an earlier event names it. A transaction without [`Event::Started`] was
    /// never sent. The event comes when no later reply can contradict the result, which may be after steps that follow
    /// the transaction.
    Transaction {
        /// Whether the reply to the end of the content was positive; with LMTP, the replies for every accepted
        /// recipient.
        accepted: bool,
        /// When the final reply was read.
        ended: Instant,
    },
    /// The session is over; nothing follows.
    Ended {
        /// Whether the listener ended it first: by closing, by 421, or by breaking the protocol.
        by_peer: bool,
    },
}
