//! Whole runs with BDAT, LMTP, extensions and commands between messages: the counts of the client equal those of the
//! listener.

use smtpress::collector::Metric;
use smtpress::collector::Outcome;
use smtpress::condition::Condition;
use smtpress::listener::limits::{Forced, Limits, Offers};
use smtpress::mail::MessageSize;
use smtpress::plan::{Plan, Unit};
use smtpress::smtp::Step;
use smtpress::smtp::extensions::{Chunking, DeliverBy, Dsn, Use, Wishes};
use smtpress::smtp::script::{Aside, Pipelining, Protocol, Verify};

use super::testbed::{Told, phase, plan, run, shared};

const ALL: Offers = Offers {
    pipelining: true,
    eight_bit_mime: true,
    chunking: true,
    binary_mime: true,
    smtp_utf8: true,
    dsn: true,
    deliver_by: true,
    require_tls: true,
};

fn offering() -> Limits {
    Limits { offers: ALL, ..Limits::default() }
}

fn chunks(wanted: Use, bytes: u64) -> Chunking {
    Chunking { wanted, size: bytes.try_into().unwrap() }
}

/// The plan of 200 messages over 8 sessions.
fn some(pipelining: Pipelining, change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = plan(vec![phase(shared(200, 8), None, Unit::Message)]);
    plan.script.pipelining = pipelining;
    plan.mail.size = MessageSize::Uniform { min: 600, max: 200_000 };
    plan.mail.recipients = 2;
    change(&mut plan);
    plan
}

fn steps(told: &Told, step: Step, outcome: Outcome) -> u64 {
    told.hist(Metric::Step(step), outcome).count()
}

const GROUPINGS: [Pipelining; 3] = [Pipelining::Off, Pipelining::Auto, Pipelining::Full];

#[test]
fn chunks_bring_the_same_bytes_as_data() {
    let mut digests = Vec::new();
    for pipelining in GROUPINGS {
        for (wanted, bytes) in
            [(Use::Off, 1), (Use::Require, 100_000), (Use::Require, 64 * 1024), (Use::Auto, 777)]
        {
            let plan = some(pipelining, |plan| plan.script.wishes.chunking = chunks(wanted, bytes));
            let told = run(&plan, offering());
            assert_eq!((told.of(Outcome::Accepted), told.ledger.messages), (200, 200));
            let data = if wanted == Use::Off { 200 } else { 0 };
            assert_eq!(steps(&told, Step::Data, Outcome::Accepted), data);
            assert_eq!(steps(&told, Step::Body, Outcome::Accepted), 200);
            digests.push((told.ledger.digest, told.ledger.content_bytes));
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn what_is_too_large_is_refused_between_chunks_and_the_rest_goes_on() {
    for pipelining in GROUPINGS {
        let plan = some(pipelining, |plan| {
            plan.script.wishes =
                Wishes { chunking: chunks(Use::Require, 4096), size: Use::Off, ..Wishes::default() };
        });
        let limits = Limits { max_message_size: Some(100_000), ..offering() };
        let told = run(&plan, limits);
        let (accepted, rejected) = (told.of(Outcome::Accepted), told.of(Outcome::Rejected));
        assert!(accepted > 50 && rejected > 50 && accepted + rejected == 200, "{accepted} {rejected}");
        assert_eq!(told.ledger.messages, accepted);
        let refused = &told.ledger.refused;
        assert_eq!(refused[Condition::MessageSizeExceeded.as_str()], rejected, "{refused:?}");
    }
}

#[test]
fn every_parameter_is_taken_by_a_listener_that_offers_it_and_refused_by_none() {
    let wishes = |wanted| Wishes {
        chunking: chunks(wanted, 4096),
        size: wanted,
        eight_bit: wanted,
        binary: wanted,
        utf8: wanted,
        require_tls: wanted,
        dsn: Dsn { wanted, ret: Some("FULL"), envid: true, notify: Some("NEVER".into()), orcpt: true },
        deliver_by: DeliverBy { wanted, within: super::testbed::SECOND, ..DeliverBy::default() },
    };
    for (wanted, limits) in [
        (Use::Require, Limits { max_message_size: Some(1 << 20), ..offering() }),
        (Use::Auto, Limits { offers: Offers::NONE, ..Limits::default() }),
        (Use::Auto, Limits { offers: Offers { chunking: false, ..ALL }, ..Limits::default() }),
    ] {
        let told = run(&some(Pipelining::Auto, |plan| plan.script.wishes = wishes(wanted)), limits);
        assert_eq!((told.of(Outcome::Accepted), told.ledger.messages), (200, 200));
        assert!(told.ledger.refused.is_empty(), "{:?}", told.ledger.refused);
    }
    let mut plan = some(Pipelining::Auto, |plan| plan.script.wishes = wishes(Use::Require));
    plan.phases[0] = phase(shared(5, 1), None, Unit::Session);
    plan.messages = smtpress::plan::Messages::Fixed(1);
    let told = run(&plan, Limits::default());
    assert_eq!((told.of(Outcome::Refused), told.ledger.messages), (5, 0));
    let names: Vec<_> =
        told.measured.tally.phases[0].conditions.keys().map(|key| (key.step, key.condition)).collect();
    assert_eq!(names, [(Step::Hello, Condition::UnsupportedParameter)]);
}

#[test]
fn lmtp_delivers_for_each_recipient_and_a_message_counts_when_all_have_it() {
    for pipelining in GROUPINGS {
        for wanted in [Use::Off, Use::Require] {
            let plan = some(pipelining, |plan| {
                plan.script.protocol = Protocol::Lmtp;
                plan.script.wishes.chunking = chunks(wanted, 30_000);
                plan.mail.recipients = 3;
            });
            let lmtp = || Limits { protocol: Protocol::Lmtp, ..offering() };
            let told = run(&plan, lmtp());
            assert_eq!(
                (told.of(Outcome::Accepted), told.ledger.messages, told.ledger.recipients),
                (200, 200, 600)
            );
            assert_eq!((told.counts().recipients_accepted, told.counts().recipients_refused), (600, 0));
            assert_eq!(steps(&told, Step::Body, Outcome::Accepted), 600);

            let refusal =
                Forced { step: Step::Body, reply: "452 4.2.2 mailbox full".into(), probability: 0.3 };
            let told = run(&plan, Limits { replies: vec![refusal], ..lmtp() });
            let (accepted, deferred) = (told.of(Outcome::Accepted), told.of(Outcome::Deferred));
            assert!(accepted > 20 && deferred > 50 && accepted + deferred == 200, "{accepted} {deferred}");
            assert_eq!(told.ledger.messages, accepted);
            let counts = told.counts();
            assert_eq!(counts.recipients_accepted, told.ledger.recipients);
            assert_eq!(counts.recipients_accepted + counts.recipients_refused, 600);
            assert!(
                counts.recipients_accepted > 3 * accepted,
                "some messages have reached some recipients only"
            );
        }
    }
}

#[test]
fn commands_for_their_own_sake_are_counted_and_change_nothing_else() {
    let plan = some(Pipelining::Full, |plan| {
        plan.script.between = vec![Aside::Noop, Aside::Reset];
        plan.script.verify = Verify { times: 10, whom: vec!["user@recipient.example".into()] };
    });
    let told = run(&plan, Limits::default());
    assert_eq!((told.of(Outcome::Accepted), told.ledger.messages), (200, 200));
    assert_eq!(steps(&told, Step::Command, Outcome::Accepted), 2 * 200 + 8 * 10);
}
