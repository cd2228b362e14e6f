//! Whether the listener's host is still there when a session that was held leaves. A listener that says nothing to QUIT has
//! held its session all the same (M10d); a host that does not even acknowledge it was not there to hold any.
//!
//! # Decisions
//! - TCP tells the two apart, see `Stream::watch`. The time-outs of the profile that are shorter than TCP's end the session as they
//!   always do, and its socket is kept until TCP has made up its mind.
//! - When the host went is not known. What is known is since when nothing was heard from it: that is reported.

use std::time::Duration;

use super::Session;
use crate::collector::Outcome;
use crate::condition::Condition;
use crate::generator::Stop;
use crate::generator::failure_class::{self, FailureClass};
use crate::net::stream::{GONE, Stream};
use crate::smtp::client::Failure;
use crate::smtp::{Closed, Step};

/// How much later than it should the kernel may say that a host is gone: its timers are coarse.
const SLACK: Duration = Duration::from_secs(2);

/// What is known of the listener's host while a session is held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    /// When it began to be held: the last thing that was said had its answer.
    pub since: Option<Duration>,
    /// When it was to leave.
    pub left: Option<Duration>,
    /// QUIT was answered, by whatever: the host is there.
    answered: bool,
    /// QUIT was not even acknowledged.
    gone: bool,
}

impl Hold {
    /// A step is over.
    pub fn hear(&mut self, step: Step, failure: Option<&Failure>) {
        match failure {
            _ if step != Step::Quit => {}
            Some(Failure::Closed(Closed::Gone)) => self.gone = true,
            Some(Failure::TimedOut(_)) => {}
            _ => self.answered = true,
        }
    }

    /// Since when nothing was heard from a host that was gone in the end.
    pub fn unheard_since(&self) -> Option<Duration> {
        self.since.filter(|_| self.gone)
    }
}

impl Session {
    /// Waits until TCP knows whether a host is there that was silent since QUIT; does nothing for all others.
    pub(super) async fn look_for_host(&mut self, stream: &mut Stream) {
        let Hold { since: Some(_), left: Some(left), answered: false, gone: false } = self.hold else {
            return;
        };
        // A run that was stopped is not judged, and waits for no host.
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
            let failure = Failure::Closed(Closed::Gone);
            let class = FailureClass { condition: Condition::HostUnreachable, outcome: Outcome::Dropped };
            self.condition(Step::Quit, class, false, None, || failure_class::sample(&failure));
        }
    }
}
