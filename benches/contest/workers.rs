//! One generator thread and two, against a listener that is not the bottleneck: the frugal one of the floor, with as many
//! threads as there are cores.
//!
//! # Decisions
//! - Generator and listener share the machine's cores, so that two threads cannot send twice as much: what is compared is
//!   how many messages a CPU second carries, which tells what the threads cost each other (locks, caches, wake-ups). The
//!   wall rate stands beside it, with the share of the machine that both sides used.
//! - Where there are more than four cores (two for each side and to spare) the wall rates may be compared too; the text
//!   says which.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::listeners::Frugal;
use super::table::{Spread, cell, name};
use super::{Contender, Cost, Event, run};

/// The rounds of one event: in each the cost of one thread and of two, with the listener's CPU beside.
pub struct Scaling {
    pub event: Event,
    pub costs: Vec<[(Cost, Duration); 2]>,
}

/// One event with one thread and with two, in turn.
///
/// # Errors
/// A run failed.
pub fn scale(event: Event, rounds: u32, frugal: &Frugal, folder: &Path) -> io::Result<Scaling> {
    let one = |threads| -> io::Result<(Cost, Duration)> {
        let before = frugal.cpu()?;
        let cost = run(Contender::Smtpress, Event { threads, ..event }, frugal.address, folder)?;
        Ok((cost, frugal.cpu()?.saturating_sub(before)))
    };
    let costs = (0..rounds).map(|_| Ok([one(1)?, one(2)?])).collect::<io::Result<_>>()?;
    Ok(Scaling { event, costs })
}

impl Scaling {
    fn spread(&self, of: impl Fn(&[(Cost, Duration); 2]) -> f64) -> Option<Spread> {
        Spread::of(self.costs.iter().map(of))
    }
}

/// All of it, as Markdown.
pub fn markdown(all: &[Scaling], cores: usize) -> String {
    let mut out = String::new();
    let what = if cores > 4 {
        "Both sides have cores enough here: the wall rates may be compared too."
    } else {
        "The listener and the generator compete for the same cores here, so the wall rate says how the machine divides them, \
         and not how the generator scales: a rate that does not double is no fault of the second thread. That a message costs \
         no more CPU on two threads than on one is what shows that they do not hinder each other."
    };
    let _ = writeln!(
        out,
        "\nOne generator thread and two, on {cores} cores, against a raw epoll listener with {cores} threads that takes \
         everything and keeps nothing (a process of its own). {what} CPU is user and system time of the whole process; \
         `busy` is the share of all cores that generator and listener used together while the process ran.\n"
    );
    let _ = writeln!(
        out,
        "| dialogue | sessions | messages | threads | CPU a message, us | messages a CPU second | messages a second, once open | \
         listener's CPU a message, us | busy, % |"
    );
    let _ = writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for scaling in all {
        let Event { mode, sessions, messages, .. } = scaling.event;
        let n = messages as f64;
        for (index, threads) in [1, 2].into_iter().enumerate() {
            let cpu = |round: &[(Cost, Duration); 2]| round[index].0.cpu.as_secs_f64();
            let window = |round: &[(Cost, Duration); 2]| {
                round[index].0.window.unwrap_or(round[index].0.wall).as_secs_f64()
            };
            let busy = |round: &[(Cost, Duration); 2]| {
                let used = cpu(round) + round[index].1.as_secs_f64();
                used * 100.0 / (round[index].0.wall.as_secs_f64() * cores as f64)
            };
            let _ = writeln!(
                out,
                "| {} | {sessions} | {messages} | {threads} | {} | {} | {} | {} | {} |",
                name(mode),
                cell(scaling.spread(|round| cpu(round) * 1e6 / n), 1),
                cell(scaling.spread(|round| n / cpu(round)), 0),
                cell(scaling.spread(|round| n / window(round)), 0),
                cell(scaling.spread(|round| round[index].1.as_secs_f64() * 1e6 / n), 1),
                cell(scaling.spread(busy), 0),
            );
        }
    }
    let _ = writeln!(out, "\nTwo threads against one, by the ratios of each round:\n");
    let _ = writeln!(out, "| dialogue | sessions | messages a CPU second | messages a second, once open |");
    let _ = writeln!(out, "|---|---:|---:|---:|");
    for scaling in all {
        let window = |(cost, _): (Cost, Duration)| cost.window.unwrap_or(cost.wall).as_secs_f64();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            name(scaling.event.mode),
            scaling.event.sessions,
            cell(scaling.spread(|[one, two]| one.0.cpu.as_secs_f64() / two.0.cpu.as_secs_f64()), 2),
            cell(scaling.spread(|[one, two]| window(*one) / window(*two)), 2),
        );
    }
    out
}
