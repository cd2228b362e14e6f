//! The client's reply scanner: the same replies however the bytes are cut, within its bounds; and what reads a reply
//! (its text, its condition, its wire form) takes any.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpress::condition::classify;
use smtpress::smtp::reply::{ReplyFault, Reply, Scanner};

/// All replies in the bytes when they come in pieces of this size, up to the first that is none.
fn scan(bytes: &[u8], piece: usize) -> Vec<Result<Reply, ReplyFault>> {
    let (mut scanner, mut found) = (Scanner::default(), Vec::new());
    for mut input in bytes.chunks(piece) {
        while !input.is_empty() {
            let before = input.len();
            let scanned = scanner.scan(&mut input).map(|scanned| scanned.map(|raw| raw.to_reply()));
            match scanned {
                Some(Err(malformed)) => {
                    assert!(malformed.evidence.len() <= 3 * 256);
                    found.push(Err(malformed.fault));
                    return found;
                }
                Some(Ok(reply)) => {
                    assert!(input.len() < before, "it takes something");
                    found.push(Ok(reply));
                }
                None => assert!(input.is_empty()),
            }
        }
    }
    assert!(scanner.evidence().len() <= 3 * 256);
    found
}

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = scan(bytes, bytes.len().max(1));
    assert_eq!(whole, scan(bytes, 1));
    assert_eq!(whole, scan(bytes, usize::from(*piece) + 1));
    for reply in whole.into_iter().flatten() {
        assert!(reply.code < 1000 && !reply.lines.is_empty());
        let condition = classify(None, &reply, false);
        assert_eq!(condition, classify(None, &reply, false));
        assert!(reply.text().len() <= reply.to_string().len() + 1);
        if let Ok(again) = Reply::parse(&reply.to_string()) {
            assert_eq!(again.code, reply.code);
        }
    }
});
