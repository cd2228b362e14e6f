//! What the user's files hold, in whatever form they were saved: read within a bound, and without what an editor put
//! before it.
//!
//! # Decisions
//! - A byte order mark is never content: with it a password is another password, and the first certificate of a file none.
//! - UTF-16 is recognised by its mark, as spreadsheets and Windows write it. Without one nothing is guessed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use encoding_rs::{Encoding, UTF_8};

/// The largest file of a profile, of secrets, or of certificates, in bytes.
pub const LARGEST: u64 = 64 << 20;
/// A byte order mark in UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// The content of a file, decoded. A pipe may stand in its place, as a shell's `<(...)` does.
///
/// # Errors
/// It cannot be read, or is larger than [`LARGEST`]: some files have no end.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_from(File::open(path)?)
}

/// The content of standard input.
///
/// # Errors
/// As of [`read`].
pub fn read_stdin() -> io::Result<Vec<u8>> {
    read_from(io::stdin().lock())
}

fn read_from(source: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut content)?;
    match content.len() as u64 > LARGEST {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 64 MiB")),
        false => Ok(decoded(content)),
    }
}

/// The content without its byte order mark; UTF-16 with one as UTF-8.
pub fn decoded(content: Vec<u8>) -> Vec<u8> {
    match Encoding::for_bom(&content) {
        None => content,
        Some((encoding, mark)) if encoding == UTF_8 => content[mark..].to_vec(),
        Some((encoding, mark)) => match encoding.decode_without_bom_handling(&content[mark..]) {
            (Cow::Borrowed(text), _) => text.as_bytes().to_vec(),
            (Cow::Owned(text), _) => text.into_bytes(),
        },
    }
}

/// A text in PEM without byte order marks anywhere in it: files that are joined have one before each.
pub fn pem(content: Vec<u8>) -> Vec<u8> {
    let mut text = decoded(content);
    while let Some(at) = memchr::memmem::find(&text, MARK) {
        text.drain(at..at + MARK.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn a_mark_is_no_content_and_utf_16_is_read() {
        let text = "p\u{e4}ss\r\n\u{1f600}";
        for content in
            [utf16(text, true), utf16(text, false), ["\u{feff}", text].concat().into(), text.into()]
        {
            assert_eq!(decoded(content), text.as_bytes());
        }
        assert_eq!(decoded(vec![0xff, 0xfe]), b"");
        assert_eq!(decoded(b"p\xe4ss".to_vec()), b"p\xe4ss", "nothing is guessed");
        assert_eq!(pem("\u{feff}a\n\u{feff}b\n".into()), b"a\nb\n");
    }

    #[test]
    fn a_file_without_end_is_refused() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
