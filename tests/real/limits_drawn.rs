//! The limits of Sendmail, Courier, qpsmtpd, Haraka and smtp-server, drawn in each run, are found exactly, with their
//! replies.
//!
//! Each test prints its seed; `LIMITS_SEED=N` in the environment draws the same again.

use serde_json::{Value, json};

use crate::courier::Courier;
use crate::draw::Draw;
use crate::haraka::Haraka;
use crate::limits::{found, shows};
use crate::qpsmtpd::Qpsmtpd;
use crate::sendmail::Sendmail;
use crate::smtp_server::SmtpServer;
use crate::smtpress;

const HOST: &str = "too-many-connections-from-host";
const LISTENER: &str = "too-many-connections-to-listener";
const RECIPIENTS: &str = "too-many-recipients";
const ERRORS: &str = "bad-command-limit-exceeded";
const SIZE: &str = "message-size-exceeded";
const CONTENT: &str = "message-size-exceeded.content";

/// Checks that these limits are found exactly, each with this text in its reply; empty: the listener closes without a
/// reply.
#[track_caller]
fn finds(port: u16, expected: &[(&str, u64, &str, &str)]) {
    let values: Vec<_> = expected.iter().map(|&(name, value, ..)| (name, value.to_string())).collect();
    let limits = found(port, &values, "");
    for &(name, value, condition, words) in expected {
        if words.is_empty() {
            let finding = limits.iter().find(|limit| limit["name"] == name).unwrap();
            let said = (&finding["value"], &finding["condition"], &finding["reply"]);
            assert_eq!(said, (&json!(value), &json!(condition), &Value::Null), "{finding:#}");
        } else {
            shows(&limits, name, Some(value), condition, words);
        }
    }
}

// Table: Sendmail: limits found
#[test]
fn those_of_sendmail() {
    let mut draw = Draw::new();
    let (sessions, recipients, size) = (draw.any(3, 30), draw.any(2, 60), draw.any(20_000, 200_000));
    let settings = Sendmail::plain().connections_per_host(sessions);
    let settings =
        settings.define("confMAX_RCPTS_PER_MESSAGE", recipients).define("confMAX_MESSAGE_SIZE", size);
    let Some(sendmail) = settings.start() else { return };
    finds(
        sendmail.port,
        &[
            (HOST, sessions, "too-many-connections", "421 4.3.2 Too many open connections."),
            (RECIPIENTS, recipients, RECIPIENTS, "452 4.5.3 Too many recipients"),
            (SIZE, size, SIZE, "552 5.2.3 Message size exceeds fixed maximum message size"),
        ],
    );
}

// Its accept queue holds ten connections. If more come at once, their SYNs are lost for seconds, and Sendmail never
// sees them.
// Table: Sendmail: limits found
#[test]
fn a_short_accept_queue_is_not_overrun() {
    let Some(sendmail) = Sendmail::plain().start() else { return };
    let (code, result) =
        smtpress::limit(sendmail.port, &format!("--find {HOST},{LISTENER} --max-sessions 300"));
    assert_eq!(code, 0, "{result:#}");
    for finding in result["limits"].as_array().unwrap() {
        let said = (&finding["verdict"], &finding["at_least"]);
        assert_eq!(said, (&json!("not-reached"), &json!(300)), "{finding:#}");
        // A busy machine may stand still meanwhile, and the finding says so.
        let of_listener = |remark: &&Value| !remark.as_str().unwrap().starts_with("this machine stood still");
        let remarks: Vec<_> = finding["remarks"].as_array().unwrap().iter().filter(of_listener).collect();
        assert!(remarks.is_empty(), "{finding:#}");
    }
}

// It closes a connection over the limit without a reply.
// Table: Courier: limits found
#[test]
fn those_of_courier() {
    let mut draw = Draw::new();
    let (sessions, recipients, size) = (draw.any(3, 30), draw.any(2, 60), draw.any(20_000, 200_000));
    let settings = Courier::packaged().set("MAXDAEMONS", 43).set("MAXPERC", 37).set("MAXPERIP", sessions);
    let Some(courier) = settings.bofh(&format!("maxrcpts {recipients}")).size(size).start() else { return };
    finds(
        courier.port,
        &[
            (HOST, sessions, "closed-before-greeting", ""),
            (RECIPIENTS, recipients, RECIPIENTS, "431 Too many recipients."),
            (SIZE, size, SIZE, "534 SIZE=Message too big."),
        ],
    );
}

// Table: qpsmtpd: limits found
#[test]
fn those_of_qpsmtpd() {
    let mut draw = Draw::new();
    let (sessions, errors, size) = (draw.any(3, 30), draw.any(2, 12), draw.any(20_000, 200_000));
    let settings = Qpsmtpd::plain().per_host(sessions).file("databytes", size);
    let settings = settings.plugin(&format!("count_unrecognized_commands {errors}"));
    let Some(qpsmtpd) = settings.start() else { return };
    finds(
        qpsmtpd.port,
        &[
            (HOST, sessions, HOST, "451 too many connections from 127.0.0.1, try again later"),
            (ERRORS, errors - 1, ERRORS, "521 Closing connection"),
            (CONTENT, size, SIZE, "552 Message too big!"),
        ],
    );
}

// It counts each unknown command twice.
// Table: Haraka: limits found
#[test]
fn those_of_haraka() {
    let mut draw = Draw::new();
    let (sessions, recipients) = (draw.any(3, 30), draw.any(2, 60));
    let (errors, size) = (draw.any(2, 12), draw.any(20_000, 200_000));
    let settings = Haraka::plain().per_host(sessions).limit("recipients", recipients);
    let Some(haraka) = settings.limit("unrecognized_commands", errors).size(size).start() else { return };
    finds(
        haraka.port,
        &[
            (HOST, sessions, "too-many-connections", "421 Too many concurrent connections"),
            (RECIPIENTS, recipients, RECIPIENTS, "450 Too many recipient attempts"),
            (ERRORS, errors / 2, ERRORS, "421 Too many unrecognized commands"),
            (SIZE, size, SIZE, "550 Message too big!"),
        ],
    );
}

// Table: smtp-server: limits found
#[test]
fn those_of_smtp_server() {
    let mut draw = Draw::new();
    let (sessions, recipients, size) = (draw.any(3, 30), draw.any(2, 60), draw.any(20_000, 200_000));
    let options = json!({ "maxClients": sessions, "maxRecipients": recipients, "size": size });
    let Some(server) = SmtpServer::start(&options) else { return };
    finds(
        server.port,
        &[
            (LISTENER, sessions, "too-many-connections", "421 smtp-server.test Too many connected clients"),
            (RECIPIENTS, recipients, RECIPIENTS, "452 Error: too many recipients"),
            (SIZE, size, SIZE, "552 Error: message exceeds fixed maximum message size"),
        ],
    );
}
