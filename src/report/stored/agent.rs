//! The agents of a fleet, as they are stored. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::named;
use crate::collector::agents::{AgentEnd, AgentRun};

/// An agent of a fleet and its shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Agent")]
pub struct StoredAgent {
    /// Its name in the fleet.
    pub name: String,
    /// Its machine.
    pub host: String,
    /// The version of its smtpress.
    pub version: String,
    /// Its shard, from 0.
    pub shard: u32,
    /// How it ended.
    pub state: StoredAgentState,
    /// How far its clock's offset may be from the truth, at most.
    pub clock_bound_s: f64,
    /// It started within this of the common start: the bound of its clock and the greatest lateness of its generator in the
    /// first second in which an arrival ended. `null`: none did.
    pub skew_bound_s: Option<f64>,
    /// Arrivals whose scheduled time came.
    pub scheduled: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals accepted.
    pub accepted: u64,
    /// Its generator's threads; `null`: it did not report its end.
    pub threads: Option<u32>,
    /// The share of its cores that it used; `null`: it did not report its end.
    pub cpu_share: Option<f64>,
    /// The 99th percentile of its generator's lateness in measured phases; `null`: it did not report its end, or had
    /// no arrival.
    pub lag_p99_ns: Option<u64>,
}

/// How an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "AgentState")]
pub enum StoredAgentState {
    /// All of its seconds are counted.
    Done,
    /// It was lost: no message of it came any more.
    Lost,
    /// It ended its load by itself, because no message of the coordinator came.
    LeaseOver,
    /// Its reports are not what it says that it sent.
    Incomplete,
    /// Its load could not begin.
    Failed,
}

named!(StoredAgentState {
    Done => "done", Lost => "lost", LeaseOver => "lease-over", Incomplete => "incomplete",
    Failed => "failed",
});

/// An agent as it is stored.
pub fn agent(own: &AgentRun) -> StoredAgent {
    StoredAgent {
        name: own.name.clone(),
        host: own.host.clone(),
        version: own.program.clone(),
        shard: own.shard,
        state: match own.end {
            AgentEnd::Done => StoredAgentState::Done,
            AgentEnd::Lost { .. } => StoredAgentState::Lost,
            AgentEnd::LeaseOver => StoredAgentState::LeaseOver,
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
