//! The client machine: one session from the greeting to QUIT, over any number of transactions.
//!
//! It speaks, times each step and says how each ended; what a reply means and what is done next is its owner's business.
//!
//! # Decisions
//! - A reply is not an error: 4yz and 5yz end a step, and the owner hears of it. Only a dialogue that is out of step ends
//!   the session (malformed replies, unasked replies, 421, time-outs).
//! - A step is measured from the moment its group is written: in a group all steps count from the same moment. Its
//!   time-out counts from the last sign of life (a reply, or bytes that the kernel took), or slow replies to the first
//!   commands of a group would time out the last (RFC 5321 4.5.3.2 knows no groups).
//! - What was read before the content was written is no answer to it: a 250 that came with the 354 says nothing of a
//!   message that the listener has not seen. A reply that is as early to a command cannot be told from one that answers
//!   when it comes by itself, and is not told from it; such a listener is out of step by DATA at the latest.
//! - 220 opens and 221 closes a session: neither is taken for the success of another command, whatever its first digit.
//! - Once the final dot may be with the kernel, whatever is lost is in doubt (RFC 5321 4.2.5): the listener may have the
//!   message. That includes a dot that our own orderly close is still to flush.
//! - Content is rendered piece by piece as the kernel takes it, so that a slow listener costs no memory.

mod aside;
mod event;
mod exchange;
mod fits;
mod older;
mod opening;
mod rude;
mod underway;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::aside::Turn;
use self::fits::{failure, insecure, is_refusal, unexpected};
use self::opening::{Next, Opening};
use self::rude::Half;
use self::underway::Underway;
use super::command;
use super::machine::{Close, Closed, Handshake, Insecure, Machine, Need};
use super::reply::{RawReply, Scanner};
use super::script::{Identity, Quit, Script};
use super::step::Step;
use super::transaction::{Content, Lost};

pub use self::event::{Event, Failure, Lacking};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Greeting, TLS, hello, XCLIENT and AUTH: `opening` is there.
    Opening,
    /// Nothing outstanding.
    Rest,
    /// A transaction is under way: `current` is there.
    Mail,
    /// RSET is to be written, or was.
    Reset,
    /// A command for its own sake is to be written, or was.
    Aside(Turn),
    /// NOOP is said again and again, and no reply is read, by the script's bad manners.
    Deaf,
    /// QUIT is to be written, or was.
    Quit,
    Over(Close),
}

/// The client side of a session.
#[derive(Debug)]
pub struct Client<C> {
    script: Rc<Script>,
    state: State,
    opening: Option<Box<Opening>>,
    scanner: Scanner,
    underway: Underway<C>,
    /// When the session's time is up; reckoned once, for it is asked for at every wait.
    expires: Option<Instant>,
    /// When the command of a state outside transactions was written.
    since: Instant,
    /// The last sign of life, from which time-outs count.
    alive: Instant,
    /// The state's command is written.
    written: bool,
    /// The kernel has not taken all that was written.
    backlog: bool,
    /// Part of a reply was there before the content that is waited for was written.
    early: bool,
    finishing: bool,
    /// Nothing is said before this time, by the script's bad manners.
    silent_until: Option<Instant>,
    half_closed: Half,
    /// The owner knows that it may begin.
    offered: bool,
    events: VecDeque<Event>,
}

impl<C: Content> Client<C> {
    /// A session over a connection that is established `now`.
    pub fn new(script: Rc<Script>, identity: Identity, now: Instant) -> Self {
        let expires = now.checked_add(script.timeouts.session);
        Client {
            opening: Some(Box::new(Opening::new(&script, identity))),
            script,
            state: State::Opening,
            scanner: Scanner::default(),
            underway: Underway::new(),
            expires,
            since: now,
            alive: now,
            written: false,
            backlog: false,
            early: false,
            finishing: false,
            silent_until: None,
            half_closed: Half::Open,
            offered: false,
            events: VecDeque::new(),
        }
    }

    /// Begins a transaction. Only after a [`Event::Ready`] that was not answered yet, or while the session rests.
    pub fn begin(&mut self, content: C) {
        debug_assert!(
            self.is_resting() || self.state == State::Mail && self.offered && !self.finishing,
            "begin without Ready"
        );
        if self.underway.begin(content, &self.script, self.alive) {
            self.state = State::Mail;
            self.offered = false;
        }
    }

    /// Ends the session as the script says, after the transactions under way.
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// Ends the session at once; a step that is waited for fails as [`Failure::Aborted`].
    pub fn abort(&mut self, now: Instant) {
        self.fail(now, Failure::Aborted, false);
    }

    /// Whether the session rests: established, and nothing outstanding.
    pub fn is_resting(&self) -> bool {
        self.state == State::Rest && !self.finishing
    }

    /// Whether what it writes now holds a secret, which no transcript may show.
    pub fn is_secret(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| opening.is_secret())
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    fn is_handshake(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| opening.is_handshake())
    }

    /// The step that is waited for, if [`is_waiting`](Self::is_waiting).
    fn step(&self) -> Step {
        match self.state {
            _ if self.silent_until.is_some() && !self.is_waiting() => Step::Idle,
            State::Opening => self.opening.as_ref().map_or(Step::Idle, |opening| opening.step()),
            State::Mail => self.underway.step(),
            State::Aside(_) => Step::Command,
            State::Quit => Step::Quit,
            State::Rest | State::Reset | State::Deaf | State::Over(_) => Step::Idle,
        }
    }

    /// Whether the listener owes a reply.
    fn is_waiting(&self) -> bool {
        match self.state {
            // Our own silence holds the handshake back.
            State::Opening if self.silent_until.is_some() && self.is_handshake() => false,
            State::Opening => {
                self.written || self.opening.as_ref().is_some_and(|opening| opening.waits_unasked())
            }
            State::Reset | State::Aside(_) | State::Quit => self.written,
            State::Mail => self.underway.is_waiting(),
            State::Rest | State::Deaf | State::Over(_) => false,
        }
    }

    /// Whether the listener has asked for content of which nothing is written, or for a chunk.
    fn owes_content(&self) -> bool {
        self.state == State::Mail && self.underway.owes_content()
    }

    /// When the outstanding wait began.
    fn since(&self) -> Instant {
        self.underway.current.as_ref().map_or(self.since, |exchange| exchange.since())
    }

    /// When the session's time is up. One that is leaving is given the time to.
    fn session_deadline(&self) -> Option<Instant> {
        let leaving = matches!(self.state, State::Quit | State::Over(_));
        if leaving { None } else { self.expires }
    }

    fn deadline(&self) -> Option<Instant> {
        let step = match self.silent_until {
            Some(until) if !self.is_waiting() => Some(until),
            _ => self.timeout().and_then(|timeout| self.alive.checked_add(timeout)),
        };
        match (self.session_deadline(), step) {
            (Some(session), Some(step)) => Some(session.min(step)),
            (session, step) => session.or(step),
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let timeouts = &self.script.timeouts;
        match (self.state, self.step()) {
            (State::Rest | State::Deaf | State::Over(_), _) => None,
            (_, Step::Greeting) => Some(timeouts.greeting),
            (_, Step::Data) => Some(timeouts.data),
            (_, Step::Body) => Some(timeouts.body),
            _ => Some(timeouts.command),
        }
    }

    /// Tells the end of a step and the code of the reply that ended it (0: none did).
    fn tell(&mut self, now: Instant, step: Step, code: u16, failure: Option<Box<Failure>>) {
        let started = if self.is_waiting() { self.since() } else { now };
        let in_doubt = match failure.as_deref() {
            None | Some(Failure::Reply(_) | Failure::Challenged { .. }) => false,
            Some(failure) => self.underway.in_doubt(failure),
        };
        self.told(now, step, started, code, failure, in_doubt);
    }

    fn told(
        &mut self,
        ended: Instant,
        step: Step,
        started: Instant,
        code: u16,
        failure: Option<Box<Failure>>,
        in_doubt: bool,
    ) {
        if let Some((after, length)) = self.script.manners.stall
            && after == step
            && failure.is_none()
        {
            self.silent_until = ended.checked_add(length);
        }
        self.events.push_back(Event::Step { step, started, ended, code, failure, in_doubt });
    }

    /// The session cannot go on: the outstanding step fails, and with it every transaction.
    fn fail(&mut self, now: Instant, failure: Failure, by_peer: bool) {
        if self.is_over() {
            return;
        }
        let leaving = self.state == State::Quit;
        let code = match &failure {
            Failure::Reply(reply) | Failure::Challenged { reply, .. } | Failure::Unexpected(reply) => {
                reply.code
            }
            _ => 0,
        };
        // Giving up a session that waits for no step, or that is leaving anyway, is no finding.
        let silent = failure == Failure::Aborted
            && (self.step() == Step::Idle || matches!(self.state, State::Reset | State::Quit));
        let why = failure.clone();
        if !silent {
            self.tell(now, self.step(), code, Some(Box::new(failure)));
        }
        self.lose(now, &why, Close::Clean, by_peer && !leaving);
    }

    fn end(&mut self, now: Instant, how: Close, by_peer: bool) {
        self.lose(now, &Failure::Aborted, how, by_peer);
    }

    /// The session is over, and with it what is under way.
    fn lose(&mut self, now: Instant, why: &Failure, how: Close, by_peer: bool) {
        self.underway.lose(now, why, &mut self.events);
        self.events.push_back(Event::Ended { by_peer });
        self.state = State::Over(how);
        self.opening = None;
    }

    /// Ends the session as the script says; QUIT is written at the next poll.
    fn leave(&mut self, now: Instant) {
        match self.script.quit {
            Quit::Clean | Quit::Hold => self.command(State::Quit),
            Quit::Close => self.end(now, Close::Clean, false),
            Quit::Reset => self.end(now, Close::Reset, false),
        }
    }

    /// Goes to a state whose command is written at the next poll.
    fn command(&mut self, state: State) {
        self.opening = None;
        self.state = state;
        self.written = false;
    }

    /// Goes on with a command for its own sake, or rests.
    fn aside(&mut self, turn: Option<Turn>) {
        match turn {
            Some(turn) => self.command(State::Aside(turn)),
            None => self.rest(),
        }
    }

    fn rest(&mut self) {
        self.state = State::Rest;
        self.offered = false;
    }

    /// One complete reply came.
    fn reply(&mut self, now: Instant, raw: RawReply<'_>) {
        let step = self.step();
        let failure = match &self.opening {
            Some(opening) => {
                opening.refusal(raw).or_else(|| (!opening.fits(raw.code)).then(|| unexpected(raw)))
            }
            None => failure(step, raw),
        };
        // RFC 5321 3.8: 421 may answer any command, come unasked, and always ends the session.
        if raw.code == 421 || self.early || !self.is_waiting() {
            let failure = failure.unwrap_or_else(|| unexpected(raw));
            return self.fail(now, *failure, true);
        }
        self.alive = now;
        match (self.state, failure) {
            (State::Mail, failure) => self.transaction_reply(now, raw, failure),
            (State::Quit, failure) => {
                self.tell(now, step, raw.code, failure);
                self.end(now, Close::Clean, false);
            }
            (State::Opening, None) => self.opened(now, raw, None),
            (State::Opening, Some(failure)) if is_refusal(&failure) && self.steps_down(raw) => {}
            (State::Opening, Some(failure)) if is_refusal(&failure) && step == Step::Command => {
                self.opened(now, raw, Some(failure));
            }
            (State::Reset, None) => self.aside(Turn::after_transaction(&self.script)),
            (State::Aside(turn), failure) if failure.as_deref().is_none_or(is_refusal) => {
                self.tell(now, step, raw.code, failure);
                self.aside(turn.next(&self.script));
            }
            (_, Some(failure)) if is_refusal(&failure) => {
                // RFC 5321 3.1: after a refusing greeting QUIT is in order; so it is when hello or RSET is refused.
                self.tell(now, step, raw.code, Some(failure));
                self.leave(now);
            }
            (_, Some(failure)) => self.fail(now, *failure, true),
            (State::Aside(_) | State::Rest | State::Deaf | State::Over(_), None) => {}
        }
    }

    /// A reply that fits came to what the opening waited for.
    fn opened(&mut self, now: Instant, raw: RawReply<'_>, refused: Option<Box<Failure>>) {
        let (step, since) = (self.step(), self.since);
        let Some(opening) = &mut self.opening else { return };
        let next = opening.reply(&self.script, raw);
        self.written = opening.was_said_early();
        match next {
            Next::Goes { complete: false } => return,
            // What is asked for and not offered fails the hello that showed it, or a step of its own.
            Next::Fails(failed, failure) if failed == step => {
                self.told(now, step, since, raw.code, Some(Box::new(failure)), false);
                return self.leave(now);
            }
            _ => self.told(now, step, since, raw.code, refused, false),
        }
        self.since = now;
        match next {
            Next::Goes { .. } => {}
            Next::Fails(failed, failure) => {
                self.told(now, failed, now, 0, Some(Box::new(failure)), false);
                self.leave(now);
            }
            Next::Established { pipelining, terms } => self.established(pipelining, terms),
        }
    }

    /// A reply to what is outstanding longest of the current transaction.
    fn transaction_reply(&mut self, now: Instant, raw: RawReply<'_>, failure: Option<Box<Failure>>) {
        let Some(exchange) = &self.underway.current else { return };
        let early = exchange.is_early();
        let failure = match failure {
            None if early => Some(unexpected(raw)),
            failure => failure,
        };
        let good = failure.is_none();
        // After an early reply the rest of the content can no longer be told from commands, unless its length was said.
        let out_of_step =
            early && !exchange.is_chunked() || matches!(failure.as_deref(), Some(Failure::Unexpected(_)));
        let silent = exchange.is_consequence() || good && exchange.is_midway();
        if out_of_step || !silent {
            self.tell(now, self.step(), raw.code, failure);
        }
        if out_of_step {
            return self.end(now, Close::Clean, true);
        }
        if let Some(accepted) = self.underway.current.as_mut().and_then(|exchange| exchange.answer(good)) {
            self.transaction_over(now, accepted);
        }
    }

    /// The current transaction is over; the next one, if there is one already, takes its place.
    fn transaction_over(&mut self, now: Instant, accepted: bool) {
        self.events.push_back(Event::Transaction { accepted, ended: now });
        let needs_reset = self.underway.over();
        self.offered = false;
        if self.underway.current.is_some() {
            self.state = State::Mail;
        } else if needs_reset {
            self.command(State::Reset);
        } else {
            self.aside(Turn::after_transaction(&self.script));
        }
    }

    /// The `Ready` that is due now, told once for each occasion.
    fn offer(&mut self) -> Option<Event> {
        let early = match self.state {
            State::Rest => false,
            State::Mail if self.underway.has_room() => true,
            _ => return None,
        };
        if self.offered || self.finishing || self.half_closed != Half::Open {
            return None;
        }
        self.offered = true;
        Some(Event::Ready { early })
    }

    /// Appends what is to be said now. False: nothing.
    fn write(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        match self.state {
            _ if self.silent_until.is_some() => return false,
            State::Mail => return self.write_mail(now, out),
            _ if self.written => return false,
            State::Opening => return self.write_opening(now, out),
            State::Reset => out.extend_from_slice(command::RSET),
            State::Aside(turn) => turn.write(&self.script, out),
            State::Deaf if self.backlog => return false,
            State::Deaf => {
                self.silent_until = rude::chatter(now, out);
                return true;
            }
            State::Quit => out.extend_from_slice(command::QUIT),
            State::Rest | State::Over(_) => return false,
        }
        self.written = true;
        self.since = now;
        true
    }

    fn write_opening(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(opening) = &mut self.opening else { return false };
        if opening.waits_unasked() && !opening.talks_early(&self.script) {
            return false;
        }
        if !opening.continues() {
            self.since = now;
        }
        opening.write(&self.script, out);
        self.written = true;
        true
    }

    fn write_mail(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if let Err(Lost(why)) = self.underway.write(now, self.backlog, &mut self.events, out) {
            // Without its end the listener has no message (RFC 5321 4.1.1.4): it must see the end of the session first.
            out.truncate(before);
            self.fail(now, Failure::Lost(why), false);
            return false;
        }
        if self.underway.is_spent() {
            self.transaction_over(now, false);
        }
        out.len() > before
    }
}

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
        // All replies that are owed are taken at once, for nothing is said between those to one group. Whether what follows
        // them is owed is known only when what they let us say is written; but content that is owed would then be written
        // after the reply that cannot answer it.
        loop {
            match scanner.scan(&mut input) {
                None => break,
                Some(Ok(raw)) => self.reply(now, raw),
                Some(Err(malformed)) => self.fail(now, Failure::Malformed(malformed), true),
            }
            // But what is there before the content is written must not come back as an answer to it.
            let goes_on = self.is_waiting() && !self.is_handshake() || self.owes_content();
            if input.is_empty() || self.is_over() || !goes_on {
                break;
            }
            // Behind a last chunk that is still to be answered the next transaction may go out.
            if !self.offered && !self.finishing && self.underway.has_room_behind() {
                break;
            }
        }
        self.scanner = scanner;
        // What follows the end is nobody's.
        if self.is_over() { bytes.len() } else { bytes.len() - input.len() }
    }

    fn handle_written(&mut self, now: Instant) {
        self.backlog = false;
        self.alive = now;
        self.underway.written();
    }

    fn handle_secured(&mut self, now: Instant, handshake: Handshake) {
        if !self.is_handshake() {
            return;
        }
        self.tell(now, Step::Tls, 0, None);
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
        let failure = if over(self.session_deadline()) {
            Failure::SessionTimedOut
        } else {
            Failure::TimedOut(self.scanner.evidence())
        };
        self.fail(now, failure, false);
    }

    fn handle_closed(&mut self, now: Instant, how: Closed) {
        let failure = self.closed_by(how);
        self.fail(now, failure, true);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Event> {
        if self.silent_until.take_if(|until| *until <= now).is_some() && self.is_handshake() {
            (self.since, self.alive) = (now, now);
        }
        match self.state {
            State::Rest if self.finishing => self.leave(now),
            // What was read of the listener does not tell whether it still listens.
            State::Deaf if self.finishing => self.end(now, Close::Clean, false),
            _ => {}
        }
        if let Some(event) = self.events.pop_front().or_else(|| self.offer()) {
            return Need::Emit(event);
        }
        if let State::Over(how) = self.state {
            return Need::Close(how);
        }
        if self.is_handshake() && self.silent_until.is_none() {
            return Need::Secure { until: self.deadline() };
        }
        if self.half_closed == Half::Due {
            self.half_closed = Half::Done;
            return Need::EndWrite;
        }
        if self.half_closed == Half::Done && !self.is_waiting() {
            // All that is owed was read, and nothing more can be said.
            self.end(now, Close::Clean, false);
            return self.poll(now, out);
        }
        let early = self.owes_content() && self.scanner.is_partial();
        if self.half_closed == Half::Open && self.write(now, out) {
            self.early |= early;
            self.backlog = true;
            self.alive = now;
            if self.script.manners.half_close == Some(self.step()) && !self.underway.is_partly_rendered() {
                self.half_closed = Half::Due;
            }
            return Need::Write;
        }
        if self.is_over() {
            // What was to be written is lost, and that is to be told.
            return self.poll(now, out);
        }
        let until = self.deadline();
        if self.state == State::Deaf { Need::Wait { until } } else { Need::Read { until } }
    }
}
