//! The gates of a run, one a phase with `open_first`: its load begins when the sessions of every worker are open.
//!
//! Asked and told only while a gate is shut, never in the path of an arrival. What a worker's own part waits for is decided
//! by `dispatch`.

use std::time::Duration;

use tokio::sync::watch;

/// How far one phase's gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BarrierState {
    /// The phase has none, or it is not open yet.
    Shut {
        /// Workers whose sessions are open.
        ready: u32,
        /// When the last of them said so.
        last: Duration,
    },
    /// It was opened.
    Open(Duration),
    /// Some worker's sessions will never all be open.
    Forgone,
}

/// All gates, by phase; shared by the workers of a run.
#[derive(Debug)]
pub(super) struct StartBarriers {
    states: watch::Sender<Vec<BarrierState>>,
    workers: u32,
}

impl StartBarriers {
    /// Shut gates for `workers` workers.
    pub fn new(phases: usize, workers: u32) -> StartBarriers {
        let shut = BarrierState::Shut { ready: 0, last: Duration::ZERO };
        StartBarriers { states: watch::Sender::new(vec![shut; phases]), workers }
    }

    /// A worker's part of a phase is open; the last one opens the gate.
    pub fn ready(&self, phase: u32, now: Duration) {
        let workers = self.workers;
        self.change(phase, |state| match *state {
            BarrierState::Shut { ready, last } if ready + 1 < workers => {
                BarrierState::Shut { ready: ready + 1, last: last.max(now) }
            }
            BarrierState::Shut { last, .. } => BarrierState::Open(last.max(now)),
            over => over,
        });
    }

    /// A worker's part of a phase will never be open: nobody's load begins.
    pub fn forgo(&self, phase: u32) {
        self.change(phase, |state| match *state {
            BarrierState::Shut { .. } => BarrierState::Forgone,
            over => over,
        });
    }

    /// A worker is lost, and with it what it would have opened.
    pub fn forgo_all(&self) {
        let phases = self.states.borrow().len();
        (0..).take(phases).for_each(|phase| self.forgo(phase));
    }

    /// Tells of every change.
    pub fn watch(&self) -> watch::Receiver<Vec<BarrierState>> {
        self.states.subscribe()
    }

    /// When a phase's gate was opened.
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
    fn the_last_worker_opens_a_gate_and_its_time_is_the_latest_of_all() {
        let gates = StartBarriers::new(2, 3);
        gates.ready(1, ms(30));
        gates.ready(1, ms(50));
        assert_eq!(gates.opened(1), None);
        // Its clock was read first, its turn came last.
        gates.ready(1, ms(40));
        assert_eq!((gates.opened(0), gates.opened(1)), (None, Some(ms(50))));
        gates.forgo(1);
        assert_eq!(gates.opened(1), Some(ms(50)), "what began does not end so");
    }

    #[test]
    fn a_gate_that_one_worker_forgoes_is_never_opened() {
        let gates = StartBarriers::new(1, 2);
        gates.ready(0, ms(1));
        gates.forgo_all();
        gates.ready(0, ms(2));
        assert_eq!((gates.opened(0), gates.watch().borrow()[0]), (None, BarrierState::Forgone));
    }
}
