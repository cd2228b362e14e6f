//! `open_first`: all sessions of a closed phase are open before its first message starts.
//!
//! # Decisions
//! - The sessions rest until the barrier opens: no arrival of the phase is scheduled, and none is charged with a session that
//!   could not be opened. Such sessions are counted and classified as always.
//! - The first arrivals are scheduled at the moment at which the barrier opened, the same for every worker, however late it
//!   learns of it.
//! - A worker is ready once. A session that is lost after that is opened again beside the load.
//! - A phase with a length ends when it would without a barrier: the opening is part of it. In a phase without, the barrier
//!   is abandoned when for the phase's grace no further session was opened, and at least one was refused or lost meanwhile.
//!   So a slow listener has the time-outs of connect and greeting, and one that never accepts all sessions ends the run.

use std::time::Duration;

use super::{Action, Dispatch};
use crate::plan::Unit;

/// The barrier of one phase, as this worker sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PhaseBarrier {
    closed: bool,
    /// This worker's sessions were all open once.
    ready: bool,
    /// The most of them at rest.
    most: u64,
    /// When the first attempt failed, or the first session was lost, since `most` rose.
    setback: Option<Duration>,
}

impl Dispatch {
    /// Closes the barriers of the plan. A worker without arrivals in a phase has nothing to open for it.
    pub(super) fn close_barriers(&mut self) {
        for (phase, asked) in (0..).zip(&self.plan.phases) {
            let closed = asked.open_first;
            let ready = closed && !self.schedule.has_part(phase);
            self.barriers.push(PhaseBarrier { closed, ready, ..PhaseBarrier::default() });
            if ready {
                self.actions.push_back(Action::Ready(phase));
            }
        }
    }

    /// The sessions of every worker are open, since `at`: the load of the phase starts.
    pub fn open_barrier(&mut self, phase: u32, at: Duration) {
        let barrier = &mut self.barriers[phase as usize];
        if std::mem::take(&mut barrier.closed) {
            self.opened_barrier = Some((phase, at));
        }
    }

    /// The barrier of `phase` will never open: its arrivals are never scheduled.
    pub fn abandon(&mut self, phase: u32) {
        // One with a length ends by it, and others may come after.
        if self.is_barrier_closed(phase) && self.schedule.phase_end(phase).is_none() {
            self.given_up = true;
        }
    }

    pub(super) fn is_barrier_closed(&self, phase: u32) -> bool {
        self.barriers[phase as usize].closed
    }

    /// Checks whether the `wanted` sessions of a phase are all open and at rest.
    pub(super) fn check_barrier(&mut self, phase: u32, wanted: u64) {
        let idle = self.slots.idle();
        let barrier = &mut self.barriers[phase as usize];
        if idle > barrier.most {
            (barrier.most, barrier.setback) = (idle, None);
        }
        if idle >= wanted && !std::mem::replace(&mut barrier.ready, true) {
            self.actions.push_back(Action::Ready(phase));
        }
    }

    /// A session of the pool could not be opened, or was lost.
    pub(super) fn note_setback(&mut self, now: Duration) {
        let Some((phase, _)) = self.closed_phase(now) else { return };
        let barrier = &mut self.barriers[phase as usize];
        if barrier.closed && !barrier.ready && self.unit(phase) == Unit::Message {
            self.barriers[phase as usize].setback.get_or_insert(now);
        }
    }

    /// Since when it seems that the barrier of `phase` will never open.
    pub(super) fn setback_since(&self, phase: u32) -> Option<Duration> {
        self.barriers[phase as usize].setback.filter(|_| self.is_barrier_closed(phase))
    }

    /// When the barrier of `phase` opened, for the arrivals that it held back.
    pub(super) fn barrier_opened_at(&self, phase: u32) -> Option<Duration> {
        self.opened_barrier.filter(|(of, _)| *of == phase).map(|(_, at)| at)
    }
}
