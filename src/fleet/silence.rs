//! How long agents have been silent, counted only while the coordinator reads: after a standstill of the coordinator,
//! messages may wait unread.

use std::time::Duration;

/// A longer time between two calls was a standstill of the coordinator.
const LOOKED_WITHIN: Duration = Duration::from_millis(500);

/// The time of the last message of each agent, by the coordinator's clock. Agents by their index.
#[derive(Clone, Debug)]
pub struct AgentSilence {
    heard: Vec<Duration>,
    looked: Duration,
}

impl AgentSilence {
    /// Creates the state in which all of this many agents were heard at `now`.
    pub fn new(agents: usize, now: Duration) -> AgentSilence {
        AgentSilence { heard: vec![now; agents], looked: now }
    }

    /// Notes that a message of this agent came. An agent that is not watched changes nothing.
    pub fn hear(&mut self, agent: usize, now: Duration) {
        if let Some(heard) = self.heard.get_mut(agent) {
            *heard = (*heard).max(now);
        }
    }

    /// Returns how long each agent has been silent. To be called often.
    pub fn look(&mut self, now: Duration) -> Vec<Duration> {
        let unseen = now.saturating_sub(self.looked).saturating_sub(LOOKED_WITHIN);
        self.looked = now;
        for heard in &mut self.heard {
            *heard = (*heard + unseen).min(now);
        }
        self.heard.iter().map(|heard| now.saturating_sub(*heard)).collect()
    }
}
