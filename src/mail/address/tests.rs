//! Tests of `address`.

use super::*;

fn parse(pattern: &str) -> Result<Vec<TemplatePiece>, InvalidAddress> {
    super::parse(pattern, Rules::default())
}

fn taken(mailbox: &str) {
    assert_eq!(parse(mailbox), Ok(vec![TemplatePiece::Text(mailbox.into())]), "as a pattern");
    assert_eq!(check_mailbox(mailbox, Rules::default()), Ok(()));
}

#[test]
fn patterns_are_taken() {
    for pattern in [
        "user{n}@recipient.example",
        "u{n}.x@d{n}.test",
        "{n}@localhost",
        "{n:1..9}.{session}@b",
        "{run}@b",
        "{random:64}@b",
    ] {
        assert!(parse(pattern).is_ok(), "{pattern}");
    }
    // An atom may hold a brace (RFC 5322 3.2.3).
    assert_eq!(parse("a{{b}}@c"), Ok(vec![TemplatePiece::Text("a{b}@c".into())]));
}

#[test]
fn mailboxes_of_rfc_5321_are_taken() {
    let longest = format!("{}@d.test", "a".repeat(64));
    for mailbox in [
        "a@b",
        "a.b-c+d=e!#$%&'*/?^_`|~@x-y.z9.test",
        "\"a..b@c\\\"d\"@b.test",
        "\"\"@b.test",
        "\"a b\"@b.test",
        "a@[IPv6:::1]",
        longest.as_str(),
    ] {
        taken(mailbox);
    }
}

#[test]
fn what_is_no_mailbox_is_refused() {
    let long = "a".repeat(65) + "@b";
    let label = "a@".to_owned() + &"b".repeat(64);
    for pattern in [
        "",
        "a",
        "@b",
        "a@",
        ".a@b",
        "a.@b",
        "a..b@c",
        "a@b..c",
        "a@.b",
        "a@b.",
        "a@-b",
        "a@b-",
        "a@b_c",
        "a@@b",
        "a,b@c",
        "a(b)@c",
        "\"a@b",
        "\"a\"b\"@c",
        "\"a\\\"@b",
        "a@[1.2.3]",
        "a@[::1]",
        "a@[IPv6:1.2.3.4]",
        "a@[]",
        "a@b\r\nRCPT TO:<c@d>",
        "a b@c",
        "a@b>",
        "<a@b",
        "a\0@b",
        "a\x7f@b",
        "ä@b",
        "a@b\n",
        &long,
        &label,
        "{n@b",
        "{}@b",
        "{N}@b",
        "a{n}{x}@b",
        "{n}@-{n}",
        "{date}@b",
        "{run}{random:41}@b",
        "\"a<b\"@c",
        "\"a>b\"@c",
    ] {
        assert!(parse(pattern).is_err(), "{pattern:?} was taken");
    }
}

#[test]
fn a_local_part_must_be_short_enough_for_the_longest_number() {
    assert!(parse(&format!("{}{{n}}@b", "a".repeat(44))).is_ok());
    let error = parse(&format!("{}{{n}}@b", "a".repeat(45))).unwrap_err();
    assert!(matches!(error, InvalidAddress::LongLocalPart { length: 65, .. }), "{error}");
    let labels = vec!["b".repeat(60); 5].join(".");
    assert!(matches!(parse(&format!("a@{labels}")), Err(InvalidAddress::Long { .. })));
}

#[test]
fn errors_name_the_thing_and_the_remedy() {
    let error = |pattern: &str| parse(pattern).unwrap_err().to_string();
    assert_eq!(
        error("a{random}@b"),
        "`a{random}@b` has `{random}`: write 1 to 64 letters, as in `{random:8}`"
    );
    assert_eq!(
        error("a{n@b"),
        "`a{n@b` has a `{` that is not closed: write `{n}` for the number, and `{{` for the brace itself"
    );
    assert_eq!(
        error("a@b\r\nX"),
        r#""a@b\r\nX" has the character '\r': an address is of printable ASCII without spaces and angle brackets"#
    );
    assert_eq!(error("bob"), "`bob` has no domain: write it as local-part@domain");
}

const LAX: Rules = Rules { strict: false, utf8: false };
const UTF8: Rules = Rules { strict: true, utf8: true };

#[test]
fn what_exists_and_breaks_the_grammar_is_refused_or_sent_as_it_is() {
    let long = "a".repeat(65) + "@b.test";
    for mailbox in [
        "a..b@c.test",
        "x.@c.test",
        ".x@c.test",
        "postmaster",
        "Postmaster",
        "root",
        "u@my_host",
        "u@-h-",
        "u@host.",
        "u@h..test",
        "a@b@c.test",
        "a(b)@c.test",
        "a b@c.test",
        "\"a@b.test",
        "a\\@b.test",
        "@a.test:b@c.test",
        "u@[1.2.3]",
        long.as_str(),
    ] {
        let refused = parse(mailbox).unwrap_err();
        assert!(refused.is_sendable(), "{refused}");
        assert_eq!(check_mailbox(mailbox, LAX), Ok(()), "{mailbox}");
    }
    assert_eq!(check_mailbox("\"a>b<c\"@d.test", LAX), Ok(()));
    let said = parse("postmaster").unwrap_err().to_string();
    assert!(said.contains("RFC 5321 4.5.1") && said.contains("postmaster@domain"), "{said}");
}

#[test]
fn nothing_breaks_out_of_the_command_whatever_the_rules() {
    let long = "a".repeat(5000);
    for mailbox in [
        "a@b\r\nRCPT TO:<c@d>",
        "a@b\n",
        "a\0@b",
        "a\x7f@b",
        "a\t@b",
        "a\u{85}@b",
        "a\u{2028}b@c",
        "\u{feff}a@b",
        "a@b>",
        "a@b> SIZE=1",
        "<a@b>",
        "a>@b",
        "\"a@b> NOTIFY=NEVER",
        "\"a\"b>c\"@d",
        "\"a\\\">@d",
        "\"a\"@b>",
        "",
        long.as_str(),
    ] {
        for rules in [LAX, Rules { utf8: true, ..LAX }, UTF8, Rules::default()] {
            let refused = check_mailbox(mailbox, rules);
            assert!(refused.as_ref().is_err_and(|error| rules.strict || !error.is_sendable()), "{mailbox:?}");
        }
    }
}

#[test]
fn addresses_beyond_ascii_need_smtputf8() {
    for mailbox in ["j\u{f6}rg@b\u{fc}cher.example", "\u{7528}\u{6237}@\u{4f8b}.test", "\"\u{f6} x\"@b.test"]
    {
        assert_eq!(check_mailbox(mailbox, UTF8), Ok(()), "{mailbox}");
        let refused = parse(mailbox).unwrap_err();
        assert!(matches!(refused, InvalidAddress::NotAscii { ascii: None, .. }), "{refused}");
        assert!(check_mailbox(mailbox, LAX).is_err(), "not without SMTPUTF8");
    }
    let said = parse("a{n}@b\u{fc}cher.example").unwrap_err().to_string();
    assert!(said.contains("`smtputf8 = \"require\"`"), "{said}");
    assert!(said.ends_with("or the address as `a{n}@xn--bcher-kva.example`"), "{said}");
    for wrong in ["a@-\u{fc}.test", "a@\u{fc}..test", "a..\u{fc}@b.test"] {
        assert!(check_mailbox(wrong, UTF8).is_err(), "{wrong}");
    }
    // Lengths count bytes, not characters.
    assert!(check_mailbox(&format!("{}@b", "\u{fc}".repeat(33)), UTF8).is_err());
}

proptest::proptest! {
    /// Whatever address is sent, the path ends at the one `>` that the command appends.
    #[test]
    fn what_is_sent_is_one_path_on_one_line(mailbox in "[a-z\"\\\\<>@. \r\n\t\u{e4}\u{0}\u{85}]{0,12}", strict: bool, utf8: bool) {
        if check_mailbox(&mailbox, Rules { strict, utf8 }).is_ok() {
            proptest::prop_assert!(!mailbox.is_empty() && !mailbox.contains(char::is_control));
            proptest::prop_assert!(utf8 || mailbox.is_ascii());
            let (mut quoted, mut escaped) = (false, false);
            for c in mailbox.chars() {
                proptest::prop_assert!(quoted || !matches!(c, '<' | '>'), "{mailbox:?}");
                match c {
                    _ if escaped => escaped = false,
                    '\\' if quoted => escaped = true,
                    '"' => quoted = !quoted,
                    _ => {}
                }
            }
        }
    }
}
