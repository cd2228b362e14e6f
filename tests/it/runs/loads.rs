//! Each load model in a whole run, alone and in sequence over one pool. Also runs that are stopped.

use std::time::Duration;

use smtpress::collector::{Metric, Outcome};
use smtpress::condition::Condition;
use smtpress::generator::Stop;
use smtpress::listener::limits::{Delay, Limits, RefusalForm};
use smtpress::load::{Curve, LoadModel, Spacing, Think};
use smtpress::mail::MessageSize;
use smtpress::plan::{Messages, Unit};
use smtpress::smtp::Step;
use smtpress::smtp::script::{Manners, Quit};

use super::testbed::{
    SECOND, Testbed, UNITS, delayed, messages, ms, phase, plan, rate, run, run_against, sessions, shared,
    side_by_side,
};

#[test]
fn bursts_come_at_once_and_again() {
    let bursts = LoadModel::Burst { size: 30, every: ms(400) };
    let told = run(&plan(vec![phase(bursts, Some(SECOND), Unit::Message)]), Limits::default());
    assert_eq!((told.counts().scheduled, told.of(Outcome::Accepted)), (90, 90));
    let mut once =
        plan(vec![phase(LoadModel::Burst { size: 40, every: ms(0) }, Some(SECOND), Unit::Session)]);
    once.messages = Messages::Fixed(1);
    let told = run(&once, delayed(|delays| delays.body = Delay::fixed(ms(200))));
    assert_eq!((told.of(Outcome::Accepted), told.ledger.sessions_peak), (40, 40));
}

#[test]
fn a_staircase_has_the_area_under_its_steps() {
    let points = [(0, 20.0), (500, 20.0), (500, 60.0), (1000, 60.0), (1000, 100.0), (1500, 100.0)];
    let curve = Curve { points: points.iter().map(|(at, value)| (ms(*at), *value)).collect() };
    let stairs = LoadModel::Rate { curve, spacing: Spacing::Uniform };
    let told = run(&plan(vec![phase(stairs, Some(ms(1500)), Unit::Message)]), Limits::default());
    assert!(told.counts().scheduled.abs_diff(90) <= 1, "{:?}", told.counts());
    assert_eq!(told.of(Outcome::Accepted), told.counts().scheduled);
}

#[test]
fn sessions_ramp_up_and_down_without_churn() {
    side_by_side([0, 30], |think| {
        let points = [(ms(0), 1.0), (ms(700), 16.0), (ms(1400), 16.0), (ms(2000), 4.0), (ms(2600), 4.0)];
        let ramp = sessions(&points, ms(think));
        let plan = plan(vec![phase(ramp, Some(ms(2600)), Unit::Message)]);
        let told = run(&plan, delayed(|delays| delays.body = Delay::fixed(ms(10))));
        assert_eq!(told.of(Outcome::Accepted), told.counts().scheduled, "{:?}", told.counts());
        assert_eq!((told.ledger.sessions_peak, told.counts().opened), (16, 16), "think {think}");
    });
}

#[test]
fn thinking_slows_a_closed_load() {
    side_by_side(UNITS, |unit| {
        let mut plan = plan(vec![phase(sessions(&[(Duration::ZERO, 5.0)], ms(200)), Some(2 * SECOND), unit)]);
        plan.messages = messages(unit);
        let told = run(&plan, Limits::default());
        // Each session sends at most one message at the start, and one after each think time.
        assert!((20..=50).contains(&told.of(Outcome::Accepted)), "{unit:?} {:?}", told.counts());
        assert!(told.ledger.sessions_peak <= 5 && told.measured.took < 4 * SECOND);
    });
    let thoughtful =
        LoadModel::Shared { total: 20, sessions: 5, think: Think { min: ms(100), max: ms(100) } };
    let told = run(&plan(vec![phase(thoughtful, None, Unit::Message)]), Limits::default());
    assert_eq!((told.of(Outcome::Accepted), told.ledger.sessions_peak), (20, 5));
    assert!(told.measured.took >= ms(300), "three thoughts each: {:?}", told.measured.took);
}

#[test]
fn connections_are_opened_at_their_rate() {
    let mut plan =
        plan(vec![phase(LoadModel::Held { sessions: 60, rate: f64::INFINITY }, Some(SECOND), Unit::Session)]);
    plan.phases[0].connect_rate = Some(40.0);
    let told = run(&plan, Limits::default());
    // At 40 connections a second over all threads, 60 need a second and a half, less the first burst.
    assert_eq!((told.of(Outcome::Accepted), told.counts().opened), (60, 60));
    assert!(told.measured.took >= ms(1250), "{:?}", told.measured.took);
    assert!(told.ledger.sessions_peak <= 48, "{:?}", told.ledger);
}

#[test]
fn phases_share_a_pool_and_follow_each_other_in_either_unit() {
    let mut few = phase(rate(50.0), Some(ms(500)), Unit::Message);
    few.max_sessions = 2;
    let held = LoadModel::Held { sessions: 5, rate: f64::INFINITY };
    let mut plan = plan(vec![
        phase(rate(100.0), Some(ms(500)), Unit::Message),
        few,
        phase(rate(60.0), Some(ms(500)), Unit::Session),
        phase(held, Some(ms(500)), Unit::Session),
        phase(sessions(&[(ms(0), 4.0)], ms(0)), Some(ms(500)), Unit::Session),
        phase(shared(40, 4), None, Unit::Message),
    ]);
    plan.messages = Messages::Fixed(2);
    let told = run(&plan, delayed(|delays| delays.body = Delay::fixed(ms(5))));
    let counts = told.measured.tally.phases.iter().map(|phase| phase.counts);
    let ended: Vec<(u64, u64)> =
        counts.map(|counts| (counts.scheduled, counts.arrivals.of(Outcome::Accepted))).collect();
    assert!(ended.iter().all(|(scheduled, accepted)| scheduled == accepted), "{ended:?}");
    let scheduled: Vec<u64> = ended.iter().map(|(scheduled, _)| *scheduled).collect();
    assert_eq!([&scheduled[..4], &scheduled[5..]].concat(), [50, 25, 30, 5, 40]);
    assert!(scheduled[4] > 20, "{scheduled:?}");
}

#[test]
fn sessions_that_hold_stay_open_to_the_end_of_their_phase() {
    let mut plan = plan(vec![phase(rate(20.0), Some(SECOND), Unit::Session)]);
    plan.messages = Messages::Fixed(2);
    let peak = |plan| run(&plan, Limits::default()).ledger.sessions_peak;
    assert!(peak(plan.clone()) < 15);
    plan.script.quit = Quit::Hold;
    let told = run(&plan, Limits::default());
    assert_eq!((told.of(Outcome::Accepted), told.ledger.messages, told.ledger.sessions_peak), (20, 40, 20));
}

#[test]
fn a_stall_meets_the_listeners_patience() {
    let mut plan = plan(vec![phase(shared(4, 2), None, Unit::Message)]);
    plan.script.manners.stall = Some((Step::Rcpt, 2 * SECOND));
    let impatient = Limits { idle_timeout: Some(ms(200)), ..Limits::default() };
    let told = run(&plan, impatient);
    assert_eq!(told.of(Outcome::Accepted), 0);
    let seen: Vec<_> = told.summary.conditions.iter().map(|row| (row.key.step, row.key.condition)).collect();
    assert_eq!(seen, [(Step::Idle, Condition::IdleTimeout)]);
    // The messages are accepted, each later by one pause of the client.
    plan.script.manners.stall = Some((Step::Rcpt, ms(100)));
    let told = run(&plan, Limits::default());
    assert_eq!(told.of(Outcome::Accepted), 4);
    assert!(told.measured.took >= ms(200), "{:?}", told.measured.took);
}

#[test]
fn clients_that_misbehave_get_what_a_listener_gives_them() {
    let plan = |manners| {
        let mut plan = plan(vec![phase(shared(4, 2), Some(SECOND), Unit::Message)]);
        plan.messages = Messages::Fixed(2);
        plan.script.manners = manners;
        plan
    };
    let seen = |manners, limits| {
        let told = run(&plan(manners), limits);
        let rows = told.summary.conditions.iter().map(|row| (row.key.step, row.key.condition));
        (told.of(Outcome::Accepted), rows.collect::<Vec<_>>(), told)
    };
    // The listener allows three errors, and each session makes two.
    let patient = Limits { max_bad_commands: Some(3), ..Limits::default() };
    let (accepted, rows, _) = seen(Manners { garbage: 2, ..Manners::default() }, patient.clone());
    assert_eq!((accepted, rows), (4, vec![(Step::Command, Condition::UnrecognizedCommand)]));
    let (accepted, rows, _) = seen(Manners { garbage: 9, ..Manners::default() }, patient);
    assert!(accepted == 0 && rows.contains(&(Step::Command, Condition::BadCommandLimitExceeded)), "{rows:?}");
    // If a message is written byte by byte, it is accepted as usual, but takes longer.
    let slow = Manners { trickle: Some(20_000), ..Manners::default() };
    let (accepted, rows, told) = seen(slow, Limits::default());
    assert_eq!((accepted, rows, told.ledger.messages), (4, vec![], 4));
    assert!(told.measured.took >= ms(100), "two sessions of two messages of 1 KiB: {:?}", told.measured.took);
    // The client has sent the final dot and closed its direction, and still reads the reply.
    let half = Manners { half_close: Some(Step::Body), ..Manners::default() };
    let (accepted, rows, told) = seen(half, Limits::default());
    assert_eq!((accepted, rows, told.ledger.messages), (4, vec![], 4));
    // A client that reads no reply sends no message. It ends with its phase, and the listener keeps running.
    let (accepted, _, told) = seen(Manners { deaf: true, ..Manners::default() }, Limits::default());
    assert_eq!((accepted, told.ledger.messages), (0, 0));
    assert!(told.ledger.received_bytes > 6000, "{:?}", told.ledger);
}

#[test]
fn a_step_times_out_only_without_progress_and_a_message_without_its_dot_is_in_no_doubt() {
    let seen = |body, session| {
        let mut plan = plan(vec![phase(shared(1, 1), None, Unit::Message)]);
        plan.mail.size = MessageSize::Fixed(12 << 10);
        plan.script.manners.trickle = Some(4000);
        (plan.script.timeouts.body, plan.script.timeouts.session) = (body, session);
        let told = run(&plan, Limits::default());
        let rows =
            told.summary.conditions.iter().map(|row| (row.key.step, row.key.condition, row.key.outcome));
        (told.ledger.messages, rows.collect::<Vec<_>>())
    };
    // Three seconds of bytes; each of them is progress.
    assert_eq!(seen(ms(1500), 60 * SECOND), (1, vec![]));
    // The time of a session includes them. Its end comes before the dot is written.
    let (taken, rows) = seen(60 * SECOND, ms(1500));
    assert_eq!(taken, 0);
    assert!(matches!(rows[..], [(Step::Body, _, Outcome::TimedOut)]), "{rows:?}");
}

#[test]
fn a_session_whose_time_is_up_fails_no_message_and_ends_no_hold() {
    let mut pool = plan(vec![phase(shared(40, 1), None, Unit::Message)]);
    pool.script.timeouts.session = ms(150);
    let told = run(&pool, delayed(|delays| delays.body = Delay::fixed(ms(20))));
    assert_eq!(told.of(Outcome::Accepted), 40, "{:?}", told.summary.conditions);
    assert!(told.counts().opened > 2 && told.summary.conditions.is_empty(), "{:?}", told.counts());

    let held = LoadModel::Held { sessions: 5, rate: f64::INFINITY };
    let mut held = plan(vec![phase(held, Some(SECOND), Unit::Session)]);
    held.script.timeouts.session = ms(200);
    let told = run(&held, Limits::default());
    assert_eq!((told.of(Outcome::Accepted), told.counts().opened), (5, 5), "{:?}", told.summary.conditions);
    let shortest = told.hist(Metric::Session, Outcome::Accepted).min_ns();
    assert!(shortest > 500_000_000, "the sessions stay until their phase ends: {shortest} ns");
}

/// A session that was to be held, and that fails before it is held, is missing among those that were.
#[test]
fn a_session_that_times_out_before_its_hold_was_not_held() {
    let burst = LoadModel::Burst { size: 5, every: ms(0) };
    let mut plan = plan(vec![phase(burst, Some(2 * SECOND), Unit::Session)]);
    plan.messages = Messages::Fixed(1);
    plan.script.quit = Quit::Hold;
    plan.script.timeouts.command = ms(300);
    let told = run(&plan, delayed(|delays| delays.mail = Delay::fixed(5 * SECOND)));
    assert_eq!(told.of(Outcome::TimedOut), 5, "{:?}", told.summary.conditions);
    assert!(told.fails_by("done rate == 100%"));
}

#[test]
fn each_way_to_quit_ends_every_session() {
    for quit in [Quit::Clean, Quit::Close, Quit::Reset] {
        let mut plan = plan(vec![phase(shared(60, 6), None, Unit::Message)]);
        plan.messages = Messages::Fixed(3);
        plan.script.quit = quit;
        let told = run(&plan, Limits::default());
        assert_eq!(told.of(Outcome::Accepted), 60, "{quit:?}");
        // The last session of each of the six slots may send fewer than three messages.
        assert!((20..=26).contains(&told.counts().opened), "{quit:?} {:?}", told.counts());
        assert!(told.summary.conditions.is_empty(), "{:?}", told.summary.conditions);
    }
}

#[test]
fn a_run_that_is_stopped_drains() {
    let held = LoadModel::Held { sessions: 20, rate: 100.0 };
    side_by_side(
        [
            (rate(100.0), Unit::Message),
            (rate(100.0), Unit::Session),
            (sessions(&[(ms(0), 10.0)], ms(20)), Unit::Message),
            (shared(100_000, 10), Unit::Session),
            (held, Unit::Session),
        ],
        |(load, unit)| {
            let mut plan = plan(vec![phase(load.clone(), Some(30 * SECOND), unit)]);
            plan.messages = Messages::Fixed(1);
            let limits = delayed(|delays| delays.body = Delay::fixed(ms(50)));
            let told =
                Testbed { limits, stops: vec![(ms(600), Stop::Drain)], ..Testbed::default() }.run(&plan);
            let what = format!("{load:?} {unit:?}: {:?}", told.counts());
            // Arrivals in flight ended as accepted, and arrivals that waited did not start.
            assert_eq!(told.of(Outcome::Accepted), told.counts().started, "{what}");
            assert!(told.of(Outcome::Accepted) >= 10, "{what}");
            assert!(told.measured.took < 8 * SECOND, "{what} {:?}", told.measured.took);
            assert!(told.measured.interrupted && told.verdict.exit_code.number() == 105, "{what}");
            assert!(told.measured.windows[0] < 5 * SECOND, "{:?}", told.measured.windows);
        },
    );
}

#[test]
fn a_second_stop_ends_all_at_once() {
    side_by_side(UNITS, |unit| {
        let mut plan = plan(vec![phase(rate(50.0), Some(30 * SECOND), unit)]);
        plan.messages = Messages::Fixed(1);
        plan.phases[0].max_sessions = 20;
        plan.script.timeouts.command = 60 * SECOND;
        let limits = delayed(|delays| delays.mail = Delay::fixed(40 * SECOND));
        let stops = vec![(ms(800), Stop::Drain), (ms(1200), Stop::Now)];
        let told = Testbed { limits, stops, ..Testbed::default() }.run(&plan);
        assert_eq!(told.of(Outcome::Interrupted), 20, "{unit:?} {:?}", told.counts());
        assert_eq!(told.counts().scheduled, 20 + told.of(Outcome::Shed));
        assert!(told.measured.took < 6 * SECOND, "{:?}", told.measured.took);
    });
}

#[test]
fn waiting_costs_no_processor() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mute = Limits { max_connections: Some(0), shown_by: RefusalForm::NoGreeting, ..Limits::default() };
    let held = LoadModel::Held { sessions: 50, rate: f64::INFINITY };
    let thinking = sessions(&[(ms(0), 50.0)], 20 * SECOND);
    let slow = delayed(|delays| delays.body = Delay::fixed(20 * SECOND));
    side_by_side(
        [
            ("held", held, Unit::Session, Some(Limits::default())),
            ("thinking messages", thinking.clone(), Unit::Message, Some(Limits::default())),
            ("thinking sessions", thinking, Unit::Session, Some(Limits::default())),
            ("refused messages", rate(200.0), Unit::Message, None),
            ("refused sessions", sessions(&[(ms(0), 50.0)], ms(0)), Unit::Session, None),
            ("never greeted", rate(20.0), Unit::Message, Some(mute)),
            ("never answered", rate(20.0), Unit::Message, Some(slow)),
        ],
        |(name, load, unit, limits)| {
            let mut plan = plan(vec![phase(load, Some(2 * SECOND), unit)]);
            plan.messages = messages(unit);
            plan.script.timeouts.greeting = 60 * SECOND;
            plan.script.timeouts.body = 60 * SECOND;
            plan.phases[0].graceful_stop = SECOND;
            let told = match limits {
                Some(limits) => run(&plan, limits),
                None => run_against(&plan, nobody, || Some(0)),
            };
            // Two threads run for two seconds. A thread in a busy loop would use at least two of the four seconds of
            // CPU.
            let used = told.measured.health.cpu_user_s + told.measured.health.cpu_system_s;
            assert!(used < 0.7, "{name}: {used} s of processor");
        },
    );
}
