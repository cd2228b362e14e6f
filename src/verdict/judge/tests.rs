//! Tests of `judge`.

use std::time::Duration;

use super::*;
use crate::collector::Metric;
use crate::collector::snapshot::{Gauges, Health, Interval};
use crate::collector::summary::PhaseInfo;
use crate::collector::tally::Tally;
use crate::collector::tally::{ConditionCount, ConditionKey};
use crate::collector::work::WorkUnit;
use crate::condition::Condition;
use crate::event::{CommandEnd, EventRun};
use crate::smtp::Step;

fn infos() -> [PhaseInfo; 3] {
    ["warm", "a", "b"].map(|name| PhaseInfo {
        name: name.to_owned(),
        warmup: name == "warm",
        unit: "message",
        steady: false,
        sheds: true,
        paced: false,
        max_sessions: 10,
        length: Some(Duration::from_secs(10)),
        total: None,
    })
}

/// Returns accepted arrivals with these times in nanoseconds, by phase.
fn run(phases: [&[u64]; 3]) -> Measured {
    let mut tally = Tally::new(3);
    for (phase_tally, values) in tally.phases.iter_mut().zip(phases) {
        for ns in values {
            phase_tally.counts.scheduled += 1;
            phase_tally.counts.started += 1;
            phase_tally.counts.arrivals.add(Outcome::Accepted);
            let key = (Metric::Response, Outcome::Accepted);
            phase_tally.hists.entry(key).or_default().record(*ns);
        }
    }
    Measured {
        delivered: None,
        tally,
        windows: vec![Duration::from_secs(10); 3],
        held_back: vec![false; 3],
        work: vec![work(10); 3],
        drained_for: vec![Duration::ZERO; 3],
        starts: vec![Duration::ZERO; 3],
        gauges: Gauges::default(),
        peak_sessions: vec![1; 3],
        health: Health::default(),
        interrupted: false,
        aborted_by: None,
        began_at: Duration::ZERO,
        took: Duration::from_secs(30),
        ..Measured::default()
    }
}

/// Returns the work of ten messages, of which this many are done.
fn work(done: u64) -> Work {
    Work { unit: WorkUnit::Messages, asked: 10, done, short_since: None, why: None }
}

#[test]
fn a_run_that_did_less_than_it_was_asked_fails_with_the_sentence() {
    let mut measured = run([&[], &[5; 100], &[5; 100]]);
    let done = |measured: &Measured, expr: &str| {
        let verdict = judge(measured, expr);
        let found = verdict.results.iter().find(|result| result.expr == "done rate == 100%").unwrap();
        (
            verdict.exit_code.number(),
            found.status,
            found.observed.clone(),
            verdict.results.last().unwrap().status,
        )
    };
    let [pass, fail, none] = [AssertionStatus::Pass, AssertionStatus::Fail, AssertionStatus::NoData];
    assert_eq!(done(&measured, "accepted > 0"), (0, pass, "100 %".to_owned(), pass));
    measured.work[1] = Work { why: Some("given up at 3.00 s".to_owned()), ..work(5) };
    let sentence = "75 %: 10 messages asked for, 5 done; given up at 3.00 s";
    assert_eq!(done(&measured, "done rate >= 75%"), (99, fail, sentence.to_owned(), pass));
    assert_eq!(done(&measured, "done rate > 75%").3, fail);
    // A share below 100 % is never rounded to 100 %.
    measured.work[1] = Work { asked: 1_000_000_000, done: 999_999_999, ..work(0) };
    assert_eq!(done(&measured, "accepted > 0").2.split(':').next(), Some("99.9999 %"));
    // A warm-up is not judged, and for unknown work there is no data.
    measured.work = vec![work(0), work(10), work(10)];
    assert_eq!(done(&measured, "accepted > 0").0, 0);
    measured.work = Vec::new();
    assert_eq!(done(&measured, "accepted > 0").1, none);
}

fn judge_with(measured: &Measured, assertions: &[Assertion], windows: &Windows) -> Verdict {
    let summary = Summary::new(measured, &infos());
    Verdict::judge(measured, &summary, &[], assertions, windows)
}

fn judge(measured: &Measured, expr: &str) -> Verdict {
    let mut assertions = Assertion::builtin();
    assertions.push(Assertion::parse(expr).unwrap());
    judge_with(measured, &assertions, &Windows::default())
}

#[test]
fn a_sound_run_passes_and_a_broken_assertion_fails_it() {
    let measured = run([&[], &[5; 100], &[]]);
    let verdict = judge(&measured, "p90 < 6ns");
    assert_eq!((verdict.status, verdict.exit_code), (VerdictStatus::Pass, ExitCode::Success));
    assert!(verdict.results[0].builtin && !verdict.results[4].builtin);
    let verdict = judge(&measured, "p90 < 5ns");
    assert_eq!((verdict.status, verdict.exit_code), (VerdictStatus::Fail, ExitCode::Failed));
    assert_eq!(verdict.results[4].observed, "5 ns");
    let verdict = judge(&measured, "p99 < 6ns");
    assert_eq!((verdict.exit_code.number(), verdict.results[4].status), (99, AssertionStatus::NoData));
}

#[test]
fn more_than_one_in_a_hundred_unexpected_fails_and_is_named() {
    let unexpected = |count: u64| {
        let mut measured = run([&[], &[5; 99], &[]]);
        let tally = &mut measured.tally.phases[1];
        tally.counts.scheduled += count;
        tally.counts.started += count;
        tally.counts.arrivals.add_many(Outcome::Malformed, count);
        let key = ConditionKey {
            step: Step::Body,
            condition: Condition::MalformedReply,
            code: None,
            enhanced: None,
            outcome: Outcome::Malformed,
        };
        let (first, last) = (Duration::ZERO, Duration::ZERO);
        tally
            .conditions
            .insert(key, ConditionCount { count, drained: 0, first, last, sample: String::new() });
        judge(&measured, "accepted > 0")
    };
    assert_eq!(unexpected(1).exit_code, ExitCode::Success, "one of a hundred");
    let verdict = unexpected(101);
    assert_eq!(verdict.exit_code, ExitCode::Failed);
    assert_eq!(verdict.results[3].observed, "50.5 %: 101 malformed-reply at body");
}

#[test]
fn m13_a_shed_arrival_fails_the_built_in_assertion() {
    let mut measured = run([&[], &[5; 100], &[]]);
    measured.tally.phases[1].counts.scheduled += 1;
    measured.tally.phases[1].counts.arrivals.add(Outcome::Shed);
    let verdict = judge(&measured, "accepted == 100");
    let statuses: Vec<_> = verdict.results.iter().map(|r| r.status).collect();
    let [pass, fail] = [AssertionStatus::Pass, AssertionStatus::Fail];
    assert_eq!((statuses, verdict.exit_code.number()), (vec![pass, fail, pass, pass, pass], 99));
}

#[test]
fn without_a_phase_all_measured_phases_are_one_distribution() {
    // The median of the union is 100; the mean of the medians would be 505.
    let measured = run([&[7_000; 500], &[100; 20], &[910; 10]]);
    assert_eq!(judge(&measured, "p50 == 100ns").exit_code, ExitCode::Success);
    assert_eq!(judge(&measured, "accepted == 30").exit_code, ExitCode::Success);
    assert_eq!(judge(&measured, "accepted rate == 1.5/s").exit_code, ExitCode::Success, "30 in 20 s");
    let of_phase = |phase: &str, expr: &str| {
        let assertion = Assertion { phase: Some(phase.to_owned()), ..Assertion::parse(expr).unwrap() };
        judge_with(&measured, &[assertion], &Windows::default()).results.remove(0)
    };
    assert_eq!(of_phase("b", "p50 == 910ns").status, AssertionStatus::Pass);
    assert_eq!(of_phase("warm", "accepted > 0").observed, "a warm-up phase is not measured");
    assert_eq!(of_phase("c", "accepted > 0").observed, "no such phase");
    assert_eq!(of_phase("b", "expect.x > 0").observed, "no such expect");
    assert_eq!(of_phase("c", "accepted > 0").status, AssertionStatus::NoData);
}

#[test]
fn exit_codes_have_an_order() {
    let mut measured = run([&[1; 9], &[], &[]]);
    let code = |measured: &Measured| {
        let verdict = judge(measured, "p50 < 1ns");
        assert_eq!(verdict.results.len(), 5, "all are judged in any case");
        (verdict.status, verdict.exit_code.number())
    };
    assert_eq!(code(&measured), (VerdictStatus::NoData, 4), "a warm-up is no measurement");
    measured.health.lost_workers = 1;
    assert_eq!(code(&measured), (VerdictStatus::Invalid, 98));
    measured.interrupted = true;
    assert_eq!(code(&measured), (VerdictStatus::Interrupted, 105));
    let mut broken = run([&[], &[1; 9], &[]]);
    assert_eq!(code(&broken), (VerdictStatus::Fail, 99));
    broken.health.lost_workers = 1;
    assert_eq!(code(&broken), (VerdictStatus::Invalid, 98), "98 outranks 99");
}

#[test]
fn windowed_assertions_are_judged_by_their_windows() {
    let measured = run([&[], &[5; 100], &[]]);
    let windowed = Assertion {
        window: Some(Duration::from_secs(2)),
        abort: true,
        ..Assertion::parse("accepted >= 20").unwrap()
    };
    let one = [windowed];
    let unwatched = judge_with(&measured, &one, &Windows::default());
    assert_eq!(unwatched.results[0].observed, "its windows were not watched");
    let mut windows = Windows::new(&one, &infos(), &[]);
    let mut second = |start, accepted: &[u64]| {
        let second = Interval {
            transactions: Vec::new(),
            start: Duration::from_secs(start),
            length: Duration::from_secs(1),
            tally: run([&[], accepted, &[]]).tally,
            gauges: Gauges::default(),
        };
        windows.feed(&second, &|_| (Some(Duration::ZERO), Duration::MAX))
    };
    assert_eq!((second(0, &[5; 10]), second(1, &[5; 10])), (None, None));
    let mut broken = second;
    assert_eq!(broken(2, &[5; 9]), Some(0));
    let mut measured = measured;
    measured.aborted_by = Some("accepted >= 20".to_owned());
    let verdict = judge_with(&measured, &one, &windows);
    assert_eq!(verdict.exit_code, ExitCode::Failed);
    assert_eq!(verdict.results[0].observed, "19 between 1 s and 3 s of the run");
}

#[test]
fn a_time_of_an_event_is_not_judged_while_its_command_runs() {
    let event = |end: Option<CommandEnd>| EventRun {
        name: "restart".to_owned(),
        command: "true".to_owned(),
        due: Some(Duration::from_secs(5)),
        started: Some(Duration::from_secs(5)),
        ended: end.as_ref().map(|_| Duration::from_secs(6)),
        end,
        output: String::new(),
    };
    let mut measured = run([&[], &[5; 100], &[]]);
    for (end, expected) in
        [(None, AssertionStatus::NoData), (Some(CommandEnd::Exited(0)), AssertionStatus::Pass)]
    {
        measured.events = vec![event(end)];
        let verdict = judge(&measured, "event.restart.outage < 5s");
        assert_eq!(verdict.results.last().unwrap().status, expected, "{:?}", verdict.results);
    }
}
