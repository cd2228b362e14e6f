//! Tests of `reply`.

use super::*;

/// Returns every reply in `wire`, when it comes in pieces of `piece` bytes.
fn scan_all(wire: &[u8], piece: usize) -> Vec<Result<Reply, ReplyFault>> {
    let mut scanner = Scanner::default();
    let mut found = Vec::new();
    for chunk in wire.chunks(piece) {
        let mut input = chunk;
        while !input.is_empty() {
            match scanner.scan(&mut input) {
                Some(Ok(raw)) => found.push(Ok(raw.to_reply())),
                Some(Err(malformed)) => {
                    found.push(Err(malformed.fault));
                    return found;
                }
                None => {}
            }
        }
    }
    found
}

#[test]
fn replies_are_the_same_however_the_bytes_are_cut() {
    let wire = b"220 mx ESMTP\r\n250-mx\r\n250-SIZE 1000\r\n250 PIPELINING\r\n421\r\n354 go\n";
    let whole = scan_all(wire, wire.len());
    assert_eq!(whole.iter().map(|r| r.as_ref().unwrap().code).collect::<Vec<_>>(), [220, 250, 421, 354]);
    assert_eq!(whole[1].as_ref().unwrap().lines, ["mx", "SIZE 1000", "PIPELINING"]);
    for piece in 1..wire.len() {
        assert_eq!(scan_all(wire, piece), whole, "pieces of {piece}");
    }
}

#[test]
fn of_several_faults_the_first_is_reported_however_the_bytes_are_cut() {
    let full = "250-".to_owned() + &"x".repeat(MAX_LINE - 6) + "\r\n";
    // The largest reply without its last six bytes.
    let nearly = full.repeat(MAX_REPLY / full.len() - 1) + &full[..full.len() - 8] + "\r\n";
    let long = "y".repeat(MAX_LINE);
    for (wire, expected) in [
        (format!("50e{long}\r\n"), Some(ReplyFault::NoCode)),
        (format!("250x{long}\r\n"), Some(ReplyFault::LineTooLong)),
        (format!("250 {}\r\n", &long[4..]), None),
        (format!("250 {}\n", &long[4..]), None),
        (format!("250 {}\r\r\n", &long[4..]), Some(ReplyFault::LineTooLong)),
        (format!("250 {}y\r\n", &long[4..]), Some(ReplyFault::LineTooLong)),
        (format!("{nearly}250 \r\n"), None),
        (format!("{nearly}250 x\r\n"), Some(ReplyFault::ReplyTooLong)),
        (format!("{nearly}25x\r\n"), Some(ReplyFault::NoCode)),
        (format!("{nearly}250 x{long}\r\n"), Some(ReplyFault::ReplyTooLong)),
        (format!("{nearly}251 x{long}\r\n"), Some(ReplyFault::ReplyTooLong)),
    ] {
        for piece in [1, 2, 3, 7, 4096, wire.len()] {
            let said = scan_all(wire.as_bytes(), piece);
            assert_eq!(said[0].as_ref().err().copied(), expected, "{piece}: {:?}", &wire[wire.len() - 20..]);
        }
    }
}

#[test]
fn malformed_input_is_named_and_bounded() {
    let cases: [(&[u8], ReplyFault); 5] = [
        (b"hello there\r\n", ReplyFault::NoCode),
        (b"\r\n", ReplyFault::NoCode),
        (b"250x ok\r\n", ReplyFault::Separator),
        (b"25\x00 a\r\n", ReplyFault::NoCode),
        (b"HTTP", ReplyFault::NoCode),
    ];
    for (wire, fault) in cases {
        assert_eq!(scan_all(wire, wire.len()).pop(), Some(Err(fault)), "{wire:?}");
        assert_eq!(scan_all(wire, 1).pop(), Some(Err(fault)), "{wire:?} byte by byte");
    }
    let endless = [b"250 ".as_slice(), &vec![b'a'; 1 << 20]].concat();
    assert_eq!(scan_all(&endless, 1000).pop(), Some(Err(ReplyFault::LineTooLong)));
    let lines = b"250-more\r\n".repeat(100_000);
    assert_eq!(scan_all(&lines, 1000).pop(), Some(Err(ReplyFault::ReplyTooLong)));
    assert_eq!(scan_all(&lines, lines.len()).pop(), Some(Err(ReplyFault::ReplyTooLong)));
}

#[test]
fn the_last_line_has_the_code_that_counts_however_the_bytes_are_cut() {
    for (wire, code, contradictory) in [
        ("220-mx.test\r\n421 4.7.0 too many\r\n", 421, true),
        ("220-a\r\n220-b\r\n521 no\r\n", 521, true),
        ("250-mx\r\n452 later\r\n", 452, true),
        ("452-later\r\n250 ok\r\n", 250, true),
        ("250-a\r\n550-b\r\n250 c\r\n", 250, true),
        ("250-a\r\n251 b\r\n", 251, false),
        ("550-a\r\n554 b\r\n", 554, false),
    ] {
        for piece in 1..=wire.len() {
            let mut scanner = Scanner::default();
            let mut replies = Vec::new();
            for mut chunk in wire.as_bytes().chunks(piece) {
                while !chunk.is_empty() {
                    if let Some(raw) = scanner.scan(&mut chunk) {
                        let raw = raw.unwrap();
                        replies.push((raw.code, raw.is_mixed(), raw.is_contradictory(), raw.to_reply()));
                    }
                }
            }
            let [(seen, mixed, against, reply)] = &replies[..] else { panic!("{replies:?}") };
            assert_eq!((*seen, *mixed, *against), (code, true, contradictory), "{wire:?} by {piece}");
            assert_eq!(reply.to_string() + "\n", wire.replace('\r', ""), "shown as it came");
        }
    }
    // Mixed codes of one reply do not affect the next.
    let mut scanner = Scanner::default();
    let mut input: &[u8] = b"250-a\r\n251 b\r\n250-c\r\n250 d\r\n";
    assert!(scanner.scan(&mut input).unwrap().unwrap().is_mixed());
    assert!(!scanner.scan(&mut input).unwrap().unwrap().is_mixed());
}

#[test]
fn enhanced_codes_are_found_where_real_listeners_put_them() {
    let of = |line: &str| Reply::parse(line).unwrap().enhanced.map(|e| e.to_string());
    assert_eq!(of("421 #4.4.5 Too many"), Some("4.4.5".into()));
    assert_eq!(of("421 #4.x.2 Too many messages for this session"), Some("4.x.2".into()));
    assert_eq!(of("451 qq temporary problem (#4.3.0)"), Some("4.3.0".into()));
    assert_eq!(of("550 5.7.606 Access denied"), Some("5.7.606".into()));
    assert_eq!(of("550-Mailbox unknown\n550 5.1.1 User unknown"), Some("5.1.1".into()));
    assert_eq!(of("550-5.1.1 User unknown\n550 goodbye"), Some("5.1.1".into()));
    assert_eq!(of("421 10.5.3.2 is busy"), None);
    assert_eq!(of("421 5.3.2.1 is busy"), None);
    assert_eq!(of("554 3.1.1 no"), None);
    assert_eq!(of("250 2.0.0"), Some("2.0.0".into()));
}

#[test]
fn text_is_what_a_person_reads() {
    let text = |line: &str| Reply::parse(line).unwrap().text();
    assert_eq!(text("421 #4.4.5 Too many connections"), "Too many connections");
    assert_eq!(text("451 qq problem (#4.3.0)"), "qq problem");
    assert_eq!(text("550-5.1.1 No such\n550 5.1.1 user"), "No such user");
    assert_eq!(Reply::parse("250-a\r\n250 b\r\n").unwrap().to_string(), "250-a\n250 b");
    assert_eq!(Reply::parse("250").unwrap().to_string(), "250");
}

#[test]
fn a_line_without_its_end_is_a_refusal_only_if_it_has_a_refusing_code() {
    let read = |text: &str| {
        let mut scanner = Scanner::default();
        assert!(scanner.scan(&mut text.as_bytes()).is_none(), "{text:?}");
        scanner.refusal_without_end().map(|reply| reply.to_string())
    };
    for text in ["421", "421 4.3.2 Too many", "550-no\r\n550 ne", "220-mx\r\n421 later"] {
        let lines = text.replace('\r', "");
        assert_eq!(read(text), Some(lines), "{text:?}");
    }
    assert_eq!(read("421 no\r"), Some("421 no".to_owned()));
    for text in ["", "42", "421-", "220 mx", "250", "354 go", "550-no\r\n", "550-no\r\n55", "421x"] {
        assert_eq!(read(text), None, "{text:?}");
    }
    let mut scanner = Scanner::default();
    let whole = "421 no\r\n";
    whole
        .bytes()
        .for_each(|byte| _ = scanner.scan(&mut &[byte][..]).map(|read| read.map(RawReply::to_reply)));
    assert_eq!(scanner.refusal_without_end(), None, "it was read already");
}
