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
    /// `None`: of no value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { min: first, median: f64::midpoint(low, high), max: last })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let Spread { min, median, max } = self;
        write!(f, "**{median:.digits$}** ({min:.digits$}..{max:.digits$})")
    }
}

/// A cell of a table.
pub fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "n/a".to_owned(), |spread| format!("{spread:.digits$}"))
}

/// The rounds of one event: in each the cost of every contender, in the order of [`Contender::ALL`]. `None`: it could not.
pub struct Rounds {
    pub event: Event,
    /// Who took the messages.
    pub listener: &'static str,
    pub costs: Vec<[Option<Cost>; 3]>,
}

impl Rounds {
    fn spread(&self, who: Contender, of: impl Fn(Cost) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.costs.iter().filter_map(|round| of(round[who as usize]?)))
    }

    /// One as a multiple of another in the same round.
    fn ratio(&self, who: Contender, to: Contender, of: impl Fn(Cost) -> f64) -> Option<Spread> {
        Spread::of(
            self.costs.iter().filter_map(|round| Some(of(round[who as usize]?) / of(round[to as usize]?))),
        )
    }

    /// CPU of a message, in microseconds.
    fn cpu(&self, who: Contender) -> Option<Spread> {
        self.spread(who, |cost| Some(cost.cpu.as_secs_f64() * 1e6 / self.event.messages as f64))
    }

    /// Messages a second, from the start of the process to its end.
    fn rate(&self, who: Contender) -> Option<Spread> {
        self.spread(who, |cost| Some(self.event.messages as f64 / cost.wall.as_secs_f64()))
    }

    /// Messages a second in the load's own time, of who tells it.
    fn rate_within(&self, who: Contender) -> Option<Spread> {
        self.spread(who, |cost| Some(self.event.messages as f64 / cost.window?.as_secs_f64()))
    }

    /// The sessions that were open at once, in the middle.
    fn reached(&self, who: Contender) -> Option<f64> {
        Some(self.spread(who, |cost| Some(cost.sessions as f64))?.median)
    }

    fn resident_mib(&self, who: Contender) -> Option<Spread> {
        self.spread(who, |cost| Some(cost.resident as f64 / 1024.0))
    }

    fn cpu_ratio(&self, who: Contender, to: Contender) -> Option<Spread> {
        self.ratio(who, to, |cost| cost.cpu.as_secs_f64())
    }

    fn rate_ratio(&self, who: Contender, to: Contender) -> Option<Spread> {
        self.ratio(who, to, |cost| 1.0 / cost.wall.as_secs_f64())
    }
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
        "Median (least..greatest) of {rounds} rounds, the three in turn against one listener; messages of 1 KiB. CPU is \
         user and system time of the whole process, its start, the opening of its sessions and its report included; \
         `messages a second` is taken over the same time, and `once open` over the load alone, from when the first message \
         could begin. smtpress and the floor (a raw epoll loop that measures nothing) have all sessions open before the \
         first message; with one message a session they come and go, and there is no such gate. `smtp-source` has neither \
         gate nor pipelining: it sends one command at a time in every row, and begins with the sessions it has. While the \
         listener is busy it accepts few, so that its messages may be used up before all sessions are there: `at once` is \
         the most that were open, of `smtp-source` (~) as counted from outside, those included that wait to be accepted. \
         `smtp-sink` goes through a list of all its sessions' time-outs at every event, so that with thousands of them it \
         takes most of a millisecond for a message and the race would be its own: `frugal` is a raw epoll loop of one \
         thread that takes everything. {machine}\n"
    );
    let _ = writeln!(
        out,
        "| dialogue | sessions | listener | messages | | at once | CPU a message, us | messages a second | once open | memory, MiB |"
    );
    let _ = writeln!(out, "|---|---:|---|---:|---|---:|---:|---:|---:|---:|");
    for rounds in all {
        let Event { mode, sessions, messages, .. } = rounds.event;
        let listener = rounds.listener;
        for who in Contender::ALL {
            let about = if who == Contender::SmtpSource { "~" } else { "" };
            let reached = rounds.reached(who).map_or("n/a".to_owned(), |most| format!("{about}{most:.0}"));
            let _ = writeln!(
                out,
                "| {} | {sessions} | {listener} | {messages} | {} | {reached} | {} | {} | {} | {} |",
                name(mode),
                who.name(),
                cell(rounds.cpu(who), 1),
                cell(rounds.rate(who), 0),
                cell(rounds.rate_within(who), 0),
                cell(rounds.resident_mib(who), 1),
            );
        }
    }
    let _ = writeln!(out, "\nsmtpress against the others, by the ratios of each round:\n");
    let _ = writeln!(
        out,
        "| dialogue | sessions | CPU to floor | CPU to smtp-source | rate to floor | rate to smtp-source | |"
    );
    let _ = writeln!(out, "|---|---:|---:|---:|---:|---:|---|");
    for rounds in all {
        let Event { mode, sessions, .. } = rounds.event;
        let (own, floor, source) = (Contender::Smtpress, Contender::Floor, Contender::SmtpSource);
        let _ = writeln!(
            out,
            "| {} | {sessions} | {} | {} | {} | {} | {} |",
            name(mode),
            cell(rounds.cpu_ratio(own, floor), 2),
            cell(rounds.cpu_ratio(own, source), 2),
            cell(rounds.rate_ratio(own, floor), 2),
            cell(rounds.rate_ratio(own, source), 2),
            remark(rounds)
        );
    }
    growth(all, &mut out);
    out
}

/// What a row does not compare.
fn remark(rounds: &Rounds) -> String {
    let asked = f64::from(rounds.event.sessions);
    match rounds.reached(Contender::SmtpSource) {
        None => "smtp-source could not".to_owned(),
        // A few per cent are lost between two looks.
        Some(most) if rounds.event.gate && most < 0.95 * asked => {
            format!("smtp-source had {most:.0} of {asked} sessions")
        }
        Some(_) => String::new(),
    }
}

/// How the cost of a message grows from 100 to 10,000 sessions, where both were run.
fn growth(all: &[Rounds], out: &mut String) {
    let at = |mode, sessions| all.iter().find(|r| r.event.mode == mode && r.event.sessions == sessions);
    for mode in [Mode::Single, Mode::Grouped, Mode::Full, Mode::OneMessage] {
        let (Some(few), Some(many)) = (at(mode, 100), at(mode, 10_000)) else { continue };
        let by = |who| Some(many.cpu(who)?.median / few.cpu(who)?.median);
        let [Some(own), source, Some(floor)] = Contender::ALL.map(by) else { continue };
        let source = source.map_or("n/a".to_owned(), |source| format!("{source:.2}"));
        let _ = writeln!(
            out,
            "\nFrom 100 to 10,000 sessions ({}) a message's CPU grows {own:.2} times; smtp-source's {source}, the \
             floor's {floor:.2}: {:.2} times the floor's growth.",
            name(mode),
            own / floor
        );
    }
}
