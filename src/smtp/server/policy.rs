//! The interface between the server's machine and the policy that decides its answers: what is asked, what may be answered, and what
//! bounds a session. Nothing is decided here.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::smtp::content::{ContentMeasure, EndOfData};
use crate::smtp::machine::{Handshake, Insecure};
use crate::smtp::request::{Request, RequestFault};
use crate::smtp::script::Protocol;
use crate::smtp::step::Step;

/// What the policy has to answer.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// The connection is there.
    Greeting,
    /// A well-formed command in its right place.
    Request(Request<'a>),
    /// A line of the exchange of AUTH, as it came, without its end.
    Response(&'a [u8]),
    /// The content came to its end: the final dot, or all of the last chunk. With LMTP this is asked for each accepted
    /// recipient in turn, and answers for that one (RFC 2033 4.2).
    Body(&'a ContentMeasure),
    /// A chunk of so many bytes came that is not the last; what was seen of the content so far.
    Chunk(u64, &'a ContentMeasure),
    /// A line that is wrong, or comes at the wrong time.
    RequestFault(RequestFault<'a>),
    /// A deadline passed while the client was silent.
    Lapse(Lapse),
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// [`ServerBounds::idle`].
    Idle,
    /// [`ServerBounds::total`].
    Total,
    /// [`ServerBounds::end`].
    End,
}

/// What becomes of the session after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    Keep,
    /// It is closed, in order.
    Close,
    /// It is reset.
    Reset,
    /// It stays open, and nothing is ever said again.
    Silence,
}

/// An answer of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyAnswer {
    /// The whole reply with its code, lines separated by `\n`; empty: none.
    pub reply: Cow<'static, str>,
    /// How long it is held back.
    pub delay: Duration,
    /// What comes after.
    pub then: Then,
}

impl PolicyAnswer {
    /// This reply at once. A 421 closes (RFC 5321 3.8).
    pub fn new(reply: impl Into<Cow<'static, str>>) -> PolicyAnswer {
        let reply = reply.into();
        let then = if reply.starts_with("421") { Then::Close } else { Then::Keep };
        PolicyAnswer { reply, delay: Duration::ZERO, then }
    }

    /// No reply, only the end.
    pub fn silent(then: Then) -> PolicyAnswer {
        PolicyAnswer { reply: Cow::Borrowed(""), delay: Duration::ZERO, then }
    }

    /// The code of the reply; 0 if there is none.
    pub fn code(&self) -> u16 {
        self.reply.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// Decides every answer of one session.
pub trait Policy {
    /// What is spoken.
    fn protocol(&self) -> Protocol {
        Protocol::Smtp
    }
    /// Whether BDAT is known.
    fn takes_chunks(&self) -> bool {
        false
    }
    /// What ends the content after DATA.
    fn end_of_data(&self) -> EndOfData {
        EndOfData::Strict
    }
    /// How long the client may say nothing after this step, in place of [`ServerBounds::idle`]: greeting (no hello yet), hello
    /// (no transaction), mail (no recipient), rcpt (no content), data (the 354 was said and no content came) or body
    /// (within the content).
    fn patience(&self, after: Step) -> Option<Duration> {
        let _ = after;
        None
    }
    /// The answer to `ask`. With 2yz (354 for DATA) the command took effect; 334 goes on with the exchange of AUTH.
    fn answer(&mut self, now: Instant, ask: Ask<'_>) -> PolicyAnswer;
    /// More bytes of the content, dots unstuffed.
    fn content(&mut self, bytes: &[u8]);
    /// The reply of `step` is handed over for writing; [`Step::Idle`] for all that is no step of a transaction.
    fn queued(&mut self, now: Instant, step: Step, code: u16);
    /// The transaction ended without a final reply: RSET, another HELO, or STARTTLS.
    fn abandoned(&mut self);
    /// A connection on which TLS comes first is there. `Some`: it is refused in clear text, without a handshake.
    fn connected(&mut self, now: Instant) -> Option<PolicyAnswer> {
        let _ = now;
        None
    }
    /// The TLS handshake is complete.
    fn secured(&mut self, now: Instant, handshake: &Handshake) {
        let _ = (now, handshake);
    }
    /// There is no TLS: why the handshake failed, or nothing if the connection ended in it.
    fn insecure(&mut self, why: Option<&Insecure>) {
        let _ = why;
    }
}

/// What bounds a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerBounds {
    /// The longest command line in bytes, with CRLF.
    pub max_line: usize,
    /// How long the client may say nothing.
    pub idle: Option<Duration>,
    /// How long the session may last.
    pub total: Option<Duration>,
    /// When every session ends.
    pub end: Option<Instant>,
    /// TLS comes first (RFC 8314 3.3), the greeting after it.
    pub implicit_tls: bool,
}

impl Default for ServerBounds {
    /// Only the line is bounded.
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
