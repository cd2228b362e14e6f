//! One loop for every load model: what is due, which session serves it, which session is opened for it.
//!
//! A pure state machine: times come in as offsets, decisions go out as [`Action`]s. Open and closed models differ in
//! [`load::Due`] alone, and it is matched here and nowhere else.
//!
//! # Decisions
//! - A due arrival waits itself, with its intended time; there is no counter of missed ones.
//! - A session that is done takes the next arrival at once; nothing has to be woken in between.
//! - Open loads: an arrival that meets no free session opens one at once and is its first message. How the opening fails is
//!   how the arrival ends: it gets no second session, so that `refused` counts connections. As many may be opening as
//!   `max_sessions` allows; only that and `connect_rate` make an arrival wait, and there is no pause after a failure.
//!   What still waits when its phase's grace is over is shed.
//! - Closed loads: after a failed opening there is a pause (`Plan::reconnect`), and then one session is tried at a time. A
//!   session that the listener ended before it had served anything is a failed opening too. An arrival is due when a session
//!   is free and has thought, so no pause is part of its times. It is not charged with a refused connection while other
//!   sessions of the pool can carry it, or may yet; if there is none, the next one is.
//! - A closed load that no time ends is given up when for its grace no session came about: what it did not begin is never
//!   scheduled, as with a closed load that time ends.

mod closed;
mod gate;
mod slots;
#[cfg(test)]
pub(super) mod tests;
mod throttle;

pub use self::slots::SlotId;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::slots::{Slot, Slots};
use self::throttle::{MAX_OPENING, Throttle};
use crate::collector::Outcome;
use crate::collector::recorder::Recorder;
use crate::load::{self, Schedule, Shard};
use crate::plan::{MOST_WAITING, OnSaturation, Plan, Unit};

/// An arrival that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledArrival {
    /// Its number.
    pub seq: u64,
    /// Its phase.
    pub phase: u32,
    /// When it was to start, since the run's epoch.
    pub intended: Duration,
    /// When we noticed.
    pub noticed: Duration,
}

/// What a session is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFor {
    /// The pool, for the messages of a closed load.
    Pool,
    /// A message of an open load that met no free session; afterwards the session belongs to the pool.
    Message(ScheduledArrival),
    /// The arrival is the session itself (unit `session`).
    Session(ScheduledArrival),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// It never could send, by this outcome.
    NotOpened(Outcome),
    /// It could send, and the listener ended it or let it time out, with this outcome.
    ByListener(Outcome),
    /// It could send, and our own side ended it.
    ByClient,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a session.
    Open {
        /// Its name from now on.
        slot: SlotId,
        /// The phase it is opened in.
        phase: u32,
        /// What it is opened for.
        purpose: OpenFor,
    },
    /// Give an arrival to a session that rests.
    Serve {
        /// The session.
        slot: SlotId,
        /// The arrival.
        due: ScheduledArrival,
    },
    /// End a session as the script says.
    Finish(SlotId),
    /// End a session at once.
    Abort {
        /// The session.
        slot: SlotId,
        /// Nothing needs it any more, and it has not been tried to open it for long: that it is not open is no finding.
        needless: bool,
    },
    /// An arrival ends without a session of its own: none could be opened.
    Charge {
        /// The arrival.
        due: ScheduledArrival,
        /// Since when the session was being opened that did not come about.
        tried: Duration,
        /// How it ends.
        outcome: Outcome,
    },
    /// Our part of the sessions of a phase that opens them first is open: see [`Dispatch::open_gate`].
    Ready(u32),
    /// A closed load that no time ends is given up.
    GiveUp {
        /// Its phase.
        phase: u32,
        /// Since when no session was served.
        since: Duration,
    },
    /// No session of a closed load was open and none could be opened, for so long.
    StoodStill {
        /// Its phase.
        phase: u32,
        /// How long.
        length: Duration,
    },
    /// It will never be: see [`Dispatch::forgo`].
    Forgo(u32),
}

/// The most arrivals that are noticed at a time: between two such batches the worker hears of all else, and can be stopped.
const MOST_NOTICED: usize = 1 << 14;

/// How long sessions may take to leave when all work is done.
const LEAVING: Duration = Duration::from_secs(5);
/// A session that is still being opened after this time hangs.
const HANGS: Duration = Duration::from_secs(1);

/// The dispatcher of one worker.
#[derive(Debug)]
pub struct Dispatch {
    plan: Arc<Plan>,
    schedule: Schedule,
    /// By phase: this worker's part of `max_sessions`.
    shares: Vec<u64>,
    /// Of how many shards this is one: each opens its part of the connections a second.
    of: f64,
    /// Arrivals of open loads that wait.
    due: VecDeque<ScheduledArrival>,
    /// At most so many wait here.
    most_waiting: usize,
    /// More was due when [`Dispatch::advance`] was last called than is noticed at a time.
    behind: bool,
    /// Arrivals of closed loads that have thought and wait for a session.
    resuming: VecDeque<closed::Resuming>,
    /// Arrivals of closed sessions that think: when, number, phase.
    thinking: BinaryHeap<Reverse<(Duration, u64, u32)>>,
    slots: Slots,
    throttle: Throttle,
    /// Sessions of closed loads that are under way or think (unit `session`).
    closed_busy: u64,
    /// How the last attempt to open a session for a closed load ended, if it failed.
    last_failure: Option<Outcome>,
    /// Since when every session of closed loads failed, and none was open after that.
    hopeless_since: Option<Duration>,
    standstill: closed::Standstill,
    /// The closed load that no time ends was given up.
    given_up: bool,
    established: u64,
    /// When [`Dispatch::advance`] was last called: what was due then is done.
    advanced: Duration,
    /// Phases below this are past their grace.
    reaped: u32,
    /// Phases below this have released their held sessions.
    released: u32,
    stop_by: Option<Duration>,
    leave_by: Option<Duration>,
    /// By phase: whether its sessions are all to be open first.
    gates: Vec<gate::Gate>,
    /// The gate that was opened since [`Dispatch::advance`] was last called, and when it was.
    let_in: Option<(u32, Duration)>,
    actions: VecDeque<Action>,
}

impl Dispatch {
    /// The dispatcher of shard `shard`.
    pub fn new(plan: Arc<Plan>, shard: Shard) -> Dispatch {
        let phases = plan.loads();
        let mut dispatch = Dispatch {
            schedule: Schedule::new(&phases, plan.seed, shard),
            shares: plan.phases.iter().map(|phase| shard.share(u64::from(phase.max_sessions))).collect(),
            of: f64::from(shard.of.max(1)),
            throttle: Throttle::new(plan.reconnect),
            most_waiting: usize::try_from(MOST_WAITING / u64::from(plan.threads.max(1)))
                .unwrap_or(usize::MAX)
                .max(1),
            behind: false,
            plan,
            due: VecDeque::new(),
            resuming: VecDeque::new(),
            thinking: BinaryHeap::new(),
            slots: Slots::default(),
            closed_busy: 0,
            last_failure: None,
            hopeless_since: None,
            standstill: closed::Standstill::default(),
            given_up: false,
            established: 0,
            advanced: Duration::ZERO,
            reaped: 0,
            released: 0,
            stop_by: None,
            leave_by: None,
            gates: Vec::new(),
            let_in: None,
            actions: VecDeque::new(),
        };
        dispatch.shut_gates();
        dispatch
    }

    /// Decides all that can be decided at `now`; take the [`Dispatch::action`]s after.
    pub fn advance(&mut self, now: Duration, books: &mut Recorder) {
        self.advanced = now;
        self.notice(now, books);
        self.release(now, books);
        self.trim(now);
        self.serve_due(now, books);
        self.serve_resuming(now, books);
        self.serve_closed(now, books);
        self.let_in = None;
        self.wind_down(now);
    }

    /// The next decision.
    pub fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next arrival for a session of the pool that can take one now. `early`: while its last one is under way.
    pub fn next_message(
        &mut self,
        now: Duration,
        slot: SlotId,
        early: bool,
        books: &mut Recorder,
    ) -> Option<ScheduledArrival> {
        if self.slots.of(slot).leaving || self.slots.staying() > self.most(now) {
            return None;
        }
        self.notice(now, books);
        if let Some(&due) = self.due.front() {
            if self.unit(due.phase) != Unit::Message {
                return None;
            }
            self.due.pop_front();
            self.slots.take(slot, due.phase);
            return Some(due);
        }
        // One that was thought about is for a session that rests; this one has to think itself.
        if self.slots.idle() == 0
            && let Some(due) = self.resume(now, Unit::Message, books)
        {
            self.slots.take(slot, due.phase);
            return Some(due);
        }
        let (phase, share) = self.closed_phase(now)?;
        if self.unit(phase) != Unit::Message || self.is_shut(phase) || self.slots.staying() > share {
            return None;
        }
        // To think begins when the last arrival has ended.
        if early && self.next_thinks(now) {
            return None;
        }
        let due = self.take_closed(now, self.slots.of(slot).served > 0, books)?;
        self.slots.take(slot, due.phase);
        Some(due)
    }

    /// The session has nothing to do. True: something may have to be decided because of it, see [`Dispatch::advance`]. Between
    /// the arrivals of an open load there is nothing: it waits for the next as [`Dispatch::next_wake`] says.
    #[must_use]
    pub fn rest(&mut self, now: Duration, slot: SlotId) -> bool {
        if self.slots.rest(slot) {
            self.goes_on(now);
            self.throttle.rested();
        }
        let between_arrivals = self.stop_by.is_none()
            && self.due.is_empty()
            && self.resuming.is_empty()
            && self.schedule.peek(now).is_some_and(|next| matches!(next.due, load::Due::At(at) if at > now));
        !between_arrivals || self.slots.staying() > self.most(now)
    }

    /// The session can send.
    pub fn established(&mut self, slot: SlotId) {
        self.slots.established(slot);
        self.established += 1;
        self.last_failure = None;
    }

    /// The listener has served the session: it took a message, or refused one and goes on.
    pub fn served(&mut self, now: Duration, slot: SlotId) {
        if !std::mem::replace(&mut self.slots.of_mut(slot).proven, true) {
            self.goes_on(now);
            self.throttle.succeeded();
        }
    }

    /// An arrival that a session of the pool had taken is over.
    pub fn arrival_over(&mut self, slot: SlotId) {
        self.slots.release(slot);
    }

    /// A session gives an arrival back that it never began. It is shed if there is no time left to begin it.
    pub fn give_back(&mut self, slot: SlotId, due: ScheduledArrival, books: &mut Recorder) {
        self.slots.release(slot);
        if self.stop_by.is_some() || due.phase < self.reaped {
            books.counts(due.phase).arrivals.add(Outcome::Shed);
        } else if self.is_closed(due.phase) {
            self.resuming.push_front(closed::Resuming { due, scheduled: true });
        } else {
            self.due.push_front(due);
        }
    }

    /// A session is over.
    pub fn over(&mut self, now: Duration, slot: SlotId, end: SessionEnd, books: &mut Recorder) {
        let slot = self.slots.close(slot);
        let given_up = end == SessionEnd::NotOpened(Outcome::Interrupted);
        if !slot.bound && !slot.leaving && !given_up {
            self.lost_at_gate(now);
        }
        if !matches!(end, SessionEnd::NotOpened(_)) {
            self.established -= 1;
        }
        if slot.is_paced() && !given_up {
            self.pace(now, &slot, end, books);
        }
        if slot.closed && !self.think(now, slot.arrival_phase, books) {
            self.closed_busy -= 1;
        }
    }

    /// Starts nothing more; what is under way may take until `by`.
    pub fn stop(&mut self, by: Duration, books: &mut Recorder) {
        self.stop_by = Some(self.stop_by.map_or(by, |earlier| earlier.min(by)));
        self.forget_thinking(u32::MAX);
        for due in std::mem::take(&mut self.due) {
            books.counts(due.phase).arrivals.add(Outcome::Shed);
        }
        self.drop_resuming(|_| true, books);
        self.release_held(u32::MAX);
    }

    /// When [`Dispatch::advance`] is to be called again, if nothing happens before. Always after its last call: what came
    /// due since that call must not be passed over, and what was done by it must not be asked for again.
    pub fn next_wake(&mut self) -> Option<Duration> {
        let advanced = self.advanced;
        if self.behind && self.stop_by.is_none() {
            return Some(advanced + Duration::from_nanos(1));
        }
        let mut wake = self.throttle.next_change(advanced);
        let mut consider = |at: Option<Duration>| {
            if let Some(at) = at.filter(|at| *at > advanced) {
                wake = Some(wake.map_or(at, |wake| wake.min(at)));
            }
        };
        if self.stop_by.is_none() {
            consider(self.schedule.peek(advanced).map(|arrival| match arrival.due {
                load::Due::At(at) => at,
                load::Due::WhenIdle { not_before, .. } => not_before,
            }));
            consider(self.schedule.next_change(advanced));
            consider(self.thinking.peek().map(|Reverse((at, ..))| *at));
            consider(self.giving_up().map(|(_, at)| at));
        }
        consider(self.grace_end(self.reaped));
        consider(self.stop_by);
        consider(self.leave_by);
        wake
    }

    /// Whether all arrivals have ended and all sessions are closed.
    pub fn is_done(&mut self, now: Duration) -> bool {
        self.slots.live() == 0 && self.is_exhausted(now) && self.actions.is_empty()
    }

    /// Sessions open, arrivals under way, arrivals waiting.
    pub fn gauges(&self) -> (u64, u64, u64) {
        (self.slots.live(), self.slots.in_flight(), (self.due.len() + self.resuming.len()) as u64)
    }

    /// The phase that holds `now`, for what belongs to no arrival.
    pub fn phase_at(&self, now: Duration) -> u32 {
        let phases = u32::try_from(self.plan.phases.len()).expect("phases are few");
        (1..phases).rev().find(|&phase| self.schedule.phase_start(phase) <= now).unwrap_or(0)
    }

    /// The most sessions that may be open now.
    fn most(&self, now: Duration) -> u64 {
        self.shares[self.phase_at(now) as usize]
    }

    fn unit(&self, phase: u32) -> Unit {
        self.plan.phases[phase as usize].unit
    }

    fn is_held(&self, phase: u32) -> bool {
        self.plan.holds(phase)
    }

    fn is_exhausted(&mut self, now: Duration) -> bool {
        self.due.is_empty()
            && self.resuming.is_empty()
            && self.thinking.is_empty()
            && (self.stop_by.is_some() || self.given_up || self.schedule.peek(now).is_none())
    }

    fn grace_end(&self, phase: u32) -> Option<Duration> {
        let plan = self.plan.phases.get(phase as usize)?;
        Some(self.schedule.phase_end(phase)? + plan.graceful_stop)
    }

    /// Takes what is due from the schedule, whether or not it can start.
    fn notice(&mut self, now: Duration, books: &mut Recorder) {
        while let Some(&Reverse((at, seq, phase))) = self.thinking.peek()
            && at <= now
        {
            self.thinking.pop();
            let late = self.schedule.phase_end(phase).is_some_and(|end| at >= end);
            if late || self.is_one_too_many(now, phase) {
                // It would have started after its phase, or beside as many as there should be: it is no arrival.
                self.closed_busy -= u64::from(self.unit(phase) == Unit::Session);
                continue;
            }
            let due = ScheduledArrival { seq, phase, intended: at, noticed: now };
            self.resuming.push_back(closed::Resuming { due, scheduled: false });
        }
        if self.stop_by.is_some() {
            return;
        }
        let mut left = MOST_NOTICED;
        self.behind = false;
        while let Some(arrival) = self.schedule.peek(now)
            && let load::Due::At(at) = arrival.due
            && at <= now
        {
            if left == 0 {
                self.behind = true;
                return;
            }
            left -= 1;
            self.schedule.take(now);
            let counts = books.counts(arrival.phase);
            counts.scheduled += 1;
            // A load that outruns the listener for hours must not take all memory.
            if self.due.len() >= self.most_waiting || arrival.phase < self.reaped {
                counts.arrivals.add(Outcome::Shed);
                continue;
            }
            self.due.push_back(ScheduledArrival {
                seq: arrival.seq,
                phase: arrival.phase,
                intended: at,
                noticed: now,
            });
        }
    }

    /// Ends what has outlived its phase and grace.
    fn release(&mut self, now: Duration, books: &mut Recorder) {
        while self.schedule_phases() > self.released
            && self.schedule.phase_end(self.released).is_some_and(|end| end <= now)
        {
            self.end_standstill(self.schedule.phase_end(self.released).unwrap_or(now), Some(self.released));
            self.released += 1;
            self.release_held(self.released);
            self.forget_thinking(self.released);
            let released = self.released;
            self.drop_resuming(|waits| !waits.scheduled && waits.due.phase < released, books);
        }
        if let Some((phase, _)) = self.giving_up().filter(|(_, at)| *at <= now) {
            self.given_up = true;
            let since = self.hopeless_since.or(self.hopeless_gate(phase)).unwrap_or(now);
            self.actions.push_back(Action::GiveUp { phase, since });
            if self.is_shut(phase) {
                self.actions.push_back(Action::Forgo(phase));
            }
        }
        while self.grace_end(self.reaped).is_some_and(|end| end <= now) {
            self.reaped += 1;
            let reaped = self.reaped;
            self.abort(|slot| slot.in_flight > 0 && slot.arrival_phase < reaped);
            let (expired, left): (Vec<ScheduledArrival>, _) =
                std::mem::take(&mut self.due).into_iter().partition(|due| due.phase < reaped);
            self.due = left.into();
            for due in expired {
                books.counts(due.phase).arrivals.add(Outcome::Shed);
            }
            self.expire_resuming(books);
        }
        if self.stop_by.is_some_and(|by| by <= now) || self.leave_by.is_some_and(|by| by <= now) {
            self.abort(|_| true);
        }
    }

    fn schedule_phases(&self) -> u32 {
        u32::try_from(self.plan.phases.len()).expect("phases are few")
    }

    fn release_held(&mut self, below: u32) {
        let held: Vec<SlotId> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.held && slot.phase < below && !slot.leaving)
            .map(|(id, _)| id)
            .collect();
        for id in held {
            self.finish(id);
        }
    }

    fn abort(&mut self, which: impl Fn(&Slot) -> bool) {
        let doomed = |slot: &Slot| !slot.aborted && which(slot);
        let ids: Vec<SlotId> = self.slots.iter().filter(|(_, slot)| doomed(slot)).map(|(id, _)| id).collect();
        for id in ids {
            self.slots.leave(id);
            let slot = self.slots.of_mut(id);
            slot.aborted = true;
            let needless = slot.opening && slot.in_flight == 0 && self.advanced < slot.opened_at + HANGS;
            self.actions.push_back(Action::Abort { slot: id, needless });
        }
    }

    fn finish(&mut self, id: SlotId) {
        self.slots.leave(id);
        self.actions.push_back(Action::Finish(id));
    }

    /// Lets sessions at rest go that are more than may be open.
    fn trim(&mut self, now: Duration) {
        while self.slots.staying() > self.most(now)
            && let Some(id) = self.slots.wake()
        {
            self.finish(id);
        }
    }

    /// Lets sessions of the pool go for sessions that are arrivals: what is left from an earlier phase must not starve them.
    fn make_room(&mut self, wanted: u64) {
        while self.slots.leaving() < wanted
            && let Some(id) = self.slots.wake()
        {
            self.finish(id);
        }
    }

    /// Serves arrivals of open loads, in the order in which they became due.
    fn serve_due(&mut self, now: Duration, books: &mut Recorder) {
        while let Some(&first) = self.due.front() {
            let phase = &self.plan.phases[first.phase as usize];
            let is_message = phase.unit == Unit::Message;
            let drops = phase.on_saturation == OnSaturation::Drop;
            if is_message && let Some(slot) = self.slots.wake() {
                self.due.pop_front();
                self.slots.take(slot, first.phase);
                self.actions.push_back(Action::Serve { slot, due: first });
                continue;
            }
            if self.slots.live() >= self.shares[first.phase as usize].min(self.most(now)) {
                if drops {
                    self.due.pop_front();
                    books.counts(first.phase).arrivals.add(Outcome::Shed);
                    continue;
                }
                if !is_message {
                    self.make_room(self.due.len() as u64);
                }
                return;
            }
            // To hold many sessions is no wish for a storm of connections: the listener's accept queue is spared.
            let crowded = self.is_held(first.phase) && self.slots.opening() >= MAX_OPENING;
            if crowded || !self.throttle.allows_rate(now) {
                return;
            }
            self.due.pop_front();
            let purpose = if is_message { OpenFor::Message(first) } else { OpenFor::Session(first) };
            self.open(now, first.phase, purpose);
        }
    }

    fn open(&mut self, now: Duration, phase: u32, purpose: OpenFor) {
        self.throttle.opened(now, self.plan.phases[phase as usize].connect_rate.map(|rate| rate / self.of));
        let bound = matches!(purpose, OpenFor::Session(_));
        let busy = purpose != OpenFor::Pool;
        let slot = self.slots.open(Slot {
            phase,
            bound,
            closed: bound && self.is_closed(phase),
            first: matches!(purpose, OpenFor::Message(_)),
            held: bound && self.is_held(phase),
            opening: true,
            opened_at: now,
            in_flight: u32::from(busy),
            served: u64::from(busy),
            arrival_phase: phase,
            ..Slot::default()
        });
        self.actions.push_back(Action::Open { slot, phase, purpose });
        if self.slots.of(slot).held && phase < self.released {
            // It waited past its phase's end: there is nothing left to hold it for.
            self.finish(slot);
        }
    }

    /// Lets the sessions go that nothing will need any more.
    fn wind_down(&mut self, now: Duration) {
        if !self.is_exhausted(now) || self.slots.in_flight() > 0 {
            return;
        }
        while let Some(id) = self.slots.wake() {
            self.finish(id);
        }
        if self.leave_by.is_none() && self.slots.live() > 0 {
            self.leave_by = Some(now + LEAVING);
            self.abort(|slot| slot.opening);
        }
    }
}
