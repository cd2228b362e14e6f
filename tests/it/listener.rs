//! The embedded listener over real loopback sockets, with plain scripted clients.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests look at a real clock, to bound waits and to see delays"
)]

mod bounds;
mod cisco;
pub mod client;
mod peers;

use std::time::{Duration, Instant};

use client::{Client, TRANSACTION};
use smtpress::listener::limits::{Delay, Forced, Offers, RateLimit, RefusalForm, ReplyDelays, Stall};
use smtpress::listener::{self, Dialect, LedgerSnapshot, Limits, Listener};
use smtpress::smtp::Step;

/// A listener on a free loopback port.
fn start(limits: Limits) -> Listener {
    listener::start("127.0.0.1:0".parse().unwrap(), limits, 7, 2).unwrap()
}

/// Waits until the ledger meets a condition, and returns it. A close reaches the ledger a moment after it reaches the
/// client.
pub fn ledger_when(listener: &Listener, is: impl Fn(&LedgerSnapshot) -> bool) -> LedgerSnapshot {
    let begin = Instant::now();
    loop {
        let ledger = listener.ledger();
        if is(&ledger) {
            return ledger;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "the ledger never came to it: {ledger:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn messages_are_taken_and_counted() {
    let listener = start(Limits { max_message_size: Some(1000), ..Limits::default() });
    let mut client = Client::connect(&listener);
    assert_eq!(client.reply(), "220 mx.recipient.example ESMTP");
    assert_eq!(
        client.say("EHLO client.example"),
        "250-mx.recipient.example\n250-PIPELINING\n250-SIZE 1000\n250 8BITMIME"
    );
    let replies: Vec<String> = TRANSACTION.iter().map(|line| client.say(line)).collect();
    assert_eq!(replies, ["250 sender ok", "250 recipient ok", "354 go ahead", "250 ok:  Message accepted"]);
    // All commands go out in one group, and the replies come in order (RFC 2920).
    let rest = "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    client.send(rest);
    let codes: Vec<String> = (0..6).map(|_| client.reply()[..3].to_owned()).collect();
    assert_eq!(codes, ["250", "250", "250", "354", "250", "221"]);
    assert!(client.is_closed());
    // The slot is released before the client can read the 221.
    assert_eq!(listener.ledger().sessions, 0);
    let ledger = listener.stop();
    assert_eq!((ledger.connections, ledger.messages, ledger.recipients), (1, 2, 3));
    assert_eq!(ledger.content_bytes, 3 + "Subject: x\r\n\r\nbody\r\n".len() as u64);
    assert_eq!((ledger.sessions_peak, ledger.host_sessions_peak), (1, 1));
    assert!(ledger.refused.is_empty(), "{ledger:?}");
    let lines = TRANSACTION.iter().map(|line| line.len() + 2).sum::<usize>();
    assert_eq!(ledger.received_bytes, ("EHLO client.example\r\n".len() + lines + rest.len()) as u64);
    assert!(ledger.sent_bytes > 270, "{ledger:?}");
}

#[test]
fn the_digest_does_not_depend_on_order_or_sessions() {
    let digest = |orders: &[&[u32]]| {
        let listener = start(Limits::default());
        let mut clients: Vec<_> = orders.iter().map(|_| Client::greeted(&listener)).collect();
        for (client, order) in clients.iter_mut().zip(orders) {
            for n in *order {
                client.say(&format!("MAIL FROM:<s{n}@a.example>"));
                client.say("RCPT TO:<a@b.example>");
                client.say("DATA");
                client.say(&format!("Date: {n} {}\r\nSubject: {n}\r\n\r\nbody\r\n.", order.len()));
            }
        }
        let ledger = listener.stop();
        (ledger.messages, ledger.digest)
    };
    let one = digest(&[&[1, 2, 3, 4]]);
    assert_eq!(digest(&[&[4, 2], &[3, 1]]), one);
    assert_ne!(digest(&[&[4, 2], &[3, 5]]), one);
}

#[test]
fn a_limit_of_connections_serves_exactly_so_many_and_releases_its_slots() {
    let limits = Limits { max_connections_per_host: Some(5), ..Limits::default() };
    let listener = start(limits);
    let mut held: Vec<_> = (0..5).map(|_| Client::greeted(&listener)).collect();
    for _ in 0..3 {
        let mut refused = Client::connect(&listener);
        assert_eq!(refused.reply(), "421 #4.4.5 Too many connections from your host");
        assert!(refused.is_closed());
    }
    for client in &mut held {
        assert_eq!(client.say("NOOP"), "250 ok");
    }
    assert_eq!(held.pop().unwrap().say("QUIT")[..3], *"221");
    let mut next = Client::greeted(&listener);
    assert_eq!(next.say("NOOP"), "250 ok");
    // A client that closes without QUIT releases its slot too.
    drop(next);
    ledger_when(&listener, |ledger| ledger.sessions == 4);
    let _fifth = Client::greeted(&listener);
    // Another address has its own slots.
    assert_eq!(Client::connect_from("127.0.0.2", &listener).reply()[..3], *"220");
    let ledger = listener.stop();
    assert_eq!((ledger.connections, ledger.refused_connections), (11, 3));
    assert_eq!((ledger.sessions_peak, ledger.host_sessions_peak), (6, 5));
    assert_eq!(ledger.refused["too-many-connections-from-host"], 3);
    assert_eq!(ledger.sessions, 0);
}

#[test]
fn a_limit_of_connections_can_show_in_four_ways() {
    for shown_by in RefusalForm::ALL {
        let listener = start(Limits { max_connections: Some(1), shown_by, ..Limits::default() });
        let _held = Client::greeted(&listener);
        let mut refused = Client::connect(&listener);
        match shown_by {
            RefusalForm::Reply => assert_eq!(refused.reply(), "421 #4.4.5 Too many connections to this host"),
            RefusalForm::Close => assert_eq!(refused.end().map_err(|e| e.kind()), Ok(Vec::new())),
            RefusalForm::Reset => {
                assert_eq!(refused.end().map_err(|e| e.kind()), Err(std::io::ErrorKind::ConnectionReset));
            }
            RefusalForm::NoGreeting => {
                refused.send("EHLO client.example\r\n");
                assert!(refused.is_silent_for(Duration::from_millis(200)));
            }
        }
        assert_eq!(listener.stop().refused_connections, 1, "{shown_by:?}");
    }
}

#[test]
fn rates_are_held() {
    let slow = Some(RateLimit { per_second: 0.001, burst: 2 });
    let listener = start(Limits { connection_rate: slow, ..Limits::default() });
    let greetings: Vec<String> = (0..3).map(|_| Client::connect(&listener).reply()[..3].to_owned()).collect();
    assert_eq!(greetings, ["220", "220", "421"]);

    let listener = start(Limits { message_rate: slow, style: Dialect::Postfix, ..Limits::default() });
    let mut client = Client::greeted(&listener);
    for _ in 0..2 {
        assert_eq!(client.say("MAIL FROM:<>"), "250 2.1.0 Ok");
        client.say("RSET");
    }
    assert_eq!(client.say("MAIL FROM:<>"), "450 4.7.1 Error: too much mail from 127.0.0.1");
}

#[test]
fn rates_of_errors_are_drawn_by_seed() {
    let draws = |seed| {
        let limits = Limits { temporary_error_rate: 0.5, ..Limits::default() };
        let listener = listener::start("127.0.0.1:0".parse().unwrap(), limits, seed, 1).unwrap();
        let mut client = Client::greeted(&listener);
        let mut errors = 0u64;
        for _ in 0..64 {
            errors = errors << 1 | u64::from(client.say("MAIL FROM:<>").starts_with("452"));
            client.say("RSET");
        }
        errors
    };
    let one = draws(1);
    assert_eq!(draws(1), one);
    assert_ne!(draws(2), one);
    // Of 64 draws with probability 1/2, fewer than 12 or more than 52 errors come once in millions of seeds. These
    // seeds are fixed.
    assert!((12..=52).contains(&one.count_ones()), "{one:b}");
}

#[test]
fn delays_hold_replies_back() {
    let long = Duration::from_millis(120);
    let body = Delay { min: long, max: long * 2 };
    let delays = ReplyDelays { greeting: Delay::fixed(long), body, ..ReplyDelays::default() };
    let listener = start(Limits { delays, ..Limits::default() });
    let begin = Instant::now();
    let mut client = Client::connect(&listener);
    client.reply();
    assert!(begin.elapsed() >= long);
    client.say("HELO client.example");
    for line in &TRANSACTION[..3] {
        client.say(line);
    }
    let begin = Instant::now();
    client.say(TRANSACTION[3]);
    assert!(begin.elapsed() >= long);
}

#[test]
fn a_stall_stops_everything_for_its_time() {
    let stall = Stall { from: Duration::from_millis(300), length: Duration::from_millis(400) };
    let begin = Instant::now();
    let listener = start(Limits { stall: Some(stall), ..Limits::default() });
    let mut client = Client::greeted(&listener);
    std::thread::sleep((stall.from + Duration::from_millis(60)).saturating_sub(begin.elapsed()));
    client.say("NOOP");
    assert!(begin.elapsed() >= stall.from + stall.length, "{:?}", begin.elapsed());
    // During the stall the kernel accepts connections without a greeting. Now the listener greets again.
    Client::greeted(&listener);
}

#[test]
fn a_forced_reply_stands_in_at_its_step() {
    let forced = |step, reply: &str, probability| Forced { step, reply: reply.to_owned(), probability };
    let replies = vec![
        forced(Step::Mail, "450 4.2.0 never", 0.0),
        forced(Step::Rcpt, "251 will forward", 1.0),
        forced(Step::Body, "550-two\n550 lines", 1.0),
    ];
    let listener = start(Limits { replies, ..Limits::default() });
    let mut client = Client::greeted(&listener);
    let replies: Vec<String> = TRANSACTION.iter().map(|line| client.say(line)).collect();
    assert_eq!(replies, ["250 sender ok", "251 will forward", "354 go ahead", "550-two\n550 lines"]);
    let ledger = listener.stop();
    assert_eq!((ledger.messages, ledger.refused["forced"]), (0, 1));
}

#[test]
fn a_queue_takes_exactly_its_number_from_any_client() {
    let listener = start(Limits { queue_full_after: Some(3), ..Limits::default() });
    let mut clients: Vec<_> = (0..6).map(|_| Client::greeted(&listener)).collect();
    for line in &TRANSACTION[..3] {
        clients.iter_mut().for_each(|client| drop(client.say(line)));
    }
    // All six clients have sent DATA, so the final dot decides.
    let accepted =
        clients.iter_mut().filter_map(|c| c.say(TRANSACTION[3]).starts_with("250").then_some(())).count();
    let ledger = listener.stop();
    assert_eq!((accepted, ledger.messages, ledger.refused["queue-full"]), (3, 3, 3));
}

#[test]
fn a_message_is_never_delivered_without_its_reply() {
    let delays = ReplyDelays { body: Delay::fixed(Duration::from_millis(300)), ..ReplyDelays::default() };
    let listener = start(Limits { delays, queue_full_after: Some(1), ..Limits::default() });
    let mut lost = Client::greeted(&listener);
    for line in &TRANSACTION[..3] {
        lost.say(line);
    }
    lost.send(TRANSACTION[3]);
    lost.send("\r\n");
    std::thread::sleep(Duration::from_millis(50));
    drop(lost);
    ledger_when(&listener, |ledger| ledger.sessions == 0);
    assert_eq!(listener.ledger().messages, 0);
    // The slot of that message in the queue is released.
    let mut client = Client::greeted(&listener);
    let last = TRANSACTION.iter().map(|line| client.say(line)).last();
    assert_eq!(last.as_deref(), Some("250 ok:  Message accepted"));
    assert_eq!(listener.stop().messages, 1);
}

#[test]
fn a_421_reaches_a_client_that_pipelined_on() {
    let listener = start(Limits { max_messages_per_session: Some(0), ..Limits::default() });
    for _ in 0..20 {
        let mut client = Client::greeted(&listener);
        client.send(&format!("MAIL FROM:<>\r\n{}", "NOOP\r\n".repeat(20_000)));
        assert_eq!(client.reply(), "421 #4.x.2 Too many messages for this session");
        // If the listener closed with unread input, the kernel would send a reset, and many clients would lose the 421.
        assert!(client.is_closed());
    }
}

#[test]
fn addresses_beyond_ascii_are_for_transactions_with_smtputf8() {
    let offers = Offers { smtp_utf8: true, dsn: true, ..Offers::NONE };
    let listener = start(Limits { offers, ..Limits::default() });
    let mut client = Client::greeted(&listener);
    let refused = "553 #5.6.7 SMTPUTF8 required";
    for (parameter, says) in [("", refused), (" SMTPUTF8", "250 recipient ok")] {
        assert_eq!(client.say(&format!("MAIL FROM:<>{parameter}"))[..3], *"250");
        for rcpt in ["<\u{e4}@b.example>", "<a@b.example> ORCPT=utf-8;\u{e4}@b.example"] {
            assert_eq!(client.say(&format!("RCPT TO:{rcpt}")), says, "{rcpt}{parameter}");
        }
        assert_eq!(client.say("RCPT TO:<a@b.example> ORCPT=utf-8;\\x{E4}@b.example")[..3], *"250");
        assert_eq!(client.say("RSET")[..3], *"250");
    }
}

#[test]
fn only_loopback_is_bound_unless_told() {
    let error = listener::start("0.0.0.0:0".parse().unwrap(), Limits::default(), 1, 1).unwrap_err();
    assert!(error.to_string().contains("allow_remote"), "{error}");
    let taken = start(Limits::default());
    let error = listener::start(taken.addr(), Limits::default(), 1, 1).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}", taken.addr())), "{error}");
}

#[test]
fn processor_time_is_reported() {
    let listener = start(Limits::default());
    let mut client = Client::greeted(&listener);
    let begin = Instant::now();
    while listener.cpu().0 + listener.cpu().1 == 0.0 {
        assert_eq!(client.say("NOOP"), "250 ok");
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}
