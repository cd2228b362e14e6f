//! Whole runs of signed messages. The verifier of mail-auth verifies the received messages; it gets the public key
//! without a name server. It shares its arithmetic with the signer, so another test checks that with separate code.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use smtpress::collector::Outcome;
use smtpress::listener::limits::Limits;
use smtpress::mail::{Body, MessageSize, Signer, Spec};
use smtpress::plan::{Plan, Unit};

use super::{ED25519, RSA};
use crate::runs::scribe::Scribe;
use crate::runs::testbed::{phase, plan, run, run_against, shared};

/// The only DNS record. A verifier that asked for another one would use the network.
struct Zone(Arc<DomainKey>);

impl Zone {
    fn is_ours<K: Borrow<Q>, Q: Hash + Eq + ?Sized>(name: &Q, ours: K) -> bool {
        name == ours.borrow()
    }
}

impl ResolverCache<Box<str>, Txt> for Zone {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        assert!(
            Zone::is_ours(name, Box::from("load._domainkey.sender.example.")),
            "another name is asked for"
        );
        Some(Txt::DomainKey(self.0.clone()))
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _name: Box<str>, _value: Txt, _until: Instant) {}
}

/// Returns the verifier's result for each signature.
fn verdicts(message: &[u8], record: &str) -> Vec<DkimResult> {
    let zone = Zone(Arc::new(DomainKey::parse(record.trim().as_bytes()).unwrap()));
    let message = AuthenticatedMessage::parse(message).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _within = runtime.enter();
    let verifier = MessageAuthenticator::new_quad9().unwrap();
    let parameters = Parameters::new(&message).with_txt_cache(&zone);
    let verdicts = runtime.block_on(verifier.verify_dkim(parameters));
    verdicts.iter().map(|verdict| verdict.result().clone()).collect()
}

/// The messages of a session, without stuffed dots (RFC 5321 4.5.2).
fn messages(session: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut content = false;
    for line in session.split_inclusive(|byte| *byte == b'\n') {
        match (content, line) {
            (false, b"DATA\r\n") => {
                messages.push(Vec::new());
                content = true;
            }
            (true, b".\r\n") => content = false,
            (true, line) => {
                messages.last_mut().unwrap().extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            }
            (false, _) => {}
        }
    }
    messages
}

fn signed(pem: &str, body: &Body, threads: u32) -> Plan {
    let signer = Signer::new(pem.as_bytes(), "sender.example", "load").unwrap();
    let mut plan = plan(vec![phase(shared(12, 3), None, Unit::Message)]);
    plan.threads = threads;
    plan.mail = Spec {
        size: MessageSize::Uniform { min: 1500, max: 30_000 },
        headers: vec!["X-Drawn: {random:9}".into()],
        body: body.clone(),
        dkim: Some(Arc::new(signer)),
        ..plan.mail
    };
    plan
}

#[test]
fn every_message_arrives_with_a_signature_that_is_right() {
    let bodies = [
        Body::Words,
        Body::Text { text: "{n} of {session} in {run}, {date}\n.\n..dots\n \t\n\n".into(), filled: true },
        Body::Attached { text: "{n} {random:9}\n".into(), attachments: vec![700, 20_000] },
    ];
    for (pem, record) in [RSA, ED25519] {
        for body in &bodies {
            let plan = signed(pem, body, 2);
            let told = run(&plan, Limits::default());
            assert_eq!((told.of(Outcome::Accepted), told.ledger.messages), (12, 12));

            let scribe = Scribe::start();
            assert_eq!(run_against(&plan, scribe.addr, || None).of(Outcome::Accepted), 12);
            let arrived: Vec<Vec<u8>> = scribe.stop().iter().flat_map(|session| messages(session)).collect();
            assert_eq!(arrived.len(), 12);
            for mut message in arrived {
                assert_eq!(
                    verdicts(&message, record),
                    [DkimResult::Pass],
                    "{}",
                    String::from_utf8_lossy(&message)
                );
                let last = message.iter().rposition(|byte| byte.is_ascii_alphanumeric()).unwrap();
                message[last] ^= 1;
                assert_ne!(verdicts(&message, record), [DkimResult::Pass], "one byte is another");
            }
        }
    }
}
