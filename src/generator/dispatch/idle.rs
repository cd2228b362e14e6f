//! Decides which idle sessions of the pool end.
//!
//! # Decisions
//! - Idle sessions end when a phase starts whose arrivals are sessions: they would take places at the listener that no
//!   arrival asks for. Also, the number of idle sessions differs between several shards and one process.

use std::time::Duration;

use super::{Dispatch, ScheduledArrival};
use crate::plan::Unit;

impl Dispatch {
    /// Ends idle sessions above the allowed number, and those that no message needs any more.
    pub(super) fn trim(&mut self, now: Duration) {
        while self.slots.idle() > 0
            && (self.slots.staying() > self.most(now) || self.is_pool_over(now))
            && let Some(id) = self.slots.wake()
        {
            self.finish(id);
        }
    }

    /// Whether the pool is no longer needed: the arrivals of the current phase are sessions, and no message of an
    /// earlier phase waits.
    pub(super) fn is_pool_over(&self, now: Duration) -> bool {
        let is_message = |arrival: &ScheduledArrival| self.unit(arrival.phase) == Unit::Message;
        self.unit(self.phase_at(now)) == Unit::Session
            && !self.waiting.front().is_some_and(is_message)
            && !self.resumed.iter().any(|waits| is_message(&waits.arrival))
            && self.retries.is_empty()
    }

    /// Ends idle sessions of the pool, until as many sessions are leaving as arrivals of unit `session` wait for a
    /// place.
    pub(super) fn make_room(&mut self, wanted: u64) {
        while self.slots.leaving() < wanted
            && let Some(id) = self.slots.wake()
        {
            self.finish(id);
        }
    }
}
