//! The interface of a trial: takes a plan and returns the measurement. The local threads are one runner, a model with a
//! known answer is another.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::clock::Clock;
use super::preflight::PreflightError;
use crate::collector::agents::AgentProgress;
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::tally::Tally;
use crate::net::tls::TlsError;
use crate::plan::Plan;

/// A request to stop a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stop {
    /// Do not stop.
    Run,
    /// Start no further arrivals, and let those in flight end.
    Drain,
    /// Stop at once.
    Now,
}

impl Stop {
    /// Waits until a stop is requested; without end if nobody can request one any more.
    pub async fn requested(mut stop: watch::Receiver<Stop>) {
        if stop.wait_for(|stop| *stop != Stop::Run).await.is_err() {
            std::future::pending().await
        }
    }
}

/// The answer of an observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop gracefully, for this reason.
    Stop(String),
}

/// The start of a run, for observers that use its clock.
#[derive(Clone)]
pub struct RunStart {
    /// The run's clock.
    pub clock: Clock,
    /// The starts of the phases.
    pub phase: PhaseStarts,
}

/// Returns the time at which the load of a phase starts, by the index of the phase; `None`: not known yet.
pub type PhaseStarts = Arc<dyn Fn(usize) -> Option<Duration> + Send + Sync>;

/// Observes a run in progress: for the progress, the time series, and assertions that abort the run.
pub trait Observer {
    /// Called when the threads have started, just before the epoch.
    fn begins(&mut self, _: &RunStart) {}

    /// Called before each second of a run of a fleet, with the state of its agents in the order of shards.
    fn agents(&mut self, _: &[AgentProgress]) {}

    /// Called after each second. `total` is the sum up to the end of the second.
    fn interval(&mut self, interval: &Interval, total: &Tally) -> Control;

    /// Called when the load is over and deliveries are awaited: the seconds that follow are those of the wait.
    fn load_over(&mut self) {}

    /// Called with recorded sessions that have ended: file stem and text. [`Measured::transcripts`] holds all recorded
    /// sessions, too.
    fn transcripts(&mut self, _: &[(String, String)]) {}
}

/// An observer that does nothing.
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
    /// smtpress itself cannot go on. Failures of the target are outcomes, not errors.
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError>;
}

impl Runner for Box<dyn Runner> {
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError> {
        self.as_mut().run(plan, observer)
    }
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A thread could not be started or had no descriptor for its runtime.
    #[error("failed to start a generator thread: {0}")]
    Thread(#[from] io::Error),
    /// The plan's target is `embedded`, and no address of a listener was given.
    #[error("failed to run: the embedded listener was not started")]
    NoListener,
    /// The first session could not reach the target, and the run was ended.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The agents of a fleet cannot run the plan, for these reasons.
    #[error("{0}")]
    Fleet(String),
    /// Another coordinator has taken over the run of a fleet.
    #[error("another coordinator has taken this run over: the agents obey it, and the result is its own")]
    TakenOver,
    /// TLS cannot be set up.
    #[error("failed to set up TLS: {0}")]
    Tls(#[from] TlsError),
}
