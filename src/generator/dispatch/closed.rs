//! Closed loads: arrivals that are due when a session is free and has thought.
//!
//! How arrivals that wait are served, and what ends them, is the business of `dispatch`.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Action, Dispatch, Due};
use crate::collector::recorder::Recorder;
use crate::load::{self, Load};
use crate::plan::Unit;

impl Dispatch {
    pub(super) fn is_closed(&self, phase: u32) -> bool {
        matches!(self.plan.phases[phase as usize].load.load, Load::Sessions { .. } | Load::Shared { .. })
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
    pub(super) fn take_closed(&mut self, now: Duration, thinks: bool, books: &mut Recorder) -> Option<Due> {
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

    /// When a closed load that no time ends is to be given up, and which.
    pub(super) fn giving_up(&mut self) -> Option<(u32, Duration)> {
        if self.given_up {
            return None;
        }
        let phase = self.schedule.peek(self.advanced)?.phase;
        let since = [self.hopeless_since, self.hopeless_gate(phase)].into_iter().flatten().min()?;
        let endless = self.schedule.phase_end(phase).is_none();
        let start = self.schedule.phase_start(phase);
        endless.then(|| (phase, since.max(start) + self.plan.phases[phase as usize].graceful_stop))
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
                    self.open(now, phase, Some(due), true);
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
                    self.open(now, phase, None, false);
                }
                Unit::Message if self.slots.idle() > self.thinking.len() as u64 => {
                    let (Some(due), Some(slot)) = (self.take_closed(now, false, books), self.slots.wake())
                    else {
                        return;
                    };
                    self.slots.take(slot, phase);
                    let intended = self.let_in_at(phase).unwrap_or(due.intended);
                    self.actions.push_back(Action::Serve { slot, due: Due { intended, ..due } });
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
}
