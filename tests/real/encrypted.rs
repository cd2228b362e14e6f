//! STARTTLS and implicit TLS, compared with the listener's own count of handshakes. Without TLS nothing is sent.

use crate::aiosmtpd::Aiosmtpd;
use crate::certificate::Certificate;
use crate::dovecot::Dovecot;
use crate::exim::Exim;
use crate::opensmtpd::Opensmtpd;
use crate::postfix::Postfix;
use crate::sink::Sink;
use crate::smtpress::{self, Outcome, login};

/// Both kinds of TLS, each as a target and its flags.
fn both_ways(starttls: u16, implicit: u16) -> [(String, &'static str); 2] {
    [
        (format!("smtp://127.0.0.1:{starttls}"), "--tls starttls"),
        (format!("smtps://127.0.0.1:{implicit}"), ""),
    ]
}

/// Runs with trust in this certificate only.
fn run(target: &str, certificate: &Certificate, flags: &str) -> Outcome {
    let outcome = smtpress::run_at(target, &format!("{flags} {}", certificate.trusted()));
    outcome.assert_counts_reconcile();
    outcome
}

// `Anonymous TLS connection established from unknown[127.0.0.1]: TLSv1.3 with cipher ...`, a line for each handshake.
// Table: Postfix: STARTTLS, implicit TLS, PIPELINING
#[test]
fn accepted_is_what_postfix_queued_and_handshakes_are_those_of_its_log() {
    let Some(postfix) = Postfix::plain().tls().start() else { return };
    let (mut accepted, mut handshakes) = (0, 0);
    for (target, tls) in both_ways(postfix.port, postfix.implicit) {
        let flags = format!("-c 5 -n 200 --messages-per-session 10 --pipelining full {tls}");
        let outcome = run(&target, postfix.certificate(), &flags);
        let (full, resumed) = outcome.handshakes();
        assert!(full >= 1 && resumed >= 1, "{full} full, {resumed} resumed");
        accepted += outcome.count("accepted");
        handshakes += full + resumed;
        assert_eq!(postfix.queued_in_the_end(accepted), accepted);
        assert_eq!(
            postfix.lines(" TLS connection established from ") as u64,
            handshakes,
            "{}",
            postfix.log()
        );
    }
    assert_eq!(accepted, 400);
}

// Table: Postfix: STARTTLS
#[test]
fn without_resumption_every_handshake_is_full() {
    let Some(postfix) = Postfix::plain().tls().start() else { return };
    let flags = "-c 5 -n 50 --tls starttls --set target.tls_options.resumption=false";
    let outcome = run(&format!("smtp://127.0.0.1:{}", postfix.port), postfix.certificate(), flags);
    assert_eq!((outcome.count("accepted"), outcome.handshakes()), (50, (50, 0)));
    assert_eq!(postfix.queued_in_the_end(50), 50);
}

// `X=TLS1.3:...` in the line of each message.
// Table: Exim: STARTTLS, implicit TLS, CHUNKING, PIPELINING
#[test]
fn every_message_that_exim_took_came_encrypted() {
    let Some(exim) = Exim::plain().tls().start() else { return };
    for (target, tls) in both_ways(exim.port, exim.implicit) {
        let before = exim.taken_with("X=TLS1.3:");
        let flags = format!("-c 5 -n 100 --messages-per-session 10 --pipelining full {tls}");
        let outcome = run(&target, exim.certificate(), &flags);
        assert_eq!(
            (outcome.count("accepted"), exim.taken_with("X=TLS1.3:") - before),
            (100, 100),
            "{target}"
        );
        assert_eq!(exim.taken_with("K"), exim.taken());
    }
}

// `smtp disconnected reason="io-error: error:0A080006:SSL routines::EVP lib"`: Debian's OpenSMTPD offers TLS, but its
// handshake fails (OpenSMTPD issue 1171). It sends an alert, and no MAIL follows.
// Table: OpenSMTPD: TLS that fails
#[test]
fn a_listener_that_cannot_do_the_tls_it_offers_gets_nothing() {
    let Some(opensmtpd) = Opensmtpd::start("") else { return };
    for (target, tls) in both_ways(opensmtpd.starttls, opensmtpd.implicit) {
        let flags = format!("-c 2 -n 6 --set phase.load.unit=session {tls}");
        let outcome = run(&target, &opensmtpd.certificate, &flags);
        let (count, sample) = outcome.condition("tls", "tls-failure");
        assert_eq!(count, 6);
        assert!(sample.contains("the listener ended the TLS handshake: internal_error"), "{sample}");
        outcome.assert_nothing_went_out();
    }
    assert_eq!(opensmtpd.lines("SSL routines::EVP lib"), 12, "{}", opensmtpd.log());
    assert_eq!(opensmtpd.taken(), 0);
}

// Table: Dovecot submission: STARTTLS, implicit TLS, AUTH
#[test]
fn what_is_submitted_encrypted_is_what_the_listener_behind_it_counts() {
    let Some(sink) = Sink::start() else { return };
    let Some(dovecot) = Dovecot::start(sink.port) else { return };
    for (done, (target, tls)) in (1..).zip(both_ways(dovecot.submission, dovecot.submissions)) {
        let flags = format!("-c 3 -n 60 --messages-per-session 10 {tls} {}", login("plain", "RIGHT"));
        let outcome = run(&target, &dovecot.certificate, &flags);
        assert_eq!(
            (outcome.count("accepted"), sink.messages()),
            (60, 60 * done),
            "{target}: {}",
            dovecot.log()
        );
        let log = dovecot.log();
        let logins = log.lines().filter(|line| line.contains(": Login: user=<load>"));
        assert!(logins.clone().all(|line| line.contains(", TLS, ")) && logins.count() > 0, "{log}");
    }
}

// Table: Dovecot LMTP: STARTTLS
#[test]
fn lmtp_does_starttls_too() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let target = format!("lmtp://127.0.0.1:{}", dovecot.lmtp);
    let flags = "-c 3 -n 30 --tls starttls --set message.to=user{n:0..4}@dovecot.test";
    let outcome = run(&target, &dovecot.certificate, flags);
    let (full, resumed) = outcome.handshakes();
    assert_eq!((outcome.count("accepted"), full + resumed), (30, 30));
    assert_eq!(dovecot.delivered_to_all(), 30, "{}", dovecot.log());
}

// Table: aiosmtpd: STARTTLS, implicit TLS
#[test]
fn every_message_that_aiosmtpd_took_came_encrypted() {
    let Some(aiosmtpd) = Aiosmtpd::start() else { return };
    for (done, (target, tls)) in (1..).zip(both_ways(aiosmtpd.starttls, aiosmtpd.implicit)) {
        let outcome =
            run(&target, &aiosmtpd.certificate, &format!("-c 3 -n 60 --messages-per-session 10 {tls}"));
        assert_eq!((outcome.count("accepted"), aiosmtpd.taken()), (60, 60 * done), "{target}");
        assert_eq!(aiosmtpd.taken_with(" tls=TLS_"), aiosmtpd.taken());
    }
}

// Table: aiosmtpd: STARTTLS, AUTH
#[test]
fn a_right_login_at_aiosmtpd_sends_and_a_wrong_one_is_reported() {
    let Some(aiosmtpd) = Aiosmtpd::start() else { return };
    let target = format!("smtp://127.0.0.1:{}", aiosmtpd.starttls);
    for (done, mechanism) in (1..).zip(["plain", "login"]) {
        let flags = format!("-c 3 -n 30 --tls starttls {}", login(mechanism, "RIGHT"));
        let outcome = run(&target, &aiosmtpd.certificate, &flags);
        assert_eq!(
            (outcome.count("accepted"), aiosmtpd.taken_with(" user=load ")),
            (30, 30 * done),
            "{mechanism}"
        );
    }
    let flags = format!("-c 2 -n 4 --set phase.load.unit=session --tls starttls {}", login("plain", "WRONG"));
    let outcome = run(&target, &aiosmtpd.certificate, &flags);
    let (count, sample) = outcome.condition("auth", "auth-failed");
    assert_eq!(count, 4);
    assert!(sample.contains("535 5.7.8 Authentication credentials invalid"), "{sample}");
    assert_eq!((outcome.count("accepted"), aiosmtpd.taken()), (0, 60));
}

// An attacker can remove the offer of STARTTLS, so a listener without the offer gets neither MAIL nor content in clear
// text.
// Table: Postfix: STARTTLS
// Table: Exim: STARTTLS
#[test]
fn where_starttls_is_not_offered_nothing_goes_out() {
    let Some(postfix) = Postfix::plain().start() else { return };
    let Some(exim) = Exim::plain().start() else { return };
    for port in [postfix.port, exim.port] {
        let outcome = smtpress::run(port, "-c 2 -n 6 --set phase.load.unit=session --tls starttls");
        outcome.assert_counts_reconcile();
        assert_eq!(outcome.condition("starttls", "tls-unavailable").0, 6);
        outcome.assert_nothing_went_out();
    }
    assert_eq!((postfix.commands("mail"), postfix.queued_in_the_end(0), exim.taken()), (0, 0, 0));
    // Only these six sessions sent EHLO, and none of them sent MAIL.
    assert_eq!(postfix.commands("ehlo"), 6, "{}", postfix.log());
}

// Table: Postfix: STARTTLS, implicit TLS
#[test]
fn a_certificate_that_nobody_trusts_ends_every_session() {
    let Some(postfix) = Postfix::plain().tls().start() else { return };
    let other = tempfile::tempdir().unwrap();
    let other = Certificate::make(other.path(), "root");
    for (target, tls) in both_ways(postfix.port, postfix.implicit) {
        let outcome = run(&target, &other, &format!("-c 2 -n 6 --set phase.load.unit=session {tls}"));
        let (count, sample) = outcome.condition("tls", "tls-failure");
        assert_eq!(count, 6);
        assert!(sample.contains("the certificate is not trusted"), "{sample}");
        outcome.assert_nothing_went_out();
    }
    assert_eq!((postfix.commands("mail"), postfix.queued_in_the_end(0)), (0, 0));
}
