//! One session: dial, drive the client machine, and enter in the books what it tells.

mod ending;
mod finding;
mod holding;
mod opening;

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{Either, select};

use self::holding::Hold;
use super::clock;
use super::dispatch::{OpenFor, ScheduledArrival};
use super::failure_class;
use super::session_pool::SlotId;
use super::times::Times;
use super::transcript::Tape;
use super::worker::{Instruction, InstructionSlot, Worker};
use crate::collector::{Metric, Outcome};
use crate::condition::Condition;
use crate::mail::Message;
use crate::net::dial::Dialed;
use crate::net::drive::{Host, drive};
use crate::net::proxy;
use crate::net::tls::Security;
use crate::smtp::auth::LineRedactor;
use crate::smtp::client::{Event, Failure};
use crate::smtp::dialogue::without_secret;
use crate::smtp::script::Protocol;
use crate::smtp::{Client, Step};

/// Runs a session, as was decided at `decided`.
pub(super) async fn run(
    worker: Rc<Worker>,
    slot: SlotId,
    phase: u32,
    purpose: OpenFor,
    decided: Duration,
    mailbox: Rc<InstructionSlot>,
) {
    let mut session = Session::new(worker, slot, phase, purpose, decided, mailbox);
    session.dial_and_drive().await;
    session.over();
}

/// An arrival taken by the session.
#[derive(Clone, Copy, Debug)]
struct ActiveArrival {
    due: ScheduledArrival,
    /// When it was decided that this session serves it.
    decided: Duration,
    /// When the session began to be opened, if that was for this arrival: it began then.
    opened: Option<Duration>,
    /// When MAIL was written.
    started: Option<Duration>,
}

impl ActiveArrival {
    fn times(&self, ended: Duration) -> Times {
        Times { decided: self.decided, opened: self.opened, served: self.started, ended }
    }
}

/// The owner of one client machine.
struct Session {
    worker: Rc<Worker>,
    slot: SlotId,
    phase: u32,
    mailbox: Rc<InstructionSlot>,
    /// The arrival that it is itself.
    bound: Option<ScheduledArrival>,
    /// The message that it was opened for, until that is begun.
    first: Option<ScheduledArrival>,
    /// When it was decided to open it.
    decided: Duration,
    /// Its number, which its draws and its client address follow, and which messages may show.
    serial: u64,
    /// Messages it may still begin.
    left: u64,
    /// Messages begun.
    sent: u64,
    /// Messages that are over.
    settled: u64,
    /// It was told to leave: one that is held has done what it was asked to.
    released: bool,
    started: Duration,
    /// Arrivals of the pool under way: the one being answered, and the one that went out with its content.
    live: [Option<ActiveArrival>; 2],
    established: bool,
    /// It served something; see [`Worker::served`].
    proven: bool,
    /// It was the listener that ended it.
    ended_by_listener: bool,
    /// Transactions whose MAIL went out and that are not over.
    attempts: u32,
    /// How the transaction under way is failing, and at which step; and how the last that failed did.
    cause: Option<(Step, Outcome)>,
    last_cause: Option<Outcome>,
    /// It was given up because nothing needed it any more, before it had hung for long: that is no finding.
    is_needless: bool,
    /// Recipients that the transaction under way has.
    recipients: u32,
    /// It was told to go before it was connected.
    finishing: bool,
    /// What is known of the listener's host while it is held.
    hold: Hold,
    /// The first step of the session that was not accepted.
    failed: Option<Outcome>,
    condition: Option<Condition>,
    /// The condition met last.
    last_condition: Option<Condition>,
    /// When a complete TLS handshake began and ended.
    shaken: Option<(Instant, Instant)>,
    tape: Option<Box<Tape>>,
    /// What keeps the secret of its login from the tape.
    heard: Option<LineRedactor>,
    bytes: (u64, u64),
    /// The step at which the listener takes a recipient: RCPT, or with LMTP its reply to the content (RFC 2033 4.2).
    takes_recipients: Step,
}

impl Session {
    fn new(
        worker: Rc<Worker>,
        slot: SlotId,
        phase: u32,
        purpose: OpenFor,
        decided: Duration,
        mailbox: Rc<InstructionSlot>,
    ) -> Session {
        let (bound, first) = match purpose {
            OpenFor::Pool => (None, None),
            OpenFor::Message(due) => (None, Some(due)),
            OpenFor::Session(due) => (Some(due), None),
        };
        let serial = bound.map_or_else(|| worker.next_serial(), |due| due.seq);
        let plan = worker.plan();
        let held = plan.phases[phase as usize].load.model.holds();
        let left = if held { 0 } else { plan.messages.draw(plan.seed, serial) };
        let takes_recipients = match worker.connector.script().protocol {
            Protocol::Smtp => Step::Rcpt,
            Protocol::Lmtp => Step::Body,
        };
        let started = worker.now();
        let tape = worker.tapes.borrow_mut().tape();
        let login = tape.as_ref().and(worker.connector.login(serial));
        let heard = login.map(|login| LineRedactor::new(login.redactor()));
        Session {
            worker,
            slot,
            phase,
            mailbox,
            bound,
            first,
            decided,
            serial,
            left,
            sent: 0,
            settled: 0,
            released: false,
            started,
            live: [None; 2],
            established: false,
            proven: false,
            ended_by_listener: false,
            attempts: 0,
            cause: None,
            last_cause: None,
            is_needless: false,
            recipients: 0,
            finishing: false,
            hold: Hold::default(),
            failed: None,
            condition: None,
            last_condition: None,
            shaken: None,
            heard,
            tape,
            bytes: (0, 0),
            takes_recipients,
        }
    }

    async fn dial_and_drive(&mut self) {
        self.started = self.worker.now();
        self.worker.session_opened(self.phase);
        if let Some(due) = self.opened_for() {
            self.worker.enter(due.phase, self.started);
        }
        let begun = clock::now();
        self.worker.shared.reach.begun(self.started);
        let dialed = match self.dial().await {
            Ok(dialed) => dialed,
            Err(step) => {
                let outcome = self.file(step, failure_class::CUT_OFF_DIAL, false, None, || {
                    failure_class::CUT_OFF.to_owned()
                });
                self.timed(step, outcome, begun, clock::now());
                return self.arrival_started();
            }
        };
        self.worker.shared.reach.ended(dialed.result.as_ref().err().copied());
        self.reached(&dialed);
        for (step, from, to, fault) in dialed.steps() {
            let Some(fault) = fault else {
                self.timed(step, Outcome::Accepted, from, to);
                continue;
            };
            let judged = failure_class::classify_dial(fault);
            let outcome = self.file(step, judged, false, None, || dialed.in_words(fault));
            self.timed(step, outcome, from, to);
            if judged.outcome == Outcome::Shed {
                self.worker.books.borrow_mut().counts(self.phase).own_failures += 1;
            }
        }
        if self.failed != Some(Outcome::Shed) {
            self.arrival_started();
        }
        if !dialed.header.is_empty() {
            self.bytes.0 += dialed.header.len() as u64;
            if let Some(tape) = &mut self.tape {
                tape.sent(self.worker.now(), proxy::in_words(&dialed.header).as_bytes());
            }
        }
        if let Ok(mut stream) = dialed.result {
            let mut client = self.worker.connector.client(self.serial);
            if self.finishing {
                client.finish();
            }
            let worker = self.worker.clone();
            drive(&mut stream, &mut client, self, &worker.scratch).await;
            self.look_for_host(&mut stream).await;
        }
    }

    /// The arrival that the session is itself, or that it is opened for.
    fn opened_for(&self) -> Option<ScheduledArrival> {
        self.bound.or(self.first)
    }

    /// The arrival that the session is opened for has begun: nothing of our own kept it from the wire.
    fn arrival_started(&self) {
        if let Some(due) = self.opened_for() {
            self.worker.started(due.phase, self.started);
        }
    }

    /// Dials.
    ///
    /// # Errors
    /// It was given up by our own side, at this step.
    async fn dial(&mut self) -> Result<Dialed, Step> {
        let worker = self.worker.clone();
        let step = Cell::new(Step::Dns);
        let mut waits = Box::pin(worker.connector.connect(self.serial, &step));
        loop {
            let order = std::future::poll_fn(|cx| self.mailbox.poll(cx));
            match select(waits, order).await {
                Either::Left((dialed, _)) => return Ok(dialed),
                Either::Right((Instruction::Abort { needless }, _)) => {
                    self.is_needless = needless;
                    return Err(step.get());
                }
                Either::Right((_, still)) => {
                    self.finishing = true;
                    waits = still;
                }
            }
        }
    }

    fn timed(&self, step: Step, outcome: Outcome, from: Instant, to: Instant) {
        let length = nanos(to.saturating_duration_since(from));
        self.worker.books.borrow_mut().value(self.current_phase(), Metric::Step(step), outcome, length);
    }

    /// The phase that what happens now belongs to.
    fn current_phase(&self) -> u32 {
        self.live[0].map_or(self.phase, |live| live.due.phase)
    }

    /// Gives the client what it is to do next.
    fn supply(&mut self, client: &mut Client<Message>, early: bool, now: Duration) {
        if !early && self.sent > 0 {
            self.prove();
        }
        if let Some(due) = self.first.take() {
            let first = self.as_first(due);
            return self.take(client, first);
        }
        if self.bound.is_some() {
            if self.left > 0 {
                self.left -= 1;
                self.begin_bound(client);
            } else if !early && self.is_held() {
                self.hold.since.get_or_insert(now);
            } else if !early {
                client.finish();
            }
            return;
        }
        if self.left == 0 {
            if !early {
                client.finish();
            }
            return;
        }
        match self.worker.next_message(now, self.slot, early) {
            Some(due) => self.take(client, ActiveArrival { due, decided: now, opened: None, started: None }),
            None if !early => self.worker.rest(now, self.slot),
            None => {}
        }
    }

    fn is_held(&self) -> bool {
        self.worker.plan().holds(self.phase)
    }

    fn begin_bound(&mut self, client: &mut Client<Message>) {
        let plan = self.worker.plan();
        let seq = self.bound.map_or(0, |due| due.seq);
        let number = seq * plan.messages.most() + self.sent;
        self.sent += 1;
        // The session is the arrival: its number follows from the schedule, and not from the threads (M27).
        client.begin(self.worker.shared.mailer.message_of_session(number, seq));
        if self.left == 0 && !self.is_held() {
            client.finish();
        }
    }

    /// Begins an arrival of the pool.
    fn take(&mut self, client: &mut Client<Message>, live: ActiveArrival) {
        self.left = self.left.saturating_sub(1);
        self.sent += 1;
        let free = if self.live[0].is_none() { 0 } else { 1 };
        self.live[free] = Some(live);
        client.begin(self.worker.shared.mailer.message_of_session(live.due.seq, self.serial));
        if self.left == 0 {
            client.finish();
        }
    }

    fn step(&mut self, step: Step, from: Instant, to: Instant, failure: Option<&Failure>, in_doubt: bool) {
        self.hold.hear(step, failure);
        let Some(failure) = failure else {
            if step == Step::Tls {
                // Whether it was a full handshake is told next.
                self.shaken = Some((from, to));
                return;
            }
            self.timed(step, Outcome::Accepted, from, to);
            if step == Step::Quit && self.sent > 0 {
                self.prove();
            }
            self.recipients += u32::from(step == Step::Rcpt);
            if step == self.takes_recipients {
                self.worker.books.borrow_mut().counts(self.current_phase()).recipients_accepted += 1;
            }
            return;
        };
        let judged = failure_class::classify(&self.worker.classifier, step, failure, in_doubt);
        let (worker, serial) = (self.worker.clone(), self.serial);
        let sample = || {
            let sample = worker.connector.evidence(step, failure);
            match worker.connector.login(serial) {
                Some(login) => login.redactor().text(&sample).into_owned(),
                None => sample,
            }
        };
        let manner = self.is_manner(step, failure, judged);
        let outcome = self.file(step, judged, manner, failure_class::reply(failure), sample);
        if matches!(failure, Failure::Lost(_)) {
            self.worker.books.borrow_mut().counts(self.current_phase()).own_failures += 1;
        }
        // A reply too many ends no wait.
        if step != Step::Idle && !matches!(failure, Failure::Surplus(_)) {
            self.timed(step, outcome, from, to);
        }
        if step == Step::Rcpt || step == self.takes_recipients && failure_class::reply(failure).is_some() {
            self.worker.books.borrow_mut().counts(self.current_phase()).recipients_refused += 1;
        }
        if step == Step::Command {
            // It is no part of a transaction.
            return;
        }
        // The first failure is the cause; a refused recipient only if nothing worse follows. When all are refused, what
        // follows is the consequence.
        let others = self.recipients > 0 && step != Step::Rcpt;
        // What is not known of a message outweighs what seemed to be known.
        if in_doubt || self.cause.is_none_or(|(cause, _)| cause == Step::Rcpt && others) {
            self.cause = Some((step, outcome));
        }
        self.last_cause = Some(outcome);
    }

    fn transaction_begun(&mut self, at: Duration) {
        if let Some(live) = self.live.iter_mut().flatten().find(|live| live.started.is_none()) {
            live.started = Some(at);
            if live.opened.is_none() {
                self.worker.begin(live.due.phase, at);
            }
        }
        self.attempts += 1;
        self.worker.transaction_begun(self.current_phase(), at);
    }

    fn transaction_over(&mut self, accepted: bool, ended: Duration) {
        let outcome = match self.cause.take() {
            _ if accepted => Outcome::Accepted,
            Some((_, cause)) => cause,
            // It went out with the one before it and was never answered: what ended that one ended the session.
            None => match self.last_cause {
                None => Outcome::Interrupted,
                Some(Outcome::InDoubt) => Outcome::Dropped,
                Some(cause) => cause,
            },
        };
        if accepted {
            self.prove();
        }
        self.recipients = 0;
        self.settled += 1;
        if self.attempts > 0 {
            self.attempts -= 1;
            self.worker.transaction_over(self.current_phase(), ended, outcome);
        }
        let bound = if self.is_done() && !self.is_held() { self.bound.take() } else { None };
        if let Some(due) = bound {
            return self.end_bound(due, ended);
        }
        let Some(live) = self.live[0].take() else { return };
        self.live[0] = self.live[1].take();
        if live.opened.is_none() && live.started.is_none() {
            return self.worker.give_back(self.slot, live.due);
        }
        self.end(live.due, &live.times(ended), outcome);
        self.worker.arrival_over(self.slot);
    }
}

impl Host<Client<Message>> for Session {
    fn event(&mut self, client: &mut Client<Message>, now: Instant, event: Event) {
        let clock = self.worker.shared.clock;
        match event {
            Event::Step { step, started, ended, failure, in_doubt, .. } => {
                self.step(step, started, ended, failure.as_deref(), in_doubt);
            }
            Event::Mixed(step, reply) => self.mixed(step, &reply),
            Event::Secured(handshake) => self.secured(&handshake),
            Event::SteppedDown { step, reply } => self.stepped_down(step, &reply),
            Event::Established(_) => {
                self.established = true;
                self.worker.books.borrow_mut().counts(self.phase).established += 1;
                self.worker.established(self.slot);
            }
            Event::Ready { early } => self.supply(client, early, clock.offset_of(now)),
            Event::Begun(at) => self.transaction_begun(clock.offset_of(at)),
            Event::Transaction { accepted, ended } => self.transaction_over(accepted, clock.offset_of(ended)),
            Event::Ended { by_peer } => {
                self.ended_by_listener = by_peer;
                if by_peer && self.established {
                    self.worker.books.borrow_mut().counts(self.phase).closed_by_peer += 1;
                }
            }
        }
    }

    fn pace(&self) -> Option<u32> {
        self.worker.connector.script().manners.trickle
    }

    fn poll_wake(&mut self, client: &mut Client<Message>, cx: &mut Context<'_>) -> Poll<()> {
        match self.mailbox.poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Instruction::Serve(due, decided)) if client.is_resting() => {
                self.take(client, ActiveArrival { due, decided, opened: None, started: None });
            }
            // It is on its way out, of old age.
            Poll::Ready(Instruction::Serve(due, _)) => self.worker.give_back(self.slot, due),
            Poll::Ready(Instruction::Finish) => {
                self.released = true;
                self.hold.left = Some(self.worker.now());
                client.finish();
            }
            Poll::Ready(Instruction::Abort { needless }) => {
                self.released = true;
                self.is_needless = needless;
                client.abort(clock::now());
            }
        }
        Poll::Ready(())
    }

    fn sent(&mut self, client: &Client<Message>, bytes: &[u8]) {
        self.bytes.0 += bytes.len() as u64;
        if let Some(tape) = &mut self.tape {
            match client.is_secret() {
                true => tape.sent(self.worker.now(), &without_secret(bytes)),
                false => tape.sent(self.worker.now(), bytes),
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        self.bytes.1 += bytes.len() as u64;
        if let Some(tape) = &mut self.tape {
            match &mut self.heard {
                Some(heard) => tape.received(self.worker.now(), &heard.lines(bytes)),
                None => tape.received(self.worker.now(), bytes),
            }
        }
    }

    fn security(&self) -> Option<&Security> {
        self.worker.connector.security()
    }

    fn truncated(&mut self) {
        self.worker.books.borrow_mut().counts(self.phase).truncated += 1;
    }

    fn is_silent(&self) -> bool {
        self.hold.since.is_some()
    }

    fn unwatched(&mut self) {
        self.worker.books.borrow_mut().counts(self.phase).unwatched += 1;
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
