//! The examples of the RFCs, and each mechanism's two sides against each other.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsasl::mechanisms::scram::tools::{compute_signatures, derive_keys, hash_password};
use sha2::{Digest, Sha256};

use super::verify::{AuthReply, AuthVerifier, Users};
use super::*;

fn users() -> Arc<Users> {
    let known = [("tim", "tanstaaftanstaaf"), ("a,b=c", "pencil"), ("I\u{ad}X", "\u{2168}")];
    Arc::new(Users::new(known.map(|(name, secret)| (name.to_owned(), Secret::new(secret)))))
}

fn tls(binding: &[u8]) -> Handshake {
    Handshake { binding: Some(binding.to_vec()), ..Handshake::default() }
}

/// Runs both sides until the server decides. Also returns whether a success reply would then be valid for the client.
fn talk(login: &Login, client: Option<&Handshake>, server: Option<&Handshake>) -> (AuthReply, bool) {
    let mut exchange = login.begin(client);
    let binding = server.and_then(|tls| tls.binding.as_deref());
    let mut verifier = AuthVerifier::new(login.mechanism, users(), binding, "1.2@mx.example");
    let initial = exchange.initial();
    let mut turn = verifier.begin(initial.as_deref());
    for _ in 0..5 {
        let AuthReply::Challenge(challenge) = &turn else { return (turn, exchange.is_done()) };
        match exchange.respond(challenge) {
            Some(response) => turn = verifier.hear(&response),
            None => return (AuthReply::Malformed, exchange.is_done()),
        }
    }
    panic!("{login:?} never ends");
}

#[test]
fn every_mechanism_logs_in_who_is_known_and_nobody_else() {
    let tls = tls(b"exporter");
    for mechanism in Mechanism::ALL {
        for (number, (user, secret)) in
            [("tim", "tanstaaftanstaaf"), ("a,b=c", "pencil"), ("IX", "IX")].into_iter().enumerate()
        {
            // SASLprep makes two names equal here, but this HMAC does not (RFC 2195 has no SASLprep).
            if number == 2 && mechanism == Mechanism::CramMd5 {
                continue;
            }
            let login = Login::new(mechanism, user, Secret::new(secret));
            assert_eq!(
                talk(&login, Some(&tls), Some(&tls)),
                (AuthReply::Accepted(number), true),
                "{mechanism:?} {user}"
            );
        }
        for (user, secret) in [("tim", "wrong"), ("nobody", "tanstaaftanstaaf"), ("tim", "")] {
            let login = Login::new(mechanism, user, Secret::new(secret));
            let (turn, done) = talk(&login, Some(&tls), Some(&tls));
            assert!(
                matches!(turn, AuthReply::Denied | AuthReply::Malformed),
                "{mechanism:?} {user}: {turn:?}"
            );
            // A mechanism that also authenticates the listener, or that received an error, accepts no success here.
            let believes = matches!(mechanism, Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5);
            assert_eq!(done, believes, "{mechanism:?}");
        }
    }
}

#[test]
fn a_channel_binding_must_be_that_of_the_session() {
    let login = Login::new(Mechanism::ScramSha256Plus, "tim", Secret::new("tanstaaftanstaaf"));
    let (ours, theirs) = (tls(b"ours"), tls(b"theirs"));
    assert_eq!(talk(&login, Some(&ours), Some(&ours)).0, AuthReply::Accepted(0));
    assert_eq!(talk(&login, Some(&ours), Some(&theirs)).0, AuthReply::Denied);
    assert_eq!(talk(&login, Some(&ours), None).0, AuthReply::Denied);
    assert_eq!(login.begin(None).initial(), None, "there is nothing to bind to");
    // The same keys serve another session.
    assert_eq!(talk(&login, Some(&theirs), Some(&theirs)).0, AuthReply::Accepted(0));
}

#[test]
fn a_listener_that_does_not_prove_itself_or_asks_too_much_is_not_believed() {
    let login = Login::new(Mechanism::ScramSha256, "tim", Secret::new("tanstaaftanstaaf"));
    let mut exchange = login.begin(None);
    let first = exchange.initial().unwrap();
    let mut verifier = AuthVerifier::new(Mechanism::ScramSha256, users(), None, "");
    let AuthReply::Challenge(server_first) = verifier.hear(&first) else { panic!() };
    let last = exchange.respond(&server_first).unwrap();
    let AuthReply::Challenge(proof) = verifier.hear(&last) else { panic!() };
    assert!(proof.starts_with(b"v=") && !exchange.is_done());
    let forged = format!("v={}", STANDARD.encode([7; 32]));
    assert_eq!(exchange.respond(forged.as_bytes()), None);
    assert!(!exchange.is_done());
    assert_eq!(exchange.respond(&proof), None, "the exchange is over");

    let asks = |reply: &dyn Fn(&str) -> String| {
        let mut exchange = login.begin(None);
        let first = String::from_utf8(exchange.initial().unwrap()).unwrap();
        // The nonce itself may contain `r=`.
        let (_, nonce) = first.split_once("r=").unwrap();
        exchange.respond(reply(nonce).as_bytes())
    };
    assert!(asks(&|nonce| format!("r={nonce}x,s=c2FsdA==,i=4096")).is_some());
    assert_eq!(asks(&|nonce| format!("r={nonce}x,s=c2FsdA==,i={}", scram::MOST_ITERATIONS + 1)), None);
    assert_eq!(asks(&|nonce| format!("r={nonce}x,s=c2FsdA==,i=4294967295")), None);
    assert_eq!(asks(&|nonce| format!("r={nonce},s=c2FsdA==,i=4096")), None, "no nonce of its own");
    assert_eq!(asks(&|_| "r=another,s=c2FsdA==,i=4096".into()), None, "not our nonce");
    assert_eq!(asks(&|_| String::new()), None);
}

/// RFC 4616 4.
#[test]
fn plain_of_rfc_4616() {
    let login = Login::new(Mechanism::Plain, "tim", Secret::new("tanstaaftanstaaf"));
    assert_eq!(login.begin(None).initial().unwrap(), b"\0tim\0tanstaaftanstaaf");
    let hear = |response: &[u8]| AuthVerifier::new(Mechanism::Plain, users(), None, "").begin(Some(response));
    assert_eq!(hear(b"\0tim\0tanstaaftanstaaf"), AuthReply::Accepted(0));
    assert_eq!(hear(b"tim\0tim\0tanstaaftanstaaf"), AuthReply::Accepted(0));
    assert_eq!(hear(b"Ursel\0tim\0tanstaaftanstaaf"), AuthReply::Denied, "no user acts for another one");
    for wrong in [&b"tim"[..], b"", b"\0tim", b"\0\0x", b"\0tim\0", b"\0tim\0x\0y", b"\0tim\0\xff"] {
        assert_eq!(hear(wrong), AuthReply::Malformed, "{wrong:?}");
    }
}

/// RFC 2195 2.
#[test]
fn cram_md5_of_rfc_2195() {
    let login = Login::new(Mechanism::CramMd5, "tim", Secret::new("tanstaaftanstaaf"));
    let mut exchange = login.begin(None);
    assert_eq!(exchange.initial(), None);
    assert!(!exchange.is_done());
    let answer = exchange.respond(b"<1896.697170952@postoffice.reston.mci.net>").unwrap();
    assert_eq!(answer, b"tim b913a602c7eda7a495b4e6e7334d3890");
    let mut verifier =
        AuthVerifier::new(Mechanism::CramMd5, users(), None, "1896.697170952@postoffice.reston.mci.net");
    assert_eq!(
        verifier.begin(None),
        AuthReply::Challenge(b"<1896.697170952@postoffice.reston.mci.net>".to_vec())
    );
    assert_eq!(verifier.hear(&answer), AuthReply::Accepted(0));
    assert_eq!(verifier.begin(Some(b"tim")), AuthReply::Malformed, "the server speaks first");
}

/// RFC 7677 3: the functions of `rsasl`, as the code uses them, give the proofs of the example.
#[test]
fn scram_sha_256_of_rfc_7677() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let mut salted = Default::default();
    hash_password::<Sha256>(b"pencil", 4096, &salt, &mut salted);
    assert_eq!(<[u8; 32]>::from(salted), scram::Keys::default().salted(&Secret::new("pencil"), &salt, 4096));
    let (client_key, server_key) = derive_keys::<Sha256>(&salted);
    let (mut client, mut server) = (Default::default(), Default::default());
    compute_signatures::<Sha256>(
        &Sha256::digest(client_key),
        &server_key,
        "user",
        b"rOprNGfwEbeRWgbNEkqO",
        b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"W22ZaJ0SNY7soEsUEjb6gQ==",
        b"4096",
        b"biws",
        &mut client,
        &mut server,
    );
    let proof: Vec<u8> = client_key.iter().zip(client).map(|(key, signature)| key ^ signature).collect();
    assert_eq!(STANDARD.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_eq!(STANDARD.encode(server), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/// RFC 4013 3.
#[test]
fn names_and_passwords_are_prepared_as_rfc_4013_says() {
    for (written, prepared) in
        [("I\u{ad}X", "IX"), ("user", "user"), ("USER", "USER"), ("\u{aa}", "a"), ("\u{2168}", "IX")]
    {
        assert_eq!(scram::prepared(written), prepared);
    }
    assert_eq!(scram::prepared("\u{7}"), "\u{7}", "what is forbidden stays as it is");
}

/// RFC 7628 4.1 and 4.3.
#[test]
fn oauthbearer_of_rfc_7628() {
    let token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
    let endpoint = Some(("server.example.com".into(), 143));
    let login = Login::new(Mechanism::Oauthbearer, "user@example.com", Secret::new(token)).to(endpoint);
    let mut exchange = login.begin(None);
    let initial = exchange.initial().unwrap();
    let expected = "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB";
    assert_eq!(STANDARD.encode(&initial), expected);
    assert!(exchange.is_done());
    assert_eq!(exchange.respond(br#"{"status":"invalid_token"}"#).unwrap(), b"\x01");
    assert!(!exchange.is_done());
    assert_eq!(exchange.respond(b""), None, "only once");

    let users = Arc::new(Users::new([("user@example.com".to_owned(), Secret::new(token))]));
    let mut verifier = AuthVerifier::new(Mechanism::Oauthbearer, users, None, "");
    assert_eq!(verifier.begin(Some(&initial)), AuthReply::Accepted(0));
    let wrong = initial.to_ascii_uppercase();
    assert_eq!(verifier.hear(&wrong), AuthReply::Malformed);
    let wrong = String::from_utf8(initial).unwrap().replace("vF9", "xxx");
    assert_eq!(
        verifier.hear(wrong.as_bytes()),
        AuthReply::Challenge(br#"{"status":"invalid_token"}"#.to_vec())
    );
    assert_eq!(verifier.hear(b"\x01"), AuthReply::Denied);
}

/// Google's example.
#[test]
fn xoauth2_as_google_writes_it() {
    let token = "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==";
    let login = Login::new(Mechanism::Xoauth2, "someuser@example.com", Secret::new(token));
    let mut exchange = login.begin(None);
    let expected = "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB2RjlkZnQ0cW1UYzJOdmIzUmxja0JoZEhSaGRtbHpkR0V1WTI5dENnPT0BAQ==";
    assert_eq!(STANDARD.encode(exchange.initial().unwrap()), expected);
    assert_eq!(exchange.respond(b"{}").unwrap(), b"");
    assert!(!exchange.is_done());
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    for mechanism in Mechanism::ALL {
        let login = Login::new(mechanism, "tim", Secret::new("tanstaaftanstaaf"));
        let exchange = login.begin(Some(&tls(b"x")));
        let verifier = AuthVerifier::new(mechanism, users(), None, "x");
        let shown = format!("{login:?} {exchange:?} {verifier:?} {:?}", users());
        assert!(shown.contains("tim") && !shown.contains("tanstaaf"), "{shown}");
        assert_eq!(mechanism.as_str().to_lowercase().parse(), Ok(mechanism));
    }
}

/// Messages without the parts that the parser of `rsasl` expects. The parser would panic on them.
#[test]
fn a_stranger_s_message_without_its_attributes_is_refused() {
    let login = Login::new(Mechanism::ScramSha256, "tim", Secret::new("tanstaaftanstaaf"));
    let started = || {
        let mut exchange = login.begin(None);
        let initial = String::from_utf8(exchange.initial().unwrap()).unwrap();
        let nonce = initial.split_once("r=").unwrap().1.to_owned();
        (exchange, initial, nonce)
    };
    let broken = [
        "",
        "r",
        "s",
        "v",
        ",",
        "r=",
        "v,",
        "e",
        "c,",
        "n,,",
        "n,a,n=tim,r=x",
        "n,,n",
        "n,,n=tim,r",
        "y",
        "p=",
    ];
    for broken in broken {
        let (mut exchange, initial, nonce) = started();
        for first in [broken.to_owned(), format!("r={nonce}x,s,i=1"), format!("r={nonce}x,s=AAAA,i")] {
            assert_eq!(started().0.respond(first.as_bytes()), None, "{first:?}");
        }
        let first = format!("r={nonce}x,s=AAAA,i=1");
        assert!(exchange.respond(first.as_bytes()).is_some());
        assert_eq!(exchange.respond(broken.as_bytes()), None, "{broken:?}");
        assert!(!exchange.is_done());
        let verifier = || AuthVerifier::new(Mechanism::ScramSha256, users(), None, "");
        assert_eq!(verifier().begin(Some(broken.as_bytes())), AuthReply::Malformed, "{broken:?}");
        let mut verifier = verifier();
        assert!(matches!(verifier.begin(Some(initial.as_bytes())), AuthReply::Challenge(_)));
        for broken in [broken, "c=biws,r", "c=biws,r=x,", "c=biws,r=x,p"] {
            let mut verifier = AuthVerifier::new(Mechanism::ScramSha256, users(), None, "");
            verifier.begin(Some(initial.as_bytes()));
            assert_eq!(verifier.hear(broken.as_bytes()), AuthReply::Malformed, "{broken:?}");
        }
    }
}
