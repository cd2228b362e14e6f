//! The limits of real listeners, set to drawn numbers, are found exactly, with the product's reply.
//!
//! Each test prints its seed; `LIMITS_SEED=N` in the environment draws the same again.

use serde_json::Value;

use crate::draw::Draw;
use crate::exim::Exim;
use crate::opensmtpd::Opensmtpd;
use crate::postfix::Postfix;
use crate::smtpress;

/// Searches these limits, each with its expected value. Returns one result for each.
#[track_caller]
pub fn found(port: u16, expected: &[(&str, String)], flags: &str) -> Vec<Value> {
    let expects: String = expected.iter().map(|(name, value)| format!(" --expect {name}={value}")).collect();
    let (code, result) = smtpress::limit(port, &format!("{flags}{expects}"));
    let limits = result["limits"].as_array().unwrap().clone();
    assert_eq!(limits.len(), expected.len(), "{result:#}");
    assert_eq!(code, 0, "{result:#}");
    limits
}

#[track_caller]
pub fn shows(limits: &[Value], name: &str, value: Option<u64>, condition: &str, reply: &str) {
    let finding = limits.iter().find(|limit| limit["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(finding["verdict"], "as-expected", "{finding:#}");
    if let Some(value) = value {
        assert_eq!(finding["value"], value, "{finding:#}");
    }
    assert_eq!(finding["condition"], condition, "{finding:#}");
    assert!(finding["reply"].as_str().unwrap().contains(reply), "{finding:#}");
}

// Table: Postfix: limits found
#[test]
fn those_of_postfix() {
    let mut draw = Draw::new();
    let (sessions, recipients, errors, junk, hops) =
        (draw.any(3, 40), draw.any(2, 60), draw.any(3, 9), draw.any(5, 50), draw.any(10, 60));
    let (size, line) = (draw.any(20_000, 200_000), draw.any(2048, 8000));
    let settings = Postfix::plain()
        .set("smtpd_client_connection_count_limit", sessions)
        .set("smtpd_recipient_limit", recipients)
        .set("smtpd_hard_error_limit", errors)
        .set("smtpd_soft_error_limit", errors)
        .set("smtpd_junk_command_limit", junk)
        .set("hopcount_limit", hops)
        .set("message_size_limit", size)
        .set("line_length_limit", line)
        .set("smtpd_timeout", "2s");
    let Some(postfix) = settings.start() else { return };
    let expected = [
        ("too-many-connections-from-host", sessions.to_string()),
        ("too-many-recipients", recipients.to_string()),
        ("bad-command-limit-exceeded", errors.to_string()),
        ("message-size-exceeded", size.to_string()),
        ("idle-timeout", "2s".to_owned()),
    ];
    let limits = found(postfix.port, &expected, "");
    let host = "too-many-connections-from-host";
    shows(
        &limits,
        host,
        Some(sessions),
        host,
        "421 4.7.0 postfix.test Error: too many connections from 127.0.0.1",
    );
    let limit = limits.iter().find(|limit| limit["name"] == host).unwrap();
    assert_eq!((&limit["inside_alive"], &limit["closed"]), (&Value::Bool(true), &Value::Bool(true)));
    shows(
        &limits,
        "too-many-recipients",
        Some(recipients),
        "too-many-recipients",
        "452 4.5.3 Error: too many recipients",
    );
    shows(
        &limits,
        "bad-command-limit-exceeded",
        Some(errors),
        "bad-command-limit-exceeded",
        "too many errors",
    );
    shows(
        &limits,
        "message-size-exceeded",
        Some(size),
        "message-size-exceeded",
        "552 5.3.4 Message size exceeds fixed limit",
    );
    shows(&limits, "idle-timeout", None, "idle-timeout", "timeout exceeded");
}

/// Ten subsets of names: each limit has the same value, whichever limits were searched before it (M29b).
// Table: Postfix: limits found
#[test]
fn any_subset_of_postfix_gives_the_same_values() {
    let mut draw = Draw::new();
    let truth = [
        ("too-many-connections-from-host", draw.any(3, 30)),
        ("too-many-recipients", draw.any(2, 40)),
        ("bad-command-limit-exceeded", draw.any(3, 9)),
        ("message-size-exceeded", draw.any(20_000, 200_000)),
        ("too-many-hops", draw.any(10, 40)),
    ];
    let settings = Postfix::plain()
        .set("smtpd_client_connection_count_limit", truth[0].1)
        .set("smtpd_recipient_limit", truth[1].1)
        .set("smtpd_hard_error_limit", truth[2].1)
        .set("smtpd_soft_error_limit", truth[2].1)
        .set("message_size_limit", truth[3].1)
        // Postfix also counts its own field, and refuses a message that reaches the number.
        .set("hopcount_limit", truth[4].1 + 2);
    let Some(postfix) = settings.start() else { return };
    let rules = ["rule.auth-twice", "rule.starttls-twice", "rule.unknown-command", "rule.mail-twice"];
    for _ in 0..10 {
        let bits = draw.any(1, (1 << (truth.len() + rules.len())) - 1);
        let all = truth.iter().map(|(name, _)| *name).chain(rules);
        let names: Vec<&str> =
            all.enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, name)| name).collect();
        let (_, result) = smtpress::limit(postfix.port, &format!("--find {}", names.join(",")));
        let limits = result["limits"].as_array().unwrap();
        for (name, value) in truth.iter().filter(|(name, _)| names.contains(name)) {
            let finding = limits.iter().find(|limit| limit["name"] == *name).unwrap();
            assert_eq!(finding["value"], *value, "{names:?}: {finding:#}");
        }
    }
}

// Table: Exim: limits found
#[test]
fn those_of_exim() {
    let mut draw = Draw::new();
    let (sessions, messages, recipients) = (draw.any(3, 20), draw.any(2, 30), draw.any(2, 60));
    let (unknown, size) = (draw.any(2, 9), draw.any(20_000, 200_000));
    let settings = Exim::plain()
        .set("smtp_accept_max_per_host", sessions)
        .set("smtp_accept_max_per_connection", messages)
        .set("recipients_max", recipients)
        .set("recipients_max_reject", "no")
        .set("smtp_max_unknown_commands", unknown)
        .set("smtp_max_synprot_errors", 100)
        .set("message_size_limit", size)
        .set("smtp_receive_timeout", "2s");
    let Some(exim) = settings.start() else { return };
    let expected = [
        ("too-many-connections-from-host", sessions.to_string()),
        ("too-many-messages-per-session", messages.to_string()),
        ("too-many-recipients", recipients.to_string()),
        ("bad-command-limit-exceeded", unknown.to_string()),
        ("message-size-exceeded", size.to_string()),
        ("idle-timeout", "2s".to_owned()),
    ];
    let limits = found(exim.port, &expected, "");
    let host = "too-many-connections-from-host";
    shows(
        &limits,
        host,
        Some(sessions),
        host,
        "421 Too many concurrent SMTP connections from this IP address",
    );
}

// Table: OpenSMTPD: limits found
#[test]
fn those_of_opensmtpd() {
    let mut draw = Draw::new();
    let (recipients, messages) = (draw.any(2, 30), draw.any(2, 20));
    let size = draw.any(20_000, 200_000);
    let lines = format!(
        "smtp limit max-rcpt {recipients}\nsmtp limit max-mails {messages}\nsmtp max-message-size \"{size}\""
    );
    let Some(opensmtpd) = Opensmtpd::start(&lines) else { return };
    let expected = [
        ("too-many-recipients", recipients.to_string()),
        ("too-many-messages-per-session", messages.to_string()),
        ("message-size-exceeded.content", size.to_string()),
    ];
    let limits = found(opensmtpd.plain, &expected, "");
    shows(
        &limits,
        "too-many-recipients",
        Some(recipients),
        "too-many-recipients",
        "451 4.5.3 Too many recipients",
    );
}

/// The limits of rates: the length of the window, and a range for the number that is served in it.
// Table: Postfix: limits found
#[test]
fn a_rate_of_postfix_is_in_its_bracket() {
    let mut draw = Draw::new();
    let served = draw.any(6, 20);
    let settings =
        Postfix::plain().set("smtpd_client_connection_rate_limit", served).set("anvil_rate_time_unit", "6s");
    let Some(postfix) = settings.start() else { return };
    let expected = [("connection-rate-limited", format!("{}/min", served * 10))];
    let limits = found(postfix.port, &expected, "");
    // Postfix has the same reply for its limit of sessions at once, but there was never more than one session.
    let says = "too-many-connections-from-host";
    shows(
        &limits,
        "connection-rate-limited",
        None,
        says,
        "421 4.7.0 postfix.test Error: too many connections from 127.0.0.1",
    );
    assert!(limits[0]["inexact"].is_string(), "{:#}", limits[0]);
}

/// The verdicts about each wrong end of data.
fn smuggling(port: u16) -> Vec<String> {
    let ends = ["lf-dot-lf", "lf-dot-crlf", "cr-dot-cr", "cr-dot-crlf", "crlf-dot-cr", "crlf-dot-lf"];
    let names: Vec<String> = ends.iter().map(|end| format!("bare-cr-lf.{end}")).collect();
    let (_, result) = smtpress::limit(port, &format!("--find {}", names.join(",")));
    let limits = result["limits"].as_array().unwrap();
    limits.iter().map(|limit| limit["verdict"].as_str().unwrap().to_owned()).collect()
}

// By default Postfix 3.7 accepts a bare LF as a line end (CVE-2023-51764). Since 3.7.9 it has a setting against this.
// Table: Postfix: smuggling
#[test]
fn smuggling_into_postfix() {
    let Some(postfix) = Postfix::plain().start() else { return };
    let open = ["unsafe", "unsafe", "found", "found", "found", "unsafe"];
    assert_eq!(smuggling(postfix.port), open);
    drop(postfix);
    let settings = Postfix::plain().set("smtpd_forbid_bare_newline", "yes");
    let Some(postfix) = settings.set("smtpd_forbid_bare_newline_exclusions", "").start() else { return };
    assert_eq!(smuggling(postfix.port), ["found"; 6]);
}

// Debian's Exim has the fix of CVE-2023-51766.
// Table: Exim: smuggling
#[test]
fn smuggling_into_exim() {
    let Some(exim) = Exim::plain().start() else { return };
    assert_eq!(smuggling(exim.port), ["found"; 6]);
}
