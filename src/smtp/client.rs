//! The client machine: one session from the greeting to QUIT, over any number of transactions.
//!
//! It speaks, times each step and says how each ended; what a reply means and what is done next is its owner's business.
//!
//! # Decisions
//! - A reply is not an error: 4yz and 5yz end a step, and the owner hears of it. Only a dialogue that is out of step ends
//!   the session (malformed replies, unasked replies, 421, time-outs).
//! - A step is timed from the moment its group is written: in a group all steps count from the same moment.
//! - Once the final dot is with the kernel, whatever is lost is in doubt (RFC 5321 4.2.5): the listener may have the message.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::command;
use super::hello::Offer;
use super::machine::{Close, Closed, Machine, Need};
use super::reply::{Malformed, RawReply, Reply, Scanner};
use super::script::{Hello, Pipelining, Quit, Script};
use super::step::Step;
use super::transaction::Content;

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A reply that refuses: 4yz, 5yz, and any 421 or unasked reply.
    Reply(Reply),
    /// A reply that does not fit the step, such as 250 to DATA.
    Unexpected(Reply),
    /// No reply within the step's time-out; what had come of an unfinished one.
    TimedOut(String),
    /// The session took longer than its time-out.
    SessionTimedOut,
    /// The connection is gone.
    Closed(Closed),
    /// What came is no reply.
    Malformed(Malformed),
    /// Given up by our own side.
    Aborted,
}

/// What the client tells its owner.
#[derive(Debug)]
pub enum Event {
    /// A step ended.
    Step {
        /// Which.
        step: Step,
        /// When its wait began.
        started: Instant,
        /// When it ended.
        ended: Instant,
        /// `None`: it succeeded.
        failure: Option<Box<Failure>>,
        /// The final dot was with the kernel: the listener may have the message.
        in_doubt: bool,
    },
    /// The session can send mail: greeting and hello succeeded.
    Established,
    /// [`Client::begin`] or [`Client::finish`] may be called. If neither is, the session rests.
    Ready {
        /// The last transaction is still under way: the next one would go out in one group with its content.
        /// Not calling `begin` now is no rest; another `Ready` follows.
        early: bool,
    },
    /// MAIL of the transaction begun last is being written.
    Begun(Instant),
    /// The oldest transaction ended; told for each that was given to [`Client::begin`], in order. What failed, if it did,
    /// was told by the steps before. One without [`Event::Begun`] never went out.
    Transaction {
        /// The positive reply to the final dot was read.
        accepted: bool,
        /// When it ended.
        ended: Instant,
    },
    /// The session is over.
    Ended {
        /// The listener ended it: by closing, by 421, or by breaking the protocol.
        by_peer: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    /// HELO or EHLO is to be written, or was.
    Hello,
    /// Nothing outstanding.
    Rest,
    /// Transactions outstanding.
    Mail,
    /// RSET is to be written, or was.
    Reset,
    Quit,
    Over,
}

/// One transaction under way. Its commands are numbered: 0 MAIL, 1..=n RCPT, n+1 DATA, n+2 content.
#[derive(Debug)]
struct Transaction<C> {
    content: C,
    recipients: u32,
    sent: u32,
    answered: u32,
    accepted_recipients: u32,
    /// Its fate is known to be bad; the replies still outstanding are read without more ado.
    failed: bool,
    /// The listener holds an open transaction that RSET must end.
    open: bool,
    offset: u64,
    content_begun: bool,
    /// The final dot is rendered; `dot_out`: and with the kernel.
    rendered: bool,
    dot_out: bool,
}

impl<C: Content> Transaction<C> {
    fn new(content: C) -> Self {
        let recipients = content.recipients();
        Transaction {
            content,
            recipients,
            sent: 0,
            answered: 0,
            accepted_recipients: 0,
            failed: false,
            open: false,
            offset: 0,
            content_begun: false,
            rendered: false,
            dot_out: false,
        }
    }

    fn data(&self) -> u32 {
        self.recipients + 1
    }

    fn step(&self, command: u32) -> Step {
        match command {
            0 => Step::Mail,
            n if n <= self.recipients => Step::Rcpt,
            n if n == self.data() => Step::Data,
            _ => Step::Body,
        }
    }

    /// Renders the next command (MAIL, RCPT or DATA).
    fn write_command(&mut self, out: &mut Vec<u8>) {
        match self.sent {
            0 => command::mail(out, |out| self.content.sender(out)),
            n if n <= self.recipients => command::rcpt(out, |out| self.content.recipient(n - 1, out)),
            _ => out.extend_from_slice(command::DATA),
        }
        self.sent += 1;
    }
}

/// The client side of a session.
#[derive(Debug)]
pub struct Client<C> {
    script: Rc<Script>,
    state: State,
    scanner: Scanner,
    pipelining: bool,
    current: Option<Transaction<C>>,
    /// Begun before `current` ended (full pipelining).
    next: Option<Transaction<C>>,
    /// When the session began and when the outstanding wait did.
    opened: Instant,
    since: Instant,
    /// The state's command is written.
    written: bool,
    finishing: bool,
    /// A `Ready` is owed to the owner; early ones are offered once a transaction.
    ready: bool,
    early_offered: bool,
    step: Option<(Step, Instant, Option<Box<Failure>>, bool)>,
    done: Option<bool>,
    established: bool,
    begun: u8,
    over: Option<(Close, bool)>,
    ended: bool,
    ended_at: Instant,
}

impl<C: Content> Client<C> {
    /// A session over a connection that is established `now`.
    pub fn new(script: Rc<Script>, now: Instant) -> Self {
        Client {
            script,
            state: State::Greeting,
            scanner: Scanner::default(),
            pipelining: false,
            current: None,
            next: None,
            opened: now,
            since: now,
            written: false,
            finishing: false,
            ready: false,
            early_offered: false,
            step: None,
            done: None,
            established: false,
            begun: 0,
            over: None,
            ended: false,
            ended_at: now,
        }
    }

    /// Begins a transaction. Only after a [`Event::Ready`] that was not answered yet, or while the session rests.
    pub fn begin(&mut self, content: C) {
        debug_assert!(self.next.is_none() && !self.finishing);
        self.ready = false;
        if self.current.is_none() {
            self.current = Some(Transaction::new(content));
            self.state = State::Mail;
        } else {
            self.next = Some(Transaction::new(content));
        }
    }

    /// Ends the session as the script says, after the transactions under way.
    pub fn finish(&mut self) {
        self.finishing = true;
        self.ready = false;
    }

    /// Ends the session at once; a wait that is outstanding fails as [`Failure::Aborted`].
    pub fn abort(&mut self, now: Instant) {
        self.fail(now, Failure::Aborted, false);
    }

    /// Whether the session rests: established, and nothing outstanding.
    pub fn is_resting(&self) -> bool {
        self.state == State::Rest && !self.finishing && self.over.is_none()
    }

    /// The step that is waited for.
    fn waiting_step(&self) -> Step {
        match self.state {
            State::Greeting => Step::Greeting,
            State::Hello => Step::Hello,
            State::Mail => self.current.as_ref().map_or(Step::Idle, |t| t.step(t.answered)),
            State::Quit => Step::Quit,
            State::Rest | State::Reset | State::Over => Step::Idle,
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let timeouts = &self.script.timeouts;
        match self.state {
            State::Greeting => Some(timeouts.greeting),
            State::Hello | State::Reset | State::Quit => Some(timeouts.command),
            State::Mail => Some(match self.waiting_step() {
                Step::Data => timeouts.data,
                Step::Body => timeouts.body,
                _ => timeouts.command,
            }),
            State::Rest | State::Over => None,
        }
    }

    fn deadline(&self) -> Instant {
        let session = self.opened + self.script.timeouts.session;
        self.timeout().map_or(session, |step| session.min(self.since + step))
    }

    /// Whether the kernel has all that a listener needs to own the message of the current transaction.
    fn in_doubt(&self) -> bool {
        self.current.as_ref().is_some_and(|t| t.dot_out && !t.failed && t.answered > t.data())
    }

    /// The session cannot go on: the outstanding step fails, and with it every transaction.
    fn fail(&mut self, now: Instant, failure: Failure, by_peer: bool) {
        if self.over.is_some() {
            return;
        }
        // Giving up a session that waits for nothing, or that is leaving anyway, is no finding.
        let reported = match (&failure, self.state) {
            (Failure::Aborted, State::Rest | State::Quit) => false,
            (Failure::Closed(_), State::Rest) => !self.finishing,
            _ => true,
        };
        if reported {
            let started = if self.state == State::Rest { now } else { self.since };
            let in_doubt = self.in_doubt();
            self.step = Some((self.waiting_step(), started, Some(Box::new(failure)), in_doubt));
        }
        self.end(now, Close::Clean, by_peer);
    }

    fn end(&mut self, now: Instant, how: Close, by_peer: bool) {
        self.ended_at = now;
        self.state = State::Over;
        self.ready = false;
        self.over = Some((how, by_peer));
    }

    /// One complete reply came.
    fn reply(&mut self, now: Instant, raw: RawReply<'_>) {
        let class = raw.code / 100;
        if raw.code == 421 || matches!(self.state, State::Rest) {
            // RFC 5321 3.8: 421 may answer any command, come unasked, and always ends the session.
            return self.fail(now, Failure::Reply(raw.to_reply()), true);
        }
        match self.state {
            State::Greeting if class == 2 => {
                self.passed(now);
                self.state = State::Hello;
                self.written = false;
            }
            State::Hello if !self.written => self.fail(now, Failure::Unexpected(raw.to_reply()), true),
            State::Hello if class == 2 => {
                self.passed(now);
                self.hello_accepted(now, raw);
            }
            State::Greeting | State::Hello => {
                let failure = refusal(raw);
                let by_peer = matches!(failure, Failure::Unexpected(_));
                self.step = Some((self.waiting_step(), self.since, Some(Box::new(failure)), false));
                if by_peer {
                    self.end(now, Close::Clean, true);
                } else {
                    // RFC 5321 3.1: after a refusing greeting, and out of courtesy after a refused hello, QUIT.
                    self.leave(now);
                }
            }
            State::Mail => self.transaction_reply(now, raw),
            State::Reset if class == 2 => self.rest(),
            State::Reset => self.fail(now, refusal(raw), true),
            State::Quit => {
                if class == 2 {
                    self.passed(now);
                } else {
                    self.step = Some((Step::Quit, self.since, Some(Box::new(refusal(raw))), false));
                }
                self.end(now, Close::Clean, false);
            }
            State::Rest | State::Over => {}
        }
    }

    fn hello_accepted(&mut self, now: Instant, raw: RawReply<'_>) {
        if self.script.hello == Hello::Ehlo {
            self.pipelining =
                self.script.pipelining != Pipelining::Off && Offer::parse(&raw.to_reply()).pipelining;
        }
        if self.script.pipelining == Pipelining::Require && !self.pipelining {
            let failure = Failure::Unexpected(raw.to_reply());
            self.step = Some((Step::Hello, self.since, Some(Box::new(failure)), false));
            return self.leave(now);
        }
        self.established = true;
        self.rest();
    }

    fn rest(&mut self) {
        self.state = State::Rest;
        self.ready = !self.finishing;
    }

    /// Ends the session as the script says; QUIT is written at the next poll.
    fn leave(&mut self, now: Instant) {
        match self.script.quit {
            Quit::Clean => {
                self.state = State::Quit;
                self.written = false;
            }
            Quit::Close => self.end(now, Close::Clean, false),
            Quit::Reset => self.end(now, Close::Reset, false),
        }
    }

    fn passed(&mut self, now: Instant) {
        self.ended_at = now;
        self.step = Some((self.waiting_step(), self.since, None, false));
    }

    /// A reply to the oldest unanswered command of the current transaction.
    fn transaction_reply(&mut self, now: Instant, raw: RawReply<'_>) {
        let Some(t) = &mut self.current else { return };
        let command = t.answered;
        let step = t.step(command);
        let is_content = command > t.data();
        if command >= t.sent || is_content && !t.content_begun {
            return self.fail(now, Failure::Unexpected(raw.to_reply()), true);
        }
        t.answered += 1;
        let class = raw.code / 100;
        let good = if step == Step::Data { raw.code == 354 } else { class == 2 };
        let mut failure = None;
        if good {
            match step {
                Step::Mail => t.open = true,
                Step::Rcpt => t.accepted_recipients += 1,
                _ => {}
            }
        } else {
            failure = Some(Box::new(refusal(raw)));
        }
        self.ended_at = now;
        // Once a transaction has failed, what follows of its group is a consequence and no finding of its own; a 354
        // after all recipients failed only asks for the lone dot.
        let consequence = t.failed || step == Step::Data && t.accepted_recipients == 0;
        let out_of_step = matches!(failure.as_deref(), Some(Failure::Unexpected(_)));
        let refused = failure.is_some();
        let early_end = is_content && !t.rendered;
        if !consequence || out_of_step {
            self.step = Some((step, self.since, failure, false));
        }
        if out_of_step {
            t.failed = true;
            return self.end(now, Close::Clean, true);
        }
        let last_recipient = command == t.recipients;
        match step {
            Step::Mail if refused => t.failed = true,
            Step::Rcpt if last_recipient && t.accepted_recipients == 0 => t.failed = true,
            Step::Data if refused => t.failed = true,
            Step::Body => {
                let accepted = good && !t.failed;
                if early_end {
                    // The rest of the content can no longer be told from commands.
                    self.done = Some(false);
                    self.current = None;
                    return self.end(now, Close::Clean, true);
                }
                return self.transaction_over(accepted);
            }
            _ => {}
        }
        let Some(t) = &mut self.current else { return };
        // A failed transaction is over when all that was sent is answered and no 354 asks for a dot.
        let dot_owed = step == Step::Data && good;
        if t.failed && t.answered == t.sent && !dot_owed {
            self.transaction_over(false);
        }
    }

    fn is_full(&self) -> bool {
        matches!(self.script.pipelining, Pipelining::Full | Pipelining::Require)
    }

    /// The current transaction is over; the next one, if it is out already, takes its place.
    fn transaction_over(&mut self, accepted: bool) {
        let Some(t) = self.current.take() else { return };
        self.done = Some(accepted);
        self.early_offered = false;
        self.current = self.next.take();
        let open = t.open && !t.content_begun;
        if self.current.is_some() {
            self.state = State::Mail;
        } else if open {
            self.state = State::Reset;
            self.written = false;
        } else {
            self.rest();
        }
    }

    /// Appends what the transactions have to say now. False: nothing.
    fn write_mail(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let grouped = self.pipelining;
        let full = self.is_full() && grouped;
        let Some(t) = &mut self.current else { return false };
        let before = out.len();
        if t.sent <= t.data() && !t.failed {
            let one = t.sent == t.answered;
            if grouped && t.sent == 0 || one {
                if t.sent == 0 {
                    self.begun += 1;
                }
                t.write_command(out);
                while grouped && t.sent <= t.data() {
                    t.write_command(out);
                }
            }
        } else if t.answered > t.data() && !t.rendered {
            if t.accepted_recipients == 0 || t.failed {
                out.extend_from_slice(command::EMPTY_CONTENT);
                t.rendered = true;
            } else {
                t.offset = t.content.body(t.offset, out);
                t.rendered = t.offset >= t.content.size();
            }
            let first = !t.content_begun;
            t.content_begun = true;
            if t.rendered {
                t.sent += 1;
                if full && let Some(next) = &mut self.next {
                    self.begun += 1;
                    while next.sent <= next.data() {
                        next.write_command(out);
                    }
                }
            }
            if !first {
                // The step began with the first piece.
                return out.len() > before;
            }
        }
        if out.len() > before {
            self.since = now;
            return true;
        }
        false
    }

    /// Whether an early `Ready` is due: content is about to be written and the next transaction could go with it.
    fn wants_next(&self) -> bool {
        self.pipelining
            && self.is_full()
            && !self.finishing
            && !self.early_offered
            && self.next.is_none()
            && self.current.as_ref().is_some_and(|t| {
                t.answered > t.data() && !t.content_begun && !t.failed && t.accepted_recipients > 0
            })
    }
}

/// A reply that is not what the step hopes for.
fn refusal(raw: RawReply<'_>) -> Failure {
    match raw.code / 100 {
        4 | 5 => Failure::Reply(raw.to_reply()),
        _ => Failure::Unexpected(raw.to_reply()),
    }
}

impl<C: Content> Machine for Client<C> {
    type Event = Event;

    fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> usize {
        if self.over.is_some() {
            return bytes.len();
        }
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut input = bytes;
        match scanner.scan(&mut input) {
            None => {}
            Some(Ok(raw)) => self.reply(now, raw),
            Some(Err(malformed)) => self.fail(now, Failure::Malformed(malformed), true),
        }
        self.scanner = scanner;
        bytes.len() - input.len()
    }

    fn handle_written(&mut self, _now: Instant) {
        if let Some(t) = &mut self.current {
            t.dot_out = t.rendered;
        }
    }

    fn handle_secured(&mut self, _now: Instant) {}

    fn handle_timeout(&mut self, now: Instant) {
        if now < self.deadline() {
            return;
        }
        if self.is_resting() {
            // Nothing is lost when a resting session grows too old: it leaves as it would at its end.
            return self.finish();
        }
        let failure = if now >= self.opened + self.script.timeouts.session {
            Failure::SessionTimedOut
        } else {
            Failure::TimedOut(self.scanner.evidence())
        };
        self.fail(now, failure, false);
    }

    fn handle_closed(&mut self, now: Instant, how: Closed) {
        self.fail(now, Failure::Closed(how), true);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Event> {
        if let Some((step, started, failure, in_doubt)) = self.step.take() {
            return Need::Emit(Event::Step { step, started, ended: self.ended_at, failure, in_doubt });
        }
        if let Some(accepted) = self.done.take() {
            return Need::Emit(Event::Transaction { accepted, ended: self.ended_at });
        }
        if let Some((how, by_peer)) = self.over {
            if self.current.take().or_else(|| self.next.take()).is_some() {
                return Need::Emit(Event::Transaction { accepted: false, ended: self.ended_at });
            }
            if !self.ended {
                self.ended = true;
                return Need::Emit(Event::Ended { by_peer });
            }
            return Need::Close(how);
        }
        if self.established {
            self.established = false;
            return Need::Emit(Event::Established);
        }
        if self.wants_next() {
            self.early_offered = true;
            return Need::Emit(Event::Ready { early: true });
        }
        if self.ready {
            self.ready = false;
            return Need::Emit(Event::Ready { early: false });
        }
        if self.begun > 0 {
            self.begun -= 1;
            return Need::Emit(Event::Begun(self.since));
        }
        if self.state == State::Rest && self.finishing {
            self.leave(now);
            if self.over.is_some() {
                return self.poll(now, out);
            }
        }
        let wrote = match self.state {
            State::Mail => self.write_mail(now, out),
            State::Hello | State::Reset | State::Quit if !self.written => {
                match self.state {
                    State::Hello => command::hello(out, self.script.hello, &self.script.name),
                    State::Reset => out.extend_from_slice(command::RSET),
                    _ => out.extend_from_slice(command::QUIT),
                }
                self.written = true;
                self.since = now;
                true
            }
            _ => false,
        };
        if wrote { Need::Write } else { Need::Read { until: Some(self.deadline()) } }
    }
}
