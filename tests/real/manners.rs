//! Clients that misbehave on purpose, and the reactions of real listeners: a time-out for a silent client, and
//! postscreen for a client that sends before the greeting.

use crate::exim::Exim;
use crate::postfix::Postfix;
use crate::smtpress;

/// The listener waits for one second, and the client is silent for five seconds after MAIL, RCPT and DATA in one group.
/// (With BDAT the group would also contain the content.)
const SILENCE: &str =
    "-c 3 -n 3 --set session.chunking=off --set session.misbehave.stall={after=\"mail\",for=\"5s\"}";

// Table: Postfix: time-outs
#[test]
fn a_client_that_is_silent_meets_the_time_out_of_postfix() {
    let Some(postfix) = Postfix::plain().set("smtpd_timeout", "1s").start() else { return };
    let outcome = smtpress::run(postfix.port, SILENCE);
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("idle", "idle-timeout");
    assert_eq!((count, outcome.count("accepted")), (3, 0));
    assert!(sample.contains("421 4.4.2 postfix.test Error: timeout exceeded"), "{sample}");
    assert_eq!(postfix.lines("timeout after DATA (0 bytes) from unknown[127.0.0.1]"), 3, "{}", postfix.log());
    assert_eq!(postfix.queued_in_the_end(0), 0);
}

// Table: Exim: time-outs
#[test]
fn a_client_that_is_silent_meets_the_time_out_of_exim() {
    let Some(exim) = Exim::plain().set("smtp_receive_timeout", "1s").start() else { return };
    let outcome = smtpress::run(exim.port, SILENCE);
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("idle", "idle-timeout");
    assert_eq!((count, outcome.count("accepted")), (3, 0));
    assert!(sample.contains("421 exim.test SMTP incoming data timeout - closing connection."), "{sample}");
    let said = " SMTP data timeout (message abandoned) on connection from (load.example) [127.0.0.1]";
    assert_eq!(exim.log().lines().filter(|line| line.contains(said)).count(), 3, "{}", exim.log());
    assert_eq!(exim.taken(), 0);
}

// postscreen sends its first line at once (220-postfix.test ...) and waits for two seconds. If the client sends
// anything in this time, it sends: 521 5.5.1 Protocol error. So the last line of the reply has another code than the
// first, which RFC 5321 4.2.1 does not allow.
// Table: Postfix: postscreen
#[test]
fn a_client_that_talks_before_the_greeting_is_refused_by_postscreen_and_another_is_not() {
    let Some(postfix) = Postfix::plain().postscreen().start() else { return };
    let early = "-c 3 -n 3 --set target.sources=[\"127.0.5.1\"] --set session.misbehave.early_talk=true";
    let outcome = smtpress::run(postfix.port, early);
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 0, "{}", postfix.log());
    let (count, sample) = outcome.condition("greeting", "protocol-violation");
    assert!(sample.contains("521 5.5.1 Protocol error"), "{sample}");
    assert_eq!(postfix.lines("]: PREGREET 19 after ") as u64, count, "{}", postfix.log());
    let outcome = smtpress::run(postfix.port, "-c 3 -n 3 --set target.sources=[\"127.0.6.1\"]");
    outcome.assert_counts_reconcile();
    assert_eq!((outcome.count("accepted"), postfix.queued_in_the_end(3)), (3, 3));
}
