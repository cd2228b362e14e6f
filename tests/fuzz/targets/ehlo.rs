//! What a listener offers: any reply is read, and a well-formed one as another reader of it reads it (smtp-proto).

#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN, EXT_CHUNKING, EXT_PIPELINING, EXT_SIZE, EXT_START_TLS, EhloResponse};
use smtpress::smtp::hello::Offer;
use smtpress::smtp::reply::{Reply, Scanner};

/// Lines of these are what all of the world writes; the bytes choose among them.
const KEYWORDS: [&str; 16] = [
    "PIPELINING",
    "pipelining",
    "STARTTLS",
    "StartTls",
    "CHUNKING",
    "SIZE",
    "SIZE 0",
    "SIZE 20971520",
    "size 1",
    "AUTH PLAIN",
    "AUTH LOGIN",
    "AUTH PLAIN LOGIN CRAM-MD5",
    "8BITMIME",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "HELP",
];

fn agrees(choices: &[u8]) {
    let mut text = String::from("mx.example greets you\n");
    for choice in choices.iter().take(40) {
        text.push_str(KEYWORDS[usize::from(*choice) % KEYWORDS.len()]);
        text.push('\n');
    }
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let ours = Offer::parse(&Reply::new(250, lines));
    let wire = ours_as_wire(&text);
    let theirs = EhloResponse::parse(&mut wire.as_bytes().iter()).expect("the reply is well formed");
    let has = |capability: u32| theirs.capabilities & capability != 0;
    assert_eq!(ours.pipelining, has(EXT_PIPELINING), "{wire}");
    assert_eq!(ours.starttls, has(EXT_START_TLS), "{wire}");
    assert_eq!(ours.chunking, has(EXT_CHUNKING), "{wire}");
    assert_eq!(ours.size.is_some(), has(EXT_SIZE), "{wire}");
    for (name, bit) in [("PLAIN", AUTH_PLAIN), ("LOGIN", AUTH_LOGIN)] {
        let offered = ours.auth.iter().any(|offered| offered == name);
        assert_eq!(offered, theirs.auth_mechanisms & bit != 0, "{name}: {wire}");
    }
}

fn ours_as_wire(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len() - 1;
    let wire = |(i, line): (usize, &&str)| format!("250{}{line}\r\n", if i == last { ' ' } else { '-' });
    lines.iter().enumerate().map(wire).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    if let Some(Ok(raw)) = Scanner::default().scan(&mut input) {
        let offer = Offer::parse(&raw.to_reply());
        assert!(offer.auth.iter().all(|name| !name.is_empty()));
    }
    agrees(bytes);
});
