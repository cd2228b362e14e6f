//! `open_first`: all sessions of a closed phase are open before its first message starts.
//!
//! # Decisions
//! - The sessions are idle until the barrier opens: no arrival of the phase is scheduled, and a failed opening fails no
//!   arrival. Failed openings are counted and classified as in any phase.
//! - The first arrivals are scheduled at the moment at which the barrier opened, which is the same for every worker.
//! - A worker becomes ready only once. A session that is lost later is opened again during the load.
//! - A phase with a length ends as without a barrier: the opening is part of it. In a phase without a length, the
//!   barrier is abandoned when no further session was opened for the length of the phase's grace and at least one was
//!   refused or lost meanwhile. So a slow listener is limited only by the time-outs of connect and greeting, and a
//!   listener that never accepts all sessions ends the run.

use std::time::Duration;

use super::{Action, Dispatch};
use crate::plan::Unit;

/// This worker's view of the barrier of one phase.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PhaseBarrier {
    closed: bool,
    /// Whether this worker's sessions were all open once.
    ready: bool,
    /// The largest number of this worker's sessions that were idle at once.
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

    /// Opens the barrier: the sessions of every worker have been open since `at`, and the load of the phase starts.
    pub fn open_barrier(&mut self, phase: u32, at: Duration) {
        let barrier = &mut self.barriers[phase as usize];
        if std::mem::take(&mut barrier.closed) {
            self.opened_barrier = Some((phase, at));
        }
    }

    /// Abandons the barrier of `phase`: its arrivals are never scheduled.
    pub fn abandon(&mut self, phase: u32) {
        // A phase with a length ends when its length is over, and other phases may follow.
        if self.is_barrier_closed(phase) && self.schedule.phase_end(phase).is_none() {
            self.given_up = true;
        }
    }

    pub(super) fn is_barrier_closed(&self, phase: u32) -> bool {
        self.barriers[phase as usize].closed
    }

    /// Checks whether the `wanted` sessions of a phase are all open and idle.
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

    /// Notes that a session of the pool could not be opened, or was lost.
    pub(super) fn note_setback(&mut self, now: Duration) {
        let Some((phase, _)) = self.closed_phase(now) else { return };
        let barrier = &mut self.barriers[phase as usize];
        if barrier.closed && !barrier.ready && self.unit(phase) == Unit::Message {
            self.barriers[phase as usize].setback.get_or_insert(now);
        }
    }

    /// Returns the time of the first setback of a closed barrier: if no progress follows, the barrier will never open.
    pub(super) fn setback_since(&self, phase: u32) -> Option<Duration> {
        self.barriers[phase as usize].setback.filter(|_| self.is_barrier_closed(phase))
    }

    /// Returns when the barrier of `phase` opened: the scheduled time of the arrivals behind it.
    pub(super) fn barrier_opened_at(&self, phase: u32) -> Option<Duration> {
        self.opened_barrier.filter(|(of, _)| *of == phase).map(|(_, at)| at)
    }
}
