//! How fast sessions are opened if the listener does not serve them: an open load opens one for each arrival without a
//! session, and a closed load pauses.

use std::time::Duration;

use smtpress::collector::{Metric, Outcome};
use smtpress::listener::limits::{Delay, Forced, Limits};
use smtpress::plan::{Messages, Reconnect, Unit};
use smtpress::smtp::Step;

use super::rude::{Rude, Rudeness};
use super::testbed::{
    SECOND, Told, UNITS, delayed, ms, phase, plan, rate, run, run_against, sessions, shared, side_by_side,
};

fn forced(step: Step, reply: &str, probability: f64) -> Limits {
    Limits {
        replies: vec![Forced { step, reply: reply.to_owned(), probability }],
        ..delayed(|delays| delays.body = Delay::fixed(ms(5)))
    }
}

#[test]
fn each_refused_arrival_of_an_open_load_is_one_connection() {
    side_by_side(UNITS, |unit| {
        side_by_side([1.0, 0.3, 0.05], |probability| {
            let mut plan = plan(vec![phase(rate(50.0), Some(2 * SECOND), unit)]);
            plan.messages = Messages::Fixed(1);
            let told = run(&plan, forced(Step::Greeting, "421 4.3.2 not now", probability));
            let what = format!("{unit:?} {probability}: {:?}", told.counts());
            assert_eq!((told.counts().scheduled, told.counts().started), (100, 100), "{what}");
            assert_eq!(
                told.of(Outcome::Refused),
                told.met("service-unavailable").max(told.counts().refused),
                "{what}"
            );
            assert_eq!(told.of(Outcome::Accepted) + told.of(Outcome::Refused), 100, "{what}");
            // Each session has one message.
            assert_eq!((told.ledger.connections, told.counts().opened), (100, 100), "{what}");
            assert_eq!(told.counts().backoffs, 0, "{what}");
            if probability == 1.0 {
                assert_eq!(told.of(Outcome::Refused), 100, "{what}");
            }
        });
    });
}

#[test]
fn refusals_of_others_give_accepted_arrivals_nothing_to_wait_for() {
    // The tests of the dispatcher check with a virtual clock that no arrival waits for a pause or for another's
    // session. This test does not depend on a clock.
    side_by_side(UNITS, |unit| {
        let mut plan = plan(vec![phase(rate(200.0), Some(4 * SECOND), unit)]);
        plan.messages = Messages::Fixed(1);
        let told = run(&plan, forced(Step::Greeting, "421 4.3.2 not now", 0.05));
        let (refused, accepted) = (told.of(Outcome::Refused), told.of(Outcome::Accepted));
        assert!((10..=80).contains(&refused), "{unit:?}: {:?}", told.counts());
        assert_eq!(refused + accepted, 800, "{unit:?}: {:?}", told.counts());
        assert_eq!((told.counts().backoffs, told.counts().opened), (0, 800), "{unit:?}");
    });
}

/// Runs a closed load of two seconds.
fn closed(unit: Unit, against: impl FnOnce(&smtpress::plan::Plan) -> Told) -> Told {
    let mut plan = plan(vec![phase(sessions(&[(Duration::ZERO, 10.0)], ms(0)), Some(2 * SECOND), unit)]);
    plan.messages = Messages::Fixed(1);
    plan.phases[0].max_sessions = 10;
    against(&plan)
}

#[test]
fn a_closed_load_pauses_when_a_session_was_ended_before_it_was_served() {
    side_by_side([Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data], |step| {
        side_by_side(UNITS, |unit| {
            let told = closed(unit, |plan| run(plan, forced(step, "421 4.3.2 not now", 1.0)));
            // Ten sessions at once on two threads, and then pauses of 50, 100, 200, 400 and 800 ms on each thread.
            let connections = told.ledger.connections;
            assert!((12..=60).contains(&connections), "421 at {step}, {unit:?}: {connections} connections");
            assert!(told.counts().backoffs >= 4, "{step} {unit:?}: {:?}", told.counts());
            assert_eq!(told.of(Outcome::Accepted), 0);
        });
    });
}

#[test]
fn so_it_does_when_the_connection_is_closed_or_reset() {
    let cases = [
        (Step::Greeting, Rudeness::Close),
        (Step::Hello, Rudeness::Close),
        (Step::Mail, Rudeness::Reset),
        (Step::Rcpt, Rudeness::Close),
        (Step::Data, Rudeness::Reset),
        (Step::Mail, Rudeness::Nonsense),
    ];
    side_by_side(cases, |(step, rudeness)| {
        side_by_side(UNITS, |unit| {
            let rude = Rude::always(step, rudeness);
            let told = closed(unit, |plan| run_against(plan, rude.addr, || Some(0)));
            let opened = told.counts().opened;
            assert!((12..=60).contains(&opened), "{rudeness:?} at {step}, {unit:?}: {opened} connections");
            assert_eq!(rude.stop(), 0);
        });
    });
}

#[test]
fn a_session_that_was_served_something_is_no_failure() {
    side_by_side(UNITS, |unit| {
        // Each session has one message: it is closed after it, or the message is refused within the session.
        for (step, reply) in [(Step::Quit, "421 4.3.2 bye"), (Step::Rcpt, "550 5.1.1 no such user")] {
            let told = closed(unit, |plan| run(plan, forced(step, reply, 1.0)));
            assert!(told.counts().opened > 60, "{reply} {unit:?}: {:?}", told.counts());
            assert_eq!(told.counts().backoffs, 0, "{reply} {unit:?}");
        }
    });
}

#[test]
fn the_pauses_are_those_that_were_asked_for_and_no_part_of_a_response_time() {
    let opened = |first, factor, max| {
        let mut plan =
            plan(vec![phase(sessions(&[(Duration::ZERO, 1.0)], ms(0)), Some(2 * SECOND), Unit::Message)]);
        plan.threads = 1;
        plan.reconnect = Reconnect { first: ms(first), factor, max: ms(max) };
        let told = run(&plan, forced(Step::Mail, "421 4.3.2 not now", 1.0));
        let response = told.hist(Metric::Response, Outcome::Deferred);
        // With pauses, all response times but the first would contain one.
        let pauses = u128::from(response.count() - 1) * u128::from(first) * 1_000_000;
        assert!(response.sum_ns() < pauses, "{} ns, with pauses of {pauses} ns", response.sum_ns());
        told.counts().opened
    };
    let (slow, fast) = (opened(500, 1.0, 500), opened(50, 1.0, 50));
    assert!((3..=5).contains(&slow), "{slow}");
    // The lower bound is tested with a virtual clock, because this machine may be slow.
    assert!((slow + 5..=42).contains(&fast), "{fast}");
}

#[test]
fn a_load_without_an_end_is_given_up_and_does_not_pass() {
    side_by_side(UNITS, |unit| {
        let mut plan = plan(vec![phase(shared(100_000, 4), None, unit)]);
        plan.messages = Messages::Fixed(1);
        plan.phases[0].graceful_stop = SECOND;
        let told = run(&plan, forced(Step::Mail, "421 4.3.2 not now", 1.0));
        assert!(told.measured.took < 20 * SECOND, "{:?}", told.measured.took);
        assert!(told.fails_by("done rate == 100%"), "{:?}", told.verdict);
        let sentence =
            &told.verdict.results.iter().find(|one| one.expr == "done rate == 100%").unwrap().observed;
        for part in ["100000 ", " asked for, ", "given up at ", "no session was served from ", "at mail)"] {
            assert!(sentence.contains(part), "{sentence}");
        }
    });
}
