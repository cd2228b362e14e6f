//! A load that reaches limits of the listener: the run continues, the refusals are named, and the load uses what the
//! limit allows.

use std::time::Duration;

use smtpress::collector::{Metric, Outcome};
use smtpress::listener::limits::{Delay, Limits, RefusalForm};
use smtpress::load::LoadModel;
use smtpress::plan::{Messages, Unit};
use smtpress::smtp::Step;

use super::testbed::{
    SECOND, Told, UNITS, delayed, ms, phase, plan, rate, run, run_against, sessions, shared, side_by_side,
};

/// The number of accepted arrivals a second.
fn rate_of(told: &Told) -> f64 {
    told.summary.phases[0].accepted_per_s
}

/// The number of messages in service at once, by Little's law. A busy machine hardly changes it, because it serves
/// fewer messages a second, but each for longer.
fn in_service(told: &Told) -> f64 {
    rate_of(told) * told.hist(Metric::Service, Outcome::Accepted).mean_ns() / 1e9
}

#[test]
fn twenty_of_thirty_sessions_go_on_at_full_speed() {
    let mut plan =
        plan(vec![phase(sessions(&[(Duration::ZERO, 30.0)], ms(0)), Some(3 * SECOND), Unit::Message)]);
    plan.phases[0].max_sessions = 30;
    let mut limits = delayed(|delays| delays.body = Delay::fixed(ms(100)));
    limits.max_connections_per_host = Some(20);
    let told = run(&plan, limits);
    assert_eq!((told.ledger.sessions_peak, told.ledger.host_sessions_peak), (20, 20));
    assert!(told.met("too-many-connections-from-host") >= 10, "{:?}", told.summary.conditions);
    assert_eq!(told.met("too-many-connections-from-host"), told.counts().refused);
    assert_eq!(told.counts().arrivals.ended(), told.of(Outcome::Accepted), "others carried the messages");
    // 20 sessions serve messages of 100 ms each.
    assert!(in_service(&told) > 12.0, "{}", in_service(&told));
    told.below("the time of a message", 1.0 / rate_of(&told), 1.0 / 120.0);
    // Refused sessions connect again, but only from time to time.
    assert!((11..200).contains(&told.counts().refused), "{:?}", told.counts());
    assert!(told.counts().backoffs > 0);
}

#[test]
fn concurrency_comes_back_as_places_become_free() {
    // The listener ends each session after one second, and releases its slot.
    let mut plan =
        plan(vec![phase(sessions(&[(Duration::ZERO, 15.0)], ms(0)), Some(4 * SECOND), Unit::Message)]);
    plan.phases[0].max_sessions = 15;
    let mut limits = delayed(|delays| delays.body = Delay::fixed(ms(50)));
    limits.max_connections_per_host = Some(10);
    limits.max_connection_time = Some(SECOND);
    let told = run(&plan, limits);
    assert_eq!(told.ledger.sessions_peak, 10);
    assert!(told.counts().established >= 25, "{:?}", told.counts());
    assert!(told.met("connection-time-exceeded") >= 15, "{:?}", told.summary.conditions);
    // 10 sessions serve messages of 50 ms each. Some time is lost when sessions connect again.
    assert!(in_service(&told) > 4.0, "{}", in_service(&told));
    told.below("the time of a message", 1.0 / rate_of(&told), 1.0 / 80.0);
}

#[test]
fn messages_beyond_a_session_s_limit_go_on_in_others() {
    let mut plan = plan(vec![phase(shared(500, 10), None, Unit::Message)]);
    plan.messages = Messages::Unlimited;
    let limits = Limits { max_messages_per_session: Some(10), ..Limits::default() };
    let told = run(&plan, limits);
    let refused = told.met("too-many-messages-per-session");
    assert_eq!(told.of(Outcome::Accepted) + told.of(Outcome::Deferred), 500);
    assert_eq!((told.of(Outcome::Deferred), told.counts().closed_by_peer), (refused, refused));
    assert!((40..=50).contains(&refused), "one in eleven: {refused}");
    assert!(told.counts().opened >= refused && told.ledger.sessions_peak >= 8, "{:?}", told.ledger);
    assert_eq!(told.counts().backoffs, 0, "a session that carried messages has not failed");
}

#[test]
fn a_421_to_sessions_at_rest_costs_no_message() {
    let bursts = LoadModel::Burst { size: 10, every: ms(700) };
    let plan = plan(vec![phase(bursts, Some(3 * SECOND), Unit::Message)]);
    let told = run(&plan, Limits { idle_timeout: Some(ms(250)), ..Limits::default() });
    assert_eq!((told.counts().scheduled, told.of(Outcome::Accepted)), (50, 50));
    assert!(told.met("idle-timeout") >= 8, "{:?}", told.summary.conditions);
    let rows = &told.summary.conditions;
    assert!(rows.iter().all(|row| row.key.step == Step::Idle), "{rows:?}");
    assert_eq!(told.counts().closed_by_peer, told.met("idle-timeout"));
}

/// An address at which nothing listens.
fn nobody() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_target_that_refuses_every_connection() {
    let closed = sessions(&[(Duration::ZERO, 10.0)], ms(0));
    side_by_side(
        [(rate(100.0), Some(SECOND)), (closed, Some(SECOND)), (shared(500, 10), None)],
        |(load, length)| {
            side_by_side(UNITS, |unit| {
                let mut plan = plan(vec![phase(load.clone(), length, unit)]);
                plan.messages = Messages::Fixed(1);
                plan.phases[0].graceful_stop = SECOND;
                let told = run_against(&plan, nobody(), || Some(0));
                let what = format!("{load:?} {unit:?}: {:?}", told.counts());
                assert!(told.counts().scheduled > 0, "{what}");
                assert_eq!(told.of(Outcome::Refused), told.counts().scheduled, "{what}");
                assert!(told.met("connect-refused") > 0, "{what}");
                assert!(told.measured.took < 7 * SECOND, "{what} {:?}", told.measured.took);
                assert!(told.fails_by("accepted > 0"), "{:?}", told.verdict);
            });
        },
    );
}

#[test]
fn a_listener_that_never_greets() {
    side_by_side(
        [
            (ms(300), Unit::Message),
            (60 * SECOND, Unit::Message),
            (ms(300), Unit::Session),
            (60 * SECOND, Unit::Session),
        ],
        |(timeout, unit)| {
            let mut plan = plan(vec![phase(rate(40.0), Some(SECOND), unit)]);
            plan.messages = Messages::Fixed(1);
            plan.phases[0].graceful_stop = SECOND;
            plan.script.timeouts.greeting = timeout;
            let limits =
                Limits { max_connections: Some(0), shown_by: RefusalForm::NoGreeting, ..Limits::default() };
            let told = run(&plan, limits);
            let ended = if timeout < SECOND { Outcome::TimedOut } else { Outcome::Interrupted };
            assert_eq!(told.of(ended), 40, "{timeout:?} {unit:?} {:?}", told.counts());
            if unit == Unit::Session {
                let response = told.hist(Metric::Response, ended);
                assert!(response.min_ns() >= 300_000_000, "{}", response.min_ns());
            }
            assert!(told.measured.took < 6 * SECOND, "{:?}", told.measured.took);
            assert_eq!(told.counts().own_failures, 0);
        },
    );
}
