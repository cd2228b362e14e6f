//! Exports a run in progress: as a live page for people, and as metrics for machines. The module measures and judges
//! nothing.
//!
//! Each [`Exporter`] has one output. All exporters share one thread with its own runtime. Workers do not depend on
//! exporters: the thread that adds up the seconds passes each second on and never waits, so a slow exporter delays only
//! itself.

pub mod dashboard;
pub mod endpoints;
mod hosts;
pub mod metrics;
mod otlp;
mod page;
mod prometheus;
mod run_in_progress;
mod timeline;

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::{self, LocalBoxFuture};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::collector::agents::AgentProgress;
use crate::collector::snapshot::Interval;
use crate::event::EventRun;
use crate::report::RunResult;

pub use endpoints::{Endpoints, ObservedRun, Settings, SetupError};
pub use run_in_progress::RunInProgress;

/// How often the wait for the exporters checks whether the user has cancelled it.
const POLL: Duration = Duration::from_millis(50);

/// An event of a run, for its exporters.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// A second has passed. The interval holds everything that was counted in this second. There is one event for each
    /// second of the run, in order.
    Second(Arc<Interval>),
    /// The state of the agents of a fleet. The event of the same second follows.
    Agents(Arc<Vec<AgentProgress>>),
    /// The command of an `[[event]]` started or ended. The list holds the current records of all events.
    Commands(Arc<Vec<EventRun>>),
    /// The run has ended and has its verdict. No event follows.
    Over(Arc<RunResult>),
}

/// One output of a run in progress.
pub trait Exporter: Send {
    /// Exports the run until its end, and after [`RunEvent::Over`] for as long as a reader may still fetch the final
    /// values. A channel that closes without that event means that the run failed; then the exporter returns at once.
    ///
    /// Returns warnings for the user, one sentence each. The future is dropped when the user cancels the wait.
    fn export(self: Box<Self>, events: UnboundedReceiver<RunEvent>) -> LocalBoxFuture<'static, Vec<String>>;
}

/// The running exporters of a run.
#[derive(Debug, Default)]
pub struct Exporters {
    exporters: Vec<UnboundedSender<RunEvent>>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    handle: JoinHandle<()>,
    /// Dropped when the wait ends, which cancels exporters that have not finished.
    patience: oneshot::Sender<()>,
    /// Warnings for the user.
    remarks: mpsc::Receiver<Vec<String>>,
}

impl Exporters {
    /// Starts the exporters. Without any exporter no thread is started.
    ///
    /// # Errors
    /// The thread or its runtime cannot be created.
    pub fn start(exporters: Vec<Box<dyn Exporter>>) -> io::Result<Exporters> {
        if exporters.is_empty() {
            return Ok(Exporters::default());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (senders, receivers): (Vec<_>, Vec<_>) = exporters.iter().map(|_| unbounded_channel()).unzip();
        let (patience, lost) = oneshot::channel::<()>();
        let (warn, remarks) = mpsc::channel();
        let handle = std::thread::Builder::new().name("live".into()).spawn(move || {
            runtime.block_on(async move {
                let all =
                    exporters.into_iter().zip(receivers).map(|(exporter, events)| exporter.export(events));
                tokio::select! {
                    said = future::join_all(all) => drop(warn.send(said.concat())),
                    _ = lost => {}
                }
            });
            // The thread must not wait for open connections.
            runtime.shutdown_background();
        })?;
        Ok(Exporters { exporters: senders, thread: Some(Thread { handle, patience, remarks }) })
    }

    /// Passes a second on. Never waits.
    pub fn second(&self, interval: &Interval) {
        if self.exporters.is_empty() {
            return;
        }
        let interval = Arc::new(interval.clone());
        self.send(&RunEvent::Second(interval));
    }

    /// Passes the state of the agents of a fleet on. Never waits.
    pub fn agents(&self, agents: &[AgentProgress]) {
        if !self.exporters.is_empty() {
            self.send(&RunEvent::Agents(Arc::new(agents.to_vec())));
        }
    }

    /// Passes the state of the run's `[[event]]`s on. Never waits.
    pub fn events(&self, events: &[EventRun]) {
        if !self.exporters.is_empty() {
            self.send(&RunEvent::Commands(Arc::new(events.to_vec())));
        }
    }

    /// Passes the end of the run on, and waits until all exporters have finished, or until `cancelled` returns true.
    ///
    /// Returns the exporters' warnings.
    pub fn over(mut self, result: &Arc<RunResult>, cancelled: impl Fn() -> bool) -> Vec<String> {
        self.send(&RunEvent::Over(result.clone()));
        let Some(Thread { handle, patience, remarks }) = self.thread.take() else { return Vec::new() };
        let said = loop {
            match remarks.recv_timeout(POLL) {
                Ok(said) => break said,
                // An exporter that panicked has printed the panic.
                Err(mpsc::RecvTimeoutError::Disconnected) => break Vec::new(),
                Err(mpsc::RecvTimeoutError::Timeout) if cancelled() => break Vec::new(),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        };
        drop(patience);
        // A panic was printed when it happened. The run's result stays valid.
        handle.join().ok();
        said
    }

    fn send(&self, event: &RunEvent) {
        for exporter in &self.exporters {
            // An exporter that has ended needs no more events.
            exporter.send(event.clone()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::snapshot::Gauges;
    use crate::collector::tally::Tally;
    use crate::report::fixtures;

    /// Lists the seconds. With `waits` the exporter never finishes.
    struct Counting {
        waits: bool,
    }

    impl Exporter for Counting {
        fn export(
            self: Box<Self>,
            mut events: UnboundedReceiver<RunEvent>,
        ) -> LocalBoxFuture<'static, Vec<String>> {
            Box::pin(async move {
                let mut seconds = Vec::new();
                while let Some(RunEvent::Second(interval)) = events.recv().await {
                    seconds.push(interval.start.as_secs());
                }
                if self.waits {
                    future::pending::<()>().await;
                }
                vec![format!("{seconds:?}")]
            })
        }
    }

    fn second(start: u64) -> Interval {
        Interval {
            transactions: Vec::new(),
            start: Duration::from_secs(start),
            length: Duration::from_secs(1),
            tally: Tally::new(1),
            gauges: Gauges::default(),
        }
    }

    #[test]
    fn every_exporter_gets_every_second_and_the_end() {
        let live =
            Exporters::start(vec![Box::new(Counting { waits: false }), Box::new(Counting { waits: false })])
                .unwrap();
        (0..3).for_each(|start| live.second(&second(start)));
        let said = live.over(&Arc::new(fixtures::accepted()), || false);
        assert_eq!(said, ["[0, 1, 2]", "[0, 1, 2]"]);
    }

    #[test]
    fn a_user_who_stops_does_not_wait_for_an_exporter_that_goes_on() {
        let live = Exporters::start(vec![Box::new(Counting { waits: true })]).unwrap();
        assert_eq!(live.over(&Arc::new(fixtures::accepted()), || true), Vec::<String>::new());
    }

    #[test]
    fn without_exporters_there_is_nothing() {
        let live = Exporters::start(Vec::new()).unwrap();
        live.second(&second(0));
        assert!(live.thread.is_none());
        assert!(live.over(&Arc::new(fixtures::accepted()), || false).is_empty());
    }
}
