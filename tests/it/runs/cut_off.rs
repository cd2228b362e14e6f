//! An arrival that the end of the run cuts off is reported with its step, and with the condition of a time-out there
//! (M12b).

use std::net::TcpListener;
use std::time::Duration;

use smtpress::collector::Outcome;
use smtpress::condition::Condition;
use smtpress::plan::{Messages, Unit};
use smtpress::smtp::Step;

use super::resolvers::Answers;
use super::rude::{Rude, Rudeness};
use super::testbed::{
    SECOND, Testbed, Told, UNITS, ms, phase, plan, rate, run_against, shared, side_by_side,
};

fn cut_off(unit: Unit) -> smtpress::plan::Plan {
    let mut plan = plan(vec![phase(rate(20.0), Some(ms(500)), unit)]);
    plan.messages = Messages::Fixed(1);
    // This is long enough for the last arrival to reach the step at which it hangs.
    plan.phases[0].graceful_stop = ms(1500);
    plan
}

/// Checks that the run has only this condition, once for each arrival that was cut off.
#[track_caller]
fn named(told: &Told, step: Step, condition: Condition, what: &str) {
    let cut = told.of(Outcome::Interrupted) + told.of(Outcome::InDoubt);
    assert!(cut > 0, "{what}: {:?}", told.counts());
    let rows = &told.summary.conditions;
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), cut, "{what}: {rows:?}");
    for row in rows {
        assert_eq!((row.key.step, row.key.condition), (step, condition), "{what}: {rows:?}");
        assert!(matches!(row.key.outcome, Outcome::Interrupted | Outcome::InDoubt), "{what}: {rows:?}");
        assert_eq!(row.sample, "no answer had come when the run ended", "{what}");
    }
    let transcripts = &told.measured.transcripts;
    assert!(transcripts.iter().any(|(name, _)| name.contains(condition.as_str())), "{what}");
    let note = format!("{step}: {condition} (");
    assert!(transcripts.iter().any(|(_, text)| text.contains(&note)), "{what}");
}

#[test]
fn at_each_step_of_a_session() {
    side_by_side([Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body], |step| {
        side_by_side(UNITS, |unit| {
            let rude = Rude::always(step, Rudeness::Silence);
            let told = run_against(&cut_off(unit), rude.addr, || None);
            let condition =
                if step == Step::Greeting { Condition::NoGreeting } else { Condition::ReplyTimeout };
            named(&told, step, condition, &format!("{step} {unit:?}"));
            rude.stop();
        });
    });
}

#[test]
fn while_the_name_is_looked_up_or_the_connection_made() {
    side_by_side(UNITS, |unit| {
        let told =
            Testbed { resolver: Some(Answers::slow(20 * SECOND)), ..Testbed::default() }.run(&cut_off(unit));
        named(&told, Step::Dns, Condition::ConnectTimeout, &format!("dns {unit:?}"));
        // The accept queue holds one connection, which is never accepted, so the SYNs of all others are lost.
        let full = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = full.local_addr().unwrap();
        nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let fills: Vec<_> = (0..2)
            .map_while(|_| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(300)).ok())
            .collect();
        let told = run_against(&cut_off(unit), addr, || None);
        named(&told, Step::Connect, Condition::ConnectTimeout, &format!("connect {unit:?}"));
        drop(fills);
    });
}

#[test]
fn sessions_of_a_closed_load_that_are_never_greeted() {
    use smtpress::generator::Stop;
    use smtpress::listener::limits::{Limits, RefusalForm};
    // No arrival starts, and the reason is still reported.
    let limits = Limits { max_connections: Some(0), shown_by: RefusalForm::NoGreeting, ..Limits::default() };
    let stops = vec![(ms(2200), Stop::Now)];
    let testbed = Testbed { limits, stops, ..Testbed::default() };
    let told = testbed.run(&plan(vec![phase(shared(4, 2), None, Unit::Message)]));
    assert_eq!((told.met("no-greeting"), told.counts().scheduled), (2, 0), "{:?}", told.summary.conditions);
}
