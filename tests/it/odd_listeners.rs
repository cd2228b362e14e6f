//! Odd listeners, whose replies are doubled, cut, early or late, and which end in any way. With each of them the client
//! never counts more messages as accepted than the listener took, and each message that the listener took is accepted
//! or in doubt.
//!
//! The listener parses the commands itself, and counts the messages that it took. It sends any reply of a pool to any
//! command. It may send the reply twice, or a second reply: in the same read, in the next one, or after the client has
//! continued.
//!
//! `ODD_DIALOGUES=1000000 ODD_SEED=7` draws a million dialogues, with another seed.
//!
//! # Dialogues that are not drawn
//! No client can recognize these (see `smtp::client::held`), because a listener that answers each command once can send
//! the same bytes:
//! - In groups and in chunks: one reply too many together with a missing reply.
//! - With full pipelining: a missing reply while another group is outstanding, because the next reply takes its place.
//! - In chunks, and with doubled LMTP replies to the content: a listener that closes instead of sending the outstanding
//!   replies. In LMTP, one reply too many and a refused recipient: the number of replies is right.
//! - In chunks: a reply too many without its own end (the next reply ends it), or with the extensions of a reply to
//!   hello. In chunks with full pipelining: a reply too many with other words, because the client can ask nothing in
//!   between.
//! - With DATA: a second 354 together with another oddity. Also a reply too many between 354 and the dot, if another
//!   message follows, if the reply refuses, or if the listener then closes instead of sending its true reply. The last
//!   looks like a listener that takes the message and does not send 221.

mod moody;
mod sockets;

use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestRunner};
use smtpress::smtp::auth::{Login, Mechanism, Secret};
use smtpress::smtp::client::Event;
use smtpress::smtp::extensions::{Chunking, Use, Wishes};
use smtpress::smtp::machine::Closed;
use smtpress::smtp::script::{Aside, Pipelining, Protocol, Quit, Script, SessionIdentity, TlsMode, Verify};

use crate::virtual_wire::{Mail, Owner, Wire};
use moody::{Extra, Kind, Listener, Oddity, POOL, Sent, When};

/// A drawn dialogue.
#[derive(Clone, Debug)]
struct Drawn {
    chunks: bool,
    chunk: u64,
    lmtp: bool,
    pipelining: Pipelining,
    tls: TlsMode,
    login: bool,
    quit: Quit,
    between: Vec<Aside>,
    verify: u32,
    mails: Vec<(u32, u64)>,
    leaves: bool,
    /// The listener answers every command with 250 and the same words.
    plain: bool,
    /// All replies of one turn come in one read.
    joined: bool,
    odd: Vec<(Kind, Oddity)>,
}

fn an_oddity() -> impl Strategy<Value = Oddity> {
    let extra = prop_oneof![
        2 => Just(None),
        3 => (prop_oneof![2 => Just(Extra::Twice), 1 => any::<Index>().prop_map(|i| Extra::Pool(i.index(POOL.len())))],
              prop::sample::select(vec![When::Joined, When::Apart, When::Late])).prop_map(Some),
    ];
    let ends = prop_oneof![
        6 => Just(None),
        1 => prop::sample::select(vec![Closed::Eof, Closed::Reset]).prop_map(Some),
    ];
    (
        prop::option::weighted(0.5, any::<Index>().prop_map(|i| i.index(POOL.len()))),
        prop::bool::weighted(0.1),
        extra,
        prop::option::weighted(0.2, any::<Index>()),
        ends,
        1..4u32,
        any::<bool>(),
    )
        .prop_map(|(reply, silent, extra, cut, ends, each, keeps)| Oddity {
            reply,
            silent,
            extra,
            cut,
            ends,
            each,
            keeps,
        })
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let wire = (
        any::<bool>(),
        prop::sample::select(vec![1, 9, 18, 100]),
        prop::bool::weighted(0.3),
        prop::sample::select(vec![Pipelining::Off, Pipelining::Auto, Pipelining::Auto, Pipelining::Full]),
        prop::sample::select(vec![TlsMode::None, TlsMode::None, TlsMode::Starttls, TlsMode::Implicit]),
        prop::bool::weighted(0.2),
        prop::sample::select(vec![Quit::Clean, Quit::Clean, Quit::Close, Quit::Reset]),
    );
    let work = (
        prop::collection::vec(prop::sample::select(vec![Aside::Noop, Aside::Reset]), 0..2),
        prop::sample::select(vec![0, 0, 1, 2]),
        prop::collection::vec((1..4u32, 0..4u64), 1..5),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec((prop::sample::select(Kind::ALL.to_vec()), an_oddity()), 0..4),
    );
    (wire, work).prop_map(
        |(
            (chunks, chunk, lmtp, pipelining, tls, login, quit),
            (between, verify, mails, leaves, plain, joined, odd),
        )| {
            let mut drawn = Drawn {
                chunks,
                chunk,
                lmtp,
                pipelining,
                tls,
                login,
                quit,
                between,
                verify,
                mails,
                leaves,
                plain,
                joined,
                odd,
            };
            drawn.keep_to_what_can_be_known();
            drawn
        },
    )
}

impl Drawn {
    fn keep_to_what_can_be_known(&mut self) {
        let sees_quit = self.quit == Quit::Clean && self.leaves && self.between.is_empty();
        let alone = self.mails.len() == 1 && sees_quit;
        let doubled = self.odd.iter().any(|(_, odd)| odd.extra.is_some());
        let several = self.odd.iter().any(|(kind, odd)| *kind == Kind::Content && odd.extra.is_some());
        let content_ends = self.odd.iter().any(|(kind, odd)| {
            matches!(kind, Kind::Content | Kind::Quit)
                && (odd.ends.is_some() || odd.silent || odd.reply.is_some())
        });
        let (chunks, lmtp, single) = (self.chunks, self.lmtp, self.odd.len() == 1);
        let full = self.pipelining == Pipelining::Full;
        let grouped = self.pipelining != Pipelining::Off;
        let fewer = full || doubled && (chunks || grouped);
        for (kind, odd) in &mut self.odd {
            if fewer && (chunks || doubled || *kind == Kind::Content) {
                odd.silent = false;
                odd.reply = odd.reply.filter(|at| moody::is_whole(POOL[*at]));
            }
            if chunks {
                if doubled {
                    odd.ends = None;
                    odd.reply = odd.reply.filter(|at| moody::goes_on(POOL[*at]));
                    odd.reply = odd.reply.filter(|at| !moody::offers(POOL[*at]));
                    let open = |extra| matches!(extra, Extra::Pool(at) if !POOL[at].ends_with('\n') || moody::offers(POOL[at]));
                    odd.extra = odd.extra.filter(|(extra, _)| !open(*extra));
                    if full {
                        odd.extra = odd.extra.map(|(_, when)| (Extra::Twice, when));
                        odd.reply = odd.reply.filter(|at| moody::is_answer(POOL[*at]));
                    }
                }
            } else if *kind == Kind::Data {
                let positive = |extra| !matches!(extra, Extra::Pool(at) if !POOL[at].starts_with('2'));
                let known = alone && !content_ends && odd.ends.is_none();
                odd.extra = odd.extra.filter(|(extra, when)| {
                    *when == When::Joined && odd.cut.is_none() || known && positive(*extra)
                });
            } else {
                let asks = |extra| matches!(extra, Extra::Pool(at) if POOL[at].starts_with('3'));
                odd.extra = odd.extra.filter(|(extra, _)| single || !asks(*extra));
                odd.reply = odd.reply.filter(|at| single || !POOL[*at].starts_with('3'));
            }
            if lmtp && *kind == Kind::Content && !chunks && several {
                odd.extra = odd.extra.filter(|_| !full).map(|(_, when)| (Extra::Twice, when));
                odd.ends = None;
                odd.reply = odd.reply.filter(|at| moody::goes_on(POOL[*at]));
            }
            if lmtp && chunks && doubled && matches!(kind, Kind::Mail | Kind::Rcpt) {
                odd.reply = odd.reply.filter(|at| moody::is_answer(POOL[*at]));
            }
        }
    }

    fn script(&self) -> Script {
        let wanted = if self.chunks { Use::Require } else { Use::Off };
        Script {
            protocol: if self.lmtp { Protocol::Lmtp } else { Protocol::Smtp },
            pipelining: self.pipelining,
            wishes: Wishes {
                chunking: Chunking { wanted, size: self.chunk.try_into().unwrap() },
                ..Wishes::default()
            },
            between: self.between.clone(),
            verify: Verify { times: self.verify, whom: vec!["who@mx.test".to_owned()] },
            tls: self.tls,
            quit: self.quit,
            clear_text_login: true,
            ..Script::default()
        }
    }

    /// Runs the dialogue.
    fn hold(&self) -> Sums {
        let mails = self.mails.iter().zip(1..).map(|((recipients, pieces), number)| Mail {
            number,
            recipients: *recipients,
            pieces: *pieces,
            lost_from: None,
        });
        let owner = Owner { mails: mails.collect(), leaves: self.leaves, ..Owner::default() };
        let login = Login::new(Mechanism::Plain, "u", Secret::new("p"));
        let identity = SessionIdentity { login: self.login.then_some(login), ..SessionIdentity::default() };
        let mut wire = Wire::speaking_as(Rc::new(self.script()), identity, owner);
        let mut listener = Listener::new(
            self.lmtp,
            self.plain,
            self.chunks,
            self.tls == TlsMode::Starttls,
            self.odd.clone(),
        );
        // Time passes only when nothing else is left to happen.
        let mut idle = 0;
        for _ in 0..10_000 {
            if wire.closed.is_some() {
                break;
            }
            if wire.secures && !listener.says_more() {
                wire.secured(None);
                if self.tls == TlsMode::Implicit {
                    listener.greet(0);
                }
                continue;
            }
            if self.tls != TlsMode::Implicit {
                listener.greet(wire.writes.len());
            }
            listener.read(&wire.writes);
            match listener.next(wire.writes.len(), idle > 0, self.joined) {
                Some(Sent::Bytes(bytes)) => wire.receive(&bytes),
                Some(Sent::End(how)) => wire.close(how),
                None => {
                    idle += 1;
                    wire.pass(Duration::from_millis(if idle < 20 { 20 } else { 20 * 60 * 1000 }));
                    continue;
                }
            }
            idle = 0;
        }
        assert!(wire.closed.is_some(), "a session that never ends");
        listener.read(&wire.writes);
        let count = |of: fn(&Event) -> bool| wire.events.iter().filter(|event| of(event)).count();
        let accepted = count(|e| matches!(e, Event::Transaction { accepted: true, .. }));
        let in_doubt = count(|e| matches!(e, Event::Step { in_doubt: true, failure: Some(_), .. }));
        assert_eq!(wire.told, wire.started, "each message that was started has its end");
        Sums { started: wire.started, accepted, in_doubt, taken: listener.taken }
    }
}

/// The outcomes of the messages of one or more dialogues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    started: usize,
    accepted: usize,
    in_doubt: usize,
    /// The messages that the listener took, by its own count.
    taken: usize,
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn accepted_is_never_above_what_any_listener_took() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: u32::try_from(from_environment("ODD_DIALOGUES", 10_000)).unwrap(),
        rng_seed: RngSeed::Fixed(from_environment("ODD_SEED", 5321)),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let sums = std::cell::Cell::new(Sums::default());
    let held = runner.run(&drawn(), |drawn| {
        let Sums { started, accepted, in_doubt, taken } = drawn.hold();
        prop_assert!(accepted <= taken, "{accepted} accepted, {taken} taken");
        prop_assert!(taken <= accepted + in_doubt, "{taken} taken, {accepted} accepted, {in_doubt} in doubt");
        let sum = sums.get();
        sums.set(Sums {
            started: sum.started + started,
            accepted: sum.accepted + accepted,
            in_doubt: sum.in_doubt + in_doubt,
            taken: sum.taken + taken,
        });
        Ok(())
    });
    if let Err(failure) = held {
        panic!("{failure}");
    }
    let Sums { started, accepted, in_doubt, taken } = sums.get();
    let others = started - accepted - in_doubt;
    println!(
        "{started} started: {accepted} accepted, {in_doubt} in doubt, {others} not accepted; {taken} taken"
    );
    // The test is not empty: most of the messages that the listener took are counted as accepted.
    assert!(accepted > 0 && in_doubt > 0 && 2 * accepted > taken, "{accepted} {in_doubt} {taken}");
}

/// A listener that answers each command once leaves no message in doubt, even if all its replies have the same words.
#[test]
fn nothing_is_in_doubt_with_a_listener_that_answers_each_once() {
    for chunks in [false, true] {
        for plain in [false, true] {
            for pipelining in [Pipelining::Off, Pipelining::Auto, Pipelining::Full] {
                for lmtp in [false, true] {
                    for leaves in [false, true] {
                        let drawn = Drawn {
                            chunks,
                            chunk: 9,
                            lmtp,
                            pipelining,
                            tls: TlsMode::None,
                            login: false,
                            quit: Quit::Clean,
                            between: Vec::new(),
                            verify: 0,
                            mails: vec![(2, 2), (1, 1), (3, 0), (1, 3)],
                            leaves,
                            plain,
                            joined: true,
                            odd: Vec::new(),
                        };
                        let sums = Sums { started: 4, accepted: 4, in_doubt: 0, taken: 4 };
                        assert_eq!(drawn.hold(), sums, "{drawn:?}");
                    }
                }
            }
        }
    }
}

/// A reply that comes after another one in the same read, whole or in part, is no answer to the next command. This
/// holds at every step.
#[test]
fn what_was_there_before_a_command_accepts_nothing_after_it() {
    let dialogue: &[(&str, &str)] = &[
        ("greeting", "220 mx\r\n"),
        ("hello", "250-mx\r\n250 CHUNKING\r\n"),
        ("verify", "252 perhaps\r\n"),
        ("mail", "250 sender ok\r\n"),
        ("rcpt", "250 recipient ok\r\n"),
        ("data", "354 go\r\n"),
        ("content", "250 taken\r\n"),
        ("noop", "250 alive\r\n"),
        ("mail", "250 sender ok\r\n"),
        ("rcpt", "250 recipient ok\r\n"),
        ("data", "354 go\r\n"),
        ("content", "250 taken\r\n"),
    ];
    for chunks in [false, true] {
        let steps: Vec<_> = dialogue.iter().filter(|(step, _)| !(chunks && *step == "data")).collect();
        for (at, (step, _)) in steps.iter().enumerate() {
            for stray in [
                "250 ok\r\n",
                "554 no\r\n",
                "220 mx\r\n",
                "250-a\r\n250 b\r\n",
                "2",
                "250",
                "250 o",
                "250 ok\r",
            ] {
                let wanted = if chunks { Use::Require } else { Use::Off };
                let script = Script {
                    pipelining: Pipelining::Off,
                    wishes: Wishes {
                        chunking: Chunking { wanted, ..Chunking::default() },
                        ..Wishes::default()
                    },
                    between: vec![Aside::Noop],
                    verify: Verify { times: 1, whom: vec!["who".to_owned()] },
                    ..Script::default()
                };
                let mail = |number| Mail { number, recipients: 1, pieces: 1, lost_from: None };
                let owner = Owner { mails: [mail(1), mail(2)].into(), ..Owner::default() };
                let mut wire = Wire::new(Rc::new(script), owner);
                let count = |wire: &Wire| {
                    let accepted =
                        |event: &&Event| matches!(event, Event::Transaction { accepted: true, .. });
                    wire.events.iter().filter(accepted).count()
                };
                for (_, reply) in &steps[..at] {
                    wire.receive(reply.as_bytes());
                }
                let before = count(&wire);
                wire.receive([steps[at].1, stray].concat().as_bytes());
                let now = count(&wire);
                // The first reply still answers its command.
                assert!(now <= before + usize::from(*step == "content"), "{step} {stray:?}");
                for (_, reply) in steps[at..].iter().chain(&steps) {
                    wire.receive(reply.as_bytes());
                }
                assert!(wire.closed.is_some(), "{step} {stray:?} chunks {chunks}: {:?}", wire.events);
                assert_eq!(count(&wire), now, "{step} {stray:?} chunks {chunks}: {:?}", wire.events);
            }
        }
    }
}
