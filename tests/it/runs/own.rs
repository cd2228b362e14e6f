//! A lack of resources on this machine is never counted against the listener, and makes the run invalid (M24).
//!
//! The limit on descriptors is one for a process, so a child process does the run: this test binary with one test.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use smtpress::collector::Outcome;
use smtpress::collector::summary::Code;
use smtpress::listener::limits::{Delay, Limits};
use smtpress::load::LoadModel;
use smtpress::mail::{Body, Corpus, Order, files};
use smtpress::plan::{Messages, Unit};

use super::testbed::{
    SECOND, UNITS, delayed, messages, ms, phase, plan, rate, run, run_against, sessions, shared,
};

const ADDRESS: &str = "SMTPRESS_TEST_LISTENER";

#[test]
fn m24_descriptors_that_run_out_are_our_own_failure() {
    let limits: Limits = delayed(|delays| delays.body = Delay::fixed(ms(300)));
    let listener = smtpress::listener::start("127.0.0.1:0".parse().unwrap(), limits, 7, 1).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "runs::own::with_few_descriptors"])
        .env(ADDRESS, listener.addr().to_string())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && told.contains("1 passed"), "{told}");
    let ledger = listener.stop();
    assert!(ledger.messages > 0, "what descriptors there were have been used: {ledger:?}");
}

#[test]
#[ignore = "lowers the limit of its process: run by m24_descriptors_that_run_out_are_our_own_failure"]
fn with_few_descriptors() {
    let address = std::env::var(ADDRESS).unwrap().parse().unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 48, 48).unwrap();
    for (load, unit) in [
        (rate(200.0), Unit::Message),
        (rate(200.0), Unit::Session),
        (sessions(&[(Duration::ZERO, 60.0)], ms(0)), Unit::Message),
        (sessions(&[(Duration::ZERO, 60.0)], ms(0)), Unit::Session),
        (LoadModel::Held { sessions: 100, rate: f64::INFINITY }, Unit::Session),
    ] {
        let mut plan = plan(vec![phase(load.clone(), Some(SECOND), unit)]);
        plan.messages = Messages::Fixed(1);
        plan.phases[0].graceful_stop = 2 * SECOND;
        let told = run_against(&plan, address, || None);
        let what = format!("{load:?} {unit:?}: {:?}", told.counts());
        assert!(told.counts().own_failures > 0 && told.met("out-of-descriptors") > 0, "{what}");
        assert_eq!(told.counts().refused, 0, "not the listener's doing: {what}");
        let ended = told.of(Outcome::Accepted) + told.of(Outcome::Shed);
        assert_eq!(ended, told.counts().scheduled, "{what}");
        assert!(told.of(Outcome::Accepted) > 0, "{what}");
        assert!(told.is_invalid_by(Code::OwnResource), "{what} {:?}", told.summary.validity);
        assert!(!told.is_invalid_by(Code::Counts), "{what}");
        assert_eq!(told.verdict.exit_code.number(), 98, "{what}");
    }
}

#[test]
fn m24_a_message_whose_file_is_gone_is_our_own_failure_and_reaches_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.eml"), "Subject: a\n\nbody\n").unwrap();
    // Its first block is long enough to reach the listener before the file is lost.
    fs::write(at("b.eml"), "Subject: b\n\n".to_owned() + &"a line of the body\n".repeat(20_000)).unwrap();
    // Together the files are larger than what is held in memory. This one is never sent.
    fs::File::create(at("z.eml")).unwrap().set_len(files::HELD).unwrap();
    let corpus = Arc::new(Corpus::read(folder.path()).unwrap());
    assert!(!corpus.is_held());
    for unit in UNITS {
        let mut plan = plan(vec![phase(shared(2, 1), None, unit)]);
        plan.messages = messages(unit);
        plan.mail.body = Body::Files { corpus: Arc::clone(&corpus), order: Order::InTurn };
        let told = run(&plan, Limits::default());
        assert_eq!((told.of(Outcome::Accepted), told.ledger.messages), (2, 2), "{:?}", told.counts());
    }
    fs::write(at("b.eml"), "Subject: another\n").unwrap();
    for unit in UNITS {
        let mut plan = plan(vec![phase(shared(2, 1), None, unit)]);
        plan.messages = messages(unit);
        plan.mail.body = Body::Files { corpus: Arc::clone(&corpus), order: Order::InTurn };
        let told = run(&plan, Limits::default());
        let what = format!("{unit:?}: {:?}", told.counts());
        assert_eq!((told.of(Outcome::Accepted), told.of(Outcome::Interrupted)), (1, 1), "{what}");
        assert_eq!((told.met("content-lost"), told.counts().own_failures), (1, 1), "{what}");
        assert_eq!(told.ledger.messages, 1, "the listener has no half of a message");
        assert!(told.is_invalid_by(Code::OwnResource) && !told.is_invalid_by(Code::Counts), "{what}");
        assert_eq!(told.verdict.exit_code.number(), 98, "{what}");
    }
}
