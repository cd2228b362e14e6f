//! The seam of a trial: a plan goes in, what was measured comes out. The local threads are one runner, a model with a known
//! answer is another.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::preflight::PreflightError;
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::tally::Tally;
use crate::net::tls::TlsError;
use crate::plan::Plan;

/// How far a run is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stop {
    /// Not at all.
    Run,
    /// Start nothing more, and let what is in flight end.
    Drain,
    /// At once.
    Now,
}

/// What an observer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop gracefully, for this reason.
    Stop(String),
}

/// The beginning of a run, for what goes by its clock.
#[derive(Clone)]
pub struct RunStart {
    /// The run's clock.
    pub clock: Clock,
    /// By the index of a phase: when its load began, or will; `None`: that is not known yet.
    pub phase: Arc<dyn Fn(usize) -> Option<Duration> + Send + Sync>,
}

/// Looks on while a run goes: progress, time series, aborting assertions.
pub trait Observer {
    /// The threads are there, and the run starts in a moment.
    fn begins(&mut self, _: &RunStart) {}

    /// A second is over. `total` is everything up to its end.
    fn interval(&mut self, interval: &Interval, total: &Tally) -> Control;

    /// Sessions that were recorded have ended: file stem and text. All of them are in [`Measured::transcripts`] too.
    fn transcripts(&mut self, _: &[(String, String)]) {}
}

/// An observer that only lets the run go on.
impl Observer for () {
    fn interval(&mut self, _: &Interval, _: &Tally) -> Control {
        Control::Continue
    }
}

/// Runs a plan once: the local threads, or in tests a model with a known answer. A run is one trial.
pub trait Runner {
    /// Runs `plan` to its end.
    ///
    /// # Errors
    /// smtpress itself cannot go on. What the target does is no error.
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError>;
}

impl Runner for Box<dyn Runner> {
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError> {
        self.as_mut().run(plan, observer)
    }
}

/// Why a run could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A thread could not be started or had no descriptor for its runtime.
    #[error("failed to start a generator thread: {0}")]
    Thread(#[from] io::Error),
    /// The plan's target is `embedded`, and no address of a listener was given.
    #[error("failed to run: the embedded listener was not started")]
    NoListener,
    /// The first session could not reach the target; the run was ended then and there.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The agents of a fleet cannot run it: which and why, in sentences.
    #[error("{0}")]
    Fleet(String),
    /// Another coordinator has taken over the run of a fleet.
    #[error("another coordinator has taken this run over: the agents obey it, and the result is its own")]
    TakenOver,
    /// TLS cannot be set up.
    #[error("failed to set up TLS: {0}")]
    Tls(#[from] TlsError),
}
