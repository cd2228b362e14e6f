//! The takeover of a run: how a coordinator takes a run over, and how the former coordinator notices that.
//!
//! # Decisions
//! - The coordinator computes the time of the start from the agents' monotonic clocks: the wall clocks of two machines
//!   may be hours apart. The wall clock is used only if no agent answers for this run any more.

use std::time::{Duration, Instant, UNIX_EPOCH};

use futures::future::join_all;

use super::CoordinatedRun;
use crate::fleet::clock_offset::{AgentClock, RoundTrip};
use crate::fleet::message::{AgentAnswer, AgentOrder, Lease, verify};
use crate::fleet::record::{AgentOfRun, RunRecord, StoredRecord};
use crate::fleet::states::FleetRun;
use crate::generator::clock;
use crate::generator::runner::{RunError, Stop};

/// How many times each agent is asked for the time of its clock.
const PINGS: usize = 4;
/// How long an agent may take to answer: meanwhile the other agents wait for a lease.
const PING_WITHIN: Duration = Duration::from_millis(500);

impl CoordinatedRun<'_> {
    /// Takes over a run whose agents know the time of the start. Returns that time and the new record.
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
        // Without a lease the agents would soon end their load.
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

    /// Returns the time of the start, by the agent whose clock offset has the smallest bound; `None`: no agent answers.
    async fn start_by_agents(&self, agents: &[AgentOfRun]) -> Option<Instant> {
        let starts = join_all(agents.iter().map(|own| self.start_by(own))).await;
        starts.into_iter().flatten().min_by_key(|(bound, _)| *bound).map(|(_, start)| start)
    }

    /// Returns the time of the start by the clock of one agent, with the bound of its error.
    async fn start_by(&self, own: &AgentOfRun) -> Option<(Duration, Instant)> {
        let mut trips = Vec::new();
        for _ in 0..PINGS {
            let sent = self.now();
            match self.fleet.ask(&own.agent, AgentOrder::Ping, PING_WITHIN).await {
                Ok(AgentAnswer::Pong { at }) => {
                    trips.push(RoundTrip { sent, theirs: at, received: self.now() });
                }
                // The agent no longer belongs to this run, or is lost.
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

    /// Returns an error if another coordinator has taken the run over.
    pub(super) fn obeys(&self, word: &[u8]) -> Result<(), RunError> {
        match verify::<Lease>(word, &self.fleet.key) {
            Ok(lease) if lease.run == self.plan.run_id && lease.epoch > self.epoch => {
                Err(RunError::TakenOver)
            }
            _ => Ok(()),
        }
    }
}
