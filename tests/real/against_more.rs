//! Against Sendmail, Courier, qpsmtpd, Haraka and smtp-server: the counts of smtpress equal theirs, with the pipelining
//! that they offer and with more.

use serde_json::json;

use crate::courier::Courier;
use crate::haraka::Haraka;
use crate::qpsmtpd::Qpsmtpd;
use crate::sendmail::Sendmail;
use crate::smtp_server::SmtpServer;
use crate::smtpress;

const KEPT: &str = "--messages-per-session 0";
const FULL: &str = "--messages-per-session 0 --pipelining full";

/// Runs 200 messages with each of these flags, in ten sessions at once. Checks that the run counts all of them as
/// accepted, and that the listener has them.
#[track_caller]
fn accepted_is_taken(port: u16, loads: &[&str], taken: impl Fn() -> u64) {
    for flags in loads {
        let before = taken();
        let outcome = smtpress::run(port, &format!("-c 10 -n 200 {flags}"));
        outcome.assert_counts_reconcile();
        let counts = (outcome.count("accepted"), taken() - before);
        assert_eq!(counts, (200, 200), "{flags}: {:#}", outcome.result["conditions"]);
    }
}

// Table: Sendmail: SMTP, PIPELINING
#[test]
fn accepted_is_what_sendmail_queued() {
    let Some(sendmail) = Sendmail::plain().start() else { return };
    accepted_is_taken(sendmail.port, &["", KEPT, FULL], || sendmail.queued());
}

// Table: qpsmtpd: SMTP, PIPELINING
#[test]
fn accepted_is_what_qpsmtpd_delivered() {
    let Some(qpsmtpd) = Qpsmtpd::plain().start() else { return };
    accepted_is_taken(qpsmtpd.port, &["", KEPT, FULL], || qpsmtpd.delivered());
}

// Table: smtp-server: SMTP, PIPELINING
#[test]
fn accepted_is_what_smtp_server_took() {
    let Some(server) = SmtpServer::start(&json!({})) else { return };
    accepted_is_taken(server.port, &["", KEPT, FULL], || server.taken());
}

// A command after the content in the same group is refused: 503 Bad sequence of commands - pipelined after end of DATA
// Table: Haraka: SMTP, PIPELINING
#[test]
fn accepted_is_what_haraka_stored() {
    let Some(haraka) = Haraka::plain().start() else { return };
    accepted_is_taken(haraka.port, &["", KEPT], || haraka.stored());
    let before = haraka.stored();
    let outcome = smtpress::run(haraka.port, &format!("-c 4 -n 100 {FULL}"));
    outcome.assert_counts_reconcile();
    let (refused, sample) = outcome.condition("mail", "protocol-violation");
    assert!(sample.contains("503 Bad sequence of commands - pipelined after end of DATA"), "{sample}");
    assert_eq!((outcome.count("accepted"), haraka.stored() - before), (100 - refused, 100 - refused));
}

// A command after the content in the same group is dropped without a reply.
// Table: Courier: SMTP, PIPELINING
#[test]
fn accepted_is_what_courier_took() {
    let Some(courier) = Courier::plain().start() else { return };
    accepted_is_taken(courier.port, &["", KEPT], || courier.taken());
    let before = courier.taken();
    let outcome = smtpress::run(courier.port, &format!("-c 4 -n 12 {FULL} --set timeouts.command=1s"));
    outcome.assert_counts_reconcile();
    let (accepted, late) = (outcome.count("accepted"), outcome.count("timed_out"));
    assert!(late > 0, "{:#}", outcome.result["conditions"]);
    assert_eq!((accepted, accepted), (12 - late, courier.taken() - before));
}

/// Runs a load that reaches a limit. Checks that the limit is named with the listener's reply, and that the listener
/// has the accepted messages.
#[track_caller]
fn limit_is_named(
    port: u16,
    flags: &str,
    (step, condition, words): (&str, &str, &str),
    taken: impl Fn() -> u64,
) {
    let before = taken();
    let outcome = smtpress::run(port, &format!("{flags} --set timeouts.command=5s"));
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition(step, condition);
    assert!(count >= 1 && sample.contains(words), "{sample}");
    assert_eq!(outcome.count("accepted"), taken() - before);
}

const SESSIONS: &str = "-c 12 -n 200 --messages-per-session 0";
const RECIPIENTS: &str = "-c 2 -n 20 --recipients 5";
const SIZE: &str = "-c 2 -n 20 --size 40KiB";

// Table: Sendmail: limits
#[test]
fn the_limits_of_sendmail_are_named() {
    let settings = Sendmail::plain().connections_per_host(5);
    let settings = settings.define("confMAX_RCPTS_PER_MESSAGE", 3).define("confMAX_MESSAGE_SIZE", 30_000);
    let Some(sendmail) = settings.start() else { return };
    let taken = || sendmail.queued();
    let sessions = ("greeting", "too-many-connections", "421 4.3.2 Too many open connections.");
    limit_is_named(sendmail.port, SESSIONS, sessions, taken);
    let recipients = ("rcpt", "too-many-recipients", "452 4.5.3 Too many recipients");
    limit_is_named(sendmail.port, RECIPIENTS, recipients, taken);
    let size = (
        "mail",
        "message-size-exceeded",
        "552 5.2.3 Message size exceeds fixed maximum message size (30000)",
    );
    limit_is_named(sendmail.port, SIZE, size, taken);
}

// It closes a connection over the limit without a reply. Its tarpit would delay the second refusal of a session by
// 10 s.
// Table: Courier: limits
#[test]
fn the_limits_of_courier_are_named() {
    let settings = Courier::packaged().set("MAXPERIP", 5).set("TARPIT", 0).bofh("maxrcpts 3").size(30_000);
    let Some(courier) = settings.start() else { return };
    let taken = || courier.taken();
    limit_is_named(
        courier.port,
        SESSIONS,
        ("greeting", "closed-before-greeting", "the connection was closed"),
        taken,
    );
    limit_is_named(
        courier.port,
        RECIPIENTS,
        ("rcpt", "too-many-recipients", "431 Too many recipients."),
        taken,
    );
    limit_is_named(courier.port, SIZE, ("mail", "message-size-exceeded", "534 SIZE=Message too big."), taken);
}

// It has no limit of recipients, and enforces its size limit only at the final dot.
// Table: qpsmtpd: limits
#[test]
fn the_limits_of_qpsmtpd_are_named() {
    let Some(qpsmtpd) = Qpsmtpd::plain().per_host(5).file("databytes", 30_000).start() else { return };
    let taken = || qpsmtpd.delivered();
    let sessions = (
        "greeting",
        "too-many-connections-from-host",
        "451 too many connections from 127.0.0.1, try again later",
    );
    limit_is_named(qpsmtpd.port, SESSIONS, sessions, taken);
    limit_is_named(qpsmtpd.port, SIZE, ("body", "message-size-exceeded", "552 Message too big!"), taken);
}

// Its limit of recipients is for the whole session.
// Table: Haraka: limits
#[test]
fn the_limits_of_haraka_are_named() {
    let Some(haraka) = Haraka::plain().per_host(5).size(30_000).start() else { return };
    let sessions = ("greeting", "too-many-connections", "421 Too many concurrent connections");
    limit_is_named(haraka.port, SESSIONS, sessions, || haraka.stored());
    limit_is_named(haraka.port, SIZE, ("mail", "message-size-exceeded", "550"), || haraka.stored());
    let Some(haraka) = Haraka::plain().limit("recipients", 3).start() else { return };
    let recipients = ("rcpt", "too-many-recipients", "450 Too many recipient attempts");
    limit_is_named(haraka.port, RECIPIENTS, recipients, || haraka.stored());
}

// Table: smtp-server: limits
#[test]
fn the_limits_of_smtp_server_are_named() {
    let options = json!({ "maxClients": 5, "maxRecipients": 3, "size": 30_000 });
    let Some(server) = SmtpServer::start(&options) else { return };
    let taken = || server.taken();
    limit_is_named(
        server.port,
        SESSIONS,
        ("greeting", "too-many-connections", "421 smtp-server.test Too many connected clients"),
        taken,
    );
    limit_is_named(
        server.port,
        RECIPIENTS,
        ("rcpt", "too-many-recipients", "452 Error: too many recipients"),
        taken,
    );
    limit_is_named(
        server.port,
        SIZE,
        ("mail", "message-size-exceeded", "552 Error: message exceeds fixed maximum message size 30000"),
        taken,
    );
}
