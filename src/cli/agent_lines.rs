//! The agents of a fleet in the display of a run in progress: one line each on a terminal, and one line for all in a
//! log.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::collector::agents::{AgentEnd, AgentProgress};
use crate::report::format;

/// The largest number of agents that are shown one by one. The others are counted, and the slowest of them is named.
const MOST: usize = 8;

/// The shown state of the agents.
#[derive(Debug, Default)]
pub(super) struct AgentLines {
    /// The name and the state of each agent in this second.
    shown: Vec<(String, String)>,
    /// The numbers of started and accepted arrivals at the end of the previous second.
    before: BTreeMap<String, (u64, u64)>,
    lines: Vec<ProgressBar>,
}

impl AgentLines {
    /// Sets the state of the agents at the end of a second.
    pub(super) fn take(&mut self, agents: &[AgentProgress]) {
        let mut now = BTreeMap::new();
        let mut shown = Vec::new();
        for own in agents {
            let counts = (own.run.started, own.run.accepted);
            let before = self.before.get(&own.run.name).copied().unwrap_or_default();
            let state = match &own.run.end {
                AgentEnd::Lost { .. } => "LOST".to_owned(),
                AgentEnd::Running => format!(
                    "started {}  accepted {}  sessions {}  lag {}",
                    format::rate((counts.0 - before.0.min(counts.0)) as f64),
                    format::rate((counts.1 - before.1.min(counts.1)) as f64),
                    format::count(own.sessions),
                    format::duration(own.lag.as_nanos() as f64)
                ),
                _ => "done".to_owned(),
            };
            now.insert(own.run.name.clone(), counts);
            shown.push((own.run.name.clone(), state));
        }
        if shown.len() > MOST {
            let slowest = agents.iter().skip(MOST - 1).max_by_key(|own| own.lag);
            let slowest = slowest.map(|own| {
                format!("the slowest {}, lag {}", own.run.name, format::duration(own.lag.as_nanos() as f64))
            });
            let lost = agents
                .iter()
                .skip(MOST - 1)
                .filter(|own| matches!(own.run.end, AgentEnd::Lost { .. }))
                .count();
            let lost = if lost > 0 { format!("  LOST {lost}") } else { String::new() };
            let more = format!("and {} more", shown.len() - (MOST - 1));
            shown.truncate(MOST - 1);
            shown.push((more, slowest.unwrap_or_default() + &lost));
        }
        (self.before, self.shown) = (now, shown);
    }

    /// Returns all agents in one line for a log; `None` if there are no agents.
    pub(super) fn in_one_line(&self) -> Option<String> {
        let words: Vec<String> = self.shown.iter().map(|(name, state)| format!("{name}: {state}")).collect();
        (!words.is_empty()).then(|| format!("{:>6} {:<12} {}", "", "agents", words.join("; ")))
    }

    /// Draws one line for each agent, below the bars.
    pub(super) fn draw(&mut self, all: &MultiProgress, width: usize) {
        let style = ProgressStyle::with_template("  {msg}").expect("the template is constant");
        while self.lines.len() < self.shown.len() {
            self.lines.push(all.add(ProgressBar::new(0).with_style(style.clone())));
        }
        let widest = self.shown.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(20);
        for ((name, state), line) in self.shown.iter().zip(&self.lines) {
            let name = format::cut(name, 20);
            line.set_message(format::cut(&format!("{name:<widest$}  {state}"), width));
        }
    }

    /// Removes the lines from the screen.
    pub(super) fn clear(&self) {
        self.lines.iter().for_each(ProgressBar::finish_and_clear);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::collector::agents::AgentRun;

    fn agents(count: u64, second: u64) -> Vec<AgentProgress> {
        let of = |n: u64| AgentProgress {
            run: AgentRun {
                started: second * (10 + n),
                accepted: second * n,
                end: if n == 1 && second > 1 {
                    AgentEnd::Lost {
                        silent: Duration::from_secs(3),
                        since: Duration::ZERO,
                        has_heartbeats: false,
                    }
                } else {
                    AgentEnd::Running
                },
                ..AgentRun::named(&format!("load{n}"), "h", "0", 0)
            },
            sessions: n,
            lag: Duration::from_millis(n),
        };
        (0..count).map(of).collect()
    }

    #[test]
    fn each_agent_is_shown_by_its_own_second() {
        let mut lines = AgentLines::default();
        assert_eq!(lines.in_one_line(), None, "one machine has no agents");
        lines.take(&agents(3, 1));
        lines.take(&agents(3, 2));
        let line = lines.in_one_line().unwrap();
        for word in [
            "load0: started 10.0/s  accepted 0",
            "load1: LOST",
            "load2: started 12.0/s  accepted 2.00/s  sessions 2",
        ] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }

    #[test]
    fn of_many_agents_the_last_line_counts_the_rest() {
        let mut lines = AgentLines::default();
        lines.take(&agents(30, 1));
        assert_eq!(lines.shown.len(), MOST);
        let line = lines.in_one_line().unwrap();
        assert!(line.contains("and 23 more: the slowest load29, lag 29.0 ms"), "{line}");
    }
}
