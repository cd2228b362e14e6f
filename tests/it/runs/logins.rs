//! Logins under load: the listener's counts, by user, against the sessions that logged in.

use std::sync::Arc;

use smtpress::collector::{Metric, Outcome};
use smtpress::listener::limits::Limits;
use smtpress::plan::{Logins, Messages, Plan, Unit};
use smtpress::smtp::Step;
use smtpress::smtp::auth::verify::Users;
use smtpress::smtp::auth::{Login, Mechanism, Secret};

use super::testbed::{Told, phase, plan, run, shared};

fn names(count: usize) -> impl Iterator<Item = (String, Secret)> {
    (0..count).map(|n| (format!("user{n}"), Secret::new(&format!("secret of {n}"))))
}

fn logging_in(sessions: u64, logins: Logins) -> Plan {
    let mut plan = plan(vec![phase(shared(sessions, 20), None, Unit::Session)]);
    plan.messages = Messages::Fixed(1);
    plan.script.clear_text_login = true;
    plan.logins = logins;
    plan
}

fn logins(mechanism: Mechanism, count: usize) -> Logins {
    Logins {
        users: names(count).map(|(user, secret)| Login::new(mechanism, &user, secret)).collect(),
        random: false,
    }
}

fn listener(count: usize) -> Limits {
    Limits { users: Some(Arc::new(Users::new(names(count)))), require_auth: true, ..Limits::default() }
}

fn timed(told: &Told, outcome: Outcome) -> u64 {
    told.hist(Metric::Step(Step::Auth), outcome).count()
}

#[test]
fn a_thousand_users_log_in_in_turn_and_the_ledger_counts_each() {
    let told = run(&logging_in(3000, logins(Mechanism::Plain, 1000)), listener(1000));
    assert_eq!((told.of(Outcome::Accepted), timed(&told, Outcome::Accepted)), (3000, 3000));
    assert_eq!((told.ledger.logins, told.ledger.failed_logins, told.ledger.messages), (3000, 0, 3000));
    assert_eq!(told.ledger.logins_by_user.len(), 1000);
    assert!(told.ledger.logins_by_user.values().all(|count| *count == 3), "{:?}", told.ledger.logins_by_user);
}

#[test]
fn drawn_users_are_the_same_for_a_seed_and_other_mechanisms_carry_load_too() {
    let drawn = |mechanism, seed| {
        let random = Logins { random: true, ..logins(mechanism, 10) };
        let told = run(&Plan { seed, ..logging_in(200, random) }, listener(10));
        assert_eq!((told.of(Outcome::Accepted), told.ledger.logins), (200, 200));
        told.ledger.logins_by_user
    };
    let first = drawn(Mechanism::ScramSha256, 7);
    assert_eq!(first, drawn(Mechanism::CramMd5, 7));
    assert_ne!(first, drawn(Mechanism::Oauthbearer, 8));
    assert!(first.len() == 10 && first.values().any(|count| *count != 20), "{first:?}");
}

#[test]
fn refused_logins_are_named_at_their_step_and_carry_no_message() {
    let mut wrong = logins(Mechanism::Login, 4);
    wrong.users[1] = Login::new(Mechanism::Login, "user1", Secret::new("guessed"));
    let told = run(&logging_in(40, wrong), listener(4));
    assert_eq!((told.of(Outcome::Accepted), told.of(Outcome::Rejected)), (30, 10));
    assert_eq!((told.met("auth-failed"), timed(&told, Outcome::Rejected)), (10, 10));
    assert_eq!((told.ledger.logins, told.ledger.failed_logins, told.ledger.messages), (30, 10, 30));

    let missing = run(&logging_in(5, logins(Mechanism::Plain, 1)), Limits::default());
    assert_eq!((missing.met("auth-not-available"), missing.ledger.messages), (5, 0));

    let limits = Limits { auth_requires_encryption: true, ..listener(1) };
    let clear = run(&logging_in(5, logins(Mechanism::Plain, 1)), limits);
    assert_eq!((clear.met("encryption-required"), clear.ledger.logins, clear.ledger.messages), (5, 0, 0));
}
