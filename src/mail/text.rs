//! The parts of a message that the user writes (header fields, text, attachments), as templates.
//!
//! # Decisions
//! - mail-builder writes the MIME structure once for a run, with attachments of seeded bytes in base64. The boundary
//!   depends only on the seed.
//! - A text of short ASCII lines is sent unchanged. Any other text is quoted-printable (RFC 2045 6.7). Its placeholders
//!   stand between soft line breaks, so that every line is short enough whatever their values are.

use mail_builder::headers::content_type::ContentType;
use mail_builder::mime::{BodyPart, MimePart};
use rand_chacha::rand_core::Rng;

use super::placeholder::{self, InvalidTemplate, TemplatePiece};
use super::random::{self, MailDraw};
use super::template::{Binding, Draft, Of};

/// The longest line in bytes, without its CRLF (RFC 5322 2.1.1).
const LINE: usize = 998;
/// The most bytes of a text.
pub(super) const MOST_TEXT: usize = 256 * 1024;
/// The most header fields.
const MOST_FIELDS: usize = 1000;
/// The most bytes of all attachments together. They are rendered before the run.
pub(super) const MOST_ATTACHED: u64 = 128 << 20;
/// The most attachments.
pub(super) const MOST_ATTACHMENTS: usize = 1000;

/// The fields that smtpress always writes itself, besides those that begin with `Content-`.
const OWN_FIELDS: [&str; 4] = ["message-id", "x-smtpress-run", "x-smtpress-seq", "mime-version"];

/// The text that mail-builder writes in place of the user's text, and that is then replaced.
const TEXT_MARK: &str = "smtpress puts the text here\r\n";

/// Why a header field is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// No name, or an invalid name (RFC 5322 2.2).
    #[error("is no header field: write it as `Name: value`")]
    ContentForm,
    /// A field that smtpress writes itself.
    #[error("is written by smtpress itself")]
    Own,
    /// The subject has a key of its own.
    #[error("must be set with the key `subject`")]
    Subject,
    /// A character that a header cannot carry.
    #[error(
        "has the character {0:?}: a header is of printable ASCII; write others as an encoded word such as `=?utf-8?q?Gr=C3=BC=C3=9Fe?=`"
    )]
    Character(char),
    /// A character that a header carries only with SMTPUTF8.
    #[error(
        "has the character {0:?}: a header is of printable ASCII; write others as an encoded word such as `=?utf-8?q?Gr=C3=BC=C3=9Fe?=`, or `smtputf8 = \"require\"` in [session.extensions] (RFC 6532)"
    )]
    NotAscii(char),
    /// A line that is too long (RFC 5322 2.1.1).
    #[error("has {0} bytes when its placeholders are at their longest: a line has at most 998")]
    Long(usize),
    /// An invalid placeholder.
    #[error("{0}")]
    Template(#[from] InvalidTemplate),
    /// Too many fields.
    #[error("is one of more than 1000")]
    Many,
}

/// Why a text is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// It is empty.
    #[error("is empty: write at least a line")]
    Empty,
    /// It is too long.
    #[error("has {0} bytes: {MOST_TEXT} are allowed; use `size` for larger messages")]
    Long(usize),
    /// An invalid placeholder.
    #[error("{0}")]
    Template(#[from] InvalidTemplate),
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderField {
    pub name: String,
    pub value: Vec<TemplatePiece>,
}

impl HeaderField {
    /// Checks a field. With `utf8` it may hold characters beyond ASCII (RFC 6532).
    fn new(name: &str, value: &str, utf8: bool) -> Result<HeaderField, InvalidField> {
        let carried = |c: char| match c {
            ' '..='~' | '\t' => true,
            '\u{feff}' | '\u{2028}' | '\u{2029}' => false,
            c => utf8 && !c.is_control(),
        };
        if let Some(found) = value.chars().find(|c| !carried(*c)) {
            let with_utf8 = !found.is_ascii() && !found.is_control();
            return Err(if with_utf8 {
                InvalidField::NotAscii(found)
            } else {
                InvalidField::Character(found)
            });
        }
        let value = placeholder::parse(value)?;
        match name.len() + 2 + placeholder::widest(&value).len() {
            length if length > LINE => Err(InvalidField::Long(length)),
            _ => Ok(HeaderField { name: name.to_owned(), value }),
        }
    }

    /// Checks the value of the subject.
    pub(super) fn subject(value: &str, utf8: bool) -> Result<HeaderField, InvalidField> {
        HeaderField::new("Subject", value, utf8)
    }

    pub(super) fn draft(&self, binding: &mut Binding<'_>) -> Draft {
        let mut draft = Draft::default();
        draft.text(format!("{}: ", self.name));
        draft.draft(&binding.bound(&self.value, Of::Message, <[u8]>::to_vec));
        draft.text("\r\n");
        draft
    }
}

/// Parses `Name: value`. With `of_files` the field precedes the header of a file, which has a subject of its own.
pub(super) fn field(
    line: &str,
    index: usize,
    of_files: bool,
    utf8: bool,
) -> Result<HeaderField, InvalidField> {
    if index >= MOST_FIELDS {
        return Err(InvalidField::Many);
    }
    let (name, value) = line.split_once(':').ok_or(InvalidField::ContentForm)?;
    let plain = name.to_ascii_lowercase();
    match plain.as_str() {
        _ if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(InvalidField::ContentForm)
        }
        "subject" if !of_files => Err(InvalidField::Subject),
        own if OWN_FIELDS.contains(&own) || own.starts_with("content-") => Err(InvalidField::Own),
        _ => HeaderField::new(name, value.trim_matches([' ', '\t']), utf8),
    }
}

/// Parses a text. Its lines may end in CRLF or LF.
pub(super) fn text(text: &str) -> Result<Vec<TemplatePiece>, InvalidText> {
    match text.len() {
        0 => Err(InvalidText::Empty),
        length if length > MOST_TEXT => Err(InvalidText::Long(length)),
        _ => {
            let mut text = text.replace("\r\n", "\n").replace('\n', "\r\n");
            if !text.ends_with("\r\n") {
                text.push_str("\r\n");
            }
            Ok(placeholder::parse(&text)?)
        }
    }
}

/// A text in the form in which it is sent.
struct WrittenText {
    content_type: &'static str,
    encoding: &'static str,
    draft: Draft,
}

impl WrittenText {
    fn new(pieces: &[TemplatePiece], binding: &mut Binding<'_>) -> WrittenText {
        let widest = placeholder::widest(pieces);
        let plain = widest.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
            && widest.split("\r\n").all(|line| line.len() <= LINE && !line.contains('\r'));
        if plain {
            let draft = binding.bound(pieces, Of::Message, <[u8]>::to_vec);
            return WrittenText { content_type: "text/plain; charset=us-ascii", encoding: "7bit", draft };
        }
        let mut draft = Draft::default();
        for piece in pieces {
            let encode = |text: &[u8]| encodify::qp::BODY.encode(text).into_bytes();
            let bound = binding.bound(std::slice::from_ref(piece), Of::Message, encode);
            if matches!(piece, TemplatePiece::Text(_)) {
                draft.draft(&bound);
            } else {
                draft.text("=\r\n");
                draft.draft(&bound);
                draft.text("=\r\n");
            }
        }
        WrittenText { content_type: "text/plain; charset=utf-8", encoding: "quoted-printable", draft }
    }
}

/// Returns the end of a header from MIME-Version on, the empty line, and the text.
pub(super) fn simple(pieces: &[TemplatePiece], binding: &mut Binding<'_>) -> Draft {
    let WrittenText { content_type, encoding, draft: text } = WrittenText::new(pieces, binding);
    let mut draft = Draft::default();
    draft.text(format!(
        "MIME-Version: 1.0\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    ));
    draft.draft(&text);
    draft
}

/// Returns the text with attachments of these sizes in bytes (before base64), as `multipart/mixed` (RFC 2046 5.1.3).
pub(super) fn multipart(
    pieces: &[TemplatePiece],
    attachments: &[u64],
    seed: u64,
    binding: &mut Binding<'_>,
) -> Draft {
    let WrittenText { content_type, encoding, draft: text } = WrittenText::new(pieces, binding);
    let mut random = random::stream(seed, MailDraw::Attachment);
    let (kind, charset) = content_type.split_once("; charset=").unwrap_or((content_type, "us-ascii"));
    let kind = ContentType::new(kind).attribute("charset", charset);
    let mut parts = vec![MimePart::new(kind, BodyPart::Text(TEXT_MARK.into())).transfer_encoding(encoding)];
    let boundary = format!("=_smtpress_{:016x}", random.next_u64());
    for (index, bytes) in attachments.iter().enumerate() {
        let mut content = vec![0; *bytes as usize];
        random.fill_bytes(&mut content);
        let name = format!("attachment-{}.bin", index + 1);
        parts.push(MimePart::new("application/octet-stream", content).attachment(name));
    }
    let mixed = ContentType::new("multipart/mixed").attribute("boundary", boundary);
    let mut rendered = Vec::new();
    MimePart::new(mixed, parts).write_part(&mut rendered);
    let mark = memchr::memmem::find(&rendered, TEXT_MARK.as_bytes())
        .expect("mail-builder writes raw parts as they are");
    let mut draft = Draft::default();
    draft.text("MIME-Version: 1.0\r\n");
    draft.text(&rendered[..mark]);
    draft.draft(&text);
    draft.text(&rendered[mark + TEXT_MARK.len()..]);
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let field = |line: &str| field(line, 0, false, false);
        assert_eq!(field("X-Foo:  a {n} \t").unwrap().value.len(), 2);
        assert_eq!(field("X-Foo:").unwrap().value, []);
        for line in ["X-Foo", ": a", "X Foo: a", "X\u{e9}: a", "X-\r\nFoo: a"] {
            assert_eq!(field(line), Err(InvalidField::ContentForm), "{line:?}");
        }
        for line in ["message-id: <a@b>", "Content-Type: text/html", "X-SMTPRESS-RUN: a"] {
            assert_eq!(field(line), Err(InvalidField::Own));
        }
        assert_eq!(field("Subject: a"), Err(InvalidField::Subject));
        assert_eq!(field("X: a\r\nY: b"), Err(InvalidField::Character('\r')));
        assert_eq!(field("X: \u{e9}"), Err(InvalidField::NotAscii('\u{e9}')));
        assert!(super::field("X: \u{e9}", 0, false, true).is_ok());
        assert_eq!(super::field("X: \u{e9}\u{85}", 0, false, true), Err(InvalidField::Character('\u{85}')));
        assert_eq!(field(&format!("X: {}{{n}}", "a".repeat(976))), Err(InvalidField::Long(999)));
        assert!(field(&format!("X: {}{{n}}", "a".repeat(975))).is_ok());
        assert_eq!(field("X: {"), Err(InvalidField::Template(InvalidTemplate::Unclosed)));
        assert_eq!(super::field("X: a", 1000, false, false), Err(InvalidField::Many));
        assert!(super::field("Subject: a", 0, true, false).is_ok());
    }

    #[test]
    fn lines_of_a_text_end_in_crlf() {
        assert_eq!(text("a\nb\r\nc").unwrap(), [TemplatePiece::Text("a\r\nb\r\nc\r\n".into())]);
        assert_eq!(text(""), Err(InvalidText::Empty));
        assert_eq!(text(&"a".repeat(MOST_TEXT + 1)), Err(InvalidText::Long(MOST_TEXT + 1)));
    }
}
