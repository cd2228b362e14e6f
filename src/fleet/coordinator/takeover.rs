//! A coordinator that takes over a run, and one that learns that its own was taken over.
//!
//! # Decisions
//! - The moment of the start is asked of the agents, which know it by their own clocks: the wall clocks of two machines
//!   may be hours apart. Only if no agent answers for this run any more, the wall clock has to do.

use std::time::{Duration, Instant, UNIX_EPOCH};

use futures::future::join_all;

use super::CoordinatedRun;
use crate::fleet::clock_offset::{AgentClock, RoundTrip};
use crate::fleet::message::{AgentAnswer, AgentOrder, Lease, verify};
use crate::fleet::record::{AgentOfRun, RunRecord, StoredRecord};
use crate::fleet::states::FleetRun;
use crate::generator::clock;
use crate::generator::runner::{RunError, Stop};

/// How many times each agent is asked for its time.
const PINGS: usize = 4;
/// How long an agent may take to answer: the other agents wait for the coordinator's word meanwhile.
const PING_WITHIN: Duration = Duration::from_millis(500);

impl CoordinatedRun<'_> {
    /// Takes over a run whose agents know when it starts. Returns the moment.
    pub(super) async fn take_over(
        &mut self,
        stored: &StoredRecord,
    ) -> Result<(Instant, StoredRecord), RunError> {
        let record = RunRecord { epoch: stored.record.epoch + 1, ..stored.record.clone() };
        for (own, agent) in self.shards.iter_mut().zip(&record.agents) {
            own.clock_bound = Some(agent.clock_bound);
        }
        self.epoch = record.epoch;
        let kept = StoredRecord::store(&self.fleet.bus, &self.fleet.key, record, stored.number).await;
        let kept = kept.map_err(|error| RunError::Fleet(format!("the run was not taken over: {error}")))?;
        // Agents wait for a word: those that had none for too long end their load.
        self.tell(Stop::Run).await;
        let start = match self.start_by_agents(&kept.record.agents).await {
            Some(start) => start,
            None => {
                let starts = UNIX_EPOCH + kept.record.starts;
                let ago = clock::wall().duration_since(starts).unwrap_or_default();
                clock::now().checked_sub(ago).unwrap_or(self.zero)
            }
        };
        self.machine = FleetRun::taken_over(self.machine.shards(), self.now());
        Ok((start, kept))
    }

    /// The moment of the start, by the clock of the agent whose offset is known best; `None`: no agent answers.
    async fn start_by_agents(&self, agents: &[AgentOfRun]) -> Option<Instant> {
        let starts = join_all(agents.iter().map(|own| self.start_by(own))).await;
        starts.into_iter().flatten().min_by_key(|(bound, _)| *bound).map(|(_, start)| start)
    }

    /// The moment of the start by the clock of one agent, with the bound of its error.
    async fn start_by(&self, own: &AgentOfRun) -> Option<(Duration, Instant)> {
        let mut trips = Vec::new();
        for _ in 0..PINGS {
            let sent = self.now();
            match self.fleet.ask(&own.agent, AgentOrder::Ping, PING_WITHIN).await {
                Ok(AgentAnswer::Pong { at }) => {
                    trips.push(RoundTrip { sent, theirs: at, received: self.now() });
                }
                // It has no part in this run any more, or is lost.
                Ok(_) | Err(_) => break,
            }
        }
        let offset = AgentClock::of(&trips)?;
        let now = self.now();
        let (theirs, begins) = (offset.theirs(now), own.begins);
        let now = self.zero + now;
        let start = match theirs.checked_sub(begins) {
            Some(ago) => now.checked_sub(ago)?,
            None => now + (begins - theirs),
        };
        Some((offset.bound, start))
    }

    /// An error if another coordinator has taken the run over.
    pub(super) fn obeys(&self, word: &[u8]) -> Result<(), RunError> {
        match verify::<Lease>(word, &self.fleet.key) {
            Ok(lease) if lease.run == self.plan.run_id && lease.epoch > self.epoch => {
                Err(RunError::TakenOver)
            }
            _ => Ok(()),
        }
    }
}
