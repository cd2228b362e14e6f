//! Tests of `request`.

use super::*;

fn parse(line: &str) -> Result<Request<'_>, RequestFault<'_>> {
    Request::parse(line.as_bytes())
}

#[test]
fn commands_are_read_without_regard_to_case() {
    assert_eq!(parse("EHLO mx.example"), Ok(Request::Hello { extended: true, name: "mx.example" }));
    assert_eq!(parse("helo [127.0.0.1]"), Ok(Request::Hello { extended: false, name: "[127.0.0.1]" }));
    assert_eq!(
        parse("mail from:<a.b@c.example> size=1000 body=8bitmime"),
        Ok(Request::Mail {
            path: "a.b@c.example",
            parameters: MailParameters {
                size: Some(1000),
                body: Some(BodyType::EightBit),
                ..MailParameters::default()
            }
        })
    );
    assert_eq!(parse("MAIL FROM:<>"), Ok(Request::Mail { path: "", parameters: MailParameters::default() }));
    let plain = RcptParameters::default();
    assert_eq!(
        parse("RCPT TO:<@a.example,@b.example:\"x > \\\" y\"@[IPv6:::1]>"),
        Ok(Request::Rcpt { path: "@a.example,@b.example:\"x > \\\" y\"@[IPv6:::1]", parameters: plain })
    );
    assert_eq!(parse("RCPT TO:<Postmaster>"), Ok(Request::Rcpt { path: "Postmaster", parameters: plain }));
    assert_eq!(parse("LHLO mx.example"), Ok(Request::Lhlo { name: "mx.example" }));
    assert_eq!(parse("bdat 1000"), Ok(Request::Bdat { size: 1000, last: false }));
    assert_eq!(parse("BDAT 0 last"), Ok(Request::Bdat { size: 0, last: true }));
    assert_eq!(parse("NOOP what ever"), Ok(Request::Noop("what ever")));
    assert_eq!(parse("HELP mail"), Ok(Request::Help("mail")));
    assert_eq!(parse("AUTH PLAIN AHUAcA=="), Ok(Request::Auth("PLAIN AHUAcA==")));
    assert_eq!(parse("QUIT  "), Ok(Request::Quit));
}

#[test]
fn a_faulty_line_is_named_by_what_is_wrong() {
    assert_eq!(parse("XDFN a=b"), Err(RequestFault::Unrecognized("XDFN")));
    assert_eq!(parse(""), Err(RequestFault::Unrecognized("")));
    assert_eq!(parse("GET/ HTTP/1.1"), Err(RequestFault::Unrecognized("GET/")));
    assert_eq!(parse("EHLO"), Err(RequestFault::HelloName));
    assert_eq!(parse("EHLO a b"), Err(RequestFault::HelloName));
    assert_eq!(parse("EHLO -a.example"), Err(RequestFault::HelloName));
    for bad in [
        "MAIL FROM: <a@b.example>",
        "MAIL <a@b.example>",
        "MAIL FROM:a@b.example",
        "MAIL FROM:<a@b.example",
        "MAIL FROM:<a..b@c.example>",
        "MAIL FROM:<a@b..example>",
        "MAIL FROM:<a b@c.example>",
        "MAIL FROM:<a@b.example>SIZE=1",
        "MAIL FROM:<a@b.example> SIZE",
        "MAIL FROM:<a@b.example> =1",
        "MAIL FROM:<user>",
        "RCPT TO:<>",
        "RCPT TO:<\"a\"b\"@c.example>",
        "MAIL FROM:<> SIZE=1 SIZE=1",
        "MAIL FROM:<> SMTPUTF8 SMTPUTF8",
        "MAIL FROM:<> SMTPUTF8=yes",
        "MAIL FROM:<> REQUIRETLS=1",
        "MAIL FROM:<> ENVID=a+2b",
        "MAIL FROM:<> BY=0;R",
        "MAIL FROM:<> BY=-5;R",
        "MAIL FROM:<> BY=1234567890;N",
        "MAIL FROM:<> BY=+0;R",
        "MAIL FROM:<> BY=+;N",
        "MAIL FROM:<> BY=+-5;N",
        "MAIL FROM:<> BY=-+5;N",
        "MAIL FROM:<> BY=5",
        "MAIL FROM:<> AUTH",
        "MAIL FROM:<> AUTH=",
        "MAIL FROM:<> AUTH=a+2b",
        "MAIL FROM:<> AUTH=<> AUTH=<>",
        "RCPT TO:<a@b.example> NOTIFY=NEVER,DELAY",
        "RCPT TO:<a@b.example> NOTIFY=",
        "RCPT TO:<a@b.example> NOTIFY",
        "RCPT TO:<a@b.example> ORCPT=a@b.example",
        "RCPT TO:<a@b.example> ORCPT=rfc822;a ORCPT=rfc822;a",
        "MAIL FROM:<> SMTPUTF8 ENVID=\u{e4}",
        "RCPT TO:<a@b.example> ORCPT=rfc822;\u{e4}@b.example",
        "RCPT TO:<a@b.example> ORCPT=\u{e4};a@b.example",
        "RCPT TO:<a@b.example> ORCPT=rfc 822;a@b.example",
        "RCPT TO:<a@b.example> ORCPT=rfc@822;a@b.example",
        "BDAT",
        "BDAT x",
        "BDAT -1",
        "BDAT 1 LAST LAST",
        "BDAT 1 FIRST",
        "BDAT 99999999999999999999",
        "LHLO \u{e4}",
        "DATA now",
        "RSET x",
        "VRFY",
    ] {
        assert!(matches!(parse(bad), Err(RequestFault::Syntax(_))), "{bad}: {:?}", parse(bad));
    }
    assert_eq!(parse("MAIL FROM:<a@b.example> FOO=1"), Err(RequestFault::UnknownOption("FOO")));
    assert_eq!(parse("MAIL FROM:<a@b.example> BODY=9BIT"), Err(RequestFault::UnknownValue("9BIT")));
    assert_eq!(parse("MAIL FROM:<a@b.example> RET=HEAD"), Err(RequestFault::UnknownValue("HEAD")));
    assert_eq!(parse("MAIL FROM:<a@b.example> SIZE=12k"), Err(RequestFault::UnknownValue("12k")));
    assert_eq!(parse("RCPT TO:<a@b.example> NOTE=NEVER"), Err(RequestFault::UnknownParameter("NOTE")));
    assert_eq!(parse("MAIL FROM:<\u{e4}@b.example>"), Err(RequestFault::NotAscii));
    assert_eq!(parse("H\u{e4}LP"), Err(RequestFault::Unrecognized("")));
    assert_eq!(Request::parse(b"NOOP \0"), Err(RequestFault::Syntax("")));
    assert_eq!(Request::parse(b"NOOP \xc3\xa4"), Err(RequestFault::Syntax("")));
    assert_eq!(Request::parse(b"NO\rOP"), Err(RequestFault::Syntax("")));
    let long = "X".repeat(500);
    assert_eq!(parse(&long), Err(RequestFault::Unrecognized(&long[..32])));
}

#[test]
fn every_parameter_is_read() {
    let line = "MAIL FROM:<\u{e4}.b@\u{f6}.example> BODY=BINARYMIME smtputf8 REQUIRETLS RET=hdrs ENVID=run+2B.1 BY=-120;NT auth=e+3Dmc2@b.example";
    let parameters = MailParameters {
        size: None,
        body: Some(BodyType::Binary),
        utf8: true,
        require_tls: true,
        ret: Some("hdrs"),
        envid: Some("run+2B.1"),
        by: Some("-120;NT"),
        auth: Some("e+3Dmc2@b.example"),
    };
    assert_eq!(parse(line), Ok(Request::Mail { path: "\u{e4}.b@\u{f6}.example", parameters }));
    let line = "RCPT TO:<a@b.example> NOTIFY=success,DELAY ORCPT=rfc822;a+3Db@c.example";
    let parameters = RcptParameters { notify: Some("success,DELAY"), orcpt: Some("rfc822;a+3Db@c.example") };
    assert_eq!(parse(line), Ok(Request::Rcpt { path: "a@b.example", parameters }));
    let parameters = MailParameters { auth: Some("<>"), ..MailParameters::default() };
    assert_eq!(parse("MAIL FROM:<> AUTH=<>"), Ok(Request::Mail { path: "", parameters }));
    for by in ["+120;N", "+120;R", "120;rT", "+0;N", "0;N"] {
        let parameters = MailParameters { by: Some(by), ..MailParameters::default() };
        assert_eq!(parse(&format!("MAIL FROM:<> BY={by}")), Ok(Request::Mail { path: "", parameters }));
    }
    for orcpt in ["utf-8;\u{e4}\\x{2B}b@\u{f6}.example", "UTF-8;a+2Bb@c.example", "x-private;a"] {
        let parameters = RcptParameters { notify: None, orcpt: Some(orcpt) };
        let line = format!("RCPT TO:<a@b.example> ORCPT={orcpt}");
        assert_eq!(parse(&line), Ok(Request::Rcpt { path: "a@b.example", parameters }));
    }
}

#[test]
fn a_size_that_does_not_fit_is_above_any_limit() {
    let line = "MAIL FROM:<> SIZE=99999999999999999999";
    let parameters = MailParameters { size: Some(u64::MAX), ..MailParameters::default() };
    assert_eq!(parse(line), Ok(Request::Mail { path: "", parameters }));
}

/// Returns every line in `wire`, when it comes in pieces of `piece` bytes.
fn lines(wire: &[u8], piece: usize, max: usize) -> Vec<Result<String, RequestFault<'static>>> {
    let mut lines = CommandLines::new(max);
    let mut found = Vec::new();
    for chunk in wire.chunks(piece) {
        let mut input = chunk;
        while !input.is_empty() {
            if let Some(line) = lines.next(&mut input) {
                found.push(line.map(|line| String::from_utf8_lossy(line).into_owned()));
            }
        }
    }
    found
}

#[test]
fn lines_are_the_same_however_the_bytes_are_cut() {
    let wire = b"EHLO a\r\n\r\nNOOP\nRSET\r\r\n1234567\r\n12345678\r\n123456789012345678901234\r\nQUIT\r\n";
    let whole = lines(wire, wire.len(), 9);
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(
        whole,
        [
            ok("EHLO a"),
            ok(""),
            Err(RequestFault::Syntax("")),
            ok("RSET\r"),
            ok("1234567"),
            Err(RequestFault::LineTooLong),
            Err(RequestFault::LineTooLong),
            ok("QUIT"),
        ]
    );
    for piece in 1..wire.len() {
        assert_eq!(lines(wire, piece, 9), whole, "pieces of {piece}");
    }
}

#[test]
fn an_endless_line_is_not_kept() {
    let mut lines = CommandLines::new(512);
    for _ in 0..1000 {
        let mut input = [b'a'; 1000].as_slice();
        assert!(lines.next(&mut input).is_none());
        assert!(lines.partial.capacity() <= 1024);
    }
    assert_eq!(lines.next(&mut b"\r\n".as_slice()), Some(Err(RequestFault::LineTooLong)));
    assert_eq!(lines.next(&mut b"NOOP\r\n".as_slice()), Some(Ok(b"NOOP".as_slice())));
}

#[test]
fn a_path_has_at_most_256_bytes_with_its_brackets() {
    let local = "x".repeat(60);
    for (length, well) in [(256, true), (257, false)] {
        let domain = "d".repeat(length - "<@>".len() - local.len());
        for verb in ["MAIL FROM:", "RCPT TO:"] {
            let line = format!("{verb}<{local}@{domain}>");
            let read = parse(&line);
            assert_eq!(read.is_ok(), well, "{length}: {read:?}");
            assert!(well || read == Err(RequestFault::PathTooLong), "{read:?}");
        }
    }
}
