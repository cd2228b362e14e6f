//! Shows the progress of a run: as bars on a terminal, else as log lines. The output goes to stderr and is never written by a
//! worker's thread.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::agent_lines::AgentLines;
use super::args::common::ProgressMode;
use super::screen::Screen;
use crate::collector::Outcome;
use crate::collector::agents::AgentProgress;
use crate::collector::snapshot::Interval;
use crate::collector::tally::Tally;
use crate::command::{Display, MessageSink};
use crate::plan::Plan;
use crate::report::format;

/// The time between two log lines, in seconds of the run.
const LOG_EVERY: u64 = 5;

/// The progress of one run.
pub struct ProgressDisplay {
    form: ProgressForm,
    screen: Screen,
    phases: Vec<PhaseBar>,
    seconds: u64,
    agents: AgentLines,
}

enum ProgressForm {
    None,
    Log,
    Bars { all: MultiProgress, blank: ProgressBar, bars: Vec<ProgressBar>, line: ProgressBar },
}

struct PhaseBar {
    name: String,
    start: Duration,
    length: Option<Duration>,
    total: Option<u64>,
}

impl ProgressDisplay {
    /// Returns the display in the form of `asked`. `Auto` means bars if stderr is a terminal, else log lines.
    pub fn new(plan: &Plan, asked: ProgressMode, terminal: bool, screen: &Screen) -> ProgressDisplay {
        let mut start = Duration::ZERO;
        let phases: Vec<PhaseBar> = plan
            .phases
            .iter()
            .map(|phase| {
                let total = crate::load::expected_arrivals(&phase.load);
                let this = PhaseBar { name: phase.name.clone(), start, length: phase.load.length, total };
                start = start.saturating_add(phase.load.length.unwrap_or_default());
                this
            })
            .collect();
        let form = match asked {
            ProgressMode::None => ProgressForm::None,
            ProgressMode::Log => ProgressForm::Log,
            ProgressMode::Auto if !terminal => ProgressForm::Log,
            ProgressMode::Auto | ProgressMode::Bar => bars(&phases, screen.colour_err()),
        };
        ProgressDisplay { form, screen: *screen, phases, seconds: 0, agents: AgentLines::default() }
    }

    /// Returns the sink for messages. It prints them above the bars if there are bars.
    pub fn messages(&self) -> MessageSink {
        let ProgressForm::Bars { all, .. } = &self.form else { return self.screen.messages() };
        let (screen, bars) = (self.screen, all.clone());
        MessageSink::new(move |line| {
            if bars.is_hidden() {
                screen.note(line);
            // Not `suspend`, which panics if the terminal was closed.
            } else if bars.println(line).is_err() {
                bars.set_draw_target(ProgressDrawTarget::hidden());
            }
        })
    }
}

impl Display for ProgressDisplay {
    fn begin(&mut self) {
        if let ProgressForm::Bars { all, blank, bars, line } = &self.form {
            all.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            [blank].into_iter().chain(bars).chain([line]).for_each(ProgressBar::tick);
        }
    }

    fn second(&mut self, interval: &Interval, total: &Tally) {
        self.seconds += 1;
        let now = interval.start + interval.length;
        let current = self.phases.iter().rposition(|phase| phase.start < now).unwrap_or(0);
        match &self.form {
            ProgressForm::None => {}
            ProgressForm::Log => {
                if self.seconds == 1 || self.seconds.is_multiple_of(LOG_EVERY) {
                    self.screen.note(&format!(
                        "{:>6} {:<12} {}",
                        format::seconds(now.as_secs_f64()),
                        self.phases[current].name,
                        state(interval, total)
                    ));
                    if let Some(line) = self.agents.in_one_line() {
                        self.screen.note(&line);
                    }
                }
            }
            ProgressForm::Bars { bars, line, .. } => {
                for ((phase, bar), tally) in self.phases.iter().zip(bars).zip(&total.phases) {
                    bar.set_position(match phase.length {
                        Some(length) => {
                            let done = now.saturating_sub(phase.start).min(length);
                            u64::try_from(done.as_millis()).unwrap_or(u64::MAX)
                        }
                        None => tally.counts.arrivals.ended(),
                    });
                }
                // Six columns stay free: a ^C that the terminal echoes after a full line would wrap it and misplace the bars.
                let width = self.screen.width_err().saturating_sub(6);
                line.set_message(format::cut(&state(interval, total), width));
            }
        }
    }

    fn agents(&mut self, agents: &[AgentProgress]) {
        self.agents.take(agents);
        if let ProgressForm::Bars { all, .. } = &self.form {
            self.agents.draw(all, self.screen.width_err().saturating_sub(6));
        }
    }

    fn event(&mut self, line: &str) {
        if !matches!(self.form, ProgressForm::None) {
            self.messages().say(line);
        }
    }

    fn end(&mut self) {
        if let ProgressForm::Bars { all, blank, bars, line } = &self.form {
            for bar in bars.iter().chain([blank]) {
                bar.finish_and_clear();
            }
            line.finish_and_clear();
            self.agents.clear();
            // A terminal that has been closed needs no clearing.
            all.clear().ok();
        }
    }
}

fn bars(phases: &[PhaseBar], colour: bool) -> ProgressForm {
    // Hidden until `begin`, which adds all bars first.
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let widest = phases.iter().map(|phase| phase.name.chars().count()).max().unwrap_or(0).min(20);
    let paint = if colour { ".cyan/dim" } else { "" };
    // The first line is empty: a ^C that the terminal echoes moves the bars down by one line. The old first line then stays
    // on the screen, and so it must not show a bar.
    let blank = ProgressStyle::with_template(" ").expect("the template is constant");
    let blank = all.add(ProgressBar::new(0).with_style(blank));
    let bars = phases
        .iter()
        .map(|phase| {
            let (length, right) = match (phase.length, phase.total) {
                (Some(length), _) => {
                    (u64::try_from(length.as_millis()).unwrap_or(u64::MAX), "{percent:>3} %")
                }
                (None, Some(total)) => (total, "{pos}/{len}"),
                (None, None) => (0, "{pos}"),
            };
            let template = format!("  {{prefix:{widest}}} {{bar:32{paint}}} {right}");
            let style = ProgressStyle::with_template(&template)
                .expect("the template is constant")
                .progress_chars("━╸─");
            all.add(ProgressBar::new(length).with_style(style).with_prefix(format::cut(&phase.name, 20)))
        })
        .collect();
    let style = ProgressStyle::with_template("  {msg}").expect("the template is constant");
    let line = all.add(ProgressBar::new(0).with_style(style));
    ProgressForm::Bars { all, blank, bars, line }
}

/// Returns one second of the run as a line: rates, arrivals in flight, sessions, and the two most frequent conditions so far.
fn state(interval: &Interval, total: &Tally) -> String {
    let length = interval.length.as_secs_f64().max(1e-3);
    let sum = |of: &dyn Fn(&crate::collector::tally::Counts) -> u64| -> f64 {
        interval.tally.phases.iter().map(|phase| of(&phase.counts)).sum::<u64>() as f64 / length
    };
    let mut line = format!(
        "offered {}  started {}  accepted {}  in flight {}  sessions {}",
        format::rate(sum(&|counts| counts.scheduled)),
        format::rate(sum(&|counts| counts.started)),
        format::rate(sum(&|counts| counts.arrivals.of(Outcome::Accepted))),
        format::count(interval.gauges.in_flight),
        format::count(interval.gauges.sessions),
    );
    if interval.gauges.waiting > 0 {
        line.push_str(&format!("  waiting {}", format::count(interval.gauges.waiting)));
    }
    if interval.gauges.retrying > 0 {
        line.push_str(&format!("  to be tried again {}", format::count(interval.gauges.retrying)));
    }
    if let Some(queued) = interval.gauges.queued {
        let delivered = format::rate(sum(&|counts| counts.delivered));
        line.push_str(&format!("  delivered {delivered}  in the relay {}", format::count(queued)));
    }
    let mut met = std::collections::BTreeMap::<&str, u64>::new();
    for (key, row) in total.phases.iter().flat_map(|phase| &phase.conditions) {
        *met.entry(key.condition.as_str()).or_default() += row.count;
    }
    let mut met: Vec<_> = met.into_iter().collect();
    met.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    for (name, count) in met.into_iter().take(2) {
        line.push_str(&format!("  {name} {}", format::count(count)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Color;
    use crate::collector::snapshot::Gauges;
    use crate::load::Shard;
    use crate::profile::{Context, Document, Purpose, compile};

    #[test]
    fn the_bar_of_a_phase_without_a_time_counts_its_own_arrivals() {
        let text = "schema = 1\n[target]\naddress = \"embedded\"\n\
             [[phase]]\nname = \"warm\"\nload = \"constant-sessions\"\nsessions = 1\nfor = \"1s\"\nwarmup = true\n\
             [[phase]]\nname = \"last\"\nload = \"shared-messages\"\nmessages = 10\nsessions = 1\n";
        let document = Document::parse("p.toml", text).unwrap();
        let context =
            Context { purpose: Purpose::Run, seed: 1, run_id: "run".into(), threads: 1, shard: Shard::WHOLE };
        let plan = compile(&document, &context).unwrap().plan;
        let mut display = ProgressDisplay::new(&plan, ProgressMode::Bar, true, &Screen::new(Color::Never));
        let mut total = Tally::new(2);
        total.phases[0].counts.arrivals.add_many(Outcome::Accepted, 70);
        total.phases[1].counts.arrivals.add_many(Outcome::Accepted, 4);
        let second = Duration::from_secs(1);
        let interval = Interval {
            start: second,
            length: second,
            tally: Tally::new(2),
            transactions: Vec::new(),
            gauges: Gauges::default(),
        };
        display.second(&interval, &total);
        let ProgressForm::Bars { bars, .. } = &display.form else { panic!("bars were asked for") };
        let shown: Vec<_> = bars.iter().map(|bar| (bar.position(), bar.length())).collect();
        assert_eq!(shown, [(1000, Some(1000)), (4, Some(10))]);
    }
}
