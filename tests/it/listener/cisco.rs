//! Every row of Cisco's list of SMTP replies, provoked over a real socket and compared to the letter.
//!
//! `NATURAL` provokes a row by a limit or by commands. The other rows are in `FORCED`, with the reason why only a
//! forced reply can show them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smtpress::listener::Limits;
use smtpress::listener::limits::Forced;
use smtpress::smtp::Step;
use smtpress::smtp::auth::Secret;
use smtpress::smtp::auth::verify::Users;

use super::client::{Client, TRANSACTION};
use super::start;

/// How a row is provoked: the limits, the earlier commands of another session that stays open, and the commands of this
/// session. The row is the reply to the last command. Without commands it is the greeting, and if the last command is
/// empty, it is a reply without a command.
struct Provoked {
    row: u64,
    limits: fn(&mut Limits),
    held: Option<&'static [&'static str]>,
    says: &'static [&'static str],
    /// The text in place of the row's `XXX`.
    about: &'static str,
}

const fn row(row: u64, limits: fn(&mut Limits), says: &'static [&'static str]) -> Provoked {
    Provoked { row, limits, held: None, says, about: "" }
}

impl Provoked {
    const fn while_another_holds(mut self, held: &'static [&'static str]) -> Provoked {
        self.held = Some(held);
        self
    }

    const fn about(mut self, about: &'static str) -> Provoked {
        self.about = about;
        self
    }
}

/// The user `load` with the password `open sesame`.
fn one_user() -> Arc<Users> {
    Arc::new(Users::new([("load".to_owned(), Secret::new("open sesame"))]))
}

const HELLO: &str = "EHLO client.example";
const MAIL: &str = TRANSACTION[0];
const RCPT: &str = TRANSACTION[1];
const BODY: &str = TRANSACTION[3];
const MESSAGE: &[&str] = &[HELLO, MAIL, RCPT, "DATA", BODY];
/// A command of more than 64 bytes.
const LONG: &str = "NOOP 345678901234567890123456789012345678901234567890123456789012345678901234567890";

#[rustfmt::skip]
const NATURAL: &[Provoked] = &[
    row(1, |l| l.max_tls_sessions = Some(0), &[HELLO, "STARTTLS"]),
    row(2, |l| l.max_connections_per_host = Some(1), &[]).while_another_holds(&[]),
    row(3, |l| l.max_connections = Some(1), &[]).while_another_holds(&[]),
    row(4, |l| l.max_connections_per_listener = Some(1), &[]).while_another_holds(&[]),
    row(5, |l| l.max_messages_per_session = Some(1), &[HELLO, MAIL, RCPT, "DATA", BODY, MAIL]),
    row(6, |l| l.unavailable_after = Some(Duration::ZERO), &[]),
    row(7, |l| l.max_connection_time = Some(Duration::from_millis(80)), &[HELLO, ""]),
    row(8, |l| l.max_bad_commands = Some(2), &["FOO", "BAR", "FOO"]),
    row(9, |l| l.licence_expired = true, &[]),
    row(10, |l| l.server_deferral_rate = 1.0, MESSAGE),
    row(11, |l| l.queue_full_after = Some(1), &[HELLO, MAIL, RCPT, "DATA", BODY, MAIL]),
    row(12, |l| l.resource_low_above = Some(1), &[HELLO, MAIL]).while_another_holds(&[HELLO, MAIL]),
    row(13, |l| l.temporary_error_rate = 1.0, &[HELLO, MAIL]),
    row(14, |l| l.max_recipients = Some(2), &[HELLO, MAIL, RCPT, RCPT, RCPT]),
    row(15, |l| l.require_starttls = true, &[HELLO, "STARTTLS"]),
    row(16, |_| {}, &["FOO"]),
    row(17, |l| l.max_line_length = Some(64), &[LONG]),
    row(18, |_| {}, &["EHLO"]),
    row(19, |_| {}, &[HELLO, "MAIL FROM:load"]).about("FROM:load"),
    row(20, |l| l.require_auth = true, &[HELLO, "AUTH"]),
    // The list does not say when this reply comes. HELP about an unknown command is a guess.
    row(21, |_| {}, &["HELP FOO"]).about("FOO"),
    row(22, |_| {}, &[HELLO, "MAIL FROM:<> FOO=BAR"]).about("FOO"),
    row(23, |_| {}, &[HELLO, "MAIL FROM:<> BODY=FOO"]).about("FOO"),
    row(24, |_| {}, &[HELLO, "AUTH PLAIN"]),
    row(25, |_| {}, &[HELLO, MAIL, "AUTH PLAIN"]),
    row(27, |_| {}, &[HELLO, RCPT]),
    row(28, |_| {}, &[HELLO, MAIL, "DATA"]),
    row(26, |l| l.users = Some(one_user()), &[HELLO, "AUTH PLAIN AGxvYWQAb3BlbiBzZXNhbWU=", "AUTH PLAIN"]),
    row(33, |l| l.require_auth = true, &[HELLO, "AUTH FOO"]).about("FOO"),
    row(34, |_| {}, &[HELLO, MAIL, "RCPT TO:<user@recipient.example> FOO=BAR"]).about("FOO"),
    row(43, |l| l.require_starttls = true, &[HELLO, MAIL]),
    row(45, |l| l.require_auth = true, &[HELLO, MAIL]),
    row(46, |l| l.auth_requires_encryption = true, &[HELLO, "AUTH PLAIN"]),
    row(47, |l| l.max_header_size = Some(11), MESSAGE),
    row(48, |l| l.max_message_size = Some(19), MESSAGE),
    row(49, |l| l.max_message_size = Some(19), &[HELLO, "MAIL FROM:<> SIZE=20"]),
    row(50, |l| l.server_error_rate = 1.0, MESSAGE),
    row(51, |l| l.max_hops = Some(1), &[HELLO, MAIL, RCPT, "DATA", "Received: a\r\nReceived: b\r\n\r\n."]),
    row(52, |l| l.reject_bare_cr_lf = true, &[HELLO, MAIL, RCPT, "DATA", "bare\rCR\r\n."]),
];

/// The rows that only a forced reply can show, with the step at which it is forced, and the reason.
#[rustfmt::skip]
const FORCED: &[(u64, Step, &str)] = &[
    (29, Step::Data, "mail merge (XMRG) is Cisco's own extension and not spoken"),
    (30, Step::Mail, "XPRT belongs to mail merge"),
    (31, Step::Mail, "parts belong to mail merge"),
    (32, Step::Mail, "mail merge"),
    (35, Step::Mail, "XDFN belongs to mail merge"),
    (36, Step::Mail, "parts belong to mail merge"),
    (37, Step::Mail, "parts belong to mail merge"),
    (38, Step::Mail, "XDFN belongs to mail merge"),
    (39, Step::Mail, "parts belong to mail merge"),
    (40, Step::Mail, "XDFN belongs to mail merge"),
    (41, Step::Mail, "*parts belongs to mail merge"),
    (42, Step::Mail, "XDFN belongs to mail merge"),
    (44, Step::Mail, "needs a table of senders, which the listener does not have"),
];

/// The replies of the list, by row.
fn rows() -> BTreeMap<u64, String> {
    let data = include_str!("../../data/cisco_replies.jsonl");
    let parse = |line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let reply = row["reply"].as_str().unwrap().replace("<hostname>", &Limits::default().hostname);
        (row["row"].as_u64().unwrap(), reply)
    };
    data.lines().map(parse).collect()
}

#[test]
fn every_row_has_a_place() {
    let mut placed: Vec<u64> = NATURAL.iter().map(|p| p.row).chain(FORCED.iter().map(|f| f.0)).collect();
    placed.sort_unstable();
    assert_eq!(placed, rows().into_keys().collect::<Vec<_>>());
    assert!(FORCED.iter().all(|(_, _, why)| !why.is_empty()));
}

#[test]
fn limits_and_clients_provoke_cisco_s_replies() {
    let rows = rows();
    for provoked in NATURAL {
        let mut limits = Limits::default();
        (provoked.limits)(&mut limits);
        let listener = start(limits);
        let held = provoked.held.map(|says| {
            let mut client = Client::connect(&listener);
            client.reply();
            says.iter().for_each(|line| drop(client.say(line)));
            client
        });
        let mut client = Client::connect(&listener);
        let mut replies = vec![client.reply()];
        for line in provoked.says {
            replies.push(if line.is_empty() { client.reply() } else { client.say(line) });
        }
        let last = replies.pop().unwrap();
        assert_eq!(last, rows[&provoked.row].replace("XXX", provoked.about), "row {}", provoked.row);
        // Only the last reply refuses, except in row 8, which needs errors before it.
        let well = |reply: &String| reply.starts_with(['2', '3']) || provoked.row == 8;
        assert!(replies.iter().all(well), "row {}: {replies:?}", provoked.row);
        // Only a 421 ends the session.
        if last.starts_with("421") {
            assert!(client.is_closed(), "row {}", provoked.row);
        } else {
            assert_eq!(client.say("NOOP"), "250 ok", "row {}", provoked.row);
        }
        // The ledger counts the refusal.
        assert!(listener.ledger().refused.values().sum::<u64>() > 0, "row {}", provoked.row);
        drop(held);
    }
}

#[test]
fn forced_replies_show_the_rest_and_any_row_at_any_step() {
    let rows = rows();
    let anywhere =
        rows.keys().flat_map(|row| [Step::Greeting, Step::Hello, Step::Body].map(|step| (*row, step)));
    for (row, step) in FORCED.iter().map(|(row, step, _)| (*row, *step)).chain(anywhere) {
        let forced = Forced { step, reply: rows[&row].clone(), probability: 1.0 };
        let listener = start(Limits { replies: vec![forced], ..Limits::default() });
        let mut client = Client::connect(&listener);
        let says: &[&str] = match step {
            Step::Greeting => &[],
            Step::Hello => &[HELLO],
            Step::Mail => &[HELLO, MAIL],
            Step::Data => &[HELLO, MAIL, RCPT, "DATA"],
            Step::Body => MESSAGE,
            Step::Auth => &[HELLO, "AUTH PLAIN"],
            _ => unreachable!("no row is forced there"),
        };
        let mut last = client.reply();
        for line in says {
            last = client.say(line);
        }
        assert_eq!(last, rows[&row], "row {row} at {step}");
        assert_eq!(listener.stop().refused["forced"], 1, "row {row} at {step}");
    }
}
