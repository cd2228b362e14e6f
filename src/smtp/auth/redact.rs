//! Removes a secret from the replies of a listener, which may repeat what it received, unchanged or in base64.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Secret;
use crate::smtp::reply::{Malformed, Reply};

/// The replacement of a secret.
const MASK: &str = "[redacted]";
/// Base64, or the beginning of a secret, that is shorter than this is too ambiguous to search for.
const TELLING: usize = 4;

/// Finds a secret by itself, or within the base64 of a longer text. The default finds nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Redactor(Vec<String>);

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    pub(super) fn new(secret: &Secret) -> Redactor {
        let secret = secret.reveal();
        let mut shapes: Vec<String> = (!secret.is_empty()).then(|| secret.to_owned()).into_iter().collect();
        // Base64 encodes three bytes as four letters. The secret may begin at any of the three bytes. The letters at
        // its ends also depend on the neighbouring bytes, so only the letters between them are searched for.
        for before in 0..3 {
            let text = [&b"\0\0"[..before], secret.as_bytes()].concat();
            let letters = STANDARD_NO_PAD.encode(&text);
            let first = (before * 8).div_ceil(6);
            let whole = text.len() * 8 / 6;
            let sure = letters.get(first..whole).unwrap_or_default();
            if sure.len() >= TELLING {
                shapes.push(sure.to_owned());
            }
        }
        // The longest form first: a form may be part of another.
        shapes.sort_by_key(|shape| std::cmp::Reverse(shape.len()));
        Redactor(shapes)
    }

    /// Returns the length of the longest form of the secret in bytes.
    fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }

    /// Returns the text without the secret.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, shape| {
            if text.contains(shape.as_str()) { text.replace(shape.as_str(), MASK).into() } else { text }
        })
    }

    /// Returns the bytes without the secret. All other bytes are unchanged.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.0.iter().fold(Cow::Borrowed(bytes), |bytes, shape| {
            let (mut out, mut from) = (Vec::new(), 0);
            for at in memchr::memmem::find_iter(&bytes, shape) {
                out.extend_from_slice(&bytes[from..at]);
                out.extend_from_slice(MASK.as_bytes());
                from = at + shape.len();
            }
            if from == 0 {
                return bytes;
            }
            out.extend_from_slice(&bytes[from..]);
            out.into()
        })
    }

    /// Returns a text that may have been cut within the secret, without the secret and without its beginning at the end.
    pub fn fragment(&self, text: &str) -> String {
        // A text that was cut within a character ends with a replacement for it.
        let text = self.text(text);
        let mut bytes = text.trim_end_matches(char::REPLACEMENT_CHARACTER).as_bytes().to_vec();
        match self.mask_beginning(&mut bytes) {
            true => String::from_utf8_lossy(&bytes).into_owned(),
            false => text.into_owned(),
        }
    }

    /// Returns a reply without the secret.
    pub fn reply(&self, reply: &Reply) -> Reply {
        let lines = reply.lines.iter().map(|line| self.text(line).into_owned()).collect();
        Reply { lines, ..reply.clone() }
    }

    /// Returns input that is no reply, without the secret.
    pub fn malformed(&self, malformed: &Malformed) -> Malformed {
        Malformed { evidence: self.fragment(&malformed.evidence), fault: malformed.fault }
    }

    /// Removes the beginning of the secret at the end of the bytes: the rest of the secret may not have come. Fewer than
    /// [`TELLING`] bytes stay, because any word may end with them. Returns whether anything was removed.
    fn mask_beginning(&self, bytes: &mut Vec<u8>) -> bool {
        let beginning = |shape: &String| {
            let shape = shape.as_bytes();
            (TELLING..=shape.len()).rev().find(|length| bytes.ends_with(&shape[..*length]))
        };
        let Some(length) = self.0.iter().filter_map(beginning).max() else { return false };
        bytes.truncate(bytes.len() - length);
        bytes.extend_from_slice(MASK.as_bytes());
        true
    }
}

/// A redactor for bytes that come in pieces. It returns whole lines, because a secret may be split between pieces.
/// A line of more than `LONGEST` bytes is returned in parts.
#[derive(Debug, Default)]
pub struct LineRedactor {
    redactor: Redactor,
    partial: Vec<u8>,
}

/// The largest length of a line. A longer line is returned before its end, because it is not a reply. Only its last
/// bytes are kept: the next bytes may complete a secret that begins in them.
const LONGEST: usize = 16 * 1024;

impl LineRedactor {
    /// Creates a redactor without any bytes.
    pub fn new(redactor: Redactor) -> LineRedactor {
        LineRedactor { redactor, partial: Vec::new() }
    }

    /// Returns the lines that these bytes complete, without the secret.
    pub fn lines(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.partial.extend_from_slice(bytes);
        let whole = memchr::memrchr(b'\n', &self.partial).map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.partial.drain(..whole).collect();
        let mut lines = self.redactor.bytes(&lines).into_owned();
        if self.partial.len() > LONGEST {
            let mut shown = self.redactor.bytes(&self.partial).into_owned();
            self.partial =
                shown.split_off(shown.len().saturating_sub(self.redactor.longest().saturating_sub(1)));
            lines.append(&mut shown);
        }
        lines
    }

    /// Returns the rest: an unfinished line, which may end within the secret.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = self.redactor.bytes(&std::mem::take(&mut self.partial)).into_owned();
        self.redactor.mask_beginning(&mut rest);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn a_secret_is_found_plain_and_within_any_base64() {
        for secret in ["hunter2", "a longer pass phrase", "q/+9ab", "pässwörd"] {
            let redactor = Redactor::new(&Secret::new(secret));
            for (before, after) in
                [("", ""), ("\0u\0", ""), ("\0us\0", "\x01\x01"), ("user=x\x01auth=Bearer ", "\x01")]
            {
                let encoded = STANDARD.encode([before, secret, after].concat());
                let said = format!("501 cannot read {encoded} or {secret}");
                let shown = redactor.text(&said);
                assert!(!shown.contains(secret), "{shown}");
                // Each block of four letters that depends only on the secret is removed.
                let within = before.len().div_ceil(3)..(before.len() + secret.len()) / 3;
                assert!(!within.is_empty());
                for block in within {
                    let letters = &encoded[4 * block..4 * block + 4];
                    assert!(!shown.contains(letters), "{letters} of {encoded}: {shown}");
                }
                assert_eq!(redactor.bytes(said.as_bytes()), shown.as_bytes());
            }
        }
    }

    #[test]
    fn a_secret_that_comes_in_pieces_is_found() {
        let mut heard = LineRedactor::new(Redactor::new(&Secret::new("hunter2")));
        let said = b"501 hunter2?\r\n535 hun";
        let mut shown: Vec<u8> = said.chunks(1).flat_map(|byte| heard.lines(byte)).collect();
        assert_eq!(shown, b"501 [redacted]?\r\n");
        shown = heard.lines(b"ter2");
        assert_eq!((shown.len(), heard.rest()), (0, b"535 [redacted]".to_vec()));
    }

    #[test]
    fn a_secret_is_found_wherever_a_line_without_end_is_divided() {
        let secret = "hunter2 is long";
        let encoded = STANDARD.encode(format!("\0u\0{secret}"));
        for (said, letters) in [(secret, secret), (encoded.as_str(), &encoded[8..16])] {
            for before in LONGEST - said.len() - 2..LONGEST + said.len() + 2 {
                for piece in [1, 7, 4096] {
                    let whole = [&*"x".repeat(before), said, &"y".repeat(LONGEST), "\r\n535 no\r\n"].concat();
                    let mut heard = LineRedactor::new(Redactor::new(&Secret::new(secret)));
                    let mut shown = Vec::new();
                    for bytes in whole.as_bytes().chunks(if piece == 1 { before + 1 } else { piece }) {
                        shown.extend(heard.lines(bytes));
                        assert!(heard.partial.len() <= LONGEST, "an endless line is not kept");
                    }
                    assert!(heard.rest().is_empty());
                    let shown = String::from_utf8(shown).unwrap();
                    assert!(!shown.contains(letters), "{before} {piece}");
                    assert!(shown.contains(MASK) && shown.ends_with("y\r\n535 no\r\n"), "{before} {piece}");
                    assert_eq!(shown.matches('x').count(), before);
                }
            }
        }
        // The end of a complete line does not wait for the unfinished line after it.
        let mut heard = LineRedactor::new(Redactor::new(&Secret::new(secret)));
        let shown = heard.lines(&[b"250 ok\r\n".as_slice(), &[b'x'; LONGEST]].concat());
        assert_eq!(shown, b"250 ok\r\n");
    }

    /// The bytes may end in the middle of a secret: the connection was lost, or the listener sent no end of line.
    #[test]
    fn the_beginning_of_a_secret_at_the_end_of_the_bytes_is_removed() {
        for secret in ["hunter2-and-more", "p\u{e4}ssw\u{f6}rd \u{e4}\u{f6}\u{fc}", "abcdXabcd", "q/+9ab"] {
            let redactor = Redactor::new(&Secret::new(secret));
            for shape in &redactor.0 {
                for length in 1..=shape.len() {
                    let said = [b"535 cannot read ", &shape.as_bytes()[..length]].concat();
                    let mut heard = LineRedactor::new(redactor.clone());
                    assert!(heard.lines(&said).is_empty());
                    let shown = heard.rest();
                    let ends = |n: usize| {
                        redactor
                            .0
                            .iter()
                            .any(|shape| shown.ends_with(&shape.as_bytes()[..n.min(shape.len())]))
                    };
                    assert!(!(TELLING..=length).any(ends), "{:?}", String::from_utf8_lossy(&shown));
                    assert!(shown.starts_with(b"535 cannot read "));
                    if length >= TELLING {
                        assert!(shown.ends_with(MASK.as_bytes()), "{:?}", String::from_utf8_lossy(&shown));
                    } else {
                        assert_eq!(shown, said, "so few bytes may be of any word");
                    }
                }
            }
        }
        // A complete secret whose end is the beginning of another one.
        let mut heard = LineRedactor::new(Redactor::new(&Secret::new("abcdXabcd")));
        heard.lines(b"535 abcdXabcdX\xff abcdXab");
        assert_eq!(heard.rest(), b"535 [redacted]X\xff [redacted]");
    }

    #[test]
    fn a_text_that_was_cut_within_the_secret_shows_no_part_of_it() {
        let redactor = Redactor::new(&Secret::new("p\u{e4}ssw\u{f6}rd"));
        assert_eq!(redactor.fragment("535 p\u{e4}ssw\u{f6}rd, p\u{e4}ssw"), "535 [redacted], [redacted]");
        assert_eq!(redactor.fragment("535 p\u{e4}ssw\u{fffd}"), "535 [redacted]");
        assert_eq!(redactor.fragment("535 no\u{e4}"), "535 no\u{e4}");
        let reply = Reply::parse("535-p\u{e4}ssw\u{f6}rd?\n454 4.7.0 p\u{e4}ssw\u{f6}rd!").unwrap();
        assert_eq!(redactor.reply(&reply).to_string(), "535-[redacted]?\n454 4.7.0 [redacted]!");
        let malformed = Reply::parse("what is p\u{e4}ssw").unwrap_err();
        assert_eq!(redactor.malformed(&malformed).evidence, "what is [redacted]");
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        assert_eq!(Redactor::default().fragment("535 5.7.8 no"), "535 5.7.8 no");
        let redactor = Redactor::new(&Secret::new("hunter2"));
        assert!(matches!(redactor.text("535 5.7.8 no"), Cow::Borrowed("535 5.7.8 no")));
        assert!(matches!(redactor.bytes(b"\xff\xfe"), Cow::Borrowed(_)));
        assert_eq!(Redactor::new(&Secret::new("")).text("535"), "535");
        assert_eq!(format!("{redactor:?}"), "Redactor");
    }
}
