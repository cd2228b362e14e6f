//! Against smtp-sink: no message is lost, and none is counted that was not sent.

use crate::sink::Sink;
use crate::smtpress;

// Table: smtp-sink: SMTP
#[test]
fn every_message_of_twenty_thousand_is_accepted_and_counted_once() {
    let Some(sink) = Sink::start() else { return };
    let outcome = smtpress::run(sink.port, "-c 50 -n 20000 --messages-per-session 0");
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 20_000);
    assert_eq!(sink.messages(), 20_000);
}

// Table: smtp-sink: SMTP
#[test]
fn a_session_for_every_message_loses_none_either() {
    let Some(sink) = Sink::start() else { return };
    let outcome = smtpress::run(sink.port, "-c 20 -n 2000 --messages-per-session 1");
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 2_000);
    assert_eq!(sink.messages(), 2_000);
}
