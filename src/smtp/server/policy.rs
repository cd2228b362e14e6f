//! The interface between the server's machine and the policy that decides its answers: the questions, the possible
//! answers, and the bounds of a session. Nothing is decided here.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::smtp::content::{ContentMeasure, EndOfData};
use crate::smtp::machine::{Handshake, Insecure};
use crate::smtp::request::{Request, RequestFault};
use crate::smtp::script::Protocol;
use crate::smtp::step::Step;

/// A question to the policy.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// The client has connected.
    Greeting,
    /// A well-formed command in its right place.
    Request(Request<'a>),
    /// A line of the exchange of AUTH, unchanged, without its end.
    Response(&'a [u8]),
    /// The content has ended, with the final dot or with all of the last chunk. With LMTP the question comes once for
    /// each accepted recipient in turn, and each answer is for that recipient (RFC 2033 4.2).
    Body(&'a ContentMeasure),
    /// A chunk of this many bytes ended that is not the last, with the measures of the content so far.
    Chunk(u64, &'a ContentMeasure),
    /// A line with a fault, or a command out of order.
    RequestFault(RequestFault<'a>),
    /// A deadline passed.
    Lapse(Lapse),
}

/// The deadline that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// [`ServerBounds::idle`].
    Idle,
    /// [`ServerBounds::total`].
    Total,
    /// [`ServerBounds::end`].
    End,
}

/// What happens to the session after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The session goes on.
    Keep,
    /// The session is closed in the orderly way.
    Close,
    /// The connection is reset.
    Reset,
    /// The connection stays open, and the server never sends anything again.
    Silence,
}

/// An answer of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyAnswer {
    /// The whole reply with its code, lines separated by `\n`; empty for no reply.
    pub reply: Cow<'static, str>,
    /// How long the reply is held back.
    pub delay: Duration,
    /// What happens after the reply.
    pub then: Then,
}

impl PolicyAnswer {
    /// Creates an answer that is given at once. A 421 closes the session (RFC 5321 3.8).
    pub fn new(reply: impl Into<Cow<'static, str>>) -> PolicyAnswer {
        let reply = reply.into();
        let then = if reply.starts_with("421") { Then::Close } else { Then::Keep };
        PolicyAnswer { reply, delay: Duration::ZERO, then }
    }

    /// Creates an answer without a reply.
    pub fn silent(then: Then) -> PolicyAnswer {
        PolicyAnswer { reply: Cow::Borrowed(""), delay: Duration::ZERO, then }
    }

    /// Returns the code of the reply; 0 without a reply.
    pub fn code(&self) -> u16 {
        self.reply.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// Decides every answer of one session.
pub trait Policy {
    /// Returns the protocol.
    fn protocol(&self) -> Protocol {
        Protocol::Smtp
    }
    /// Whether the server knows BDAT.
    fn takes_chunks(&self) -> bool {
        false
    }
    /// Returns the sequence that ends the content after DATA.
    fn end_of_data(&self) -> EndOfData {
        EndOfData::Strict
    }
    /// Returns how long the client may be silent after this step, in place of [`ServerBounds::idle`]. The steps are
    /// greeting (no hello yet), hello (no transaction), mail (no recipient), rcpt (no content), data (354 was sent and
    /// no content came) and body (within the content).
    fn patience(&self, after: Step) -> Option<Duration> {
        let _ = after;
        None
    }
    /// Answers `ask`. With 2yz (354 for DATA) the command took effect; 334 continues the exchange of AUTH.
    fn answer(&mut self, now: Instant, ask: Ask<'_>) -> PolicyAnswer;
    /// Takes more bytes of the content, without dot stuffing.
    fn content(&mut self, bytes: &[u8]);
    /// Notes that the reply of `step` is queued for writing. [`Step::Idle`] stands for everything that is not a step of
    /// a transaction.
    fn queued(&mut self, now: Instant, step: Step, code: u16);
    /// Notes that the transaction ended without a final reply: by RSET, another hello, STARTTLS, or a refused chunk
    /// that was not the last.
    fn abandoned(&mut self);
    /// Notes a connection on which TLS comes first. Returns `Some` to refuse it in clear text, without a handshake.
    fn connected(&mut self, now: Instant) -> Option<PolicyAnswer> {
        let _ = now;
        None
    }
    /// Notes that the TLS handshake is complete.
    fn secured(&mut self, now: Instant, handshake: &Handshake) {
        let _ = (now, handshake);
    }
    /// Notes that the handshake failed: `why`, or `None` if the connection or the time for the handshake ended.
    fn insecure(&mut self, why: Option<&Insecure>) {
        let _ = why;
    }
}

/// The bounds of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerBounds {
    /// The longest command line in bytes, with CRLF.
    pub max_line: usize,
    /// How long the client may be silent.
    pub idle: Option<Duration>,
    /// How long the session may last.
    pub total: Option<Duration>,
    /// The time at which the session ends, whenever it began.
    pub end: Option<Instant>,
    /// Whether TLS comes first (RFC 8314 3.3), and the greeting after it.
    pub implicit_tls: bool,
}

impl Default for ServerBounds {
    /// Returns bounds that only limit the line.
    fn default() -> Self {
        ServerBounds {
            max_line: crate::smtp::request::MAX_LINE,
            idle: None,
            total: None,
            end: None,
            implicit_tls: false,
        }
    }
}
