//! Mailboxes with numbers in them: the pattern, its check, its rendering. What the numbers mean, `message` decides.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a pattern is no mailbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// A placeholder that does not exist.
    #[error("`{pattern}` has the unknown placeholder `{{{name}}}`: known is `{{n}}`, the number")]
    Placeholder {
        /// The pattern.
        pattern: String,
        /// What stood between the braces.
        name: String,
    },
    /// A brace without its partner.
    #[error("`{0}` has a `{{` that is not closed: write `{{n}}` for the number")]
    Unclosed(String),
    /// Something that would break out of the command, or that SMTP cannot carry.
    #[error(
        "{pattern:?} has the character {found:?}: an address is of printable ASCII without spaces and angle brackets"
    )]
    Character {
        /// The pattern.
        pattern: String,
        /// The character.
        found: char,
    },
    /// No `@`.
    #[error("`{0}` has no domain: write it as local-part@domain")]
    NoDomain(String),
    /// A part before the `@` that is none.
    #[error("`{0}` has a local part that is neither words with single dots between them nor a quoted string")]
    LocalPart(String),
    /// A part after the `@` that is none.
    #[error(
        "`{0}` has a domain that is neither labels of letters, digits and inner hyphens nor an address literal such as `[127.0.0.1]`"
    )]
    Domain(String),
    /// The local part is too long.
    #[error("`{pattern}` has a local part of {length} octets when its number has 20 digits: 64 are allowed")]
    LongLocalPart {
        /// The pattern.
        pattern: String,
        /// Its length at the most.
        length: usize,
    },
    /// The whole is too long.
    #[error("`{pattern}` has {length} octets when its number has 20 digits: 254 are allowed")]
    Long {
        /// The pattern.
        pattern: String,
        /// Its length at the most.
        length: usize,
    },
}

/// A mailbox in which `{n}` stands for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The text around the numbers, one more than there are numbers.
    texts: Vec<Box<[u8]>>,
}

impl Pattern {
    /// A pattern that is a mailbox (RFC 5321 4.1.2, 4.1.3) for any number.
    pub(super) fn parse(pattern: &str) -> Result<Pattern, InvalidAddress> {
        if let Some(found) = pattern.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '<' | '>')) {
            return Err(InvalidAddress::Character { pattern: pattern.into(), found });
        }
        let parsed = Pattern { texts: texts(pattern)? };
        let mut widest = Vec::new();
        parsed.render(u64::MAX, &mut widest);
        check(&String::from_utf8_lossy(&widest), pattern)?;
        Ok(parsed)
    }

    /// Appends the mailbox with this number.
    pub(super) fn render(&self, number: u64, out: &mut Vec<u8>) {
        let (first, others) = self.texts.split_first().expect("a pattern has a first text");
        out.extend_from_slice(first);
        if others.is_empty() {
            return;
        }
        let number = Decimal::new(number);
        for text in others {
            out.extend_from_slice(number.as_bytes());
            out.extend_from_slice(text);
        }
    }

    /// The texts around the numbers, in their order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.texts.iter().map(|text| &**text)
    }
}

/// How many decimal digits a number has.
pub(super) fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// A number in decimal digits, to be written as often as it is wanted.
pub(super) struct Decimal {
    digits: [u8; 20],
    first: usize,
}

impl Decimal {
    pub(super) fn new(mut number: u64) -> Decimal {
        let mut decimal = Decimal { digits: [b'0'; 20], first: 20 };
        loop {
            decimal.first -= 1;
            // A remainder of ten is one digit.
            decimal.digits[decimal.first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

/// The texts around the placeholders.
fn texts(pattern: &str) -> Result<Vec<Box<[u8]>>, InvalidAddress> {
    let (mut texts, mut rest) = (Vec::new(), pattern);
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| InvalidAddress::Unclosed(pattern.into()))?;
        if name != "n" {
            return Err(InvalidAddress::Placeholder { pattern: pattern.into(), name: name.into() });
        }
        texts.push(text.as_bytes().into());
        rest = after;
    }
    texts.push(rest.as_bytes().into());
    Ok(texts)
}

/// Whether a rendered mailbox is one; errors name the pattern.
fn check(mailbox: &str, pattern: &str) -> Result<(), InvalidAddress> {
    let pattern = || pattern.to_owned();
    let (local, domain) = mailbox.rsplit_once('@').ok_or_else(|| InvalidAddress::NoDomain(pattern()))?;
    if !is_dot_string(local) && !is_quoted_string(local) {
        return Err(InvalidAddress::LocalPart(pattern()));
    }
    if !is_domain(domain) && !is_literal(domain) {
        return Err(InvalidAddress::Domain(pattern()));
    }
    if local.len() > 64 {
        return Err(InvalidAddress::LongLocalPart { pattern: pattern(), length: local.len() });
    }
    // A path has at most 256 octets with its angle brackets (RFC 5321 4.5.3.1.3).
    if mailbox.len() > 254 {
        return Err(InvalidAddress::Long { pattern: pattern(), length: mailbox.len() });
    }
    Ok(())
}

/// RFC 5321 `Dot-string`.
fn is_dot_string(local: &str) -> bool {
    let is_atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

/// RFC 5321 `Quoted-string`, without what [`Pattern::parse`] has refused before.
fn is_quoted_string(local: &str) -> bool {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'"' || (byte == b'\\' && bytes.next().is_none()) {
            return false;
        }
    }
    true
}

/// RFC 5321 `Domain`, each label of at most 63 octets (RFC 1035 2.3.4).
fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// RFC 5321 `address-literal` of IPv4 or IPv6.
fn is_literal(domain: &str) -> bool {
    let Some(inner) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    match inner.strip_prefix("IPv6:") {
        Some(six) => six.parse::<Ipv6Addr>().is_ok(),
        None => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(pattern: &str, number: u64) -> String {
        let mut out = Vec::new();
        let pattern = Pattern::parse(pattern).unwrap();
        pattern.render(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_put_in() {
        assert_eq!(rendered("user{n}@example.test", 0), "user0@example.test");
        assert_eq!(rendered("u{n}.x@d{n}.test", 1234), "u1234.x@d1234.test");
        assert_eq!(rendered("{n}@localhost", u64::MAX), "18446744073709551615@localhost");
        assert_eq!(rendered("plain@[127.0.0.1]", 7), "plain@[127.0.0.1]");
    }

    #[test]
    fn digits_are_counted_as_they_are_written() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
            assert_eq!(Decimal::new(number).as_bytes(), number.to_string().as_bytes());
            assert_eq!(digits(number), number.to_string().len());
        }
    }

    #[test]
    fn mailboxes_of_rfc_5321_are_taken() {
        let longest = format!("{}@d.test", "a".repeat(64));
        for mailbox in [
            "a@b",
            "a.b-c+d=e!#$%&'*/?^_`|}~@x-y.z9.test",
            "\"a..b@c\\\"d\"@b.test",
            "\"\"@b.test",
            "a@[IPv6:::1]",
            longest.as_str(),
        ] {
            assert_eq!(rendered(mailbox, 0), mailbox);
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
            "\"a<b\"@c",
            "\"a>b\"@c",
        ] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern:?} was taken");
        }
    }

    #[test]
    fn a_local_part_must_be_short_enough_for_the_longest_number() {
        assert!(Pattern::parse(&format!("{}{{n}}@b", "a".repeat(44))).is_ok());
        let error = Pattern::parse(&format!("{}{{n}}@b", "a".repeat(45))).unwrap_err();
        assert!(matches!(error, InvalidAddress::LongLocalPart { length: 65, .. }), "{error}");
        let labels = vec!["b".repeat(60); 5].join(".");
        assert!(matches!(Pattern::parse(&format!("a@{labels}")), Err(InvalidAddress::Long { .. })));
    }

    #[test]
    fn errors_name_the_thing_and_the_remedy() {
        let error = |pattern: &str| Pattern::parse(pattern).unwrap_err().to_string();
        assert_eq!(
            error("a{seq}@b"),
            "`a{seq}@b` has the unknown placeholder `{seq}`: known is `{n}`, the number"
        );
        assert_eq!(error("a{n@b"), "`a{n@b` has a `{` that is not closed: write `{n}` for the number");
        assert_eq!(
            error("a@b\r\nX"),
            r#""a@b\r\nX" has the character '\r': an address is of printable ASCII without spaces and angle brackets"#
        );
        assert_eq!(error("bob"), "`bob` has no domain: write it as local-part@domain");
    }
}
