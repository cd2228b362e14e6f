//! BDAT: the content in chunks gives the same message as DATA.

use crate::dovecot::Dovecot;
use crate::exim::Exim;
use crate::postfix::Postfix;
use crate::sink::Sink;
use crate::smtpress;

/// The flags for a message of 20 KiB in five chunks, with BDAT required.
const CHUNKS: &str = "--size 20KiB --set session.chunking=require --set session.chunk_size=4KiB";

// `bdat=5` in the last line of a session counts each chunk.
// Table: Postfix: CHUNKING, PIPELINING
#[test]
fn accepted_is_what_postfix_queued_from_chunks() {
    for pipelining in ["off", "full"] {
        let Some(postfix) = Postfix::plain().start() else { return };
        let flags = format!("-c 5 -n 200 --messages-per-session 10 --pipelining {pipelining} {CHUNKS}");
        let outcome = smtpress::run(postfix.port, &flags);
        outcome.assert_counts_reconcile();
        assert_eq!((outcome.count("accepted"), postfix.queued_in_the_end(200)), (200, 200), "{pipelining}");
        assert_eq!((postfix.commands("bdat"), postfix.commands("data")), (1_000, 0));
    }
}

// `K` in the line of each message.
// Table: Exim: CHUNKING, PIPELINING
#[test]
fn accepted_is_what_exim_took_in_chunks() {
    for pipelining in ["off", "full"] {
        let Some(exim) = Exim::plain().start() else { return };
        let flags = format!("-c 5 -n 200 --messages-per-session 10 --pipelining {pipelining} {CHUNKS}");
        let outcome = smtpress::run(exim.port, &flags);
        outcome.assert_counts_reconcile();
        assert_eq!(
            (outcome.count("accepted"), exim.taken_with("K")),
            (200, 200),
            "{pipelining}: {}",
            exim.log()
        );
    }
}

// Table: Dovecot LMTP: CHUNKING
#[test]
fn what_dovecot_delivers_in_chunks_is_as_long_as_without() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let target = format!("lmtp://127.0.0.1:{}", dovecot.lmtp);
    let outcome =
        smtpress::run_at(&target, &format!("-c 3 -n 30 --set message.to=user0@dovecot.test {CHUNKS}"));
    outcome.assert_counts_reconcile();
    assert_eq!((outcome.count("accepted"), dovecot.delivered("user0")), (30, 30), "{}", dovecot.log());
}

// Table: Dovecot submission: CHUNKING
#[test]
fn chunks_for_dovecot_submission_reach_the_listener_behind_it() {
    let Some(sink) = Sink::start() else { return };
    let Some(dovecot) = Dovecot::start(sink.port) else { return };
    let login = smtpress::login("plain", "RIGHT");
    let flags = format!("-c 3 -n 30 {CHUNKS} {login} --set session.auth.allow_clear_text=true");
    let outcome = smtpress::run(dovecot.submission, &flags);
    outcome.assert_counts_reconcile();
    assert_eq!((outcome.count("accepted"), sink.messages()), (30, 30), "{}", dovecot.log());
}
