//! Assertions that are evaluated during the run: those over sliding windows, and those that may abort it.
//!
//! # Decisions
//! - A window consists of whole seconds in which phases are open. A phase is open from its start for its length, and at
//!   the most until its last arrival is scheduled if it has a number of arrivals. The drain does not count: nothing is
//!   offered then, and each rate would fall.
//! - An arrival counts in the second in which it ends. Those of an earlier phase of the assertion that end in a second of a
//!   later one count there.
//! - What ends after the last second of a window is judged with that window, if the assertion is about times, a share, or
//!   that something never happens: otherwise a listener that stops at the end of its phase would pass. A rate in 1/s and
//!   other counts have no such part.
//! - If the start of a phase is not known, the phase is open from the end of the second of its first scheduled arrival.
//! - Phases that are open for at least the length of a window have at least one: if they start or end within a second, the
//!   whole seconds between are one.
//! - The window of an assertion without a phase slides over all measured phases. A second that one phase ends and the next
//!   one starts is whole. A gap between two phases starts a new window.
//! - An assertion with `abort` and no window is evaluated over everything in its phases so far.

use std::collections::VecDeque;
use std::time::Duration;

use super::evidence::{Answer, Evidence, duration_text};
use super::grammar::{Aggregate, Assertion, Expr};
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
            phases: phases.iter().map(OpenPhase::new).collect(),
        }
    }

    /// Adds one second of the run. `span_of` returns when the load of a phase starts (`None`: not known) and ends
    /// (`Duration::MAX`: time does not end it), by index. Returns the index of the assertion that aborts the run, if one
    /// does.
    pub fn feed(
        &mut self,
        interval: &Interval,
        span_of: &dyn Fn(usize) -> (Option<Duration>, Duration),
    ) -> Option<usize> {
        let Windows { watches, expects, phases } = self;
        for (index, (phase, tally)) in phases.iter_mut().zip(&interval.tally.phases).enumerate() {
            phase.add(interval, tally.counts.scheduled, span_of(index));
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
        if let Some(broken) = watch.broken_after_its_phase(&length) {
            return Some(broken);
        }
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
    /// The start and the end; `None` before the first scheduled arrival.
    open: Option<(Duration, Duration)>,
    /// The number of arrivals that are still to be scheduled; `None`: only time ends the phase.
    to_schedule: Option<u64>,
}

impl OpenPhase {
    fn new(info: &PhaseInfo) -> OpenPhase {
        OpenPhase { open: None, to_schedule: info.total }
    }

    /// Adds a second with this number of scheduled arrivals.
    fn add(&mut self, interval: &Interval, scheduled: u64, (start, end): (Option<Duration>, Duration)) {
        if self.open.is_none() && scheduled > 0 {
            self.open = Some((start.unwrap_or(interval.start + interval.length), end));
        }
        if let Some(left) = &mut self.to_schedule {
            *left = left.saturating_sub(scheduled);
        }
    }

    /// Returns for how much of the second the phase is open.
    fn overlap(&self, interval: &Interval) -> Duration {
        let Some((since, end)) = self.open.filter(|_| self.to_schedule != Some(0)) else {
            return Duration::ZERO;
        };
        (interval.start + interval.length).min(end).saturating_sub(interval.start.max(since))
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
    /// How long phases have been open since none was.
    stretch: Duration,
    /// The last window that was judged, until no phase is open; `None`: there is none.
    judged: Option<Evidence>,
    /// The last window before each time without an open phase, with all that ended in that time.
    tails: Vec<Evidence>,
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
            stretch: Duration::ZERO,
            judged: None,
            tails: Vec::new(),
        }
    }

    /// Whether what ends after a window is judged with it.
    fn judges_tails(&self) -> bool {
        match self.expr.aggregate {
            Aggregate::PerSecond => false,
            Aggregate::Count => self.expr.value < 1.0,
            _ => true,
        }
    }

    /// Returns the failure of a last window with what ended after it, if there is one. `length`: of the window, as text.
    fn broken_after_its_phase(&self, length: &str) -> Option<Answer> {
        let mut answers = self.tails.iter().map(|tail| tail.answer(&self.expr));
        let broken = answers.find(|answer| answer.status == AssertionStatus::Fail)?;
        let observed = format!("{} in the last {length} of a phase and after it", broken.observed);
        Some(Answer { observed, ..broken })
    }

    /// Adds a second. Returns whether the assertion fails for the first time with it.
    fn feed(&mut self, interval: &Interval, phases: &[OpenPhase], expects: &[Expect]) -> bool {
        let open: Duration = self.scope.iter().map(|i| phases[*i].overlap(interval)).sum();
        let mut second = Evidence::default();
        for phase in &self.scope {
            let tally = &interval.tally.phases[*phase];
            second.add(&Evidence::gather(&self.expr, expects, tally, interval.length));
        }
        self.stretch += open;
        if open < interval.length {
            return self.window.is_some_and(|window| self.close(window, open, interval, phases, second));
        }
        self.take(second.over(interval.length));
        let is_full = self.window.is_none_or(|window| self.length() >= window);
        is_full && self.judge(interval.start + interval.length, phases)
    }

    /// Adds a second in which phases are open for `open` only. Returns whether the assertion fails for the first time.
    fn close(
        &mut self,
        window: Duration,
        open: Duration,
        interval: &Interval,
        phases: &[OpenPhase],
        second: Evidence,
    ) -> bool {
        let is_end = !self.seconds.is_empty();
        let is_short = is_end && self.judged.is_none() && self.stretch >= window;
        let failed = is_short && self.judge(interval.start, phases);
        self.seconds.clear();
        self.stretch = if is_end { Duration::ZERO } else { open };
        self.tails.extend(self.judged.take().filter(|_| self.judges_tails()));
        if let Some(tail) = self.tails.last_mut() {
            tail.add(&second.over(Duration::ZERO));
        }
        failed
    }

    /// Judges the seconds of the window, which ends at `to`, unless the grace is not over or the assertion has failed before.
    /// Returns whether it fails.
    fn judge(&mut self, to: Duration, phases: &[OpenPhase]) -> bool {
        let since = self.scope.iter().filter_map(|i| phases[*i].open).map(|(since, _)| since).min();
        if to < since.unwrap_or_default() + self.grace || self.broken.is_some() {
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
                let from = to.saturating_sub(whole.window());
                let observed =
                    format!("{} between {} and {} of the run", answer.observed, time(from), time(to));
                self.broken = Some(Answer { observed, ..answer });
            }
        }
        self.judged = Some(whole);
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

/// Returns a time of the run as text.
fn time(at: Duration) -> String {
    if at.is_zero() { "0 s".to_owned() } else { duration_text(at.as_nanos() as f64) }
}

#[cfg(test)]
mod tests;
