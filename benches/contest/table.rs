//! The figures of the contest: least, median and greatest of the rounds, ratios by round, and the table for people.

use std::fmt::{self, Write as _};

use super::{Contender, Cost, Event};
use crate::floor::Mode;

/// Least, median and greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Spread { min: values[0], median: f64::midpoint(low, high), max: values[values.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let Spread { min, median, max } = self;
        write!(f, "**{median:.digits$}** ({min:.digits$}..{max:.digits$})")
    }
}

/// The rounds of one event: in each the cost of every contender, in the order of [`Contender::ALL`].
pub struct Rounds {
    pub event: Event,
    pub costs: Vec<[Cost; 3]>,
}

impl Rounds {
    fn spread(&self, of: impl Fn(&[Cost; 3]) -> f64) -> Spread {
        Spread::of(self.costs.iter().map(of))
    }

    /// CPU of a message, in microseconds.
    fn cpu(&self, of: Contender) -> Spread {
        self.spread(|round| micros(round[of as usize], self.event))
    }

    /// Messages a second, from the start of the process to its end.
    fn rate(&self, of: Contender) -> Spread {
        self.spread(|round| rate(round[of as usize], self.event))
    }

    /// The sessions that were open at once, if they are told.
    fn reached(&self, of: Contender) -> String {
        let told = self.costs.iter().filter_map(|round| round[of as usize].sessions).map(|n| n as f64);
        let mut told = told.peekable();
        if told.peek().is_some() { format!("{:.0}", Spread::of(told).median) } else { "not told".to_owned() }
    }

    fn resident_mib(&self, of: Contender) -> Spread {
        self.spread(|round| round[of as usize].resident as f64 / 1024.0)
    }

    /// The CPU of one as a multiple of another's in the same round.
    fn cpu_ratio(&self, of: Contender, to: Contender) -> Spread {
        self.spread(|round| round[of as usize].cpu.as_secs_f64() / round[to as usize].cpu.as_secs_f64())
    }

    fn rate_ratio(&self, of: Contender, to: Contender) -> Spread {
        self.spread(|round| rate(round[of as usize], self.event) / rate(round[to as usize], self.event))
    }
}

fn micros(cost: Cost, event: Event) -> f64 {
    cost.cpu.as_secs_f64() * 1e6 / event.messages as f64
}

fn rate(cost: Cost, event: Event) -> f64 {
    event.messages as f64 / cost.wall.as_secs_f64()
}

/// What an event's name is.
pub fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Single => "one command at a time",
        Mode::Grouped => "grouped",
        Mode::Full => "full",
        Mode::OneMessage => "one message a session",
    }
}

/// All of it, as Markdown.
pub fn markdown(all: &[Rounds], machine: &str) -> String {
    let mut out = String::new();
    let rounds = all.first().map_or(0, |rounds| rounds.costs.len());
    let _ = writeln!(
        out,
        "Median (least..greatest) of {rounds} rounds, the three in turn against one `smtp-sink`; messages of 1 KiB. \
         CPU is user and system time of the whole process, its start and its report included; the rate is taken over the \
         same time. `smtp-source` has no pipelining: it sends one command at a time in every row. The floor is a raw \
         epoll loop that measures nothing. `at once` is the most sessions open at once: a busy listener accepts few, so that messages \
         may be used up before all sessions are there. {machine}\n"
    );
    let _ = writeln!(
        out,
        "| dialogue | sessions | messages | | at once | CPU a message, us | messages a second | memory, MiB |"
    );
    let _ = writeln!(out, "|---|---:|---:|---|---:|---:|---:|---:|");
    for rounds in all {
        let Event { mode, sessions, messages } = rounds.event;
        for of in Contender::ALL {
            let (cpu, rate, mib) = (rounds.cpu(of), rounds.rate(of), rounds.resident_mib(of));
            let (mode, of, reached) = (name(mode), of.name(), rounds.reached(of));
            let _ = writeln!(
                out,
                "| {mode} | {sessions} | {messages} | {of} | {reached} | {cpu:.1} | {rate:.0} | {mib:.1} |"
            );
        }
    }
    let _ = writeln!(out, "\nsmtpress against the others, by the ratios of each round:\n");
    let _ = writeln!(
        out,
        "| dialogue | sessions | CPU to floor | CPU to smtp-source | rate to floor | rate to smtp-source |"
    );
    let _ = writeln!(out, "|---|---:|---:|---:|---:|---:|");
    for rounds in all {
        let Event { mode, sessions, .. } = rounds.event;
        let (own, floor, source) = (Contender::Smtpress, Contender::Floor, Contender::SmtpSource);
        let _ = writeln!(
            out,
            "| {} | {sessions} | {:.2} | {:.2} | {:.2} | {:.2} |",
            name(mode),
            rounds.cpu_ratio(own, floor),
            rounds.cpu_ratio(own, source),
            rounds.rate_ratio(own, floor),
            rounds.rate_ratio(own, source)
        );
    }
    growth(all, &mut out);
    out
}

/// How the cost of a message grows from 100 to 10,000 sessions, where both were run.
fn growth(all: &[Rounds], out: &mut String) {
    let at = |mode, sessions| all.iter().find(|r| r.event.mode == mode && r.event.sessions == sessions);
    for mode in [Mode::Single, Mode::Grouped, Mode::Full, Mode::OneMessage] {
        let (Some(few), Some(many)) = (at(mode, 100), at(mode, 10_000)) else { continue };
        let by = |of| many.cpu(of).median / few.cpu(of).median;
        let [own, source, floor] = Contender::ALL.map(by);
        let _ = writeln!(
            out,
            "\nFrom 100 to 10,000 sessions ({}) a message's CPU grows {own:.2} times; smtp-source's {source:.2}, the \
             floor's {floor:.2}: {:.2} times the floor's growth.",
            name(mode),
            own / floor
        );
    }
}
