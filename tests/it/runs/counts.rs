//! The counts reconcile with any load model and any behaviour of the listener.

use std::time::Duration;

use smtpress::collector::Outcome;
use smtpress::listener::limits::Limits;
use smtpress::load::{Curve, LoadModel, Think};
use smtpress::net::address::addresses::Addresses;
use smtpress::net::address::origin::{ClientAddress, ProxyVersion};
use smtpress::plan::{Messages, Unit};

use super::testbed::{SECOND, phase, plan, rate, run, shared};

#[test]
fn shared_messages_are_all_accepted_once() {
    let told = run(&plan(vec![phase(shared(2000, 20), None, Unit::Message)]), Limits::default());
    assert_eq!(told.of(Outcome::Accepted), 2000);
    assert_eq!(told.ledger.messages, 2000);
    assert_eq!(told.counts().opened, 20);
}

#[test]
fn the_bytes_of_a_proxy_header_are_sent_like_any_other() {
    let sent = |origin: ClientAddress| {
        let mut plan = plan(vec![phase(shared(20, 4), None, Unit::Message)]);
        plan.messages = Messages::Fixed(1);
        let proxy = matches!(origin, ClientAddress::Proxied(..));
        plan.origin = origin;
        let told = run(&plan, Limits { proxy, ..Limits::default() });
        assert_eq!(told.of(Outcome::Accepted), 20);
        told.counts().bytes_sent
    };
    // A header of version 2 for IPv4 has 16 bytes and two addresses with their ports.
    assert_eq!(
        sent(ClientAddress::Proxied(ProxyVersion::V2, Addresses::default())) - sent(ClientAddress::Any),
        20 * 28
    );
}

#[test]
fn one_message_a_session_opens_exactly_one_session_a_message() {
    let mut plan = plan(vec![phase(shared(300, 10), None, Unit::Message)]);
    plan.messages = Messages::Fixed(1);
    let told = run(&plan, Limits::default());
    assert_eq!((told.of(Outcome::Accepted), told.counts().opened, told.ledger.connections), (300, 300, 300));
}

#[test]
fn an_open_load_of_messages_starts_every_arrival() {
    let told = run(&plan(vec![phase(rate(200.0), Some(2 * SECOND), Unit::Message)]), Limits::default());
    assert_eq!(told.of(Outcome::Accepted), 400);
}

#[test]
fn sessions_as_arrivals_carry_all_their_messages() {
    let mut plan = plan(vec![phase(rate(50.0), Some(2 * SECOND), Unit::Session)]);
    plan.messages = Messages::Fixed(3);
    let told = run(&plan, Limits::default());
    assert_eq!((told.of(Outcome::Accepted), told.ledger.messages, told.ledger.connections), (100, 300, 100));
}

#[test]
fn a_closed_load_of_sessions_keeps_its_concurrency() {
    let sessions =
        LoadModel::Sessions { curve: Curve { points: vec![(Duration::ZERO, 8.0)] }, think: Think::default() };
    let mut plan = plan(vec![phase(sessions, Some(SECOND), Unit::Session)]);
    plan.messages = Messages::Fixed(1);
    let told = run(&plan, Limits::default());
    assert!(told.of(Outcome::Accepted) > 50);
    assert!(told.ledger.sessions_peak <= 9, "{:?}", told.ledger);
}

#[test]
fn held_sessions_rest_until_the_end_and_then_leave() {
    let held = LoadModel::Held { sessions: 50, rate: 200.0 };
    let told = run(&plan(vec![phase(held, Some(SECOND), Unit::Session)]), Limits::default());
    assert_eq!((told.of(Outcome::Accepted), told.ledger.sessions_peak, told.ledger.messages), (50, 50, 0));
}
