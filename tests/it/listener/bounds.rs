//! Each bound of a session, at the largest number that is served and at one more.

use std::time::{Duration, Instant};

use smtpress::listener::limits::{EndOfData, ErrorDelay, Patterns, Stall, StepTimeouts};
use smtpress::listener::{Dialect, Limits, start_before_load};

use super::client::{Client, TRANSACTION};
use super::start;

#[test]
fn unknown_recipients_are_answered_so_often_and_the_next_ends_the_session() {
    for (style, unknown, last) in [
        (Dialect::Cisco, "550 #5.1.0 Address rejected.", "550 Too many invalid recipients"),
        (
            Dialect::Postfix,
            "550 5.1.1 <nobody1@x.example>: Recipient address rejected: User unknown in local recipient table",
            "421 4.7.0 mx.recipient.example Error: too many errors",
        ),
        (Dialect::Exim, "550 Unknown user", "550 Rejected for too many bad recipients"),
    ] {
        let listener = start(Limits {
            style,
            unknown_recipients: Patterns::parse(&["nobody*@*"]).unwrap(),
            max_invalid_recipients: Some(3),
            ..Limits::default()
        });
        let mut client = Client::greeted(&listener);
        client.say(TRANSACTION[0]);
        assert_eq!(client.say("RCPT TO:<nobody1@x.example>"), unknown);
        assert_eq!(client.say(TRANSACTION[1])[..3], *"250");
        assert_eq!(client.say("RCPT TO:<Nobody1@x.example>")[..3], *"550");
        // The message is still accepted for the known recipients, and errors are counted by session.
        assert_eq!(client.say("DATA")[..3], *"354");
        assert_eq!(client.say(TRANSACTION[3])[..3], *"250");
        client.say(TRANSACTION[0]);
        assert_eq!(client.say("RCPT TO:<nobody@x.example>")[..3], *"550");
        assert_eq!(client.say("RCPT TO:<nobody@x.example>"), last);
        assert!(client.is_closed());
        let ledger = listener.stop();
        assert_eq!((ledger.messages, ledger.recipients), (1, 1));
        assert_eq!((ledger.refused["unknown-user"], ledger.refused["too-many-invalid-recipients"]), (3, 1));
    }
}

/// A message with this number of bytes of content; at least 4.
fn content(bytes: usize) -> String {
    format!("\r\n{}\r\n.", "x".repeat(bytes - 4))
}

#[test]
fn a_session_accepts_so_many_bytes_of_content() {
    for (style, reply) in [
        (Dialect::Cisco, "452 #4.7.28 Session exceeded transfer quota"),
        (
            Dialect::Postfix,
            "421 4.4.2 mx.recipient.example Error: message size limit for this connection reached",
        ),
        (Dialect::Exim, "452 Session exceeded transfer quota"),
    ] {
        let listener = start(Limits { style, max_session_bytes: Some(100), ..Limits::default() });
        let greeted = || {
            let mut client = Client::greeted(&listener);
            TRANSACTION[..3].iter().for_each(|line| drop(client.say(line)));
            assert_eq!(client.say(&content(60))[..3], *"250");
            client
        };
        let mut client = greeted();
        assert_eq!(client.say("MAIL FROM:<> SIZE=40")[..3], *"250");
        client.say(TRANSACTION[1]);
        client.say("DATA");
        assert_eq!(client.say(&content(40))[..3], *"250", "all of it is served");
        assert_eq!(client.say("MAIL FROM:<> SIZE=1"), reply);
        if reply.starts_with("421") {
            assert!(client.is_closed());
        }
        // A refused message does not count.
        let mut client = greeted();
        TRANSACTION[..3].iter().for_each(|line| drop(client.say(line)));
        assert_eq!(client.say(&content(41)), reply);
        if reply.starts_with("452") {
            TRANSACTION[..3].iter().for_each(|line| drop(client.say(line)));
            assert_eq!(client.say(&content(40))[..3], *"250");
        }
        // Another session starts at zero.
        assert_eq!(greeted().say("QUIT")[..3], *"221");
        assert_eq!(listener.stop().refused["session-bytes-exceeded"], 2);
    }
}

#[test]
fn commands_without_use_are_answered_so_often_between_messages() {
    for (style, last) in [
        (Dialect::Cisco, "421 Exceeded bad SMTP command limit, disconnecting"),
        (Dialect::Postfix, "421 4.7.0 mx.recipient.example Error: too many errors"),
        (Dialect::Exim, "554 Too many nonmail commands"),
    ] {
        let listener = start(Limits { style, max_junk_commands: Some(4), ..Limits::default() });
        let mut client = Client::greeted(&listener);
        let junk = ["NOOP", "RSET", "VRFY a@b.example", "EHLO again.example"];
        for line in junk {
            assert_eq!(client.say(line)[..1], *"2", "{line}");
        }
        // The commands of a message are no junk, and after a message the count starts again.
        for line in TRANSACTION {
            client.say(line);
        }
        for line in junk {
            assert_eq!(client.say(line)[..1], *"2", "{line}");
        }
        client.say(TRANSACTION[0]);
        assert_eq!(client.say("NOOP"), last);
        assert!(client.is_closed());
        assert_eq!(listener.stop().refused["bad-command-limit-exceeded"], 1);
    }
    // The first successful hello is never junk, however many were refused before it.
    let listener = start(Limits { max_junk_commands: Some(0), ..Limits::default() });
    let mut client = Client::connect(&listener);
    client.reply();
    client.say("EHLO");
    assert_eq!(client.say("HELO client.example")[..3], *"250");
    assert_eq!(client.say("EHLO client.example")[..3], *"421");
}

#[test]
fn a_tarpit_holds_back_the_replies_to_errors_from_its_number_on() {
    // The delay is an hour, so a delayed reply does not come at all, and no exact clock is needed.
    let hour = Duration::from_secs(3600);
    let limits = |after, delay| Limits {
        error_delay: Some(ErrorDelay { after, delay }),
        unknown_recipients: Patterns::parse(&["nobody@*"]).unwrap(),
        ..Limits::default()
    };
    let listener = start(limits(3, hour));
    for third in ["FOO", "RCPT TO:<nobody@x.example>"] {
        let mut client = Client::greeted(&listener);
        client.say(TRANSACTION[0]);
        client.say("FOO");
        client.say("RCPT TO:<nobody@x.example>");
        assert_eq!(client.say(third)[..1], *"5", "the third is answered at once");
        // A valid command is answered at once, even after errors.
        for line in &TRANSACTION[1..] {
            assert_eq!(client.say(line)[..1], *if *line == "DATA" { "3" } else { "2" });
        }
        client.send("FOO\r\n");
        assert!(client.is_silent_for(Duration::from_millis(200)));
    }
    let long = Duration::from_millis(120);
    let listener = start(limits(0, long));
    let mut client = Client::greeted(&listener);
    for _ in 0..2 {
        let begin = Instant::now();
        assert_eq!(client.say("FOO")[..3], *"500");
        assert!(begin.elapsed() >= long);
    }
}

#[test]
fn a_path_may_have_so_many_bytes() {
    for (style, reply) in [
        (Dialect::Cisco, "553 #5.1.3 Path too long"),
        (Dialect::Postfix, "501 5.5.4 Error: path too long"),
        (Dialect::Exim, "501 path too long"),
    ] {
        let listener = start(Limits { style, max_path_length: Some(40), ..Limits::default() });
        let path = |bytes: usize| format!("<{}@b.example>", "x".repeat(bytes - "<@b.example>".len()));
        let mut client = Client::greeted(&listener);
        assert_eq!(client.say(&format!("MAIL FROM:{}", path(41))), reply);
        assert_eq!(client.say(&format!("MAIL FROM:{} SIZE=1", path(40)))[..3], *"250");
        assert_eq!(client.say(&format!("RCPT TO:{}", path(41))), reply);
        assert_eq!(client.say(&format!("RCPT TO:{}", path(40)))[..3], *"250");
        assert_eq!(listener.stop().refused["line-too-long"], 2);
    }
    // A path that is too long counts as an error.
    let listener = start(Limits { max_path_length: Some(2), max_bad_commands: Some(1), ..Limits::default() });
    let mut client = Client::greeted(&listener);
    assert_eq!(client.say("MAIL FROM:<>")[..3], *"250");
    assert_eq!(client.say(TRANSACTION[1])[..3], *"553");
    assert_eq!(client.say(TRANSACTION[1])[..3], *"421");
}

#[test]
fn only_a_listener_that_is_set_so_takes_a_smuggled_message() {
    let ends =
        ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\r", "\r\n.\n", "\r.\r\n", "\r\n\0.\r\n", "\n.\r", "\r.\n"];
    for end in ends {
        for end_of_data in [EndOfData::Strict, EndOfData::Lenient] {
            let listener = start(Limits { end_of_data, ..Limits::default() });
            let mut client = Client::greeted(&listener);
            TRANSACTION[..3].iter().for_each(|line| drop(client.say(line)));
            client.send(&format!("Subject: a\r\n\r\na{end}MAIL FROM:<smuggled@a.example>\r\n"));
            client.send("RCPT TO:<user@recipient.example>\r\nDATA\r\nSubject: b\r\n\r\nb\r\n.\r\nQUIT\r\n");
            let messages = match end_of_data {
                EndOfData::Strict => 1,
                EndOfData::Lenient => 2,
            };
            let codes = ["250", "250", "250", "354", "250", "221"];
            for code in if messages == 1 { &codes[4..] } else { &codes[..] } {
                assert_eq!(client.reply()[..3], **code, "{end:?}, {end_of_data:?}");
            }
            assert!(client.is_closed());
            assert_eq!(listener.stop().messages, messages, "{end:?}, {end_of_data:?}");
        }
    }
}

#[test]
fn each_state_has_a_time_out_of_its_own_in_the_style_s_words() {
    let short = Some(Duration::from_millis(100));
    let hour = Duration::from_secs(3600);
    let hello = "EHLO client.example\r\n";
    let [mail, rcpt, data, _] = TRANSACTION.map(|line| format!("{line}\r\n"));
    let none = StepTimeouts::default();
    let states = [
        (StepTimeouts { greeting: short, ..none }, String::new()),
        (StepTimeouts { hello: short, ..none }, hello.to_owned()),
        (StepTimeouts { mail: short, ..none }, format!("{hello}{mail}")),
        (StepTimeouts { rcpt: short, ..none }, format!("{hello}{mail}{rcpt}")),
        (StepTimeouts { data: short, ..none }, format!("{hello}{mail}{rcpt}{data}")),
        (StepTimeouts { body: short, ..none }, format!("{hello}{mail}{rcpt}{data}x")),
    ];
    for (style, words) in [
        (Dialect::Cisco, "421 #4.4.2 Idle timeout, closing connection"),
        (Dialect::Postfix, "421 4.4.2 mx.recipient.example Error: timeout exceeded"),
        (Dialect::Exim, "421 mx.recipient.example: SMTP command timeout - closing connection"),
    ] {
        for (state, (step_timeouts, says)) in states.iter().enumerate() {
            let limits = Limits {
                style,
                idle_timeout: Some(hour),
                step_timeouts: *step_timeouts,
                ..Limits::default()
            };
            let listener = start(limits);
            let mut client = Client::connect(&listener);
            client.send(says);
            // There is one greeting, one reply to each command, and then the end.
            for _ in 0..=state.min(4) {
                let reply = client.reply();
                assert!(reply.starts_with(['2', '3']), "{state}: {reply}");
            }
            assert_eq!(client.reply(), words, "{state}");
            assert!(client.is_closed());
            assert_eq!(listener.stop().refused["idle-timeout"], 1);
        }
    }
}

#[test]
fn a_greylisted_recipient_is_deferred_until_its_time_has_come() {
    for (style, reply) in [
        (Dialect::Cisco, "450 #4.7.1 Greylisted, please try again later"),
        (
            Dialect::Postfix,
            "450 4.2.0 <user@recipient.example>: Recipient address rejected: Greylisted, please try again later",
        ),
        (Dialect::Exim, "451 greylisted, please try again later"),
    ] {
        let greylist = Some(Duration::from_millis(400));
        let listener = start(Limits { style, greylist, ..Limits::default() });
        let began = Instant::now();
        let mut client = Client::greeted(&listener);
        client.say(TRANSACTION[0]);
        assert_eq!(client.say(TRANSACTION[1]), reply);
        assert_eq!(client.say("RCPT TO:<other@recipient.example>")[..3], reply[..3]);
        let mut deferred = 2;
        while client.say(TRANSACTION[1]) == reply {
            deferred += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(began.elapsed() >= Duration::from_millis(400));
        // Another sender is greylisted too, and so is another recipient.
        client.say("RSET");
        client.say("MAIL FROM:<other@sender.example>");
        assert_eq!(client.say(TRANSACTION[1]), reply);
        client.say("RSET");
        client.say(TRANSACTION[0]);
        assert_eq!(client.say("RCPT TO:<third@recipient.example>")[..3], reply[..3]);
        assert_eq!(client.say(TRANSACTION[1])[..3], *"250");
        assert_eq!(client.say("DATA")[..3], *"354");
        assert_eq!(client.say(TRANSACTION[3])[..3], *"250");
        let ledger = listener.stop();
        assert_eq!((ledger.messages, ledger.recipients), (1, 1));
        assert_eq!(ledger.refused["greylisted"], deferred + 2);
    }
}

#[test]
fn an_outage_ends_the_sessions_and_is_over_in_its_time() {
    let millis = |millis| Some(Duration::from_millis(millis));
    let began = Instant::now();
    let listener =
        start(Limits { unavailable_after: millis(1500), unavailable_for: millis(1000), ..Limits::default() });
    let mut before = Client::greeted(&listener);
    assert_eq!(before.reply()[..3], *"421", "it is not served on");
    assert!(before.is_closed() && began.elapsed() >= Duration::from_millis(1500));
    let mut refused = 0;
    let mut after = loop {
        let mut client = Client::connect(&listener);
        if client.reply().starts_with("220") {
            break client;
        }
        assert!(client.is_closed());
        refused += 1;
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(refused > 0 && began.elapsed() >= Duration::from_millis(2500));
    client_sends(&mut after);
    let ledger = listener.stop();
    assert_eq!((ledger.messages, ledger.refused_connections), (1, refused));
}

#[test]
fn an_outage_is_counted_from_the_start_of_the_load() {
    let half = Duration::from_millis(500);
    let limits = Limits { unavailable_after: Some(half), ..Limits::default() };
    let listener = start_before_load(&"127.0.0.1:0".parse().unwrap(), limits, 1, 1, None).unwrap();
    let began = Instant::now();
    while began.elapsed() < half * 2 {
        client_sends(&mut Client::greeted(&listener));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(listener.ledger().refused_connections, 0);
    let begin = Instant::now() + half;
    listener.count_from(begin);
    listener.count_from(Instant::now());
    let mut idle = Client::greeted(&listener);
    assert_eq!(idle.reply()[..3], *"421", "it is not served on");
    assert!(begin.elapsed() >= half, "{:?} after the start of the load", begin.elapsed());
}

#[test]
fn a_stall_is_counted_from_the_start_of_the_load() {
    let stall = Stall { from: Duration::from_millis(100), length: Duration::from_millis(400) };
    let limits = Limits { stall: Some(stall), ..Limits::default() };
    let listener = start_before_load(&"127.0.0.1:0".parse().unwrap(), limits, 1, 1, None).unwrap();
    std::thread::sleep(stall.from + stall.length);
    let begin = Instant::now();
    listener.count_from(begin);
    std::thread::sleep((stall.from + Duration::from_millis(60)).saturating_sub(begin.elapsed()));
    Client::greeted(&listener);
    assert!(begin.elapsed() >= stall.from + stall.length, "{:?}", begin.elapsed());
}

/// A whole message.
fn client_sends(client: &mut Client) {
    client.say("EHLO client.example");
    for line in TRANSACTION {
        assert!(client.say(line).starts_with(['2', '3']), "{line}");
    }
}
