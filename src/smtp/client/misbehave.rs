//! Misbehaviour on purpose: ending the sending side early, and a client that does not read.

use std::time::{Duration, Instant};

use crate::smtp::command;

/// Whether the client ends its sending side before the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfClose {
    /// The sending side is open.
    Open,
    /// The sending side must be ended once the kernel has taken all written bytes.
    Due,
    /// The sending side is ended.
    Done,
}

/// How many NOOPs a client that reads nothing sends before each [`PAUSE`]: at most 100,000 a second.
const BURST: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// Writes the commands of a client that reads nothing. Returns when it writes again.
pub(super) fn chatter(now: Instant, out: &mut Vec<u8>) -> Option<Instant> {
    (0..BURST).for_each(|_| out.extend_from_slice(command::NOOP));
    now.checked_add(PAUSE)
}
