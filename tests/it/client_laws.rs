//! Properties of the client machine that hold with any listener: scripts, owners, replies, cuts, closes and times are
//! random.
//!
//! `virtual_wire` checks the interface between machine and owner (one `Transaction` for each `begin`, `Ended` once and
//! then the close, no empty write, no busy loop, no step that ends before it starts). This file checks the protocol.
//! There is no command where RFC 5321 and RFC 2920 allow none, and the counts reconcile: a message that the listener
//! has taken is accepted or in doubt.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use smtpress::smtp::client::Event;
use smtpress::smtp::machine::{Close, Closed};
use smtpress::smtp::script::{Hello, Pipelining, Quit};
use smtpress::smtp::step::Step;

use crate::virtual_wire::{Mail, Owner, Wire, script};

/// The next action of the listener, the kernel, the clock or the owner.
#[derive(Clone, Debug)]
enum Move {
    /// The listener gives the right replies to at most this many outstanding commands, in one read.
    Good(usize),
    /// It sends a reply with this code, even if no command is outstanding.
    Code(u16),
    /// It sends these bytes, which are cut anywhere.
    Noise(Vec<u8>),
    Closes(Closed),
    Passes(u64),
    Holds,
    Takes,
    Begin(Mail),
    Finish,
    Abort,
}

fn a_mail() -> impl Strategy<Value = Mail> {
    (1..4u32, 0..4u64, prop::option::weighted(0.1, 0..4u64))
        .prop_map(|(recipients, pieces, lost_from)| Mail { number: 1, recipients, pieces, lost_from })
}

fn an_owner() -> impl Strategy<Value = Owner> {
    let mails = prop::collection::vec_deque(a_mail(), 0..9);
    (mails, any::<bool>(), any::<bool>()).prop_map(|(mails, declines, rests)| Owner {
        mails,
        declines,
        rests,
        leaves: false,
    })
}

fn a_code() -> impl Strategy<Value = u16> {
    prop_oneof![
        4 => prop::sample::select(vec![450, 451, 452, 550, 552, 554]),
        1 => prop::sample::select(vec![220, 221, 250, 251, 354, 421, 500]),
        1 => 0..1000u16,
    ]
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        120 => (1..6usize).prop_map(Move::Good),
        10 => a_code().prop_map(Move::Code),
        1 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Move::Noise),
        1 => prop::sample::select(vec![Closed::Eof, Closed::Reset, Closed::Gone, Closed::Error(5)]).prop_map(Move::Closes),
        6 => (0..30u64).prop_map(Move::Passes),
        1 => (0..4000u64).prop_map(Move::Passes),
        4 => Just(Move::Holds),
        12 => Just(Move::Takes),
        6 => a_mail().prop_map(Move::Begin),
        1 => Just(Move::Finish),
        1 => Just(Move::Abort),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 3000,
        rng_seed: RngSeed::Fixed(2821),
        failure_persistence: None,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_client_keeps_the_protocol_and_the_counts_with_any_listener(
        hello in prop::sample::select(vec![Hello::Ehlo, Hello::Ehlo, Hello::Helo]),
        pipelining in prop::sample::select(vec![Pipelining::Off, Pipelining::Auto, Pipelining::Full, Pipelining::Require]),
        quit in prop::sample::select(vec![Quit::Clean, Quit::Close, Quit::Reset]),
        offers in prop::bool::weighted(0.8),
        owner in an_owner(),
        moves in prop::collection::vec((a_move(), any::<prop::sample::Index>()), 1..90),
    ) {
        play(hello, pipelining, quit, offers, owner, moves);
    }

    #[test]
    fn no_bytes_and_no_calls_break_the_client(
        pipelining in prop::sample::select(vec![Pipelining::Off, Pipelining::Auto, Pipelining::Full]),
        owner in an_owner(),
        inputs in prop::collection::vec("(220|250|354|421|550)?[ -]?[a-z]{0,3}(\r\n|\n)?", 1..40),
        abort in 0..60usize,
    ) {
        let mut wire = Wire::new(script(Hello::Ehlo, pipelining, Quit::Clean), owner);
        for (at, input) in inputs.iter().enumerate() {
            wire.receive(input.as_bytes());
            if at == abort {
                wire.client.abort(wire.now);
                wire.settle();
            }
        }
        wire.close(Closed::Eof);
        prop_assert!(wire.closed.is_some());
        // Nothing that comes after the close has an effect.
        wire.receive(b"250 ok\r\n");
        wire.close(Closed::Reset);
        wire.client.abort(wire.now);
        wire.settle();
    }
}

/// A 250 that was read, even only in part, before the content was written does not accept the content.
#[test]
fn what_comes_with_354_accepts_nothing() {
    for early in ["250 taken\r\n", "250-taken\r\n250 as 1\r\n", "250", "250 taken\r"] {
        let mails = VecDeque::from([Mail { number: 1, recipients: 1, pieces: 1, lost_from: None }]);
        let owner = Owner { mails, ..Owner::default() };
        let mut wire = Wire::new(script(Hello::Ehlo, Pipelining::Off, Quit::Clean), owner);
        for reply in ["220 mx\r\n", "250 mx\r\n", "250 ok\r\n", "250 ok\r\n"] {
            wire.receive(reply.as_bytes());
        }
        wire.receive(format!("354 go\r\n{early}").as_bytes());
        wire.receive(b" later\r\n");
        let accepted =
            wire.events.iter().any(|event| matches!(event, Event::Transaction { accepted: true, .. }));
        assert!(!accepted && wire.closed.is_some(), "{early:?}: {:?}", wire.events);
        let wrote = wire.writes.last().is_some_and(|bytes| bytes.starts_with(b"piece"));
        assert_eq!(wrote, !early.ends_with('\n'), "{early:?}: {:?}", wire.writes);
    }
}

/// A 250 of which a part was read before the kernel took the dot does not accept the content either, whenever the rest comes.
#[test]
fn what_begins_before_the_dot_accepts_nothing() {
    for (early, rest) in [("250 2.0.0 que", "ued\r\n"), ("250-queued\r\n", "250 ok\r\n"), ("2", "50 ok\r\n")]
    {
        for pieces in [1, 3] {
            let mails = VecDeque::from([Mail { number: 1, recipients: 1, pieces, lost_from: None }]);
            let owner = Owner { mails, ..Owner::default() };
            let mut wire = Wire::new(script(Hello::Ehlo, Pipelining::Off, Quit::Clean), owner);
            for reply in ["220 mx\r\n", "250 mx\r\n", "250 ok\r\n", "250 ok\r\n"] {
                wire.receive(reply.as_bytes());
            }
            wire.holds = true;
            wire.receive(b"354 go\r\n");
            wire.receive(early.as_bytes());
            wire.holds = false;
            wire.written();
            wire.settle();
            wire.receive(rest.as_bytes());
            let accepted =
                wire.events.iter().any(|event| matches!(event, Event::Transaction { accepted: true, .. }));
            assert!(!accepted && wire.closed.is_some(), "{early:?}, {pieces}: {:?}", wire.events);
        }
    }
}

fn play(
    hello: Hello,
    pipelining: Pipelining,
    quit: Quit,
    offers: bool,
    owner: Owner,
    moves: Vec<(Move, prop::sample::Index)>,
) {
    let mut wire = Wire::new(script(hello, pipelining, quit), owner);
    let groups = offers && hello == Hello::Ehlo && pipelining != Pipelining::Off;
    let full = groups && pipelining != Pipelining::Auto;
    let ehlo = hello == Hello::Ehlo;
    let mut listener = Listener { offers, groups, full, ehlo, ..Listener::default() };
    for (next, cut) in moves {
        if wire.closed.is_some() {
            break;
        }
        match next {
            Move::Good(most) => {
                let mut bytes = Vec::new();
                for _ in 0..most {
                    let Some(code) = listener.good() else { break };
                    bytes.extend(listener.answers(code, wire.is_unread()));
                }
                receive(&mut wire, &bytes, cut);
            }
            Move::Code(code) => {
                let bytes = listener.answers(code, wire.is_unread());
                receive(&mut wire, &bytes, cut);
            }
            Move::Noise(bytes) => {
                listener.lied = true;
                receive(&mut wire, &bytes, cut);
            }
            Move::Closes(how) => {
                listener.reset = how != Closed::Eof;
                wire.close(how);
            }
            Move::Passes(seconds) => wire.pass(Duration::from_secs(seconds)),
            Move::Holds => wire.holds = true,
            Move::Takes => {
                wire.holds = false;
                wire.written();
                wire.settle();
            }
            Move::Begin(mail) if wire.client.is_resting() => {
                wire.begin(mail);
                wire.settle();
            }
            Move::Begin(_) => {}
            Move::Finish => {
                wire.client.finish();
                wire.settle();
            }
            Move::Abort => {
                wire.client.abort(wire.now);
                wire.settle();
            }
        }
        listener.read(&mut wire);
    }
    // After a reset by either side the listener never reads the bytes that are left; after an orderly close it does.
    let cut_short = wire.is_unread() && (listener.reset || wire.closed == Some(Close::Reset));
    if !cut_short {
        wire.holds = false;
        wire.written();
        wire.settle();
        listener.read(&mut wire);
    }
    // Every session ends, at the latest when its time-outs are over.
    wire.pass(Duration::from_secs(3 * 3600));
    listener.read(&mut wire);
    assert!(wire.closed.is_some(), "a session that never ends");
    listener.balance(&wire.events, cut_short);
}

/// Passes the bytes to the client in two reads.
fn receive(wire: &mut Wire, bytes: &[u8], cut: prop::sample::Index) {
    let cut = cut.index(bytes.len() + 1);
    wire.receive(&bytes[..cut]);
    wire.receive(&bytes[cut..]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Greeting,
    Hello,
    Mail,
    Rcpt,
    Data,
    Content,
    LoneDot,
    Rset,
    Quit,
}

/// A listener that reads commands by the protocol, and sends any replies.
#[derive(Debug, Default)]
struct Listener {
    offers: bool,
    /// MAIL, RCPT and DATA may come in a group, before the replies.
    groups: bool,
    /// They may also follow a message whose reply is outstanding.
    full: bool,
    greeted: bool,
    /// It sent a reply without a command, so it no longer knows to which command the client assigns a reply.
    lied: bool,
    /// It sent a reply after which the client may only quit.
    gave_up: bool,
    reset: bool,
    /// EHLO is in use and was not refused so far. A refused EHLO may be followed by HELO.
    ehlo: bool,
    /// EHLO was refused as unknown.
    again: bool,
    /// Hello was accepted.
    established: bool,
    read: usize,
    last: Option<Told>,
    unanswered: VecDeque<Told>,
    /// The listener answered 354, and the final dot has not come.
    content: bool,
    lines: u32,
    mail_accepted: bool,
    recipients: u32,
    accepted: usize,
    refused: usize,
    /// The number of messages that it has, without an accepting or refusing reply.
    unsaid: usize,
}

impl Listener {
    /// Returns the right reply to the oldest outstanding command.
    fn good(&self) -> Option<u16> {
        if !self.greeted {
            return Some(220);
        }
        Some(match self.unanswered.front()? {
            Told::Data => 354,
            Told::Quit => 221,
            _ => 250,
        })
    }

    fn wire_form(&self, code: u16) -> Vec<u8> {
        if self.offers && !self.established && code == 250 {
            b"250-mx.test\r\n250 PIPELINING\r\n".to_vec()
        } else {
            format!("{code:03} text\r\n").into_bytes()
        }
    }

    /// Records a reply and returns its bytes.
    fn answers(&mut self, code: u16, unread: bool) -> Vec<u8> {
        let bytes = self.wire_form(code);
        self.note(code, unread);
        bytes
    }

    fn note(&mut self, code: u16, unread: bool) {
        if !self.greeted {
            self.greeted = true;
            self.gave_up |= code / 100 != 2 || code == 221;
            return;
        }
        let refuses = matches!(code / 100, 4 | 5);
        let Some(told) = self.unanswered.pop_front() else {
            // While there are writes that the listener has not read, it does not know to which command the client
            // assigns this reply.
            self.lied |= unread;
            self.gave_up = true;
            return;
        };
        let succeeds = code / 100 == 2 && !matches!(code, 220 | 221);
        match told {
            // A refused EHLO is followed by HELO (RFC 5321 3.2), whose reply offers no extensions.
            Told::Hello if self.ehlo && (500..510).contains(&code) => {
                (self.ehlo, self.again) = (false, true);
                (self.groups, self.full) = (false, false);
            }
            Told::Hello => {
                self.established = succeeds;
                self.gave_up |= !succeeds;
            }
            Told::Mail => {
                self.mail_accepted = succeeds;
                self.recipients = 0;
            }
            Told::Rcpt => self.recipients += u32::from(succeeds),
            Told::Data => {
                self.content = code == 354;
                self.lines = 0;
                self.gave_up |= code / 100 == 2;
            }
            Told::Content if succeeds => self.accepted += 1,
            Told::Content if refuses => self.refused += 1,
            Told::Content => self.unsaid += 1,
            Told::Rset => self.mail_accepted = false,
            Told::Greeting | Told::LoneDot | Told::Quit => {}
        }
        let fits =
            succeeds || refuses || told == Told::Data && code == 354 || told == Told::Quit && code == 221;
        self.gave_up |= !fits || code == 421 || told == Told::Rset && refuses;
        if told == Told::Data && refuses && !self.mail_accepted {
            self.last = Some(Told::Rset);
        }
    }

    /// Reads the bytes that the kernel has taken from the client.
    fn read(&mut self, wire: &mut Wire) {
        while self.read < wire.writes.len() && !(wire.is_unread() && self.read + 1 == wire.writes.len()) {
            let text = String::from_utf8(wire.writes[self.read].clone()).expect("commands are ASCII");
            self.read += 1;
            assert!(text.ends_with("\r\n"), "{text:?}");
            for line in text.split_terminator("\r\n") {
                self.line(line);
            }
        }
    }

    fn line(&mut self, line: &str) {
        if self.lied {
            return;
        }
        if self.content {
            if line != "." {
                assert!(
                    line.starts_with("piece ") && self.recipients > 0 && self.mail_accepted,
                    "content {line:?}"
                );
                self.lines += 1;
                return;
            }
            self.content = false;
            let wanted = self.recipients > 0 && self.mail_accepted;
            self.mail_accepted = false;
            return self.told(if wanted { Told::Content } else { Told::LoneDot });
        }
        let told = match &line[..4] {
            "EHLO" if !self.again => Told::Hello,
            "HELO" => Told::Hello,
            "MAIL" => Told::Mail,
            "RCPT" => Told::Rcpt,
            "DATA" => Told::Data,
            "RSET" => Told::Rset,
            "QUIT" => Told::Quit,
            _ => panic!("no command: {line:?}"),
        };
        let last = self.last.unwrap_or(Told::Greeting);
        let idle = self.unanswered.is_empty();
        let allowed = match told {
            Told::Hello => {
                let is_due = last == Told::Greeting || last == Told::Hello && self.again;
                is_due && self.greeted && idle
            }
            Told::Mail => {
                let over = matches!(last, Told::Hello | Told::Content | Told::LoneDot | Told::Rset)
                    || last == Told::Mail && !self.mail_accepted;
                let follows = self.full && last == Told::Content && self.unanswered.len() == 1;
                self.established && over && (idle || follows)
            }
            Told::Rcpt => {
                matches!(last, Told::Mail | Told::Rcpt) && (self.groups || idle && self.mail_accepted)
            }
            Told::Data => {
                last == Told::Rcpt && (self.groups || idle && self.mail_accepted && self.recipients > 0)
            }
            Told::Rset => matches!(last, Told::Rcpt | Told::Data) && idle && self.mail_accepted,
            Told::Quit => last != Told::Quit && self.greeted && idle,
            Told::Greeting | Told::Content | Told::LoneDot => unreachable!("no commands"),
        };
        let leaves = told == Told::Quit;
        assert!(allowed && (leaves || !self.gave_up), "{line:?} after {last:?} with {self:?}");
        self.told(told);
    }

    fn told(&mut self, told: Told) {
        self.last = Some(told);
        self.unanswered.push_back(told);
    }

    /// Checks that each message that it accepted was reported as accepted, and each other message that it may have as
    /// in doubt.
    fn balance(&self, events: &[Event], cut_short: bool) {
        if self.lied {
            return;
        }
        let accepted =
            events.iter().filter(|e| matches!(e, Event::Transaction { accepted: true, .. })).count();
        let in_doubt = |event: &&Event| {
            matches!(event, Event::Step { step: Step::Body, in_doubt: true, failure: Some(_), .. })
        };
        let in_doubt = events.iter().filter(in_doubt).count();
        let unanswered = self.unanswered.iter().filter(|told| **told == Told::Content).count();
        assert_eq!(accepted, self.accepted, "accepted; {self:?}");
        // The client cannot know whether the kernel took the final dot of the last write.
        let unknown = usize::from(cut_short);
        let held = self.unsaid + unanswered;
        assert!((held..=held + unknown).contains(&in_doubt), "{in_doubt} in doubt; {self:?}");
    }
}
