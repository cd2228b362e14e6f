//! Properties of BDAT and LMTP that hold with any listener: every byte that the client writes belongs to a command in
//! its place or to an announced chunk, no chunk follows a refused one, and the counts agree with the messages that the
//! listener has.

use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use smtpress::smtp::client::{Event, Failure};
use smtpress::smtp::extensions::{Chunking, Use, Wishes};
use smtpress::smtp::machine::Closed;
use smtpress::smtp::script::{Aside, Pipelining, Protocol, Script};

use crate::virtual_wire::{Mail, Owner, Wire};

/// What the listener does next.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The right replies to this many commands.
    Good(usize),
    Refusal(u16),
    /// 421, after which the listener must close the connection.
    Busy,
    Closes(Closed),
}

fn an_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        40 => (1..8usize).prop_map(Answer::Good),
        8 => prop::sample::select(vec![452, 503, 550, 552]).prop_map(Answer::Refusal),
        1 => Just(Answer::Busy),
        1 => prop::sample::select(vec![Closed::Eof, Closed::Reset]).prop_map(Answer::Closes),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Hello,
    Mail,
    Rcpt,
    Chunk { last: bool },
    Aside,
    Quit,
}

/// A listener that checks every byte that the client writes.
#[derive(Debug, Default)]
struct Listener {
    lmtp: bool,
    read: usize,
    /// The bytes of the chunk that have not come yet.
    left: u64,
    unanswered: VecDeque<Told>,
    /// The transaction whose commands are answered now: whether MAIL was accepted (`open`), how many recipients were,
    /// and whether a chunk was refused.
    open: bool,
    recipients: u32,
    refused: bool,
    /// LMTP: the number of replies to the last chunk so far, and whether one of them was a refusal (`doomed`).
    settled: u32,
    doomed: bool,
    /// No more chunks may start: the client has received a refusal in this transaction.
    warned: bool,
    /// The number of messages that the listener accepted with a reply.
    taken: usize,
}

impl Listener {
    fn read(&mut self, wire: &Wire) {
        for bytes in &wire.writes[self.read..] {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let within = (self.left as usize).min(rest.len());
                self.left -= within as u64;
                rest = &rest[within..];
                let Some(end) = rest.iter().position(|byte| *byte == b'\n').filter(|_| self.left == 0) else {
                    assert!(rest.is_empty(), "half a line: {:?}", String::from_utf8_lossy(rest));
                    break;
                };
                let line = std::str::from_utf8(&rest[..end]).unwrap().strip_suffix('\r').unwrap();
                rest = &rest[end + 1..];
                self.line(line);
            }
        }
        self.read = wire.writes.len();
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let told = match words[0] {
            "EHLO" | "LHLO" => Told::Hello,
            "MAIL" => {
                let idle = self.unanswered.is_empty();
                assert!(!(self.open && idle), "MAIL within a transaction: {self:?}");
                // The client may send MAIL before the reply to the previous message only after its last chunk.
                assert!(idle || self.unanswered == [Told::Chunk { last: true }], "MAIL too early: {self:?}");
                self.warned = false;
                Told::Mail
            }
            "RCPT" => Told::Rcpt,
            "BDAT" => {
                assert!(!self.warned, "a chunk after a refusal: {self:?}");
                self.left = words[1].parse().unwrap();
                Told::Chunk { last: words.get(2) == Some(&"LAST") }
            }
            "RSET" | "NOOP" => Told::Aside,
            "QUIT" => Told::Quit,
            _ => panic!("no command: {line:?}"),
        };
        self.unanswered.push_back(told);
    }

    /// Answers the oldest command: with success if `good` and if the state allows it, else with `code`.
    fn answer(&mut self, good: bool, code: u16) -> Vec<u8> {
        let Some(&told) = self.unanswered.front() else { return Vec::new() };
        let mut settled = true;
        let well = match told {
            Told::Hello => {
                // EHLO ends a transaction (RFC 5321 4.1.4).
                self.open = false;
                return self.say("250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
            }
            Told::Quit => return self.say("221 bye\r\n"),
            Told::Aside => {
                self.open &= !good;
                good
            }
            Told::Mail => {
                (self.open, self.recipients, self.refused) = (good, 0, false);
                (self.settled, self.doomed) = (0, false);
                good
            }
            Told::Rcpt => {
                self.recipients += u32::from(good && self.open);
                good && self.open
            }
            Told::Chunk { last } => {
                let takes = self.open && self.recipients > 0 && !self.refused;
                if takes && last {
                    self.settled += 1;
                    self.doomed |= !good;
                    settled = !self.lmtp || self.settled == self.recipients;
                    if settled {
                        self.open = false;
                        self.taken += usize::from(!self.doomed);
                    }
                } else {
                    self.refused |= takes && !good;
                }
                self.warned |= takes && !good && !last;
                takes && good
            }
        };
        if settled {
            self.unanswered.pop_front();
        }
        // The text says which command the reply is for.
        format!("{} {told:?}\r\n", if well { 250 } else { code }).into_bytes()
    }

    fn say(&mut self, text: &str) -> Vec<u8> {
        self.unanswered.pop_front();
        text.into()
    }

    /// The number of messages that the listener has completely and has not answered. It would accept them.
    fn held(&self) -> usize {
        let (mut open, mut recipients, mut refused) =
            (self.open, self.recipients, self.refused || self.doomed);
        let mut held = 0;
        for told in &self.unanswered {
            match told {
                Told::Mail => (open, recipients, refused) = (true, 0, false),
                Told::Rcpt => recipients += 1,
                Told::Chunk { last: true } => {
                    held += usize::from(open && recipients > 0 && !refused && self.left == 0);
                    open = false;
                }
                _ => {}
            }
        }
        held
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        rng_seed: RngSeed::Fixed(3030),
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn chunks_keep_the_protocol_and_the_counts_with_any_listener(
        lmtp in any::<bool>(),
        pipelining in prop::sample::select(vec![Pipelining::Off, Pipelining::Auto, Pipelining::Full]),
        size in prop::sample::select(vec![1, 5, 9, 10, 18, 1000]),
        between in prop::bool::weighted(0.2),
        mails in prop::collection::vec_deque((1..4u32, 0..5u64), 0..7),
        answers in prop::collection::vec((an_answer(), any::<prop::sample::Index>()), 1..60),
    ) {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let chunking = Chunking { wanted: Use::Require, size: size.try_into().unwrap() };
        let script = Script {
            protocol,
            pipelining,
            wishes: Wishes { chunking, ..Wishes::default() },
            between: if between { vec![Aside::Noop] } else { Vec::new() },
            ..Script::default()
        };
        let mail = |(recipients, pieces)| Mail { number: 1, recipients, pieces, lost_from: None };
        let owner = Owner { mails: mails.into_iter().map(mail).collect(), ..Owner::default() };
        let mut wire = Wire::new(Rc::new(script), owner);
        let mut listener = Listener { lmtp, ..Listener::default() };
        wire.receive(b"220 mx.test\r\n");
        listener.read(&wire);
        wire.receive(&listener.answer(true, 0));
        listener.read(&wire);
        let (mut busy, mut lost) = (false, false);
        let ends = answers[0].1;
        for (answer, cut) in answers.into_iter().chain([(Answer::Closes(Closed::Eof), ends)]) {
            if wire.closed.is_some() {
                break;
            }
            let bytes = match answer {
                Answer::Good(most) => (0..most).flat_map(|_| listener.answer(true, 503)).collect(),
                Answer::Refusal(code) => listener.answer(false, code),
                Answer::Busy => {
                    busy = true;
                    b"421 busy\r\n".to_vec()
                }
                Answer::Closes(how) => {
                    lost = true;
                    wire.close(how);
                    break;
                }
            };
            let cut = cut.index(bytes.len() + 1);
            wire.receive(&bytes[..cut]);
            wire.receive(&bytes[cut..]);
            listener.read(&wire);
        }
        prop_assert!(wire.closed.is_some());
        let count = |of: fn(&Event) -> bool| wire.events.iter().filter(|event| of(event)).count();
        prop_assert_eq!(count(|e| matches!(e, Event::Transaction { accepted: true, .. })), listener.taken);
        let in_doubt = count(|e| matches!(e, Event::Step { in_doubt: true, failure: Some(_), .. }));
        prop_assert_eq!(in_doubt, if lost && !busy { listener.held() } else { 0 }, "{:?}", listener);
        let strange = count(|e| {
            let Event::Step { failure: Some(failure), .. } = e else { return false };
            matches!(**failure, Failure::Unexpected(_) | Failure::Malformed(_))
        });
        prop_assert_eq!(strange, 0);
    }
}
