//! One loop for every load model: what is due, which session serves it, which session is opened for it.
//!
//! A pure state machine: times come in as offsets, decisions go out as [`Action`]s. Open and closed models differ in
//! [`load::Due`] alone, and it is matched here and nowhere else.
//!
//! # Decisions
//! - A due arrival waits itself, with its intended time; there is no counter of missed ones.
//! - A session that is done takes the next arrival at once; nothing has to be woken in between.
//! - A message is not charged with a refused connection while other sessions of the pool can carry it. If there is none,
//!   the arrival at the head is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::slots::{Slot, SlotId, Slots, Throttle};
use crate::collector::Outcome;
use crate::collector::recorder::Recorder;
use crate::load::{self, Load, Schedule, Shard};
use crate::plan::{OnSaturation, Plan, Unit};

/// An arrival that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number.
    pub seq: u64,
    /// Its phase.
    pub phase: u32,
    /// When it was to start, since the run's epoch.
    pub intended: Duration,
    /// When we noticed.
    pub noticed: Duration,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a session; `bound`: for this arrival alone, else for the pool.
    Open {
        /// Its name from now on.
        slot: SlotId,
        /// The phase it is opened in.
        phase: u32,
        /// Its arrival.
        bound: Option<Due>,
    },
    /// Give an arrival to a session that rests.
    Serve {
        /// The session.
        slot: SlotId,
        /// The arrival.
        due: Due,
    },
    /// End a session as the script says.
    Finish(SlotId),
    /// End a session at once.
    Abort(SlotId),
    /// An arrival ends without a session of its own: none could be opened.
    Charge(Due, Outcome),
}

/// How long sessions may take to leave when all work is done.
const LEAVING: Duration = Duration::from_secs(5);

/// The dispatcher of one worker.
#[derive(Debug)]
pub struct Dispatch {
    plan: Arc<Plan>,
    schedule: Schedule,
    /// By phase: this worker's part of `max_sessions`.
    shares: Vec<u64>,
    due: VecDeque<Due>,
    /// Arrivals of closed sessions that think: when, number, phase.
    thinking: BinaryHeap<Reverse<(Duration, u64, u32)>>,
    slots: Slots,
    throttle: Throttle,
    /// Sessions of closed loads that are under way or think (unit `session`).
    closed_busy: u64,
    /// How the last attempt to open a session for the pool ended, if it failed.
    last_failure: Option<Outcome>,
    established: u64,
    /// Phases below this are past their grace.
    reaped: u32,
    /// Phases below this have released their held sessions.
    released: u32,
    stop_by: Option<Duration>,
    leave_by: Option<Duration>,
    actions: VecDeque<Action>,
}

impl Dispatch {
    /// The dispatcher of shard `shard`.
    pub fn new(plan: Arc<Plan>, shard: Shard) -> Dispatch {
        let phases: Vec<load::Phase> = plan.phases.iter().map(|phase| phase.load.clone()).collect();
        Dispatch {
            schedule: Schedule::new(&phases, plan.seed, shard),
            shares: plan.phases.iter().map(|phase| shard.share(u64::from(phase.max_sessions))).collect(),
            plan,
            due: VecDeque::new(),
            thinking: BinaryHeap::new(),
            slots: Slots::default(),
            throttle: Throttle::default(),
            closed_busy: 0,
            last_failure: None,
            established: 0,
            reaped: 0,
            released: 0,
            stop_by: None,
            leave_by: None,
            actions: VecDeque::new(),
        }
    }

    /// Decides all that can be decided at `now`; take the [`Dispatch::action`]s after.
    pub fn advance(&mut self, now: Duration, books: &mut Recorder) {
        self.notice(now, books);
        self.release(now, books);
        self.serve_due(now, books);
        self.serve_closed(now, books);
        self.wind_down(now);
    }

    /// The next decision.
    pub fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next arrival for a session of the pool that can take one now.
    pub fn next_message(&mut self, now: Duration, slot: SlotId, books: &mut Recorder) -> Option<Due> {
        if self.slots.of(slot).leaving {
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
        let (phase, share) = self.closed_phase(now)?;
        if self.unit(phase) != Unit::Message || self.slots.live() > share {
            return None;
        }
        let due = self.take_closed(now, self.slots.of(slot).served > 0, books)?;
        self.slots.take(slot, due.phase);
        Some(due)
    }

    /// The session has nothing to do.
    pub fn rest(&mut self, slot: SlotId) {
        self.slots.rest(slot);
    }

    /// The session can send.
    pub fn established(&mut self, slot: SlotId) {
        self.slots.established(slot);
        self.established += 1;
        self.last_failure = None;
        self.throttle.succeeded();
    }

    /// An arrival that a session of the pool had taken is over.
    pub fn arrival_over(&mut self, slot: SlotId) {
        self.slots.release(slot);
    }

    /// A session gives an arrival back that it never began.
    pub fn give_back(&mut self, slot: SlotId, due: Due) {
        self.slots.release(slot);
        self.due.push_front(due);
    }

    /// A session is over. `failed`: it never could send, by this outcome; `backoff` counts if a back-off begins.
    pub fn over(&mut self, now: Duration, slot: SlotId, failed: Option<Outcome>, books: &mut Recorder) {
        let slot = self.slots.close(slot);
        match failed {
            None => self.established -= 1,
            Some(outcome) if !slot.bound || slot.closed => {
                if self.throttle.failed(now) {
                    books.counts(slot.phase).backoffs += 1;
                }
                self.last_failure = Some(outcome);
                if !slot.bound && self.established == 0 && outcome != Outcome::Interrupted {
                    if let Some(due) = self
                        .due
                        .pop_front_if(|due| self.plan.phases[due.phase as usize].unit == Unit::Message)
                    {
                        self.actions.push_back(Action::Charge(due, outcome));
                    }
                }
            }
            Some(_) => {}
        }
        if slot.closed && !self.think(now, slot.arrival_phase, books) {
            self.closed_busy -= 1;
        }
    }

    /// Starts nothing more; what is under way may take until `by`.
    pub fn stop(&mut self, by: Duration, books: &mut Recorder) {
        self.stop_by = Some(self.stop_by.map_or(by, |earlier| earlier.min(by)));
        self.closed_busy -= (self.thinking.len() as u64).min(self.closed_busy);
        self.thinking.clear();
        for due in std::mem::take(&mut self.due) {
            books.counts(due.phase).arrivals.add(Outcome::Shed);
        }
        self.release_held(u32::MAX);
    }

    /// When [`Dispatch::advance`] is to be called again, if nothing happens before.
    pub fn next_wake(&mut self, now: Duration) -> Option<Duration> {
        let mut wake = self.throttle.next_change(now);
        let mut consider = |at: Option<Duration>| {
            if let Some(at) = at {
                wake = Some(wake.map_or(at, |wake| wake.min(at)));
            }
        };
        if self.stop_by.is_none() {
            consider(
                self.schedule
                    .peek(now)
                    .map(|arrival| match arrival.due {
                        load::Due::At(at) => at,
                        load::Due::WhenIdle { not_before, .. } => not_before,
                    })
                    .filter(|at| *at > now),
            );
            consider(self.schedule.next_change(now));
            consider(self.thinking.peek().map(|Reverse((at, ..))| *at));
        }
        consider(self.grace_end(self.reaped).filter(|at| *at > now));
        consider(self.stop_by.filter(|at| *at > now));
        consider(self.leave_by.filter(|at| *at > now));
        wake
    }

    /// Whether all arrivals have ended and all sessions are closed.
    pub fn is_done(&mut self, now: Duration) -> bool {
        self.slots.live() == 0 && self.is_exhausted(now) && self.actions.is_empty()
    }

    /// Sessions open, arrivals under way, arrivals waiting.
    pub fn gauges(&self) -> (u64, u64, u64) {
        (self.slots.live(), self.slots.in_flight(), self.due.len() as u64)
    }

    /// The phase that holds `now`, for what belongs to no arrival.
    pub fn phase_at(&self, now: Duration) -> u32 {
        let phases = u32::try_from(self.plan.phases.len()).expect("phases are few");
        (1..phases).rev().find(|&phase| self.schedule.phase_start(phase) <= now).unwrap_or(0)
    }

    /// When a phase starts, and ends if it ends by time.
    pub fn window(&self, phase: u32) -> (Duration, Option<Duration>) {
        (self.schedule.phase_start(phase), self.schedule.phase_end(phase))
    }

    fn unit(&self, phase: u32) -> Unit {
        self.plan.phases[phase as usize].unit
    }

    fn is_held(&self, phase: u32) -> bool {
        matches!(self.plan.phases[phase as usize].load.load, Load::Held { .. })
    }

    fn is_exhausted(&mut self, now: Duration) -> bool {
        self.due.is_empty()
            && self.thinking.is_empty()
            && (self.stop_by.is_some() || self.schedule.peek(now).is_none())
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
            if self.schedule.phase_end(phase).is_some_and(|end| at >= end) {
                // It would have started after its phase: it is no arrival.
                self.closed_busy -= u64::from(self.unit(phase) == Unit::Session);
                continue;
            }
            self.push(Due { seq, phase, intended: at, noticed: now }, books);
        }
        if self.stop_by.is_some() {
            return;
        }
        while let Some(arrival) = self.schedule.peek(now)
            && let load::Due::At(at) = arrival.due
            && at <= now
        {
            self.schedule.take(now);
            self.push(Due { seq: arrival.seq, phase: arrival.phase, intended: at, noticed: now }, books);
        }
    }

    fn push(&mut self, due: Due, books: &mut Recorder) {
        books.counts(due.phase).scheduled += 1;
        self.due.push_back(due);
    }

    /// Ends what has outlived its phase and grace.
    fn release(&mut self, now: Duration, books: &mut Recorder) {
        while self.schedule_phases() > self.released
            && self.schedule.phase_end(self.released).is_some_and(|end| end <= now)
        {
            self.released += 1;
            self.release_held(self.released);
        }
        while self.grace_end(self.reaped).is_some_and(|end| end <= now) {
            self.reaped += 1;
            let reaped = self.reaped;
            self.abort(|slot| slot.in_flight > 0 && slot.arrival_phase < reaped);
            let failed = self.last_failure.filter(|_| self.established == 0);
            let (expired, left) =
                std::mem::take(&mut self.due).into_iter().partition(|due| due.phase < reaped);
            self.due = left;
            for due in VecDeque::<Due>::into_iter(expired) {
                match failed {
                    Some(outcome) => self.actions.push_back(Action::Charge(due, outcome)),
                    None => books.counts(due.phase).arrivals.add(Outcome::Shed),
                }
            }
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
        let ids: Vec<SlotId> = self.slots.iter().filter(|(_, slot)| which(slot)).map(|(id, _)| id).collect();
        for id in ids {
            self.slots.unrest(id);
            self.slots.of_mut(id).leaving = true;
            self.actions.push_back(Action::Abort(id));
        }
    }

    fn finish(&mut self, id: SlotId) {
        self.slots.unrest(id);
        self.slots.of_mut(id).leaving = true;
        self.actions.push_back(Action::Finish(id));
    }

    /// Serves arrivals that wait, in the order in which they became due.
    fn serve_due(&mut self, now: Duration, books: &mut Recorder) {
        while let Some(&first) = self.due.front() {
            let phase = &self.plan.phases[first.phase as usize];
            let full = self.slots.live() >= self.shares[first.phase as usize];
            let drops = phase.on_saturation == OnSaturation::Drop;
            match phase.unit {
                Unit::Session if full && drops => {
                    self.due.pop_front();
                    books.counts(first.phase).arrivals.add(Outcome::Shed);
                }
                Unit::Session => {
                    if full {
                        // A pool left over from an earlier phase must not starve this one.
                        if let Some(id) = self.slots.wake() {
                            self.finish(id);
                        }
                        return;
                    }
                    if !self.throttle.allows_rate(now) {
                        return;
                    }
                    self.due.pop_front();
                    let closed = self.is_closed(first.phase);
                    self.open(now, first.phase, Some(first), closed);
                }
                Unit::Message => {
                    if let Some(slot) = self.slots.wake() {
                        self.due.pop_front();
                        self.slots.take(slot, first.phase);
                        self.actions.push_back(Action::Serve { slot, due: first });
                        continue;
                    }
                    let waiting = self.due.len() as u64;
                    let opening = self.slots.opening();
                    if full && drops && waiting > opening {
                        if let Some(last) = self.due.pop_back() {
                            books.counts(last.phase).arrivals.add(Outcome::Shed);
                        }
                        continue;
                    }
                    if full || opening >= waiting || !self.throttle.allows(now, opening) {
                        return;
                    }
                    self.open(now, first.phase, None, false);
                }
            }
        }
    }

    fn is_closed(&self, phase: u32) -> bool {
        matches!(self.plan.phases[phase as usize].load.load, Load::Sessions { .. } | Load::Shared { .. })
    }

    /// The closed phase whose turn it is, and how many sessions it may have here.
    fn closed_phase(&mut self, now: Duration) -> Option<(u32, u64)> {
        if self.stop_by.is_some() {
            return None;
        }
        let arrival = self.schedule.peek(now)?;
        match arrival.due {
            load::Due::WhenIdle { not_before, .. } if not_before <= now => {
                Some((arrival.phase, self.schedule.slots(now).min(self.shares[arrival.phase as usize])))
            }
            _ => None,
        }
    }

    /// Takes the next closed arrival; `None` if its session has to think first.
    fn take_closed(&mut self, now: Duration, thinks: bool, books: &mut Recorder) -> Option<Due> {
        let arrival = self.schedule.take(now)?;
        let load::Due::WhenIdle { think, .. } = arrival.due else { return None };
        if thinks && !think.is_zero() {
            self.thinking.push(Reverse((now + think, arrival.seq, arrival.phase)));
            return None;
        }
        books.counts(arrival.phase).scheduled += 1;
        Some(Due { seq: arrival.seq, phase: arrival.phase, intended: now, noticed: now })
    }

    /// A closed session has finished: true if it thinks now and goes on after.
    fn think(&mut self, now: Duration, phase: u32, books: &mut Recorder) -> bool {
        let Some((current, share)) = self.closed_phase(now) else { return false };
        if current != phase || self.closed_busy > share {
            return false;
        }
        let thinks = self.schedule.peek(now).is_some_and(
            |arrival| matches!(arrival.due, load::Due::WhenIdle { think, .. } if !think.is_zero()),
        );
        thinks && self.take_closed(now, true, books).is_none()
    }

    /// Starts what closed loads have room for.
    fn serve_closed(&mut self, now: Duration, books: &mut Recorder) {
        while let Some((phase, share)) = self.closed_phase(now) {
            match self.unit(phase) {
                Unit::Session => {
                    if self.closed_busy >= share || !self.throttle.allows(now, self.slots.opening()) {
                        return;
                    }
                    let Some(due) = self.take_closed(now, false, books) else { return };
                    self.closed_busy += 1;
                    self.open(now, phase, Some(due), true);
                }
                Unit::Message if self.slots.live() > share => match self.slots.wake() {
                    Some(id) => self.finish(id),
                    None => return,
                },
                Unit::Message if self.slots.idle() > self.thinking.len() as u64 => {
                    let (Some(due), Some(slot)) = (self.take_closed(now, false, books), self.slots.wake())
                    else {
                        return;
                    };
                    self.slots.take(slot, phase);
                    self.actions.push_back(Action::Serve { slot, due });
                }
                Unit::Message => {
                    let opening = self.slots.opening();
                    let wanted = self.schedule.remaining().is_none_or(|left| left > opening);
                    if self.slots.live() >= share || !wanted || !self.throttle.allows(now, opening) {
                        return;
                    }
                    self.open(now, phase, None, false);
                }
            }
        }
    }

    fn open(&mut self, now: Duration, phase: u32, bound: Option<Due>, closed: bool) {
        self.throttle.opened(now, self.plan.phases[phase as usize].connect_rate);
        let slot = self.slots.open(Slot {
            phase,
            bound: bound.is_some(),
            closed: closed && bound.is_some(),
            held: bound.is_some() && self.is_held(phase),
            opening: true,
            in_flight: u32::from(bound.is_some()),
            arrival_phase: bound.map_or(phase, |due| due.phase),
            ..Slot::default()
        });
        self.actions.push_back(Action::Open { slot, phase, bound });
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
