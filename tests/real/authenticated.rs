//! AUTH: with a right login messages are sent; a wrong login is reported and sends nothing. These logins are in clear
//! text, which the profile allows. `encrypted` tests logins over TLS.

use crate::dovecot::Dovecot;
use crate::exim::Exim;
use crate::postfix::Postfix;
use crate::sink::Sink;
use crate::smtpress::{self, login};

/// The mechanisms of Dovecot that Postfix offers.
const OF_DOVECOT: [&str; 4] = ["plain", "login", "cram-md5", "scram-sha-256"];

/// The flags of a login in clear text.
fn clear_text(mechanism: &str, password: &str) -> String {
    format!("{} --set session.auth.allow_clear_text=true", login(mechanism, password))
}

// `client=unknown[127.0.0.1], sasl_method=SCRAM-SHA-256, sasl_username=load`, a line for each message.
// Table: Postfix: AUTH
#[test]
fn who_logs_in_at_postfix_with_any_mechanism_sends() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let Some(postfix) = Postfix::plain().sasl(&dovecot).start() else { return };
    for (done, mechanism) in (1..).zip(OF_DOVECOT) {
        let outcome = smtpress::run(postfix.port, &format!("-c 3 -n 30 {}", clear_text(mechanism, "RIGHT")));
        outcome.assert_counts_reconcile();
        assert_eq!(outcome.count("accepted"), 30, "{mechanism}");
        assert_eq!(postfix.queued_in_the_end(30 * done), 30 * done);
        let said = format!(", sasl_method={}, sasl_username=load", mechanism.to_uppercase());
        assert_eq!(postfix.lines(&said), 30, "{}", postfix.log());
    }
}

// 535 5.7.8 Error: authentication failed: ...
// Table: Postfix: AUTH
#[test]
fn a_wrong_password_is_named_and_nothing_is_sent_to_postfix() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let Some(postfix) = Postfix::plain().sasl(&dovecot).set("smtpd_error_sleep_time", 0).start() else {
        return;
    };
    for mechanism in OF_DOVECOT {
        let outcome = smtpress::run(
            postfix.port,
            &format!("-c 2 -n 6 --set phase.load.unit=session {}", clear_text(mechanism, "WRONG")),
        );
        outcome.assert_counts_reconcile();
        let (count, sample) = outcome.condition("auth", "auth-failed");
        assert_eq!(count, 6, "{mechanism}");
        assert!(sample.contains("535 5.7.8 Error: authentication failed"), "{sample}");
        assert_eq!((outcome.count("accepted"), postfix.queued_in_the_end(0)), (0, 0));
        let said = format!(": SASL {} authentication failed", mechanism.to_uppercase());
        assert_eq!(postfix.lines(&said) as u64, count, "{}", postfix.log());
    }
}

// `A=plain:load` in the line of each message; 535 Incorrect authentication data
// Table: Exim: AUTH
#[test]
fn a_right_login_at_exim_sends_and_a_wrong_one_is_reported() {
    let Some(exim) = Exim::plain().auth().start() else { return };
    for (driver, mechanism) in [("plain", "plain"), ("login", "login"), ("cram", "cram-md5")] {
        let outcome = smtpress::run(exim.port, &format!("-c 3 -n 30 {}", clear_text(mechanism, "RIGHT")));
        outcome.assert_counts_reconcile();
        assert_eq!(outcome.count("accepted"), 30, "{mechanism}");
        assert_eq!(exim.taken_with(&format!("A={driver}:load")), 30, "{}", exim.log());
        let before = exim.taken();
        let outcome = smtpress::run(
            exim.port,
            &format!("-c 2 -n 6 --set phase.load.unit=session {}", clear_text(mechanism, "WRONG")),
        );
        outcome.assert_counts_reconcile();
        let (count, sample) = outcome.condition("auth", "auth-failed");
        assert_eq!(count, 6, "{mechanism}");
        assert!(sample.contains("535 Incorrect authentication data"), "{sample}");
        assert_eq!((outcome.count("accepted"), exim.taken() - before), (0, 0));
    }
}

// It passes each command to the listener behind it, smtp-sink, whose count must equal the accepted messages.
// Table: Dovecot submission: SMTP, AUTH
#[test]
fn what_is_submitted_to_dovecot_is_what_the_listener_behind_it_counts() {
    let Some(sink) = Sink::start() else { return };
    let Some(dovecot) = Dovecot::start(sink.port) else { return };
    let flags = format!("-c 4 -n 100 --messages-per-session 5 {}", clear_text("scram-sha-256", "RIGHT"));
    let outcome = smtpress::run(dovecot.submission, &flags);
    outcome.assert_counts_reconcile();
    assert_eq!((outcome.count("accepted"), sink.messages()), (100, 100), "{}", dovecot.log());
    let outcome = smtpress::run(
        dovecot.submission,
        &format!("-c 2 -n 4 --set phase.load.unit=session {}", clear_text("plain", "WRONG")),
    );
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("auth", "auth-failed");
    assert_eq!(count, 4);
    assert!(sample.contains("535 5.7.8 Authentication failed"), "{sample}");
    assert_eq!((outcome.count("accepted"), sink.messages()), (0, 100));
}
