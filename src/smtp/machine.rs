//! The seam between protocol and I/O: an endpoint that does no I/O and reads no clock.
//!
//! `net::drive` is the only loop that calls it. The rule of the seam: after one `handle_*`, call
//! [`Machine::poll`] until it answers [`Need::Read`], [`Need::Wait`], [`Need::Secure`] or [`Need::Close`].
//!
//! # Decisions
//! - `poll` appends what is to be written to a buffer that the driver owns, so that a session at rest
//!   holds no buffer of its own.
//! - `handle_input` says how much it took; the driver offers the rest again after polling. A machine
//!   therefore never stores input beyond one partial reply or request line.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// How the other side went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closed {
    /// An orderly end of stream (FIN).
    Eof,
    /// A reset (RST), seen on reading or on writing.
    Reset,
    /// The other host is gone: nothing that was sent was acknowledged, or no route leads to it any more.
    Gone,
    /// Another I/O error; the value is the errno, 0 if unknown.
    Error(i32),
}

/// What a TLS handshake came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The protocol version, as in `TLSv1.3`.
    pub version: String,
    /// The cipher suite by its registered name.
    pub suite: String,
    /// The key-exchange group by its registered name; none for a resumption without one.
    pub group: Option<String>,
    /// An earlier session was resumed; otherwise the handshake was a full one.
    pub resumed: bool,
    /// The `tls-exporter` channel binding (RFC 9266), where it can be had.
    pub binding: Option<Vec<u8>>,
    /// Why the other side's certificate, which was not verified, would not be trusted.
    pub untrusted: Option<String>,
}

/// Why there is no secure stream although both sides are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// What came is no TLS: its first bytes.
    ClearText(Vec<u8>),
    /// The other side ended the handshake with this alert.
    Alert(String),
    /// We do not trust its certificate, and why.
    Certificate(String),
    /// The handshake broke down otherwise.
    Broken(String),
}

/// How this side is to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Orderly: send what is left, then FIN.
    Clean,
    /// As `Clean`, then read and discard until the other side ends (for a while): unread input would turn the close
    /// into a reset, and the other side could lose the last reply.
    Linger,
    /// At once, with a reset.
    Reset,
}

/// What a machine wants next.
#[derive(Debug)]
pub enum Need<E> {
    /// Something happened that the owner must know; poll again after.
    Emit(E),
    /// Bytes were appended to the output buffer: write them out; poll again at once. The machine hears
    /// `handle_written` when all of them are with the kernel.
    Write,
    /// Switch the stream to TLS before anything else is read or written. Input that came with what led to this is
    /// offered before the handshake begins: what was sent in clear text must not pass for what was sent in secret.
    Secure {
        /// When `handle_timeout` is due; `None`: never.
        until: Option<Instant>,
    },
    /// Nothing until input comes, or until this time.
    Read {
        /// When `handle_timeout` is due; `None`: never.
        until: Option<Instant>,
    },
    /// As `Read`, but nothing is to be read: what comes stays with the kernel.
    Wait {
        /// When `handle_timeout` is due; `None`: never.
        until: Option<Instant>,
    },
    /// Nothing more will be written: end this side of the stream when all is out, go on reading; poll again at once.
    EndWrite,
    /// The end.
    Close(Close),
}

/// A protocol endpoint without I/O and clock. The client and the embedded listener both are one.
pub trait Machine {
    /// What the machine tells its owner.
    type Event;

    /// Bytes came in. Returns how many were taken; the rest is offered again after polling.
    fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> usize;
    /// All bytes of the last [`Need::Write`] are with the kernel.
    fn handle_written(&mut self, now: Instant);
    /// The TLS handshake that [`Need::Secure`] asked for is complete.
    fn handle_secured(&mut self, now: Instant, handshake: Handshake);
    /// The handshake failed. A connection that is lost in it is `handle_closed`'s.
    fn handle_insecure(&mut self, now: Instant, why: Insecure);
    /// The time of the last [`Need::Read`] has come.
    fn handle_timeout(&mut self, now: Instant);
    /// The other side is gone; nothing can be read any more.
    fn handle_closed(&mut self, now: Instant, how: Closed);
    /// What is needed now. Bytes to be written are appended to `out`.
    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Self::Event>;
}
