//! The doing: threads, sessions and the loop that hands arrivals to them. It measures and does not judge.
//!
//! `local` starts the workers and adds them up; a `worker` is one thread; `dispatch` decides, `session` acts.

pub mod clock;
mod dispatch;
pub mod judge;
mod local;
pub mod preflight;
mod session;
mod slots;
mod tape;
mod worker;

pub use local::{Local, RunError, resident_bytes};
pub use worker::{Faults, Stop};

use crate::collector::snapshot::{Interval, Measured};
use crate::collector::tally::Tally;
use crate::plan::Plan;

/// What an observer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop gracefully, for this reason.
    Stop(String),
}

/// Looks on while a run goes: progress, time series, aborting assertions.
pub trait Observer {
    /// A second is over. `total` is everything up to its end.
    fn interval(&mut self, interval: &Interval, total: &Tally) -> Control;
}

/// An observer that only lets the run go on.
impl Observer for () {
    fn interval(&mut self, _: &Interval, _: &Tally) -> Control {
        Control::Continue
    }
}

/// Runs a plan once: the local threads, a fleet, or in tests a model with a known answer. A run is one trial.
pub trait Runner {
    /// Runs `plan` to its end.
    ///
    /// # Errors
    /// smtpress itself cannot go on. What the target does is no error.
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError>;
}
