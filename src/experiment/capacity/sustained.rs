//! Decides whether a load can be sustained: whether the backlog of a trial (arrivals offered and not finished) grows
//! (M33).
//!
//! A listener with 3 % more load than it can carry meets an objective of one second for half a minute. The growth of
//! its backlog shows the overload sooner.
//!
//! # Decisions
//! - A backlog grows if the lower end of the 95 % interval of its slope is above 1 % of the load. If the interval contains
//!   1 % of the load and is wider than 2 % of the load, the trial is undecided.
//! - During the search an undecided trial counts as sustained, so that the search costs no more than without this rule. A
//!   lower bound is tried again for the length `confirm`, which is the longer trial that an undecided trial needs. If the
//!   longer trial is undecided, too, and the backlog seems to grow, a second trial of that length must be good.
//! - The backlog is estimated in two ways. The first estimate is offered minus finished. It varies little while the
//!   listener keeps up, but contains the randomness of the arrivals while all workers are busy. The second estimate is
//!   load times time minus finished, without that randomness. The estimate with the narrower interval is used. For evenly
//!   spaced arrivals both are equal.
//! - Load times time is a line, while the number of finished arrivals is a step function. If there are few steps, most
//!   pairs of samples are on the same step, and the second estimate only shows the line: its slope is the load, and its
//!   interval has no width. So it is used only if at least `STEADY` arrivals are scheduled.
//! - Until the first arrivals are finished every backlog grows. So the start of a trial is left out, for three times the
//!   response time of the idle listener. A trial that is not at least twice as long as this start is not judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::collector::backlog::{BacklogSample, BacklogSeries};
use crate::collector::growth::{Growth, sharp_growth};

/// The share of the load above which a backlog counts as growing.
const GROWN: f64 = 0.01;
/// The width, as a share of the load, above which an interval is too wide.
const WIDE: f64 = 0.02;
/// The share of the load above which the slope of an undecided trial makes a growth likely.
const SUSPECT: f64 = 0.005;
/// The least number of arrivals in the judged part of a trial for which the second estimate is used: one for each point
/// from which the slope is computed.
const STEADY: f64 = 40.0;
/// The length of the start that is left out, in response times of the idle listener.
const START: u32 = 3;

/// The verdict on a load by its backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sustained {
    /// The backlog does not grow.
    Sustained,
    /// The backlog grows.
    Unsustained,
    /// The trial is too short to decide.
    Undecided,
}

/// The growth of a backlog, in arrivals a second, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BacklogGrowth {
    /// The estimated growth.
    pub per_s: f64,
    /// The lower end of the interval.
    pub low_per_s: f64,
    /// The upper end of the interval.
    pub high_per_s: f64,
    /// The verdict.
    pub verdict: Sustained,
    /// The length of a trial that would decide, in seconds; `null`: this trial decides.
    pub needed_s: Option<f64>,
}

impl BacklogGrowth {
    /// Whether the trial is undecided, and the backlog is likely to grow at this load.
    pub fn is_doubtful(&self, load: f64) -> bool {
        self.verdict == Sustained::Undecided && self.per_s > SUSPECT * load
    }
}

/// Judges the backlog of a trial of this length. `load`: in arrivals a second; `idle`: the response time of the idle
/// listener. `None`: the trial is too short for an estimate.
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
    let is_steady = load * every.as_secs_f64() * samples.len() as f64 >= STEADY;
    let growth = if is_steady && width(&intended) < width(&offered) { intended } else { offered };
    let verdict = match (growth.low > GROWN * load, growth.high <= GROWN * load) {
        (true, _) => Sustained::Unsustained,
        (false, true) => Sustained::Sustained,
        (false, false) if width(&growth) <= WIDE * load => Sustained::Sustained,
        (false, false) => Sustained::Undecided,
    };
    // The width of the interval of a random walk shrinks with the square root of the time.
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
