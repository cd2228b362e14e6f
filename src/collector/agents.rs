//! The agents of a fleet, and the part of each in a run.

use std::time::Duration;

use super::summary::ValidityReason;

/// How the shard of an agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEnd {
    /// The agent has not ended yet.
    Running,
    /// All seconds of the agent are counted.
    Done,
    /// The agent was lost: no more messages, or no more reports of its load, came from it.
    Lost {
        /// The length of the silence at the moment when the agent was declared lost.
        silent: Duration,
        /// The start of this silence, since the run's epoch.
        since: Duration,
        /// Whether heartbeats still came: only the reports were missing.
        has_heartbeats: bool,
    },
    /// The agent ended its load itself, because no message of the coordinator came.
    LeaseOver,
    /// The agent ended its load itself, because it was stopped on its own machine.
    Stopped,
    /// The reports that came are not those that the agent sent: some are missing or changed.
    Incomplete,
    /// The load of the agent could not start, or ended without a result.
    Failed {
        /// Why, in a sentence.
        why: String,
    },
}

/// An agent and its shard.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRun {
    /// The name of the agent in the fleet.
    pub name: String,
    /// The machine.
    pub host: String,
    /// The version of smtpress on that machine.
    pub program: String,
    /// The shard, from 0.
    pub shard: u32,
    /// How the agent ended.
    pub end: AgentEnd,
    /// The bound of the error of the agent's clock offset.
    pub clock_bound: Duration,
    /// The greatest lateness of the agent's generator in the first second in which an arrival ended; `None`: no arrival
    /// ended. Together with `clock_bound` it limits how far from the common start T0 the agent started.
    pub late_start: Option<Duration>,
    /// The number of scheduled arrivals.
    pub scheduled: u64,
    /// The number of started arrivals.
    pub started: u64,
    /// The number of accepted arrivals.
    pub accepted: u64,
    /// The number of the generator's threads; `None`: the agent did not report its end.
    pub threads: Option<u32>,
    /// The share of its cores that the generator used; `None`: the agent did not report its end.
    pub cpu_share: Option<f64>,
    /// The 99th percentile of the generator's lateness in measured phases, in nanoseconds; `None`: the agent did not report
    /// its end, or had no arrival.
    pub lag_p99_ns: Option<u64>,
    /// Why the agent's own measurement is invalid. The sum over all agents could hide one slow generator.
    pub reasons: Vec<ValidityReason>,
}

/// The progress of an agent at the end of a second of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentProgress {
    /// The record so far, with the counts of all seconds that were shown.
    pub run: AgentRun,
    /// The number of the agent's sessions at the end of the second.
    pub sessions: u64,
    /// The greatest lateness of the agent's generator in the second.
    pub lag: Duration,
}

impl AgentRun {
    /// Returns the record of an agent that has not reported anything yet.
    pub fn named(name: &str, host: &str, program: &str, shard: u32) -> AgentRun {
        AgentRun {
            name: name.to_owned(),
            host: host.to_owned(),
            program: program.to_owned(),
            shard,
            end: AgentEnd::Running,
            clock_bound: Duration::ZERO,
            late_start: None,
            scheduled: 0,
            started: 0,
            accepted: 0,
            threads: None,
            cpu_share: None,
            lag_p99_ns: None,
            reasons: Vec::new(),
        }
    }

    /// Describes the agent by its name, machine and shard. `of`: the number of agents.
    pub fn in_words(&self, of: usize) -> String {
        format!("agent {} ({}) with shard {} of {of}", self.name, self.host, self.shard)
    }

    /// Describes why the load or the reports of the agent are incomplete; `None`: they are complete so far.
    pub fn lost(&self, of: usize) -> Option<String> {
        let who = self.in_words(of);
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        match &self.end {
            AgentEnd::Done | AgentEnd::Running => None,
            AgentEnd::Lost { silent, since, has_heartbeats: true } => Some(format!(
                "{who} sent heartbeats and no report of its load for {}, from {} on: its load since then is unknown, and the load of the run was not the planned one; see what smtpress printed there and whether the NATS server can store reports, and run again",
                seconds(*silent),
                seconds(*since)
            )),
            AgentEnd::Lost { silent, since, has_heartbeats: false } => Some(format!(
                "{who} sent no message for {}, from {} on: its load since then is unknown, and the load of the run was not the planned one; see whether the machine, its network or its smtpress failed, and run again",
                seconds(*silent),
                seconds(*since)
            )),
            AgentEnd::LeaseOver => Some(format!(
                "{who} got no message of the coordinator for {} and ended its load; see the network between them, and run again",
                seconds(LEASE)
            )),
            AgentEnd::Stopped => Some(format!(
                "{who} was stopped on its own machine before its load was over, so the load of the run was not the planned one; see what ended its smtpress, and run again"
            )),
            AgentEnd::Incomplete => Some(format!(
                "{who} sent reports that are not those that it counted: some are missing or changed; run again"
            )),
            AgentEnd::Failed { why } => Some(format!(
                "{who} has no result of its load, so the load of the run was not the planned one: {why}"
            )),
        }
    }
}

/// An agent that gets no message of the coordinator for this long ends its load.
pub const LEASE: Duration = Duration::from_secs(10);
