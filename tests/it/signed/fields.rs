//! Checks signatures with an independent implementation of RFC 6376. The signed input is built here, and only the
//! arithmetic of RSA and Ed25519 comes from a library.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::Algorithm;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use sha2::{Digest, Sha256};
use smtpress::mail::{Body, Mailer, Message, MessageSize, Signer, Spec};
use smtpress::smtp::Content;

use super::{ED25519, RSA};

fn message(pem: &str, spec: Spec) -> Message {
    let signer = Signer::new(pem.as_bytes(), "sender.example", "load").unwrap();
    let spec = Spec { dkim: Some(Arc::new(signer)), ..spec };
    Arc::new(Mailer::new(&spec, 42, "run-1", "Thu, 01 Jan 2026 00:00:00 +0000")).message(7)
}

fn content(message: &Message) -> String {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < message.size() {
        at = message.raw(at, 5000, &mut out).unwrap();
    }
    assert_eq!(out.len() as u64, message.size());
    String::from_utf8(out).unwrap()
}

/// Returns the field in the form `relaxed` (RFC 6376 3.4.2): the name in lower case, unfolded, one space for each run
/// of blanks, no blanks at the ends.
fn relaxed_field(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap();
    let value: Vec<&str> = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
    format!("{}:{}", name.trim().to_lowercase(), value.join(" "))
}

/// Returns the body in the form `relaxed` (RFC 6376 3.4.4): one space for each run of blanks, no blanks at the end of a
/// line, no empty lines at the end.
fn relaxed_body(body: &str) -> String {
    let squeezed = |line: &str| {
        let mut out = String::new();
        for blank_or_not in line.trim_end_matches([' ', '\t']).chars() {
            match blank_or_not {
                ' ' | '\t' if out.ends_with(' ') => {}
                ' ' | '\t' => out.push(' '),
                other => out.push(other),
            }
        }
        out
    };
    let lines: Vec<String> = body.split("\r\n").map(squeezed).collect();
    let whole = lines.join("\r\n");
    let trimmed = whole.trim_end_matches("\r\n");
    if trimmed.is_empty() { String::new() } else { format!("{trimmed}\r\n") }
}

/// Checks that the message has a valid signature.
fn verify(content: &str, record: &str) -> Result<(), String> {
    let (header, body) = content.split_once("\r\n\r\n").unwrap();
    let mut fields: Vec<String> = Vec::new();
    for line in header.split("\r\n") {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => *field += &format!("\r\n{line}"),
            _ => fields.push(line.to_owned()),
        }
    }
    let signature = fields[0].strip_prefix("DKIM-Signature:").ok_or("no signature")?;
    let tag = |name: &str| {
        let tags = signature.split(';').filter_map(|tag| tag.split_once('='));
        let found = tags.into_iter().find(|(tag, _)| tag.trim() == name);
        found.map(|(_, value)| value.split_whitespace().collect::<String>()).ok_or(format!("no {name}="))
    };
    assert_eq!(
        (tag("d")?, tag("s")?, tag("c")?),
        ("sender.example".into(), "load".into(), "relaxed/relaxed".into())
    );
    let hash = STANDARD.encode(Sha256::digest(relaxed_body(body)));
    if tag("bh")? != hash {
        return Err("the body is another".into());
    }
    let names = tag("h")?;
    for name in ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"] {
        assert!(names.split(':').any(|signed| signed.eq_ignore_ascii_case(name)), "{name} is signed");
    }
    let mut signed = String::new();
    for name in names.split(':') {
        let field = fields.iter().rfind(|field| field.split(':').next().unwrap().eq_ignore_ascii_case(name));
        // A field that is missing adds nothing (RFC 6376 5.4.2).
        signed += &field.map_or(String::new(), |field| relaxed_field(field) + "\r\n");
    }
    // The field of the signature itself, without the signature value and without a CRLF (RFC 6376 3.7).
    let own = relaxed_field(&fields[0]);
    let value = own.find("; b=").map(|place| place + 4).ok_or("no b=")?;
    let after = own[value..].find(';').map_or("", |end| &own[value + end..]);
    signed += &format!("{}{after}", &own[..value]);
    let algorithm = match tag("a")?.as_str() {
        "rsa-sha256" => Algorithm::RsaSha256,
        "ed25519-sha256" => Algorithm::Ed25519Sha256,
        other => return Err(other.to_owned()),
    };
    let key = DomainKey::parse(record.trim().as_bytes()).map_err(|error| error.to_string())?;
    let b = STANDARD.decode(tag("b")?).map_err(|error| error.to_string())?;
    key.p.verify_bytes(signed.as_bytes(), &b, algorithm).map_err(|error| error.to_string())
}

#[test]
fn every_kind_of_message_is_signed_and_the_size_stays_exact() {
    let text = |text: &str, filled| Body::Text { text: text.into(), filled };
    for (pem, record) in [RSA, ED25519] {
        for (body, size) in [
            (Body::Words, Some(4096)),
            (Body::Words, Some(200_000)),
            (text("a  b \n\n.c {n}\n\n\n", false), None),
            (text("Gr\u{fc}\u{df}e {n}\n", true), Some(3000)),
            (Body::Attached { text: "see {n}\n".into(), attachments: vec![1000, 90_000] }, None),
        ] {
            let spec = Spec {
                body,
                size: MessageSize::Fixed(size.unwrap_or_default()),
                subject: Some("{n}  {random:5}".into()),
                headers: vec!["X-A: b".into()],
                ..Spec::default()
            };
            let message = message(pem, spec.clone());
            let content = content(&message);
            assert_eq!(verify(&content, record), Ok(()), "{spec:?}");
            if let Some(size) = size {
                assert_eq!(message.size(), size, "{spec:?}");
            }
            if let Ok(folder) = std::env::var("SMTPRESS_DKIM_OUT") {
                let name = format!("{}/{}-{}.eml", folder, record.len(), content.len());
                std::fs::write(name, &content).unwrap();
            }
        }
    }
}

#[test]
fn another_body_or_header_is_not_what_was_signed() {
    for (pem, record) in [RSA, ED25519] {
        let content = content(&message(pem, Spec::default()));
        assert_eq!(verify(&content, record), Ok(()));
        let other = content.replace("Subject: smtpress message 7", "Subject: smtpress message 8");
        assert!(verify(&other, record).is_err_and(|why| why.contains("verification")));
        let (header, body) = content.split_once("\r\n\r\n").unwrap();
        let other = format!("{header}\r\n\r\n{}", body.replacen('e', "x", 1));
        assert_eq!(verify(&other, record), Err("the body is another".into()));
    }
    let content = content(&message(RSA.0, Spec::default()));
    assert!(verify(&content, ED25519.1).is_err());
}

#[test]
fn what_cannot_sign_is_refused_in_clear_words() {
    let error =
        |pem: &str, domain, selector| Signer::new(pem.as_bytes(), domain, selector).unwrap_err().to_string();
    let no_key = "holds no private key: write it in PEM: PKCS#8 or PKCS#1 (RSA), PKCS#8 (Ed25519)";
    assert_eq!(error("", "a.example", "s"), no_key);
    assert_eq!(
        error("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a.example", "s"),
        no_key
    );
    assert_eq!(error(RSA.0, "a;b", "s"), "\"a;b\" is no domain");
    assert_eq!(error(RSA.0, "a.example", "s\r\nX"), "\"s\\r\\nX\" is no domain");
    assert!(!format!("{:?}", Signer::new(RSA.0.as_bytes(), "a", "s")).contains("MII"));
}

#[test]
fn messages_of_any_size_for_a_search_are_not_signed() {
    let signer = Signer::new(RSA.0.as_bytes(), "sender.example", "load").unwrap();
    let spec = Spec { dkim: Some(Arc::new(signer)), ..Spec::default() }.sized();
    let message = Arc::new(Mailer::new(&spec, 42, "run-1", "Thu, 01 Jan 2026 00:00:00 +0000")).message(7);
    assert!(!content(&message).contains("DKIM-Signature"));
}
