//! Faults of a listener with TLS: in the handshake, at every step after it, and in the records below the dialogue.

use smtpress::smtp::Step;
use smtpress::smtp::script::TlsMode;

use super::server::{Act, say, until};
use super::{Case, play};
use crate::runs::testbed::ms;
use crate::tls::{ALWAYS, credential, of_a_client, server_config};

const STEPS: [Step; 7] =
    [Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body, Step::Quit];

/// A fatal alert: handshake_failure (RFC 8446 6).
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

fn implicit(name: &str, script: Vec<Act>, expected: &str) -> Case {
    Case { tls: TlsMode::Implicit, ..Case::new(format!("implicit TLS: {name}"), script, expected) }
}

/// A case of STARTTLS: the moves before the handshake, and then this script.
fn starttls(name: &str, script: Vec<Act>, expected: &str) -> Case {
    let before = vec![
        say("220 mx.test\r\n"),
        Act::Hear("EHLO"),
        say("250-mx.test\r\n250 STARTTLS\r\n"),
        Act::Hear("STARTTLS"),
    ];
    Case {
        tls: TlsMode::Starttls,
        ..Case::new(format!("STARTTLS: {name}"), [before, script].concat(), expected)
    }
}

/// A TLS record of this type.
fn record(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[test]
fn handshakes() {
    let after_hello = |bytes: Vec<u8>| vec![Act::Peek, Act::Beneath(bytes), Act::Silence];
    let ready = |more: Vec<Act>| [vec![say("220 go\r\n")], more].concat();
    let failed = "tls tls-failure refused";
    play(vec![
        implicit("silence", vec![Act::Silence], "tls reply-timeout timed-out").impatient(Step::Tls),
        implicit("one byte of a record", after_hello(vec![22]), "tls reply-timeout timed-out")
            .impatient(Step::Tls),
        implicit("half a record", after_hello(vec![22, 3, 3, 1, 0, 2, 0, 0]), "tls reply-timeout timed-out")
            .impatient(Step::Tls),
        implicit("close", vec![Act::HalfClose, Act::Silence], "tls connection-closed dropped"),
        implicit("close with the hello unread", vec![Act::Peek], "tls connection-reset dropped"),
        implicit("reset", vec![Act::Peek, Act::Reset], "tls connection-reset dropped"),
        implicit("an alert", after_hello(ALERT.to_vec()), failed),
        implicit("an alert of two bytes too many", after_hello(record(21, &[2, 40, 0, 0])), failed),
        implicit(
            "a warning and then silence",
            after_hello(record(21, &[1, 112])),
            "tls reply-timeout timed-out",
        )
        .impatient(Step::Tls),
        implicit(
            "close_notify instead of a hello",
            after_hello(record(21, &[1, 0])),
            "tls reply-timeout timed-out",
        )
        .impatient(Step::Tls),
        implicit("a record of no type", after_hello(record(99, b"what\r\n")), failed),
        // These bytes may be the beginning of a refusal in clear text, so the client waits for more.
        implicit(
            "a record of no type, and no more",
            after_hello(record(99, b"what")),
            "tls reply-timeout timed-out",
        )
        .impatient(Step::Tls),
        implicit(
            "a record longer than any",
            after_hello([&[22, 3, 3, 0xff, 0xff][..], &[0; 65_535]].concat()),
            failed,
        ),
        implicit("application data first", after_hello(record(23, &[0; 64])), failed),
        implicit(
            "a hello of zeros",
            after_hello(record(22, &[[2, 0, 0, 74].as_slice(), &[0; 74]].concat())),
            failed,
        ),
        implicit("our own hello again", vec![Act::Echo, Act::Silence], failed),
        implicit("no end of ChangeCipherSpec", vec![Act::Flood("\x14\x03\x03\0\x01\x01")], failed),
        implicit("no end of empty records", vec![Act::Flood("\x16\x03\x03\0\0")], failed),
        implicit(
            "no end of a handshake message",
            vec![Act::Beneath(record(22, &[2, 0xff, 0xff, 0xff])), Act::Flood("\x16\x03\x03\0\x04abcd")],
            failed,
        ),
        implicit("no end of clear text", vec![Act::Flood("and so on ")], failed),
        implicit("no end of lines in clear text", vec![Act::Flood("and so on\r\n")], failed),
        implicit("a greeting in clear text", vec![say("220 mx.test\r\n"), Act::Silence], failed),
        implicit(
            "421 in clear text",
            vec![say("421 4.3.2 Service shutting down\r\n"), Act::Silence],
            "tls service-shutting-down refused",
        ),
        implicit(
            "554 in clear text, cut off",
            vec![say("554 5.7.1 x"), Act::HalfClose, Act::Silence],
            failed,
        ),
        starttls(
            "refused",
            vec![say("454 4.7.0 TLS not available due to local problem\r\n"), Act::Polite],
            "starttls tls-unavailable deferred",
        ),
        starttls(
            "250 instead of 220",
            vec![say("250 ok\r\n"), Act::Silence],
            "starttls unexpected-reply malformed",
        ),
        starttls("silence", vec![Act::Silence], "starttls reply-timeout timed-out").impatient(Step::Starttls),
        starttls("close", vec![], "starttls connection-closed dropped"),
        starttls(
            "421",
            vec![say("421 4.3.2 Service shutting down\r\n")],
            "starttls service-shutting-down refused",
        ),
        starttls(
            "a second reply with the go-ahead",
            ready(vec![Act::Silence])
                .into_iter()
                .map(|act| match act {
                    Act::Say(_) => say("220 go\r\n250 injected\r\n"),
                    act => act,
                })
                .collect(),
            "tls protocol-violation malformed",
        ),
        starttls(
            "part of a reply with the go-ahead",
            vec![say("220 go\r\n2"), Act::Silence],
            "tls protocol-violation malformed",
        ),
        starttls(
            "clear text instead of a handshake",
            ready(vec![Act::Peek, say("250 ok\r\n"), Act::Silence]),
            failed,
        ),
        starttls(
            "421 instead of a handshake",
            ready(vec![Act::Peek, say("421 4.3.2 Service shutting down\r\n"), Act::Silence]),
            "tls service-shutting-down refused",
        ),
        starttls("an alert", ready(after_hello(ALERT.to_vec())), failed),
        starttls("silence instead of a handshake", ready(vec![Act::Silence]), "tls reply-timeout timed-out")
            .impatient(Step::Tls),
        starttls(
            "reset in the handshake",
            ready(vec![Act::Peek, Act::Reset]),
            "tls connection-reset dropped",
        ),
        starttls("no end of a record", ready(vec![Act::Peek, Act::Flood("\x16\x03\x03\x40\0")]), failed),
        starttls(
            "a greeting after the handshake",
            ready(vec![Act::Secure, say("220 again\r\n"), Act::Silence]),
            "hello unexpected-reply malformed",
        ),
        starttls(
            "close after the handshake",
            ready(vec![Act::Secure, Act::HalfClose, Act::Silence]),
            "hello connection-closed dropped",
        ),
        starttls(
            "silence after the handshake",
            ready(vec![Act::Secure, Act::Silence]),
            "hello reply-timeout timed-out",
        )
        .impatient(Step::Hello),
    ]);
}

#[test]
fn certificates_that_are_not_to_be_trusted() {
    let here = &["127.0.0.1"];
    let mut cases = Vec::new();
    for (name, shown) in [
        ("that has expired", credential(here, (2001, 2002))),
        ("that is not valid yet", credential(here, (2900, 3000))),
        ("for another name", credential(&["mx.other.example"], ALWAYS)),
        ("that nobody trusted issued", credential(here, ALWAYS)),
        ("that is a client's", of_a_client(here)),
    ] {
        let alone = name.contains("nobody");
        let config = server_config(&shown);
        // The listener continues as if the certificate were trusted, but the client must not use its replies.
        let ready = vec![Act::SecureWith(config), say("220 mx.test\r\n"), Act::Polite];
        for mut case in [
            implicit(&format!("a certificate {name}"), ready.clone(), "tls tls-failure refused"),
            starttls(
                &format!("a certificate {name}"),
                [vec![say("220 go\r\n")], ready].concat(),
                "tls tls-failure refused",
            ),
        ] {
            case.trusts = Some(shown.chain.clone()).filter(|_| !alone);
            cases.push(case);
        }
    }
    play(cases);
}

#[test]
fn handshakes_that_break_off() {
    let mut cases = Vec::new();
    // The cuts are in the head of the first record, at the end of the head, in the ServerHello, and in encrypted
    // records.
    for bytes in [1, 4, 5, 6, 9, 43, 127, 1000, 1400, usize::MAX] {
        for (name, last, expected) in [
            ("a close", vec![Act::HalfClose, Act::Drain], "tls connection-closed dropped"),
            ("a reset", vec![Act::Pause(ms(50)), Act::Reset], "tls connection-reset dropped"),
            ("silence", vec![Act::Drain], "tls reply-timeout timed-out"),
            ("no end of clear text", vec![Act::Flood("250 and so on\r\n")], "tls tls-failure refused"),
            ("no end of NULs", vec![Act::Flood("\0")], "tls tls-failure refused"),
        ] {
            let name = format!("{bytes} bytes of a handshake and {name}");
            let case = implicit(&name, [vec![Act::PartOfHandshake(bytes)], last].concat(), expected);
            cases.push(if expected.contains("timed-out") { case.impatient(Step::Tls) } else { case });
        }
    }
    play(cases);
}

#[test]
fn handshakes_without_end() {
    let slowly = |bytes: &'static str| vec![Act::Peek, Act::Drip(bytes, ms(50)), Act::Silence];
    let late = "tls reply-timeout timed-out";
    let mut cases = Vec::new();
    for (name, bytes) in [
        (
            "a record byte by byte",
            "\x16\x03\x03\x40\0\x02\0\x3f\x7c\x03\x03and so on and so on and so on and so on",
        ),
        (
            "alerts that only warn",
            "\x15\x03\x03\0\x02\x01\x5a\x15\x03\x03\0\x02\x01\x5a\x15\x03\x03\0\x02\x01\x5a",
        ),
        ("clear text byte by byte", "and so on and so on and so on and so on and so on and so on"),
    ] {
        cases.push(implicit(name, slowly(bytes), late).impatient(Step::Tls));
        cases.push(
            starttls(name, [vec![say("220 go\r\n")], slowly(bytes)].concat(), late).impatient(Step::Tls),
        );
    }
    for step in [Step::Greeting, Step::Hello, Step::Mail, Step::Quit] {
        let script = [vec![Act::Secure], until(step), vec![Act::Rekey]].concat();
        let outcome = match step {
            Step::Greeting | Step::Hello => "refused",
            Step::Quit => "accepted",
            _ => "dropped",
        };
        let name = format!("{step}: no end of new keys");
        cases.push(implicit(&name, script, &format!("{step} tls-failure {outcome}")));
    }
    play(cases);
}

#[test]
fn at_every_step_after_the_handshake() {
    let body = |step: Step, outcome: &str| {
        match step {
            Step::Body => "in-doubt",
            Step::Quit => "accepted",
            _ => outcome,
        }
        .to_owned()
    };
    let closed = |step: Step| match step {
        Step::Greeting => "greeting closed-before-greeting refused".to_owned(),
        Step::Body => "body lost-after-dot in-doubt".to_owned(),
        _ => format!("{step} connection-closed {}", body(step, "dropped")),
    };
    let broken = |step: Step| {
        let outcome = if step < Step::Mail { "refused" } else { "dropped" };
        format!("{step} tls-failure {}", body(step, outcome))
    };
    let malformed = |step: Step| format!("{step} malformed-reply {}", body(step, "malformed"));
    let late = |step: Step| match step {
        Step::Greeting => "greeting no-greeting timed-out".to_owned(),
        _ => format!("{step} reply-timeout {}", body(step, "timed-out")),
    };
    let mut cases = Vec::new();
    for step in STEPS {
        let mut case = |name: &str, fault: Vec<Act>, expected: String| {
            let took = (step == Step::Body).then_some(Act::Take).into_iter().collect();
            let script = [vec![Act::Secure], until(step), took, fault].concat();
            cases.push(implicit(&format!("{step}: {name}"), script, &expected));
        };
        case("an end with a goodbye", vec![Act::Goodbye, Act::HalfClose, Act::Drain], closed(step));
        case("an end without a goodbye", vec![Act::HalfClose, Act::Drain], closed(step));
        case("a goodbye and no end", vec![Act::Goodbye, Act::Drain], closed(step));
        case("clear text", vec![Act::Beneath(b"250 ok\r\n".to_vec()), Act::Drain], broken(step));
        case("an alert", vec![Act::Beneath(ALERT.to_vec()), Act::Drain], broken(step));
        case(
            "a record that cannot be read",
            vec![Act::Beneath(record(23, &[7; 64])), Act::Drain],
            broken(step),
        );
        let huge = [&[23, 3, 3, 0xff, 0xff][..], &[7; 65_535]].concat();
        case("a record longer than any", vec![Act::Beneath(huge), Act::Drain], broken(step));
        case("no end of a line", vec![Act::Flood("250 and so on and so on ")], malformed(step));
        case("no end of a reply", vec![Act::Flood("250-more\r\n")], malformed(step));
        case("another protocol", vec![say("HTTP/1.1 400 Bad Request\r\n\r\n"), Act::Drain], malformed(step));
        case("half a record", vec![Act::Beneath(vec![23, 3, 3, 1, 0, 1, 2]), Act::Drain], late(step));
        case("silence", vec![Act::Drain], late(step));
    }
    let impatient = |case: Case| {
        let waits = case.expected.contains("timed-out") || case.expected.contains("reply-timeout");
        let step = case.expected.split(' ').next().and_then(|step| step.parse().ok());
        match step.filter(|_| waits) {
            Some(step) => case.impatient(step),
            None => case,
        }
    };
    play(cases.into_iter().map(impatient).collect());
}
