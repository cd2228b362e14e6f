//! The section of the agents of a fleet, with a note on the slowest generator.

use super::{Cell, Column, Note, ReportTable, Section, Tone};
use crate::report::format;
use crate::report::stored::RunResult;
use crate::report::stored::agent::{StoredAgent, StoredAgentState};

/// Returns the agents of a run on many machines.
pub fn section(result: &RunResult) -> Section {
    let mut blocks = Vec::new();
    blocks.extend(table(&result.agents).block());
    blocks.extend(slowest(&result.agents));
    Section {
        id: "agents",
        title: "Agents".to_owned(),
        lead: "The machines that shared the load. `start within` bounds how far from the common start an agent \
               started. If an agent is lost, or its generator could not keep up, the whole run is invalid.",
        blocks,
        ..Section::default()
    }
}

fn table(agents: &[StoredAgent]) -> ReportTable {
    let mut table = ReportTable::new([
        Column::words("agent"),
        Column::words("host").yields(2),
        Column::number("shard").yields(3),
        Column::number("started"),
        Column::number("accepted"),
        Column::number("start within"),
        Column::number("lag p99"),
        Column::number("CPU"),
        Column::words("state"),
    ]);
    for (i, agent) in agents.iter().enumerate() {
        let at = |field: &str| format!("/agents/{i}/{field}");
        let state = Cell::words(agent.state.as_str());
        table.row([
            Cell::stored_name(&agent.name, at("name")),
            Cell::stored_name(&agent.host, at("host")),
            Cell::count(agent.shard.into(), at("shard")),
            Cell::count(agent.started, at("started")),
            Cell::count(agent.accepted, at("accepted")),
            agent.skew_bound_s.map_or_else(Cell::not_available, |s| Cell::seconds(s, at("skew_bound_s"))),
            agent.lag_p99_ns.map_or_else(Cell::not_available, |ns| Cell::duration(ns, at("lag_p99_ns"))),
            agent.cpu_share.map_or_else(Cell::not_available, |share| Cell::number(format::percent(share))),
            match agent.state {
                StoredAgentState::Done => state.tone(Tone::Good),
                StoredAgentState::Running => state,
                _ => Cell::words(agent.state.as_str().to_uppercase()).tone(Tone::Bad),
            },
        ]);
    }
    table
}

/// Returns a note on the agent whose generator has the largest lag.
fn slowest(agents: &[StoredAgent]) -> Option<super::SectionPart> {
    if agents.len() < 2 {
        return None;
    }
    let slowest = agents.iter().max_by_key(|agent| agent.lag_p99_ns)?;
    let lag = format::duration(slowest.lag_p99_ns? as f64);
    let text = format!("slowest generator: {} ({}), lag p99 {lag}", slowest.name, slowest.host);
    Some(Note::everywhere(text, Tone::Quiet))
}
