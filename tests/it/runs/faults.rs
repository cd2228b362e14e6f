//! The counts reconcile with each other and with the ledger, with any fault of the listener (M10, M10b; the testbed
//! checks both in every run). The faults are each form of refusal, replies at each step, resets, closes, silence,
//! nonsense, and a listener that dies during the run.

use smtpress::collector::Outcome;
use smtpress::listener::limits::{Delay, Forced, Limits, RefusalForm};
use smtpress::plan::{Messages, Unit};
use smtpress::smtp::Step;
use smtpress::smtp::script::Pipelining;

use super::rude::{Rude, Rudeness};
use super::testbed::{
    SECOND, Testbed, UNITS, delayed, messages, ms, phase, plan, rate, run, run_against, shared, side_by_side,
};

const STEPS: [Step; 6] = [Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body];

#[test]
fn a_limit_on_connections_in_each_way_of_showing() {
    side_by_side(
        [
            (RefusalForm::Reply, "too-many-connections-from-host"),
            (RefusalForm::Reset, "reset-before-greeting"),
            (RefusalForm::Close, "closed-before-greeting"),
            (RefusalForm::NoGreeting, "no-greeting"),
        ],
        |(shown_by, condition)| {
            side_by_side(UNITS, |unit| {
                let mut plan = plan(vec![phase(rate(100.0), Some(SECOND), unit)]);
                plan.phases[0].max_sessions = 12;
                plan.messages = messages(unit);
                plan.script.timeouts.greeting = ms(200);
                let mut limits = delayed(|delays| delays.body = Delay::fixed(ms(100)));
                limits.max_connections_per_host = Some(4);
                limits.shown_by = shown_by;
                let told = run(&plan, limits);
                assert!(told.met(condition) > 0, "{shown_by:?} {unit:?}: {:?}", told.summary.conditions);
                assert!(told.of(Outcome::Accepted) > 20, "{shown_by:?} {unit:?}: {:?}", told.counts());
                let failed =
                    if shown_by == RefusalForm::NoGreeting { Outcome::TimedOut } else { Outcome::Refused };
                // An arrival without an open session opens one, and has its outcome.
                assert_eq!(told.of(Outcome::Accepted) + told.of(failed), 100, "{shown_by:?} {unit:?}");
                assert_eq!(told.of(failed), told.counts().refused, "{shown_by:?} {unit:?}");
                assert_eq!(told.counts().backoffs, 0);
            });
        },
    );
}

#[test]
fn a_refusing_reply_at_each_step() {
    for step in STEPS {
        for (code, outcome) in [(421, Outcome::Deferred), (451, Outcome::Deferred), (550, Outcome::Rejected)]
        {
            for unit in [Unit::Message, Unit::Session] {
                let mut plan = plan(vec![phase(shared(60, 4), None, unit)]);
                plan.messages = if unit == Unit::Session { Messages::Fixed(2) } else { Messages::Unlimited };
                plan.phases[0].graceful_stop = 20 * SECOND;
                let reply = Forced { step, reply: format!("{code} not now"), probability: 0.3 };
                let told = run(&plan, Limits { replies: vec![reply], ..Limits::default() });
                let what = format!("{code} at {step}, {unit:?}: {:?}", told.counts());
                assert_eq!(told.counts().scheduled, 60, "{what}");
                // Before a session can send a message, a refusal concerns the session, and another session may send the
                // message.
                let refused = matches!(step, Step::Greeting | Step::Hello);
                let charged = if refused { Outcome::Refused } else { outcome };
                assert_eq!(told.of(Outcome::Accepted) + told.of(charged), 60, "{what}");
                assert!(told.of(Outcome::Accepted) > 0, "{what}");
                let sessions = matches!(step, Step::Greeting | Step::Hello);
                assert!(told.of(charged) > 0 || sessions && unit == Unit::Message, "{what}");
            }
        }
    }
}

#[test]
fn resets_and_closes_at_each_step() {
    for step in STEPS.into_iter().chain([Step::Quit]) {
        for rudeness in [Rudeness::Reset, Rudeness::Close] {
            for unit in [Unit::Message, Unit::Session] {
                let mut plan = plan(vec![phase(shared(30, 3), None, unit)]);
                plan.messages = Messages::Fixed(2);
                let rude = Rude::start(step, rudeness);
                let told = run_against(&plan, rude.addr, || Some(rude.stop()));
                let what = format!("{rudeness:?} at {step}, {unit:?}: {:?}", told.counts());
                assert_eq!(told.counts().arrivals.ended(), 30, "{what}");
                let charged = match step {
                    Step::Greeting => Outcome::Refused,
                    Step::Body => Outcome::InDoubt,
                    _ => Outcome::Dropped,
                };
                assert_eq!(told.of(Outcome::Accepted) + told.of(charged), 30, "{what}");
                assert!(told.of(Outcome::Accepted) > 0, "{what}");
                assert_eq!(told.counts().recipients_refused, 0, "without a reply nothing is refused: {what}");
            }
        }
    }
}

#[test]
fn silence_and_nonsense_at_each_step() {
    side_by_side(STEPS, |step| {
        for rudeness in [Rudeness::Silence, Rudeness::Nonsense, Rudeness::Yes] {
            let mut plan = plan(vec![phase(shared(12, 3), None, Unit::Message)]);
            plan.messages = Messages::Fixed(2);
            for timeout in [
                &mut plan.script.timeouts.greeting,
                &mut plan.script.timeouts.command,
                &mut plan.script.timeouts.data,
                &mut plan.script.timeouts.body,
            ] {
                *timeout = ms(300);
            }
            let rude = Rude::start(step, rudeness);
            let told = run_against(&plan, rude.addr, || Some(rude.stop()));
            let what = format!("{rudeness:?} at {step}: {:?}", told.counts());
            assert_eq!(told.counts().arrivals.ended(), 12, "{what}");
            assert!(told.of(Outcome::Accepted) > 0, "{what}");
        }
    });
}

#[test]
fn pipelined_groups_that_are_cut_off() {
    for pipelining in [Pipelining::Auto, Pipelining::Full] {
        for step in [Step::Mail, Step::Data, Step::Body] {
            let mut plan = plan(vec![phase(shared(400, 4), None, Unit::Message)]);
            plan.script.pipelining = pipelining;
            plan.mail.recipients = 3;
            let reply = Forced { step, reply: "421 4.3.2 closing".into(), probability: 0.1 };
            let told = run(&plan, Limits { replies: vec![reply], ..Limits::default() });
            assert_eq!(told.counts().arrivals.ended(), 400, "{pipelining:?} {step}");
            assert!(
                told.of(Outcome::Deferred) > 0 && told.of(Outcome::Accepted) > 200,
                "{:?}",
                told.counts()
            );
        }
    }
}

#[test]
fn a_listener_that_dies_in_mid_run() {
    side_by_side(UNITS, |unit| {
        let mut plan = plan(vec![phase(rate(200.0), Some(2 * SECOND), unit)]);
        plan.phases[0].max_sessions = 20;
        plan.phases[0].graceful_stop = SECOND;
        plan.messages = messages(unit);
        let limits = delayed(|delays| delays.body = Delay::fixed(ms(20)));
        let told = Testbed { limits, dies: Some(SECOND), ..Testbed::default() }.run(&plan);
        assert_eq!(told.counts().scheduled, 400);
        assert!(told.of(Outcome::Accepted) > 50, "{:?}", told.counts());
        assert!(told.of(Outcome::Refused) > 50, "{:?}", told.counts());
        assert!(told.of(Outcome::InDoubt) <= 20, "no more than were under way: {:?}", told.counts());
        assert_eq!(told.of(Outcome::Shed), 0, "{:?}", told.counts());
        assert!(told.measured.took < 9 * SECOND, "{:?}", told.measured.took);
    });
}

#[test]
fn a_listener_that_answers_452_to_every_final_dot() {
    let plan = plan(vec![phase(rate(100.0), Some(SECOND), Unit::Message)]);
    let reply = Forced { step: Step::Body, reply: "452 4.3.1 queue full".into(), probability: 1.0 };
    let told = run(&plan, Limits { replies: vec![reply], ..Limits::default() });
    assert_eq!((told.of(Outcome::Accepted), told.of(Outcome::Deferred), told.ledger.messages), (0, 100, 0));
    assert_eq!(told.met("queue-full"), 100, "{:?}", told.summary.conditions);
    assert!(told.fails_by("accepted > 0"), "{:?}", told.verdict);
}
