//! What a mailbox may be, and what a pattern of mailboxes. How a pattern is rendered, `template` knows.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::placeholder::{self, InvalidTemplate, TemplatePiece};

/// What an address may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// It keeps the grammar and the lengths of RFC 5321. Otherwise it is only what a command line can carry.
    pub strict: bool,
    /// It may have characters beyond ASCII (RFC 6531).
    pub utf8: bool,
}

impl Default for Rules {
    /// Those of RFC 5321.
    fn default() -> Self {
        Rules { strict: true, utf8: false }
    }
}

/// The longest address in bytes without strict rules: a header line holds it yet (RFC 5322 2.1.1).
const LONGEST: usize = 900;

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
    /// The same where addresses need not keep the grammar.
    #[error(
        "{pattern:?} has the character {found:?}, which would end or break the command line: no address is sent with it"
    )]
    Unsendable {
        /// The pattern.
        pattern: String,
        /// The character.
        found: char,
    },
    /// A character that needs SMTPUTF8.
    #[error(
        "`{pattern}` has the character {found:?}, and addresses beyond ASCII need SMTPUTF8 (RFC 6531), which is off: write `smtputf8 = \"require\"` in [session.extensions]{}",
        .ascii.as_ref().map(|ascii| format!(", or the address as `{ascii}`")).unwrap_or_default()
    )]
    NotAscii {
        /// The pattern.
        pattern: String,
        /// The character.
        found: char,
        /// The same address in ASCII, if only its domain is beyond it (RFC 5890).
        ascii: Option<String>,
    },
    /// Nothing at all.
    #[error("is empty: a recipient has an address")]
    Empty,
    /// No `@`.
    #[error("`{0}` has no domain: write it as local-part@domain")]
    NoDomain(String),
    /// No `@`, in the one address that may have none.
    #[error(
        "`{0}` has no domain: only RCPT may name it so (RFC 5321 4.5.1), and not every listener takes it; write it as {0}@domain"
    )]
    Postmaster(String),
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
        "`{pattern}` has a local part of {length} bytes when its placeholders are at their longest: 64 are allowed"
    )]
    LongLocalPart {
        /// The pattern.
        pattern: String,
        /// Its length at the most.
        length: usize,
    },
    /// The whole is too long.
    #[error(
        "`{pattern}` has {length} bytes when its placeholders are at their longest: {allowed} are allowed"
    )]
    Long {
        /// The pattern.
        pattern: String,
        /// Its length at the most.
        length: usize,
        /// What is allowed.
        allowed: usize,
    },
}

impl InvalidAddress {
    /// Whether it could be sent all the same, where addresses need not keep the grammar.
    pub fn is_sendable(&self) -> bool {
        use InvalidAddress::{Domain, LocalPart, Long, LongLocalPart, NoDomain, Postmaster};
        match self {
            NoDomain(_) | Postmaster(_) | LocalPart(_) | Domain(_) | LongLocalPart { .. } => true,
            Long { length, .. } => *length <= LONGEST,
            InvalidAddress::Character { found, .. } => *found == ' ',
            InvalidAddress::Template { .. }
            | InvalidAddress::Date(_)
            | InvalidAddress::Unsendable { .. }
            | InvalidAddress::NotAscii { .. }
            | InvalidAddress::Empty => false,
        }
    }
}

/// Takes apart a pattern that is a mailbox (RFC 5321 4.1.2, 4.1.3) whatever its placeholders become.
pub(super) fn parse(pattern: &str, rules: Rules) -> Result<Vec<TemplatePiece>, InvalidAddress> {
    let template = |reason| InvalidAddress::Template { pattern: pattern.into(), reason };
    let pieces = placeholder::parse(pattern).map_err(template)?;
    if pieces.contains(&TemplatePiece::Date) {
        return Err(InvalidAddress::Date(pattern.into()));
    }
    check(&placeholder::widest(&pieces), pattern, rules)?;
    Ok(pieces)
}

/// Whether a text is a mailbox (RFC 5321 4.1.2, 4.1.3) as it stands.
pub(super) fn check_mailbox(mailbox: &str, rules: Rules) -> Result<(), InvalidAddress> {
    check(mailbox, mailbox, rules)
}

/// Whether a rendered mailbox is one; errors name the pattern.
fn check(mailbox: &str, pattern: &str, rules: Rules) -> Result<(), InvalidAddress> {
    check_characters(mailbox, pattern, rules)?;
    if rules.strict { check_grammar(mailbox, pattern, rules) } else { check_line(mailbox, pattern) }
}

/// Whether SMTP can carry it.
fn check_characters(mailbox: &str, pattern: &str, rules: Rules) -> Result<(), InvalidAddress> {
    let quoted = mailbox.rsplit_once('@').is_some_and(|(local, _)| is_quoted_string(local));
    // A byte order mark is no part of any address, and nobody sees it.
    let carried = |c: char| match c {
        ' ' => quoted || !rules.strict,
        '<' | '>' => !rules.strict,
        '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffd}' => false,
        c => !c.is_control(),
    };
    match mailbox.chars().find(|c| !carried(*c)) {
        Some(found) if rules.strict => {
            return Err(InvalidAddress::Character { pattern: pattern.into(), found });
        }
        Some(found) => return Err(InvalidAddress::Unsendable { pattern: pattern.into(), found }),
        None => {}
    }
    match mailbox.chars().find(|c| !c.is_ascii()) {
        Some(found) if !rules.utf8 => {
            Err(InvalidAddress::NotAscii { pattern: pattern.into(), found, ascii: in_ascii(pattern) })
        }
        _ => Ok(()),
    }
}

/// The same address with its domain in ASCII (RFC 5890), if that is all it needs.
fn in_ascii(pattern: &str) -> Option<String> {
    let (local, domain) = pattern.rsplit_once('@')?;
    let domain = idna::domain_to_ascii_strict(domain).ok()?;
    local.is_ascii().then(|| format!("{local}@{domain}"))
}

/// Whether a command line can carry what need not keep the grammar: the path must end where the command ends it.
fn check_line(mailbox: &str, pattern: &str) -> Result<(), InvalidAddress> {
    if mailbox.is_empty() {
        return Err(InvalidAddress::Empty);
    }
    if mailbox.len() > LONGEST {
        let (pattern, length) = (pattern.to_owned(), mailbox.len());
        return Err(InvalidAddress::Long { pattern, length, allowed: LONGEST });
    }
    let (local, rest) = mailbox.rsplit_once('@').unwrap_or(("", mailbox));
    let open = if is_quoted_string(local) { rest } else { mailbox };
    match open.chars().find(|c| matches!(c, '<' | '>')) {
        Some(found) => Err(InvalidAddress::Unsendable { pattern: pattern.to_owned(), found }),
        None => Ok(()),
    }
}

fn check_grammar(mailbox: &str, pattern: &str, rules: Rules) -> Result<(), InvalidAddress> {
    let pattern = || pattern.to_owned();
    let Some((local, domain)) = mailbox.rsplit_once('@') else {
        return Err(match mailbox.eq_ignore_ascii_case("postmaster") {
            true => InvalidAddress::Postmaster(pattern()),
            false => InvalidAddress::NoDomain(pattern()),
        });
    };
    if !is_dot_string(local) && !is_quoted_string(local) {
        return Err(InvalidAddress::LocalPart(pattern()));
    }
    let is_international =
        || rules.utf8 && !domain.is_ascii() && idna::domain_to_ascii_strict(domain).is_ok();
    if !is_domain(domain) && !is_literal(domain) && !is_international() {
        return Err(InvalidAddress::Domain(pattern()));
    }
    if local.len() > 64 {
        return Err(InvalidAddress::LongLocalPart { pattern: pattern(), length: local.len() });
    }
    // A path has at most 256 bytes with its angle brackets (RFC 5321 4.5.3.1.3).
    if mailbox.len() > 254 {
        return Err(InvalidAddress::Long { pattern: pattern(), length: mailbox.len(), allowed: 254 });
    }
    Ok(())
}

/// RFC 5321 `Dot-string`, with the characters of RFC 6531 3.3.
fn is_dot_string(local: &str) -> bool {
    let is_atext = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
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

/// RFC 5321 `Domain`, each label of at most 63 bytes (RFC 1035 2.3.4).
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
mod tests;
