//! The agents of a fleet: what each did of a run.

use std::time::Duration;

use super::summary::ValidityReason;

/// How the shard of an agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEnd {
    /// All of its seconds are counted.
    Done,
    /// It was not heard of any more: for so long, and since when by the run's clock.
    Lost {
        /// How long.
        silent: Duration,
        /// Since when.
        since: Duration,
    },
    /// It ended its load by itself, because the coordinator was not heard of.
    LeaseOver,
    /// Its reports are not what it says that it sent.
    Incomplete,
    /// Its load could not begin.
    Failed {
        /// Why, in a sentence.
        why: String,
    },
}

/// One agent and its shard.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRun {
    /// Its name in the fleet.
    pub name: String,
    /// Its machine.
    pub host: String,
    /// The version of its smtpress.
    pub program: String,
    /// Its shard, from 0.
    pub shard: u32,
    /// How it ended.
    pub end: AgentEnd,
    /// How far from the truth its clock's offset may be, at most.
    pub clock_bound: Duration,
    /// The greatest lateness of its generator in the first second in which an arrival ended: with `clock_bound` how far from T0
    /// it started. `None`: no arrival ended.
    pub late_start: Option<Duration>,
    /// Arrivals whose scheduled time came.
    pub scheduled: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals accepted.
    pub accepted: u64,
    /// Its generator's threads; `None`: it did not report its end.
    pub threads: Option<u32>,
    /// The share of its cores that it used; `None`: it did not report its end.
    pub cpu_share: Option<f64>,
    /// The 99th percentile of its generator's lateness in measured phases, in nanoseconds; `None`: it did not report its end, or
    /// had no arrival.
    pub lag_p99_ns: Option<u64>,
    /// Why its own measurement is invalid: one slow generator of many must not be lost among the others.
    pub reasons: Vec<ValidityReason>,
}

impl AgentRun {
    /// Its name, its machine and its shard, in words.
    pub fn in_words(&self, of: usize) -> String {
        format!("agent {} ({}) with shard {} of {of}", self.name, self.host, self.shard)
    }

    /// That its reports are not all there, in a sentence; `None`: they are.
    pub fn lost(&self, of: usize) -> Option<String> {
        let who = self.in_words(of);
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        match &self.end {
            AgentEnd::Done => None,
            AgentEnd::Lost { silent, since } => Some(format!(
                "{who} was not heard of for {}, from {} on: what it sent since is unknown, and the load was not the one that was \
                 planned; see whether the machine, its network or its smtpress failed, and run again",
                seconds(*silent),
                seconds(*since)
            )),
            AgentEnd::LeaseOver => Some(format!(
                "{who} did not hear of the coordinator for {} and ended its load; see the network between them, and run again",
                seconds(LEASE)
            )),
            AgentEnd::Incomplete => Some(format!(
                "{who} sent reports that are not those that it counted: some are missing or changed; run again"
            )),
            AgentEnd::Failed { why } => Some(format!(
                "{who} could not begin its load, and the load was not the one that was planned: {why}"
            )),
        }
    }
}

/// Without word of the coordinator for so long an agent ends its load.
pub const LEASE: Duration = Duration::from_secs(10);
