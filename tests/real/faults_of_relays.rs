//! Relays with faults: each fault is found, and counted exactly as in the relay's own ledger.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::faulty_relay::{FaultyRelay, expected};
use crate::listener;
use crate::smtpress::{self, Outcome};

/// The counts that both the ledger of a relay and the result of a run have.
const COUNTS: [&str; 10] = [
    "delivered",
    "missing",
    "bounced",
    "duplicated",
    "altered",
    "unexpected",
    "bounced_and_delivered",
    "in_doubt_delivered",
    "in_doubt_bounced",
    "in_doubt_missing",
];

/// Runs through a relay with faults. Returns the result and the relay's ledgers.
fn through(faults: &str, drain: &str, flags: &str) -> Option<(Outcome, Vec<Value>)> {
    let next = listener::free_port();
    let relay = FaultyRelay::start(next, faults)?;
    let flags = format!("--receive 127.0.0.1:{next} --drain {drain} --messages-per-session 0 -c 10 {flags}");
    let outcome = smtpress::run(relay.port, &flags);
    outcome.assert_counts_reconcile();
    outcome.assert_deliveries_reconcile();
    Some((outcome, relay.ledgers()))
}

/// Checks that every count is that of the ledgers.
#[track_caller]
pub fn assert_as_in(ledgers: &[Value], outcome: &Outcome) {
    let found = COUNTS.map(|count| (count, outcome.delivery(count)));
    assert_eq!(found, COUNTS.map(|count| (count, expected(ledgers, count))));
    assert_eq!(outcome.foreign(), expected(ledgers, "foreign"));
}

/// Some of every fault, and all harmless changes.
pub const ALL: &str = "--fault drop=50 --fault duplicate=50 --fault swap=30 --fault rewrite=50 --fault subject=70 --fault footer=80 \
    --fault foreign=60 --fault bounce=50 --fault delay=90 --fault both=90 --fault vanish-kept=100 --fault vanish-lost=100 \
    --fault refuse=90 --fault refuse-temporarily=95";

#[test]
fn each_fault_is_counted_as_in_the_ledger() {
    let flags = "-n 10000 --set message.text=message-{n}";
    let Some((outcome, ledgers)) = through(ALL, "8s", flags) else { return };
    assert_as_in(&ledgers, &outcome);
    for fault in ["missing", "duplicated", "altered", "unexpected", "bounced"] {
        assert!(outcome.delivery(fault) > 20, "{fault}");
    }
    assert_eq!(outcome.exit_code_or_busy(), 99);
}

#[test]
fn each_fault_is_counted_for_each_recipient() {
    let flags = "-n 3000 --recipients 3 --set message.text=message-{n}";
    let relay = format!("{ALL} --fault split --fault strip-x --returns full");
    let Some((outcome, ledgers)) = through(&relay, "40s", flags) else { return };
    assert_as_in(&ledgers, &outcome);
}

// The messages that are in doubt and those that are deferred are sent again; the relay had delivered some of them already.
#[test]
fn what_is_tried_again_and_had_come_out_is_duplicated_as_in_the_ledger() {
    let faults = "--once --fault refuse-temporarily=20 --fault vanish-kept=25 --fault vanish-lost=30";
    let flags = "-n 3000 --recipients 2 --set session.retry.schedule=200ms --set message.text=message-{n}";
    let Some((outcome, ledgers)) = through(faults, "60s", flags) else { return };
    assert_as_in(&ledgers, &outcome);
    let faulty = |fault: &str| ledgers[0]["faults"][fault].as_array().unwrap().len() as u64 / 2;
    let (deferred, kept, lost) = (faulty("refuse-temporarily"), faulty("vanish-kept"), faulty("vanish-lost"));
    assert!(deferred.min(kept).min(lost) > 40, "{deferred} {kept} {lost}");
    assert_eq!((outcome.count("accepted"), outcome.delivery("delivered")), (3000, 6000));
    assert_eq!((outcome.delivery("duplicated"), outcome.delivery("unexpected")), (2 * (deferred + kept), 0));
    let retry = &outcome.result["phases"][0]["retry"];
    assert_eq!(retry["attempts"], ledgers[0]["counts"]["messages"]);
    assert_eq!(retry["retries"], deferred + kept + lost);
    assert_eq!(retry["possibly_doubled"], kept + lost);
    assert_eq!(retry["outcomes"]["in_doubt"], kept + lost);
}

// A message that some accepted is sent again to the others alone: nobody gets it twice, and nobody who was refused gets it unexpectedly.
#[test]
fn what_is_tried_again_for_some_recipients_is_delivered_once_to_each() {
    let flags = "-n 3000 --recipients 4 --set session.retry.schedule=200ms --set message.text=message-{n}";
    let Some((outcome, ledgers)) = through("--defer 5", "60s", flags) else { return };
    assert_as_in(&ledgers, &outcome);
    let of_relay = |count: &str| ledgers[0]["counts"][count].as_u64().unwrap();
    assert!(of_relay("deferred") > 2000);
    assert_eq!((outcome.count("accepted"), outcome.delivery("delivered")), (3000, 12_000));
    assert_eq!((outcome.delivery("duplicated"), outcome.delivery("unexpected")), (0, 0));
    let recipients = |count: &str| outcome.result["phases"][0]["recipients"][count].as_u64().unwrap();
    assert_eq!((recipients("accepted"), recipients("refused")), (12_000, of_relay("deferred")));
    let retry = &outcome.result["phases"][0]["retry"];
    // For a message whose recipients are all deferred, no content is sent.
    let all_deferred = retry["outcomes"]["deferred"].as_u64().unwrap();
    assert_eq!(retry["attempts"], of_relay("messages") + all_deferred);
}

#[test]
fn what_relays_add_remove_and_encode_is_no_fault() {
    for harmless in [
        "--fault strip-x --fault base64",
        "--fault quoted-printable --fault decorate",
        "--fault split --fault decorate --hold uniform:0:0.2",
    ] {
        let flags = "-n 1000 --recipients 2 --set message.text=Gr\u{fc}\u{df}e-{n}";
        let Some((outcome, ledgers)) = through(harmless, "60s", flags) else { return };
        assert_as_in(&ledgers, &outcome);
        assert_eq!((outcome.delivery("delivered"), outcome.delivery("altered")), (2000, 0), "{harmless}");
        assert_eq!(outcome.exit_code_or_busy(), 0, "{harmless}");
    }
}

// With another Message-ID, a reply to the message does not match it.
#[test]
fn another_message_id_is_a_change_and_the_message_is_known_all_the_same() {
    let Some((outcome, _)) = through("--fault strip-id", "60s", "-n 200") else { return };
    assert_eq!((outcome.delivery("delivered"), outcome.delivery("altered")), (200, 200));
    let what = &outcome.result["delivery"]["altered"][0]["what"];
    assert_eq!(what, "header field message-id is changed");
}

#[test]
fn what_is_cut_at_64_kib_is_altered() {
    let flags = "-n 500 --set message.size={min=40000,max=100000}";
    let Some((outcome, ledgers)) = through("--fault truncate=65536", "60s", flags) else { return };
    assert_as_in(&ledgers, &outcome);
    assert!(outcome.delivery("altered") > 100);
}

// A run of two seconds. After one second the relay loses the messages in its memory, or dies and is started again.
fn lossy(seed: u64, dies: bool) -> Option<(Outcome, Vec<Value>)> {
    let next = listener::free_port();
    let relay = FaultyRelay::start(next, &format!("--seed {seed} --hold exponential:0.3"))?;
    let script = if dies { relay.crash_script() } else { relay.loss_script() };
    let profile = format!(
        "schema = 1\nname = \"lossy\"\nseed = {seed}\n[target]\naddress = \"smtp://127.0.0.1:{}\"\n[message]\nsize = \"1k\"\n\
         [receive]\naddress = [\"127.0.0.1:{next}\"]\ndrain = \"4s\"\n\
         [[event]]\nname = \"loss\"\nat = \"1s\"\nrun = '''{script}'''\n\
         [[phase]]\nname = \"p\"\nload = \"constant-rate\"\nrate = \"300/s\"\nfor = \"2s\"\nmax_sessions = 20\n",
        relay.port
    );
    let outcome = smtpress::start_profile(&profile).wait();
    outcome.assert_counts_reconcile();
    outcome.assert_deliveries_reconcile();
    Some((outcome, relay.ledgers()))
}

#[test]
fn what_a_relay_loses_is_missing_in_twenty_of_twenty_runs() {
    for seed in 1..=20 {
        let Some((outcome, ledgers)) = lossy(seed, false) else { return };
        assert_as_in(&ledgers, &outcome);
        assert!(outcome.delivery("missing") > 20, "{seed}");
        // The counts of both sides of the event add up to the total.
        let side = |side: &str, count: &str| {
            outcome.result["events"][0]["effect"][side]["delivery"][count].as_u64().unwrap()
        };
        for count in ["accepted_recipients", "delivered", "bounced", "missing"] {
            assert_eq!(
                side("before", count) + side("after", count),
                outcome.delivery(count),
                "{seed} {count}"
            );
        }
        assert!(matches!(outcome.exit_code_or_busy(), 98 | 99), "{seed}");
    }
}

// The client may not read the last reply of a dying relay. Then the message is in doubt, and it is missing too.
#[test]
fn what_a_dying_relay_had_in_memory_is_missing() {
    for seed in 1..=5 {
        let Some((outcome, ledgers)) = lossy(seed, true) else { return };
        let lost = |of: &dyn Fn(&str) -> u64| of("missing") + of("in_doubt_missing");
        // A message in doubt that did not reach the relay is in no ledger.
        let (found, known) =
            (lost(&|count| outcome.delivery(count)), lost(&|count| expected(&ledgers, count)));
        assert!(
            (known..=known + outcome.delivery("in_doubt_missing")).contains(&found),
            "{seed}: {found}, {known}"
        );
        assert!(outcome.delivery("missing") <= known, "{seed}");
        assert_eq!(outcome.delivery("duplicated"), 0, "{seed}");
    }
}

// The relay holds each message for a drawn time, and records the true time.
#[test]
fn transit_is_as_long_as_the_relay_held_the_message() {
    let flags = "-r 400/s --for 25s";
    let relay = "--sessions 40 --hold lognormal:0.2:0.8";
    let Some((outcome, ledgers)) = through(relay, "60s", flags) else { return };
    assert_eq!(outcome.delivery("delivered"), 10_000);
    for (quantile, name) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
        let truth = ledgers[0]["transit_ns"][name].as_f64().unwrap();
        let found = outcome.percentile_ns("transit", quantile) as f64;
        assert!((found - truth).abs() < truth / 100.0 + 2e6, "{name}: {found} ns, and was {truth} ns");
    }
}

#[test]
fn a_relay_that_never_delivers_misses_all_and_the_drain_ends() {
    let Some((outcome, ledgers)) = through("--fault never", "2s", "-n 200") else { return };
    assert_as_in(&ledgers, &outcome);
    assert_eq!(outcome.delivery("missing"), 200);
    assert_eq!(outcome.exit_code_or_busy(), 99);
}

#[test]
fn a_message_of_another_run_is_foreign_and_matches_nothing() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "--hold fixed:2") else { return };
    // The messages of the first run come out while the second run receives.
    let first = smtpress::run(relay.port, "-n 100 -c 4 --seed 5");
    assert_eq!(first.count("accepted"), 100);
    let second = smtpress::run(
        relay.port,
        &format!(
            "-n 50 -c 4 --seed 5 --receive 127.0.0.1:{next} --drain 20s --set message.to=u{{n}}@recipient.example"
        ),
    );
    assert_eq!((second.delivery("delivered"), second.foreign()), (50, 100));
    assert_eq!((second.delivery("duplicated"), second.delivery("altered")), (0, 0));
}

#[test]
fn a_receiver_that_cannot_listen_sends_nothing() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "") else { return };
    let taken = std::net::TcpListener::bind(("127.0.0.1", next)).unwrap();
    let (code, said) = smtpress::refused(relay.port, &format!("-n 50 --receive 127.0.0.1:{next}"));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("127.0.0.1:{next}")), "{said}");
    assert!(relay.ledgers()[0]["counts"]["messages"].is_null(), "something was sent");
    drop(taken);
}

// Ctrl-C during the wait for deliveries: the counts so far are reported, and reconcile.
#[test]
fn an_interrupted_drain_reconciles() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "--rate 100") else { return };
    let run = smtpress::start(relay.port, &format!("-n 1000 -c 10 --receive 127.0.0.1:{next} --drain 60s"));
    thread::sleep(Duration::from_secs(5));
    run.signal("INT");
    let outcome = run.wait();
    outcome.assert_deliveries_reconcile();
    let (delivered, missing) = (outcome.delivery("delivered"), outcome.delivery("missing"));
    assert_eq!((outcome.delivery("accepted_recipients"), delivered + missing), (1000, 1000));
    assert!(delivered > 0 && missing > 0, "{delivered} delivered, {missing} missing");
    assert_eq!(outcome.result["verdict"]["exit_code"], 105);
}

#[test]
fn deliveries_by_lmtp_count_as_well() {
    let flags = "-n 1000 --recipients 3 --set receive.protocol=lmtp --set receive.listener.unknown_recipients=[\"user7*@*\"]";
    let Some((outcome, ledgers)) = through("--lmtp --fault duplicate=20", "60s", flags) else { return };
    assert_as_in(&ledgers, &outcome);
    assert!(outcome.delivery("bounced") > 100);
}
