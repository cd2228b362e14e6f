//! A session that is led by hand, line by line: opened by the client machine as any other, and from then on told what to
//! say. It answers for what came back and how it ended; what a line means, and how long to wait, is its owner's business.
//!
//! # Decisions
//! - The opening is [`Client`]'s: greeting, TLS, hello, XCLIENT and AUTH are spoken in one place only.
//! - No reply ends it, 421 neither: whether the listener closes with it is what its owner wants to see.
//! - There is no time-out after the opening: its owner has the clock.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::client::{Client, Event, Failure};
use super::hello::Offer;
use super::machine::{Close, Closed, Handshake, Insecure, Machine, Need};
use super::reply::{Malformed, Reply, Scanner};
use super::script::{Identity, Script};
use super::step::Step;
use super::transaction::{Content, Lost};

/// What a session that is led tells.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The opening succeeded, and nothing is outstanding: what the listener offers.
    Established(Box<Offer>),
    /// The opening failed at this step. The connection may live on.
    Refused(Step, Box<Failure>),
    /// A reply, asked for or not.
    Reply(Reply),
    /// What came is no reply, and nothing more is read.
    Malformed(Malformed),
    /// The other side is gone.
    Closed(Closed),
}

/// A session that carries no transaction of its own.
#[derive(Debug)]
enum Nothing {}

impl Content for Nothing {
    fn sender(&self, _: &mut Vec<u8>) {
        match *self {}
    }
    fn recipients(&self) -> u32 {
        match *self {}
    }
    fn recipient(&self, _: u32, _: &mut Vec<u8>) {
        match *self {}
    }
    fn size(&self) -> u64 {
        match *self {}
    }
    fn body(&self, _: u64, _: &mut Vec<u8>) -> Result<u64, Lost> {
        match *self {}
    }
    fn raw(&self, _: u64, _: u64, _: &mut Vec<u8>) -> Result<u64, Lost> {
        match *self {}
    }
    fn envelope_id(&self, _: &mut Vec<u8>) {
        match *self {}
    }
}

/// One session led by hand.
#[derive(Debug)]
pub struct Led {
    /// Until the opening is over.
    opening: Option<Box<Client<Nothing>>>,
    scanner: Scanner,
    /// What is to be written.
    says: Vec<u8>,
    told: VecDeque<Heard>,
    closing: Option<Close>,
    /// Nothing more is read.
    gone: bool,
}

impl Led {
    /// A session over a connection that is established `now`.
    pub fn new(script: Rc<Script>, identity: Identity, now: Instant) -> Led {
        Led { opening: Some(Box::new(Client::new(script, identity, now))), ..Led::bare() }
    }

    /// A session that says nothing of its own accord, not even hello. Its greeting is the first reply.
    pub fn bare() -> Led {
        Led {
            opening: None,
            scanner: Scanner::default(),
            says: Vec::new(),
            told: VecDeque::new(),
            closing: None,
            gone: false,
        }
    }

    /// Says these octets as they are, once the opening is over.
    pub fn say(&mut self, octets: &[u8]) {
        self.says.extend_from_slice(octets);
    }

    /// Closes the connection as told, whatever is outstanding.
    pub fn close(&mut self, how: Close) {
        self.closing.get_or_insert(how);
    }

    /// The opening is over: what it leaves to be heard.
    fn opened(&mut self, told: Heard) -> Need<Heard> {
        // A connection that failed in its handshake, or ended, has nothing more to say in clear text.
        if let Heard::Refused(_, failure) = &told {
            let speaks =
                matches!(**failure, Failure::Reply(_) | Failure::Unexpected(_) | Failure::NotOffered(_));
            if !speaks {
                self.gone = true;
                self.closing.get_or_insert(Close::Clean);
            }
        }
        self.opening = None;
        Need::Emit(told)
    }
}

impl Machine for Led {
    type Event = Heard;

    fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> usize {
        if let Some(opening) = &mut self.opening {
            return opening.handle_input(now, bytes);
        }
        let mut input = bytes;
        while !self.gone {
            match self.scanner.scan(&mut input) {
                None => break,
                Some(Ok(raw)) => self.told.push_back(Heard::Reply(raw.to_reply())),
                Some(Err(malformed)) => {
                    self.told.push_back(Heard::Malformed(malformed));
                    self.gone = true;
                }
            }
        }
        bytes.len()
    }

    fn handle_written(&mut self, now: Instant) {
        if let Some(opening) = &mut self.opening {
            opening.handle_written(now);
        }
    }

    fn handle_secured(&mut self, now: Instant, handshake: Handshake) {
        if let Some(opening) = &mut self.opening {
            opening.handle_secured(now, handshake);
        }
    }

    fn handle_insecure(&mut self, now: Instant, why: Insecure) {
        if let Some(opening) = &mut self.opening {
            opening.handle_insecure(now, why);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(opening) = &mut self.opening {
            opening.handle_timeout(now);
        }
    }

    fn handle_closed(&mut self, now: Instant, how: Closed) {
        if let Some(opening) = &mut self.opening {
            return opening.handle_closed(now, how);
        }
        if !self.gone {
            self.told.push_back(Heard::Closed(how));
        }
        self.gone = true;
        self.closing.get_or_insert(Close::Clean);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Heard> {
        if self.closing == Some(Close::Reset) {
            return Need::Close(Close::Reset);
        }
        while let Some(opening) = &mut self.opening {
            let step = match opening.poll(now, out) {
                Need::Emit(Event::Established(offer)) => return self.opened(Heard::Established(offer)),
                Need::Emit(Event::Step { step, failure: Some(failure), .. }) => (step, failure),
                Need::Emit(_) => continue,
                Need::Write => return Need::Write,
                Need::Secure { until } => return Need::Secure { until },
                Need::Read { until } if self.closing.is_none() => return Need::Read { until },
                Need::Wait { until } if self.closing.is_none() => return Need::Wait { until },
                Need::EndWrite => return Need::EndWrite,
                Need::Read { .. } | Need::Wait { .. } | Need::Close(_) => {
                    return Need::Close(self.closing.unwrap_or(Close::Clean));
                }
            };
            return self.opened(Heard::Refused(step.0, step.1));
        }
        if let Some(told) = self.told.pop_front() {
            return Need::Emit(told);
        }
        if !self.says.is_empty() && !self.gone {
            out.append(&mut self.says);
            self.says = Vec::new();
            return Need::Write;
        }
        match self.closing {
            Some(how) => Need::Close(how),
            None => Need::Read { until: None },
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the origin of a virtual clock")]
mod tests {
    use super::*;

    /// Feeds `input` and gives what the machine wrote and told until it waits or closes.
    fn turn(led: &mut Led, now: Instant, input: &str) -> (String, Vec<Heard>, Option<Close>) {
        if !input.is_empty() {
            assert_eq!(led.handle_input(now, input.as_bytes()), input.len());
        }
        let (mut out, mut told) = (Vec::new(), Vec::new());
        loop {
            match led.poll(now, &mut out) {
                Need::Emit(heard) => told.push(heard),
                Need::Write => led.handle_written(now),
                Need::Close(how) => return (String::from_utf8(out).unwrap(), told, Some(how)),
                _ => return (String::from_utf8(out).unwrap(), told, None),
            }
        }
    }

    fn led(now: Instant) -> Led {
        Led::new(Rc::new(Script::default()), Identity::default(), now)
    }

    #[test]
    fn what_is_said_goes_out_after_the_opening_and_every_reply_is_told() {
        let now = Instant::now();
        let mut led = led(now);
        led.say(b"NOOP\r\n");
        assert_eq!(turn(&mut led, now, "220 hi\r\n").0, "EHLO load.example\r\n");
        let (out, told, _) = turn(&mut led, now, "250 hi\r\n");
        assert!(matches!(told[..], [Heard::Established(_)]), "{told:?}");
        assert_eq!(out, "NOOP\r\n");
        let (_, told, closed) = turn(&mut led, now, "250 ok\r\n421 4.7.0 too many errors\r\n");
        let [Heard::Reply(first), Heard::Reply(second)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((first.code, second.code, closed), (250, 421, None), "421 ends nothing by itself");
        led.handle_closed(now, Closed::Eof);
        let (_, told, closed) = turn(&mut led, now, "");
        assert!(matches!(told[..], [Heard::Closed(Closed::Eof)]), "{told:?}");
        assert_eq!(closed, Some(Close::Clean));
    }

    #[test]
    fn a_listener_that_knows_no_ehlo_is_told_helo() {
        let now = Instant::now();
        let mut led = led(now);
        assert_eq!(turn(&mut led, now, "220 hi\r\n").0, "EHLO load.example\r\n");
        assert_eq!(turn(&mut led, now, "502 no\r\n").0, "HELO load.example\r\n");
        let (_, told, closed) = turn(&mut led, now, "250-hi\r\n250 SIZE\r\n");
        let [Heard::Established(offer)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((offer.size, closed), (None, None), "HELO offers nothing");
    }

    #[test]
    fn a_refused_opening_leaves_the_connection_to_be_watched() {
        let now = Instant::now();
        for (input, step) in [("421 busy\r\n", Step::Greeting), ("554 no\r\n", Step::Greeting)] {
            let mut led = led(now);
            let (out, told, closed) = turn(&mut led, now, input);
            let [Heard::Refused(at, failure)] = &told[..] else { panic!("{told:?}") };
            assert_eq!((*at, out.as_str(), closed), (step, "", None), "nobody says QUIT of itself");
            assert!(matches!(**failure, Failure::Reply(_)));
            led.say(b"NOOP\r\n");
            let (out, ..) = turn(&mut led, now, "");
            assert_eq!(out, "NOOP\r\n");
        }
        let mut led = led(now);
        led.handle_closed(now, Closed::Reset);
        let (_, told, closed) = turn(&mut led, now, "");
        let [Heard::Refused(Step::Greeting, failure)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&**failure, closed), (&Failure::Closed(Closed::Reset), Some(Close::Clean)));
    }
}
