//! Identifies a message that came out of the relay.
//!
//! # Decisions
//! - `X-Smtpress-Run` and `X-Smtpress-Seq` are read first, then the Message-ID: some relays strip X- fields, others
//!   rewrite the Message-ID.
//! - The uppermost X- field of each name counts. A message file may be one that an earlier run had sent, and its own fields
//!   follow those of this run.

use mail_parser::{Message, MessageParser};
use serde::{Deserialize, Serialize};

use super::mime;

/// The domain of every Message-ID that the generator writes.
const DOMAIN: &str = "@smtpress.invalid";

/// The identity of a message: its run and its sequence number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The run id.
    pub run: String,
    /// The sequence number.
    pub seq: u64,
}

impl Identity {
    /// Returns the identity in the header of a message; `None` if the header has none.
    pub fn of(message: &Message<'_>) -> Option<Identity> {
        // `header_raw` returns the lowest one.
        let field = |name: &str| {
            let is_it = |(own, _): &(&str, &str)| own.eq_ignore_ascii_case(name);
            message.headers_raw().find(is_it).map(|(_, value)| value.trim())
        };
        let fields = || {
            let seq = field("X-Smtpress-Seq")?.parse().ok()?;
            Some(Identity { run: field("X-Smtpress-Run")?.to_owned(), seq })
        };
        fields().or_else(|| Identity::in_text(message.message_id()?.as_bytes(), DOMAIN))
    }

    /// Returns the first identity in the text, written as `RUN.SEQ@smtpress.invalid`.
    pub(super) fn find(text: &[u8]) -> Option<Identity> {
        memchr::memmem::find_iter(text, DOMAIN).find_map(|at| {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let length = text[..at].iter().rev().take_while(|byte| is_part(byte)).count();
            Identity::in_text(&text[at - length..at], "")
        })
    }

    /// Reads `RUN.SEQ` followed by `end`, the form of a Message-ID (with [`DOMAIN`]) and of an envelope id (RFC 3461
    /// 4.4).
    pub(super) fn in_text(text: &[u8], end: &str) -> Option<Identity> {
        let (run, seq) = str::from_utf8(text).ok()?.strip_suffix(end)?.rsplit_once('.')?;
        let seq = seq.parse().ok()?;
        (!run.is_empty()).then(|| Identity { run: run.to_owned(), seq })
    }
}

/// Parses a message; `None` if it has no header at all.
pub fn parse(content: &[u8]) -> Option<Message<'_>> {
    mime::parse(content, MessageParser::new().with_minimal_headers().with_message_ids())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(header: &str) -> Option<(String, u64)> {
        let content = format!("{header}\r\nSubject: x\r\n\r\nbody\r\n");
        Identity::of(&parse(content.as_bytes()).unwrap()).map(|identity| (identity.run, identity.seq))
    }

    #[test]
    fn fields_come_first_and_the_message_id_second() {
        let both = "Message-ID: <other@relay.example>\r\nX-Smtpress-Run: r-1\r\nX-Smtpress-Seq: 42";
        assert_eq!(identity(both), Some(("r-1".into(), 42)));
        assert_eq!(identity("Message-ID: <r.1.7@smtpress.invalid>"), Some(("r.1".into(), 7)));
        assert_eq!(identity("message-id:\r\n <r.1.7@smtpress.invalid>"), Some(("r.1".into(), 7)));
        assert_eq!(identity("Message-ID: <r.1.7@other.invalid>"), None);
        let again = "X-Smtpress-Run: r-1\r\nX-Smtpress-Seq: 42\r\nx-smtpress-run: r-0\r\nx-smtpress-seq: 5";
        assert_eq!(identity(again), Some(("r-1".into(), 42)), "a file that an earlier run had sent");
        assert_eq!(identity("X-Smtpress-Run: r-1"), None, "a run alone is no identity");
        assert_eq!(identity("X-Smtpress-Run: r-1\r\nX-Smtpress-Seq: many"), None);
        assert_eq!(identity("From: a@b.example"), None);
    }

    #[test]
    fn an_identity_is_found_within_a_text() {
        let text = b"x@smtpress.invalid <@smtpress.invalid> returned: <run-1.19@smtpress.invalid>.";
        assert_eq!(Identity::find(text), Some(Identity { run: "run-1".into(), seq: 19 }));
        assert_eq!(Identity::find(b"nothing here"), None);
    }
}
