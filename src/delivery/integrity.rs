//! Compares a message that came out of the relay with the one that was sent.
//!
//! # Decisions
//! - Fields that relays may add or remove (trace fields, signatures, X- fields) are left out on both sides. Every other
//!   field must be there, in order and unchanged except for folding (RFC 5322 2.2.3). An added field is a change.
//! - Bodies are compared byte for byte. If they differ and a part is quoted-printable or base64, the decoded parts are
//!   compared instead, because a relay may convert them (RFC 6152 3), and so is all that is around them: the fields of
//!   each part, the delimiters, and the text before and after the parts. If the encoding changed, MIME-Version and
//!   Content-Transfer-Encoding are not compared. Quoted-printable is compared without carriage returns, because the
//!   library's decoder drops them.
//! - A forwarded message (message/rfc822) is compared by its bytes: a relay that converts a part within it is said to change
//!   the body.
//! - Decoded parts are compared as bytes. As text, bytes that are not of their character set would all be the same
//!   replacement character.
//! - Digests are compared, because a receiver in another process passes on digests only, and a receiver in this process
//!   must give the same result.
//! - A rewritten Message-ID is a change, although other fields identify the message: replies to the message can no
//!   longer be assigned.

use std::collections::BTreeMap;
use std::fmt;
use std::num::ParseIntError;

use mail_parser::{Encoding, Header, Message, MessageParser, MessagePart, PartType};
use serde::{Deserialize, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use super::mime;

/// A difference between a message that was sent and the one that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A field that was sent is missing.
    Missing(String),
    /// A field that was sent has another value.
    Changed(String),
    /// A field was added.
    Added(String),
    /// The fields are in another order.
    Order,
    /// The body differs.
    Body,
    /// The content that came out cannot be parsed as a message.
    NoMessage,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing(name) => write!(f, "header field {name} is missing"),
            Difference::Changed(name) => write!(f, "header field {name} is changed"),
            Difference::Added(name) => write!(f, "header field {name} is added"),
            Difference::Order => f.write_str("header fields stand in another order"),
            Difference::Body => f.write_str("the body is changed"),
            Difference::NoMessage => f.write_str("no message can be read"),
        }
    }
}

/// A digest of 64 bits. It detects accidental changes, not attacks: that one of ten million alterations is missed is
/// very unlikely.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ContentDigest(u64);

impl ContentDigest {
    fn of(bytes: &[u8]) -> ContentDigest {
        ContentDigest(xxh3_64(bytes))
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<ContentDigest, ParseIntError> {
        u64::from_str_radix(&text, 16).map(ContentDigest)
    }
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The fingerprint of a message: everything that is kept of it for the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The fields that a relay must keep, in order: the name in lower case, and the unfolded value.
    fields: Vec<(String, ContentDigest)>,
    /// The digest of the raw body.
    body: ContentDigest,
    /// The content transfer encodings of all parts, in order: 0 none, 1 quoted-printable, 2 base64.
    encodings: Vec<u8>,
    /// The decoded contents of the parts that are not a multipart, in order.
    parts: Vec<PartPrint>,
    /// The digest of the rest of the body: what is around those contents.
    frame: ContentDigest,
}

/// The decoded content of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartPrint {
    all: ContentDigest,
    /// The digest of the content without carriage returns.
    letters: ContentDigest,
    quoted: bool,
}

impl Fingerprint {
    /// Returns the fingerprint of a content with CRLF line ends and without dot stuffing; `None` if it is not a
    /// message.
    pub fn of(content: &[u8]) -> Option<Fingerprint> {
        let message = mime::parse(content, MessageParser::new().default_header_raw())?;
        Some(Fingerprint {
            fields: fields(&message),
            body: ContentDigest::of(body(&message)),
            encodings: encodings(&message),
            parts: message.parts.iter().filter(is_leaf).map(|part| PartPrint::of(&message, part)).collect(),
            frame: ContentDigest::of(&frame(&message)),
        })
    }

    /// Returns the fields that are compared: without the fields of the encoding, if the encoding was converted.
    fn fields(&self, is_converted: bool) -> Vec<(&str, ContentDigest)> {
        let counts =
            |name: &str| !(is_converted && matches!(name, "mime-version" | "content-transfer-encoding"));
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .filter(|(name, _)| counts(name))
            .collect()
    }

    fn is_encoded(&self) -> bool {
        self.encodings.iter().any(|encoding| *encoding != 0)
    }

    /// Whether all decoded parts are the same, in order, and what is around them.
    fn has_same_parts(&self, other: &Fingerprint) -> bool {
        let is_same = |(one, other): (&PartPrint, &PartPrint)| match one.quoted || other.quoted {
            true => one.letters == other.letters,
            false => one.all == other.all,
        };
        self.frame == other.frame
            && self.parts.len() == other.parts.len()
            && self.parts.iter().zip(&other.parts).all(is_same)
    }
}

impl PartPrint {
    fn of(message: &Message<'_>, part: &MessagePart<'_>) -> PartPrint {
        let encoding = mime::encoding(part);
        let content = mime::decode(between(message, part.offset_body, part.offset_end), encoding);
        let letters: Vec<u8> = content.iter().copied().filter(|byte| *byte != b'\r').collect();
        PartPrint {
            all: ContentDigest::of(&content),
            letters: ContentDigest::of(&letters),
            quoted: matches!(encoding, Encoding::QuotedPrintable),
        }
    }
}

/// Returns all differences: the header fields in the order of their names, then the body. Empty if the message is
/// unaltered. Both contents have CRLF line ends and no dot stuffing.
pub fn differences(sent: &[u8], received: &[u8]) -> Vec<Difference> {
    if let Some(added) = received.strip_suffix(sent)
        && is_trace(added)
    {
        return Vec::new();
    }
    match Fingerprint::of(sent).zip(Fingerprint::of(received)) {
        Some((sent, received)) => differences_between(&sent, &received),
        None if sent == received => Vec::new(),
        None => vec![Difference::NoMessage],
    }
}

/// Returns the differences between the fingerprints of two messages.
pub fn differences_between(sent: &Fingerprint, received: &Fingerprint) -> Vec<Difference> {
    let is_converted = sent.encodings != received.encodings;
    let mut found = fields_that_differ(&sent.fields(is_converted), &received.fields(is_converted));
    let may_differ = is_converted || sent.is_encoded() || received.is_encoded();
    let has_same_body =
        !is_converted && sent.body == received.body || may_differ && sent.has_same_parts(received);
    if !has_same_body {
        found.push(Difference::Body);
    }
    found
}

/// Whether the text consists only of fields that relays add. Most messages come out unaltered after such fields.
fn is_trace(header: &[u8]) -> bool {
    let is_own = |line: &[u8]| {
        let name = memchr::memchr(b':', line).map(|end| line[..end].trim_ascii_end().to_ascii_lowercase());
        matches!(line.first(), Some(b' ' | b'\t'))
            || name.is_some_and(|name| str::from_utf8(&name).is_ok_and(is_a_relays))
    };
    header.is_empty()
        || !matches!(header[0], b' ' | b'\t')
            && header.ends_with(b"\r\n")
            && header.split_inclusive(|byte| *byte == b'\n').all(is_own)
}

/// Returns the fields that a relay must keep, in order.
fn fields(message: &Message<'_>) -> Vec<(String, ContentDigest)> {
    let read = |header: &Header<'_>| {
        let name = header.name.as_str().to_ascii_lowercase();
        (!is_a_relays(&name)).then(|| (name, ContentDigest::of(&value(message, header))))
    };
    message.headers().iter().filter_map(read).collect()
}

/// Returns the unfolded value of a field.
fn value(message: &Message<'_>, header: &Header<'_>) -> Vec<u8> {
    unfolded(between(message, header.offset_start, header.offset_end))
}

/// Returns the bytes of the message between two places; none if the message has no such places.
fn between<'a>(message: &'a Message<'_>, from: u32, to: u32) -> &'a [u8] {
    message.raw_message.get(from as usize..to as usize).unwrap_or_default()
}

/// Returns what is around the contents of the parts: the fields of each part but those that a conversion changes or adds
/// (Sendmail adds X-MIME-Autoconverted), and every other line of the body that is not empty.
fn frame(message: &Message<'_>) -> Vec<u8> {
    let end_of = |part: &MessagePart<'_>| if is_leaf(&part) { part.offset_end } else { part.offset_body };
    // The fields of the root are those of the message.
    let (mut frame, mut at) = (Vec::new(), end_of(message.root_part()).max(message.root_part().offset_body));
    for part in message.parts.iter().skip(1) {
        append_lines(between(message, at, part.offset_header), &mut frame);
        for header in &part.headers {
            let name = header.name.as_str().to_ascii_lowercase();
            if name != "content-transfer-encoding" && !is_a_relays(&name) {
                append_line(name.as_bytes(), &mut frame);
                append_line(&value(message, header), &mut frame);
            }
        }
        at = end_of(part).max(at);
    }
    append_lines(message.raw_message.get(at as usize..).unwrap_or_default(), &mut frame);
    frame
}

fn append_lines(bytes: &[u8], frame: &mut Vec<u8>) {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.filter(|line| !line.is_empty()).for_each(|line| append_line(line, frame));
}

fn append_line(line: &[u8], frame: &mut Vec<u8>) {
    frame.extend_from_slice(line);
    frame.push(b'\n');
}

/// Whether a relay may add, change or remove the field of this name (in lower case).
fn is_a_relays(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "received",
        "return-path",
        "delivered-to",
        "dkim-signature",
        "authentication-results",
        "received-spf",
    ];
    NAMES.contains(&name) || name.starts_with("x-") || name.starts_with("arc-")
}

/// Returns the unfolded value, without white space at either end.
fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut one_line = value.to_vec();
    one_line.retain(|byte| !matches!(byte, b'\r' | b'\n'));
    one_line.trim_ascii().to_vec()
}

fn fields_that_differ(sent: &[(&str, ContentDigest)], received: &[(&str, ContentDigest)]) -> Vec<Difference> {
    if sent == received {
        return Vec::new();
    }
    let mut by_name: BTreeMap<&str, [Vec<ContentDigest>; 2]> = BTreeMap::new();
    for (side, fields) in [sent, received].into_iter().enumerate() {
        for (name, value) in fields {
            by_name.entry(name).or_default()[side].push(*value);
        }
    }
    let compared = by_name.into_iter().filter(|(_, [sent, received])| sent != received);
    let found: Vec<Difference> = compared
        .map(|(name, [sent, received])| match sent.len().cmp(&received.len()) {
            std::cmp::Ordering::Greater => Difference::Missing(name.to_owned()),
            std::cmp::Ordering::Equal => Difference::Changed(name.to_owned()),
            std::cmp::Ordering::Less => Difference::Added(name.to_owned()),
        })
        .collect();
    if found.is_empty() { vec![Difference::Order] } else { found }
}

/// Returns the content transfer encodings of all parts, in order.
fn encodings(message: &Message<'_>) -> Vec<u8> {
    let number = |part: &MessagePart<'_>| match mime::encoding(part) {
        Encoding::None => 0,
        Encoding::QuotedPrintable => 1,
        Encoding::Base64 => 2,
    };
    message.parts.iter().map(number).collect()
}

/// Returns the raw body.
fn body<'a>(message: &'a Message<'_>) -> &'a [u8] {
    message.raw_message.get(message.root_part().offset_body as usize..).unwrap_or_default()
}

fn is_leaf(part: &&MessagePart<'_>) -> bool {
    !matches!(part.body, PartType::Multipart(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "From: <a@b.example>\r\nTo: <c@d.example>\r\nSubject: one two\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\nMessage-ID: <r.1@smtpress.invalid>\r\nX-Smtpress-Run: r\r\nX-Smtpress-Seq: 1\r\n";
    const MIME: &str =
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";

    fn sent() -> String {
        format!("{HEADER}{MIME}\r\nGr\u{fc}\u{df}e\r\n.dot\r\n")
    }

    #[track_caller]
    fn assert_differs(received: &str, expected: &[&str]) {
        let told: Vec<String> =
            differences(sent().as_bytes(), received.as_bytes()).iter().map(ToString::to_string).collect();
        assert_eq!(told, expected, "{received}");
    }

    #[test]
    fn what_relays_add_and_fold_is_no_change() {
        assert_differs(&sent(), &[]);
        let trace = "Return-Path: <a@b.example>\r\nReceived: from x\r\n\tby y; today\r\nARC-Seal: i=1\r\nDKIM-Signature: v=1\r\nX-Spam: no\r\nDelivered-To: c\r\n";
        assert_differs(&format!("{trace}{}", sent()), &[]);
        assert_differs(&sent().replace("Subject: one two", "Subject:\r\n one two"), &[]);
        assert_differs(&sent().replace("Subject: one two", "subject: one\r\n two"), &[]);
        assert_differs(&sent().replace("X-Smtpress-Run: r\r\n", ""), &[]);
    }

    #[test]
    fn a_conversion_to_quoted_printable_or_base64_is_no_change_and_one_of_its_letters_is() {
        let (quoted, encoded) = ("quoted-printable", "base64");
        let as_quoted = sent().replace("8bit", quoted).replace("Gr\u{fc}\u{df}e", "Gr=C3=BC=C3=9Fe");
        assert_differs(&as_quoted, &[]);
        assert_differs(&as_quoted.replace("=9Fe", "=9Fa"), &["the body is changed"]);
        let body = "R3LDvMOfZQ0KLmRvdA0K";
        let as_encoded = format!(
            "{}{body}\r\n",
            sent().replace("8bit", encoded).replace("Gr\u{fc}\u{df}e\r\n.dot\r\n", "")
        );
        assert_differs(&as_encoded, &[]);
        assert_differs(&as_encoded.replace("R3L", "R3M"), &["the body is changed"]);
    }

    #[test]
    fn the_same_text_with_other_soft_line_breaks_is_no_change() {
        let one = sent().replace("8bit", "quoted-printable").replace("Gr\u{fc}\u{df}e", "Gr=C3=BC=C3=9Fe");
        let other = one.replace("=C3=9Fe", "=\r\n=c3=9fe");
        assert!(differences(one.as_bytes(), other.as_bytes()).is_empty());
        let changed = differences(one.as_bytes(), other.replace("=9fe", "=9fa").as_bytes());
        assert_eq!(changed, [Difference::Body]);
    }

    #[test]
    fn every_change_of_a_field_is_found() {
        assert_differs(&sent().replace("one two", "one  two"), &["header field subject is changed"]);
        assert_differs(&sent().replace("Subject: one two\r\n", ""), &["header field subject is missing"]);
        assert_differs(&format!("Sender: x\r\n{}", sent()), &["header field sender is added"]);
        assert_differs(&format!("Subject: again\r\n{}", sent()), &["header field subject is added"]);
        let swapped = sent()
            .replace("From: <a@b.example>\r\nTo: <c@d.example>", "To: <c@d.example>\r\nFrom: <a@b.example>");
        assert_differs(&swapped, &["header fields stand in another order"]);
        let both = sent().replace("one two", "[spam] one two").replace(".dot", "..dot");
        assert_differs(&both, &["header field subject is changed", "the body is changed"]);
    }

    #[test]
    fn every_change_of_the_body_is_found() {
        for (from, to) in [
            (".dot\r\n", ".dot\n"),
            (".dot\r\n", ".dot"),
            (".dot", "dot"),
            (".dot\r\n", ".dot\r\n\r\n"),
            ("e\r\n", "e \r\n"),
        ] {
            assert_differs(&sent().replace(from, to), &["the body is changed"]);
        }
        let end = sent().len() - 3;
        assert_differs(&sent()[..end], &["the body is changed"]);
        assert_differs(
            HEADER,
            &[
                "header field content-transfer-encoding is missing",
                "header field content-type is missing",
                "header field mime-version is missing",
                "the body is changed",
            ],
        );
    }

    #[test]
    fn another_encoding_of_the_same_body_is_no_change() {
        let converted =
            |encoding: &str, body: &str| format!("{HEADER}{}\r\n{body}", MIME.replace("8bit", encoding));
        assert_differs(&converted("quoted-printable", "Gr=C3=BC=C3=9Fe\r\n.dot\r\n"), &[]);
        assert_differs(&converted("quoted-printable", "Gr=C3=BC=\r\n=C3=9Fe\r\n=2Edot\r\n"), &[]);
        assert_differs(&converted("base64", "R3LDvMOfZQ0KLmRvdA0K\r\n"), &[]);
        assert_differs(
            &converted("quoted-printable", "Gr=C3=BC=C3=9Fe!\r\n.dot\r\n"),
            &["the body is changed"],
        );
        assert_differs(&converted("base64", "R3LDvMOfZQouZG90Cg==\r\n"), &["the body is changed"]);
    }

    /// A text in bytes of 8 bits that name no character set, an attachment in base64, and a message that was forwarded.
    fn with_parts() -> String {
        format!(
            "{HEADER}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\
             Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf?\r\n\r\n--b\r\n\
             Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"a.pdf\"\r\n\r\nR3LDvMOfZQ0K\r\n--b\r\n\
             Content-Type: message/rfc822\r\n\r\nSubject: forwarded\r\n\r\ntext\r\n--b--\r\n"
        )
    }

    fn bytes(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| if byte == b'?' { 0xe9 } else { byte }).collect()
    }

    #[test]
    fn a_conversion_of_one_part_is_no_change_and_everything_around_the_parts_counts() {
        let sent = bytes(&with_parts());
        let received = |from: &str, to: &str| {
            assert!(with_parts().contains(from), "{from}");
            format!("Received: from x\r\n{}", with_parts().replace(from, to))
        };
        let wrapped = received("R3LDvMOfZQ0K", "R3LD\r\nvMOfZQ0K");
        assert_eq!(differences(&sent, &bytes(&wrapped)), []);
        let quoted = received("8bit\r\n\r\ncaf?\r\n", "quoted-printable\r\n\r\ncaf=E9\r\n");
        assert_eq!(differences(&sent, &bytes(&quoted)), []);
        let noted = received(
            "8bit\r\n\r\ncaf?\r\n",
            "quoted-printable\r\nX-MIME-Autoconverted: from 8bit to quoted-printable by relay\r\n\r\ncaf=E9\r\n",
        );
        assert_eq!(differences(&sent, &bytes(&noted)), [], "as Sendmail does");
        let folded = received("attachment;\r\n filename", "attachment; filename");
        assert_eq!(differences(&sent, &bytes(&folded)), []);
        for (from, to) in [
            ("--b--\r\n", "--b--\r\nThis mail was checked.\r\n"),
            ("preamble\r\n", ""),
            ("filename=\"a.pdf\"", "filename=\"a.pdf.txt\""),
            ("Content-Type: application/pdf", "Content-Type: application/octet-stream"),
            ("Content-Disposition: attachment;\r\n filename=\"a.pdf\"\r\n", ""),
            ("Subject: forwarded", "Subject: forwarded again"),
            ("R3LDvMOfZQ0K", "R3LDvMOfZQ0L"),
        ] {
            let changed = bytes(&received(from, to));
            assert_eq!(differences(&sent, &changed), [Difference::Body], "{to}");
        }
        // What is no character in the sender's set must not become another one.
        for other in ["\u{fffd}", "\u{e9}"] {
            let replaced = with_parts().replace('?', other);
            assert_eq!(differences(&sent, replaced.as_bytes()), [Difference::Body], "{other}");
        }
        let lost = received("8bit\r\n\r\ncaf?\r\n", "quoted-printable\r\n\r\ncaf=EF=BF=BD\r\n");
        assert_eq!(differences(&sent, &bytes(&lost)), [Difference::Body]);
    }

    /// The decoder of the library keeps every byte before a soft line break at the end of a part.
    #[test]
    fn a_part_that_ends_in_a_soft_line_break_is_whole() {
        let part = |end: &str| {
            format!(
                "{HEADER}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
                 Content-Transfer-Encoding: quoted-printable\r\n\r\n{end}=\r\n--b--\r\n"
            )
        };
        assert_eq!(differences(part("abc").as_bytes(), part("abd").as_bytes()), [Difference::Body]);
    }
}
