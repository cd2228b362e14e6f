//! A search for limits on an agent: its probes carry out the coordinator's calls.

use tokio::sync::mpsc;

use super::{Agent, FromLoad, PreparedShard};
use crate::fleet::message::{AgentAnswer, AgentState, ProbeCall, ProbeReport};
use crate::fleet::probing::Probing;
use crate::plan::PlanPart;

impl Agent {
    /// Starts the probes, if the agent was prepared for a search for limits.
    pub(super) fn start_probes(&mut self) -> Result<(), String> {
        let zero = self.zero;
        let Some(work) = &mut self.work else { return Ok(()) };
        if !matches!(work.spec.part, PlanPart::Limits { .. }) {
            return Ok(());
        }
        let Some(PreparedShard { probes, .. }) = work.prepared.take() else { return Ok(()) };
        let (events, load) = mpsc::unbounded_channel();
        let results = events.clone();
        let report = move |reply: String, report: ProbeReport| {
            results.send(FromLoad::Probed(reply, AgentAnswer::Probed(Box::new(report)))).ok();
        };
        let over = move || drop(events.send(FromLoad::ProbesOver));
        let (stop, report) = (work.stop.subscribe(), Box::new(report));
        work.probing = Some(Probing::start(probes, zero, stop, report, over)?);
        work.load = Some(load);
        self.state = AgentState::Running;
        Ok(())
    }

    /// Passes a call to the probes. `reply`: the subject of the reply.
    pub(super) fn probe(&mut self, number: u64, call: ProbeCall, reply: Option<&str>) -> Result<(), String> {
        let work = self.work.as_mut().ok_or("it has no search for limits")?;
        let probing = work.probing.as_ref().ok_or("it has no search for limits")?;
        if number <= work.calls {
            return Err("this call was made before".to_owned());
        }
        work.calls = number;
        probing.call(reply.ok_or("the call names no subject for its reply")?.to_owned(), call)
    }
}
