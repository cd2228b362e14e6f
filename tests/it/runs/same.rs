//! One plan and one seed give one load: the listener gets the same bytes in the same order with any number of threads
//! (M27).

use std::collections::BTreeSet;
use std::sync::Arc;

use smtpress::collector::Outcome;
use smtpress::listener::limits::Limits;
use smtpress::load::Shard;
use smtpress::mail::{Body, Corpus, List, Mailboxes, MessageSize, Order, Reading, Source};
use smtpress::plan::{Messages, Unit};

use super::scribe::Scribe;
use super::testbed::{SECOND, phase, plan, rate, run, run_against, shared};

#[test]
fn m27_any_number_of_threads_sends_the_same_messages() {
    for unit in [Unit::Message, Unit::Session] {
        for (size, recipients) in
            [(MessageSize::Fixed(900), 1), (MessageSize::Uniform { min: 700, max: 90_000 }, 3)]
        {
            let mut digests = BTreeSet::new();
            for threads in [1, 2, 4] {
                let mut plan =
                    plan(vec![phase(rate(60.0), Some(SECOND / 2), unit), phase(shared(40, 5), None, unit)]);
                plan.threads = threads;
                plan.run_id = format!("run-{threads}");
                plan.mail.size = size.clone();
                plan.mail.recipients = recipients;
                plan.messages = match unit {
                    Unit::Session => Messages::Uniform { min: 1, max: 4 },
                    Unit::Message => Messages::Unlimited,
                };
                let told = run(&plan, Limits::default());
                assert_eq!(told.of(Outcome::Accepted), 30);
                assert_eq!(told.ledger.recipients, told.ledger.messages * u64::from(recipients));
                let ledger = told.ledger;
                digests.insert((ledger.messages, ledger.content_bytes, ledger.digest));
            }
            assert_eq!(digests.len(), 1, "{unit:?} {size:?}: {digests:?}");
        }
    }
    // The profile has every kind of message and every drawn value.
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in
        [("a.eml", "Subject: a\n\n.a\n"), ("b.eml", "Subject: b\r\n\r\nb"), ("c.eml", "C: c\n\n")]
    {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let corpus = Arc::new(Corpus::read(folder.path()).unwrap());
    let list = Arc::new(List::parse(b"a@x.example\nb@x.example\nc@x.example\n", Reading::default()).unwrap());
    let bodies = [
        Body::Text { text: "{n} {random:20}\n.\n".into(), filled: true },
        Body::Attached { text: "{n}".into(), attachments: vec![5000, 70_000] },
        Body::Files { corpus, order: Order::Random },
    ];
    for body in bodies {
        let mut digests = BTreeSet::new();
        for threads in [1, 3] {
            let mut plan = plan(vec![phase(shared(40, 5), None, Unit::Message)]);
            plan.threads = threads;
            plan.mail.size = MessageSize::LogNormal { median: 2000, sigma: 1.0, min: 1000, max: 100_000 };
            plan.mail.headers = vec!["X-Drawn: {random:9}".into()];
            plan.mail.from = "{random:6}@sender.example".into();
            plan.mail.to = Mailboxes { source: Source::List(list.clone()), order: Order::Random };
            plan.mail.recipients = 2;
            plan.mail.body = body.clone();
            let told = run(&plan, Limits::default());
            assert_eq!(told.of(Outcome::Accepted), 40);
            digests.insert((told.ledger.content_bytes, told.ledger.digest));
        }
        assert_eq!(digests.len(), 1, "{body:?}: {digests:?}");
    }
    let digest = |seed| {
        let mut plan = plan(vec![phase(shared(10, 2), None, Unit::Message)]);
        plan.seed = seed;
        run(&plan, Limits::default()).ledger.digest
    };
    assert_ne!(digest(1), digest(2), "the digest can tell two loads apart");
}

#[test]
fn m27_a_session_has_one_number_in_all_shards_and_threads() {
    let mut numbers = BTreeSet::new();
    for index in 0..3 {
        let scribe = Scribe::start();
        let mut plan = plan(vec![phase(shared(24, 6), None, Unit::Message)]);
        plan.shard = Shard { index, of: 3 };
        plan.threads = 2;
        plan.messages = Messages::Fixed(1);
        plan.mail.subject = Some("of session {session}.".into());
        assert_eq!(run_against(&plan, scribe.addr, || None).of(Outcome::Accepted), 8);
        for session in scribe.stop() {
            let text = String::from_utf8(session).unwrap();
            let Some((_, rest)) = text.split_once("Subject: of session ") else { continue };
            let number: u64 = rest.split_once('.').unwrap().0.parse().unwrap();
            assert!(numbers.insert(number), "two sessions have the number {number}");
        }
    }
    assert_eq!(numbers.len(), 24, "{numbers:?}");
}

#[test]
fn m27_two_runs_of_one_seed_send_the_same_bytes_in_the_same_order_in_each_session() {
    let text = "{n} {random:30} of session {session}\n.\nä\n".to_owned();
    let bodies = [
        Body::Words,
        Body::Text { text: text.clone(), filled: true },
        Body::Attached { text, attachments: vec![3000, 1, 20_000] },
    ];
    for (unit, max_sessions) in [(Unit::Session, 400), (Unit::Message, 1)] {
        for body in &bodies {
            two_runs_of_one_seed(unit, max_sessions, body);
        }
    }
}

fn two_runs_of_one_seed(unit: Unit, max_sessions: u32, body: &Body) {
    let sessions = |seed, run_id: &str| {
        let scribe = Scribe::start();
        let mut plan = plan(vec![phase(rate(60.0), Some(SECOND / 2), unit)]);
        plan.phases[0].max_sessions = max_sessions;
        (plan.seed, plan.run_id) = (seed, run_id.into());
        plan.mail.size = MessageSize::Uniform { min: 900, max: 9_000 };
        plan.mail.recipients = 2;
        plan.mail.body = body.clone();
        plan.mail.subject = Some("{n} {random:5}".into());
        plan.mail.headers = vec!["X-Drawn: {random:9}".into()];
        if unit == Unit::Session {
            plan.messages = Messages::Uniform { min: 1, max: 4 };
        }
        let told = run_against(&plan, scribe.addr, || None);
        assert_eq!(told.of(Outcome::Accepted), 30);
        scribe.stop()
    };
    // The kernel decides which of several sessions is accepted first.
    let sorted = |mut sessions: Vec<Vec<u8>>| {
        sessions.sort();
        sessions
    };
    let (one, other) = (sessions(7, "run-one"), sessions(7, "run-two"));
    assert_eq!(one.len(), if unit == Unit::Session { 30 } else { 1 });
    let attached = one.iter().filter(|session| memchr::memmem::find(session, b"\r\n--=_smtpress_").is_some());
    assert_eq!(attached.count(), if matches!(body, Body::Attached { .. }) { one.len() } else { 0 });
    assert!(sorted(one.clone()) != sorted(other.clone()), "the run's id is in the messages");
    let documented = |sessions: Vec<Vec<u8>>| sorted(sessions.iter().map(|bytes| masked(bytes)).collect());
    assert!(
        documented(one.clone()) == documented(other),
        "{unit:?}, {body:?}: more than the documented lines differ"
    );
    assert!(documented(one) != documented(sessions(8, "run-one")), "the bytes can tell two loads apart");
}

/// Returns the bytes without the lines that differ between runs by design.
fn masked(bytes: &[u8]) -> Vec<u8> {
    const DOCUMENTED: [&[u8]; 3] = [b"Date: ", b"Message-ID: ", b"X-Smtpress-Run: "];
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !DOCUMENTED.iter().any(|field| line.starts_with(field))).flatten().copied().collect()
}
