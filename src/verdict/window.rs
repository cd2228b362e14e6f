//! Assertions that watch the run while it lasts: over sliding windows, and those that end it.
//!
//! # Decisions
//! - A window is made of whole seconds of an open phase: from the second of its first arrival for as long as arrivals are
//!   due. The drain after it, when nothing is offered any more, would break every rate.
//! - An assertion without a phase slides over all measured phases; a gap between two of them begins a new window.
//! - An assertion with `abort` and no window is held against all of the phase so far.

use std::collections::VecDeque;
use std::time::Duration;

use super::evidence::{Answer, Evidence, duration_text};
use super::grammar::{Assertion, Expr};
use super::outcome::{AssertionStatus, scope};
use crate::collector::snapshot::Interval;
use crate::collector::summary::PhaseInfo;
use crate::condition::expect::Expect;

/// Watches a run, a second at a time. The default watches nothing.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    watches: Vec<WatchedAssertion>,
    expects: Vec<Expect>,
    phases: Vec<OpenPhase>,
}

impl Windows {
    /// For these assertions; those without window and `abort` are passed over.
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

    /// Takes one second of the run. Returns the index of the assertion that ends it, if one does.
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

    /// What became of the assertion of this index: `None` if it does not depend on the course of the run.
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

/// When a phase is open.
#[derive(Clone, Debug)]
struct OpenPhase {
    /// The second of its first arrival.
    since: Option<Duration>,
    length: Option<Duration>,
}

impl OpenPhase {
    /// Whether this second lies wholly within the phase.
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
    /// The seconds of the window, or one entry that grows if there is no window.
    seconds: VecDeque<Evidence>,
    /// The first failure.
    broken: Option<Answer>,
    /// The first window that could not be judged.
    unknown: Option<Answer>,
    /// Windows in which it held.
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

    /// Whether it fails with this second.
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
