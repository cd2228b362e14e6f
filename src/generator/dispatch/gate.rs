//! `open_first`: the sessions of a closed phase are all open before its first message is begun.
//!
//! # Decisions
//! - The sessions rest until the gate opens: no arrival of the phase is scheduled, and none is charged with a session that
//!   could not be opened. Such sessions are counted and named as always.
//! - What the gate lets in first was due when it opened, on every worker the same moment, however late a worker hears of it.
//! - The part of a worker is ready once. A session that is lost after that is opened again beside the load.
//! - A phase with a length ends when it would without a gate: the opening is part of it. In one without, the gate is given
//!   up when for the phase's grace no further session came about, and at least one was refused or lost meanwhile. So a slow
//!   listener is waited for as long as the time-outs of connect and greeting allow, and one that never lets all in ends
//!   the run.

use std::time::Duration;

use super::{Action, Dispatch};
use crate::plan::Unit;

/// The gate of one phase, as this worker sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    shut: bool,
    /// This worker's sessions were all open once.
    ready: bool,
    /// The most of them at rest.
    most: u64,
    /// When the first attempt failed, or the first session was lost, since `most` rose.
    setback: Option<Duration>,
}

impl Dispatch {
    /// The gates as the plan has them. A worker that has no arrival in a phase has nothing to open for it.
    pub(super) fn shut_gates(&mut self) {
        for (phase, asked) in (0..).zip(&self.plan.phases) {
            let shut = asked.open_first;
            let ready = shut && !self.schedule.has_part(phase);
            self.gates.push(Gate { shut, ready, ..Gate::default() });
            if ready {
                self.actions.push_back(Action::Ready(phase));
            }
        }
    }

    /// Every worker's sessions are open, as of `at`: the phase's load begins.
    pub fn open_gate(&mut self, phase: u32, at: Duration) {
        let gate = &mut self.gates[phase as usize];
        if std::mem::take(&mut gate.shut) {
            self.let_in = Some((phase, at));
        }
    }

    /// The gate of `phase` will never open: what there was to begin is never scheduled.
    pub fn forgo(&mut self, phase: u32) {
        // One with a length ends by it, and others may come after.
        if self.is_shut(phase) && self.schedule.phase_end(phase).is_none() {
            self.given_up = true;
        }
    }

    pub(super) fn is_shut(&self, phase: u32) -> bool {
        self.gates[phase as usize].shut
    }

    /// Looks whether the `wanted` sessions of a phase are all open and at rest.
    pub(super) fn look_at_gate(&mut self, phase: u32, wanted: u64) {
        let idle = self.slots.idle();
        let gate = &mut self.gates[phase as usize];
        if idle > gate.most {
            (gate.most, gate.setback) = (idle, None);
        }
        if idle >= wanted && !std::mem::replace(&mut gate.ready, true) {
            self.actions.push_back(Action::Ready(phase));
        }
    }

    /// A session of the pool could not be opened, or was lost.
    pub(super) fn lost_at_gate(&mut self, now: Duration) {
        let Some((phase, _)) = self.closed_phase(now) else { return };
        let gate = &mut self.gates[phase as usize];
        if gate.shut && !gate.ready && self.unit(phase) == Unit::Message {
            self.gates[phase as usize].setback.get_or_insert(now);
        }
    }

    /// Since when it looks as if the gate of `phase` would never open.
    pub(super) fn hopeless_gate(&self, phase: u32) -> Option<Duration> {
        self.gates[phase as usize].setback.filter(|_| self.is_shut(phase))
    }

    /// What was due when the gate opened: the sessions that rest.
    pub(super) fn let_in_at(&self, phase: u32) -> Option<Duration> {
        self.let_in.filter(|(of, _)| *of == phase).map(|(_, at)| at)
    }
}
