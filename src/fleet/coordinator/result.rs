//! The combined measurement of all agents of a run, and the end of each agent.

use std::time::Duration;

use super::CoordinatedRun;
use crate::collector::Outcome;
use crate::collector::agents::{AgentEnd, AgentRun};
use crate::collector::snapshot::Measured;
use crate::collector::summary::Summary;
use crate::collector::tally::Tally;
use crate::fleet::message::FinalReport;
use crate::fleet::union::measured;
use crate::generator::clock::Clock;
use crate::generator::runner::Stop;

impl CoordinatedRun<'_> {
    /// Returns the combined measurement of all agents.
    pub(super) fn finish(mut self, clock: Clock) -> Result<Measured, String> {
        let of = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let mut parts = Vec::new();
        let mut failures = Vec::new();
        let mut agents = Vec::new();
        for (own, shard) in self.shards.into_iter().zip(0_u32..) {
            let record = own.record(shard, &self.in_step);
            let AgentRun { name, host, .. } = &record;
            let is_whole = own.last.as_ref().is_some_and(|last| self.in_step.is_whole(shard, &last.digest));
            let end = match (&own.last, own.lost) {
                (_, Some(lost)) => lost,
                (Some(FinalReport { measured: Err(why), .. }), None) => AgentEnd::Failed { why: why.clone() },
                (Some(last), None) if last.lease_over => AgentEnd::LeaseOver,
                (Some(last), None) if last.is_ended_there => AgentEnd::Stopped,
                (Some(_), None) if is_whole => AgentEnd::Done,
                _ => AgentEnd::Incomplete,
            };
            let tally = self.in_step.tally(shard).cloned().unwrap_or_default();
            let counts = tally.phases.iter().map(|phase| &phase.counts);
            let scheduled = counts.clone().map(|counts| counts.scheduled).sum();
            let started = counts.clone().map(|counts| counts.started).sum();
            let accepted = counts.map(|counts| counts.arrivals.of(Outcome::Accepted)).sum();
            let (mut cpu_share, mut lag_p99_ns, mut reasons) = (None, None, Vec::new());
            let threads = own.last.as_ref().map(|last| last.threads);
            match own.last.map(|last| last.measured) {
                Some(Ok(measured)) => {
                    cpu_share = Some(measured.health.cpu_share);
                    // Each agent is judged by the rules for one machine, which may open the shard's share of sessions.
                    let alone = Measured { tally, ..*measured };
                    let infos = self.plan.phase_infos_of(shard, of);
                    let summary = Summary::new(&alone, &infos);
                    // Without a started arrival the lateness is unknown.
                    let has_started = summary.measured_phases().any(|phase| phase.counts.started > 0);
                    lag_p99_ns = has_started.then_some(summary.lag_p99_ns);
                    reasons = summary.validity.reasons;
                    parts.push((name.clone(), Measured { tally: Tally::default(), ..alone }));
                }
                Some(Err(why)) => failures.push(format!("agent {name} ({host}): {why}")),
                None => {}
            }
            // An agent that did not end as planned makes the run invalid by its end.
            let reasons = if end == AgentEnd::Done { reasons } else { Vec::new() };
            let counted = AgentRun { end, scheduled, started, accepted, ..record };
            agents.push(AgentRun { threads, cpu_share, lag_p99_ns, reasons, ..counted });
        }
        // If only some agents failed, or a load was sent before they failed, there is a result, which is invalid.
        if failures.len() == agents.len() && agents.iter().all(|agent| agent.started == 0) {
            return Err(failures.join("\n"));
        }
        // It is unknown how long the load of a shard without a result took: it counts until now.
        let is_lost = |agent: &AgentRun| matches!(agent.end, AgentEnd::Lost { .. } | AgentEnd::Failed { .. });
        let until_lost = if agents.iter().any(is_lost) { clock.offset() } else { Duration::ZERO };
        self.total += self.in_step.late();
        let whole = measured(parts, self.total);
        // An earlier coordinator of this run may have stopped it.
        let all_done = agents.iter().all(|agent| agent.end == AgentEnd::Done);
        let was_stopped = whole.interrupted && self.aborted_by.is_none() && all_done;
        Ok(Measured {
            gauges: self.in_step.gauges(),
            interrupted: *self.stop.borrow() > Stop::Run || was_stopped,
            aborted_by: self.aborted_by,
            took: whole.took.max(until_lost),
            agents,
            ..whole
        })
    }
}
