//! Closed loads: an arrival is scheduled when a session is free and its think time is over.
//!
//! This module decides which sessions count as failed openings, which cause a pause, and when the load is given up.

use std::cmp::Reverse;
use std::time::Duration;

use super::slots::Slot;
use super::{Action, Dispatch, ScheduledArrival, SessionEnd, Upcoming};
use crate::collector::Outcome;
use crate::collector::recorder::Recorder;
use crate::plan::Unit;

/// An arrival that waits for a session: its think time is over, or a session that ended gave it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resumed {
    pub arrival: ScheduledArrival,
    /// Whether the arrival is already counted as scheduled, because a session gave it back. Otherwise it is counted
    /// when a session takes it.
    pub scheduled: bool,
}

/// A stretch of time in which a closed phase has no open session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standstill {
    /// The phase, and the start of the stretch.
    since: Option<(u32, Duration)>,
    /// The number of openings that failed since then.
    failures: u32,
}

impl Dispatch {
    pub(super) fn is_closed(&self, phase: u32) -> bool {
        self.plan.phases[phase as usize].load.model.is_closed()
    }

    /// Returns the closed phase at `now`, and the number of its sessions on this worker.
    pub(super) fn closed_phase(&mut self, now: Duration) -> Option<(u32, u64)> {
        if self.stop_by.is_some() || self.given_up {
            return None;
        }
        let phase = self.upcoming(now).filter(|next| next.think.is_some() && next.not_before <= now)?.phase;
        Some((phase, self.schedule.slots(now).min(self.shares[phase as usize])))
    }

    /// Takes the next closed arrival; `None`: its session must think first.
    pub(super) fn take_closed(
        &mut self,
        now: Duration,
        thinks: bool,
        recorder: &mut Recorder,
    ) -> Option<ScheduledArrival> {
        let Upcoming { seq, phase, think: Some(think), .. } = self.upcoming(now)? else { return None };
        self.schedule.take(now);
        if thinks && !think.is_zero() {
            self.thinking.push(Reverse((now + think, seq, phase)));
            return None;
        }
        recorder.counts(phase).scheduled += 1;
        Some(ScheduledArrival { seq, phase, intended: now, noticed: now, earlier: None })
    }

    /// Notes the end of a session of a closed load; returns whether another session follows after a think time.
    pub(super) fn think(&mut self, now: Duration, phase: u32, recorder: &mut Recorder) -> bool {
        let Some((current, share)) = self.closed_phase(now) else { return false };
        if current != phase || self.closed_busy > share {
            return false;
        }
        self.next_thinks(now) && self.take_closed(now, true, recorder).is_none()
    }

    /// Whether the next closed arrival has a think time.
    pub(super) fn next_thinks(&mut self, now: Duration) -> bool {
        self.upcoming(now).and_then(|next| next.think).is_some_and(|think| !think.is_zero())
    }

    /// Whether a session of `phase` whose think time is over would be one too many, because the number of sessions has
    /// fallen.
    pub(super) fn is_one_too_many(&mut self, now: Duration, phase: u32) -> bool {
        self.unit(phase) == Unit::Session
            && self.closed_phase(now).is_some_and(|(now, share)| now == phase && self.closed_busy > share)
    }

    /// Drops the think times of phases below this one: their arrivals were not scheduled.
    pub(super) fn forget_thinking(&mut self, below: u32) {
        let all = std::mem::take(&mut self.thinking).into_vec();
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|Reverse((.., phase))| *phase < below);
        self.thinking = kept.into();
        let sessions = gone.iter().filter(|Reverse((.., phase))| self.unit(*phase) == Unit::Session).count();
        self.closed_busy -= sessions as u64;
    }

    /// Takes the resumed arrival that waits longest, if it is a message.
    pub(super) fn resume_message(
        &mut self,
        now: Duration,
        recorder: &mut Recorder,
    ) -> Option<ScheduledArrival> {
        let phase = self.resumed.front()?.arrival.phase;
        if self.unit(phase) == Unit::Message { self.resume(now, recorder) } else { None }
    }

    /// Takes the resumed arrival that waits longest. In a closed load the wait for a session is no part of an arrival's
    /// times: it is scheduled now.
    pub(super) fn resume(&mut self, now: Duration, recorder: &mut Recorder) -> Option<ScheduledArrival> {
        let first = self.resumed.pop_front()?;
        recorder.counts(first.arrival.phase).scheduled += u64::from(!first.scheduled);
        let waited = first.arrival.noticed < now;
        Some(if waited {
            ScheduledArrival { intended: now, noticed: now, ..first.arrival }
        } else {
            first.arrival
        })
    }

    /// Drops some of the resumed arrivals, and sheds those that were counted.
    pub(super) fn drop_resumed(&mut self, which: impl Fn(&Resumed) -> bool, recorder: &mut Recorder) {
        for waits in self.take_resumed(which) {
            if waits.scheduled {
                recorder.shed(waits.arrival.phase, waits.arrival.intended);
            }
        }
    }

    /// Ends the resumed arrivals of a phase whose grace is over. A counted message gets the outcome of the
    /// last failed opening; if there was none, it is interrupted while a session is being opened. Other counted
    /// arrivals are shed, and arrivals that are not counted are dropped.
    pub(super) fn expire_resumed(&mut self, over: u32, recorder: &mut Recorder) {
        let waited_for = (self.slots.opening() > 0).then_some(Outcome::Interrupted);
        let pooled = self.last_failure.or(waited_for);
        for waits in self.take_resumed(|waits| waits.arrival.phase == over) {
            match pooled.filter(|_| self.unit(waits.arrival.phase) == Unit::Message) {
                _ if !waits.scheduled => {}
                Some(outcome) => {
                    let (arrival, tried) = (waits.arrival, waits.arrival.noticed);
                    let for_good = false;
                    self.actions.push_back(Action::Charge { arrival, tried, outcome, for_good });
                }
                None => recorder.shed(waits.arrival.phase, waits.arrival.intended),
            }
        }
    }

    fn take_resumed(&mut self, which: impl Fn(&Resumed) -> bool) -> Vec<Resumed> {
        let all = std::mem::take(&mut self.resumed);
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(which);
        self.resumed = kept.into();
        let sessions = gone.iter().filter(|waits| self.unit(waits.arrival.phase) == Unit::Session).count();
        self.closed_busy -= sessions as u64;
        gone
    }

    /// Notes the end of a session of a closed load, and starts a pause if it was a failure.
    pub(super) fn pace(&mut self, now: Duration, slot: &Slot, end: SessionEnd, recorder: &mut Recorder) {
        let refused = match end {
            SessionEnd::NotOpened(outcome) => {
                self.notice_standstill(now, Some(outcome));
                Some(outcome)
            }
            // The session ended before it served anything, so the next session will probably end, too.
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
            recorder.counts(slot.phase).backoffs += 1;
        }
        self.last_failure = refused.or(self.last_failure);
        if self.established == 0 && self.slots.opening() == 0 {
            self.hopeless_since.get_or_insert(now);
            if let Some(outcome) = refused.filter(|_| !slot.bound) {
                self.charge_next(now, slot, outcome, recorder);
            }
        }
    }

    /// Notes that the listener refused or ended a session. If no session is open, a standstill may start now; at least
    /// two unexpected failures confirm it.
    fn notice_standstill(&mut self, now: Duration, failure: Option<Outcome>) {
        if self.established > 0 || failure == Some(Outcome::Expected) {
            return;
        }
        let Some((phase, _)) = self.closed_phase(now) else { return };
        let standstill = &mut self.standstill;
        standstill.since.get_or_insert((phase, now));
        standstill.failures += u32::from(failure.is_some());
    }

    /// Notes that a session is served or idle, which ends a standstill.
    pub(super) fn goes_on(&mut self, now: Duration) {
        self.hopeless_since = None;
        self.end_standstill(now, None);
    }

    /// Ends a standstill and reports it if it is confirmed. `phase`: only a standstill of this phase.
    pub(super) fn end_standstill(&mut self, at: Duration, phase: Option<u32>) {
        let Some((of, since)) =
            self.standstill.since.filter(|(of, _)| phase.is_none_or(|phase| phase == *of))
        else {
            return;
        };
        // After a single failure, only the pause of the generator kept the load without a session.
        if std::mem::take(&mut self.standstill).failures > 1 {
            let until = self.schedule.phase_end(of).map_or(at, |end| end.min(at));
            self.actions.push_back(Action::StoodStill { phase: of, since, until });
        }
    }

    /// Fails the next arrival with the last opening that was tried. The arrival counts as scheduled at the start of
    /// that opening.
    fn charge_next(&mut self, now: Duration, slot: &Slot, outcome: Outcome, recorder: &mut Recorder) {
        let (tried, for_good) = (slot.opened_at, slot.refused_for_good);
        let arrival = match self.closed_phase(now) {
            // A retry whose time came after the start of the opening did not wait for that opening.
            _ if self.retries.first_due().is_some_and(|retry| retry.noticed <= tried) => self.take_due(now),
            _ if !self.resumed.is_empty() => self.resume_message(now, recorder),
            Some((phase, _)) if self.unit(phase) == Unit::Message && !self.is_barrier_closed(phase) => {
                self.take_closed(now, false, recorder)
            }
            _ => None,
        };
        self.actions.extend(arrival.map(|arrival| {
            let arrival = ScheduledArrival {
                intended: tried.min(arrival.intended),
                noticed: tried.min(arrival.noticed),
                ..arrival
            };
            Action::Charge { arrival, tried, outcome, for_good }
        }));
    }

    /// Returns the closed load without a length that is to be given up, and when.
    pub(super) fn giving_up(&mut self) -> Option<(u32, Duration)> {
        if self.given_up {
            return None;
        }
        let phase = self.upcoming(self.advanced)?.phase;
        let hopeless = self.hopeless_since.filter(|_| self.established == 0);
        let since = [hopeless, self.setback_since(phase)].into_iter().flatten().min()?;
        let endless = self.schedule.phase_end(phase).is_none();
        let start = self.schedule.phase_start(phase);
        endless.then(|| (phase, since.max(start) + self.plan.phases[phase as usize].graceful_stop))
    }
}
