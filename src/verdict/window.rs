//! Assertions that are evaluated during the run: those over sliding windows, and those that may abort it.
//!
//! # Decisions
//! - A window consists of whole seconds of an open phase. A phase is open for its length, from the second
//!   of its first scheduled arrival. A phase without a length is open in each second with scheduled arrivals. The drain does
//!   not count: nothing is offered then, and each rate would fall.
//! - The window of an assertion without a phase slides over all measured phases. A gap between two phases starts a new window.
//! - An assertion with `abort` and no window is evaluated over everything in its phases so far.

use std::collections::VecDeque;
use std::time::Duration;

use super::evidence::{Answer, Evidence, duration_text};
use super::grammar::{Assertion, Expr};
use super::outcome::{AssertionStatus, scope};
use crate::collector::snapshot::Interval;
use crate::collector::summary::PhaseInfo;
use crate::condition::expect::Expect;

/// Evaluates assertions during a run, once for each second. The default has no assertions.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    watches: Vec<WatchedAssertion>,
    expects: Vec<Expect>,
    phases: Vec<OpenPhase>,
}

impl Windows {
    /// Returns the evaluation of `assertions`. Assertions with neither a window nor `abort`, and those whose phase is
    /// not measured, are left out.
    pub fn new(assertions: &[Assertion], phases: &[PhaseInfo], expects: &[Expect]) -> Windows {
        let watched = |(index, assertion): (usize, &Assertion)| {
            if assertion.window.is_none() && !assertion.abort {
                return None;
            }
            let scope = scope(assertion, phases).ok()?;
            Some(WatchedAssertion::new(index, assertion, scope))
        };
        Windows {
            watches: assertions.iter().enumerate().filter_map(watched).collect(),
            expects: expects.to_vec(),
            phases: phases.iter().map(|phase| OpenPhase { since: None, length: phase.length }).collect(),
        }
    }

    /// Adds one second of the run. Returns the index of the assertion that aborts the run, if one does.
    pub fn feed(&mut self, interval: &Interval) -> Option<usize> {
        let Windows { watches, expects, phases } = self;
        for (phase, tally) in phases.iter_mut().zip(&interval.tally.phases) {
            if tally.counts.scheduled > 0 {
                phase.since.get_or_insert(interval.start);
            }
        }
        let mut ended_by = None;
        for watch in watches {
            let failed = watch.feed(interval, phases, expects);
            if failed && watch.abort {
                ended_by = ended_by.or(Some(watch.assertion));
            }
        }
        ended_by
    }

    /// Returns the answer of the assertion with this index. `None` means that the totals at the end of the run decide it.
    pub(super) fn answer(&self, assertion: usize) -> Option<Answer> {
        let watch = self.watches.iter().find(|watch| watch.assertion == assertion)?;
        if let Some(broken) = &watch.broken {
            return Some(broken.clone());
        }
        let length = watch.window?;
        let length = duration_text(length.as_nanos() as f64);
        Some(match (watch.held, &watch.unknown) {
            (_, Some(unknown)) => unknown.clone(),
            (0, None) => Answer::no_data(format!("no full window of {length}")),
            (held, None) => Answer {
                status: AssertionStatus::Pass,
                observed: format!("held in each of {held} windows of {length}"),
            },
        })
    }
}

/// The time in which a phase is open.
#[derive(Clone, Debug)]
struct OpenPhase {
    /// The start of the second in which the first arrival was scheduled; `None` before it.
    since: Option<Duration>,
    length: Option<Duration>,
}

impl OpenPhase {
    /// Returns whether the whole second lies in the time in which the phase is open.
    fn covers(&self, interval: &Interval, scheduled: u64) -> bool {
        let Some(since) = self.since else { return false };
        match self.length {
            Some(length) => since <= interval.start && interval.start + interval.length <= since + length,
            None => scheduled > 0,
        }
    }
}

#[derive(Clone, Debug)]
struct WatchedAssertion {
    /// The assertion's index.
    assertion: usize,
    expr: Expr,
    scope: Vec<usize>,
    window: Option<Duration>,
    abort: bool,
    grace: Duration,
    /// One entry for each second of the window; without a window, one entry that sums up all seconds.
    seconds: VecDeque<Evidence>,
    /// The first failure.
    broken: Option<Answer>,
    /// The first window that could not be judged.
    unknown: Option<Answer>,
    /// The number of windows in which the assertion held.
    held: u64,
}

impl WatchedAssertion {
    fn new(index: usize, assertion: &Assertion, scope: Vec<usize>) -> WatchedAssertion {
        WatchedAssertion {
            assertion: index,
            expr: assertion.expr.clone(),
            scope,
            window: assertion.window,
            abort: assertion.abort,
            grace: assertion.grace,
            seconds: VecDeque::new(),
            broken: None,
            unknown: None,
            held: 0,
        }
    }

    /// Adds a second. Returns whether the assertion fails for the first time with it.
    fn feed(&mut self, interval: &Interval, phases: &[OpenPhase], expects: &[Expect]) -> bool {
        let tallies = &interval.tally.phases;
        let open = |i: &usize| phases[*i].covers(interval, tallies[*i].counts.scheduled);
        let mut second: Option<Evidence> = None;
        for phase in self.scope.iter().copied().filter(open) {
            let found = Evidence::gather(&self.expr, expects, &tallies[phase], interval.length);
            match &mut second {
                Some(second) => second.add(&found),
                None => second = Some(found),
            }
        }
        let Some(second) = second.map(|second| second.over(interval.length)) else {
            if self.window.is_some() {
                self.seconds.clear();
            }
            return false;
        };
        self.take(second);
        let since = self.scope.iter().filter_map(|i| phases[*i].since).min().unwrap_or_default();
        let full = self.window.is_none_or(|window| self.length() >= window);
        if !full || interval.start + interval.length < since + self.grace || self.broken.is_some() {
            return false;
        }
        let mut whole = Evidence::default();
        self.seconds.iter().for_each(|second| whole.add(second));
        let answer = whole.answer(&self.expr);
        match answer.status {
            AssertionStatus::Pass => self.held += 1,
            AssertionStatus::NoData | AssertionStatus::NotJudged => {
                self.unknown.get_or_insert(answer);
            }
            AssertionStatus::Fail => {
                let to = interval.start + interval.length;
                let from = to.saturating_sub(whole.window());
                let observed = format!(
                    "{} between {} and {} of the run",
                    answer.observed,
                    duration_text(from.as_nanos() as f64),
                    duration_text(to.as_nanos() as f64)
                );
                self.broken = Some(Answer { observed, ..answer });
            }
        }
        self.broken.is_some()
    }

    fn take(&mut self, second: Evidence) {
        let Some(window) = self.window else {
            match self.seconds.front_mut() {
                Some(all) => all.add(&second),
                None => self.seconds.push_back(second),
            }
            return;
        };
        self.seconds.push_back(second);
        while let Some(first) = self.seconds.front()
            && self.length() - first.window() >= window
        {
            self.seconds.pop_front();
        }
    }

    fn length(&self) -> Duration {
        self.seconds.iter().map(Evidence::window).sum()
    }
}

#[cfg(test)]
mod tests;
