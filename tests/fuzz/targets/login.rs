//! Logging in, both sides: any challenges and any responses.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use smtpress::smtp::auth::verify::{Users, AuthVerifier};
use smtpress::smtp::auth::{Login, Mechanism, Secret};

static USERS: LazyLock<Arc<Users>> = LazyLock::new(|| Arc::new(Users::new([("u".to_owned(), Secret::new("p"))])));

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let mechanism = Mechanism::ALL[usize::from(choice & 127) % Mechanism::ALL.len()];
    let turns = bytes.split(|byte| *byte == 0xff);
    if choice & 128 == 0 {
        let mut exchange = Login::new(mechanism, "u", Secret::new("p")).begin(None);
        // SCRAM goes on only with our own nonce in it, for which 0xfe stands.
        let initial = exchange.initial().unwrap_or_default();
        let nonce = initial.rsplit(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
        for challenge in turns {
            let mut parts = challenge.split(|byte| *byte == 0xfe);
            let mut challenge = parts.next().unwrap_or_default().to_vec();
            parts.for_each(|part| challenge.extend_from_slice(&[&nonce, part].concat()));
            // More rounds of hashing than these only take time.
            if challenge.windows(6).any(|part| part.starts_with(b"i=") && part[2..].iter().all(u8::is_ascii_digit)) {
                return;
            }
            if exchange.respond(&challenge).is_none() {
                break;
            }
        }
    } else {
        let mut verifier = AuthVerifier::new(mechanism, USERS.clone(), None, "1.2@x");
        let mut turns = turns.take(8);
        verifier.begin(turns.next().filter(|initial| !initial.is_empty()));
        for response in turns {
            verifier.hear(response);
        }
    }
});
