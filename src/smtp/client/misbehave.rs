//! Misbehaviour on purpose: ending the sending side early, and a client that does not read.

use std::time::{Duration, Instant};

use crate::smtp::command;

/// Whether the sending side is ended before the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfClose {
    /// It is open.
    Open,
    /// It is to be ended when what was written is out.
    Due,
    /// It is ended.
    Done,
}

/// How many NOOPs a client that reads nothing says at once, and how long it pauses then: 100,000 a second at the most.
const BURST: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// What a client says that reads nothing; returns when it says more.
pub(super) fn chatter(now: Instant, out: &mut Vec<u8>) -> Option<Instant> {
    (0..BURST).for_each(|_| out.extend_from_slice(command::NOOP));
    now.checked_add(PAUSE)
}
