//! What a mailbox may be, and what a pattern of mailboxes. How a pattern is rendered, `template` knows.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::template::{self, InvalidTemplate, Piece};

/// Why a pattern is no mailbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// A placeholder that is none.
    #[error("`{pattern}` {reason}")]
    Template {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: InvalidTemplate,
    },
    /// A placeholder that an address cannot hold.
    #[error("`{0}` has the placeholder `{{date}}`, whose blanks and commas no address may have: remove it")]
    Date(String),
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
    #[error(
        "`{pattern}` has a local part of {length} octets when its placeholders are at their longest: 64 are allowed"
    )]
    LongLocalPart {
        /// The pattern.
        pattern: String,
        /// Its length at the most.
        length: usize,
    },
    /// The whole is too long.
    #[error("`{pattern}` has {length} octets when its placeholders are at their longest: 254 are allowed")]
    Long {
        /// The pattern.
        pattern: String,
        /// Its length at the most.
        length: usize,
    },
}

/// Takes apart a pattern that is a mailbox (RFC 5321 4.1.2, 4.1.3) whatever its placeholders become.
pub(super) fn parse(pattern: &str) -> Result<Vec<Piece>, InvalidAddress> {
    let template = |reason| InvalidAddress::Template { pattern: pattern.into(), reason };
    let pieces = template::parse(pattern).map_err(template)?;
    if pieces.contains(&Piece::Date) {
        return Err(InvalidAddress::Date(pattern.into()));
    }
    let widest = template::widest(&pieces);
    check_characters(&widest, pattern)?;
    check(&widest, pattern)?;
    Ok(pieces)
}

/// Whether a text is a mailbox (RFC 5321 4.1.2, 4.1.3) as it stands.
pub(super) fn check_mailbox(mailbox: &str) -> Result<(), InvalidAddress> {
    check_characters(mailbox, mailbox)?;
    check(mailbox, mailbox)
}

/// Whether SMTP can carry it.
fn check_characters(mailbox: &str, pattern: &str) -> Result<(), InvalidAddress> {
    match mailbox.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '<' | '>')) {
        Some(found) => Err(InvalidAddress::Character { pattern: pattern.into(), found }),
        None => Ok(()),
    }
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

/// RFC 5321 `Quoted-string`, without what [`parse`] has refused before.
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

    fn taken(mailbox: &str) {
        assert_eq!(parse(mailbox), Ok(vec![Piece::Text(mailbox.into())]), "as a pattern");
        assert_eq!(check_mailbox(mailbox), Ok(()));
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
        // A brace may stand in an atom (RFC 5322 3.2.3).
        assert_eq!(parse("a{{b}}@c"), Ok(vec![Piece::Text("a{b}@c".into())]));
    }

    #[test]
    fn mailboxes_of_rfc_5321_are_taken() {
        let longest = format!("{}@d.test", "a".repeat(64));
        for mailbox in [
            "a@b",
            "a.b-c+d=e!#$%&'*/?^_`|~@x-y.z9.test",
            "\"a..b@c\\\"d\"@b.test",
            "\"\"@b.test",
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
}
