//! Listeners that stall or die during the run: the counts still reconcile, and the report is written.

use std::thread;
use std::time::Duration;

use crate::exim::Exim;
use crate::listener::wait_until;
use crate::postfix::Postfix;
use crate::sink::Sink;
use crate::smtpress;

/// How long a listener stalls.
const STALL: Duration = Duration::from_secs(1);

// Table: smtp-sink: standstill and death
#[test]
fn a_sink_that_stands_still_for_a_second_loses_nothing_and_the_second_is_seen() {
    let Some(sink) = Sink::start() else { return };
    let run = smtpress::start(sink.port, "-c 20 -n 20000 --messages-per-session 0");
    assert!(wait_until(|| sink.messages() >= 500));
    sink.processes.signal("STOP");
    assert!(sink.messages() < 19_000, "the run was over before the listener stood still");
    thread::sleep(STALL);
    sink.processes.signal("CONT");
    let outcome = run.wait();
    outcome.assert_counts_reconcile();
    outcome.assert_report_is_written();
    assert_eq!((outcome.count("accepted"), sink.messages()), (20_000, 20_000));
    // The messages in progress were answered only after the stall, so their response times have this lower bound.
    let metrics = outcome.result["metrics"].as_array().unwrap();
    let responses =
        metrics.iter().filter(|metric| metric["name"] == "response" && metric["outcome"] == "accepted");
    let longest = responses.map(|metric| metric["max_ns"].as_u64().unwrap()).max();
    assert!(longest >= Some(950_000_000), "the stall is not in the response times: {longest:?} ns");
}

/// M2 with SIGSTOP: the listener stalls for half of an open load of 10 s. The response time at quantile q is at least
/// S - (1 - q) T.
fn m2_half_of_the_time(port: u16, taken: impl Fn() -> u64, signal: impl Fn(&str)) {
    const RATE: u64 = 40;
    const LENGTH: u64 = 10;
    const STOPPED: u64 = 5;
    let flags = format!("-r {RATE}/s -z {LENGTH}s -c 20 --messages-per-session 0");
    let run = smtpress::start(port, &flags);
    assert!(wait_until(|| taken() >= RATE / 2));
    signal("STOP");
    let before = taken();
    thread::sleep(Duration::from_secs(STOPPED));
    signal("CONT");
    let outcome = run.wait();
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), RATE * LENGTH);
    // If it stalled early enough, the whole stall is within the load.
    assert!(before < RATE * (LENGTH - STOPPED), "{before} messages were taken before it stood still");
    let p90 = outcome.response_ns(0.9);
    assert!(p90 >= (STOPPED - LENGTH / 10) * 980_000_000, "p90 of the response is {p90} ns");
}

// Table: smtp-sink: standstill and death
#[test]
fn m2_a_sink_that_stands_still_for_half_of_the_time() {
    let Some(sink) = Sink::start() else { return };
    m2_half_of_the_time(sink.port, || sink.messages(), |signal| sink.processes.signal(signal));
    assert_eq!(sink.messages(), 400);
}

// Table: Postfix: standstill and death
#[test]
fn m2_a_postfix_that_stands_still_for_half_of_the_time() {
    let Some(postfix) = Postfix::plain().start() else { return };
    let taken = || postfix.queued().len() as u64;
    m2_half_of_the_time(postfix.port, taken, |signal| postfix.processes.signal(signal));
    assert_eq!(postfix.queued_in_the_end(400), 400);
}

// Table: Postfix: standstill and death
#[test]
fn a_postfix_that_stands_still_loses_nothing() {
    let Some(postfix) = Postfix::plain().start() else { return };
    let run = smtpress::start(postfix.port, "-c 10 -n 2000 --messages-per-session 0");
    assert!(wait_until(|| postfix.queued().len() >= 50));
    postfix.processes.signal("STOP");
    thread::sleep(STALL);
    postfix.processes.signal("CONT");
    let outcome = run.wait();
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 2_000);
    assert_eq!(postfix.queued_in_the_end(2_000), 2_000);
}

// Table: smtp-sink: standstill and death
#[test]
fn a_sink_that_is_killed_leaves_no_more_in_doubt_than_was_under_way() {
    let Some(sink) = Sink::start() else { return };
    let run = smtpress::start(sink.port, "-c 20 -n 20000 --messages-per-session 0");
    assert!(wait_until(|| sink.messages() >= 500));
    sink.processes.signal("KILL");
    let outcome = run.wait();
    let (accepted, in_doubt, counted) =
        (outcome.count("accepted"), outcome.count("in_doubt"), sink.messages());
    outcome.assert_counts_reconcile();
    outcome.assert_report_is_written();
    assert!(accepted < 20_000, "the run was over before the listener died");
    assert!(in_doubt <= 20, "{in_doubt} in doubt of 20 sessions");
    // M10b.
    assert!(
        accepted <= counted && counted <= accepted + in_doubt,
        "{accepted} <= {counted} <= {accepted} + {in_doubt}"
    );
}

// Table: Exim: standstill and death
#[test]
fn an_exim_that_is_killed_has_what_was_accepted_in_its_log() {
    let Some(exim) = Exim::plain().start() else { return };
    let run = smtpress::start(exim.port, "-c 10 -n 5000 --messages-per-session 0");
    assert!(wait_until(|| exim.taken() >= 50));
    exim.processes.signal("KILL");
    let outcome = run.wait();
    let (accepted, in_doubt, taken) = (outcome.count("accepted"), outcome.count("in_doubt"), exim.taken());
    outcome.assert_counts_reconcile();
    outcome.assert_report_is_written();
    assert!(accepted < 5_000, "the run was over before the listener died");
    assert!(in_doubt <= 10, "{in_doubt} in doubt of 10 sessions");
    assert!(
        accepted <= taken && taken <= accepted + in_doubt,
        "{accepted} <= {taken} <= {accepted} + {in_doubt}"
    );
}
