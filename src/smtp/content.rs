//! Reads the content after DATA (RFC 5321 4.5.2) or BDAT (RFC 3030) on the server's side. It removes dot stuffing and
//! measures the content, and stores nothing.
//!
//! The caller decides what to do with the bytes, and the policy decides which measures are too large.
//!
//! # Decisions
//! - Only CRLF.CRLF ends the content, and only CRLF ends a line. A bare LF before a dot neither ends the content nor
//!   makes the dot a stuffed one. SMTP smuggling exploits servers that read line ends differently;
//!   [`EndOfData::Lenient`] imitates such a server.

use memchr::memchr2;

/// The sequence that ends the content after DATA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndOfData {
    /// CRLF.CRLF (RFC 5321 4.1.1.4).
    #[default]
    Strict,
    /// A dot between two line ends, each of which may be CRLF, a bare LF or a bare CR. A NUL may precede the dot. Such
    /// a server is open to SMTP smuggling (CVE-2023-51764 to -51766).
    Lenient,
}

/// The measures of a message's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentMeasure {
    /// The size in bytes without dot stuffing, with the final CRLF (RFC 1870 section 5).
    pub size: u64,
    /// The size of the header fields in bytes, without the empty line after them.
    pub header_size: u64,
    /// The longest line in bytes, with its CRLF.
    pub longest_line: u64,
    /// The number of header fields named `Received`.
    pub received: u32,
    /// Whether there was a CR without LF.
    pub bare_cr: bool,
    /// Whether there was an LF without CR.
    pub bare_lf: bool,
}

/// The position of the reader in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// After a dot at the start of the line. The dot is withheld.
    Dot,
    /// After this dot and a CR, both withheld.
    DotCr,
    /// After a NUL at the start of the line. The NUL is withheld (lenient only).
    Nul,
    /// After this NUL and a dot, both withheld.
    NulDot,
    Middle,
    /// After a CR.
    Cr,
    End,
}

const RECEIVED: &[u8; 9] = b"received:";

/// Reads content incrementally, however the bytes are split.
#[derive(Debug)]
pub struct ContentReader {
    end: EndOfData,
    /// Whether a bare CR ended the content. An LF directly behind the CR belongs to the same line end.
    ended_at_cr: bool,
    seen: ContentMeasure,
    at: At,
    /// The length of the current line so far, in bytes.
    line: u64,
    in_header: bool,
    /// How many bytes of `Received:` the current line has matched. After a mismatch the number is one more than the
    /// length of that word.
    matched: u8,
}

impl Default for ContentReader {
    fn default() -> Self {
        ContentReader::new(EndOfData::Strict)
    }
}

impl ContentReader {
    /// Creates a reader for content with this end.
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

    /// Removes bytes from the front of `input` and passes the content in them to `sink`, in order and in as few pieces
    /// as possible. Returns `Some` after the final dot; the bytes behind it stay in `input`.
    pub fn read(&mut self, input: &mut &[u8], mut sink: impl FnMut(&[u8])) -> Option<ContentMeasure> {
        let bytes = *input;
        let lenient = self.end == EndOfData::Lenient;
        // bytes[from..i] are read and not yet passed on.
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
                    // The content ends here, because the client may be waiting for the reply. A following LF is dropped
                    // later.
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
                // The dot is not content: it was stuffed, or stood alone before a bare LF.
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

    /// Measures bytes of a chunk. Only the announced length ends the content, and no dot is stuffed.
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

    /// Whether no byte was read so far.
    pub fn is_untouched(&self) -> bool {
        self.at == At::Start && self.seen.size == 0
    }

    /// Whether a bare CR ended the content, so that an LF directly behind it is not a command (lenient only).
    pub fn ended_at_cr(&self) -> bool {
        self.ended_at_cr
    }

    /// Returns the measures so far. An unfinished line counts with its length so far.
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

    /// Ends a line whose line end has this many bytes.
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
