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
use super::judge::{AssertionStatus, scope};
use crate::collector::snapshot::Interval;
use crate::collector::summary::PhaseInfo;
use crate::condition::expect::Expect;

/// Watches a run, a second at a time. The default watches nothing.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    watches: Vec<Watch>,
    expects: Vec<Expect>,
    phases: Vec<Open>,
}

impl Windows {
    /// For these assertions; those without window and `abort` are passed over.
    pub fn new(assertions: &[Assertion], phases: &[PhaseInfo], expects: &[Expect]) -> Windows {
        let watched = |(index, assertion): (usize, &Assertion)| {
            if assertion.window.is_none() && !assertion.abort {
                return None;
            }
            let scope = scope(assertion, phases).ok()?;
            Some(Watch::new(index, assertion, scope))
        };
        Windows {
            watches: assertions.iter().enumerate().filter_map(watched).collect(),
            expects: expects.to_vec(),
            phases: phases.iter().map(|phase| Open { since: None, length: phase.length }).collect(),
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
struct Open {
    /// The second of its first arrival.
    since: Option<Duration>,
    length: Option<Duration>,
}

impl Open {
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
struct Watch {
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

impl Watch {
    fn new(index: usize, assertion: &Assertion, scope: Vec<usize>) -> Watch {
        Watch {
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
    fn feed(&mut self, interval: &Interval, phases: &[Open], expects: &[Expect]) -> bool {
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
mod tests {
    use super::*;
    use crate::collector::Outcome;
    use crate::collector::snapshot::Gauges;
    use crate::collector::tally::Tally;

    fn info(name: &str, seconds: Option<u64>) -> PhaseInfo {
        PhaseInfo {
            name: name.to_owned(),
            warmup: name == "warm",
            unit: "message",
            steady: true,
            sheds: false,
            paced: false,
            max_sessions: 10,
            length: seconds.map(Duration::from_secs),
        }
    }

    /// One second of two phases; in each so many were accepted and so many deferred.
    fn second(start: u64, phases: [(u64, u64); 2]) -> Interval {
        let mut tally = Tally::new(2);
        for (books, (accepted, deferred)) in tally.phases.iter_mut().zip(phases) {
            books.counts.scheduled = accepted + deferred;
            books.counts.started = accepted + deferred;
            (0..accepted).for_each(|_| books.counts.arrivals.add(Outcome::Accepted));
            (0..deferred).for_each(|_| books.counts.arrivals.add(Outcome::Deferred));
        }
        Interval {
            start: Duration::from_secs(start),
            length: Duration::from_secs(1),
            tally,
            gauges: Gauges::default(),
        }
    }

    fn assertion(expr: &str, window: Option<u64>, abort: bool) -> Assertion {
        Assertion { window: window.map(Duration::from_secs), abort, ..Assertion::parse(expr).unwrap() }
    }

    /// Feeds a phase of these (accepted, deferred) a second; says in which second and by whom it was ended.
    fn watch(windows: &mut Windows, seconds: &[(u64, u64)]) -> Option<(usize, usize)> {
        let fed = |(i, counts): (usize, &(u64, u64))| {
            windows.feed(&second(i as u64, [*counts, (0, 0)])).map(|who| (i, who))
        };
        seconds.iter().enumerate().find_map(fed)
    }

    #[test]
    fn a_window_slides_and_the_first_bad_one_ends_the_run() {
        let phases = [info("a", Some(10)), info("b", Some(10))];
        let assertions =
            [assertion("accepted > 0", None, false), assertion("unexpected rate < 10%", Some(3), true)];
        let mut windows = Windows::new(&assertions, &phases, &[]);
        // A bad second alone is diluted to 1 in 15; two together are 2 in 15.
        let course = [(5, 0), (5, 0), (4, 1), (5, 0), (5, 0), (5, 0), (4, 1), (4, 1), (5, 0)];
        assert_eq!(watch(&mut windows, &course), Some((7, 1)));
        assert_eq!(windows.answer(0), None);
        let answer = windows.answer(1).unwrap();
        assert_eq!(answer.status, AssertionStatus::Fail);
        assert_eq!(answer.observed, "13.3333 % between 5 s and 8 s of the run");
    }

    #[test]
    fn without_abort_it_must_hold_in_every_full_window() {
        let phases = [info("a", Some(10)), info("b", Some(10))];
        let judge = |course: &[(u64, u64)]| {
            let mut windows =
                Windows::new(&[assertion("accepted rate >= 4/s", Some(3), false)], &phases, &[]);
            assert_eq!(watch(&mut windows, course), None);
            windows.answer(0).unwrap()
        };
        assert_eq!(judge(&[(5, 0); 2]).status, AssertionStatus::NoData);
        let held = judge(&[(5, 0); 10]);
        assert_eq!(
            (held.status, &held.observed[..]),
            (AssertionStatus::Pass, "held in each of 8 windows of 3 s")
        );
        let drained = [[(5, 0); 10], [(0, 0); 10]].concat();
        assert_eq!(judge(&drained), held, "the drain is no part of the phase");
        let stalled = [[(5, 0); 3], [(0, 0); 3], [(9, 0); 3]].concat();
        assert_eq!(judge(&stalled).status, AssertionStatus::Fail);
    }

    #[test]
    fn grace_is_not_judged_and_abort_without_window_sees_all_so_far() {
        let phases = [info("a", Some(10)), info("b", Some(10))];
        let graceful =
            Assertion { grace: Duration::from_secs(3), ..assertion("unexpected rate < 50%", None, true) };
        let mut windows = Windows::new(std::slice::from_ref(&graceful), &phases, &[]);
        assert_eq!(watch(&mut windows, &[(0, 5), (5, 0), (6, 0), (5, 0)]), None);
        assert_eq!(windows.answer(0), None, "the verdict asks the whole run");
        let mut windows = Windows::new(&[graceful], &phases, &[]);
        assert_eq!(watch(&mut windows, &[(0, 5), (5, 0), (0, 5), (5, 0)]), Some((2, 0)));
    }

    #[test]
    fn only_the_phases_meant_are_watched() {
        let phases = [info("warm", Some(2)), info("b", None)];
        let assertions = [
            assertion("unexpected == 0", Some(1), true),
            Assertion { phase: Some("warm".to_owned()), ..assertion("accepted > 0", Some(1), true) },
            Assertion { phase: Some("c".to_owned()), ..assertion("accepted > 0", Some(1), true) },
        ];
        let mut windows = Windows::new(&assertions, &phases, &[]);
        assert_eq!(windows.feed(&second(0, [(0, 9), (0, 0)])), None, "a warm-up is not measured");
        assert_eq!(windows.feed(&second(1, [(0, 9), (5, 0)])), None);
        assert_eq!(windows.feed(&second(2, [(0, 0), (5, 1)])), Some(0));
        assert_eq!((windows.answer(1), windows.answer(2)), (None, None));
    }

    #[test]
    fn no_window_reaches_over_a_gap_between_phases() {
        let phases = [info("a", Some(2)), info("b", Some(2))];
        let mut windows = Windows::new(&[assertion("accepted > 0", Some(3), true)], &phases, &[]);
        let course = [[(5, 0), (0, 0)], [(5, 0), (0, 0)], [(0, 0); 2], [(0, 0), (5, 0)]];
        for (start, counts) in course.into_iter().enumerate() {
            assert_eq!(windows.feed(&second(start as u64, counts)), None);
        }
        assert_eq!(windows.answer(0).unwrap().observed, "no full window of 3 s");
    }

    #[test]
    fn a_window_that_cannot_be_judged_leaves_the_whole_without_data() {
        let phases = [info("a", Some(9)), info("b", Some(9))];
        let mut windows = Windows::new(&[assertion("p99 < 1s", Some(2), true)], &phases, &[]);
        assert_eq!(watch(&mut windows, &[(5, 0); 5]), None);
        assert_eq!(windows.answer(0).unwrap().status, AssertionStatus::NoData);
    }
}
