//! Faults of a listener that are possible at any step, tested at every step.

use smtpress::smtp::Step;

use super::server::{Act, say, until};
use super::{Case, play};
use crate::runs::testbed::ms;

const STEPS: [Step; 7] =
    [Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body, Step::Quit];

/// The code of success.
fn good(step: Step) -> u16 {
    match step {
        Step::Greeting => 220,
        Step::Data => 354,
        Step::Quit => 221,
        _ => 250,
    }
}

/// The moves that follow the success of a step.
fn on(step: Step) -> Vec<Act> {
    let mut script = Vec::new();
    if step == Step::Data {
        script.push(Act::Dot);
    }
    if matches!(step, Step::Data | Step::Body) {
        script.push(Act::Take);
    }
    if step == Step::Data {
        script.push(say("250 taken\r\n"));
    }
    script.push(Act::Polite);
    script
}

/// One case for each step, with a fault at the step and the expected rows. After the final dot the listener has the
/// message.
fn at_each(
    name: &str,
    fault: impl Fn(Step) -> Vec<Act>,
    expected: impl Fn(Step) -> Option<String>,
) -> Vec<Case> {
    let case = |step: Step| {
        let took = (step == Step::Body).then_some(Act::Take);
        let script = [until(step), took.into_iter().collect(), fault(step)].concat();
        Some(Case::new(format!("{step}: {name}"), script, expected(step)?))
    };
    STEPS.into_iter().filter_map(case).collect()
}

/// The same row at each step. After the final dot the message is in doubt, and a fault at QUIT does not change the
/// outcome.
fn row(condition: &str, outcome: &str) -> impl Fn(Step) -> Option<String> {
    move |step| {
        let outcome = match step {
            Step::Body => "in-doubt",
            Step::Quit => "accepted",
            _ => outcome,
        };
        Some(format!("{step} {condition} {outcome}"))
    }
}

fn malformed(name: &str, bytes: &'static [u8]) -> Vec<Case> {
    at_each(name, |_| vec![Act::Say(bytes.to_vec()), Act::Silence], row("malformed-reply", "malformed"))
}

/// The row of a lost connection.
fn lost(how: &str) -> impl Fn(Step) -> Option<String> {
    move |step| {
        Some(match step {
            Step::Greeting => format!("greeting {how}-before-greeting refused"),
            Step::Body => "body lost-after-dot in-doubt".to_owned(),
            Step::Quit => format!("quit connection-{how} accepted"),
            _ => format!("{step} connection-{how} dropped"),
        })
    }
}

/// The row of a silent listener.
fn late(step: Step) -> Option<String> {
    if step == Step::Greeting {
        Some("greeting no-greeting timed-out".to_owned())
    } else {
        row("reply-timeout", "timed-out")(step)
    }
}

fn impatient(cases: Vec<Case>) -> Vec<Case> {
    cases.into_iter().zip(STEPS).map(|(case, step)| case.impatient(step)).collect()
}

#[test]
fn no_reply_in_time() {
    let mut cases = Vec::new();
    let mut late_at_each = |name: &str, said: fn(u16) -> Vec<Act>| {
        cases.extend(impatient(at_each(name, |step| said(good(step)), late)));
    };
    late_at_each("silence", |_| vec![Act::Silence]);
    late_at_each("an byte now and then", |_| vec![Act::Drip("250-and so on and on", ms(100)), Act::Silence]);
    late_at_each("part of a reply", |code| vec![say(&format!("{code}-a\r\n{code}")), Act::Silence]);
    late_at_each("only CR ends the line", |code| vec![say(&format!("{code} a\r")), Act::Silence]);
    late_at_each("a reply after the time-out", |code| {
        vec![Act::Drain, say(&format!("{code} late\r\n")), Act::Silence]
    });
    play(cases);
}

#[test]
fn connections_lost() {
    let mut cases = Vec::new();
    cases.extend(at_each("close", |_| Vec::new(), lost("closed")));
    cases.extend(at_each("half close", |_| vec![Act::HalfClose, Act::Silence], lost("closed")));
    cases.extend(at_each("reset", |_| vec![Act::Reset], lost("reset")));
    let cut = |step| vec![say(&format!("{}-a\r\n{}", good(step), good(step)))];
    cases.extend(at_each("close within a reply", cut, lost("closed")));
    // Unread bytes turn a close into a reset.
    let unread = |step: Step| {
        let mut script = until(step);
        script.pop();
        [script, vec![Act::Peek]].concat()
    };
    for step in [Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body, Step::Quit] {
        let name = format!("{step}: close with what was written unread");
        cases.push(Case::new(name, unread(step), lost("reset")(step).unwrap_or_default()));
    }
    play(cases);
}

#[test]
fn what_is_no_reply() {
    let mut cases = Vec::new();
    cases.extend(malformed("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    cases.extend(malformed("a line without a code", b"go on, then\r\n"));
    cases.extend(malformed("an empty line", b"\r\n"));
    cases.extend(malformed("two digits", b"25 ok\r\n"));
    cases.extend(malformed("four digits", b"2500 ok\r\n"));
    cases.extend(malformed("no space after the code", b"250_ok\r\n"));
    cases.extend(malformed("NUL and binary", b"\0\x01\xff\xfe\x16\x03\x01\0\0\r\n"));
    cases.extend(malformed("a code with a NUL in it", b"2\x0050 ok\r\n"));
    cases.extend(malformed("a line of 8 KiB", &[b'2'; 8192]));
    play(cases);
}

#[test]
fn lines_with_different_codes() {
    let mut cases = Vec::new();
    // The code of the last line counts, if the first line was positive. If the first line refused, the reply is
    // malformed.
    for mut case in at_each(
        "550 in the last line",
        |step| vec![say(&format!("{}-one\r\n550 5.1.1 two\r\n", good(step))), Act::Polite],
        |step| {
            let outcome = match step {
                Step::Greeting | Step::Hello => "refused",
                Step::Quit => "accepted",
                _ => "rejected",
            };
            Some(format!("{step} unknown-user {outcome}, {step} mixed-reply accepted"))
        },
    ) {
        case.script.retain(|act| !matches!(act, Act::Take) || case.name.starts_with("quit"));
        cases.push(case);
    }
    cases.extend(at_each(
        "550 in the first line",
        |step| vec![say(&format!("550-one\r\n{} two\r\n", good(step))), Act::Silence],
        |step| {
            row("unexpected-reply", "malformed")(step)
                .map(|row| format!("{row}, {step} mixed-reply accepted"))
        },
    ));
    play(cases);
}

#[test]
fn listeners_that_never_stop() {
    let mut cases = Vec::new();
    for (name, bytes) in [
        ("no end of a line", "250 and so on and so on "),
        ("no end of a reply", "250-more\r\n"),
        ("no end of NULs", "\0"),
        ("no end of empty lines", "\r\n"),
    ] {
        cases.extend(at_each(name, |_| vec![Act::Flood(bytes)], row("malformed-reply", "malformed")));
    }
    // 221 ends the session, whatever comes after it.
    let unexpected = |step| match step {
        Step::Quit => Some("accepted".to_owned()),
        _ => row("unexpected-reply", "malformed")(step),
    };
    cases.extend(at_each("no end of replies", |_| vec![Act::Flood("221 bye\r\n")], unexpected));
    play(cases);
}

#[test]
fn replies_that_do_not_fit() {
    let mut cases = Vec::new();
    for code in [0, 120, 199, 220, 221, 300, 354, 334, 600, 999] {
        let said = move |_| vec![say(&format!("{code:03} what now\r\n")), Act::Silence];
        cases.extend(at_each(&format!("{code:03}"), said, move |step| {
            if code == good(step) { None } else { row("unexpected-reply", "malformed")(step) }
        }));
    }
    cases.extend(at_each(
        "250",
        |_| vec![say("250 ok\r\n"), Act::Silence],
        |step| match step {
            Step::Greeting | Step::Data => row("unexpected-reply", "malformed")(step),
            _ => None,
        },
    ));
    play(cases);
}

#[test]
fn leaving_at_every_step() {
    let mut cases = Vec::new();
    let gone = |step| {
        let outcome = match step {
            Step::Greeting | Step::Hello => "refused",
            Step::Quit => "accepted",
            _ => "deferred",
        };
        Some(format!("{step} service-shutting-down {outcome}"))
    };
    // The reply 421 says that the listener does not have the message.
    for (name, last) in
        [("421", None), ("421, and a reset", Some(Act::Reset)), ("421, and silence", Some(Act::Silence))]
    {
        for mut case in at_each(
            name,
            |_| {
                [vec![say("421 4.3.2 Service shutting down\r\n")], last.clone().into_iter().collect()]
                    .concat()
            },
            gone,
        ) {
            case.script.retain(|act| !matches!(act, Act::Take) || case.name.starts_with("quit"));
            cases.push(case);
        }
    }
    play(cases);
}

#[test]
fn replies_that_are_odd_and_good() {
    let well = |name: &str, said: fn(u16) -> Vec<Act>| {
        at_each(
            name,
            |step| {
                [said(good(step)), on(step).into_iter().skip(usize::from(step == Step::Body)).collect()]
                    .concat()
            },
            |_| Some("accepted".to_owned()),
        )
    };
    let mut cases = Vec::new();
    cases.extend(well("byte by byte", |code| {
        let text: &'static str = match code {
            220 => "220 mx.test\r\n",
            221 => "221 bye\r\n",
            354 => "354-go\r\n354 on\r\n",
            _ => "250-mx\r\n250 ok\r\n",
        };
        vec![Act::Drip(text, ms(2))]
    }));
    cases.extend(well("only LF ends the line", |code| vec![say(&format!("{code}-a\n{code} b\n"))]));
    cases.extend(well("a code and nothing more", |code| vec![say(&format!("{code}\r\n"))]));
    cases.extend(well("a line of 4 KiB", |code| vec![say(&format!("{code} {}\r\n", "long ".repeat(800)))]));
    cases.extend(well("a thousand lines", |code| {
        vec![say(&format!("{}{code} b\r\n", format!("{code}-line\r\n").repeat(1000)))]
    }));
    cases.extend(well("eight-bit bytes and NULs", |code| {
        vec![Act::Say(
            [format!("{code} ").as_bytes(), b"\xc3\xa9\xff\xfe\0\x07\x1b]0;owned\x07\r\n"].concat(),
        )]
    }));
    play(cases);
}
