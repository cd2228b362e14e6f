//! The client as a [`Machine`]: input, time-outs, and the bytes to write.

use std::time::Instant;

use super::event::{Event, Failure};
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
        self.retire(now);
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut input = bytes;
        // All input is processed at once: bytes after the last outstanding reply must not become the answer to the next
        // command. Only input before a TLS handshake is returned to the driver, and is then reported as injected.
        loop {
            match scanner.scan(&mut input) {
                None => break,
                Some(Ok(raw)) => self.reply(now, raw),
                Some(Err(malformed)) => self.fail(now, Failure::Malformed(malformed), true),
            }
            if input.is_empty() || self.is_over() || self.is_handshake() {
                break;
            }
            // The next transaction may be sent behind the last chunk of the current one. It is offered before the
            // current one is answered, however the replies were split into reads.
            if self.state == ClientState::Mail
                && let Some(ready) = self.offer()
            {
                self.events.push_back(ready);
            }
        }
        self.scanner = scanner;
        self.began_early |= self.scanner.is_partial() && self.transactions.is_early();
        // Bytes after the end of the session are dropped.
        if self.is_over() { bytes.len() } else { bytes.len() - input.len() }
    }

    fn handle_written(&mut self, now: Instant) {
        self.backlog = false;
        self.alive = now;
        self.transactions.written();
    }

    fn handle_progress(&mut self, now: Instant) {
        self.alive = now;
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
            // An idle session that reaches its time-out has no outstanding step, so it ends as the script says.
            return self.finish();
        }
        if over(self.held_until()) {
            return self.held_long_enough(now);
        }
        if over(self.asks_at()) {
            return self.ask();
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

    #[inline]
    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Event> {
        // In most turns the next event can be reported at once. A held message, a silence on purpose and a pending end
        // need other work first.
        let is_plain = self.held.is_none() && self.silent_until.is_none() && !self.finishing;
        if is_plain && let Some(event) = self.events.pop_front() {
            return Need::Emit(event);
        }
        self.poll_further(now, out)
    }
}

impl<C: Content> Client<C> {
    fn poll_further(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Event> {
        self.retire(now);
        if self.silent_until.take_if(|until| *until <= now).is_some() && self.is_handshake() {
            (self.since, self.alive) = (now, now);
        }
        match self.state {
            ClientState::Rest if self.finishing => self.leave(now),
            // No reply was read, so it is unknown whether the listener still reads.
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
            // Every outstanding reply was read, and the client cannot write any more.
            self.end(now, Close::Clean, false);
            return self.poll_further(now, out);
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
            // The session has ended because the content is lost: report both events, then close.
            return self.poll_further(now, out);
        }
        let until = self.deadline();
        if self.state == ClientState::Deaf { Need::Wait { until } } else { Need::Read { until } }
    }
}
