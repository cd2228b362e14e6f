//! LMTP: every recipient has its own reply, and every accepted recipient has a file in the mailbox.

use std::fs;

use crate::aiosmtpd::Aiosmtpd;
use crate::dovecot::Dovecot;
use crate::smtpress::{self, Outcome};

/// Runs twenty messages over four sessions.
fn twenty(target: &str, recipients: &str) -> Outcome {
    let outcome = smtpress::run_at(target, &format!("-c 4 -n 20 --messages-per-session 5 {recipients}"));
    outcome.assert_counts_reconcile();
    outcome
}

/// The flags for three of Dovecot's users as recipients.
const TO_THREE: &str = "--recipients 3 --set message.to=user{n:0..4}@dovecot.test";

// Table: Dovecot LMTP: LMTP, PIPELINING
#[test]
fn every_recipient_has_the_message_in_a_file() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let outcome = twenty(&format!("lmtp://127.0.0.1:{}", dovecot.lmtp), TO_THREE);
    assert_eq!((outcome.count("accepted"), dovecot.delivered_to_all()), (20, 60), "{}", dovecot.log());
    assert_eq!(outcome.recipients(), (60, 0));
}

// 550 5.1.1 User doesn't exist at RCPT; 552 5.2.2 Quota exceeded after the content. The third recipient gets the
// message. Such a message counts as rejected, and each recipient is counted separately.
// Table: Dovecot LMTP: LMTP
#[test]
fn each_recipient_has_a_fate_of_its_own() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("recipients.csv");
    fs::write(&list, "mailbox\nuser0@dovecot.test\nnobody@dovecot.test\nfull@dovecot.test\n").unwrap();
    let recipients = format!("--recipients 3 --set message.to_file={}", list.display());
    let outcome = twenty(&format!("lmtp://127.0.0.1:{}", dovecot.lmtp), &recipients);
    let (count, sample) = outcome.condition("rcpt", "unknown-user");
    assert_eq!(count, 20);
    assert!(sample.contains("550 5.1.1 <nobody@dovecot.test> User doesn't exist"), "{sample}");
    let (count, sample) = outcome.condition("body", "mailbox-full");
    assert_eq!(count, 20);
    assert!(sample.contains("552 5.2.2 <full@dovecot.test> Quota exceeded"), "{sample}");
    assert_eq!((outcome.recipients(), outcome.count("rejected")), ((20, 40), 20));
    assert_eq!((dovecot.delivered("user0"), dovecot.delivered_to_all()), (20, 20), "{}", dovecot.log());
}

// Table: Dovecot LMTP: LMTP, unix socket
#[test]
fn a_unix_socket_does_as_well() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let outcome = twenty(&format!("lmtp+unix:{}", dovecot.lmtp_socket().display()), TO_THREE);
    assert_eq!((outcome.count("accepted"), dovecot.delivered_to_all()), (20, 60), "{}", dovecot.log());
}

// Table: aiosmtpd: LMTP
#[test]
fn every_recipient_has_its_reply_from_aiosmtpd() {
    let Some(aiosmtpd) = Aiosmtpd::start() else { return };
    let outcome = twenty(&format!("lmtp://127.0.0.1:{}", aiosmtpd.lmtp), "--recipients 3");
    assert_eq!((outcome.count("accepted"), aiosmtpd.taken_with(" rcpt=3 ")), (20, 20));
    assert_eq!(outcome.recipients(), (60, 0));
}
