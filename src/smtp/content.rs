//! The content after DATA (RFC 5321 4.5.2) or BDAT (RFC 3030) as the server reads it: dots unstuffed, measured, never stored.
//!
//! What is done with the bytes is the caller's; which measure is too much is the policy's.
//!
//! # Decisions
//! - Only CRLF.CRLF ends the content, and only CRLF ends a line: a bare LF before a dot neither ends the content nor
//!   makes the dot a stuffed one (the difference between servers here is what SMTP smuggling lives on). A reader that was
//!   asked to be lenient is such a server.

use memchr::memchr2;

/// What ends the content after DATA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndOfData {
    /// CRLF.CRLF (RFC 5321 4.1.1.4).
    #[default]
    Strict,
    /// A dot between any two line ends of CRLF, a bare LF and a bare CR, also with a NUL before it: open to SMTP smuggling
    /// (CVE-2023-51764 to -51766).
    Lenient,
}

/// What was seen of a message's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentMeasure {
    /// Octets, dots unstuffed, the final CRLF included (RFC 1870 section 5).
    pub size: u64,
    /// Bytes of the header fields, without the empty line after them.
    pub header_size: u64,
    /// The longest line in bytes, its CRLF included.
    pub longest_line: u64,
    /// Header fields named `Received`.
    pub received: u32,
    /// A CR without LF was seen.
    pub bare_cr: bool,
    /// An LF without CR was seen.
    pub bare_lf: bool,
}

/// Where the reader stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// After a dot at the start, which is withheld.
    Dot,
    /// After such a dot and a CR, both withheld.
    DotCr,
    /// After a NUL at the start, which is withheld (lenient only).
    Nul,
    /// After such a NUL and a dot, both withheld.
    NulDot,
    Middle,
    /// After a CR.
    Cr,
    End,
}

const RECEIVED: &[u8; 9] = b"received:";

/// Reads content incrementally, however the bytes are cut.
#[derive(Debug)]
pub struct ContentReader {
    end: EndOfData,
    /// A bare CR ended the content; an LF right behind it still belongs to it.
    ended_at_cr: bool,
    seen: ContentMeasure,
    at: At,
    /// Bytes of the line so far.
    line: u64,
    in_header: bool,
    /// Bytes of the line so far that spell `Received:`; one more than its length when they do not.
    matched: u8,
}

impl Default for ContentReader {
    fn default() -> Self {
        ContentReader::new(EndOfData::Strict)
    }
}

impl ContentReader {
    /// A reader at the beginning of a content that ends so.
    pub fn new(end: EndOfData) -> ContentReader {
        ContentReader {
            end,
            ended_at_cr: false,
            seen: ContentMeasure::default(),
            at: At::Start,
            line: 0,
            in_header: true,
            matched: 0,
        }
    }

    /// Takes bytes off the front of `input` and hands the content in them to `sink`, in order and in as few pieces as
    /// possible. `Some`: the final dot was read, and nothing after it was taken.
    pub fn read(&mut self, input: &mut &[u8], mut sink: impl FnMut(&[u8])) -> Option<ContentMeasure> {
        let bytes = *input;
        let lenient = self.end == EndOfData::Lenient;
        // What is read but not handed out yet is bytes[from..i].
        let (mut from, mut i) = (0, 0);
        while i < bytes.len() && self.at != At::End {
            let byte = bytes[i];
            match self.at {
                At::Start if byte == b'.' => {
                    sink(&bytes[from..i]);
                    i += 1;
                    from = i;
                    self.at = At::Dot;
                }
                At::Start if lenient && byte == 0 => {
                    sink(&bytes[from..i]);
                    i += 1;
                    from = i;
                    self.at = At::Nul;
                }
                At::Start => self.at = At::Middle,
                At::Nul if byte == b'.' => {
                    i += 1;
                    from = i;
                    self.at = At::NulDot;
                }
                At::Dot | At::NulDot if lenient && matches!(byte, b'\r' | b'\n') => {
                    i += 1;
                    from = i;
                    self.seen.bare_lf |= byte == b'\n';
                    // The client may wait for the answer: whether an LF follows is seen later.
                    self.ended_at_cr = byte == b'\r';
                    self.at = At::End;
                }
                At::Nul | At::NulDot => {
                    let withheld: &[u8] = if self.at == At::Nul { b"\0" } else { b"\0." };
                    self.count(withheld);
                    sink(withheld);
                    self.at = At::Middle;
                }
                At::Dot if byte == b'\r' => {
                    i += 1;
                    from = i;
                    self.at = At::DotCr;
                }
                // The dot was stuffing, or stood alone before a bare LF: it is no content.
                At::Dot => self.at = At::Middle,
                At::DotCr if byte == b'\n' => {
                    i += 1;
                    from = i;
                    self.at = At::End;
                }
                At::DotCr => {
                    self.seen.bare_cr = true;
                    self.count(b"\r");
                    sink(b"\r");
                    self.at = At::Middle;
                }
                At::Middle => {
                    let length = memchr2(b'\r', b'\n', &bytes[i..]).unwrap_or(bytes.len() - i);
                    self.count(&bytes[i..i + length]);
                    i += length;
                    if let Some(end) = bytes.get(i) {
                        i += 1;
                        self.count(&[*end]);
                        if *end == b'\r' {
                            self.at = At::Cr;
                        } else {
                            self.seen.bare_lf = true;
                            if lenient {
                                self.end_line(1);
                            }
                        }
                    }
                }
                At::Cr if byte == b'\n' => {
                    i += 1;
                    self.count(b"\n");
                    self.end_line(2);
                }
                At::Cr => {
                    self.seen.bare_cr = true;
                    self.at = At::Middle;
                    if lenient {
                        self.end_line(1);
                    }
                }
                At::End => {}
            }
        }
        if from < i {
            sink(&bytes[from..i]);
        }
        *input = &bytes[i..];
        (self.at == At::End).then_some(self.seen)
    }

    /// Measures bytes of a chunk: nothing ends the content but its announced length, and no dot is stuffed.
    pub fn raw(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            match (self.at, first) {
                (At::Cr, b'\n') => {
                    self.count(b"\n");
                    self.end_line(2);
                    bytes = &bytes[1..];
                    continue;
                }
                (At::Cr, _) => self.seen.bare_cr = true,
                _ => {}
            }
            self.at = At::Middle;
            let length = memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
            let end = bytes.get(length).copied();
            let (line, rest) = bytes.split_at(length + usize::from(end.is_some()));
            self.count(line);
            bytes = rest;
            match end {
                Some(b'\r') => self.at = At::Cr,
                Some(_) => self.seen.bare_lf = true,
                None => {}
            }
        }
    }

    /// Whether no byte was read yet.
    pub fn is_untouched(&self) -> bool {
        self.at == At::Start && self.seen.size == 0
    }

    /// Whether a bare CR ended the content, so that an LF right behind it is no command (lenient only).
    pub fn ended_at_cr(&self) -> bool {
        self.ended_at_cr
    }

    /// What was seen so far; a line without its end counts as it stands.
    pub fn measure(&self) -> ContentMeasure {
        ContentMeasure { longest_line: self.seen.longest_line.max(self.line), ..self.seen }
    }

    /// Counts bytes of one line.
    fn count(&mut self, bytes: &[u8]) {
        if self.in_header && usize::from(self.matched) < RECEIVED.len() {
            for byte in bytes {
                match RECEIVED.get(usize::from(self.matched)) {
                    Some(expected) if byte.to_ascii_lowercase() == *expected => self.matched += 1,
                    Some(_) => self.matched = RECEIVED.len() as u8 + 1,
                    None => break,
                }
            }
            self.seen.received += u32::from(usize::from(self.matched) == RECEIVED.len());
        }
        self.line += bytes.len() as u64;
        self.seen.size += bytes.len() as u64;
    }

    /// A line ended, with an end of so many bytes.
    fn end_line(&mut self, end: u64) {
        self.seen.longest_line = self.seen.longest_line.max(self.line);
        if self.in_header {
            if self.line == end {
                self.in_header = false;
            } else {
                self.seen.header_size += self.line;
            }
        }
        self.line = 0;
        self.matched = 0;
        self.at = At::Start;
    }
}

#[cfg(test)]
mod tests;
