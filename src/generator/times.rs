//! When what happened to an arrival, and what its response time is made of.

use std::time::Duration;

use super::dispatch::Due;

/// When what happened to an arrival that began, since the run's epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// It was decided which session serves it.
    pub decided: Duration,
    /// The session that was opened for this message began to be opened; `None`: the message met a free session, or the arrival
    /// is a session itself.
    pub opened: Option<Duration>,
    /// It was served: MAIL was written, or the session that it is was begun. `None`: its session never came to that.
    pub served: Option<Duration>,
    /// It ended.
    pub ended: Duration,
}

impl Times {
    /// When it began to be under way.
    pub fn begun(&self) -> Duration {
        self.opened.or(self.served).unwrap_or(self.ended)
    }

    /// What its response time is made of: the parts add up to it, exactly.
    pub fn parts(&self, due: Due) -> Parts {
        // Each of these is read at a place of its own; where two readings cross it is by less than anybody can say.
        let noticed = due.noticed.max(due.intended);
        let begun = self.begun().max(noticed);
        let decided = self.decided.clamp(noticed, begun);
        let ended = self.ended.max(begun);
        let served = match self.served {
            Some(served) => served.clamp(begun, ended),
            None if self.opened.is_some() => ended,
            None => begun,
        };
        Parts {
            lag: (noticed - due.intended) + (begun - decided),
            wait: decided - noticed,
            setup: served - begun,
            service: ended - served,
        }
    }
}

/// What the response time of an arrival is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Our own lateness: in noticing that the arrival was due, and in doing what was decided.
    pub lag: Duration,
    /// No slot was free.
    pub wait: Duration,
    /// A session was opened for it.
    pub setup: Duration,
    /// The listener served it.
    pub service: Duration,
}

impl Parts {
    /// From the intended start to the end.
    pub fn response(&self) -> Duration {
        self.lag + self.wait + self.setup + self.service
    }
}
