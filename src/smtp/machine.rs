//! The seam between protocol and I/O: an endpoint that does no I/O and reads no clock.
//!
//! `net::drive` is the only loop that calls it. The rule of the seam: after one `handle_*`, call
//! [`Machine::poll`] until it answers [`Need::Read`] or [`Need::Close`].
//!
//! # Decisions
//! - `poll` appends what is to be written to a buffer that the driver owns, so that a session at rest
//!   holds no buffer of its own.
//! - `handle_input` says how much it took; the driver offers the rest again after polling. A machine
//!   therefore never stores input beyond one partial reply or request line.

use std::time::Instant;

/// How the other side went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// An orderly end of stream (FIN).
    Eof,
    /// A reset (RST), seen on reading or on writing.
    Reset,
    /// Another I/O error; the value is the errno, 0 if unknown.
    Error(i32),
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
    /// Switch the stream to TLS before anything else is read or written.
    Secure,
    /// Nothing until input comes, or until this time.
    Read {
        /// When `handle_timeout` is due; `None`: never.
        until: Option<Instant>,
    },
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
    fn handle_secured(&mut self, now: Instant);
    /// The time of the last [`Need::Read`] has come.
    fn handle_timeout(&mut self, now: Instant);
    /// The other side is gone; nothing can be read any more.
    fn handle_closed(&mut self, now: Instant, how: Closed);
    /// What is needed now. Bytes to be written are appended to `out`.
    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Self::Event>;
}
