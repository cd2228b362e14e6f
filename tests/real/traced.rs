//! `smtpress trace`: the whole dialogue with each listener, and the TLS handshake.

use crate::aiosmtpd::Aiosmtpd;
use crate::certificate::Certificate;
use crate::dovecot::Dovecot;
use crate::exim::Exim;
use crate::opensmtpd::Opensmtpd;
use crate::postfix::Postfix;
use crate::sink::Sink;
use crate::smtpress;

/// Checks that the transcript has these commands in this order, the duration of each step, and the handshake.
#[track_caller]
fn assert_whole(transcript: &str, said: &[&str]) {
    let ours: Vec<&str> =
        transcript.lines().filter_map(|line| line.split_once("  C: ").map(|(_, said)| said)).collect();
    let mut rest = ours.iter();
    for begin in said {
        assert!(rest.any(|line| line.starts_with(begin)), "no {begin} in its place: {transcript}");
    }
    for detail in ["= connect took ", "= greeting took ", "= tls took ", "= body took ", "= quit took "] {
        assert!(transcript.contains(detail), "no {detail}: {transcript}");
    }
    assert!(transcript.contains("TLSv1.3, TLS_AES_256_GCM_SHA384, X25519, full handshake\n"), "{transcript}");
    assert!(transcript.contains("\naccepted after "), "{transcript}");
}

const WITH_DATA: &[&str] = &["MAIL FROM:<", "RCPT TO:<", "DATA", "From: ", ".", "QUIT"];
const WITH_BDAT: &[&str] = &["MAIL FROM:<", "RCPT TO:<", "BDAT 1024 LAST", "From: ", "QUIT"];

/// Traces a session with STARTTLS and one with implicit TLS.
#[track_caller]
fn traced(starttls: u16, implicit: u16, certificate: &Certificate, message: &[&str], login: &str) {
    let trusted = certificate.trusted_by_trace();
    let transcript = smtpress::trace(
        &format!("smtp://127.0.0.1:{starttls}"),
        &format!("--tls starttls {trusted} {login}"),
    );
    assert_whole(&transcript, &[&["EHLO ", "STARTTLS", "EHLO "], message].concat());
    let transcript = smtpress::trace(&format!("smtps://127.0.0.1:{implicit}"), &format!("{trusted} {login}"));
    assert_whole(&transcript, &[&["EHLO "], message].concat());
}

// Table: Postfix: trace
#[test]
fn the_dialogue_with_postfix() {
    let Some(postfix) = Postfix::plain().tls().start() else { return };
    traced(postfix.port, postfix.implicit, postfix.certificate(), WITH_BDAT, "");
    assert_eq!(postfix.queued_in_the_end(2), 2);
}

// Table: Exim: trace
#[test]
fn the_dialogue_with_exim() {
    let Some(exim) = Exim::plain().tls().start() else { return };
    traced(exim.port, exim.implicit, exim.certificate(), WITH_BDAT, "");
    assert_eq!(exim.taken(), 2);
}

// Table: OpenSMTPD: TLS that fails, trace
#[test]
fn the_dialogue_with_opensmtpd_ends_in_the_handshake() {
    let Some(opensmtpd) = Opensmtpd::start("") else { return };
    let trusted = opensmtpd.certificate.trusted_by_trace();
    for target in [
        format!("smtp://127.0.0.1:{} --tls starttls", opensmtpd.starttls),
        format!("smtps://127.0.0.1:{}", opensmtpd.implicit),
    ] {
        let (code, transcript) = smtpress::traced(&format!("{target} {trusted}"));
        assert_eq!(code, 99, "{transcript}");
        for said in [
            "= tls failed after ",
            "tls-failure: ",
            "the listener ended the TLS handshake: internal_error; ",
            "offered were TLSv1.2",
        ] {
            assert!(transcript.contains(said), "no {said}: {transcript}");
        }
        assert!(!transcript.contains("C: MAIL"), "{transcript}");
    }
    let transcript = smtpress::trace(&format!("smtp://127.0.0.1:{}", opensmtpd.plain), "");
    assert!(transcript.contains("\naccepted after "), "{transcript}");
    assert_eq!(opensmtpd.taken(), 1);
}

// Table: Dovecot submission: trace
#[test]
fn the_dialogue_with_dovecot_submission() {
    let Some(sink) = Sink::start() else { return };
    let Some(dovecot) = Dovecot::start(sink.port) else { return };
    let login = "--auth plain --user load --password-env RIGHT";
    traced(dovecot.submission, dovecot.submissions, &dovecot.certificate, WITH_BDAT, login);
    assert_eq!(sink.messages(), 2);
}

// Table: Dovecot LMTP: trace
#[test]
fn the_dialogue_with_dovecot_lmtp() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let flags = format!("--tls starttls --to user0@dovecot.test {}", dovecot.certificate.trusted_by_trace());
    let transcript = smtpress::trace(&format!("lmtp://127.0.0.1:{}", dovecot.lmtp), &flags);
    assert_whole(&transcript, &[&["LHLO ", "STARTTLS", "LHLO "], WITH_BDAT].concat());
    assert_eq!(dovecot.delivered("user0"), 1);
}

// Table: aiosmtpd: trace
#[test]
fn the_dialogue_with_aiosmtpd() {
    let Some(aiosmtpd) = Aiosmtpd::start() else { return };
    traced(aiosmtpd.starttls, aiosmtpd.implicit, &aiosmtpd.certificate, WITH_DATA, "");
    assert_eq!(aiosmtpd.taken(), 2);
}
