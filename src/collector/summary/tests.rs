//! Summaries with known results.

use super::*;
use crate::collector::agents::{AgentEnd, AgentRun};
use crate::collector::delivery::{Delivered, ReceiverHealth};
use crate::collector::histogram::Status;
use crate::collector::snapshot::Gauges;
use crate::collector::tally::{ConditionCount, Tally};
use crate::condition::Condition;
use crate::event::{CommandEnd, EventRun};
use crate::smtp::Step;

const MS: u64 = 1_000_000;

fn info(name: &str) -> PhaseInfo {
    PhaseInfo {
        name: name.to_owned(),
        warmup: false,
        unit: "message",
        steady: true,
        sheds: false,
        paced: false,
        max_sessions: 100,
        length: Some(Duration::from_secs(10)),
        total: None,
    }
}

/// Returns a run of empty phases of 10 s.
fn run(phases: usize) -> Measured {
    Measured {
        delivered: None,
        tally: Tally::new(phases),
        windows: vec![Duration::from_secs(10); phases],
        held_back: vec![false; phases],
        work: Vec::new(),
        drained_for: vec![Duration::ZERO; phases],
        starts: (0..phases as u64).map(|i| Duration::from_secs(10 * i)).collect(),
        gauges: Gauges::default(),
        peak_sessions: vec![3; phases],
        health: Health::default(),
        interrupted: false,
        aborted_by: None,
        began_at: Duration::ZERO,
        took: Duration::from_secs(10 * phases as u64),
        ..Measured::default()
    }
}

/// Adds `n` arrivals with this outcome, each with a response time and a service time of `ns`.
fn end(tally: &mut PhaseTally, outcome: Outcome, n: u64, ns: u64) {
    for _ in 0..n {
        tally.counts.scheduled += 1;
        tally.counts.arrivals.add(outcome);
        if outcome == Outcome::Shed {
            continue;
        }
        tally.counts.started += 1;
        for metric in [Metric::Response, Metric::Service] {
            tally.hists.entry((metric, outcome)).or_default().record(ns);
        }
        tally.hists.entry((Metric::Lag, outcome)).or_default().record(1);
    }
}

fn codes(measured: &Measured, phases: &[PhaseInfo]) -> Vec<Code> {
    Summary::new(measured, phases).validity.reasons.into_iter().map(|r| r.code).collect()
}

fn set_lag(measured: &mut Measured, lags: impl IntoIterator<Item = u64>) {
    let mut hist = Hist::default();
    lags.into_iter().for_each(|ns| hist.record(ns));
    measured.tally.phases[0].hists.insert((Metric::Lag, Outcome::Accepted), hist);
}

#[test]
fn m21_the_three_rates_share_the_window() {
    let mut measured = run(1);
    end(&mut measured.tally.phases[0], Outcome::Accepted, 300, MS);
    end(&mut measured.tally.phases[0], Outcome::Deferred, 60, MS);
    end(&mut measured.tally.phases[0], Outcome::Shed, 40, 0);
    let phase = &Summary::new(&measured, &[info("a")]).phases[0];
    assert_eq!((phase.offered_per_s, phase.started_per_s, phase.accepted_per_s), (40.0, 36.0, 30.0));
    assert_eq!(per_second(5, Duration::ZERO), 0.0);
}

#[test]
fn m12_accepted_percentiles_reckon_with_arrivals_without_an_end_and_m22_rows_stay_apart() {
    let mut measured = run(1);
    let tally = &mut measured.tally.phases[0];
    (1..=90).for_each(|i| end(tally, Outcome::Accepted, 1, i));
    end(tally, Outcome::TimedOut, 6, 5000);
    end(tally, Outcome::Interrupted, 4, 4000);
    end(tally, Outcome::Refused, 1000, 1);
    let summary = Summary::new(&measured, &[info("a")]);
    let row = |metric, outcome| {
        let rows = &summary.phases[0].metrics;
        rows.iter().find(|r| r.metric == metric && r.outcome == outcome).unwrap()
    };
    let accepted = row(Metric::Response, Outcome::Accepted);
    assert_eq!((accepted.count, accepted.censored), (90, 10));
    assert_eq!((accepted.min_ns, accepted.max_ns, accepted.mean_ns), (1, 90, 45.5));
    let [p50, p90, p95, p99, ..] = accepted.quantiles[..] else { panic!("six quantiles") };
    assert_eq!((p50.value_ns, p50.status), (50, Status::Exact), "a thousand refusals do not matter");
    assert_eq!((p90.value_ns, p90.status), (90, Status::Exact));
    assert_eq!(p95.status, Status::AtLeast);
    assert_eq!(p99.status, Status::NotAvailable);
    assert_eq!(row(Metric::Response, Outcome::TimedOut).censored, 0);
    assert_eq!(row(Metric::Lag, Outcome::Accepted).censored, 0);
}

#[test]
fn m10_counts_that_do_not_reconcile_are_a_fault() {
    let mut measured = run(2);
    end(&mut measured.tally.phases[1], Outcome::Accepted, 500, MS);
    assert_eq!(codes(&measured, &[info("a"), info("b")]), []);
    measured.tally.phases[1].counts.scheduled += 1;
    assert_eq!(codes(&measured, &[info("a"), info("b")]), [Code::Counts]);
    measured.tally.phases[1].counts.scheduled -= 1;
    measured.tally.phases[1].counts.attempted += 1;
    let summary = Summary::new(&measured, &[info("a"), PhaseInfo { warmup: true, ..info("b") }]);
    let [reason] = &summary.validity.reasons[..] else { panic!("one reason") };
    assert_eq!((reason.code, reason.phase), (Code::Counts, Some(1)));
    assert!(reason.sentence.contains("phase `b`"));
    assert!(reason.sentence.ends_with("transactions started is 1, but their outcomes is 0"));
}

#[test]
fn m20_littles_law_warns_of_steady_phases_only() {
    let mut measured = run(1);
    let counts = &mut measured.tally.phases[0].counts;
    counts.in_flight_ns = 100_000;
    let mut warnings = |service, phase: PhaseInfo| {
        measured.tally.phases[0].counts.service_ns = service;
        Summary::new(&measured, &[phase]).warnings
    };
    assert!(warnings(95_000, info("a")).is_empty());
    assert!(warnings(105_000, info("a")).is_empty());
    assert!(warnings(94_999, info("a"))[0].contains("phase `a`"));
    assert_eq!(warnings(105_001, info("a")).len(), 1);
    assert!(warnings(1, PhaseInfo { steady: false, ..info("a") }).is_empty());
    assert!(warnings(1, PhaseInfo { warmup: true, ..info("a") }).is_empty());
}

#[test]
fn m23_lag_is_held_against_5_ms_or_5_percent_of_the_median_service_time() {
    let mut measured = run(1);
    end(&mut measured.tally.phases[0], Outcome::Accepted, 200, 10 * MS);
    let with_lag = |measured: &mut Measured, late: u64, by: u64| {
        set_lag(measured, (0..200).map(|i| if i < late { by } else { 1 }));
        codes(measured, &[info("a")])
    };
    assert_eq!(with_lag(&mut measured, 2, 6 * MS), [], "the 198th of 200 was on time");
    assert_eq!(with_lag(&mut measured, 3, 6 * MS), [Code::GeneratorLag]);
    assert_eq!(with_lag(&mut measured, 3, 5 * MS - 10_000), []);
    // A median of 200 ms allows 10 ms.
    end(&mut measured.tally.phases[0], Outcome::Accepted, 300, 200 * MS);
    assert_eq!(with_lag(&mut measured, 3, 9 * MS), []);
    assert_eq!(with_lag(&mut measured, 3, 11 * MS), [Code::GeneratorLag]);
    assert_eq!(codes(&measured, &[PhaseInfo { warmup: true, ..info("a") }]), []);
}

#[test]
fn one_late_start_among_few_is_no_percentile() {
    let mut measured = run(1);
    end(&mut measured.tally.phases[0], Outcome::Accepted, 10, MS);
    set_lag(&mut measured, [1, 1, 1, 50 * MS]);
    assert_eq!(codes(&measured, &[info("a")]), []);
    set_lag(&mut measured, [1, 1, 50 * MS, 50 * MS]);
    assert_eq!(codes(&measured, &[info("a")]), [Code::GeneratorLag]);
    set_lag(&mut measured, [50 * MS]);
    assert_eq!(codes(&measured, &[info("a")]), [Code::GeneratorLag]);
}

#[test]
fn m23_arrivals_not_started_need_a_reason_of_the_profiles() {
    let mut measured = run(1);
    end(&mut measured.tally.phases[0], Outcome::Accepted, 990, MS);
    end(&mut measured.tally.phases[0], Outcome::Shed, 10, 0);
    assert_eq!(codes(&measured, &[info("a")]), [], "99 % are enough");
    end(&mut measured.tally.phases[0], Outcome::Shed, 1, 0);
    assert_eq!(codes(&measured, &[info("a")]), [Code::NotStarted]);
    assert_eq!(codes(&measured, &[PhaseInfo { sheds: true, ..info("a") }]), []);
    let reasons = |paced| Summary::new(&measured, &[PhaseInfo { paced, ..info("a") }]).validity.reasons;
    assert!(reasons(true)[0].sentence.contains("connect_rate held them back"), "{:?}", reasons(true));
    assert!(reasons(false)[0].sentence.contains("more threads"), "{:?}", reasons(false));
    assert_eq!(codes(&measured, &[PhaseInfo { max_sessions: 3, ..info("a") }]), []);
    measured.interrupted = true;
    assert_eq!(codes(&measured, &[info("a")]), []);
}

#[test]
fn m23_m24_every_other_reason() {
    let sound = || {
        let mut measured = run(2);
        end(&mut measured.tally.phases[1], Outcome::Accepted, 10, MS);
        measured.health.cpu_saturated = vec![1.0, 0.05];
        measured.health.clock_drift_ns = 270 * MS;
        let stopped = Hindrance { loop_delay_max_ns: 2000 * MS, ..Hindrance::default() };
        measured.health.hindrances = vec![stopped, Hindrance::default()];
        measured
    };
    let phases = [PhaseInfo { warmup: true, ..info("warm") }, info("b")];
    assert_eq!(codes(&sound(), &phases), [], "a saturated warm-up does not matter");

    let mut measured = sound();
    measured.tally.phases[0].counts.own_failures = 1;
    assert_eq!(codes(&measured, &phases), []);
    measured.tally.phases[1].counts.own_failures = 1;
    assert_eq!(codes(&measured, &phases), [Code::OwnResource]);

    let mut measured = sound();
    let key = ConditionKey {
        step: Step::Connect,
        condition: Condition::OutOfPorts,
        code: None,
        enhanced: None,
        outcome: Outcome::Shed,
    };
    let count = ConditionCount {
        count: 7,
        drained: 0,
        first: Duration::ZERO,
        last: Duration::ZERO,
        sample: String::new(),
    };
    measured.tally.phases[1].conditions.insert(key, count);
    let summary = Summary::new(&measured, &phases);
    assert!(summary.validity.reasons[0].sentence.contains("out-of-ports (7)"));

    let mut measured = sound();
    measured.health.cpu_saturated[1] = 0.06;
    measured.health.clock_drift_ns = 271 * MS;
    measured.health.lost_workers = 1;
    let found = codes(&measured, &phases);
    assert_eq!(found, [Code::GeneratorCpu, Code::ClockJumped, Code::WorkerLost]);
}

#[test]
fn m23_lag_of_just_what_is_allowed_is_no_reason() {
    let phases = [info("a")];
    let lag = |values: &[u64]| {
        let mut measured = run(1);
        end(&mut measured.tally.phases[0], Outcome::Accepted, 300, MS);
        set_lag(&mut measured, values.iter().copied());
        codes(&measured, &phases)
    };
    let mut values = vec![5 * MS; 299];
    values.push(9 * MS);
    assert_eq!(lag(&values), []);
    let mut values = vec![5 * MS + MS / 50; 299];
    values.push(9 * MS);
    assert_eq!(lag(&values), [Code::GeneratorLag]);
}

#[test]
fn m32_a_receiver_may_be_late_in_one_turn_of_a_hundred_and_by_250_ms() {
    let is_valid = |turns, late, lag_max| {
        let mut measured = run(1);
        end(&mut measured.tally.phases[0], Outcome::Accepted, 300, MS);
        let receiver = ReceiverHealth {
            turns,
            late,
            lag_max: Duration::from_millis(lag_max),
            ..ReceiverHealth::default()
        };
        measured.delivered = Some(Box::new(Delivered { receiver, ..Delivered::default() }));
        Summary::new(&measured, &[info("a")]).validity.is_valid()
    };
    assert!(is_valid(200, 2, 90), "exactly 1 % is allowed");
    assert!(!is_valid(199, 2, 90));
    assert!(is_valid(50, 1, 90), "a single late turn is none");
    assert!(is_valid(1000, 1, 250) && !is_valid(1000, 1, 251));
}

fn failed_event(end: CommandEnd) -> EventRun {
    EventRun {
        name: "crash".to_owned(),
        command: "true".to_owned(),
        due: None,
        started: None,
        ended: None,
        end: Some(end),
        output: String::new(),
    }
}

#[test]
fn an_event_that_was_not_done_is_a_reason_unless_the_run_was_stopped() {
    let is_valid = |end: CommandEnd, stopped: bool| {
        let mut measured = run(1);
        measured.events = vec![failed_event(end)];
        measured.interrupted = stopped;
        Summary::new(&measured, &[info("a")]).validity.is_valid()
    };
    for end in [CommandEnd::NotRun, CommandEnd::Stopped] {
        assert!(!is_valid(end.clone(), false) && is_valid(end, true));
    }
    for end in [
        CommandEnd::Signalled(9),
        CommandEnd::Unknown(String::new()),
        CommandEnd::TimedOut(Duration::ZERO),
        CommandEnd::NotStarted(String::new()),
    ] {
        assert!(!is_valid(end.clone(), false) && !is_valid(end, true));
    }
    assert!(is_valid(CommandEnd::Exited(0), false));
}

/// Changes a valid measurement so that it becomes invalid for this reason alone.
fn spoil(measured: &mut Measured, code: Code) {
    let tally = &mut measured.tally.phases[0];
    match code {
        Code::GeneratorLag => set_lag(measured, [50 * MS; 300]),
        Code::NotStarted => end(tally, Outcome::Shed, 10, 0),
        Code::OwnResource => tally.counts.own_failures = 1,
        Code::GeneratorCpu => measured.health.cpu_saturated = vec![0.06],
        Code::GeneratorStalled => {
            measured.health.hindrances =
                vec![Hindrance { loop_delay_max_ns: 2000 * MS, ..Hindrance::default() }];
        }
        Code::GeneratorThrottled => {
            let hindrance = Hindrance { periods: 10, throttled_periods: 9, ..Hindrance::default() };
            measured.health.hindrances = vec![hindrance];
        }
        Code::ClockJumped => measured.health.clock_drift_ns = 1000 * MS,
        Code::WorkerLost => measured.health.lost_workers = 1,
        Code::AgentLost => measured.agents = vec![lost_agent()],
        Code::ShardsApart => measured.starts_apart = vec![Duration::from_millis(101)],
        Code::EventFailed => measured.events = vec![failed_event(CommandEnd::Exited(7))],
        Code::ReceiverOverloaded => {
            let receiver = ReceiverHealth { turns: 100, late: 2, ..ReceiverHealth::default() };
            measured.delivered = Some(Box::new(Delivered { receiver, ..Delivered::default() }));
        }
        Code::DeliveriesIncomplete => {
            let incomplete = vec!["out.jsonl has no end: its receiver was killed".to_owned()];
            measured.delivered = Some(Box::new(Delivered { incomplete, ..Delivered::default() }));
        }
        Code::Counts => tally.counts.started += 1,
    }
}

#[test]
fn m34_agents_that_begin_a_warm_up_apart_are_no_reason() {
    let mut measured = run(3);
    for tally in &mut measured.tally.phases {
        end(tally, Outcome::Accepted, 300, MS);
    }
    let phases = [PhaseInfo { warmup: true, ..info("warm-up") }, info("a"), info("b")];
    let ms = Duration::from_millis;
    measured.starts_apart = vec![ms(300), ms(90), ms(100)];
    assert_eq!(codes(&measured, &phases), []);
    measured.starts_apart = vec![ms(300), ms(90), ms(101)];
    let validity = Summary::new(&measured, &phases).validity;
    let [reason] = &validity.reasons[..] else { panic!("{:?}", validity.reasons) };
    assert!(reason.code == Code::ShardsApart && reason.sentence.contains("phase 3 of"), "{reason:?}");
    assert!(reason.sentence.contains("up to 101 ms apart"), "{reason:?}");
}

fn lost_agent() -> AgentRun {
    let lost = AgentEnd::Lost {
        silent: Duration::from_secs(3),
        since: Duration::from_secs(12),
        has_heartbeats: false,
    };
    AgentRun { end: lost, ..AgentRun::named("load1", "one", "", 1) }
}

#[test]
fn m34_what_a_lost_agent_leaves_open_accuses_nobody_else() {
    let mut measured = run(1);
    end(&mut measured.tally.phases[0], Outcome::Accepted, 300, MS);
    measured.tally.phases[0].counts.scheduled += 100;
    let codes_of = |agents| codes(&Measured { agents, ..measured.clone() }, &[info("a")]);
    assert_eq!(codes_of(Vec::new()), [Code::NotStarted, Code::Counts]);
    assert_eq!(codes_of(vec![lost_agent()]), [Code::AgentLost]);
}

#[test]
fn m34_an_agent_that_does_not_end_as_planned_makes_the_run_invalid_and_is_named() {
    let mut measured = run(1);
    end(&mut measured.tally.phases[0], Outcome::Accepted, 300, MS);
    let stalled =
        AgentEnd::Lost { silent: Duration::from_secs(45), since: Duration::ZERO, has_heartbeats: true };
    for (end, said) in [
        (AgentEnd::Stopped, "was stopped on its own machine"),
        (AgentEnd::LeaseOver, "got no message of the coordinator"),
        (AgentEnd::Failed { why: "it broke".to_owned() }, "it broke"),
        (stalled, "sent heartbeats and no report of its load for 45.0 s"),
    ] {
        measured.agents = vec![AgentRun { end, ..lost_agent() }];
        let validity = Summary::new(&measured, &[info("a")]).validity;
        let [reason] = &validity.reasons[..] else { panic!("{said}: {:?}", validity.reasons) };
        assert_eq!(reason.code, Code::AgentLost);
        assert!(reason.sentence.starts_with("agent load1 (one) with shard 1 of 1"), "{}", reason.sentence);
        assert!(reason.sentence.contains(said), "{}", reason.sentence);
    }
}

#[test]
fn m34_what_makes_one_agent_invalid_makes_the_whole_invalid_and_names_it() {
    let own = ValidityReason { code: Code::GeneratorLag, phase: Some(0), sentence: "it was late".to_owned() };
    let mut measured = run(1);
    end(&mut measured.tally.phases[0], Outcome::Accepted, 300, MS);
    measured.agents = vec![
        AgentRun { end: AgentEnd::Done, shard: 0, ..lost_agent() },
        AgentRun { end: AgentEnd::Done, reasons: vec![own], ..lost_agent() },
    ];
    let validity = Summary::new(&measured, &[info("a")]).validity;
    let [reason] = &validity.reasons[..] else { panic!("{:?}", validity.reasons) };
    assert_eq!(reason.code, Code::GeneratorLag);
    assert_eq!(reason.sentence, "agent load1 (one) with shard 1 of 2: it was late");
}

#[test]
fn m23_each_reason_alone_makes_a_run_invalid_and_says_why() {
    for code in Code::ALL {
        let mut measured = run(1);
        end(&mut measured.tally.phases[0], Outcome::Accepted, 300, MS);
        assert!(Summary::new(&measured, &[info("a")]).validity.is_valid());
        spoil(&mut measured, code);
        let validity = Summary::new(&measured, &[info("a")]).validity;
        let [reason] = &validity.reasons[..] else { panic!("{code}: {:?}", validity.reasons) };
        assert!(reason.code == code && !validity.is_valid(), "{code}: {reason:?}");
        assert!(reason.sentence.len() > 30, "{code}: {}", reason.sentence);
    }
}

#[test]
fn m12_hangs_after_the_dot_are_lower_bounds_as_all_that_had_no_answer() {
    for lost in [Outcome::InDoubt, Outcome::TimedOut, Outcome::Interrupted] {
        let mut measured = run(1);
        end(&mut measured.tally.phases[0], Outcome::Accepted, 165, 5 * MS);
        end(&mut measured.tally.phases[0], lost, 35, 2000 * MS);
        let summary = Summary::new(&measured, &[info("a")]);
        for metric in [Metric::Response, Metric::Service] {
            let of = |row: &&MetricRow| row.metric == metric && row.outcome == Outcome::Accepted;
            let row = summary.phases[0].metrics.iter().find(of).unwrap();
            assert_eq!((row.count, row.censored), (165, 35));
            let (p50, p95) = (row.quantiles[0], row.quantiles[2]);
            assert_eq!((p50.status, p95.status), (Status::Exact, Status::AtLeast), "{lost}");
            assert!(p50.value_ns < 6 * MS && p95.value_ns >= 2000 * MS, "{p95:?}");
        }
    }
    // Dropped arrivals have an end, and their times are kept apart (M22).
    let mut measured = run(1);
    end(&mut measured.tally.phases[0], Outcome::Accepted, 165, 5 * MS);
    end(&mut measured.tally.phases[0], Outcome::Dropped, 35, 2000 * MS);
    let summary = Summary::new(&measured, &[info("a")]);
    let accepted = summary.phases[0].metrics.iter().find(|row| row.outcome == Outcome::Accepted).unwrap();
    assert_eq!((accepted.censored, accepted.quantiles[2].status), (0, Status::Exact));
}

#[test]
fn conditions_come_by_phase_then_the_most_frequent_first() {
    let mut measured = run(2);
    let mut meet = |phase: usize, condition, outcome, count| {
        let key = ConditionKey { step: Step::Mail, condition, code: Some(452), enhanced: None, outcome };
        let row = ConditionCount {
            count,
            drained: 0,
            first: Duration::ZERO,
            last: Duration::from_secs(1),
            sample: "452 busy".to_owned(),
        };
        measured.tally.phases[phase].conditions.insert(key, row);
    };
    meet(1, Condition::QueueFull, Outcome::Deferred, 900);
    meet(0, Condition::QueueFull, Outcome::Deferred, 2);
    meet(0, Condition::ResourceLow, Outcome::Deferred, 3);
    meet(0, Condition::TooManyRecipients, Outcome::Expected, 2);
    let rows = Summary::new(&measured, &[info("a"), info("b")]).conditions;
    let order: Vec<_> = rows.iter().map(|r| (r.phase, r.key.condition, r.expected())).collect();
    assert_eq!(
        order,
        [
            (0, Condition::ResourceLow, false),
            (0, Condition::TooManyRecipients, true),
            (0, Condition::QueueFull, false),
            (1, Condition::QueueFull, false),
        ]
    );
}

#[test]
fn a_closed_load_that_goes_on_without_refused_sessions_warns() {
    let key = |step, outcome| ConditionKey {
        step,
        condition: Condition::TooManyConnections,
        code: Some(421),
        enhanced: None,
        outcome,
    };
    let warnings = |step, outcome, failed: u64| {
        let mut measured = run(1);
        let tally = &mut measured.tally.phases[0];
        (0..9).for_each(|_| tally.condition(key(step, outcome), Duration::ZERO, false, String::new));
        (0..failed).for_each(|_| tally.counts.arrivals.add(Outcome::Refused));
        (tally.counts.opened, tally.counts.refused) = (20, 9);
        Summary::new(&measured, &[info("a")]).warnings
    };
    let [warning] = &warnings(Step::Greeting, Outcome::Refused, 2)[..] else { panic!("one warning") };
    assert!(
        warning.contains("9 of 20 connections were refused, most of them by too-many-connections"),
        "{warning}"
    );
    assert!(warning.contains("no message failed with 7 of them"), "{warning}");
    // Each refused session of an open load fails an arrival; an expected refusal and a refused message are no such thing.
    for (step, outcome, failed) in [
        (Step::Greeting, Outcome::Refused, 9),
        (Step::Greeting, Outcome::Expected, 0),
        (Step::Mail, Outcome::Deferred, 0),
        (Step::Connect, Outcome::Shed, 0),
        (Step::Greeting, Outcome::Interrupted, 0),
    ] {
        assert_eq!(warnings(step, outcome, failed), [""; 0]);
    }
}
