//! The dispatcher of every load model: decides which arrival starts, which session serves it, and when a session is
//! opened.
//!
//! The dispatcher is a pure state machine: it takes times as offsets and returns decisions as [`Action`]s. Open and
//! closed models differ only in [`load::Due`], which is matched in one place, `Dispatch::upcoming`; `serve` is the one
//! loop that starts arrivals.
//!
//! # Decisions
//! - An arrival that cannot start waits and keeps its intended time, so that its wait is measured.
//! - A session that has ended an arrival takes the next arrival at once, without waking another task.
//! - Open loads: an arrival that finds no free session opens one at once and is its first message. If the opening
//!   fails, the arrival fails too: it gets no second session, so that `refused` counts connections. An arrival waits
//!   only for `max_sessions` and `connect_rate`, and a session to hold also waits while `MAX_OPENING`
//!   sessions are being opened; there is no pause after a failure. An arrival that still waits when the grace of its
//!   phase ends is shed.
//! - A message for another attempt waits in a queue of its own: see `retries`.
//! - Closed loads: after a failed opening there is a pause (`Plan::reconnect`), and then one session is tried at a
//!   time. A session that the listener ended before it served anything counts as a failed opening. An arrival is
//!   scheduled when a session is free and its think time is over, so no pause is part of its times. A refused
//!   connection fails an arrival only if no other session is open or being opened.
//! - A closed load without a length is given up when its sessions have failed for the length of its grace. Its
//!   remaining arrivals are never scheduled, as in a closed load whose length is over.

mod closed;
mod connect_rate;
mod idle;
mod retries;
mod serve;
mod slots;
mod start_barrier;
#[cfg(test)]
pub(super) mod tests;
mod throttle;

pub use self::connect_rate::ConnectRates;
pub use self::retries::{AfterAttempt, AttemptEnd, EarlierAttempts, may_pass};
pub use self::slots::SlotId;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::connect_rate::ConnectTurns;
use self::retries::{Retries, phase_of_grace};
use self::serve::ArrivalSource;
use self::slots::{Slot, Slots};
use self::throttle::Throttle;
use crate::collector::Outcome;
use crate::collector::recorder::Recorder;
use crate::load::{self, Schedule, Shard};
use crate::plan::{MOST_WAITING, Phase, Plan, Unit};

/// An arrival whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledArrival {
    /// The number.
    pub seq: u64,
    /// The phase.
    pub phase: u32,
    /// The intended start, since the run's epoch.
    pub intended: Duration,
    /// When the generator noticed that this time had come.
    pub noticed: Duration,
    /// The earlier attempts; `None`: this is the first.
    pub earlier: Option<EarlierAttempts>,
}

impl ScheduledArrival {
    /// Returns the number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        1 + self.earlier.map_or(0, |earlier| earlier.count)
    }

    /// Returns the intended start of the first attempt.
    pub fn first_intended(&self) -> Duration {
        self.earlier.map_or(self.intended, |earlier| earlier.first)
    }
}

/// The purpose of a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFor {
    /// The pool, for messages of a closed load.
    Pool,
    /// A message of an open load that found no free session; afterwards the session belongs to the pool.
    Message(ScheduledArrival),
    /// The arrival is the session itself (unit `session`).
    Session(ScheduledArrival),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The session never became ready to send; its outcome.
    NotOpened(Outcome),
    /// The session was ready, and the listener ended it or let it time out; its outcome.
    ByListener(Outcome),
    /// The session was ready, and the client ended it.
    ByClient,
}

/// A decision of the dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a session.
    Open {
        /// The key of the new session.
        slot: SlotId,
        /// The phase in which it is opened.
        phase: u32,
        /// The purpose.
        purpose: OpenFor,
    },
    /// Give an arrival to an idle session.
    Serve {
        /// The session.
        slot: SlotId,
        /// The arrival.
        arrival: ScheduledArrival,
    },
    /// End a session as the script says.
    Finish(SlotId),
    /// End a session at once.
    Abort {
        /// The session.
        slot: SlotId,
        /// Whether the session serves no arrival and has been opening for less than `HANGS`: then its end is no
        /// failure.
        needless: bool,
    },
    /// End an arrival for which no session could be opened.
    Charge {
        /// The arrival.
        arrival: ScheduledArrival,
        /// The start of the failed opening.
        tried: Duration,
        /// The outcome.
        outcome: Outcome,
        /// Whether the listener refused the session with a 5yz reply.
        for_good: bool,
    },
    /// End a message whose next attempt, given here, would be after the run.
    Pend(ScheduledArrival),
    /// All sessions of this worker are open, in a phase with `open_first`: see [`Dispatch::open_barrier`].
    Ready(u32),
    /// A closed load without a length is given up.
    GiveUp {
        /// The phase.
        phase: u32,
        /// The start of the failures for which the load is given up.
        since: Duration,
    },
    /// A closed load had no session open and could open none.
    StoodStill {
        /// The phase.
        phase: u32,
        /// The start of the standstill.
        since: Duration,
        /// Its end.
        until: Duration,
    },
    /// The sessions of this phase will never all be open: see [`Dispatch::abandon`].
    AbandonBarrier(u32),
}

/// The largest batch of admitted arrivals: between two batches the worker does its other work, and can be stopped.
const MOST_ADMITTED: usize = 1 << 14;

/// How long sessions may take to end when all work is done.
const LEAVING: Duration = Duration::from_secs(5);
/// An opening that takes longer than this counts as hanging.
const HANGS: Duration = Duration::from_secs(1);

/// The next arrival of the schedule.
#[derive(Clone, Copy, Debug)]
struct Upcoming {
    seq: u64,
    phase: u32,
    /// Open loads: its scheduled time. Closed loads: the start of its phase.
    not_before: Duration,
    /// Closed loads: the think time before it.
    think: Option<Duration>,
}

/// The dispatcher of one worker.
#[derive(Debug)]
pub struct Dispatch {
    plan: Arc<Plan>,
    schedule: Schedule,
    /// This worker's part of `max_sessions`, by phase.
    shares: Vec<u64>,
    /// Arrivals of open loads that wait.
    waiting: VecDeque<ScheduledArrival>,
    /// The largest length of `waiting`.
    most_waiting: usize,
    /// Whether the last call of [`Dispatch::advance`] left scheduled arrivals for the next batch.
    behind: bool,
    /// Arrivals of closed loads that wait for a session: their think time is over, or a session gave them back.
    resumed: VecDeque<closed::Resumed>,
    /// The next arrivals of sessions in their think time: the end of the think time, the number, the phase.
    thinking: BinaryHeap<Reverse<(Duration, u64, u32)>>,
    retries: Retries,
    slots: Slots,
    throttle: Throttle,
    connects: ConnectTurns,
    /// Sessions of closed loads that are open or in their think time (unit `session`).
    closed_busy: u64,
    /// The outcome of the last attempt to open a session for a closed load, if it failed.
    last_failure: Option<Outcome>,
    /// The time since which every session of closed loads failed and none was open.
    hopeless_since: Option<Duration>,
    standstill: closed::Standstill,
    /// Whether the closed load without a length was given up.
    given_up: bool,
    established: u64,
    /// The time of the last [`Dispatch::advance`]: arrivals scheduled until then are decided.
    advanced: Duration,
    /// The ends of the graces that are not over yet, with their phases, in order. A later phase may have an earlier one.
    graces: VecDeque<(Duration, u32)>,
    /// By phase: whether it is past its grace.
    reaped: Vec<bool>,
    /// Phases below this have released their held sessions.
    released: u32,
    stop_by: Option<Duration>,
    leave_by: Option<Duration>,
    /// The start barrier of each phase with `open_first`.
    barriers: Vec<start_barrier::PhaseBarrier>,
    /// The phase whose barrier opened since the last [`Dispatch::advance`], and when it opened.
    opened_barrier: Option<(u32, Duration)>,
    actions: VecDeque<Action>,
}

/// Returns how many arrivals may wait on a thread: its part of those of the machine, by its sessions in the phase in which it
/// has the largest part of them.
fn most_waiting(plan: &Plan, shard: Shard) -> usize {
    let part = |phase: &Phase| {
        let (own, machine) = (shard.share(phase.most_sessions()), plan.shard.share(phase.most_sessions()));
        MOST_WAITING as f64 * own as f64 / machine.max(1) as f64
    };
    plan.phases.iter().map(part).fold(1.0, f64::max) as usize
}

impl Dispatch {
    /// Returns the dispatcher of shard `shard`.
    pub fn new(plan: Arc<Plan>, shard: Shard) -> Dispatch {
        let mut dispatch = Dispatch {
            schedule: Schedule::new(&plan.loads(), plan.seed, shard)
                .among(shard.of / plan.shard.of.max(1), plan.phases.iter().map(Phase::most_sessions)),
            connects: ConnectTurns::new(Arc::new(ConnectRates::new(&plan))),
            shares: plan.phases.iter().map(|phase| shard.share(u64::from(phase.max_sessions))).collect(),
            throttle: Throttle::new(plan.reconnect),
            most_waiting: most_waiting(&plan, shard),
            behind: false,
            retries: Retries::new(plan.threads),
            plan,
            waiting: VecDeque::new(),
            resumed: VecDeque::new(),
            thinking: BinaryHeap::new(),
            slots: Slots::default(),
            closed_busy: 0,
            last_failure: None,
            hopeless_since: None,
            standstill: closed::Standstill::default(),
            given_up: false,
            established: 0,
            advanced: Duration::ZERO,
            graces: VecDeque::new(),
            reaped: Vec::new(),
            released: 0,
            stop_by: None,
            leave_by: None,
            barriers: Vec::new(),
            opened_barrier: None,
            actions: VecDeque::new(),
        };
        dispatch.close_barriers();
        let phases = dispatch.schedule_phases();
        let mut graces: Vec<(Duration, u32)> =
            (0..phases).filter_map(|phase| Some((dispatch.grace_end(phase)?, phase))).collect();
        graces.sort_unstable();
        (dispatch.graces, dispatch.reaped) = (graces.into(), vec![false; phases as usize]);
        dispatch
    }

    /// Makes all decisions of `now`; read them by [`Dispatch::action`] afterwards.
    pub fn advance(&mut self, now: Duration, recorder: &mut Recorder) {
        self.advanced = now;
        self.admit(now, recorder);
        self.release(now, recorder);
        self.trim(now);
        self.serve(now, recorder);
        self.opened_barrier = None;
        self.expire_retries(now);
        self.wind_down(now);
    }

    /// Returns the next decision.
    pub fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the next arrival for a session of the pool. `early`: the last arrival of the session is still in flight.
    pub fn next_message(
        &mut self,
        now: Duration,
        slot: SlotId,
        early: bool,
        recorder: &mut Recorder,
    ) -> Option<ScheduledArrival> {
        if self.slots.of(slot).leaving || self.slots.staying() > self.most(now) {
            return None;
        }
        self.admit(now, recorder);
        if let Some(source) = self.longest_waiting() {
            if source == ArrivalSource::Waiting
                && self.waiting.front().is_some_and(|arrival| self.unit(arrival.phase) != Unit::Message)
            {
                return None;
            }
            let arrival = self.take(now, source, recorder)?;
            self.taken(slot, &arrival);
            return Some(arrival);
        }
        // An arrival whose think time is over belongs to an idle session; the session that asks must think first.
        if self.slots.idle() == 0
            && let Some(arrival) = self.resume_message(now, recorder)
        {
            self.taken(slot, &arrival);
            return Some(arrival);
        }
        let (phase, share) = self.closed_phase(now)?;
        if self.unit(phase) != Unit::Message || self.is_barrier_closed(phase) || self.slots.staying() > share
        {
            return None;
        }
        // The think time starts at the end of the session's last arrival.
        if early && self.next_thinks(now) {
            return None;
        }
        let arrival = self.take_closed(now, self.slots.of(slot).served > 0, recorder)?;
        self.taken(slot, &arrival);
        Some(arrival)
    }

    /// Notes that a session is idle. Returns whether [`Dispatch::advance`] must be called for it: not between the
    /// arrivals of an open load, for which [`Dispatch::next_wake`] is enough.
    #[must_use]
    pub fn rest(&mut self, now: Duration, slot: SlotId) -> bool {
        if self.slots.rest(slot) {
            self.goes_on(now);
            self.throttle.rested();
        }
        let between_arrivals = self.stop_by.is_none()
            && self.waiting.is_empty()
            && self.resumed.is_empty()
            && self.retries.due() == 0
            && self.upcoming(now).is_some_and(|next| next.think.is_none() && next.not_before > now);
        !between_arrivals || self.slots.staying() > self.most(now) || self.is_pool_over(now)
    }

    /// Notes that a session is ready to send.
    pub fn established(&mut self, slot: SlotId) {
        self.slots.established(slot);
        self.established += 1;
        self.last_failure = None;
    }

    /// Notes that the listener served a session: it accepted a message, or refused one and went on.
    pub fn served(&mut self, now: Duration, slot: SlotId) {
        if !std::mem::replace(&mut self.slots.of_mut(slot).proven, true) {
            self.goes_on(now);
            self.throttle.succeeded();
        }
    }

    /// Notes the end of an arrival of a session of the pool.
    pub fn arrival_ended(&mut self, slot: SlotId) {
        self.slots.release(slot);
    }

    /// Takes back an arrival that a session never started. The arrival is shed if no time is left to start it.
    pub fn give_back(&mut self, slot: SlotId, arrival: ScheduledArrival, recorder: &mut Recorder) {
        self.slots.release(slot);
        self.first_left(&arrival);
        if arrival.earlier.is_some() {
            self.give_retry_back(arrival);
        } else if self.stop_by.is_some() || self.reaped[arrival.phase as usize] {
            recorder.shed(arrival.phase, arrival.intended);
        } else if self.is_closed(arrival.phase) {
            self.resumed.push_front(closed::Resumed { arrival, scheduled: true });
        } else {
            self.waiting.push_front(arrival);
        }
    }

    /// Notes the end of a session.
    pub fn session_ended(&mut self, now: Duration, slot: SlotId, end: SessionEnd, recorder: &mut Recorder) {
        let slot = self.slots.close(slot);
        let given_up = end == SessionEnd::NotOpened(Outcome::Interrupted);
        if !slot.bound && !slot.leaving && !given_up {
            self.note_setback(now);
        }
        if !matches!(end, SessionEnd::NotOpened(_)) {
            self.established -= 1;
        }
        if slot.is_paced() && !given_up {
            self.pace(now, &slot, end, recorder);
        }
        if slot.closed && !self.think(now, slot.arrival_phase, recorder) {
            self.closed_busy -= 1;
        }
    }

    /// Starts no further arrivals; those in flight may take until `by`.
    pub fn stop(&mut self, by: Duration, recorder: &mut Recorder) {
        self.stop_by = Some(self.stop_by.map_or(by, |earlier| earlier.min(by)));
        self.forget_thinking(u32::MAX);
        for arrival in std::mem::take(&mut self.waiting) {
            recorder.shed(arrival.phase, arrival.intended);
        }
        self.drop_resumed(|_| true, recorder);
        self.end_retries();
        self.release_held(u32::MAX);
    }

    /// Returns the time for the next call of [`Dispatch::advance`], if nothing happens before. The returned time is
    /// always after the last call.
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
        consider(self.connects.next_change(advanced));
        if self.stop_by.is_none() {
            consider(self.upcoming(advanced).map(|next| next.not_before));
            consider(self.schedule.next_change(advanced));
            consider(self.thinking.peek().map(|Reverse((at, ..))| *at));
            consider(self.giving_up().map(|(_, at)| at));
        }
        self.next_change_of_retries().into_iter().for_each(&mut consider);
        consider(self.graces.front().map(|(end, _)| *end));
        consider(self.stop_by);
        consider(self.leave_by);
        wake
    }

    /// Whether all arrivals have ended and all sessions are closed.
    pub fn is_done(&mut self, now: Duration) -> bool {
        self.slots.live() == 0 && self.is_exhausted(now) && self.actions.is_empty()
    }

    /// Returns the numbers of open sessions, of arrivals in flight, of arrivals that wait for a session, and of
    /// messages that wait for their next attempt.
    pub fn gauges(&self) -> [u64; 4] {
        let waiting = self.waiting.len() + self.resumed.len() + self.retries.due();
        [self.slots.live(), self.slots.in_flight(), waiting as u64, self.retries.waiting()]
    }

    /// Returns the phase at `now`, for events that belong to no arrival.
    pub fn phase_at(&self, now: Duration) -> u32 {
        let phases = u32::try_from(self.plan.phases.len()).expect("phases are few");
        (1..phases).rev().find(|&phase| self.schedule.phase_start(phase) <= now).unwrap_or(0)
    }

    /// Returns the largest number of sessions that may be open now.
    fn most(&self, now: Duration) -> u64 {
        self.shares[self.phase_at(now) as usize]
    }

    fn unit(&self, phase: u32) -> Unit {
        self.plan.phases[phase as usize].unit
    }

    fn is_held(&self, phase: u32) -> bool {
        self.plan.holds(phase)
    }

    /// Whether nothing is left to start, neither first attempts nor retries.
    fn is_exhausted(&mut self, now: Duration) -> bool {
        self.retries.is_empty() && self.is_load_over(now)
    }

    /// Whether no first attempt is left to start.
    fn is_load_over(&mut self, now: Duration) -> bool {
        self.waiting.is_empty()
            && self.resumed.is_empty()
            && self.thinking.is_empty()
            && (self.stop_by.is_some() || self.given_up || self.schedule.peek(now).is_none())
    }

    fn grace_end(&self, phase: u32) -> Option<Duration> {
        let plan = self.plan.phases.get(phase as usize)?;
        Some(self.schedule.phase_end(phase)? + plan.graceful_stop)
    }

    /// Returns the next arrival of the schedule. Only this function matches [`load::Due`].
    fn upcoming(&mut self, now: Duration) -> Option<Upcoming> {
        let load::Arrival { seq, phase, due } = self.schedule.peek(now)?;
        let (not_before, think) = match due {
            load::Due::At(at) => (at, None),
            load::Due::WhenIdle { not_before, think } => (not_before, Some(think)),
        };
        Some(Upcoming { seq, phase, not_before, think })
    }

    /// Moves the arrivals whose time has come to the waiting arrivals.
    fn admit(&mut self, now: Duration, recorder: &mut Recorder) {
        while let Some(&Reverse((at, seq, phase))) = self.thinking.peek()
            && at <= now
        {
            self.thinking.pop();
            let late = self.schedule.phase_end(phase).is_some_and(|end| at >= end);
            if late || self.is_one_too_many(now, phase) {
                // The arrival would start after its phase, or above the number of sessions, so it does not count as
                // one.
                self.closed_busy -= u64::from(self.unit(phase) == Unit::Session);
                continue;
            }
            let arrival = ScheduledArrival { seq, phase, intended: at, noticed: now, earlier: None };
            self.resumed.push_back(closed::Resumed { arrival, scheduled: false });
        }
        if self.stop_by.is_some() {
            return;
        }
        let mut left = MOST_ADMITTED;
        self.behind = self.retries.admit(now, MOST_ADMITTED);
        while let Some(Upcoming { seq, phase, not_before: intended, think: None }) = self.upcoming(now)
            && intended <= now
        {
            if left == 0 {
                self.behind = true;
                return;
            }
            left -= 1;
            self.schedule.take(now);
            recorder.counts(phase).scheduled += 1;
            // Bounds the memory of a load that is faster than its listener for hours.
            if self.waiting.len() >= self.most_waiting || self.reaped[phase as usize] {
                recorder.shed(phase, intended);
                continue;
            }
            self.waiting.push_back(ScheduledArrival { seq, phase, intended, noticed: now, earlier: None });
        }
    }

    /// Ends arrivals and sessions whose phase and grace are over.
    fn release(&mut self, now: Duration, recorder: &mut Recorder) {
        while self.schedule_phases() > self.released
            && self.schedule.phase_end(self.released).is_some_and(|end| end <= now)
        {
            self.end_standstill(self.schedule.phase_end(self.released).unwrap_or(now), Some(self.released));
            self.released += 1;
            self.release_held(self.released);
            self.forget_thinking(self.released);
            let released = self.released;
            self.drop_resumed(|waits| !waits.scheduled && waits.arrival.phase < released, recorder);
        }
        if let Some((phase, _)) = self.giving_up().filter(|(_, at)| *at <= now) {
            self.given_up = true;
            let since = self.hopeless_since.or(self.setback_since(phase)).unwrap_or(now);
            self.actions.push_back(Action::GiveUp { phase, since });
            if self.is_barrier_closed(phase) {
                self.actions.push_back(Action::AbandonBarrier(phase));
            }
        }
        while let Some((_, over)) = self.graces.pop_front_if(|(end, _)| *end <= now) {
            self.reaped[over as usize] = true;
            self.abort(|slot| slot.in_flight > 0 && slot.arrival_phase == over);
            let (expired, left): (Vec<ScheduledArrival>, _) =
                std::mem::take(&mut self.waiting).into_iter().partition(|arrival| arrival.phase == over);
            self.waiting = left.into();
            for arrival in expired {
                recorder.shed(arrival.phase, arrival.intended);
            }
            self.expire_resumed(over, recorder);
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

    fn open(&mut self, now: Duration, phase: u32, purpose: OpenFor) {
        self.connects.opened([phase, self.phase_at(now)]);
        let bound = matches!(purpose, OpenFor::Session(_));
        let busy = purpose != OpenFor::Pool;
        let mut arrival_phase = phase;
        if let OpenFor::Message(arrival) = &purpose {
            self.attempt_taken(arrival);
            arrival_phase = phase_of_grace(arrival);
        }
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
            arrival_phase,
            ..Slot::default()
        });
        self.actions.push_back(Action::Open { slot, phase, purpose });
        if self.slots.of(slot).held && phase < self.released {
            // The arrival waited past the end of its phase, so its session is not held.
            self.finish(slot);
        }
    }

    /// Ends the sessions that are no longer needed.
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
