//! Searches of listeners whose replies a test sets: replies that answer no command, replies to another question than the
//! one that was asked, and a user who does not wait.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smtpress::experiment::limit::{EndReason, LimitResult, LimitVerdict, SearchBudget, SearchOutcome};
use smtpress::generator::Stop;
use smtpress::generator::clock;
use tokio::sync::watch;

use super::stage::{SECOND, bounds, one, request, search_at, search_until};

/// Starts a listener until the process ends. `answer` returns what it writes to a verb, given the number of the session: to
/// the first four letters of a command, GREET, or DOT; `None`: it closes. It is called with GONE when the session is over.
/// A 354 begins content.
fn listener(answer: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for (number, stream) in socket.incoming().flatten().enumerate() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                drop(serve(stream, |verb| answer(number, verb)));
                answer(number, "GONE")
            });
        }
    });
    addr
}

fn serve(mut stream: TcpStream, answer: impl Fn(&str) -> Option<String>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut verb = "GREET".to_owned();
    let mut line = String::new();
    loop {
        let Some(said) = answer(&verb) else { return Ok(()) };
        stream.write_all(said.as_bytes())?;
        if verb == "QUIT" {
            return Ok(());
        }
        let content = verb == "DATA" && said.contains("354");
        line.clear();
        while lines.read_line(&mut line)? > 0 && content && line != ".\r\n" {
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        verb =
            if content { "DOT".to_owned() } else { line.chars().take(4).collect::<String>().to_uppercase() };
    }
}

/// The reply of a listener without limits.
fn plain(verb: &str) -> Option<String> {
    let said = match verb {
        "GREET" => "220 mx.test",
        "DATA" => "354 go",
        "QUIT" => "221 bye",
        "XYZZ" => "500 what",
        _ => "250 ok",
    };
    Some(format!("{said}\r\n"))
}

/// A listener that answers this verb in this way, and everything else like one without limits.
fn saying(verb: &'static str, reply: &'static str) -> SocketAddr {
    listener(move |_, said| if said == verb { Some(reply.to_owned()) } else { plain(said) })
}

fn find(place: SocketAddr, name: &str, expected: Option<u64>) -> LimitResult {
    one(search_at(place, None, bounds(), &request(&[(name, expected)])))
}

/// Checks that the limit is not measured, because of a reply that cannot be read.
#[track_caller]
fn unmeasured(result: &LimitResult) {
    assert_eq!((result.verdict, result.value), (LimitVerdict::Obstructed, None), "{result:?}");
    assert!(result.remarks.iter().any(|remark| remark.contains("no valid reply")), "{result:?}");
}

#[test]
fn a_reply_that_answers_no_command_is_not_the_end_of_a_wait() {
    let twice = saying("NOOP", "250 ok\r\n250 ok\r\n");
    for expected in [None, Some(1000), Some(3000)] {
        unmeasured(&find(twice, "connection-time-exceeded", expected));
    }
    unmeasured(&find(saying("NOOP", "what is that\r\n"), "connection-time-exceeded", Some(1000)));
}

#[test]
fn what_a_listener_says_into_a_silence_is_no_time_out_unless_it_refuses() {
    // The listener says that it is still here, once a second.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let chatty = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in socket.incoming().flatten() {
            std::thread::spawn(move || {
                let mut other = stream.try_clone().unwrap();
                std::thread::spawn(move || {
                    std::thread::sleep(SECOND);
                    while other.write_all(b"250 still here\r\n").is_ok() {
                        std::thread::sleep(SECOND);
                    }
                });
                drop(serve(stream, plain));
            });
        }
    });
    std::thread::scope(|scope| {
        for name in ["idle-timeout", "idle-timeout.mail", "idle-timeout.body"] {
            scope.spawn(move || {
                let result = find(chatty, name, Some(1000));
                assert_eq!((result.verdict, result.value), (LimitVerdict::Obstructed, None), "{result:?}");
            });
        }
    });
}

#[test]
fn a_reply_that_answers_no_command_is_not_the_refusal_of_a_mistake() {
    for reply in ["500 what\r\n500 what\r\n", "500 what\r\nand more\r\n"] {
        for expected in [None, Some(1)] {
            unmeasured(&find(saying("XYZZ", reply), "bad-command-limit-exceeded", expected));
        }
    }
}

#[test]
fn a_bare_line_end_is_refused_only_where_its_content_is_and_another_message_is_not() {
    // From the second message on the listener takes no mail.
    for step in ["MAIL", "RCPT", "DATA", "DOT"] {
        let seen = AtomicUsize::new(0);
        let place = listener(move |_, verb| match verb {
            verb if verb == step && seen.fetch_add(1, Ordering::SeqCst) > 0 => {
                Some("450 4.7.1 too fast\r\n".to_owned())
            }
            verb => plain(verb),
        });
        for expected in [None, Some(0)] {
            let result = find(place, "bare-cr-lf", expected);
            assert_eq!(
                (result.verdict, result.value),
                (LimitVerdict::Obstructed, None),
                "{step}: {result:?}"
            );
        }
    }
}

#[test]
fn a_group_is_taken_only_if_each_command_got_its_reply() {
    // The listener never asks for content.
    for offer in ["250 mx.test\r\n", "250-mx.test\r\n250 PIPELINING\r\n"] {
        let place = listener(move |_, verb| match verb {
            "EHLO" => Some(offer.to_owned()),
            "DATA" => Some("250 ok\r\n".to_owned()),
            verb => plain(verb),
        });
        let result = find(place, "rule.pipelining", None);
        assert_eq!((result.verdict, result.value), (LimitVerdict::Differs, Some(250)), "{result:?}");
    }
    let result = find(saying("EHLO", "250-mx.test\r\n250 PIPELINING\r\n"), "rule.pipelining", None);
    assert_eq!((result.verdict, result.value), (LimitVerdict::Found, Some(354)), "{result:?}");
    // Replies that answer nothing shift those after them.
    for (verb, reply) in [
        ("MAIL", "250 ok\r\n250 ok\r\n"),
        ("RCPT", "250 ok\r\n250 ok\r\n"),
        ("DATA", "354 go\r\n250 ok\r\n"),
        ("DOT", "250 taken\r\n250 taken\r\n"),
    ] {
        unmeasured(&find(saying(verb, reply), "rule.pipelining", None));
    }
    unmeasured(&find(saying("XYZZ", "5xx what\r\n"), "rule.unknown-command", None));
}

/// Searches, and stops the search after this time. Returns the outcome, and how long the search went on after the stop.
fn stopped(
    place: SocketAddr,
    bounds: SearchBudget,
    name: &str,
    after: Duration,
) -> (SearchOutcome, Duration) {
    let (ask, stop) = watch::channel(Stop::Run);
    let user = std::thread::spawn(move || {
        std::thread::sleep(after);
        ask.send_replace(Stop::Drain);
        let at = clock::now();
        // The channel is open until the search is over.
        futures::executor::block_on(ask.closed());
        clock::now() - at
    });
    let outcome = search_until(place, None, bounds, &request(&[(name, None)]), stop);
    (outcome, user.join().unwrap())
}

#[test]
fn a_user_who_stops_the_search_waits_for_no_silent_listener() {
    // Ten sessions are held, and none answers the NOOP that asks whether it is still open.
    let silent = saying("NOOP", "");
    let few = SearchBudget { sessions: 10, ..bounds() };
    let (outcome, after) = stopped(silent, few, "too-many-connections-from-host", SECOND);
    assert_eq!(outcome.ended, Some(EndReason::Stopped), "{outcome:?}");
    let [result] = &outcome.results[..] else { panic!("{outcome:?}") };
    assert_eq!((result.verdict, result.at_least), (LimitVerdict::Obstructed, None), "{result:?}");
    assert!(after < 5 * SECOND, "{after:?}");
    // The first session is served, and the second is tried again and again, after longer and longer pauses.
    let closed = listener(|number, verb| match verb {
        "GREET" if number > 0 => Some("421 4.7.0 not now\r\n".to_owned()),
        verb => plain(verb),
    });
    let patient = SearchBudget { recovery: 60 * SECOND, ..bounds() };
    let (outcome, after) = stopped(closed, patient, "rule.unknown-command", 8 * SECOND);
    assert_eq!(outcome.ended, Some(EndReason::Stopped), "{outcome:?}");
    assert!(after < 5 * SECOND, "{after:?}");
    // A listener that never greets is not waited for either.
    let dumb = listener(|number, verb| if number > 0 { Some(String::new()) } else { plain(verb) });
    let (outcome, after) = stopped(dumb, patient, "rule.unknown-command", SECOND / 2);
    assert_eq!(outcome.ended, Some(EndReason::Stopped), "{outcome:?}");
    assert!(after < 5 * SECOND, "{after:?}");
}

#[test]
fn sessions_that_answer_nothing_are_waited_for_together() {
    let silent = saying("NOOP", "");
    let start = clock::now();
    let few = SearchBudget { sessions: 6, ..bounds() };
    let outcome = search_at(silent, None, few, &request(&[("too-many-connections-from-host", None)]));
    assert_eq!(one(outcome).verdict, LimitVerdict::NotReached);
    let took = clock::now() - start;
    // Each session would be waited for ten seconds.
    assert!(took < 25 * SECOND, "{took:?}");
}

#[test]
fn a_refusal_right_behind_the_hello_refuses_the_session() {
    let served: Mutex<BTreeSet<usize>> = Mutex::default();
    let place = listener(move |number, verb| {
        let mut served = served.lock().unwrap();
        match verb {
            "EHLO" if served.len() == 5 => {
                return Some("250 mx.test\r\n421 4.7.0 too many connections from your host\r\n".to_owned());
            }
            "EHLO" => drop(served.insert(number)),
            "QUIT" | "GONE" => drop(served.remove(&number)),
            _ => {}
        }
        plain(verb)
    });
    let result = find(place, "too-many-connections-from-host", Some(5));
    assert_eq!((result.verdict, result.value, result.code), (LimitVerdict::AsExpected, Some(5), Some(421)));
    assert_eq!(result.step.as_deref(), Some("hello"), "{result:?}");
}

#[test]
fn a_refusal_that_begins_in_the_hello_is_not_the_answer_to_a_command() {
    let place = listener(|number, verb| match verb {
        "EHLO" if number > 0 => Some("250 mx.test\r\n42".to_owned()),
        "XYZZ" if number > 0 => Some("1 4.7.0 too many\r\n".to_owned()),
        verb => plain(verb),
    });
    let result = find(place, "rule.unknown-command", None);
    assert_eq!((result.verdict, result.value), (LimitVerdict::Obstructed, None), "{result:?}");
    assert!(result.remarks.iter().any(|remark| remark.contains("421 4.7.0 too many")), "{result:?}");
}
