//! Tests of `window`.

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

/// Returns one second of two phases, each with these numbers of accepted and deferred arrivals.
fn second(start: u64, phases: [(u64, u64); 2]) -> Interval {
    let mut tally = Tally::new(2);
    for (phase_tally, (accepted, deferred)) in tally.phases.iter_mut().zip(phases) {
        phase_tally.counts.scheduled = accepted + deferred;
        phase_tally.counts.started = accepted + deferred;
        (0..accepted).for_each(|_| phase_tally.counts.arrivals.add(Outcome::Accepted));
        (0..deferred).for_each(|_| phase_tally.counts.arrivals.add(Outcome::Deferred));
    }
    Interval {
        transactions: Vec::new(),
        start: Duration::from_secs(start),
        length: Duration::from_secs(1),
        tally,
        gauges: Gauges::default(),
    }
}

fn assertion(expr: &str, window: Option<u64>, abort: bool) -> Assertion {
    Assertion { window: window.map(Duration::from_secs), abort, ..Assertion::parse(expr).unwrap() }
}

/// Feeds a phase with these (accepted, deferred) counts for each second. Returns the second in which an assertion ended
/// the run, and the index of the assertion.
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
    let counts = [(5, 0), (5, 0), (4, 1), (5, 0), (5, 0), (5, 0), (4, 1), (4, 1), (5, 0)];
    assert_eq!(watch(&mut windows, &counts), Some((7, 1)));
    assert_eq!(windows.answer(0), None);
    let answer = windows.answer(1).unwrap();
    assert_eq!(answer.status, AssertionStatus::Fail);
    assert_eq!(answer.observed, "13.3333 % between 5 s and 8 s of the run");
}

#[test]
fn without_abort_it_must_hold_in_every_full_window() {
    let phases = [info("a", Some(10)), info("b", Some(10))];
    let judge = |counts: &[(u64, u64)]| {
        let mut windows = Windows::new(&[assertion("accepted rate >= 4/s", Some(3), false)], &phases, &[]);
        assert_eq!(watch(&mut windows, counts), None);
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
    let counts = [[(5, 0), (0, 0)], [(5, 0), (0, 0)], [(0, 0); 2], [(0, 0), (5, 0)]];
    for (start, counts) in counts.into_iter().enumerate() {
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
