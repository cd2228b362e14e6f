//! Parses messages of any sender, and decodes their parts.
//!
//! # Decisions
//! - The library puts a message within a message (message/rfc822) into a value of its own, and drops such values
//!   recursively. One mail with many of them would overflow the stack of the receiver, so they are counted before, and
//!   a mail with more than `MOST_NESTED` is read as one part: its fields and its body as bytes.
//! - The library never sees that a part is encoded, because it would read a message within an encoded part as well, where
//!   it cannot be counted. `encoding` and `decode` stand for it.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding, GetHeader, HeaderName, Message, MessageParser, MessagePart, PartType};

/// The largest number of messages within a message that are read as such.
const MOST_NESTED: usize = 100;
/// The types of parts that can hold a message, by which the library decides (RFC 2046 5.1.5 and 5.2.1, RFC 6532 3.7).
const HOLDS_MESSAGE: [(&str, &str); 3] =
    [("message", "rfc822"), ("message", "global"), ("multipart", "digest")];

/// Parses a message; `None` if it has no header at all. `parser` says how its fields are read, except for those that
/// make its parts.
pub(super) fn parse(content: &[u8], parser: MessageParser) -> Option<Message<'_>> {
    let parser = parser.with_mime_headers().header_content_type(HeaderName::ContentTransferEncoding);
    match has_room_for(content, MOST_NESTED) {
        true => parser.parse(content),
        false => parser.header_raw(HeaderName::ContentType).parse(content),
    }
}

/// Returns the encoding of a part's content. That of a multipart counts for nothing (RFC 2045 6.4).
pub(super) fn encoding(part: &MessagePart<'_>) -> Encoding {
    let value = part.headers.header_value(&HeaderName::ContentTransferEncoding);
    match value.and_then(|value| value.as_content_type()).map(|value| value.ctype()) {
        _ if matches!(part.body, PartType::Multipart(_)) => Encoding::None,
        Some("base64") => Encoding::Base64,
        Some("quoted-printable") => Encoding::QuotedPrintable,
        _ => Encoding::None,
    }
}

/// Returns the decoded content of a part; the content itself if it cannot be decoded.
pub(super) fn decode(content: &[u8], encoding: Encoding) -> Cow<'_, [u8]> {
    let decoded = match encoding {
        Encoding::None => None,
        Encoding::QuotedPrintable => quoted_printable_decode(content),
        Encoding::Base64 => base64_decode(content),
    };
    decoded.map_or(Cow::Borrowed(content), Cow::Owned)
}

/// Whether at most `most` parts of a content can hold a message. Text that looks like such a type counts too.
fn has_room_for(content: &[u8], most: usize) -> bool {
    let ends = memchr::memchr2_iter(b'/', b')', content);
    ends.filter(|at| is_type_of_message(&content[..*at], &content[*at..])).nth(most).is_none()
}

/// Whether the type of a part that can hold a message may stand here. `rest` begins with the slash of the type, or with
/// the end of a comment, of which a field may have one behind each word (RFC 2045 5.1).
fn is_type_of_message(before: &[u8], rest: &[u8]) -> bool {
    let is_gap = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'\\');
    let start = rest[1..].iter().position(|byte| !is_gap(byte)).map_or(rest.len(), |gap| 1 + gap);
    let is_sub = |sub: &str| {
        let end = start + sub.len();
        let is_end = |byte: &u8| is_gap(byte) || matches!(byte, b';' | b'(');
        rest.get(start..end).is_some_and(|word| word.eq_ignore_ascii_case(sub.as_bytes()))
            && rest.get(end).is_none_or(is_end)
    };
    let is_main = |main: &str| {
        let end = before.iter().rposition(|byte| !is_gap(byte)).map_or(0, |last| last + 1);
        let word = &before[end.saturating_sub(main.len())..end];
        rest[0] == b')' || word.ends_with(b")") || word.eq_ignore_ascii_case(main.as_bytes())
    };
    HOLDS_MESSAGE.iter().any(|(main, sub)| is_sub(sub) && is_main(main))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::integrity::{Difference, differences};
    use crate::delivery::kind::MessageKind;
    use crate::delivery::received;

    /// Runs a check with the stack of a small thread.
    fn with_small_stack(check: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new().stack_size(512 << 10).spawn(check).unwrap().join().unwrap();
    }

    /// Returns a message of a run that holds messages in one another.
    fn nested(each: &str, number: usize) -> String {
        format!(
            "X-Smtpress-Run: r\r\nX-Smtpress-Seq: 7\r\n{}Subject: innermost\r\n\r\ntext\r\n",
            each.repeat(number)
        )
    }

    #[track_caller]
    fn assert_is_copy(content: &[u8]) {
        let kind = MessageKind::of(content);
        assert!(matches!(&kind, MessageKind::Copy(identity) if identity.seq == 7), "{kind:?}");
    }

    #[test]
    fn messages_in_one_another_without_end_are_read_with_a_small_stack() {
        with_small_stack(|| {
            for each in [
                "Content-Type: message/rfc822\r\n\r\n",
                "content-TYPE: Message/RFC822\n\n",
                "Content-Type: message/global;\r\n a=b\r\n\r\n",
                "Content-Type:\r\n message\r\n /rfc822\r\n\r\n",
                "Content-Type: message (a) / (b(c)) \"rfc822\" (d)\r\n\r\n",
                "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n",
            ] {
                let content = nested(each, 100_000);
                assert_is_copy(content.as_bytes());
                assert_eq!(differences(content.as_bytes(), content.as_bytes()), []);
                let relayed = format!("Received: from x\r\n{}", content.replace("text", "test"));
                assert_eq!(differences(content.as_bytes(), relayed.as_bytes()), [Difference::Body], "{each}");
            }
        });
    }

    #[test]
    fn messages_within_an_encoded_part_are_not_read() {
        with_small_stack(|| {
            let quoted = "Content-Type: =6Dessage/=72fc822\r\n\r\n".repeat(100_000);
            // Each line is `Content-Type: message/rfc822` and an empty line.
            let encoded = "Q29udGVudC1UeXBlOiBtZXNzYWdlL3JmYzgyMgoK\r\n".repeat(100_000);
            for (encoding, body) in [("quoted-printable", quoted), ("BASE64", encoded)] {
                let content = format!(
                    "X-Smtpress-Run: r\r\nX-Smtpress-Seq: 7\r\nContent-Type: message/rfc822\r\n\
                     Content-Transfer-Encoding: {encoding}\r\n\r\n{body}"
                );
                assert_is_copy(content.as_bytes());
                assert_eq!(differences(content.as_bytes(), content.as_bytes()), []);
            }
        });
    }

    #[test]
    fn some_messages_in_one_another_and_words_that_only_look_like_types_are_read_as_ever() {
        let digest = "Content-Type: message/rfc822\r\n\r\n";
        let most = nested(digest, MOST_NESTED);
        let message = received::parse(most.as_bytes()).unwrap();
        assert!(matches!(message.root_part().body, PartType::Message(_)));
        let over = nested(digest, MOST_NESTED + 1);
        let message = received::parse(over.as_bytes()).unwrap();
        assert!(matches!(message.root_part().body, PartType::Text(_)));
        for text in [
            "Final-Recipient: rfc822; user@host\n",
            "text/rfc822-headers ",
            "https://host.example/global/a and/global warming ",
            "application/digest message/rfc8222 ",
        ] {
            assert!(has_room_for(text.repeat(1000).as_bytes(), 0), "{text}");
        }
        for text in ["message/rfc822", "MESSAGE /\r\n Global;", "multipart/digest ", "message(a)/(b)rfc822 "]
        {
            assert!(!has_room_for(text.as_bytes(), 0), "{text}");
        }
    }

    #[test]
    fn encodings_are_read_in_any_letters_and_multiparts_have_none() {
        let of = |fields: &str| {
            let content = format!("{fields}\r\n\r\nR3I=\r\n--b\r\n\r\nx\r\n--b--\r\n");
            encoding(parse(content.as_bytes(), MessageParser::new()).unwrap().root_part())
        };
        assert_eq!(of("Content-Transfer-Encoding: Base64"), Encoding::Base64);
        assert_eq!(of("content-transfer-encoding:\r\n Quoted-Printable (a)"), Encoding::QuotedPrintable);
        assert_eq!(of("Content-Transfer-Encoding: 8bit"), Encoding::None);
        assert_eq!(
            of("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64"),
            Encoding::None
        );
        assert_eq!(&*decode(b"R3I=", Encoding::Base64), b"Gr");
        assert_eq!(&*decode(b"not base64!", Encoding::Base64), b"not base64!");
    }
}
