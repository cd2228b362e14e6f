//! The digest of one delivered message, to compare two runs with the same seed.
//!
//! # Decisions
//! - Lines that differ from run to run by design (Date, Message-ID, X-Smtpress-Run) are left out, together with their
//!   folded continuations. So is DKIM-Signature, because it signs Date and Message-ID.

use xxhash_rust::xxh3::Xxh3;

/// The digest of one message: its envelope and its content without the header lines that differ from run to run.
pub struct Digest {
    hasher: Xxh3,
    mask: Mask,
}

/// The position in the content, with respect to masked header lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mask {
    /// At the start of a header line, while its name may still be a masked one: the bytes of the name so far, their
    /// number, and whether the previous field was masked.
    Name([u8; NAME], u8, bool),
    /// In a line that the digest includes.
    Counted,
    /// In a line that the digest leaves out.
    Masked,
    /// After the header.
    Body,
}

/// The header fields that differ between two runs with the same seed.
const MASKED: [&[u8]; 4] = [b"date:", b"x-smtpress-run:", b"message-id:", b"dkim-signature:"];
/// The length of the longest names in [`MASKED`].
const NAME: usize = 15;

impl Digest {
    /// Creates the digest of a message from this reverse path.
    pub fn new(from: &str) -> Digest {
        let mut digest = Digest { hasher: Xxh3::new(), mask: Mask::Name([0; NAME], 0, false) };
        digest.path(from);
        digest
    }

    /// Adds a recipient, or the sender.
    pub fn path(&mut self, path: &str) {
        self.hasher.update(path.as_bytes());
        self.hasher.update(b"\0");
    }

    /// Adds a part of the content.
    pub fn content(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let line_end = match self.mask {
                Mask::Body => return self.hasher.update(bytes),
                Mask::Name(..) => 1,
                Mask::Counted | Mask::Masked => {
                    memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1)
                }
            };
            let (part, rest) = bytes.split_at(line_end);
            bytes = rest;
            self.line_part(part);
        }
    }

    /// Adds a part of a header line. While the name of the field is not known, the part is one byte.
    fn line_part(&mut self, part: &[u8]) {
        let ends = part.ends_with(b"\n");
        let (mut name, length, after_masked) = match self.mask {
            Mask::Name(name, length, after_masked) => (name, usize::from(length), after_masked),
            Mask::Counted | Mask::Body => {
                self.hasher.update(part);
                if ends {
                    self.mask = Mask::Name([0; NAME], 0, false);
                }
                return;
            }
            Mask::Masked => {
                if ends {
                    self.mask = Mask::Name([0; NAME], 0, true);
                }
                return;
            }
        };
        name[length] = part[0];
        let seen = &name[..=length];
        let folded = matches!(seen[0], b' ' | b'\t');
        let is = |masked: &[u8]| seen.eq_ignore_ascii_case(masked);
        self.mask = if folded && after_masked || MASKED.iter().any(|masked| is(masked)) {
            Mask::Masked
        } else if MASKED.iter().any(|masked| masked.len() > seen.len() && is(&masked[..seen.len()])) {
            Mask::Name(name, length as u8 + 1, after_masked)
        } else if seen == b"\r\n" {
            self.hasher.update(seen);
            Mask::Body
        } else if seen == b"\r" {
            Mask::Name(name, 1, after_masked)
        } else {
            self.hasher.update(seen);
            if ends { Mask::Name([0; NAME], 0, false) } else { Mask::Counted }
        };
    }

    /// Returns the digest.
    pub fn finish(&self) -> u128 {
        self.hasher.digest128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(paths: &[&str], content: &str, piece: usize) -> u128 {
        let mut digest = Digest::new("a@b.example");
        for path in paths {
            digest.path(path);
        }
        for chunk in content.as_bytes().chunks(piece) {
            digest.content(chunk);
        }
        digest.finish()
    }

    #[test]
    fn lines_that_differ_by_design_do_not_count() {
        let one = "Date: today\r\nSubject: x\r\nMessage-ID: <1>\r\n folded 1\r\nX-Smtpress-Run: r1\r\nDKIM-Signature: v=1;\r\n\tb=a=\r\nTo: c\r\n\r\nDate: body\r\n";
        let two = "date: tomorrow,\r\n\tfolded\r\nSubject: x\r\nMESSAGE-ID: <2>\r\nx-smtpress-RUN: r2\r\ndkim-signature: v=1; b=b=\r\nTo: c\r\n\r\nDate: body\r\n";
        let expected = digest(&["c"], "Subject: x\r\nTo: c\r\n\r\nDate: body\r\n", 1000);
        for piece in 1..one.len() {
            assert_eq!(digest(&["c"], one, piece), expected, "one in pieces of {piece}");
            assert_eq!(digest(&["c"], two, piece), expected, "two in pieces of {piece}");
        }
    }

    #[test]
    fn all_else_counts() {
        let base = digest(&["c"], "Subject: x\r\n\r\nDate: body\r\n", 1000);
        for (paths, content) in [
            (["d"].as_slice(), "Subject: x\r\n\r\nDate: body\r\n"),
            (&["c", "d"], "Subject: x\r\n\r\nDate: body\r\n"),
            (&["c"], "Subject: y\r\n\r\nDate: body\r\n"),
            (&["c"], "Subject: x\r\n\r\nDate: bodY\r\n"),
            (&["c"], "Subject: x\r\n folded\r\n\r\nDate: body\r\n"),
            (&["c"], "Dated: 1\r\nSubject: x\r\n\r\nDate: body\r\n"),
            (&["c"], "\rDate: 1\r\nSubject: x\r\n\r\nDate: body\r\n"),
        ] {
            assert_ne!(digest(paths, content, 1), base, "{paths:?} {content:?}");
        }
    }
}
