//! The start barriers of a run, one for each phase with `open_first`: the load of the phase starts when the sessions of
//! every worker are open.
//!
//! The barriers are used only while one of them is closed, never in the path of an arrival. `dispatch` decides when a
//! worker waits.

use std::time::Duration;

use tokio::sync::watch;

/// The state of one barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BarrierState {
    /// The barrier is closed, or the phase has none.
    Closed {
        /// The number of workers whose sessions are open.
        ready: u32,
        /// The latest time at which one of these workers was ready.
        last: Duration,
    },
    /// The barrier was opened.
    Open(Duration),
    /// The barrier was abandoned: the sessions of a worker will never all be open.
    Abandoned,
}

/// All barriers, by phase; shared by the workers of a run.
#[derive(Debug)]
pub(super) struct StartBarriers {
    states: watch::Sender<Vec<BarrierState>>,
    workers: u32,
}

impl StartBarriers {
    /// Returns closed barriers for `workers` workers.
    pub fn new(phases: usize, workers: u32) -> StartBarriers {
        let closed = BarrierState::Closed { ready: 0, last: Duration::ZERO };
        StartBarriers { states: watch::Sender::new(vec![closed; phases]), workers }
    }

    /// Notes that the sessions of a worker are open; the last worker opens the barrier.
    pub fn ready(&self, phase: u32, now: Duration) {
        let workers = self.workers;
        self.change(phase, |state| match *state {
            BarrierState::Closed { ready, last } if ready + 1 < workers => {
                BarrierState::Closed { ready: ready + 1, last: last.max(now) }
            }
            BarrierState::Closed { last, .. } => BarrierState::Open(last.max(now)),
            over => over,
        });
    }

    /// Abandons the barrier of a phase, because the sessions of a worker will never all be open: no worker starts its
    /// load.
    pub fn abandon(&self, phase: u32) {
        self.change(phase, |state| match *state {
            BarrierState::Closed { .. } => BarrierState::Abandoned,
            over => over,
        });
    }

    /// Notes that a worker has ended: abandons the barriers that are closed.
    pub fn abandon_all(&self) {
        let phases = self.states.borrow().len();
        (0..).take(phases).for_each(|phase| self.abandon(phase));
    }

    /// Returns a receiver of every change.
    pub fn watch(&self) -> watch::Receiver<Vec<BarrierState>> {
        self.states.subscribe()
    }

    /// Returns when the barrier of a phase opened.
    pub fn opened(&self, phase: usize) -> Option<Duration> {
        match self.states.borrow().get(phase) {
            Some(BarrierState::Open(at)) => Some(*at),
            _ => None,
        }
    }

    fn change(&self, phase: u32, to: impl FnOnce(&BarrierState) -> BarrierState) {
        self.states.send_modify(|states| {
            let state = &mut states[phase as usize];
            *state = to(state);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_last_worker_opens_a_barrier_and_its_time_is_the_latest_of_all() {
        let barriers = StartBarriers::new(2, 3);
        barriers.ready(1, ms(30));
        barriers.ready(1, ms(50));
        assert_eq!(barriers.opened(1), None);
        // This worker read its clock before the second worker, but calls `ready` last.
        barriers.ready(1, ms(40));
        assert_eq!((barriers.opened(0), barriers.opened(1)), (None, Some(ms(50))));
        barriers.abandon(1);
        assert_eq!(barriers.opened(1), Some(ms(50)), "an open barrier cannot be abandoned");
    }

    #[test]
    fn a_barrier_that_one_worker_forgoes_is_never_opened() {
        let barriers = StartBarriers::new(1, 2);
        barriers.ready(0, ms(1));
        barriers.abandon_all();
        barriers.ready(0, ms(2));
        assert_eq!((barriers.opened(0), barriers.watch().borrow()[0]), (None, BarrierState::Abandoned));
    }
}
