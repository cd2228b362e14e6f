//! The time-outs of a session: of its steps, and of the whole.
//!
//! # Decisions
//! - A session whose time is up fails at its outstanding step, because the session as a whole is what was to be done. A
//!   session of a pool only carries transactions: it begins none any more, and ends as the script says after those in
//!   progress. Each of them has the time of a session for itself.
//! - A session that is held has no end of its own.

use std::time::{Duration, Instant};

use super::event::Event;
use super::{Client, ClientState};
use crate::smtp::step::Step;
use crate::smtp::transaction::Content;

/// How long a session that was never established waits for the reply to QUIT: nothing depends on it.
const REFUSED_QUIT: Duration = Duration::from_secs(5);

impl<C: Content> Client<C> {
    /// Makes the session one of a pool: when its time is up, it ends after the transactions in progress.
    pub fn retire_when_expired(&mut self) {
        self.retires = true;
    }

    /// Holds an idle session, whatever its time-out is, until [`finish`](Self::finish) or [`abort`](Self::abort).
    pub fn hold_open(&mut self) {
        self.expires = None;
    }

    /// Lets a session of a pool begin no further transaction if its time is up.
    pub(super) fn retire(&mut self, now: Instant) {
        if self.retires && !self.finishing && self.expires.is_some_and(|expires| now >= expires) {
            self.finishing = true;
            // The owner must not use a `Ready` that it has not taken yet.
            self.events.retain(|event| !matches!(event, Event::Ready { .. }));
        }
    }

    /// Returns when the session times out; `None` for a session that is ending, which has time-outs of its own.
    pub(super) fn session_deadline(&self) -> Option<Instant> {
        match self.state {
            ClientState::Quit | ClientState::Drained | ClientState::Over(_) => None,
            ClientState::Mail if self.retires => {
                self.transactions.began().and_then(|began| began.checked_add(self.script.timeouts.session))
            }
            ClientState::Reset | ClientState::Extra(_) if self.retires => None,
            _ => self.expires,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let step = match self.silent_until {
            Some(until) if !self.is_waiting() => Some(until),
            _ => self.timeout().and_then(|timeout| self.alive.checked_add(timeout)),
        };
        let seldom = match self.state {
            ClientState::Mail => self.asks_at(),
            ClientState::Quit | ClientState::Drained => self.held_until(),
            _ => None,
        };
        let earlier = |a: Option<Instant>, b: Option<Instant>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        earlier(earlier(self.session_deadline(), step), seldom)
    }

    fn timeout(&self) -> Option<Duration> {
        let timeouts = &self.script.timeouts;
        match (self.state, self.step()) {
            (ClientState::Rest | ClientState::Deaf | ClientState::Drained | ClientState::Over(_), _) => None,
            (ClientState::Extra(_), _) => Some(timeouts.command),
            (_, Step::Greeting) => Some(timeouts.greeting),
            (_, Step::Data) => Some(timeouts.data),
            (_, Step::Body) => Some(timeouts.body),
            (_, Step::Quit) => {
                let most = if self.is_established { Duration::MAX } else { REFUSED_QUIT };
                Some(timeouts.quit.unwrap_or(timeouts.command).min(most))
            }
            _ => Some(timeouts.command),
        }
    }
}
