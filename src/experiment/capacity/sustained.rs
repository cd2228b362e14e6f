//! Whether a load lasts: whether the arrivals that were offered in a trial and not finished grow in number (M33).
//!
//! A listener that is offered 3 % more than it carries meets an objective of one second for half a minute. That its backlog
//! grows shows sooner.
//!
//! # Decisions
//! - A backlog grows when the lower end of the 95 % interval of its slope is above 1 % of the load. An interval wider than 2 % of
//!   the load does not decide, unless all of it is on one side of the 1 %.
//! - A trial on the way counts by what it shows, decided or not: the search costs no more than without this rule. What becomes a
//!   lower bound is asked again for the length `confirm`, and that is the longer trial that an undecided one needs. If even that
//!   does not decide, and the backlog seems to grow, a second one must be good as well.
//! - The backlog is counted twice. Offered minus finished hardly moves while the listener keeps up. While all of its workers are
//!   busy it has all the randomness of the arrivals in it; the load times the time, minus finished, has not. The count with the
//!   narrower interval is taken. For arrivals at even distances both are the same.
//! - Until the first arrivals are finished every backlog grows. The start of a trial, three times the response time of the
//!   idle listener, is left out; a trial that is not twice as long says nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::collector::backlog::{BacklogSample, BacklogSeries};
use crate::collector::growth::{Growth, sharp_growth};

/// A backlog that grows by a greater share of the load grows.
const GROWN: f64 = 0.01;
/// An interval that is a greater share of the load is too wide.
const WIDE: f64 = 0.02;
/// An undecided one that grows by a greater share of the load seems to grow.
const SUSPECT: f64 = 0.005;
/// So many idle response times at the start of a trial are left out.
const START: u32 = 3;

/// What the backlog of a trial says about its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sustained {
    /// It does not grow.
    Sustained,
    /// It grows.
    Unsustained,
    /// The trial is too short to say.
    Undecided,
}

/// How a backlog grew, in arrivals a second, with the interval that holds the truth in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BacklogGrowth {
    /// The growth.
    pub per_s: f64,
    /// The lower end.
    pub low_per_s: f64,
    /// The upper end.
    pub high_per_s: f64,
    /// What that says.
    pub verdict: Sustained,
    /// A trial of about this length would decide, in seconds; `null` where this one does.
    pub needed_s: Option<f64>,
}

impl BacklogGrowth {
    /// Whether it is not decided, and seems to grow at this load.
    pub fn is_doubtful(&self, load: f64) -> bool {
        self.verdict == Sustained::Undecided && self.per_s > SUSPECT * load
    }
}

/// Judges the backlog of a trial of this length at this load, in arrivals a second. `idle`: the response time of the idle listener.
/// `None`: the trial is too short for any answer.
pub fn judge(series: &BacklogSeries, load: f64, length: Duration, idle: Duration) -> Option<BacklogGrowth> {
    let start = idle * START;
    if start * 2 > length {
        return None;
    }
    let every = series.every();
    let index = |time: Duration| (time.as_secs_f64() / every.as_secs_f64()).round() as usize;
    let samples = series.samples();
    let samples = samples.get(..=index(length)).unwrap_or(samples);
    let samples = samples.get(index(start)..)?;
    let of = |backlog: &dyn Fn(usize, &BacklogSample) -> f64| {
        let counts: Vec<f64> = samples.iter().enumerate().map(|(i, sample)| backlog(i, sample)).collect();
        sharp_growth(&counts, every.as_secs_f64())
    };
    let width = |growth: &Growth| growth.high - growth.low;
    let offered = of(&|_, sample| sample.backlog() as f64)?;
    let intended = of(&|i, sample| load * every.as_secs_f64() * i as f64 - sample.finished as f64)?;
    let growth = if width(&intended) < width(&offered) { intended } else { offered };
    let verdict = match (growth.low > GROWN * load, growth.high <= GROWN * load) {
        (true, _) => Sustained::Unsustained,
        (false, true) => Sustained::Sustained,
        (false, false) if width(&growth) <= WIDE * load => Sustained::Sustained,
        (false, false) => Sustained::Undecided,
    };
    // The interval of what wanders freely shrinks with the root of the time.
    let needed_s = (length.as_secs_f64() * (width(&growth) / (WIDE * load)).powi(2)).ceil();
    Some(BacklogGrowth {
        per_s: growth.slope,
        low_per_s: growth.low,
        high_per_s: growth.high,
        verdict,
        needed_s: (verdict == Sustained::Undecided).then_some(needed_s),
    })
}

#[cfg(test)]
mod tests;
