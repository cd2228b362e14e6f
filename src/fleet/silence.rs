//! How long agents have been silent. Only the time in which the coordinator reads messages counts: after a standstill
//! of the coordinator, messages may wait unread.

use std::time::Duration;

/// A longer time between two calls of [`AgentSilence::look`] was a standstill of the coordinator.
const LOOKED_WITHIN: Duration = Duration::from_millis(500);

/// The time of the last message of each agent, by the coordinator's clock. Agents are given by index.
#[derive(Clone, Debug)]
pub struct AgentSilence {
    heard: Vec<Duration>,
    looked: Duration,
}

impl AgentSilence {
    /// Creates the state of this many agents, as if each had sent a message at `now`.
    pub fn new(agents: usize, now: Duration) -> AgentSilence {
        AgentSilence { heard: vec![now; agents], looked: now }
    }

    /// Notes that a message of this agent came. The message of an unknown agent changes nothing.
    pub fn hear(&mut self, agent: usize, now: Duration) {
        if let Some(heard) = self.heard.get_mut(agent) {
            *heard = (*heard).max(now);
        }
    }

    /// Returns how long each agent has been silent. Must be called more often than once in `LOOKED_WITHIN`.
    pub fn look(&mut self, now: Duration) -> Vec<Duration> {
        let unseen = now.saturating_sub(self.looked).saturating_sub(LOOKED_WITHIN);
        self.looked = now;
        for heard in &mut self.heard {
            *heard = (*heard + unseen).min(now);
        }
        self.heard.iter().map(|heard| now.saturating_sub(*heard)).collect()
    }
}
