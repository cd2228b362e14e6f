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
        total: None,
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

/// The start and the end of a phase.
type Span = (Option<Duration>, Duration);

/// Returns the span of a phase from `start` to `end`, in milliseconds.
fn span(start: u64, end: u64) -> Span {
    (Some(Duration::from_millis(start)), Duration::from_millis(end))
}

/// Feeds a phase with these (accepted, deferred) counts for each second. Returns the second in which an assertion ended
/// the run, and the index of the assertion.
fn watch(windows: &mut Windows, seconds: &[(u64, u64)]) -> Option<(usize, usize)> {
    let fed = |(i, counts): (usize, &(u64, u64))| {
        windows.feed(&second(i as u64, [*counts, (0, 0)]), &|_| span(0, 10_000)).map(|who| (i, who))
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
    let spans = |phase: usize| [span(0, 2000), (Some(Duration::from_secs(1)), Duration::MAX)][phase];
    assert_eq!(windows.feed(&second(0, [(0, 9), (0, 0)]), &spans), None, "a warm-up is not measured");
    assert_eq!(windows.feed(&second(1, [(0, 9), (5, 0)]), &spans), None);
    assert_eq!(windows.feed(&second(2, [(0, 0), (5, 1)]), &spans), Some(0));
    assert_eq!((windows.answer(1), windows.answer(2)), (None, None));
}

#[test]
fn no_window_reaches_over_a_gap_between_phases() {
    let phases = [info("a", Some(2)), info("b", Some(2))];
    let mut windows = Windows::new(&[assertion("accepted > 0", Some(3), true)], &phases, &[]);
    let counts = [[(5, 0), (0, 0)], [(5, 0), (0, 0)], [(0, 0); 2], [(0, 0), (5, 0)]];
    let spans = |phase: usize| [span(0, 2000), span(3000, 5000)][phase];
    for (start, counts) in counts.into_iter().enumerate() {
        assert_eq!(windows.feed(&second(start as u64, counts), &spans), None);
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

/// Feeds two phases, and returns what became of the first assertion.
fn judged(mut windows: Windows, spans: [Span; 2], seconds: &[[(u64, u64); 2]]) -> (AssertionStatus, String) {
    for (i, counts) in seconds.iter().enumerate() {
        windows.feed(&second(i as u64, *counts), &|phase| spans[phase]);
    }
    let answer = windows.answer(0).unwrap();
    (answer.status, answer.observed)
}

/// A phase that never starts.
const NEVER: Span = (None, Duration::MAX);

#[test]
fn a_second_in_which_no_phase_is_open_to_its_end_is_not_judged() {
    let at_least = [assertion("accepted rate >= 4/s", Some(1), false)];
    let judge = |phase: PhaseInfo, span: Span, accepted: &[u64]| {
        let windows = Windows::new(&at_least, &[phase, info("warm", Some(10))], &[]);
        let seconds: Vec<_> = accepted.iter().map(|accepted| [(*accepted, 0), (0, 0)]).collect();
        judged(windows, [span, NEVER], &seconds)
    };
    let held = |windows: u64| (AssertionStatus::Pass, format!("held in each of {windows} windows of 1 s"));
    // It starts and ends within a second.
    assert_eq!(judge(info("a", None), span(1500, 5000), &[0, 2, 4, 4, 4, 0]), held(3));
    assert_eq!(judge(info("a", None), span(1000, 4500), &[0, 4, 4, 4, 2, 0]), held(3));
    // Where the start is not known, the second of the first arrival is not judged.
    assert_eq!(judge(info("a", None), (None, Duration::from_secs(4)), &[0, 2, 4, 4, 0]), held(2));
    // The first arrival comes late, and the phase ends on time all the same.
    assert_eq!(judge(info("a", None), span(0, 3000), &[0, 4, 4, 0, 0]), held(2));
    // The last arrival is scheduled within a second.
    let ten = PhaseInfo { total: Some(10), ..info("a", None) };
    let (since, end) = (Some(Duration::ZERO), Duration::MAX);
    assert_eq!(judge(ten, (since, end), &[4, 4, 2, 0]), held(2));
}

#[test]
fn a_phase_as_long_as_a_window_has_one_wherever_it_starts() {
    let assertions = [assertion("accepted rate >= 4/s", Some(3), false)];
    let judge = |span: Span, accepted: &[u64]| {
        let windows = Windows::new(&assertions, &[info("a", None), info("warm", Some(10))], &[]);
        let seconds: Vec<_> = accepted.iter().map(|accepted| [(*accepted, 0), (0, 0)]).collect();
        judged(windows, [span, NEVER], &seconds)
    };
    let held = (AssertionStatus::Pass, "held in each of 1 windows of 3 s".to_owned());
    assert_eq!(judge(span(500, 3500), &[2, 4, 4, 2, 0]), held);
    let failed = (AssertionStatus::Fail, "3.5/s between 1 s and 3 s of the run".to_owned());
    assert_eq!(judge(span(500, 3500), &[2, 4, 3, 2, 0]), failed);
    let none = (AssertionStatus::NoData, "no full window of 3 s".to_owned());
    assert_eq!(judge(span(500, 3400), &[2, 4, 4, 2, 0]), none, "it is shorter than a window");
}

#[test]
fn a_phase_with_a_number_of_arrivals_is_open_while_they_stand_still() {
    let ten = PhaseInfo { total: Some(10), ..info("a", None) };
    let assertions = [assertion("accepted rate >= 4/s", Some(2), false)];
    let windows = Windows::new(&assertions, &[ten, info("warm", Some(10))], &[]);
    let seconds = [[(4, 0), (0, 0)], [(0, 0), (0, 0)], [(0, 0), (0, 0)], [(6, 0), (0, 0)]];
    let (status, observed) = judged(windows, [(Some(Duration::ZERO), Duration::MAX), NEVER], &seconds);
    assert_eq!((status, &observed[..]), (AssertionStatus::Fail, "2/s between 0 s and 2 s of the run"));
}

#[test]
fn a_second_that_one_phase_ends_and_the_next_one_starts_is_whole() {
    let phase = |name| PhaseInfo { length: Some(Duration::from_millis(1500)), ..info(name, None) };
    let assertions = [assertion("accepted rate >= 4/s", Some(3), false)];
    let windows = Windows::new(&assertions, &[phase("a"), phase("b")], &[]);
    let seconds = [[(4, 0), (0, 0)], [(2, 0), (2, 0)], [(0, 0), (4, 0)]];
    let held = (AssertionStatus::Pass, "held in each of 1 windows of 3 s".to_owned());
    assert_eq!(judged(windows, [span(0, 1500), span(1500, 3000)], &seconds), held);
}

#[test]
fn what_ends_after_the_last_window_is_judged_with_it() {
    let judge = |expr: &str, seconds: &[(u64, u64)]| {
        let phases = [info("a", Some(4)), info("warm", Some(10))];
        let windows = Windows::new(&[assertion(expr, Some(2), false)], &phases, &[]);
        let seconds: Vec<_> = seconds.iter().map(|counts| [*counts, (0, 0)]).collect();
        judged(windows, [span(0, 4000), NEVER], &seconds)
    };
    // The listener stops in the last second, and what hangs ends when its time is over.
    let hung = [(5, 0), (5, 0), (5, 0), (4, 0), (0, 0), (0, 1)];
    let failed = |observed: &str| {
        (AssertionStatus::Fail, format!("{observed} in the last 2 s of a phase and after it"))
    };
    assert_eq!(judge("unexpected rate < 10%", &hung), failed("10 %"));
    assert_eq!(judge("unexpected == 0", &hung), failed("1"));
    // A rate has no such part, and other counts are those of a window.
    for expr in ["accepted rate >= 4/s", "unexpected < 2", "unexpected rate < 11%"] {
        assert_eq!(judge(expr, &hung).0, AssertionStatus::Pass, "{expr}");
    }
}

#[test]
fn what_ends_in_a_later_phase_counts_there() {
    let phases = [info("a", Some(2)), info("b", Some(2))];
    let windows = Windows::new(&[assertion("unexpected == 0", Some(1), false)], &phases, &[]);
    let seconds = [[(5, 0), (0, 0)], [(5, 0), (0, 0)], [(0, 1), (5, 0)], [(0, 0), (5, 0)]];
    let (status, observed) = judged(windows, [span(0, 2000), span(2000, 4000)], &seconds);
    assert_eq!((status, &observed[..]), (AssertionStatus::Fail, "1 between 2 s and 3 s of the run"));
}
