//! Runs through real relays: the counts of the receiver are those of the relays' logs.

use std::collections::BTreeMap;

use crate::exim_relay::EximRelay;
use crate::listener::{self, wait_until};
use crate::opensmtpd::Opensmtpd;
use crate::postfix::Postfix;
use crate::relay::{Account, Relay};
use crate::smtpress::{self, Outcome};

/// The number of messages in a plain run of the tests, and in that of each night.
const FEW: u64 = 2_000;
const MANY: u64 = 20_000;

/// The recipients are ten mailboxes in turn. The next hop refuses one of them as unknown, with its own code.
const TO: &str = "--set message.to=user{n:0..9}@recipient.example \
    --set receive.listener.style=postfix --set receive.listener.unknown_recipients=[\"user3@*\"]";

/// Runs through the relay to a receiver at `next`, with ten sessions as fast as possible.
fn through(relay: &impl Relay, next: u16, messages: u64, flags: &str) -> Outcome {
    let load =
        format!("-n {messages} -c 10 --messages-per-session 50 --receive 127.0.0.1:{next} --drain 25m");
    let outcome = smtpress::start(relay.port(), &format!("{load} {flags}")).wait_for(60);
    outcome.assert_counts_reconcile();
    outcome.assert_deliveries_reconcile();
    assert_eq!(outcome.count("accepted"), messages);
    assert!(wait_until(|| relay.waiting() == 0), "{} in the queue", relay.waiting());
    outcome
}

/// Checks that every message comes out once and unchanged, and that for each refused one the reply comes back.
fn carries(relay: &impl Relay, next: u16, messages: u64) {
    let outcome = through(relay, next, messages, TO);
    let Account { delivered, bounced } = relay.account();
    let refused = messages / 10;
    assert_eq!((outcome.delivery("delivered"), delivered), (messages - refused, messages - refused));
    assert_eq!(outcome.delivery("bounced"), refused);
    assert_eq!(outcome.bounces(), bounced);
    assert_eq!(bounced.values().sum::<u64>(), refused);
    assert_nothing_else(&outcome, &["delivered", "bounced"]);
}

/// Checks that all counts except these are 0.
#[track_caller]
fn assert_nothing_else(outcome: &Outcome, counted: &[&str]) {
    let others =
        ["missing", "duplicated", "altered", "unexpected", "in_doubt", "bounced_and_delivered", "bounced"];
    let found: BTreeMap<&str, u64> = others
        .into_iter()
        .filter(|name| !counted.contains(name))
        .map(|name| (name, outcome.delivery(name)))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(outcome.foreign(), 0);
}

// Table: Postfix: relay
#[test]
fn what_postfix_hands_on_comes_out() {
    let next = listener::free_port();
    let Some(postfix) = Postfix::plain().relay_to(next).start() else { return };
    carries(&postfix, next, FEW);
}

// Table: Exim: relay
#[test]
fn what_exim_hands_on_comes_out() {
    let next = listener::free_port();
    let Some(exim) = EximRelay::to(next) else { return };
    carries(&exim, next, FEW);
}

// Table: OpenSMTPD: relay
#[test]
fn what_opensmtpd_hands_on_comes_out() {
    let next = listener::free_port();
    let Some(opensmtpd) = Opensmtpd::relay_to(next) else { return };
    carries(&opensmtpd, next, FEW);
}

// Table: Postfix: relay
#[test]
#[ignore = "two minutes; CI runs it each night"]
fn what_postfix_hands_on_in_twenty_thousand_comes_out() {
    let next = listener::free_port();
    let Some(postfix) = Postfix::plain().relay_to(next).start() else { return };
    carries(&postfix, next, MANY);
}

// Table: Postfix: relay
#[test]
#[ignore = "a quarter of an hour; CI runs it each night"]
fn what_postfix_hands_on_in_a_hundred_and_twenty_thousand_comes_out() {
    let next = listener::free_port();
    let Some(postfix) = Postfix::plain().relay_to(next).start() else { return };
    carries(&postfix, next, 6 * MANY);
}

// Table: Exim: relay
#[test]
#[ignore = "five minutes; CI runs it each night"]
fn what_exim_hands_on_in_twenty_thousand_comes_out() {
    let next = listener::free_port();
    let Some(exim) = EximRelay::to(next) else { return };
    carries(&exim, next, MANY);
}

// Table: OpenSMTPD: relay
#[test]
#[ignore = "four minutes; CI runs it each night"]
fn what_opensmtpd_hands_on_in_twenty_thousand_comes_out() {
    let next = listener::free_port();
    let Some(opensmtpd) = Opensmtpd::relay_to(next) else { return };
    carries(&opensmtpd, next, MANY);
}

// All processes of Postfix are killed at once in the middle of the load, and it is started again with the same queue.
// Table: Postfix: relay
#[test]
fn what_postfix_accepted_before_it_was_killed_comes_out() {
    let next = listener::free_port();
    let Some(postfix) = Postfix::plain().relay_to(next).start() else { return };
    let profile = format!(
        "schema = 1\nname = \"crash\"\n[target]\naddress = \"smtp://127.0.0.1:{}\"\n[message]\nsize = \"2k\"\n\
         [receive]\naddress = [\"127.0.0.1:{next}\"]\ndrain = \"2m\"\n\
         [[event]]\nname = \"crash\"\nat = \"4s\"\nrun = '''{}'''\n\
         [[phase]]\nname = \"p\"\nload = \"constant-rate\"\nrate = \"100/s\"\nfor = \"25s\"\nmax_sessions = 50\n\
         [[assert]]\nexpr = \"unexpected rate <= 1%\"\nremove = true\n",
        postfix.port,
        postfix.crash_script()
    );
    let outcome = smtpress::start_profile(&profile).wait_for(5);
    outcome.assert_counts_reconcile();
    outcome.assert_deliveries_reconcile();
    assert_eq!(outcome.result["events"][0]["status"], "done", "{:#}", outcome.result["events"]);
    assert_eq!(outcome.delivery("missing"), 0, "{:#}", outcome.result["delivery"]);
    assert!(outcome.delivery("delivered") > 300);
    assert_eq!((outcome.delivery("altered"), outcome.delivery("unexpected")), (0, 0));
    // The script starts with the kill, and ends when Postfix has started again.
    let event = &outcome.result["events"][0];
    let seen = |key: &str| event[key].as_f64().unwrap();
    let outage = |key: &str| event["effect"]["outage"][key].as_f64().unwrap();
    let (from, to) = (outage("from_s") - seen("started_s"), outage("to_s") - seen("ended_s"));
    assert!(from.abs() < 1.0 && to.abs() < 1.0, "{from} {to}: {event:#}");
    // On a busy machine the times after the restart may be long for a while.
    if let Some(recovery) = event["effect"]["recovery_s"].as_f64() {
        let recovered = recovery - (seen("ended_s") - seen("started_s"));
        assert!(recovered > -1.0, "{recovered}: {event:#}");
    }
    let missing = |side: &str| event["effect"][side]["delivery"]["missing"].as_u64();
    assert_eq!((missing("before"), missing("after")), (Some(0), Some(0)));
}

// One message in 50 says `number-7`, one in 50 has the subject `of-31`.
// Table: Postfix: relay
#[test]
fn what_postfix_rewrites_is_altered() {
    let next = listener::free_port();
    let settings = Postfix::plain()
        .relay_to(next)
        .set("body_checks", "regexp:{{/^number-7/ REPLACE number seven}}")
        .set("header_checks", "regexp:{{/^Subject: of-31/ REPLACE Subject: of thirty-one}}");
    let Some(postfix) = settings.start() else { return };
    let texts = "--set message.text=number-{n:0..49} --set message.subject=of-{n:0..49}";
    let outcome = through(&postfix, next, FEW, texts);
    let rewritten = postfix.lines(": replace: ") as u64;
    assert_eq!((outcome.delivery("altered"), rewritten), (FEW / 25, FEW / 25));
    assert_nothing_else(&outcome, &["altered"]);
}

// Without X- fields a message is known by its Message-ID.
// Table: Postfix: relay
#[test]
fn what_postfix_removes_of_the_x_fields_is_no_change() {
    let next = listener::free_port();
    let settings = Postfix::plain().relay_to(next).set("header_checks", "regexp:{{/^X-Smtpress/ IGNORE}}");
    let Some(postfix) = settings.start() else { return };
    let outcome = through(&postfix, next, FEW, "");
    assert_eq!(outcome.delivery("delivered"), FEW);
    assert_nothing_else(&outcome, &["delivered"]);
}
