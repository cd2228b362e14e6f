//! Closed loads: arrivals that are due when a session is free and has thought.
//!
//! Its sessions are opened with pauses after failures; what counts as one, and when the load is given up, is decided here.

use std::cmp::Reverse;
use std::time::Duration;

use super::slots::Slot;
use super::{Action, Dispatch, OpenFor, ScheduledArrival, SessionEnd};
use crate::collector::Outcome;
use crate::collector::recorder::Recorder;
use crate::load;
use crate::plan::Unit;

/// An arrival that has thought, or was given back by a session that ended, and waits for a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resuming {
    pub due: ScheduledArrival,
    /// It is counted already: it was given back. What has only thought is no arrival before a session takes it.
    pub scheduled: bool,
}

/// Of a closed phase, that no session of it is open any more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standstill {
    /// Which phase, and since when.
    since: Option<(u32, Duration)>,
    /// Sessions that were tried since then and failed.
    failures: u32,
}

impl Dispatch {
    pub(super) fn is_closed(&self, phase: u32) -> bool {
        self.plan.phases[phase as usize].load.model.is_closed()
    }

    /// The closed phase whose turn it is, and how many sessions it may have here.
    pub(super) fn closed_phase(&mut self, now: Duration) -> Option<(u32, u64)> {
        if self.stop_by.is_some() || self.given_up {
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
    pub(super) fn take_closed(
        &mut self,
        now: Duration,
        thinks: bool,
        books: &mut Recorder,
    ) -> Option<ScheduledArrival> {
        let arrival = self.schedule.take(now)?;
        let load::Due::WhenIdle { think, .. } = arrival.due else { return None };
        if thinks && !think.is_zero() {
            self.thinking.push(Reverse((now + think, arrival.seq, arrival.phase)));
            return None;
        }
        books.counts(arrival.phase).scheduled += 1;
        Some(ScheduledArrival { seq: arrival.seq, phase: arrival.phase, intended: now, noticed: now })
    }

    /// A closed session has finished: true if it thinks now and goes on after.
    pub(super) fn think(&mut self, now: Duration, phase: u32, books: &mut Recorder) -> bool {
        let Some((current, share)) = self.closed_phase(now) else { return false };
        if current != phase || self.closed_busy > share {
            return false;
        }
        self.next_thinks(now) && self.take_closed(now, true, books).is_none()
    }

    /// Whether the next closed arrival has to be thought about.
    pub(super) fn next_thinks(&mut self, now: Duration) -> bool {
        self.schedule.peek(now).is_some_and(
            |arrival| matches!(arrival.due, load::Due::WhenIdle { think, .. } if !think.is_zero()),
        )
    }

    /// A session of `phase` has thought: true if a ramp downwards has no place for it any more.
    pub(super) fn is_one_too_many(&mut self, now: Duration, phase: u32) -> bool {
        self.unit(phase) == Unit::Session
            && self.closed_phase(now).is_some_and(|(now, share)| now == phase && self.closed_busy > share)
    }

    /// Drops what is thought about in phases below this one; it is no arrival.
    pub(super) fn forget_thinking(&mut self, below: u32) {
        let all = std::mem::take(&mut self.thinking).into_vec();
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|Reverse((.., phase))| *phase < below);
        self.thinking = kept.into();
        let sessions = gone.iter().filter(|Reverse((.., phase))| self.unit(*phase) == Unit::Session).count();
        self.closed_busy -= sessions as u64;
    }

    /// Takes the arrival that waits longest, if it is of this unit. What it waited for is a session, which in a closed load
    /// is no part of its times: it is due now, unless it was noticed only now.
    pub(super) fn resume(
        &mut self,
        now: Duration,
        unit: Unit,
        books: &mut Recorder,
    ) -> Option<ScheduledArrival> {
        let first = *self.resuming.front()?;
        if self.unit(first.due.phase) != unit {
            return None;
        }
        self.resuming.pop_front();
        books.counts(first.due.phase).scheduled += u64::from(!first.scheduled);
        let waited = first.due.noticed < now;
        Some(if waited { ScheduledArrival { intended: now, noticed: now, ..first.due } } else { first.due })
    }

    /// Drops some of what waits: it is shed if it was an arrival already.
    pub(super) fn drop_resuming(&mut self, which: impl Fn(&Resuming) -> bool, books: &mut Recorder) {
        for waits in self.take_resuming(which) {
            if waits.scheduled {
                books.counts(waits.due.phase).arrivals.add(Outcome::Shed);
            }
        }
    }

    /// What waits past its phase's grace ends as the last attempt to open a session did. If none failed since one was last
    /// opened it is interrupted while one is being opened, and else shed.
    pub(super) fn expire_resuming(&mut self, books: &mut Recorder) {
        let reaped = self.reaped;
        let waited_for = (self.slots.opening() > 0).then_some(Outcome::Interrupted);
        let pooled = self.last_failure.or(waited_for);
        for waits in self.take_resuming(|waits| waits.due.phase < reaped) {
            match pooled.filter(|_| self.unit(waits.due.phase) == Unit::Message) {
                _ if !waits.scheduled => {}
                Some(outcome) => {
                    let (due, tried) = (waits.due, waits.due.noticed);
                    self.actions.push_back(Action::Charge { due, tried, outcome });
                }
                None => books.counts(waits.due.phase).arrivals.add(Outcome::Shed),
            }
        }
    }

    fn take_resuming(&mut self, which: impl Fn(&Resuming) -> bool) -> Vec<Resuming> {
        let all = std::mem::take(&mut self.resuming);
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(which);
        self.resuming = kept.into();
        let sessions = gone.iter().filter(|waits| self.unit(waits.due.phase) == Unit::Session).count();
        self.closed_busy -= sessions as u64;
        gone
    }

    /// A session of a closed load is over: whether that was a failure that calls for a pause.
    pub(super) fn pace(&mut self, now: Duration, slot: &Slot, end: SessionEnd, books: &mut Recorder) {
        let refused = match end {
            SessionEnd::NotOpened(outcome) => {
                self.notice_standstill(now, Some(outcome));
                Some(outcome)
            }
            // Before it had served anything: the next one will hardly fare better.
            SessionEnd::ByListener(outcome) if !slot.proven => {
                self.notice_standstill(now, Some(outcome));
                None
            }
            SessionEnd::ByListener(_) => return self.notice_standstill(now, None),
            SessionEnd::ByClient => {
                if !slot.proven {
                    self.goes_on(now);
                    self.throttle.succeeded();
                }
                return;
            }
        };
        if self.throttle.failed(now) {
            books.counts(slot.phase).backoffs += 1;
        }
        self.last_failure = refused.or(self.last_failure);
        if self.established == 0 && self.slots.opening() == 0 {
            self.hopeless_since.get_or_insert(now);
            if let Some(outcome) = refused.filter(|_| !slot.bound) {
                self.charge_next(now, slot.opened_at, outcome, books);
            }
        }
    }

    /// A session ended by the listener's doing. If it was the last one, the closed load may stand still from now on: that is
    /// known when others fail as is not expected.
    fn notice_standstill(&mut self, now: Duration, failure: Option<Outcome>) {
        if self.established > 0 || failure == Some(Outcome::Expected) {
            return;
        }
        let Some((phase, _)) = self.closed_phase(now) else { return };
        let standstill = &mut self.standstill;
        standstill.since.get_or_insert((phase, now));
        standstill.failures += u32::from(failure.is_some());
    }

    /// A session is served, or rests: the load goes on.
    pub(super) fn goes_on(&mut self, now: Duration) {
        self.hopeless_since = None;
        self.end_standstill(now, None);
    }

    /// Tells how long the load stood still, if it did; `phase`: only if it was this one.
    pub(super) fn end_standstill(&mut self, at: Duration, phase: Option<u32>) {
        let Some((of, since)) =
            self.standstill.since.filter(|(of, _)| phase.is_none_or(|phase| phase == *of))
        else {
            return;
        };
        // The pause after a single failure is our own.
        if std::mem::take(&mut self.standstill).failures > 1 {
            let end = self.schedule.phase_end(of).map_or(at, |end| end.min(at));
            let length = end.saturating_sub(since);
            self.actions.push_back(Action::StoodStill { phase: of, length });
        }
    }

    /// No session could be opened, tried from `tried` on: the arrival that would have had it ends so too. It was due when the
    /// session was begun that it would have had.
    fn charge_next(&mut self, now: Duration, tried: Duration, outcome: Outcome, books: &mut Recorder) {
        let due = match self.closed_phase(now) {
            _ if !self.resuming.is_empty() => self.resume(now, Unit::Message, books),
            Some((phase, _)) if self.unit(phase) == Unit::Message && !self.is_shut(phase) => {
                self.take_closed(now, false, books)
            }
            _ => None,
        };
        self.actions.extend(due.map(|due| {
            let due = ScheduledArrival {
                intended: tried.min(due.intended),
                noticed: tried.min(due.noticed),
                ..due
            };
            Action::Charge { due, tried, outcome }
        }));
    }

    /// When a closed load that no time ends is to be given up, and which.
    pub(super) fn giving_up(&mut self) -> Option<(u32, Duration)> {
        if self.given_up {
            return None;
        }
        let phase = self.schedule.peek(self.advanced)?.phase;
        let hopeless = self.hopeless_since.filter(|_| self.established == 0);
        let since = [hopeless, self.hopeless_gate(phase)].into_iter().flatten().min()?;
        let endless = self.schedule.phase_end(phase).is_none();
        let start = self.schedule.phase_start(phase);
        endless.then(|| (phase, since.max(start) + self.plan.phases[phase as usize].graceful_stop))
    }

    /// Serves arrivals that have thought.
    pub(super) fn serve_resuming(&mut self, now: Duration, books: &mut Recorder) {
        while let Some(&Resuming { due: first, .. }) = self.resuming.front() {
            let full = self.slots.live() >= self.shares[first.phase as usize].min(self.most(now));
            let opening = self.slots.opening();
            match self.unit(first.phase) {
                Unit::Session if full => return self.make_room(self.resuming.len() as u64),
                Unit::Session => {
                    if !self.throttle.allows(now, opening) {
                        return;
                    }
                    let Some(due) = self.resume(now, Unit::Session, books) else { return };
                    self.open(now, due.phase, OpenFor::Session(due));
                }
                Unit::Message => {
                    if let Some(slot) = self.slots.wake() {
                        let Some(due) = self.resume(now, Unit::Message, books) else { return };
                        self.slots.take(slot, due.phase);
                        self.actions.push_back(Action::Serve { slot, due });
                        continue;
                    }
                    if full || opening >= self.resuming.len() as u64 || !self.throttle.allows(now, opening) {
                        return;
                    }
                    self.open(now, first.phase, OpenFor::Pool);
                }
            }
        }
    }

    /// Starts what closed loads have room for.
    pub(super) fn serve_closed(&mut self, now: Duration, books: &mut Recorder) {
        while let Some((phase, share)) = self.closed_phase(now) {
            match self.unit(phase) {
                Unit::Session => {
                    if self.closed_busy >= share {
                        return;
                    }
                    if self.slots.live() >= self.shares[phase as usize] {
                        return self.make_room(share - self.closed_busy);
                    }
                    if !self.throttle.allows(now, self.slots.opening()) {
                        return;
                    }
                    let Some(due) = self.take_closed(now, false, books) else { return };
                    self.closed_busy += 1;
                    self.open(now, phase, OpenFor::Session(due));
                }
                Unit::Message if self.slots.staying() > share => match self.slots.wake() {
                    Some(id) => {
                        self.finish(id);
                        if self.thinking.len() as u64 > self.slots.idle() {
                            self.thinking.pop();
                        }
                    }
                    None => return,
                },
                Unit::Message if self.is_shut(phase) => {
                    let wanted = self.schedule.remaining().map_or(share, |left| left.min(share));
                    self.look_at_gate(phase, wanted);
                    if self.slots.live() >= wanted || !self.throttle.allows(now, self.slots.opening()) {
                        return;
                    }
                    self.open(now, phase, OpenFor::Pool);
                }
                Unit::Message if self.slots.idle() > self.thinking.len() as u64 => {
                    let (Some(due), Some(slot)) = (self.take_closed(now, false, books), self.slots.wake())
                    else {
                        return;
                    };
                    self.slots.take(slot, phase);
                    let intended = self.let_in_at(phase).unwrap_or(due.intended);
                    self.actions.push_back(Action::Serve { slot, due: ScheduledArrival { intended, ..due } });
                }
                Unit::Message => {
                    let opening = self.slots.opening();
                    let wanted = self.schedule.remaining().is_none_or(|left| left > opening);
                    if self.slots.live() >= share || !wanted || !self.throttle.allows(now, opening) {
                        return;
                    }
                    self.open(now, phase, OpenFor::Pool);
                }
            }
        }
    }
}
