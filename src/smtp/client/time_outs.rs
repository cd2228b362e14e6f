//! The time-outs of a session: of its steps, and of the whole.

use std::time::{Duration, Instant};

use super::{Client, ClientState};
use crate::smtp::step::Step;
use crate::smtp::transaction::Content;

impl<C: Content> Client<C> {
    /// Returns when the session times out; `None` for a session that is ending, which has time-outs of its own.
    pub(super) fn session_deadline(&self) -> Option<Instant> {
        let leaving = matches!(self.state, ClientState::Quit | ClientState::Drained | ClientState::Over(_));
        if leaving { None } else { self.expires }
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
            (_, Step::Quit) => Some(timeouts.quit.unwrap_or(timeouts.command)),
            _ => Some(timeouts.command),
        }
    }
}
