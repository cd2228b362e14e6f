//! Dot stuffing, the transparency of DATA (RFC 5321 4.5.2), for content that comes in pieces.
//!
//! A line begins only at the start and after CRLF. A bare LF or CR does not end a line (RFC 5321 2.3.8), so each
//! listener handles it in its own way.

use memchr::memmem;

/// The bytes that follow content that ends in CRLF.
pub const END_OF_DATA: &[u8] = b".\r\n";

/// How the content so far ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tail {
    /// At the start of a line.
    #[default]
    LineStart,
    /// With a CR: a line begins after the next LF.
    Cr,
    /// In any other way.
    Within,
}

/// Stuffs the dots of one content.
#[derive(Clone, Debug, Default)]
pub struct Stuffer {
    tail: Tail,
}

impl Stuffer {
    /// Creates a stuffer at the start of a content.
    pub fn new() -> Stuffer {
        Stuffer::default()
    }

    /// Creates a stuffer within a line.
    pub(super) fn within() -> Stuffer {
        Stuffer { tail: Tail::Within }
    }

    /// Creates a stuffer after a byte of the content. A LF counts as the end of a CRLF.
    pub(super) fn after(byte: u8) -> Stuffer {
        let tail = match byte {
            b'\n' => Tail::LineStart,
            b'\r' => Tail::Cr,
            _ => Tail::Within,
        };
        Stuffer { tail }
    }

    /// Appends the next piece of the content, with a second dot before each dot that begins a line.
    pub fn stuff(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        let first = match (self.tail, piece) {
            (Tail::LineStart, [b'.', ..]) => Some(0),
            (Tail::Cr, [b'\n', b'.', ..]) => Some(1),
            _ => None,
        };
        let mut copied = 0;
        for dot in first.into_iter().chain(memmem::find_iter(piece, b"\r\n.").map(|line_end| line_end + 2)) {
            out.extend_from_slice(&piece[copied..dot]);
            out.push(b'.');
            copied = dot;
        }
        out.extend_from_slice(&piece[copied..]);
        self.tail = match (self.tail, piece) {
            (_, [.., b'\r', b'\n']) | (Tail::Cr, [b'\n']) => Tail::LineStart,
            (_, [.., b'\r']) => Tail::Cr,
            _ => Tail::Within,
        };
    }

    /// Ends the content: CRLF unless it ends in CRLF already, then the end of data, `.` CRLF. An empty content needs no
    /// CRLF (RFC 5321 4.1.1.4).
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.tail != Tail::LineStart {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(END_OF_DATA);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the content that a listener reads from a DATA stream, and how many bytes it took. It works line by line,
    /// so that it shares no code with the stuffer.
    pub(in crate::mail) fn unstuff(stream: &[u8]) -> Option<(Vec<u8>, usize)> {
        let (mut content, mut taken) = (Vec::new(), 0);
        loop {
            let rest = &stream[taken..];
            let length = rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
            let line = &rest[..length];
            taken += length;
            match line {
                b".\r\n" => return Some((content, taken)),
                [b'.', line @ ..] | line => content.extend_from_slice(line),
            }
        }
    }

    fn stuff(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (Stuffer::new(), Vec::new());
        pieces.iter().for_each(|piece| stuffer.stuff(piece, &mut out));
        stuffer.finish(&mut out);
        out
    }

    #[test]
    fn dots_at_the_start_of_a_line_are_doubled_and_no_others() {
        assert_eq!(stuff(&[b".a\r\nb.\r\n.\r\n..\r\n"]), b"..a\r\nb.\r\n..\r\n...\r\n.\r\n");
        assert_eq!(stuff(&[b"a\n.b\r.c\r\n"]), b"a\n.b\r.c\r\n.\r\n", "a bare CR or LF begins no line");
        assert_eq!(stuff(&[b"a\r", b"\n", b".", b".\r\n"]), b"a\r\n...\r\n.\r\n");
        assert_eq!(stuff(&[b"a\r", b"\n.", b"\r\n"]), b"a\r\n..\r\n.\r\n");
        assert_eq!(stuff(&[b"a\r", b"\r", b"\n", b"", b"."]), b"a\r\r\n..\r\n.\r\n");
        assert_eq!(stuff(&[]), b".\r\n");
        assert_eq!(stuff(&[b"a"]), b"a\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn unstuffing_gives_the_content_back_whatever_the_cuts(
            content in prop::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cuts in prop::collection::vec(0_usize..60, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &content[pair[0]..pair[1]]).collect();
            let stuffed = stuff(&pieces);
            prop_assert_eq!(&stuffed, &stuff(&[&content]), "cuts must not show");
            let (unstuffed, taken) = unstuff(&stuffed).unwrap();
            prop_assert_eq!(taken, stuffed.len(), "the end of data comes once, at the end");
            let ended = content.is_empty() || content.ends_with(b"\r\n");
            let expected = if ended { content } else { [&content[..], b"\r\n"].concat() };
            prop_assert_eq!(unstuffed, expected);
        }
    }
}
