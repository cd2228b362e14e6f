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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Content, measures and what is left, when the wire comes in pieces of `piece` bytes.
    fn read(wire: &[u8], piece: usize) -> (Vec<u8>, Option<ContentMeasure>, usize) {
        read_by(ContentReader::default(), wire, piece)
    }

    fn read_by(
        mut reader: ContentReader,
        wire: &[u8],
        piece: usize,
    ) -> (Vec<u8>, Option<ContentMeasure>, usize) {
        let mut content = Vec::new();
        let mut taken = 0;
        for chunk in wire.chunks(piece) {
            let mut input = chunk;
            let seen = reader.read(&mut input, |part| content.extend_from_slice(part));
            taken += chunk.len() - input.len();
            if seen.is_some() {
                return (content, seen, wire.len() - taken);
            }
        }
        (content, None, wire.len() - taken)
    }

    #[test]
    fn content_is_unstuffed_and_measured_however_it_is_cut() {
        let wire = b"Received: a\r\nrEcEiVeD: b\r\n\tReceived: folded\r\nReceive: no\r\n\r\n..dot\r\nReceived: body\r\n\
                     ...\r\n.x\r\nlong line\r\n.\r\nQUIT\r\n";
        let whole = read(wire, wire.len());
        assert_eq!(
            whole.0,
            b"Received: a\r\nrEcEiVeD: b\r\n\tReceived: folded\r\nReceive: no\r\n\r\n.dot\r\nReceived: body\r\n..\r\n\
              x\r\nlong line\r\n"
        );
        let seen = whole.1.unwrap();
        assert_eq!(seen.size, whole.0.len() as u64);
        assert_eq!((seen.received, seen.header_size, seen.longest_line), (2, 13 + 13 + 19 + 13, 19));
        assert!(!seen.bare_cr && !seen.bare_lf);
        assert_eq!(whole.2, b"QUIT\r\n".len());
        for piece in 1..wire.len() {
            assert_eq!(read(wire, piece), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn chunks_are_measured_as_the_same_content_after_data() {
        for content in [
            b"Received: a\r\nrEcEiVeD: b\r\n\tfolded\r\n\r\n.dot\r\n.\r\n..\r\nlong line\r\n".as_slice(),
            b"a\nb\rc\r\r\n\n\r\n",
            b"",
        ] {
            let mut stuffed = content.to_vec();
            let mut at = 0;
            while at < stuffed.len() {
                if stuffed[at] == b'.' && (at == 0 || stuffed[..at].ends_with(b"\r\n")) {
                    stuffed.insert(at, b'.');
                    at += 1;
                }
                at += 1;
            }
            let dotted = read(&[&stuffed, b".\r\n".as_slice()].concat(), 1000).1.unwrap();
            for piece in 1..=content.len().max(1) {
                let mut reader = ContentReader::default();
                content.chunks(piece).for_each(|chunk| reader.raw(chunk));
                assert_eq!(reader.measure(), dotted, "{content:?} in pieces of {piece}");
            }
        }
        let mut reader = ContentReader::default();
        reader.raw(b"ab\r\nabcde");
        assert_eq!(reader.measure().longest_line, 5);
    }

    #[test]
    fn only_crlf_dot_crlf_ends_the_content() {
        for (wire, content, bare_cr, bare_lf) in [
            (b"a\n.\n.\r\n\r\n.\r\n".as_slice(), b"a\n.\n.\r\n\r\n".as_slice(), false, true),
            (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n", false, true),
            (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n", false, true),
            (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n", true, false),
            (b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\r\n", true, false),
            (b"a\r\r\n.\r\n", b"a\r\r\n", true, false),
            (b".\r\n", b"", false, false),
        ] {
            for piece in 1..=wire.len() {
                let (got, seen, left) = read(wire, piece);
                let seen = seen.expect("the content ends");
                assert_eq!((got.as_slice(), left), (content, 0), "{wire:?} in pieces of {piece}");
                assert_eq!((seen.bare_cr, seen.bare_lf), (bare_cr, bare_lf), "{wire:?}");
                assert_eq!(seen.size, content.len() as u64, "{wire:?}");
            }
        }
        assert_eq!(read(b"a\r\n.", 1).1, None);
        assert_eq!(read(b"a\r\n.\r", 1).1, None);
        assert_eq!(read(b"a.\r\n", 1).1, None);
    }

    /// Every end of data that some server took, each behind one line of content; the first is the only right one.
    const ENDS: [&[u8]; 10] = [
        b"\r\n.\r\n",
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r\n.\n",
        b"\r.\r\n",
        b"\n.\r",
        b"\r.\n",
        b"\r\n\0.\r\n",
    ];

    #[test]
    fn a_lenient_reader_takes_every_variant_and_a_strict_one_only_the_right_one() {
        for end in ENDS {
            let wire = [b"h: x\r\n\r\na", end, b"rest\r\n.\r\n"].concat();
            for piece in 1..=wire.len() {
                let (content, seen, left) = read_by(ContentReader::new(EndOfData::Lenient), &wire, piece);
                let before = end.iter().position(|b| matches!(b, b'.' | 0)).unwrap();
                assert_eq!(
                    content,
                    [b"h: x\r\n\r\na", &end[..before]].concat(),
                    "{end:?} in pieces of {piece}"
                );
                assert_eq!(seen.map(|seen| seen.size), Some(content.len() as u64), "{end:?}");
                // After a bare CR the LF is left to whoever reads next.
                let lf = usize::from(end.ends_with(b".\r\n"));
                assert_eq!(left, b"rest\r\n.\r\n".len() + lf, "{end:?} in pieces of {piece}");
                let (_, _, left) = read(&wire, piece);
                let taken = if end == ENDS[0] { b"rest\r\n.\r\n".len() } else { 0 };
                assert_eq!(left, taken, "strict: {end:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_lenient_reader_ends_lines_at_every_variant_and_keeps_the_content() {
        let wire = b"Received: a\nReceived: b\rh: x\r\n\n\0b\0.\n\0.c\r..d\n.e\r\n.\r\n";
        for piece in 1..=wire.len() {
            let (content, seen, left) = read_by(ContentReader::new(EndOfData::Lenient), wire, piece);
            assert_eq!(content, b"Received: a\nReceived: b\rh: x\r\n\n\0b\0.\n\0.c\r.d\ne\r\n", "{piece}");
            let seen = seen.unwrap();
            assert_eq!((seen.received, seen.header_size, seen.longest_line), (2, 12 + 12 + 6, 12));
            assert_eq!((seen.size, seen.bare_cr, seen.bare_lf), (content.len() as u64, true, true));
            assert_eq!(left, 1, "the LF behind the bare CR");
        }
    }

    #[test]
    fn nobody_is_lenient_who_was_not_asked() {
        assert_eq!(EndOfData::default(), EndOfData::Strict);
        assert_eq!(ContentReader::default().end, EndOfData::Strict);
    }

    proptest! {
        /// Any lines, stuffed by the RFC's rule, come back as they were.
        #[test]
        fn stuffed_lines_come_back(lines in prop::collection::vec("[.ab]{0,4}", 0..12), piece in 1usize..9) {
            let plain: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let wire: String =
                lines.iter().map(|line| format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" })).collect();
            let (content, seen, left) = read(format!("{wire}.\r\n").as_bytes(), piece);
            prop_assert_eq!(content, plain.as_bytes());
            prop_assert_eq!(seen.unwrap().size, plain.len() as u64);
            prop_assert_eq!(left, 0);
        }
    }
}
