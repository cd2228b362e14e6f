//! The client's reply scanner: the same replies however the octets are cut, within its bounds; and what reads a reply
//! (its text, its condition, its wire form) takes any.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpress::condition::classify;
use smtpress::smtp::reply::{RequestFault, Reply, Scanner};

/// All replies in the octets when they come in pieces of this size, up to the first that is none.
fn scan(octets: &[u8], piece: usize) -> Vec<Result<Reply, RequestFault>> {
    let (mut scanner, mut found) = (Scanner::default(), Vec::new());
    for mut input in octets.chunks(piece) {
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

fuzz_target!(|octets: &[u8]| {
    let Some((piece, octets)) = octets.split_first() else { return };
    let whole = scan(octets, octets.len().max(1));
    assert_eq!(whole, scan(octets, 1));
    assert_eq!(whole, scan(octets, usize::from(*piece) + 1));
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
