//! The metrics of a fleet's agents. The number of label values is bounded: only the first agents have their own.

use std::time::Duration;

use super::{MetricFamily, MetricKind, MetricSample, MetricUnit, Read, RunMetrics, SampleValue};
use crate::collector::agents::{AgentEnd, AgentProgress};
use crate::report::stored::agent::{StoredAgent, StoredAgentState};

/// The largest number of values of the label `agent`. The agents with the lowest shards have one value each, and all
/// others share one.
pub const MOST: usize = 64;
/// The label value that the other agents share. No agent has this name.
const OTHERS: &str = "(others)";

/// The values of one agent, or of all agents that share a label value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentSeries {
    /// The name of the agent, or `(others)`.
    pub label: String,
    /// The number of scheduled arrivals.
    pub scheduled: u64,
    /// The number of started arrivals.
    pub started: u64,
    /// The number of accepted arrivals.
    pub accepted: u64,
    /// The number of sessions.
    pub sessions: u64,
    /// The greatest lateness of a generator in the last second.
    pub lag: Duration,
    /// The number of lost agents behind this label value.
    pub lost: u64,
}

/// Returns a family with a series for every agent of a fleet. On one machine it has no series.
const fn family(
    name: &'static str,
    unit: Option<MetricUnit>,
    kind: MetricKind,
    help: &'static str,
    read: fn(&RunMetrics) -> Vec<MetricSample<'_>>,
) -> MetricFamily {
    MetricFamily::new(name, unit, kind, help).labels(&["agent"], Read::Own(read))
}

/// Returns a series for each label.
fn series<'a>(metrics: &'a RunMetrics, pick: fn(&AgentSeries) -> SampleValue<'a>) -> Vec<MetricSample<'a>> {
    let sample = |own: &'a AgentSeries| MetricSample::new([own.label.as_str().into()], pick(own));
    metrics.agents.iter().map(sample).collect()
}

pub(super) const SCHEDULED: MetricFamily = family(
    "smtpress_agent_arrivals_scheduled",
    None,
    MetricKind::Counter,
    "Arrivals of an agent's shard that were scheduled; the sum over the agents is that of the run.",
    |metrics| series(metrics, |own| SampleValue::Count(own.scheduled)),
);
pub(super) const STARTED: MetricFamily = family(
    "smtpress_agent_arrivals_started",
    None,
    MetricKind::Counter,
    "Arrivals that an agent started.",
    |metrics| series(metrics, |own| SampleValue::Count(own.started)),
);
pub(super) const ACCEPTED: MetricFamily = family(
    "smtpress_agent_arrivals_accepted",
    None,
    MetricKind::Counter,
    "Arrivals of an agent that were accepted.",
    |metrics| series(metrics, |own| SampleValue::Count(own.accepted)),
);
pub(super) const SESSIONS: MetricFamily = family(
    "smtpress_agent_sessions",
    None,
    MetricKind::Gauge,
    "Sessions of an agent whose socket is open.",
    |metrics| series(metrics, |own| SampleValue::Count(own.sessions)),
);
pub(super) const LAG_MAX: MetricFamily = family(
    "smtpress_agent_lag_max",
    Some(MetricUnit::Seconds),
    MetricKind::Gauge,
    "The greatest lateness of an agent's generator in the last second.",
    |metrics| series(metrics, |own| SampleValue::Number(own.lag.as_secs_f64())),
);
pub(super) const LOST: MetricFamily = family(
    "smtpress_agent_lost",
    None,
    MetricKind::Gauge,
    "1 if the agent is lost: the run is invalid.",
    |metrics| series(metrics, |own| SampleValue::Count(own.lost)),
);

impl AgentSeries {
    /// Returns the series of these agents, in the order of shards.
    pub fn of(agents: &[AgentProgress]) -> Vec<AgentSeries> {
        let series = |own: &AgentProgress| AgentSeries {
            label: own.run.name.clone(),
            scheduled: own.run.scheduled,
            started: own.run.started,
            accepted: own.run.accepted,
            sessions: own.sessions,
            lag: own.lag,
            lost: u64::from(matches!(own.run.end, AgentEnd::Lost { .. })),
        };
        bounded(agents.iter().map(series))
    }

    /// Sets the values at the end of a run: the stored counts of the agents, and no sessions.
    pub fn end(series: &mut Vec<AgentSeries>, agents: &[StoredAgent]) {
        let ended = |own: &StoredAgent| AgentSeries {
            label: own.name.clone(),
            scheduled: own.scheduled,
            started: own.started,
            accepted: own.accepted,
            lost: u64::from(own.state == StoredAgentState::Lost),
            ..AgentSeries::default()
        };
        if !agents.is_empty() {
            *series = bounded(agents.iter().map(ended));
        }
    }

    fn add(&mut self, other: &AgentSeries) {
        self.scheduled += other.scheduled;
        self.started += other.started;
        self.accepted += other.accepted;
        self.sessions += other.sessions;
        self.lag = self.lag.max(other.lag);
        self.lost += other.lost;
    }
}

/// Returns at most [`MOST`] series. The last one holds the sums of all agents without their own label value.
fn bounded(agents: impl Iterator<Item = AgentSeries>) -> Vec<AgentSeries> {
    let mut all: Vec<AgentSeries> = agents.collect();
    if all.len() > MOST {
        let mut others = AgentSeries { label: OTHERS.to_owned(), ..AgentSeries::default() };
        all.drain(MOST - 1..).for_each(|own| others.add(&own));
        all.push(others);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_agents_there_are_the_label_has_few_values_and_the_sums_are_whole() {
        for count in [0_u64, 1, 63, 64, 65, 500] {
            let agent = |n: u64| AgentSeries {
                label: format!("agent-{n}"),
                scheduled: 3 * n,
                started: 2 * n,
                accepted: n,
                sessions: 1,
                lag: Duration::from_micros(n),
                lost: u64::from(n.is_multiple_of(2)),
            };
            let series = bounded((0..count).map(agent));
            assert_eq!(series.len() as u64, count.min(64));
            let sum = |of: fn(&AgentSeries) -> u64| series.iter().map(of).sum::<u64>();
            assert_eq!(sum(|own| own.accepted), (0..count).sum::<u64>());
            assert_eq!((sum(|own| own.sessions), sum(|own| own.lost)), (count, count.div_ceil(2)));
            assert_eq!(series.iter().any(|own| own.label == OTHERS), count > 64);
            let labels: std::collections::BTreeSet<&str> =
                series.iter().map(|own| own.label.as_str()).collect();
            assert_eq!(labels.len(), series.len());
            // No agent's name contains a parenthesis.
            assert!(OTHERS.starts_with('('));
        }
    }
}
