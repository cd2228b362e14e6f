//! The client as a [`Machine`]: input, time-outs, and what is to be written.

use std::time::Instant;

use super::event::{Event, Failure};
use super::lmtp::MissingReplyCheck;
use super::misbehave::HalfClose;
use super::reply_check::insecure;
use super::{Client, ClientState};
use crate::smtp::machine::{Close, Closed, Handshake, Insecure, Machine, Need};
use crate::smtp::step::Step;
use crate::smtp::transaction::Content;

impl<C: Content> Machine for Client<C> {
    type Event = Event;

    fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> usize {
        if self.is_over() {
            return bytes.len();
        }
        if self.is_handshake() {
            let first = &bytes[..bytes.len().min(200)];
            self.fail(now, Failure::Injected(String::from_utf8_lossy(first).into_owned()), true);
            return bytes.len();
        }
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut input = bytes;
        // All that was read is taken at once: what comes after the last reply that is owed must not come back as the answer to
        // what is written next. Only what stands before a TLS handshake is left, and found there.
        loop {
            match scanner.scan(&mut input) {
                None => break,
                Some(Ok(raw)) => self.reply(now, raw),
                Some(Err(malformed)) => self.fail(now, Failure::Malformed(malformed), true),
            }
            if input.is_empty() || self.is_over() || self.is_handshake() {
                break;
            }
            // A transaction that may go out behind the last chunk of another is offered before that one is answered, however
            // the replies were cut.
            if self.state == ClientState::Mail {
                let early = self.offer();
                self.events.extend(early);
            }
        }
        self.scanner = scanner;
        // What follows the end is nobody's.
        if self.is_over() { bytes.len() } else { bytes.len() - input.len() }
    }

    fn handle_written(&mut self, now: Instant) {
        self.backlog = false;
        self.alive = now;
        self.transactions.written();
    }

    fn handle_secured(&mut self, now: Instant, handshake: Handshake) {
        if !self.is_handshake() {
            return;
        }
        self.report(now, Step::Tls, 0, None);
        self.events.push_back(Event::Secured(Box::new(handshake.clone())));
        if let Some(opening) = &mut self.opening {
            opening.secured(handshake);
        }
        (self.since, self.alive) = (now, now);
    }

    fn handle_insecure(&mut self, now: Instant, why: Insecure) {
        self.fail(now, insecure(why), true);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| now >= deadline);
        if !over(self.deadline()) {
            return;
        }
        if !self.is_waiting() && over(self.silent_until) {
            return;
        }
        if self.is_resting() {
            // Nothing is lost when a resting session grows too old: it leaves as it would at its end.
            return self.finish();
        }
        if over(self.held_until()) {
            return self.held_long_enough(now);
        }
        if over(self.asks_at()) {
            self.asked = MissingReplyCheck::Due;
            return;
        }
        let failure = if over(self.session_deadline()) {
            Failure::SessionTimedOut
        } else {
            Failure::TimedOut(self.scanner.evidence())
        };
        self.fail(now, failure, false);
    }

    fn handle_closed(&mut self, now: Instant, how: Closed) {
        if self.state == ClientState::Drained {
            return self.held_long_enough(now);
        }
        let failure = self.closed_by(how);
        self.fail(now, failure, true);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Event> {
        // Nothing else can be due before an event of a session that works as it should.
        let is_plain = self.held.is_none() && self.silent_until.is_none() && !self.finishing;
        if is_plain && let Some(event) = self.events.pop_front() {
            return Need::Emit(event);
        }
        if self.silent_until.take_if(|until| *until <= now).is_some() && self.is_handshake() {
            (self.since, self.alive) = (now, now);
        }
        match self.state {
            ClientState::Rest if self.finishing => self.leave(now),
            // What was read of the listener does not tell whether it still listens.
            ClientState::Deaf if self.finishing => self.end(now, Close::Clean, false),
            _ => {}
        }
        self.tell_held();
        if let Some(event) = self.events.pop_front().or_else(|| self.offer()) {
            return Need::Emit(event);
        }
        if let ClientState::Over(how) = self.state {
            return Need::Close(how);
        }
        if self.is_handshake() && self.silent_until.is_none() {
            return Need::Secure { until: self.deadline() };
        }
        if self.half_closed == HalfClose::Due {
            self.half_closed = HalfClose::Done;
            return Need::EndWrite;
        }
        if self.half_closed == HalfClose::Done && !self.is_waiting() {
            // All that is owed was read, and nothing more can be said.
            self.end(now, Close::Clean, false);
            return self.poll(now, out);
        }
        let early = !self.is_waiting() && self.scanner.is_partial();
        if self.half_closed == HalfClose::Open && self.write(now, out) {
            self.early |= early;
            self.backlog = true;
            self.alive = now;
            let closes_after = self.script.manners.half_close;
            if closes_after.is_some_and(|step| step == self.step()) && !self.transactions.is_partly_rendered()
            {
                self.half_closed = HalfClose::Due;
            }
            return Need::Write;
        }
        if self.is_over() {
            // What was to be written is lost, and that is to be told.
            return self.poll(now, out);
        }
        let until = self.deadline();
        if self.state == ClientState::Deaf { Need::Wait { until } } else { Need::Read { until } }
    }
}
