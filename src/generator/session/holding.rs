//! Checks whether the listener's host is still there when a held session leaves. A listener that does not reply to QUIT
//! has still held its session (M10d). If the host does not acknowledge QUIT, the session was not held.
//!
//! # Decisions
//! - TCP distinguishes the two cases, see `Stream::watch`. If a time-out of the profile is shorter than the time-out of
//!   TCP, it ends the session as usual, and the socket is kept until TCP has decided.
//! - The time at which the host disappeared is unknown. The time of its last packet is reported.

use std::time::Duration;

use super::Session;
use crate::collector::Outcome;
use crate::condition::Condition;
use crate::generator::Stop;
use crate::generator::failure_class::{self, FailureClass};
use crate::net::stream::{GONE, Stream};
use crate::smtp::client::Failure;
use crate::smtp::{Closed, Step};

/// How late the kernel may report that a host is gone: its timers are coarse.
const SLACK: Duration = Duration::from_secs(2);

/// The state of the listener's host while a session is held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    /// The start of the hold: when the last command had its reply.
    pub since: Option<Duration>,
    /// When the session got the instruction to leave.
    pub left: Option<Duration>,
    /// Whether QUIT got any answer: the host is there.
    answered: bool,
    /// Whether QUIT was not acknowledged.
    gone: bool,
}

impl Hold {
    /// Notes the end of a step.
    pub fn hear(&mut self, step: Step, failure: Option<&Failure>) {
        match failure {
            _ if step != Step::Quit => {}
            Some(Failure::Closed(Closed::Gone, _)) => self.gone = true,
            Some(Failure::TimedOut(_)) => {}
            _ => self.answered = true,
        }
    }

    /// Returns the time of the last packet from a host that is gone; `None`: the host is not gone.
    pub fn unheard_since(&self) -> Option<Duration> {
        self.since.filter(|_| self.gone)
    }
}

impl Session {
    /// Waits until TCP knows whether a host that was silent since QUIT is there; returns at once for every other
    /// session.
    pub(super) async fn look_for_host(&mut self, stream: &mut Stream) {
        let Hold { since: Some(_), left: Some(left), answered: false, gone: false } = self.hold else {
            return;
        };
        // A stopped run does not wait for hosts.
        if self.ended_by_listener || *self.pool.context.stop.borrow() != Stop::Run {
            return;
        }
        let rest = (left + GONE + SLACK).saturating_sub(self.pool.context.now());
        let mut stop = self.pool.context.stop.clone();
        self.hold.gone = tokio::select! {
            gone = stream.is_gone(rest) => gone,
            Ok(()) = stop.changed() => false,
        };
        if self.hold.gone {
            let failure = Failure::Closed(Closed::Gone, String::new());
            let class = FailureClass { condition: Condition::HostUnreachable, outcome: Outcome::Dropped };
            self.condition(Step::Quit, class, false, None, || failure_class::sample(&failure));
        }
    }
}
