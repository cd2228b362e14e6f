//! A target with several addresses: which of them is tried, the counts of each, and the safety rule for every
//! connection.

use std::net::{IpAddr, SocketAddr};

use smtpress::collector::Outcome;
use smtpress::collector::summary::Code;
use smtpress::collector::tally::AddressCount;
use smtpress::condition::Condition;
use smtpress::generator::Connector;
use smtpress::generator::probe::{NetworkProbes, OpenOutcome, ProbeEvent, ProbeOptions, Probes};
use smtpress::net::address::Target;
use smtpress::plan::{Messages, Unit};

use super::resolvers::Answers;
use super::testbed::{Testbed, Told, phase, plan, shared};

/// Runs sessions of one message each, one after the other, to a name that resolves to these addresses.
fn run(sessions: u64, answers: &[&[&str]]) -> Told {
    let mut plan = plan(vec![phase(shared(sessions, 1), None, Unit::Message)]);
    plan.messages = Messages::Fixed(1);
    plan.threads = 1;
    let answer = |texts: &&[&str]| texts.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect();
    let resolver = Some(Answers::new(answers.iter().map(answer).collect()));
    Testbed { resolver, ..Testbed::default() }.run(&plan)
}

fn at<'a>(told: &'a Told, address: &str) -> Option<&'a AddressCount> {
    let ip: IpAddr = address.parse().unwrap();
    let of = |address: &Option<SocketAddr>| address.is_some_and(|address| address.ip() == ip);
    let phase = &told.measured.tally.phases[0];
    phase.addresses.iter().find(|(address, _)| of(address)).map(|(_, count)| count)
}

#[test]
fn sessions_go_to_the_first_address_that_answers_and_each_is_counted() {
    // The listener is only at 127.0.0.1.
    let told = run(12, &[&["127.0.0.9", "127.0.0.1"]]);
    assert_eq!((told.of(Outcome::Accepted), told.counts().opened), (12, 12));
    let counts =
        |address| at(&told, address).map(|count| (count.sessions, count.failures, count.connect.count()));
    assert_eq!((counts("127.0.0.9"), counts("127.0.0.1")), (Some((0, 12, 0)), Some((12, 0, 12))));
    let told = run(12, &[&["127.0.0.1", "127.0.0.9"]]);
    assert_eq!(at(&told, "127.0.0.1").unwrap().sessions, 12);
    assert!(at(&told, "127.0.0.9").is_none(), "it was not needed, and not tried");
}

#[test]
fn a_refusal_is_reported_whatever_else_fails_and_in_whatever_order() {
    for addresses in [["127.0.0.9", "255.255.255.255"], ["255.255.255.255", "127.0.0.9"]] {
        let mut plan = plan(vec![phase(shared(2, 1), None, Unit::Message)]);
        plan.allow = vec!["mx.recipient.example".to_owned()];
        plan.messages = Messages::Fixed(1);
        plan.threads = 1;
        let answer = addresses.map(|text| text.parse().unwrap()).to_vec();
        let resolver = Some(Answers::new(vec![answer]));
        let told = Testbed { resolver, ..Testbed::default() }.run(&plan);
        assert!(told.met("connect-refused") > 0 && told.of(Outcome::Refused) > 0, "{:?}", told.counts());
        assert_eq!(told.met("host-unreachable") + told.met("connect-timeout") + told.met("own-error"), 0);
        assert!(at(&told, "127.0.0.9").unwrap().failures > 0);
        assert!(at(&told, "255.255.255.255").unwrap().failures > 0);
    }
}

#[test]
fn a_name_that_changes_in_mid_run_gets_no_session_that_is_not_allowed() {
    let home: &[&str] = &["127.0.0.1"];
    for foreign in [&["192.0.2.1"][..], &["127.0.0.1", "192.0.2.1"], &["::ffff:192.0.2.1"]] {
        let told = run(6, &[home, home, home, foreign]);
        assert_eq!((told.of(Outcome::Accepted), told.of(Outcome::Shed)), (3, 3), "{foreign:?}");
        assert_eq!(told.ledger.messages, 3);
        assert_eq!(told.measured.tally.phases[0].addresses.len(), 1, "nobody else was connected to");
        assert!(told.met("target-not-allowed") >= 1);
        assert!(told.is_invalid_by(Code::OwnResource));
        let reasons = &told.summary.validity.reasons;
        assert!(reasons.iter().any(|reason| reason.sentence.contains("--allow-target")), "{reasons:?}");
        assert_eq!(told.verdict.exit_code.number(), 98);
    }
}

#[test]
fn a_name_that_comes_back_is_served_again() {
    let (home, foreign): (&[&str], &[&str]) = (&["127.0.0.1"], &["192.0.2.1"]);
    let told = run(6, &[home, foreign, home]);
    assert_eq!((told.of(Outcome::Accepted), told.of(Outcome::Shed)), (5, 1));
}

#[test]
fn a_search_for_limits_is_held_to_the_rule_as_well() {
    let listener =
        smtpress::listener::start("127.0.0.1:0".parse().unwrap(), Default::default(), 7, 1).unwrap();
    let mut plan = plan(vec![phase(shared(1, 1), None, Unit::Message)]);
    plan.target = Target::smtp("mx.recipient.example", listener.addr().port());
    let answers = vec![vec!["127.0.0.1".parse().unwrap()], vec!["192.0.2.1".parse().unwrap()]];
    let connector = Connector::new(&plan, None).unwrap().with_resolver(Answers::new(answers));
    let mut probes = NetworkProbes::new(&connector).unwrap();
    let opened = probes.open(&[ProbeOptions::default()], 1, std::time::Duration::from_secs(10));
    assert!(matches!(opened[..], [OpenOutcome::Open(_)]), "{opened:?}");
    let opened = probes.open(&[ProbeOptions::default()], 1, std::time::Duration::from_secs(10));
    let [OpenOutcome::OwnFailure(why)] = &opened[..] else { panic!("{opened:?}") };
    assert!(why.contains("192.0.2.1") && why.contains("--allow-target"), "{why}");
    drop(probes);
    assert_eq!(listener.stop().connections, 1);
}

#[test]
fn a_failure_to_connect_is_the_same_condition_in_a_run_and_of_a_probe() {
    for (answer, condition) in [
        (&[][..], Condition::NameNotResolved),
        (&["127.0.0.9"], Condition::ConnectRefused),
        (&["255.255.255.255"], Condition::HostUnreachable),
    ] {
        let answers = vec![answer.iter().map(|text| text.parse().unwrap()).collect()];
        let mut plan = plan(vec![phase(shared(2, 1), None, Unit::Message)]);
        plan.allow = vec!["mx.recipient.example".to_owned()];
        let told = Testbed { resolver: Some(Answers::new(answers.clone())), ..Testbed::default() }.run(&plan);
        assert!(told.met(condition.as_str()) > 0, "{condition}: {:?}", told.counts());

        plan.target = Target::smtp("mx.recipient.example", 25);
        let connector = Connector::new(&plan, None).unwrap().with_resolver(Answers::new(answers));
        let mut probes = NetworkProbes::new(&connector).unwrap();
        let opened = probes.open(&[ProbeOptions::default()], 1, std::time::Duration::from_secs(10));
        let [OpenOutcome::Refused(refusal)] = &opened[..] else { panic!("{condition}: {opened:?}") };
        assert_eq!(refusal.event, ProbeEvent::NotConnected(condition));
    }
}
