//! Reads the user's files in the encoding in which they were saved, up to a size, and without a byte order mark.
//!
//! # Decisions
//! - A byte order mark is never content. With it a password would be another password, and the first certificate of a
//!   file would be invalid.
//! - UTF-16 is recognised by its byte order mark, which spreadsheets and Windows write. Without a mark no encoding is
//!   guessed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use encoding_rs::{Encoding, UTF_8};

/// The largest file of a profile, of secrets, or of certificates, in bytes.
pub const LARGEST: u64 = 64 << 20;
/// A byte order mark in UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Returns the decoded content of a file, which may be a pipe such as a shell's `<(...)`.
///
/// # Errors
/// The file cannot be read, or is larger than [`LARGEST`]: some files have no end.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_from(File::open(path)?)
}

/// Returns the decoded content of standard input.
///
/// # Errors
/// The same as of [`read`].
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

/// Returns the content without its byte order mark, and UTF-16 with a mark as UTF-8.
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

/// Returns a text in PEM without any byte order marks. In a concatenation of files each part may begin with one.
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
