//! Which texts are mailboxes, and which are patterns of mailboxes. `template` renders the patterns.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::placeholder::{self, InvalidTemplate, TemplatePiece};

/// The rules for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether an address must follow the grammar and the lengths of RFC 5321. Otherwise the address only has to fit on
    /// a command line.
    pub strict: bool,
    /// Whether an address may have characters beyond ASCII (RFC 6531).
    pub utf8: bool,
}

impl Default for Rules {
    /// Returns the rules of RFC 5321.
    fn default() -> Self {
        Rules { strict: true, utf8: false }
    }
}

/// The longest address in bytes without strict rules: an address that still fits on a header line (RFC 5322 2.1.1).
const LONGEST: usize = 900;

/// Why a pattern is not a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// An invalid placeholder.
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
    /// A character that would end the command line, or that SMTP cannot carry.
    #[error(
        "{pattern:?} has the character {found:?}: an address is of printable ASCII without spaces and angle brackets"
    )]
    Character {
        /// The pattern.
        pattern: String,
        /// The character.
        found: char,
    },
    /// As `Character`, for addresses that need not follow the grammar.
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
        /// The same address in ASCII, if only its domain is not ASCII (RFC 5890).
        ascii: Option<String>,
    },
    /// The pattern is empty.
    #[error("is empty: a recipient has an address")]
    Empty,
    /// No `@`.
    #[error("`{0}` has no domain: write it as local-part@domain")]
    NoDomain(String),
    /// No `@`, in `postmaster`: the only address that RCPT accepts without a domain.
    #[error(
        "`{0}` has no domain: only RCPT may name it so (RFC 5321 4.5.1), and not every listener takes it; write it as {0}@domain"
    )]
    Postmaster(String),
    /// An invalid part before the `@`.
    #[error("`{0}` has a local part that is neither words with single dots between them nor a quoted string")]
    LocalPart(String),
    /// An invalid part after the `@`.
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
        /// The largest length.
        length: usize,
    },
    /// The whole address is too long.
    #[error(
        "`{pattern}` has {length} bytes when its placeholders are at their longest: {allowed} are allowed"
    )]
    Long {
        /// The pattern.
        pattern: String,
        /// The largest length.
        length: usize,
        /// The allowed length.
        allowed: usize,
    },
}

impl InvalidAddress {
    /// Whether the address could be sent if addresses did not have to follow the grammar.
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

/// Parses a pattern that is a mailbox (RFC 5321 4.1.2, 4.1.3) for all values of its placeholders.
pub(super) fn parse(pattern: &str, rules: Rules) -> Result<Vec<TemplatePiece>, InvalidAddress> {
    let template = |reason| InvalidAddress::Template { pattern: pattern.into(), reason };
    let pieces = placeholder::parse(pattern).map_err(template)?;
    if pieces.contains(&TemplatePiece::Date) {
        return Err(InvalidAddress::Date(pattern.into()));
    }
    check(&placeholder::widest(&pieces), pattern, rules)?;
    Ok(pieces)
}

/// Checks that a text is a mailbox (RFC 5321 4.1.2, 4.1.3).
pub(super) fn check_mailbox(mailbox: &str, rules: Rules) -> Result<(), InvalidAddress> {
    check(mailbox, mailbox, rules)
}

/// Checks a rendered mailbox. Errors name the pattern.
fn check(mailbox: &str, pattern: &str, rules: Rules) -> Result<(), InvalidAddress> {
    check_characters(mailbox, pattern, rules)?;
    if rules.strict { check_grammar(mailbox, pattern, rules) } else { check_line(mailbox, pattern) }
}

/// Checks that SMTP can carry the characters.
fn check_characters(mailbox: &str, pattern: &str, rules: Rules) -> Result<(), InvalidAddress> {
    let quoted = mailbox.rsplit_once('@').is_some_and(|(local, _)| is_quoted_string(local));
    // A byte order mark, a line or paragraph separator, and a replacement character belong to no address.
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

/// Returns the same address with its domain in ASCII (RFC 5890), if the rest is ASCII already.
fn in_ascii(pattern: &str) -> Option<String> {
    let (local, domain) = pattern.rsplit_once('@')?;
    let domain = idna::domain_to_ascii_strict(domain).ok()?;
    local.is_ascii().then(|| format!("{local}@{domain}"))
}

/// Checks that a command line can carry an address that need not follow the grammar: outside a quoted local part the
/// address has no angle bracket, so that the path ends at the `>` of the command.
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

/// Whether it is a `Dot-string` (RFC 5321), with the characters of RFC 6531 3.3.
fn is_dot_string(local: &str) -> bool {
    let is_atext = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// Whether it is a `Quoted-string` (RFC 5321). [`check_characters`] refuses control characters.
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

/// Whether it is a `Domain` (RFC 5321), with labels of at most 63 bytes (RFC 1035 2.3.4).
fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Whether it is an `address-literal` (RFC 5321) of IPv4 or IPv6.
fn is_literal(domain: &str) -> bool {
    let Some(inner) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    match inner.strip_prefix("IPv6:") {
        Some(six) => six.parse::<Ipv6Addr>().is_ok(),
        None => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests;
