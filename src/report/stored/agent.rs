//! The agents of a fleet in their stored form. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::named;
use crate::collector::agents::{AgentEnd, AgentRun};

/// An agent of a fleet and its shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Agent")]
pub struct StoredAgent {
    /// The name in the fleet.
    pub name: String,
    /// The machine.
    pub host: String,
    /// The version of smtpress on the agent.
    pub version: String,
    /// The shard, from 0.
    pub shard: u32,
    /// How the agent ended.
    pub state: StoredAgentState,
    /// The bound of the error of the clock's offset, in seconds.
    pub clock_bound_s: f64,
    /// The bound of the agent's start against the common start. It is the sum of the clock's bound and the greatest
    /// lateness of the generator in the first second in which an arrival ended. `null` if no arrival ended.
    pub skew_bound_s: Option<f64>,
    /// Arrivals whose scheduled time came.
    pub scheduled: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that were accepted.
    pub accepted: u64,
    /// The threads of the generator; `null` if the agent did not report its end.
    pub threads: Option<u32>,
    /// The share of the cores that the agent used; `null` if it did not report its end.
    pub cpu_share: Option<f64>,
    /// The 99th percentile of the generator's lateness in measured phases; `null` if the agent did not report its end,
    /// or had no arrival.
    pub lag_p99_ns: Option<u64>,
}

/// How an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "AgentState")]
pub enum StoredAgentState {
    /// The agent had not ended when this was stored.
    Running,
    /// All seconds of the agent are counted.
    Done,
    /// The agent was lost: no more message, or no more report of its load, came from it.
    Lost,
    /// The agent ended its load itself, because no message of the coordinator came.
    LeaseOver,
    /// The agent ended its load itself, because it was stopped on its own machine.
    Stopped,
    /// Reports of the agent are missing or were changed on the way.
    Incomplete,
    /// The load of the agent could not start, or ended without a result.
    Failed,
}

named!(StoredAgentState {
    Running => "running", Done => "done", Lost => "lost", LeaseOver => "lease-over", Stopped => "stopped",
    Incomplete => "incomplete", Failed => "failed",
});

/// Converts an agent to its stored form.
pub fn agent(own: &AgentRun) -> StoredAgent {
    StoredAgent {
        name: own.name.clone(),
        host: own.host.clone(),
        version: own.program.clone(),
        shard: own.shard,
        state: match own.end {
            AgentEnd::Running => StoredAgentState::Running,
            AgentEnd::Done => StoredAgentState::Done,
            AgentEnd::Lost { .. } => StoredAgentState::Lost,
            AgentEnd::LeaseOver => StoredAgentState::LeaseOver,
            AgentEnd::Stopped => StoredAgentState::Stopped,
            AgentEnd::Incomplete => StoredAgentState::Incomplete,
            AgentEnd::Failed { .. } => StoredAgentState::Failed,
        },
        clock_bound_s: own.clock_bound.as_secs_f64(),
        skew_bound_s: own.late_start.map(|late| (own.clock_bound + late).as_secs_f64()),
        scheduled: own.scheduled,
        started: own.started,
        accepted: own.accepted,
        threads: own.threads,
        cpu_share: own.cpu_share,
        lag_p99_ns: own.lag_p99_ns,
    }
}
