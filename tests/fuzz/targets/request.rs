//! The listener's line reader and parser of commands: the same requests however the bytes are cut, within its bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpress::smtp::request::{CommandLines, MAX_AUTH_LINE, Request};

const MOST: usize = 300;

/// What each line is, as text.
fn requests(bytes: &[u8], piece: usize) -> Vec<String> {
    let (mut lines, mut found) = (CommandLines::new(MOST), Vec::new());
    for mut input in bytes.chunks(piece) {
        while !input.is_empty() {
            let before = input.len();
            if let Some(line) = lines.next(&mut input) {
                // A login may take more than any other command (RFC 4954 4).
                let most = |line: &[u8]| match line.get(..5) {
                    Some(word) if word.eq_ignore_ascii_case(b"AUTH ") => MAX_AUTH_LINE,
                    _ => MOST,
                };
                assert!(line.is_ok_and(|line| line.len() <= most(line)) || line.is_err());
                found.push(format!("{:?}", line.and_then(Request::parse)));
            }
            assert!(input.len() < before, "it takes something");
        }
    }
    found
}

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = requests(bytes, bytes.len().max(1));
    assert_eq!(whole, requests(bytes, 1));
    assert_eq!(whole, requests(bytes, usize::from(*piece) + 1));
});
