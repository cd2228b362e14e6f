//! One session: opens the connection, drives the client machine, and reports its events.
//!
//! It has two handles: the pool, from which it gets work, and the accounting, to which it reports.

mod conditions;
mod ending;
mod holding;
mod opening;
mod recipients;

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{Either, select};

use self::holding::Hold;
use self::recipients::RecipientAnswers;
use super::accounting::Accounting;
use super::clock;
use super::dispatch::{OpenFor, ScheduledArrival, SlotId};
use super::failure_class;
use super::session_pool::{Instruction, InstructionSlot, SessionPool};
use super::times::Times;
use super::transcript::SessionTranscript;
use crate::collector::{Metric, Outcome};
use crate::condition::Condition;
use crate::mail::Message;
use crate::net::dial::Dialed;
use crate::net::drive::{MachineOwner, drive};
use crate::net::proxy;
use crate::net::tls::Security;
use crate::smtp::auth::LineRedactor;
use crate::smtp::client::{Event, Failure};
use crate::smtp::dialogue::without_secret;
use crate::smtp::script::Protocol;
use crate::smtp::{Client, Step};

/// An arrival that the session serves.
#[derive(Clone, Copy, Debug)]
struct ActiveArrival {
    arrival: ScheduledArrival,
    /// When the arrival was assigned to this session.
    decided: Duration,
    /// The start of the session's opening, if the session was opened for this arrival: the arrival started then.
    opened: Option<Duration>,
    /// When MAIL was written.
    started: Option<Duration>,
}

impl ActiveArrival {
    /// Returns an arrival for an open session of the pool.
    fn pooled(arrival: ScheduledArrival, decided: Duration) -> ActiveArrival {
        ActiveArrival { arrival, decided, opened: None, started: None }
    }

    fn times(&self, ended: Duration) -> Times {
        Times { decided: self.decided, opened: self.opened, served: self.started, ended }
    }
}

/// The state of a session between the events of its client machine.
pub(super) struct Session {
    pool: Rc<SessionPool>,
    accounting: Rc<Accounting>,
    slot: SlotId,
    phase: u32,
    instructions: Rc<InstructionSlot>,
    /// The arrival that is this session (unit `session`).
    bound: Option<ScheduledArrival>,
    /// The message for which the session was opened, until it starts.
    first: Option<ScheduledArrival>,
    /// When the dispatcher decided to open the session.
    decided: Duration,
    /// The number of the session, which determines its random draws and its client address. Messages may contain the
    /// number.
    serial: u64,
    /// The number of messages that the session may still start.
    left: u64,
    /// The number of messages started.
    sent: u64,
    /// The number of messages ended.
    settled: u64,
    /// Whether the session got the instruction to leave. A held session has then done its work.
    released: bool,
    started: Duration,
    /// Arrivals of the pool in flight: the arrival whose replies are read, and the next arrival, which was sent
    /// together with the content of the first.
    active: [Option<ActiveArrival>; 2],
    established: bool,
    /// Whether the listener served the session; see [`SessionPool::served`].
    proven: bool,
    ended_by_listener: bool,
    /// The number of transactions whose MAIL was sent and that have not ended.
    attempts: u32,
    /// The step and the outcome of the current transaction's failure, and the outcome of the last failed transaction.
    cause: Option<(Step, Outcome)>,
    last_cause: Option<Outcome>,
    /// Whether the generator gave the session up because it was no longer needed, before its opening took too long.
    /// This is no failure.
    is_needless: bool,
    /// The number of recipients of the current transaction.
    recipients: u32,
    /// Whether the session got the instruction to leave before it was connected.
    finishing: bool,
    /// The state of the listener's host while the session is held.
    hold: Hold,
    /// The outcome of the first step that was not accepted.
    failed: Option<Outcome>,
    /// The first and the last condition of the session.
    condition: Option<Condition>,
    last_condition: Option<Condition>,
    /// The start and end of a complete TLS handshake.
    shaken: Option<(Instant, Instant)>,
    transcript: Option<Box<SessionTranscript>>,
    /// Whether the listener refused the session with a 5yz reply before it was ready.
    refused_for_good: bool,
    /// Removes the secret of the session's login from the received lines of the transcript.
    heard: Option<LineRedactor>,
    /// Bytes sent and received.
    bytes: (u64, u64),
    /// The answers to each recipient of a transaction, if they are needed.
    answers: Option<Box<RecipientAnswers>>,
    /// The step at which the listener accepts a recipient: RCPT, or with LMTP its reply to the content (RFC 2033 4.2).
    takes_recipients: Step,
}

impl Session {
    /// Returns a session that the dispatcher decided to open at `decided`.
    pub fn new(
        pool: Rc<SessionPool>,
        accounting: Rc<Accounting>,
        slot: SlotId,
        phase: u32,
        purpose: OpenFor,
        decided: Duration,
        instructions: Rc<InstructionSlot>,
    ) -> Session {
        let (bound, first) = match purpose {
            OpenFor::Pool => (None, None),
            OpenFor::Message(arrival) => (None, Some(arrival)),
            OpenFor::Session(arrival) => (Some(arrival), None),
        };
        let serial = bound.map_or_else(|| pool.next_serial(), |arrival| arrival.seq);
        let plan = &pool.context.plan;
        let held = plan.phases[phase as usize].load.model.holds();
        let left = if held { 0 } else { plan.messages.draw(plan.seed, serial) };
        let recipients = plan.mail.recipients;
        let has_answers = plan.lists_transactions || plan.retry.is_some() && recipients > 1;
        let answers = has_answers
            .then(|| Box::new(RecipientAnswers::new(recipients, pool.connector.script().protocol)));
        let takes_recipients = match pool.connector.script().protocol {
            Protocol::Smtp => Step::Rcpt,
            Protocol::Lmtp => Step::Body,
        };
        let transcript = accounting.transcript();
        let login = transcript.as_ref().and(pool.connector.login(serial));
        let heard = login.map(|login| LineRedactor::new(login.redactor()));
        Session {
            started: pool.context.now(),
            pool,
            accounting,
            slot,
            phase,
            instructions,
            bound,
            first,
            decided,
            serial,
            left,
            sent: 0,
            settled: 0,
            released: false,
            active: [None; 2],
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
            refused_for_good: false,
            heard,
            transcript,
            bytes: (0, 0),
            answers,
            takes_recipients,
        }
    }

    /// Runs the session to its end.
    pub async fn run(mut self) {
        self.dial_and_drive().await;
        self.over();
    }

    async fn dial_and_drive(&mut self) {
        self.started = self.pool.context.now();
        self.accounting.session_opened(self.phase);
        if let Some(arrival) = self.opened_for() {
            self.accounting.arrival_in_flight(arrival.phase, self.started);
        }
        let dialing = clock::now();
        self.pool.context.reach.started(self.started);
        let dialed = match self.dial().await {
            Ok(dialed) => dialed,
            Err(step) => {
                let outcome = self.condition(step, failure_class::CUT_OFF_DIAL, false, None, || {
                    failure_class::CUT_OFF.to_owned()
                });
                self.timed(step, outcome, dialing, clock::now());
                return self.arrival_started();
            }
        };
        self.pool.context.reach.ended(dialed.result.as_ref().err().copied());
        self.reached(&dialed);
        for (step, from, to, fault) in dialed.steps() {
            let Some(fault) = fault else {
                self.timed(step, Outcome::Accepted, from, to);
                continue;
            };
            let class = failure_class::classify_dial(fault);
            let outcome = self.condition(step, class, false, None, || dialed.in_words(fault));
            self.timed(step, outcome, from, to);
            if class.outcome == Outcome::Shed {
                self.accounting.count(self.phase, |counts| counts.own_failures += 1);
            }
        }
        if self.failed != Some(Outcome::Shed) {
            self.arrival_started();
        }
        if !dialed.header.is_empty() {
            self.bytes.0 += dialed.header.len() as u64;
            if let Some(transcript) = &mut self.transcript {
                transcript.sent(self.pool.context.now(), proxy::in_words(&dialed.header).as_bytes());
            }
        }
        if let Ok(mut stream) = dialed.result {
            let mut client = self.pool.connector.client(self.serial);
            if self.bound.is_none() {
                client.retire_when_expired();
            }
            if self.finishing {
                client.finish();
            }
            let pool = self.pool.clone();
            drive(&mut stream, &mut client, self, &pool.scratch).await;
            self.look_for_host(&mut stream).await;
        }
    }

    /// Returns the arrival that is this session, or for which the session is opened.
    fn opened_for(&self) -> Option<ScheduledArrival> {
        self.bound.or(self.first)
    }

    /// Notes that the arrival of the session has started, because this machine did not fail.
    fn arrival_started(&self) {
        if let Some(arrival) = self.opened_for() {
            self.accounting.arrival_started(&arrival, self.started);
        }
    }

    /// Connects to the listener.
    ///
    /// # Errors
    /// The generator gave the session up, at this step.
    async fn dial(&mut self) -> Result<Dialed, Step> {
        let pool = self.pool.clone();
        let step = Cell::new(Step::Dns);
        let mut waits = Box::pin(pool.connector.connect(self.serial, &step));
        loop {
            let instruction = std::future::poll_fn(|cx| self.instructions.poll(cx));
            match select(waits, instruction).await {
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
        let length = to.saturating_duration_since(from);
        self.accounting.time(self.current_phase(), Metric::Step(step), outcome, length);
    }

    /// Returns the phase of the current event.
    fn current_phase(&self) -> u32 {
        self.active[0].map_or(self.phase, |active| active.arrival.phase)
    }

    /// Gives the client its next work.
    fn supply(&mut self, client: &mut Client<Message>, early: bool, now: Duration) {
        if !early && self.sent > 0 {
            self.prove();
        }
        if let Some(arrival) = self.first.take() {
            let first = self.as_first(arrival);
            return self.take(client, first);
        }
        if self.bound.is_some() {
            if self.left > 0 {
                self.left -= 1;
                self.begin_bound(client);
            } else if !early && self.is_held() {
                self.hold.since.get_or_insert(now);
                client.hold_open();
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
        match self.pool.next_message(now, self.slot, early) {
            Some(arrival) => self.take(client, ActiveArrival::pooled(arrival, now)),
            None if !early => self.pool.rest(now, self.slot),
            None => {}
        }
    }

    fn is_held(&self) -> bool {
        self.pool.context.plan.holds(self.phase)
    }

    fn begin_bound(&mut self, client: &mut Client<Message>) {
        let Some(bound) = self.bound else { return };
        let number = self.pool.context.plan.messages.number(bound.seq, self.sent);
        let seq = bound.seq;
        self.sent += 1;
        // The session is the arrival, so its number is that of the schedule and does not depend on threads (M27).
        if let Some(answers) = &mut self.answers {
            answers.begin(None);
        }
        client.begin(self.pool.context.mailer.message_of_session(number, seq));
        if self.left == 0 && !self.is_held() {
            client.finish();
        }
    }

    /// Starts an arrival of the pool.
    fn take(&mut self, client: &mut Client<Message>, active: ActiveArrival) {
        self.left = self.left.saturating_sub(1);
        self.sent += 1;
        let free = if self.active[0].is_none() { 0 } else { 1 };
        self.active[free] = Some(active);
        let session = active.arrival.earlier.map_or(self.serial, |earlier| earlier.session);
        let mut message = self.pool.context.mailer.message_of_session(active.arrival.seq, session);
        if let Some(answers) = &mut self.answers {
            let only = self.pool.recipients_left(&active.arrival);
            answers.begin(only.clone());
            message = match only {
                Some(only) => message.to_some(only),
                None => message,
            };
        }
        client.begin(message);
        if self.left == 0 {
            client.finish();
        }
    }

    fn step(&mut self, step: Step, from: Instant, to: Instant, failure: Option<&Failure>, in_doubt: bool) {
        self.hold.hear(step, failure);
        let Some(failure) = failure else {
            self.answered(step, None, Outcome::Accepted);
            if step == Step::Tls {
                // The next event reports whether this was a full handshake.
                self.shaken = Some((from, to));
                return;
            }
            self.timed(step, Outcome::Accepted, from, to);
            if step == Step::Quit && self.sent > 0 {
                self.prove();
            }
            self.recipients += u32::from(step == Step::Rcpt);
            if step == self.takes_recipients {
                self.accounting.count(self.current_phase(), |counts| counts.recipients_accepted += 1);
            }
            return;
        };
        let class = self.accounting.classify(step, failure, in_doubt);
        let (pool, serial) = (self.pool.clone(), self.serial);
        let sample = || pool.connector.evidence(serial, step, failure);
        let harmless = self.is_harmless(step, failure, class);
        let outcome = self.condition(step, class, harmless, failure_class::reply(failure), sample);
        self.answered(step, Some(failure), if in_doubt { Outcome::InDoubt } else { outcome });
        if outcome == Outcome::Refused
            && failure_class::reply(failure).is_some_and(|reply| reply.class() == 5)
        {
            self.refused_for_good = true;
            self.pool.turned_away_for_good(self.slot);
        }
        if matches!(failure, Failure::Lost(_)) {
            self.accounting.count(self.current_phase(), |counts| counts.own_failures += 1);
        }
        // A surplus reply ends no step, so it has no duration.
        if step != Step::Idle && !matches!(failure, Failure::Surplus(_)) {
            self.timed(step, outcome, from, to);
        }
        let is_answered = failure_class::reply(failure).is_some();
        if (step == Step::Rcpt || step == self.takes_recipients) && is_answered {
            self.accounting.count(self.current_phase(), |counts| counts.recipients_refused += 1);
        }
        if step == Step::Command {
            // An extra command belongs to no transaction, and garbage before hello does not end the opening.
            return;
        }
        if !self.established {
            return self.opening_failed(to);
        }
        // The first failure is the cause. A refused recipient is the cause only if no other failure follows; if all
        // recipients are refused, later failures are consequences.
        let others = self.recipients > 0 && step != Step::Rcpt;
        // An unknown result of the message overrides an earlier failure.
        if in_doubt || self.cause.is_none_or(|(cause, _)| cause == Step::Rcpt && others) {
            self.cause = Some((step, outcome));
        }
        self.last_cause = Some(outcome);
    }

    fn transaction_started(&mut self, at: Duration) {
        if let Some(active) = self.active.iter_mut().flatten().find(|active| active.started.is_none()) {
            active.started = Some(at);
            if active.opened.is_none() {
                self.accounting.arrival_in_flight(active.arrival.phase, at);
                self.accounting.arrival_started(&active.arrival, at);
            }
        }
        self.attempts += 1;
        self.accounting.transaction_started(self.current_phase(), at);
    }

    fn transaction_ended(&mut self, accepted: bool, ended: Duration) {
        let outcome = match self.cause.take() {
            _ if accepted => Outcome::Accepted,
            Some((_, cause)) => cause,
            // This transaction was sent together with the previous one and got no reply: the failure of the previous
            // transaction ended the session.
            None => match self.last_cause {
                None => Outcome::Interrupted,
                Some(Outcome::InDoubt) => Outcome::Dropped,
                Some(cause) => cause,
            },
        };
        if accepted {
            self.prove();
        }
        let left = self.list_transaction(accepted, ended);
        self.recipients = 0;
        self.settled += 1;
        if self.attempts > 0 {
            self.attempts -= 1;
            self.accounting.transaction_ended(self.current_phase(), ended, outcome);
        }
        let bound = if self.is_done() && !self.is_held() { self.bound.take() } else { None };
        if let Some(arrival) = bound {
            return self.end_bound(arrival, ended);
        }
        let Some(active) = self.active[0].take() else { return };
        self.active[0] = self.active[1].take();
        if active.opened.is_none() && active.started.is_none() {
            return self.pool.give_back(self.slot, active.arrival);
        }
        self.end(active.arrival, &active.times(ended), outcome, left);
        self.pool.arrival_ended(self.slot);
    }
}

impl MachineOwner<Client<Message>> for Session {
    fn event(&mut self, client: &mut Client<Message>, now: Instant, event: Event) {
        let clock = self.pool.context.clock;
        match event {
            Event::Step { step, started, ended, failure, in_doubt, .. } => {
                self.step(step, started, ended, failure.as_deref(), in_doubt);
            }
            Event::Mixed(step, reply) => {
                let reply = self.pool.connector.redactor(self.serial).reply(&reply);
                self.accounting.mixed_reply(self.current_phase(), step, &reply);
            }
            Event::Secured(handshake) => self.secured(&handshake),
            Event::SteppedDown { step, reply } => self.stepped_down(step, &reply),
            Event::Established(_) => {
                self.established = true;
                self.accounting.count(self.phase, |counts| counts.established += 1);
                self.pool.established(self.slot);
            }
            Event::Ready { early } => self.supply(client, early, clock.offset_of(now)),
            Event::Started(at) => self.transaction_started(clock.offset_of(at)),
            Event::Transaction { accepted, ended } => {
                self.transaction_ended(accepted, clock.offset_of(ended))
            }
            Event::Ended { by_peer } => {
                self.ended_by_listener = by_peer;
                if by_peer && self.established {
                    self.accounting.count(self.phase, |counts| counts.closed_by_peer += 1);
                }
            }
        }
    }

    fn pace(&self) -> Option<u32> {
        self.pool.connector.script().manners.trickle
    }

    fn poll_wake(&mut self, client: &mut Client<Message>, cx: &mut Context<'_>) -> Poll<()> {
        match self.instructions.poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Instruction::Serve(arrival, decided)) if client.is_resting() => {
                self.take(client, ActiveArrival::pooled(arrival, decided));
            }
            // The session is leaving and takes no further arrival.
            Poll::Ready(Instruction::Serve(arrival, _)) => self.pool.give_back(self.slot, arrival),
            Poll::Ready(Instruction::Finish) => {
                self.released = true;
                self.hold.left = Some(self.pool.context.now());
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
        if let Some(transcript) = &mut self.transcript {
            match client.is_secret() {
                true => transcript.sent(self.pool.context.now(), &without_secret(bytes)),
                false => transcript.sent(self.pool.context.now(), bytes),
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        self.bytes.1 += bytes.len() as u64;
        if let Some(transcript) = &mut self.transcript {
            match &mut self.heard {
                Some(heard) => transcript.received(self.pool.context.now(), &heard.lines(bytes)),
                None => transcript.received(self.pool.context.now(), bytes),
            }
        }
    }

    fn security(&self) -> Option<&Security> {
        self.pool.connector.security()
    }

    fn truncated(&mut self) {
        self.accounting.count(self.phase, |counts| counts.truncated += 1);
    }

    fn is_silent(&self) -> bool {
        self.hold.since.is_some()
    }

    fn unwatched(&mut self) {
        self.accounting.count(self.phase, |counts| counts.unwatched += 1);
    }
}
