//! A simulation around the dispatcher, without sockets: sessions open, serve, fail and close in virtual time, by seed.
//!
//! The simulation keeps its own counts, and checks that the dispatcher obeys the rules that hold for every history.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::collector::Outcome;
use crate::collector::recorder::Recorder;
use crate::collector::snapshot::Gauges;
use crate::collector::tally::Counts;
use crate::generator::dispatch::{
    Action, AfterAttempt, AttemptEnd, Dispatch, OpenFor, ScheduledArrival, SessionEnd, SlotId,
};
use crate::plan::{Plan, Unit};

/// The behaviour of the target; times in milliseconds, probabilities in percent.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedTarget {
    pub opens_in: u64,
    pub serves_in: u64,
    /// The probability of refusing a session.
    pub refuses: u64,
    /// The probability of losing the session while it serves.
    pub drops: u64,
    /// The probability of deferring a message.
    pub defers: u64,
    /// The probability of rejecting a message that is not deferred, and each recipient of a deferred message.
    pub rejects: u64,
    /// The probability of deferring each recipient of an accepted message with several recipients.
    pub leaves: u64,
    /// The probability of ending an idle session.
    pub closes_idle: u64,
    /// Every n-th session is never greeted; 0: all are.
    pub mute_every: u64,
    /// The largest number of sessions at once; more are refused.
    pub limit: usize,
    /// The largest delay of a wake-up, in microseconds.
    pub jitter: u64,
}

impl Default for SimulatedTarget {
    fn default() -> Self {
        SimulatedTarget {
            opens_in: 1,
            serves_in: 10,
            refuses: 0,
            drops: 0,
            defers: 0,
            rejects: 0,
            leaves: 0,
            closes_idle: 0,
            mute_every: 0,
            limit: usize::MAX,
            jitter: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Opened,
    Served,
    Closed,
}

#[derive(Debug, Default)]
struct SimulatedSession {
    /// Distinguishes this session from others that had the same slot.
    birth: u64,
    bound: Option<ScheduledArrival>,
    /// The message for which it was opened.
    first: Option<ScheduledArrival>,
    serves: Option<ScheduledArrival>,
    established: bool,
    finishing: bool,
    held: bool,
    sent: u64,
}

pub struct World {
    pub dispatch: Dispatch,
    pub recorder: Recorder,
    plan: Arc<Plan>,
    target: SimulatedTarget,
    now: Duration,
    random: ChaCha8Rng,
    happenings: BinaryHeap<Reverse<(Duration, u64, SlotId, Happening)>>,
    sessions: BTreeMap<SlotId, SimulatedSession>,
    births: u64,
    ended: BTreeSet<u64>,
    /// By message: the number of its attempts, and the earliest start of the next attempt.
    pub attempts: BTreeMap<u64, (u32, Duration)>,
    /// The number of attempts that were not the first.
    pub retries: u64,
    /// Messages of several recipients: the recipients that may still get the message, and whether an attempt was
    /// accepted.
    pub left: BTreeMap<u64, (Vec<u32>, bool)>,
    pub started: Vec<(ScheduledArrival, Duration)>,
    pub outcomes: BTreeMap<Outcome, u64>,
    pub peak: usize,
    pub opened: Vec<Duration>,
    /// The times at which sessions ended.
    pub closed: Vec<Duration>,
    /// The arrivals for which sessions were opened, and the times of the openings.
    pub opened_for: Vec<(ScheduledArrival, Duration)>,
    /// The number of sessions that the target refused.
    pub refusals: u64,
    /// The phase that was given up.
    pub given_up: Option<u32>,
    /// How long no session was open and none could be opened.
    pub stood_still: Duration,
    pub closings: u64,
    /// The time at which the barrier of each phase opened.
    pub barrier_opened: Vec<Option<Duration>>,
    /// The phase whose barrier will never open.
    pub abandoned: Option<u32>,
    /// Whether a session ended while the dispatcher was being called, so that it must be called again.
    woken: bool,
    /// The time of the stop, and the time by which it must be complete.
    pub stop: Option<(Duration, Duration)>,
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl World {
    pub fn new(plan: Plan, target: SimulatedTarget, seed: u64) -> World {
        let plan = Arc::new(plan);
        let shard = plan.shard;
        World {
            dispatch: Dispatch::new(plan.clone(), shard),
            recorder: Recorder::new(plan.phases.len(), 0),
            barrier_opened: vec![None; plan.phases.len()],
            abandoned: None,
            plan,
            target,
            now: Duration::ZERO,
            random: ChaCha8Rng::seed_from_u64(seed),
            happenings: BinaryHeap::new(),
            sessions: BTreeMap::new(),
            births: 0,
            ended: BTreeSet::new(),
            attempts: BTreeMap::new(),
            retries: 0,
            left: BTreeMap::new(),
            started: Vec::new(),
            outcomes: BTreeMap::new(),
            peak: 0,
            opened: Vec::new(),
            closed: Vec::new(),
            opened_for: Vec::new(),
            refusals: 0,
            given_up: None,
            stood_still: Duration::ZERO,
            closings: 0,
            woken: false,
            stop: None,
        }
    }

    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    pub fn counts(&mut self, phase: u32) -> Counts {
        *self.recorder.counts(phase)
    }

    /// Runs to the end, and checks the counts. Returns the time of the end.
    pub fn run(&mut self) -> Duration {
        self.run_until(Duration::MAX);
        let phases = u32::try_from(self.plan.phases.len()).unwrap();
        let all: Vec<Counts> = (0..phases).map(|phase| self.counts(phase)).collect();
        let scheduled: u64 = all.iter().map(|counts| counts.scheduled).sum();
        let shed: u64 = all.iter().map(|counts| counts.arrivals.of(Outcome::Shed)).sum();
        assert_eq!(scheduled, shed + self.ended.len() as u64, "every arrival ends once: {:?}", self.outcomes);
        assert!(self.sessions.is_empty());
        assert_eq!(self.dispatch.gauges(), [0; 4]);
        let open = self.plan.phases.iter().all(|phase| !phase.load.model.is_closed());
        if open && self.plan.retry.is_none() {
            assert_eq!(self.of(Outcome::Refused), self.refusals, "each refusal is one connection");
        }
        self.now
    }

    /// Runs until `end`, or to the run's own end.
    pub fn run_until(&mut self, end: Duration) {
        let (mut steps, mut still) = (0_u64, 0);
        loop {
            steps += 1;
            assert!(steps < 2_000_000, "no end in sight at {:?}", self.now);
            if self.stop.is_some_and(|(at, _)| at <= self.now) {
                let (_, by) = self.stop.take().unwrap();
                self.dispatch.stop(by, &mut self.recorder);
            }
            self.dispatch.advance(self.now, &mut self.recorder);
            while let Some(action) = self.dispatch.action() {
                self.act(action);
            }
            if self.dispatch.is_done(self.now) || self.now >= end {
                return;
            }
            if std::mem::take(&mut self.woken) {
                continue;
            }
            let wake = self.dispatch.next_wake();
            assert!(
                wake.is_none_or(|wake| wake > self.now),
                "a wake at {wake:?} is not after {:?}",
                self.now
            );
            let jitter = Duration::from_micros(self.draw(self.target.jitter + 1));
            let wake = wake.map(|wake| wake + jitter);
            let happens = self.happenings.peek().map(|Reverse((at, ..))| *at);
            let stop = self.stop.map(|(at, _)| at);
            let Some(next) = [wake, happens, stop].into_iter().flatten().min() else {
                panic!("nothing will ever happen, and the run is not done at {:?}", self.now)
            };
            still = if next <= self.now { still + 1 } else { 0 };
            assert!(still < 10_000, "time stands still at {:?}", self.now);
            self.now = self.now.max(next.min(end));
            while let Some(&Reverse((at, birth, slot, what))) = self.happenings.peek()
                && at <= self.now
            {
                self.happenings.pop();
                if self.sessions.get(&slot).is_some_and(|session| session.birth == birth) {
                    self.happen(slot, what);
                }
            }
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random.next_u64() % below.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.draw(100) < percent
    }

    fn later(&mut self, slot: SlotId, millis: u64, what: Happening) {
        let birth = self.sessions[&slot].birth;
        // The time varies, so that sessions do not stay in step.
        let at = self.now + Duration::from_micros(millis * 1000 + self.random.next_u64() % 300);
        self.happenings.push(Reverse((at, birth, slot, what)));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open { slot, phase, purpose } => {
                self.births += 1;
                let (bound, first) = match purpose {
                    OpenFor::Pool => (None, None),
                    OpenFor::Message(arrival) => (None, Some(arrival)),
                    OpenFor::Session(arrival) => (Some(arrival), None),
                };
                let held = self.plan.phases[phase as usize].load.model.holds();
                let session = SimulatedSession {
                    birth: self.births,
                    bound,
                    first,
                    held,
                    ..SimulatedSession::default()
                };
                assert!(self.sessions.insert(slot, session).is_none(), "a slot in use is opened");
                let most = self.plan.phases[self.dispatch.phase_at(self.now) as usize].max_sessions as usize;
                assert!(self.sessions.len() <= most, "{} sessions, {most} allowed", self.sessions.len());
                self.peak = self.peak.max(self.sessions.len());
                self.opened.push(self.now);
                self.opened_for.extend(bound.or(first).map(|arrival| (arrival, self.now)));
                if let Some(arrival) = bound {
                    assert_eq!(self.plan.phases[arrival.phase as usize].unit, Unit::Session);
                    self.started.push((arrival, self.now));
                }
                if let Some(arrival) = first {
                    assert_eq!(self.plan.phases[arrival.phase as usize].unit, Unit::Message);
                    assert!(arrival.intended <= self.now, "opened before it was due");
                }
                let mute = self.target.mute_every;
                if mute == 0 || !self.births.is_multiple_of(mute) {
                    self.later(slot, self.target.opens_in, Happening::Opened);
                }
            }
            Action::Serve { slot, arrival } => {
                let session = self.sessions.get_mut(&slot).unwrap();
                assert!(session.serves.is_none() && session.established && session.bound.is_none());
                self.serve(slot, arrival);
            }
            Action::Finish(slot) => {
                self.closings += 1;
                let session = self.sessions.get_mut(&slot).unwrap();
                session.finishing = true;
                if session.established {
                    self.later(slot, 1, Happening::Closed);
                }
            }
            Action::Abort { slot, .. } => {
                let session = &self.sessions[&slot];
                let established = session.established;
                if let Some(arrival) = session.serves {
                    self.end(arrival, Outcome::Interrupted);
                    self.dispatch.arrival_ended(slot);
                }
                let end = match established {
                    false => SessionEnd::NotOpened(Outcome::Interrupted),
                    true => SessionEnd::ByClient,
                };
                self.session_ended(slot, Outcome::Interrupted, end);
                self.woken = true;
            }
            Action::Ready(phase) => {
                self.dispatch.open_barrier(phase, self.now);
                self.barrier_opened[phase as usize] = Some(self.now);
                self.woken = true;
            }
            Action::AbandonBarrier(phase) => self.abandoned = Some(phase),
            Action::GiveUp { phase, .. } => self.given_up = Some(phase),
            Action::StoodStill { since, until, .. } => self.stood_still += until.saturating_sub(since),
            Action::Charge { arrival, outcome, tried, for_good } => {
                assert!(arrival.intended <= tried && tried <= self.now);
                assert_ne!(outcome, Outcome::Accepted);
                self.started.push((arrival, tried));
                let end = AttemptEnd { outcome, for_good, session: 0, left: None };
                let after = self.dispatch.attempt_charged(self.now, &arrival, end, &mut self.recorder);
                self.count(arrival, outcome, after);
            }
            Action::Pend(retry) => {
                assert!(retry.earlier.is_some(), "only what was tried waits for another attempt");
                self.message_ended(retry.seq, Outcome::Interrupted);
            }
        }
    }

    fn happen(&mut self, slot: SlotId, what: Happening) {
        match what {
            Happening::Opened => {
                let served = self.sessions.values().filter(|session| session.established).count();
                if served >= self.target.limit || self.chance(self.target.refuses) {
                    self.refusals += 1;
                    return self.session_ended(
                        slot,
                        Outcome::Refused,
                        SessionEnd::NotOpened(Outcome::Refused),
                    );
                }
                self.dispatch.established(slot);
                let session = self.sessions.get_mut(&slot).unwrap();
                session.established = true;
                if session.finishing {
                    self.later(slot, 1, Happening::Closed);
                } else if session.bound.is_some() && !session.held {
                    self.later(slot, self.target.serves_in, Happening::Closed);
                } else if session.bound.is_none() {
                    match session.first.take() {
                        Some(arrival) => self.serve(slot, arrival),
                        None => self.ask(slot),
                    }
                }
            }
            Happening::Served => {
                let arrival = self.sessions.get_mut(&slot).unwrap().serves.take().unwrap();
                let dropped = self.chance(self.target.drops);
                let outcome = match dropped {
                    true => Outcome::Dropped,
                    false if self.chance(self.target.defers) => Outcome::Deferred,
                    false if self.chance(self.target.rejects) => Outcome::Rejected,
                    false => Outcome::Accepted,
                };
                self.end(arrival, outcome);
                self.dispatch.arrival_ended(slot);
                if dropped {
                    return self.session_ended(
                        slot,
                        Outcome::Dropped,
                        SessionEnd::ByListener(Outcome::Dropped),
                    );
                }
                self.dispatch.served(self.now, slot);
                self.ask(slot);
            }
            Happening::Closed => {
                let session = &self.sessions[&slot];
                if session.bound.is_some() && !session.finishing && self.chance(self.target.drops) {
                    return self.session_ended(
                        slot,
                        Outcome::Dropped,
                        SessionEnd::ByListener(Outcome::Dropped),
                    );
                }
                let session = &self.sessions[&slot];
                let finishing = session.finishing || session.bound.is_some();
                let end =
                    if finishing { SessionEnd::ByClient } else { SessionEnd::ByListener(Outcome::Dropped) };
                self.session_ended(slot, Outcome::Accepted, end);
            }
        }
    }

    /// Asks for work for a session of the pool. A session that has sent all its messages leaves.
    fn ask(&mut self, slot: SlotId) {
        if self.sessions[&slot].sent >= self.plan.messages.draw(self.plan.seed, 0) {
            return self.later(slot, 1, Happening::Closed);
        }
        match self.dispatch.next_message(self.now, slot, false, &mut self.recorder) {
            Some(arrival) => self.serve(slot, arrival),
            None => {
                let quiet = self.dispatch.actions.is_empty();
                // A decision of a wake-up at exactly this time does not belong to the session.
                let wakes = self.dispatch.next_wake().is_some_and(|wake| wake <= self.now);
                if !self.dispatch.rest(self.now, slot) && quiet && !wakes {
                    self.dispatch.advance(self.now, &mut self.recorder);
                    let actions = &self.dispatch.actions;
                    assert!(actions.is_empty(), "there was something to decide: {actions:?}");
                }
                if self.chance(self.target.closes_idle) {
                    let birth = self.sessions[&slot].birth;
                    // The session may have got an arrival by then, which is lost with the session.
                    self.happenings.push(Reverse((self.now + ms(3), birth, slot, Happening::Closed)));
                }
            }
        }
    }

    fn serve(&mut self, slot: SlotId, arrival: ScheduledArrival) {
        assert!(
            arrival.intended <= self.now && arrival.noticed <= self.now,
            "started before it was scheduled"
        );
        let phase = arrival.phase as usize;
        if self.plan.phases[phase].open_first {
            assert!(
                self.barrier_opened[phase].is_some_and(|at| at <= arrival.intended),
                "started before its barrier opened"
            );
        }
        self.started.push((arrival, self.now));
        let session = self.sessions.get_mut(&slot).unwrap();
        session.serves = Some(arrival);
        session.sent += 1;
        self.later(slot, self.target.serves_in, Happening::Served);
    }

    fn end(&mut self, arrival: ScheduledArrival, outcome: Outcome) {
        if outcome == Outcome::Shed {
            self.recorder.counts(arrival.phase).arrivals.add(outcome);
            return;
        }
        let end =
            AttemptEnd { outcome, for_good: false, session: 0, left: self.recipients_left(arrival, outcome) };
        let after = self.dispatch.attempt_ended(self.now, &arrival, end, &mut self.recorder);
        self.count(arrival, outcome, after);
    }

    /// Returns the recipients of an attempt that the target defers.
    fn recipients_left(&mut self, arrival: ScheduledArrival, outcome: Outcome) -> Option<Arc<[u32]>> {
        let recipients = self.plan.mail.recipients;
        let has_answers = !matches!(outcome, Outcome::Interrupted | Outcome::Refused | Outcome::Dropped);
        if recipients == 1 || self.plan.retry.is_none() || !has_answers {
            return None;
        }
        let all: Vec<u32> = (0..recipients).collect();
        let before = self.left.get(&arrival.seq).map_or(&all, |(left, _)| left).clone();
        let asked = self.dispatch.recipients_left(&arrival);
        assert_eq!(
            asked.as_deref().unwrap_or(&all),
            before,
            "message {} is tried for those that are left",
            arrival.seq
        );
        let mut left = before;
        match outcome {
            Outcome::Accepted => left.retain(|_| self.chance(self.target.leaves)),
            Outcome::Deferred => left.retain(|_| !self.chance(self.target.rejects)),
            _ => left.clear(),
        }
        let (own, accepted) = self.left.entry(arrival.seq).or_default();
        own.clone_from(&left);
        *accepted |= outcome == Outcome::Accepted;
        Some(left.into())
    }

    fn count(&mut self, arrival: ScheduledArrival, outcome: Outcome, after: AfterAttempt) {
        self.retries += u64::from(arrival.earlier.is_some());
        let (count, due) = self.attempts.get(&arrival.seq).copied().unwrap_or_default();
        assert_eq!(arrival.attempt(), count + 1, "attempts of message {} follow each other", arrival.seq);
        assert!(arrival.intended >= due, "a retry that was due at {due:?} started at {:?}", arrival.intended);
        let pause = self.plan.retry.as_ref().and_then(|retry| retry.schedule.pause_after(count + 1));
        let due = self.now + pause.unwrap_or_default();
        self.attempts.insert(arrival.seq, (count + 1, due));
        match after {
            AfterAttempt::Ends => {
                let is_accepted = self.left.get(&arrival.seq).is_some_and(|(_, accepted)| *accepted);
                assert!(
                    !is_accepted || matches!(outcome, Outcome::Accepted | Outcome::Interrupted),
                    "{outcome}"
                );
                self.message_ended(arrival.seq, outcome);
            }
            AfterAttempt::AcceptedAt(at) => {
                assert!(self.left[&arrival.seq].1 && outcome != Outcome::Accepted && at < self.now);
                self.message_ended(arrival.seq, Outcome::Accepted);
            }
            AfterAttempt::Pends(at) => {
                assert_eq!(at, due);
                self.message_ended(arrival.seq, Outcome::Interrupted);
            }
            AfterAttempt::Waits => {
                assert!(pause.is_some(), "{outcome} at attempt {}", count + 1);
                let left = self.left.get(&arrival.seq);
                assert!(left.is_none_or(|(left, _)| !left.is_empty()), "nobody is left to be tried");
            }
        }
    }

    fn message_ended(&mut self, seq: u64, outcome: Outcome) {
        assert!(self.ended.insert(seq), "arrival {seq} ends twice");
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn session_ended(&mut self, slot: SlotId, outcome: Outcome, end: SessionEnd) {
        let session = self.sessions.remove(&slot).unwrap();
        self.closed.push(self.now);
        if let Some(arrival) = session.serves {
            // With a probability of one half the session was closed before the arrival started.
            if self.chance(50) && outcome == Outcome::Accepted {
                self.started.pop();
                self.dispatch.give_back(slot, arrival, &mut self.recorder);
            } else if outcome != Outcome::Interrupted {
                self.end(arrival, Outcome::Dropped);
                self.dispatch.arrival_ended(slot);
            }
        }
        if let Some(arrival) = session.bound {
            self.end(arrival, outcome);
        }
        if let Some(arrival) = session.first {
            assert!(!session.established, "the first message of a session is what it was opened for");
            self.end(arrival, outcome);
        }
        self.dispatch.session_ended(self.now, slot, end, &mut self.recorder);
    }

    /// Returns the gauges in the form of a worker's report.
    pub fn gauges(&self) -> Gauges {
        let [sessions, in_flight, waiting, retrying] = self.dispatch.gauges();
        Gauges { sessions, in_flight, waiting, retrying, queued: None, peak_sessions: 0 }
    }
}
