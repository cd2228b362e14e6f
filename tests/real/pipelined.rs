//! Full pipelining: nothing is lost between the content of one message and the commands of the next.

use crate::exim::Exim;
use crate::postfix::Postfix;
use crate::smtpress;

// Table: Postfix: PIPELINING
#[test]
fn accepted_is_what_postfix_queued_with_full_pipelining() {
    let Some(postfix) = Postfix::plain().start() else { return };
    let outcome = smtpress::run(postfix.port, "-c 20 -n 2000 --messages-per-session 0 --pipelining full");
    outcome.assert_counts_reconcile();
    assert_eq!((outcome.count("accepted"), postfix.queued_in_the_end(2_000)), (2_000, 2_000));
}

// Some recipients of a group are refused. The message goes to the others, and the next message is not affected.
// Table: Postfix: PIPELINING, limits
#[test]
fn recipients_that_postfix_refuses_in_a_group_disturb_nothing() {
    let Some(postfix) = Postfix::plain().set("smtpd_recipient_limit", 3).start() else { return };
    let flags = "-c 4 -n 200 --messages-per-session 0 --recipients 5 --pipelining full";
    let outcome = smtpress::run(postfix.port, flags);
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.condition("rcpt", "too-many-recipients").0, 400);
    assert_eq!((outcome.count("accepted"), postfix.queued_in_the_end(200)), (200, 200));
}

// `L.` in its log: this message came pipelined.
// Table: Exim: PIPELINING
#[test]
fn accepted_is_what_exim_took_with_full_pipelining() {
    let Some(exim) = Exim::plain().start() else { return };
    let outcome = smtpress::run(exim.port, "-c 10 -n 1000 --messages-per-session 0 --pipelining full");
    outcome.assert_counts_reconcile();
    assert_eq!((outcome.count("accepted"), exim.taken(), exim.taken_with("L.")), (1_000, 1_000, 1_000));
}

// Table: Exim: PIPELINING, limits
#[test]
fn recipients_that_exim_refuses_in_a_group_disturb_nothing() {
    let Some(exim) = Exim::plain().set("recipients_max", 3).start() else { return };
    let flags = "-c 4 -n 200 --messages-per-session 0 --recipients 5 --pipelining full";
    let outcome = smtpress::run(exim.port, flags);
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.condition("rcpt", "too-many-recipients").0, 400);
    assert_eq!((outcome.count("accepted"), exim.taken()), (200, 200));
}
