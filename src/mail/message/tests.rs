//! Tests of every kind of message as a listener reads it: exact sizes, pieces cut at any offset, and the result of a
//! parser.

use super::*;
use crate::mail::encode::tests::unstuff;
use crate::mail::{List, Mailboxes, MessageSize, Reading, Source};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const DATE: &str = "Thu, 01 Jan 2026 00:00:00 +0000";

fn spec(recipients: u32, size: MessageSize) -> Spec {
    let (from, to) = ("load{n}@sender.example".into(), "user{n}@recipient.example".into());
    Spec { from, to, recipients, size, ..Spec::default() }
}

fn mailer(spec: &Spec) -> Arc<Mailer> {
    Arc::new(Mailer::new(spec, 42, "run-1", DATE))
}

/// Returns the stuffed content, rendered in pieces, and the offsets between them.
fn wire(message: &Message) -> (Vec<u8>, Vec<u64>) {
    let (mut out, mut offsets) = (Vec::new(), vec![0]);
    while offsets[offsets.len() - 1] < message.size() {
        let before = out.len();
        offsets.push(message.body(offsets[offsets.len() - 1], &mut out).unwrap());
        assert!(out.len() - before <= 70 * 1024, "a piece of {} bytes", out.len() - before);
    }
    (out, offsets)
}

fn content(message: &Message) -> Vec<u8> {
    let (wire, _) = wire(message);
    let (content, taken) = unstuff(&wire).unwrap();
    assert_eq!(taken, wire.len(), "the end of data comes once, at the end");
    content
}

fn rendered(append: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    append(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_header_says_what_it_is() {
    let message = mailer(&spec(1, MessageSize::Fixed(600))).message(17);
    let content = String::from_utf8(content(&message)).unwrap();
    let (header, _) = content.split_once("\r\n\r\n").unwrap();
    let expected = [
        "From: <load17@sender.example>",
        "To: <user17@recipient.example>",
        "Subject: smtpress message 17",
        "Date: Thu, 01 Jan 2026 00:00:00 +0000",
        "Message-ID: <run-1.17@smtpress.invalid>",
        "X-Smtpress-Run: run-1",
        "X-Smtpress-Seq: 17",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
    ];
    assert_eq!(header.split("\r\n").collect::<Vec<_>>(), expected);
}

#[test]
fn the_envelope_numbers_every_recipient_of_the_run() {
    let message = mailer(&spec(3, MessageSize::Fixed(600))).message(5);
    assert_eq!(rendered(|out| message.sender(out)), "load5@sender.example");
    let recipient = |index| rendered(|out| message.recipient(index, out));
    assert_eq!(
        [0, 1, 2].map(recipient),
        ["user15@recipient.example", "user16@recipient.example", "user17@recipient.example"]
    );
    assert_eq!(message.recipients(), 3);
    assert!(String::from_utf8(content(&message)).unwrap().contains("\r\nTo: undisclosed-recipients:;\r\n"));
}

#[test]
fn a_null_reverse_path_has_a_header_from_the_mail_system() {
    let message = mailer(&Spec { from: "".into(), ..spec(1, MessageSize::Fixed(600)) }).message(1);
    assert_eq!(rendered(|out| message.sender(out)), "");
    assert!(content(&message).starts_with(b"From: <mailer-daemon@smtpress.invalid>\r\n"));
}

#[test]
fn every_size_is_exact_and_ends_in_one_crlf_pair() {
    let minimum = mailer(&spec(1, MessageSize::Fixed(0))).minimum();
    assert!((350..450).contains(&minimum), "{minimum}");
    for size in minimum..minimum + 800 {
        let content = content(&mailer(&spec(1, MessageSize::Fixed(size))).message(3));
        assert_eq!(content.len() as u64, size);
        assert!(content.ends_with(b"\r\n"));
        let text = String::from_utf8(content).unwrap();
        assert!(
            text.split("\r\n").all(|line| line.len() <= 78 && !line.contains(['\r', '\n'])),
            "size {size}"
        );
    }
}

#[test]
fn too_small_a_size_becomes_the_minimum_for_every_number() {
    let mailer = mailer(&spec(1, MessageSize::Fixed(10)));
    for n in [0, 9, 10, 12_345, u64::MAX] {
        let message = mailer.message(n);
        assert_eq!(message.size(), mailer.minimum());
        assert_eq!(content(&message).len() as u64, mailer.minimum());
    }
}

#[test]
fn a_large_message_comes_in_pieces_and_exercises_stuffing() {
    let message = mailer(&spec(1, MessageSize::Fixed(3_000_001))).message(1);
    let (wire, offsets) = wire(&message);
    assert!(offsets.len() > 45 && offsets.is_sorted());
    let (content, _) = unstuff(&wire).unwrap();
    assert_eq!(content.len(), 3_000_001);
    let stuffed = wire.len() - END_OF_DATA.len() - content.len();
    assert!(stuffed > 4000, "{stuffed} dots were doubled");
    let small = mailer(&spec(1, MessageSize::Fixed(600))).message(1);
    assert!(self::wire(&small).0.windows(4).any(|four| four == b"\r\n.."));
}

#[test]
fn content_follows_from_spec_seed_and_number() {
    let uniform = spec(1, MessageSize::Uniform { min: 1000, max: 9000 });
    let message = |seed, n| content(&Arc::new(Mailer::new(&uniform, seed, "r", DATE)).message(n));
    assert_eq!(message(1, 5), message(1, 5));
    assert_ne!(message(1, 5), message(2, 5));
    assert_ne!(message(1, 5).len(), message(1, 6).len());
}

#[test]
fn messages_never_change() {
    let message = mailer(&spec(2, MessageSize::Uniform { min: 1000, max: 200_000 })).message(7);
    let hash: [u8; 32] = Sha256::digest(content(&message)).into();
    assert_eq!(
        hash[..8],
        [59, 3, 243, 38, 130, 215, 146, 167],
        "a change here changes what seeded runs send"
    );
}

#[test]
fn nothing_can_be_injected_by_run_id_or_date() {
    let mailer = Arc::new(Mailer::new(&spec(1, MessageSize::Fixed(600)), 1, "a\r\nX: {n}>", "now\r\n\r\n."));
    let content = String::from_utf8(content(&mailer.message(1))).unwrap();
    assert!(
        content.contains("Message-ID: <a--X---n--.1@smtpress.invalid>\r\nX-Smtpress-Run: a--X---n--\r\n")
    );
    assert!(content.contains("\r\nDate: now----.\r\n"));
}

#[test]
fn a_spec_that_cannot_be_is_refused_in_clear_words() {
    let error = |spec: Spec| spec.check().unwrap_err().to_string();
    let good = spec(1, MessageSize::Fixed(600));
    assert_eq!(good.check(), Ok(()));
    assert_eq!(
        error(Spec { from: "bob".into(), ..good.clone() }),
        "the sender `bob` has no domain: write it as local-part@domain"
    );
    assert_eq!(
        error(Spec { to: "a{random:0}@b".into(), ..good.clone() }),
        "the recipient `a{random:0}@b` has `{random:0}`: write 1 to 64 letters, as in `{random:8}`"
    );
    assert_eq!(error(spec(0, MessageSize::Fixed(1))), "a message has no recipients: give it at least one");
    assert_eq!(
        error(spec(1, MessageSize::Uniform { min: 2, max: 1 })),
        "the message size has a smallest value of 2 above its largest of 1: exchange them"
    );
}

/// Returns the whole content without stuffing.
fn plain(message: &Message) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < message.size() {
        let before = out.len();
        at = message.append(ContentForm::Plain, at, PIECE, &mut out).unwrap();
        assert!(out.len() - before <= 70 * 1024, "a piece of {} bytes", out.len() - before);
    }
    out
}

/// Checks the rendering from `offset` on: together with the start of its line it must be, without stuffing, the content
/// from that line on.
fn goes_on(message: &Message, whole: &[u8], offset: u64) {
    let (mut rest, mut at) = (Vec::new(), offset);
    while at < message.size() {
        at = message.body(at, &mut rest).unwrap();
    }
    let start = whole[..offset as usize].iter().rposition(|&byte| byte == b'\n').map_or(0, |lf| lf + 1);
    let line = &whole[start..offset as usize];
    let dot: &[u8] = if line.starts_with(b".") { b"." } else { b"" };
    let stream = [dot, line, &rest].concat();
    let (unstuffed, taken) = unstuff(&stream).unwrap();
    assert_eq!(taken, stream.len(), "the end of data comes once, at the end");
    assert_eq!(&unstuffed[..], &whole[start..], "from {offset}");
}

#[test]
fn every_offset_of_small_messages_goes_on() {
    for size in 440..640 {
        let message = mailer(&spec(1, MessageSize::Fixed(size))).message(3);
        let whole = content(&message);
        (0..message.size()).for_each(|offset| goes_on(&message, &whole, offset));
    }
}

proptest! {
    #[test]
    fn any_offset_goes_on_where_the_bytes_before_it_end(
        size in 0_u64..200_000,
        n: u64,
        offset in 0_u64..200_000,
    ) {
        let message = mailer(&spec(2, MessageSize::Fixed(size))).message(n);
        goes_on(&message, &content(&message), offset % message.size());
    }
}

/// Checks both forms of a message from several offsets on. Returns its content.
fn checked(message: &Message) -> Vec<u8> {
    let whole = content(message);
    assert_eq!(whole.len() as u64, message.size(), "what is declared is what is sent");
    assert_eq!(plain(message), whole);
    assert!(whole.ends_with(b"\r\n"));
    let size = message.size();
    for offset in [1, 7, 60, size / 3, size / 2, 2 * size / 3, size - 3, size - 1] {
        goes_on(message, &whole, offset);
        let mut rest = Vec::new();
        message.append(ContentForm::Plain, offset, PIECE, &mut rest).unwrap();
        assert!(whole[offset as usize..].starts_with(&rest) && !rest.is_empty(), "from {offset}");
    }
    whole
}

#[test]
fn a_raw_piece_is_never_larger_than_it_may_be() {
    let message = mailer(&spec(1, MessageSize::Fixed(200_001))).message(3);
    let whole = content(&message);
    for limit in [1_u64, 7, 500, 4096, 100_000] {
        let (mut out, mut at) = (Vec::new(), 0);
        let stop = if limit < 500 { 1000 } else { message.size() };
        while at < stop {
            let before = out.len();
            let to = message.raw(at, limit, &mut out).unwrap();
            let appended = (out.len() - before) as u64;
            assert!(to > at && to - at == appended && appended <= limit && appended < 70 * 1024);
            at = to;
        }
        assert_eq!(out, whole[..at as usize], "pieces of {limit}");
    }
    let mut out = Vec::new();
    assert_eq!((message.raw(5, 0, &mut out), message.raw(200_001, 9, &mut out)), (Ok(5), Ok(200_001)));
    assert_eq!(rendered(|out| message.envelope_id(out)), "run-1.3");
    assert!(out.is_empty());
}

fn text_of(content: &[u8]) -> String {
    String::from_utf8(content.to_vec()).unwrap()
}

#[test]
fn templates_stand_in_every_place_and_the_size_is_exact() {
    let text = ".{n}\n..{session} {run} {date}\n{random:9}\n.";
    for (filled, size) in [(false, 0), (true, 1000), (true, 70_000)] {
        let spec = Spec {
            from: "bounce-{n}-{random:6}@{run}.example".into(),
            to: "{random:6}{n:1..3}@recipient.example".into(),
            subject: Some("{n} of {session}".into()),
            headers: vec!["X-Twice: {n} {n}".into(), "reply-to: {{{random:4}}}@x.example".into()],
            body: Body::Text { text: text.into(), filled },
            ..spec(1, MessageSize::Fixed(size))
        };
        for n in [0, 9, 10, 99, 12_345, u64::MAX] {
            let message = mailer(&spec).message_of_session(n, 77);
            let content = text_of(&checked(&message));
            if filled {
                assert_eq!(message.size(), size);
            }
            let recipient = rendered(|out| message.recipient(0, out));
            let number = n % 3 + 1;
            assert!(recipient.ends_with(&format!("{number}@recipient.example")), "{recipient}");
            let sender = rendered(|out| message.sender(out));
            assert!(sender.starts_with(&format!("bounce-{n}-")) && sender.ends_with("@run-1.example"));
            assert!(
                content
                    .starts_with(&format!("From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {n} of 77\r\n"))
            );
            assert!(
                content.contains(&format!("\r\nX-Smtpress-Seq: {n}\r\nX-Twice: {n} {n}\r\nreply-to: {{"))
            );
            let (_, body) = content.split_once("\r\n\r\n").unwrap();
            assert!(body.starts_with(&format!(".{n}\r\n..77 run-1 {DATE}\r\n")), "{body}");
        }
    }
}

#[test]
fn the_users_field_takes_the_place_of_ours() {
    let headers = vec!["From: Load <a@b.example>".into(), "date: never".into(), "X-A: b".into()];
    let content =
        text_of(&checked(&mailer(&Spec { headers, ..spec(1, MessageSize::Fixed(600)) }).message(3)));
    assert!(
        content.starts_with("To: <user3@recipient.example>\r\nSubject: smtpress message 3\r\nMessage-ID:")
    );
    assert!(content.contains("Seq: 3\r\nFrom: Load <a@b.example>\r\ndate: never\r\nX-A: b\r\nMIME-Version"));
    assert_eq!(content.matches("Date:").count(), 0);
}

#[test]
fn a_text_beyond_ascii_is_read_back() {
    let line = "Gr\u{fc}\u{df}e = {n}! \n.punkt {random:64}{random:64} \u{1f4e7}\n";
    let text = line.repeat(40) + &"x".repeat(2000);
    let spec = Spec { body: Body::Text { text, filled: false }, ..spec(1, MessageSize::Fixed(0)) };
    let content = checked(&mailer(&spec).message(42));
    assert!(
        content.split(|byte| *byte == b'\n').all(|line| line.len() <= 79),
        "a line of more than 78 bytes"
    );
    assert!(content.is_ascii());
    let parsed = mail_parser::MessageParser::new().parse(&content).unwrap();
    let body = parsed.body_text(0).unwrap();
    assert!(body.starts_with("Gr\u{fc}\u{df}e = 42! \r\n.punkt "), "{body:?}");
    assert!(body.ends_with(&("x".repeat(2000) + "\r\n")));
    assert_eq!(body.matches("\u{1f4e7}").count(), 40);
    assert_eq!(body.lines().nth(1).unwrap().chars().count(), ".punkt ".len() + 128 + 2);
}

#[test]
fn attachments_are_read_back_with_their_sizes() {
    let sizes = [0, 1, 57, 58, 100 << 10, 300_001];
    let body = Body::Attached { text: "Message {n}\n.dot\n".into(), attachments: sizes.to_vec() };
    let spec = Spec { body, ..spec(1, MessageSize::Fixed(0)) };
    let content = checked(&mailer(&spec).message(7));
    let parsed = mail_parser::MessageParser::new().parse(&content).unwrap();
    assert_eq!(parsed.subject(), Some("smtpress message 7"));
    assert_eq!(parsed.body_text(0).unwrap(), "Message 7\r\n.dot\r\n");
    let attached: Vec<usize> = parsed.attachments().map(|part| part.contents().len()).collect();
    assert_eq!(attached, sizes.map(|size| size as usize));
    assert_eq!(content, checked(&mailer(&spec).message(7)), "the same seed, the same bytes");
    let other = Arc::new(Mailer::new(&spec, 43, "run-1", DATE)).message(7);
    assert_ne!(content, checked(&other));
    let hash: [u8; 32] = Sha256::digest(&content).into();
    assert_eq!(hash[..4], [136, 78, 187, 32], "a change here changes what seeded runs send");
}

fn listed(list: &str, order: Order) -> Mailboxes {
    Mailboxes {
        source: Source::List(Arc::new(
            List::parse(list.as_bytes(), Reading { senders: true, ..Reading::default() }).unwrap(),
        )),
        order,
    }
}

#[test]
fn lists_are_used_in_turn_or_at_random() {
    let list = "a@x\nbb@x\nccc@x\ndddd@x\neeeee@x\n";
    let recipients = |order, n| -> Vec<String> {
        let message = mailer(&Spec {
            to: listed(list, order),
            from: listed(list, order),
            ..spec(2, MessageSize::Fixed(600))
        })
        .message(n);
        checked(&message);
        (0..2).map(|index| rendered(|out| message.recipient(index, out))).collect()
    };
    assert_eq!(
        [0, 1, 2].map(|n| recipients(Order::InTurn, n).concat()),
        ["a@xbb@x", "ccc@xdddd@x", "eeeee@xa@x"]
    );
    let drawn: Vec<Vec<String>> = (0..100).map(|n| recipients(Order::Random, n)).collect();
    assert!(drawn.iter().all(|pair| pair[0] != pair[1]), "nobody gets a message twice");
    let firsts: std::collections::BTreeSet<&String> = drawn.iter().map(|pair| &pair[0]).collect();
    assert_eq!(firsts.len(), 5);
    assert_eq!(drawn[..50], (0..50).map(|n| recipients(Order::Random, n)).collect::<Vec<_>>()[..]);
    // A single recipient is also in the header.
    let one =
        mailer(&Spec { to: listed(list, Order::Random), ..spec(1, MessageSize::Fixed(600)) }).message(8);
    let to = rendered(|out| one.recipient(0, out));
    assert!(text_of(&content(&one)).contains(&format!("\r\nTo: <{to}>\r\n")));
}

#[test]
fn a_null_sender_of_a_list_is_null_in_the_envelope_and_the_mail_system_in_the_header() {
    let from = listed("<>\na@x.example\n", Order::InTurn);
    let mailer = mailer(&Spec { from, ..spec(1, MessageSize::Fixed(700)) });
    for (n, sender, header) in [(0, "", "mailer-daemon@smtpress.invalid"), (1, "a@x.example", "a@x.example")]
    {
        let message = mailer.message(n);
        assert_eq!(rendered(|out| message.sender(out)), sender);
        assert!(text_of(&checked(&message)).starts_with(&format!("From: <{header}>\r\n")));
    }
}

#[test]
fn files_are_sent_as_they_are_after_two_fields_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let large = "a line\n.dot\n".repeat(20_000);
    for (name, content) in [
        ("a.eml", "Subject: a\nMessage-ID: <a@b>\n\n.one\n"),
        ("b.eml", "Subject: b\n\ntwo"),
        ("c.eml", large.as_str()),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let corpus = Arc::new(Corpus::read(folder.path()).unwrap());
    let of = |order| {
        let body = Body::Files { corpus: Arc::clone(&corpus), order };
        mailer(&Spec { body, headers: vec!["X-A: {n}".into()], ..spec(1, MessageSize::Fixed(0)) })
    };
    let in_turn = of(Order::InTurn);
    let ours = |n| format!("X-Smtpress-Run: run-1\r\nX-Smtpress-Seq: {n}\r\nX-A: {n}\r\n");
    assert_eq!(
        text_of(&checked(&in_turn.message(3))),
        ours(3) + "Subject: a\r\nMessage-ID: <a@b>\r\n\r\n.one\r\n"
    );
    assert_eq!(
        text_of(&checked(&in_turn.message(10))),
        ours(10) + "Message-ID: <run-1.10@smtpress.invalid>\r\nSubject: b\r\n\r\ntwo\r\n"
    );
    assert!(text_of(&checked(&in_turn.message(2))).ends_with(&large.replace('\n', "\r\n")));
    let sizes = |mailer: &Arc<Mailer>| (0..60).map(|n| mailer.message(n).size()).collect::<Vec<_>>();
    let random = of(Order::Random);
    assert_eq!(sizes(&random), sizes(&of(Order::Random)));
    let small = sizes(&random).into_iter().filter(|size| *size < 1000).count();
    assert!((25..55).contains(&small) && sizes(&random) != sizes(&in_turn), "{small}");
}

#[test]
fn what_cannot_be_sent_is_refused_in_clear_words() {
    let error = |spec: Spec| spec.check().unwrap_err().to_string();
    let good = spec(3, MessageSize::Fixed(600));
    assert_eq!(
        error(Spec { to: listed("a@b\nc@d\n", Order::InTurn), ..good.clone() }),
        "a message has 3 recipients and the list has only 2: some recipients would get the message twice"
    );
    assert_eq!(
        error(Spec { headers: vec!["X-A: b".into(), "nothing".into()], ..good.clone() }),
        "the header field \"nothing\" is no header field: write it as `Name: value`"
    );
    assert_eq!(
        error(Spec { subject: Some("a\r\nBcc: b".into()), ..good.clone() }),
        "the subject has the character '\\r': a header is of printable ASCII; write others as an encoded word such as \
         `=?utf-8?q?Gr=C3=BC=C3=9Fe?=`"
    );
    let body = Body::Text { text: "{n".into(), filled: true };
    assert_eq!(
        error(Spec { body, ..good.clone() }),
        "the text has a `{` that is not closed: write `{n}` for the number, and `{{` for the brace itself"
    );
    let body = Body::Attached { text: "a".into(), attachments: vec![u64::MAX, 5] };
    assert_eq!(
        error(Spec { body, ..good }),
        format!("2 attachments of {} bytes together: at most 1000 of 134217728 bytes are possible", u64::MAX)
    );
}
