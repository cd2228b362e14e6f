//! The interface between protocol and I/O: an endpoint that does no I/O and reads no clock.
//!
//! Only the loop in `net::drive` calls a machine. The rule: after each `handle_*`, call [`Machine::poll`] until it
//! returns [`Need::Read`], [`Need::Wait`], [`Need::Secure`] or [`Need::Close`].
//!
//! # Decisions
//! - `poll` appends the bytes to write to a buffer that the driver owns, so that an idle session holds no buffer of its
//!   own.
//! - `handle_input` returns how many bytes it took, and the driver offers the rest again after polling. So a machine
//!   never stores more input than one partial reply or request line.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// How the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closed {
    /// An orderly end of stream (FIN).
    Eof,
    /// A reset (RST), seen on reading or on writing.
    Reset,
    /// The other host is gone: it acknowledged nothing, or there is no route to it any more.
    Gone,
    /// Another I/O error; the value is the errno, 0 if unknown.
    Error(i32),
}

/// The result of a TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The protocol version, as in `TLSv1.3`.
    pub version: String,
    /// The cipher suite by its registered name.
    pub suite: String,
    /// The key-exchange group by its registered name; `None` for a resumption without a key exchange.
    pub group: Option<String>,
    /// Whether an earlier session was resumed. Otherwise the handshake was a full one.
    pub resumed: bool,
    /// The `tls-exporter` channel binding (RFC 9266), if the session has one.
    pub binding: Option<Vec<u8>>,
    /// Why verification would reject the other side's certificate, in a session that does not verify it.
    pub untrusted: Option<String>,
}

/// Why there is no secure stream although both sides are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// The bytes received are not TLS. Holds the first bytes.
    ClearText(Vec<u8>),
    /// The other side ended the handshake with this alert.
    Alert(String),
    /// This side does not trust the certificate, for this reason.
    Certificate(String),
    /// The handshake failed in another way.
    Broken(String),
}

/// How this side closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Orderly: send what is left, then FIN.
    Clean,
    /// As `Clean`, then read and discard until the other side ends, for a limited time. Unread input would turn the
    /// close into a reset, and the other side could lose the last reply.
    Linger,
    /// Reset the connection at once.
    Reset,
}

/// What the machine needs next.
#[derive(Debug)]
pub enum Need<E> {
    /// An event for the owner. Poll again after it.
    Emit(E),
    /// Bytes were appended to the output buffer. Write them, and poll again at once. Call `handle_written` when the
    /// kernel has taken all of them.
    Write,
    /// Switch the stream to TLS before anything else is read or written. Input that came before is offered to the
    /// machine first: bytes sent in clear text must not pass for bytes sent over TLS.
    Secure {
        /// When to call `handle_timeout`; `None` for never.
        until: Option<Instant>,
    },
    /// Wait for input, or for this time.
    Read {
        /// When to call `handle_timeout`; `None` for never.
        until: Option<Instant>,
    },
    /// As `Read`, but read nothing: input stays with the kernel.
    Wait {
        /// When to call `handle_timeout`; `None` for never.
        until: Option<Instant>,
    },
    /// Nothing more will be written. End this side of the stream when all bytes are written, continue to read, and poll
    /// again at once.
    EndWrite,
    /// Close the connection in this way.
    Close(Close),
}

/// A protocol endpoint without I/O and clock. Both the client and the embedded listener are machines.
pub trait Machine {
    /// The type of the events for the owner.
    type Event;

    /// Processes input. Returns how many bytes were taken; the rest is offered again after polling.
    fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> usize;
    /// Notes that the kernel has taken all bytes of the last [`Need::Write`].
    fn handle_written(&mut self, now: Instant);
    /// Notes that the kernel has taken more bytes of the last [`Need::Write`], but not all of them.
    fn handle_progress(&mut self, now: Instant) {
        let _ = now;
    }
    /// Notes that the TLS handshake of [`Need::Secure`] is complete.
    fn handle_secured(&mut self, now: Instant, handshake: Handshake);
    /// Notes that the handshake failed. If the connection is lost in the handshake, `handle_closed` is called instead.
    fn handle_insecure(&mut self, now: Instant, why: Insecure);
    /// Notes that the time `until` of the last [`Need`] has come.
    fn handle_timeout(&mut self, now: Instant);
    /// Notes that the connection has ended and nothing more can be read.
    fn handle_closed(&mut self, now: Instant, how: Closed);
    /// Returns what the machine needs now. Bytes to write are appended to `out`.
    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Self::Event>;
}
