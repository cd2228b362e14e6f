//! Tests of `content`.

use proptest::prelude::*;

use super::*;

/// Returns the content, the measures and how many bytes are left, when the bytes come in pieces of `piece` bytes.
fn read(wire: &[u8], piece: usize) -> (Vec<u8>, Option<ContentMeasure>, usize) {
    read_by(ContentReader::default(), wire, piece)
}

fn read_by(mut reader: ContentReader, wire: &[u8], piece: usize) -> (Vec<u8>, Option<ContentMeasure>, usize) {
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
    let wire =
        b"Received: a\r\nrEcEiVeD: b\r\n\tReceived: folded\r\nReceive: no\r\n\r\n..dot\r\nReceived: body\r\n\
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

/// Every end of data that some server accepted, with the end of the line before it. Only the first is correct.
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
            assert_eq!(content, [b"h: x\r\n\r\na", &end[..before]].concat(), "{end:?} in pieces of {piece}");
            assert_eq!(seen.map(|seen| seen.size), Some(content.len() as u64), "{end:?}");
            // The LF after a bare CR is left for the reader of commands.
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
    /// Any lines, stuffed by the rule of the RFC, come back unchanged.
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
