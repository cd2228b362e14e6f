//! Tests of the deadlines that end a session, and of the end of a content.

use super::*;

#[test]
fn deadlines_end_a_session() {
    let ms = Duration::from_millis;
    let idle = ServerBounds { idle: Some(ms(100)), ..ServerBounds::default() };
    let mut pair = Pair::new(PlainPolicy::default(), idle);
    pair.advance(60);
    pair.send(b"NOOP\r\n");
    pair.advance(60);
    assert_eq!(pair.lines(), ["220 hi", "250 other"]);
    pair.advance(60);
    assert_eq!(pair.said.last(), Some(&(160, "421 Idle".to_owned())));
    assert_eq!(pair.closed, Some(Close::Linger));

    let total = ServerBounds { total: Some(ms(100)), ..idle };
    let mut pair = Pair::new(PlainPolicy::default(), total);
    pair.advance(60);
    pair.send(b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nunfinished");
    pair.advance(60);
    assert_eq!(pair.said.last(), Some(&(100, "421 Total".to_owned())));

    // A delay by the server does not count as silence of the client.
    let delays = vec![(Step::Mail, ms(500))];
    let mut pair = Pair::new(PlainPolicy { delays, ..PlainPolicy::default() }, idle);
    pair.send(b"HELO a\r\nMAIL FROM:<>\r\n");
    pair.advance(590);
    assert_eq!(pair.lines().last(), Some(&"250 mail"));
    pair.advance(10);
    assert_eq!(pair.said.last(), Some(&(600, "421 Idle".to_owned())));

    let mut pair = Pair::new(PlainPolicy::default(), ServerBounds::default());
    let end = Some(pair.start + ms(50));
    pair.server.bounds.end = end;
    pair.send(b"NOOP\r\n");
    pair.advance(50);
    assert_eq!(pair.said.last(), Some(&(50, "421 End".to_owned())));
}

#[test]
fn a_lenient_end_of_data_is_answered_at_once_however_the_line_end_comes() {
    let open = "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n";
    for end in ["\r\n.\r\n", "\n.\n", "\r.\r", "\r\n.\r"] {
        let wire = format!("{open}x{end}MAIL FROM:<>\r\nRSET\r\nQUIT\r\n");
        for piece in 1..=wire.len() {
            let policy = PlainPolicy { end: EndOfData::Lenient, ..PlainPolicy::default() };
            let mut pair = Pair::new(policy, ServerBounds::default());
            wire.as_bytes().chunks(piece).for_each(|part| pair.send(part));
            let taken = format!("250 {} bytes", end.find('.').unwrap() + 1);
            let said = ["354 data", &taken, "250 mail", "250 other", "221 bye"];
            assert_eq!(pair.lines()[5..], said, "{end:?} in pieces of {piece}");
        }
    }
    // The reply does not wait for an LF that may come.
    let mut pair =
        Pair::new(PlainPolicy { end: EndOfData::Lenient, ..PlainPolicy::default() }, ServerBounds::default());
    pair.send(format!("{open}x\r.\r").as_bytes());
    assert_eq!(pair.lines().last(), Some(&"250 2 bytes"));
}

#[test]
fn each_state_has_a_patience_of_its_own_and_the_others_that_of_idle() {
    let ms = Duration::from_millis;
    let steps = [Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body];
    // For each state: the bytes that lead to the next one, and bytes that leave the session in it.
    let says = [
        ("", "NOOP\r\n"),
        ("EHLO a\r\n", "NOOP\r\n"),
        ("MAIL FROM:<>\r\n", "NOOP\r\n"),
        ("RCPT TO:<a@b.example>\r\n", "RCPT TO:<no@b.example>\r\n"),
        ("DATA\r\n", ""),
        (".", "x"),
    ];
    let patience: Vec<_> = (1u64..).zip(steps).map(|(n, step)| (step, ms(100 * n))).collect();
    let at = |index: usize, patience: &[(Step, Duration)], chunked: bool| {
        let policy = PlainPolicy { patience: patience.to_vec(), ..PlainPolicy::default() };
        let mut pair = Pair::new(policy, ServerBounds { idle: Some(ms(1000)), ..ServerBounds::default() });
        for (bring, _) in &says[..=index] {
            pair.send(if chunked && *bring == "DATA\r\n" { b"BDAT 5\r\n" } else { bring.as_bytes() });
        }
        // Any input restarts the wait.
        pair.advance(60);
        pair.send(says[index].1.as_bytes());
        pair.advance(10_000);
        let (at, said) = pair.said.last().unwrap();
        assert_eq!(said, "421 Idle", "{index}");
        *at - if says[index].1.is_empty() { 0 } else { 60 }
    };
    for (index, state) in steps.into_iter().enumerate() {
        assert_eq!(at(index, &patience, false), 100 * (index as u128 + 1), "{state}");
        let others: Vec<_> = patience.iter().filter(|(step, _)| *step != state).copied().collect();
        assert_eq!(at(index, &others, false), 1000, "{state} as idle");
    }
    // A chunk is content from its command on.
    assert_eq!(at(4, &patience, true), 600);
    assert_eq!(at(5, &patience, true), 600);
    // After a message the session waits for the next one, as after its hello.
    let mut pair = Pair::new(PlainPolicy { patience, ..PlainPolicy::default() }, ServerBounds::default());
    pair.send(b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n.\r\n");
    pair.advance(10_000);
    assert_eq!(pair.said.last(), Some(&(200, "421 Idle".to_owned())));
}
