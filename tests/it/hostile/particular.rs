//! Faults of a listener that are possible at one place only: in the reply to EHLO, as an extra reply, with a group of
//! commands, with full pipelining, with a session at rest, and with a receive window that stays closed.

use smtpress::smtp::Step;
use smtpress::smtp::script::Pipelining;

use super::server::{Act, say, until};
use super::{Case, play};
use crate::runs::testbed::ms;

const OFFER: &str = "250-mx.test\r\n250 PIPELINING\r\n";

/// The moves up to the end of the group of MAIL, RCPT and DATA.
fn grouped() -> Vec<Act> {
    vec![say("220 mx.test\r\n"), Act::Hear("EHLO"), say(OFFER), Act::Hear("DATA")]
}

/// A session that writes in groups, two recipients each.
fn group(name: &str, script: Vec<Act>, expected: &str) -> Case {
    Case {
        pipelining: Pipelining::Auto,
        recipients: 2,
        ..Case::new(format!("group: {name}"), [grouped(), script].concat(), expected)
    }
}

/// A session of two messages that writes content and the next group together.
fn full(name: &str, script: Vec<Act>, expected: &str) -> Case {
    let ready = vec![say("250 ok\r\n250 ok\r\n354 go\r\n"), Act::Dot, Act::Hear("DATA")];
    Case {
        pipelining: Pipelining::Full,
        messages: 2,
        ..Case::new(format!("full pipelining: {name}"), [grouped(), ready, script].concat(), expected)
    }
}

#[test]
fn answers_out_of_turn() {
    let after = |step: Step, text: &str, expected: &str| {
        let script = [until(step), vec![say(text), Act::Polite]].concat();
        Case::new(format!("{step}: {text:?}"), script, expected)
    };
    play(vec![
        // A reply that was read before a command was written does not answer the command.
        after(Step::Greeting, "220 a\r\n220 b\r\n", "hello surplus-reply malformed"),
        after(Step::Greeting, "220 a\r\n250 b\r\n", "hello surplus-reply malformed"),
        after(Step::Greeting, "220 a\r\n250", "hello malformed-reply malformed"),
        after(Step::Hello, "250 a\r\n250 b\r\n", "idle unexpected-reply malformed"),
        after(Step::Mail, "250 a\r\n250 b\r\n", "rcpt surplus-reply malformed"),
        after(Step::Rcpt, "250 a\r\n250 b\r\n", "data surplus-reply malformed"),
        after(Step::Rcpt, "250 a\r\n354 b\r\n", "data surplus-reply malformed"),
        after(Step::Data, "354 a\r\n250 b\r\n", "body surplus-reply malformed"),
        // The rest of the reply comes after the content was sent, so it is unknown what it answers.
        after(Step::Data, "354 a\r\n250-b\r\n250 c", "body surplus-reply in-doubt"),
        after(Step::Data, "354 a\r\n554 b\r\n", "body surplus-reply malformed"),
        after(
            Step::Data,
            "354 a\r\n421 4.3.2 Service shutting down\r\n",
            "body service-shutting-down deferred",
        ),
        after(Step::Quit, "221 a\r\n221 b\r\n", "accepted"),
        after(
            Step::Mail,
            "250 a\r\n421 4.3.2 Service shutting down\r\n",
            "rcpt service-shutting-down deferred",
        ),
        after(Step::Mail, "250 a\r\nwhat?\r\n", "rcpt malformed-reply malformed"),
        Case::new(
            "body: two replies for one",
            [until(Step::Body), vec![Act::Take, say("250 a\r\n250 b\r\n"), Act::Polite]].concat(),
            "idle unexpected-reply accepted",
        ),
        Case::new(
            "body: 250, and 421 with it",
            [
                until(Step::Body),
                vec![Act::Take, say("250 a\r\n421 4.3.2 Service shutting down\r\n"), Act::Silence],
            ]
            .concat(),
            "idle service-shutting-down accepted",
        ),
        Case::new(
            "all replies at once, before any command",
            vec![say("220 a\r\n250 b\r\n250 c\r\n250 d\r\n354 e\r\n250 f\r\n221 g\r\n"), Act::Silence],
            "hello surplus-reply malformed",
        ),
        Case::new(
            "content answered before its end",
            [until(Step::Data), vec![say("354 go\r\n"), Act::Peek, say("250 taken\r\n"), Act::Deaf]].concat(),
            "body unexpected-reply malformed",
        )
        .narrow(8 << 20),
        Case::new(
            "content refused before its end",
            [
                until(Step::Data),
                vec![
                    say("354 go\r\n"),
                    Act::Peek,
                    say("552 5.3.4 Message size exceeds limit\r\n"),
                    Act::Deaf,
                ],
            ]
            .concat(),
            "body message-size-exceeded rejected",
        )
        .narrow(8 << 20),
    ]);
}

#[test]
fn answers_to_ehlo() {
    let offer = |name: &str, bytes: &[u8], expected: &str| {
        let script = [until(Step::Hello), vec![Act::Say(bytes.to_vec()), Act::Polite]].concat();
        Case { pipelining: Pipelining::Full, ..Case::new(format!("EHLO: {name}"), script, expected) }
    };
    let many =
        |line: &str, count: usize| [line.repeat(count), "250 HELP\r\n".to_owned()].concat().into_bytes();
    play(vec![
        offer("no keywords at all", b"250\r\n", "accepted"),
        offer("a size beyond all numbers", b"250-mx\r\n250 SIZE 99999999999999999999999\r\n", "accepted"),
        offer("a size below zero", b"250-mx\r\n250-SIZE -1\r\n250 SIZE=\r\n", "accepted"),
        offer("keywords of binary", b"250-mx\r\n250-\xff\xfe\0\r\n250-\r\n250 = = =\r\n", "accepted"),
        offer(
            "every keyword a thousand times",
            &many("250-PIPELINING\r\n250-SIZE 1\r\n250-AUTH X\r\n", 1000),
            "accepted",
        ),
        offer(
            "more lines than a reply may have",
            &many("250-X-AN-EXTENSION-OF-OUR-OWN\r\n", 3000),
            "hello malformed-reply malformed",
        ),
        offer(
            "a mechanism of 4000 letters",
            &[b"250-mx\r\n250 AUTH ".as_slice(), &[b'A'; 4000], b"\r\n"].concat(),
            "accepted",
        ),
        offer("502, and no other greeting", b"502 5.5.1 Command not implemented\r\n", "accepted"),
    ]);
}

#[test]
fn answers_to_groups() {
    let polite = |text: &str| vec![say(text), Act::Polite];
    let late = |name: &str, text: &str, step: Step| {
        let expected = format!("{step} reply-timeout timed-out");
        group(name, vec![say(text), Act::Silence], &expected).impatient(step)
    };
    play(vec![
        late("no reply", "", Step::Mail),
        late("one reply", "250 a\r\n", Step::Rcpt),
        late("two replies", "250 a\r\n250 b\r\n", Step::Rcpt),
        late("three replies", "250 a\r\n250 b\r\n250 c\r\n", Step::Data),
        group("close after one reply", vec![say("250 a\r\n")], "rcpt connection-closed dropped"),
        group(
            "half close after three replies",
            vec![say("250 a\r\n250 b\r\n250 c\r\n"), Act::HalfClose, Act::Silence],
            "data connection-closed dropped",
        ),
        group(
            "reset after a reply",
            vec![say("250 a\r\n"), Act::Pause(ms(100)), Act::Reset],
            "rcpt connection-reset dropped",
        ),
        group(
            "one reply too many",
            polite("250 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n"),
            "body surplus-reply malformed",
        ),
        group(
            "354 to MAIL",
            polite("354 a\r\n250 b\r\n250 c\r\n354 d\r\n"),
            "mail unexpected-reply malformed",
        ),
        group(
            "250 to DATA",
            polite("250 a\r\n250 b\r\n250 c\r\n250 d\r\n"),
            "data unexpected-reply malformed",
        ),
        group(
            "421 first",
            vec![say("421 4.3.2 Service shutting down\r\n")],
            "mail service-shutting-down deferred",
        ),
        group(
            "421 first, and more",
            polite("421 4.3.2 Service shutting down\r\n503 x\r\n503 x\r\n503 x\r\n"),
            "mail service-shutting-down deferred",
        ),
        group(
            "421 last",
            vec![say("250 a\r\n250 b\r\n250 c\r\n421 4.3.2 Service shutting down\r\n")],
            "data service-shutting-down deferred",
        ),
        group(
            "MAIL refused, DATA too",
            polite("554 a\r\n503 b\r\n503 c\r\n503 d\r\n"),
            "mail rejected-unspecified rejected",
        ),
        // A listener that asks for content without an accepted recipient gets a lone dot.
        group(
            "MAIL refused, 354",
            vec![
                say("554 a\r\n503 b\r\n503 c\r\n354 d\r\n"),
                Act::Hear(".\r\n"),
                say("250 taken\r\n"),
                Act::Polite,
            ],
            "mail rejected-unspecified rejected",
        ),
        group(
            "all RCPT refused, 250 to the lone dot",
            vec![
                say("250 a\r\n550 5.1.1 b\r\n550 5.1.1 c\r\n354 d\r\n"),
                Act::Hear(".\r\n"),
                say("250 taken\r\n"),
                Act::Polite,
            ],
            "rcpt unknown-user rejected, rcpt unknown-user rejected",
        ),
        group(
            "all RCPT refused, 354 to the lone dot",
            vec![
                say("250 a\r\n550 5.1.1 b\r\n550 5.1.1 c\r\n354 d\r\n"),
                Act::Hear(".\r\n"),
                say("354 more\r\n"),
                Act::Silence,
            ],
            "rcpt unknown-user rejected, rcpt unknown-user rejected, body unexpected-reply malformed",
        ),
        group(
            "all RCPT refused, nothing to the lone dot",
            vec![say("250 a\r\n550 5.1.1 b\r\n550 5.1.1 c\r\n354 d\r\n"), Act::Hear(".\r\n"), Act::Silence],
            "rcpt unknown-user rejected, rcpt unknown-user rejected, body reply-timeout timed-out",
        )
        .impatient(Step::Body),
        group(
            "all RCPT refused, close at the lone dot",
            vec![say("250 a\r\n550 5.1.1 b\r\n550 5.1.1 c\r\n354 d\r\n"), Act::Hear(".\r\n")],
            "rcpt unknown-user rejected, rcpt unknown-user rejected, body connection-closed dropped",
        ),
        group(
            "one RCPT refused, close after the dot",
            vec![say("250 a\r\n550 5.1.1 b\r\n250 c\r\n354 d\r\n"), Act::Dot, Act::Take],
            "rcpt unknown-user rejected, body lost-after-dot in-doubt",
        ),
        group(
            "no end of replies",
            vec![say("250 a\r\n"), Act::Flood("250 b\r\n")],
            "data unexpected-reply malformed",
        ),
        group(
            "a malformed line among good ones",
            polite("250 a\r\n250 b\r\n\0\0\0\0\r\n354 d\r\n"),
            "rcpt malformed-reply malformed",
        ),
        Case {
            pipelining: Pipelining::Auto,
            ..Case::new(
                "group: answered with EHLO, before it was written",
                vec![
                    say("220 mx.test\r\n"),
                    Act::Hear("EHLO"),
                    say("250-mx\r\n250 PIPELINING\r\n250 a\r\n250 b\r\n354 c\r\n"),
                    Act::Dot,
                    Act::Take,
                ],
                "idle unexpected-reply malformed",
            )
        },
    ]);
}

#[test]
fn answers_to_full_pipelining() {
    play(vec![
        full("close after the content", vec![Act::Take], "body lost-after-dot in-doubt"),
        full("reset after the content", vec![Act::Take, Act::Reset], "body lost-after-dot in-doubt"),
        full("silence after the content", vec![Act::Take, Act::Silence], "body reply-timeout in-doubt")
            .impatient(Step::Body),
        full(
            "421 to the content",
            vec![say("421 4.3.2 Service shutting down\r\n")],
            "body service-shutting-down deferred",
        ),
        full(
            "nonsense to the content",
            vec![Act::Take, say("what?\r\n"), Act::Silence],
            "body malformed-reply in-doubt",
        ),
        full(
            "close after the first reply",
            vec![Act::Take, say("250 taken\r\n")],
            "mail connection-closed dropped",
        ),
        full(
            "silence after the first reply",
            vec![Act::Take, say("250 taken\r\n"), Act::Silence],
            "mail reply-timeout timed-out",
        )
        .impatient(Step::Mail),
        full(
            "421 after the first reply",
            vec![Act::Take, say("250 taken\r\n421 4.3.2 Service shutting down\r\n")],
            "mail service-shutting-down deferred",
        ),
        full(
            "two replies to the content",
            vec![Act::Take, say("250 a\r\n250 b\r\n250 c\r\n250 d\r\n354 e\r\n"), Act::Silence],
            "data unexpected-reply malformed",
        ),
        full(
            "the next group refused",
            vec![Act::Take, say("250 a\r\n554 b\r\n503 c\r\n503 d\r\n"), Act::Polite],
            "mail rejected-unspecified rejected",
        ),
        full(
            "close after the second content",
            vec![Act::Take, say("250 a\r\n250 b\r\n250 c\r\n354 d\r\n"), Act::Dot, Act::Take],
            "body lost-after-dot in-doubt",
        ),
        full(
            "one reply too many at the end",
            vec![Act::Take, say("250 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n"), Act::Silence],
            "body surplus-reply malformed",
        ),
    ]);
}

#[test]
fn sessions_at_rest() {
    let rest = |name: &str, script: Vec<Act>, expected: &str| {
        Case::new(format!("idle: {name}"), [until(Step::Idle), script].concat(), expected).at_rest()
    };
    play(vec![
        rest("421", vec![say("421 4.4.2 Idle too long\r\n")], "idle idle-timeout deferred"),
        rest(
            "421, and silence",
            vec![say("421 4.3.2 Service shutting down\r\n"), Act::Silence],
            "idle service-shutting-down deferred",
        ),
        rest("close", vec![], "idle connection-closed dropped"),
        rest("half close", vec![Act::HalfClose, Act::Silence], "idle connection-closed dropped"),
        rest("reset", vec![Act::Pause(ms(100)), Act::Reset], "idle connection-reset dropped"),
        rest("250 unasked", vec![say("250 ok\r\n"), Act::Silence], "idle unexpected-reply malformed"),
        rest("554 unasked", vec![say("554 go away\r\n"), Act::Silence], "idle policy-rejected rejected"),
        rest("nonsense", vec![say("hello?\r\n"), Act::Silence], "idle malformed-reply malformed"),
        rest("no end of a line", vec![Act::Flood("250 and so on ")], "idle malformed-reply malformed"),
        rest("no end of a reply", vec![Act::Flood("250-more\r\n")], "idle malformed-reply malformed"),
        rest("no end of replies", vec![Act::Flood("250 ok\r\n")], "idle unexpected-reply malformed"),
        rest(
            "part of a reply, and the rest when it leaves",
            vec![say("22"), Act::Hear("QUIT"), say("1 bye\r\n")],
            "quit surplus-reply accepted",
        ),
        rest("nothing at all", vec![Act::Hear("QUIT"), Act::Silence], "quit reply-timeout accepted")
            .impatient(Step::Quit),
    ]);
}

#[test]
fn windows_that_never_open() {
    let deaf = |step: Step, more: Vec<Act>| [until(step), more, vec![Act::Deaf]].concat();
    play(vec![
        Case::new(
            "window: closed for ever in the content",
            deaf(Step::Data, vec![say("354 go\r\n")]),
            "body reply-timeout timed-out",
        )
        .narrow(8 << 20)
        .impatient(Step::Body),
        Case::new(
            "window: closed for ever, and the kernel has it all",
            deaf(Step::Data, vec![say("354 go\r\n")]),
            "body reply-timeout in-doubt",
        )
        .narrow(100)
        .impatient(Step::Body),
        Case::new(
            "window: closed, then a reset",
            [until(Step::Data), vec![say("354 go\r\n"), Act::Peek, Act::Pause(ms(200)), Act::Reset]].concat(),
            "body connection-reset dropped",
        )
        .narrow(8 << 20),
        Case::new(
            "window: closed, then a close with all of it unread",
            [until(Step::Data), vec![say("354 go\r\n"), Act::Peek, Act::Pause(ms(200))]].concat(),
            "body connection-reset dropped",
        )
        .narrow(8 << 20),
        Case::new(
            "window: closed, and 421 meanwhile",
            [
                until(Step::Data),
                vec![say("354 go\r\n"), Act::Peek, say("421 4.3.2 Service shutting down\r\n"), Act::Deaf],
            ]
            .concat(),
            "body service-shutting-down deferred",
        )
        .narrow(8 << 20),
        Case::new(
            "window: closed, and a half close",
            [until(Step::Data), vec![say("354 go\r\n"), Act::HalfClose, Act::Deaf]].concat(),
            "body connection-closed dropped",
        )
        .narrow(8 << 20),
    ]);
}
