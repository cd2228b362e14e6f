//! Telling a run while it goes on: to whoever looks on, and to machines that keep metrics. It measures and judges nothing.
//!
//! A [`Exporter`] is one way of telling. All of them live on one thread of their own with a runtime of its own: the workers never
//! see them, and the thread that adds up the seconds only hands each second over and never waits. An exporter that is slow, or
//! that nobody listens to, is late by itself and delays nothing.

pub mod dashboard;
pub mod endpoints;
mod hosts;
pub mod metrics;
mod otlp;
mod page;
mod prometheus;
mod run_in_progress;
mod timeline;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::collector::snapshot::Interval;
use crate::report::RunResult;

pub use endpoints::{Endpoints, ObservedRun, Settings, SetupError};
pub use run_in_progress::RunInProgress;

/// How often a wait for the exporters looks whether the user has had enough.
const GLANCE: Duration = Duration::from_millis(50);

/// What an exporter hears of a run.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// A second is over. One comes for every second of the run, in order, with all that was counted in it.
    Second(Arc<Interval>),
    /// The run is over and judged; nothing follows.
    Over(Arc<RunResult>),
}

/// One way of telling a run while it goes on.
pub trait Exporter: Send {
    /// Tells until all is told: beyond [`RunEvent::Over`] if somebody may still want to hear the end. A channel that is closed
    /// without it means that the run could not be done; then it ends at once.
    ///
    /// Gives what the user should know of how it went, a sentence each; nothing if all went well. What it still does is
    /// dropped when the user does not want to wait any longer.
    fn export(
        self: Box<Self>,
        events: UnboundedReceiver<RunEvent>,
    ) -> Pin<Box<dyn Future<Output = Vec<String>>>>;
}

/// The exporters of a run, at work.
#[derive(Debug, Default)]
pub struct Exporters {
    exporters: Vec<UnboundedSender<RunEvent>>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    handle: JoinHandle<()>,
    /// Says by being dropped that nobody waits any longer.
    patience: oneshot::Sender<()>,
    /// What is to be known of how it went.
    remarks: mpsc::Receiver<Vec<String>>,
}

impl Exporters {
    /// Sets the exporters to work; without any there is no thread.
    ///
    /// # Errors
    /// No thread, or no descriptor for its runtime, is left.
    pub fn start(exporters: Vec<Box<dyn Exporter>>) -> io::Result<Exporters> {
        if exporters.is_empty() {
            return Ok(Exporters::default());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (senders, receivers): (Vec<_>, Vec<_>) = exporters.iter().map(|_| unbounded_channel()).unzip();
        let (patience, lost) = oneshot::channel::<()>();
        let (told, remarks) = mpsc::channel();
        let handle = std::thread::Builder::new().name("live".into()).spawn(move || {
            runtime.block_on(async move {
                let all =
                    exporters.into_iter().zip(receivers).map(|(exporter, events)| exporter.export(events));
                tokio::select! {
                    said = future::join_all(all) => drop(told.send(said.concat())),
                    _ = lost => {}
                }
            });
            // Connections that are still open must not hold the thread.
            runtime.shutdown_background();
        })?;
        Ok(Exporters { exporters: senders, thread: Some(Thread { handle, patience, remarks }) })
    }

    /// A second is over. Never waits.
    pub fn second(&self, interval: &Interval) {
        if self.exporters.is_empty() {
            return;
        }
        let interval = Arc::new(interval.clone());
        self.tell(&RunEvent::Second(interval));
    }

    /// The run is over: the exporters tell its end, until they have or until `enough` says that nobody waits any longer.
    /// Gives what the user should know of how they fared.
    pub fn over(mut self, result: &Arc<RunResult>, enough: impl Fn() -> bool) -> Vec<String> {
        self.tell(&RunEvent::Over(result.clone()));
        let Some(Thread { handle, patience, remarks }) = self.thread.take() else { return Vec::new() };
        let said = loop {
            match remarks.recv_timeout(GLANCE) {
                Ok(said) => break said,
                // An exporter that panicked has said so already.
                Err(mpsc::RecvTimeoutError::Disconnected) => break Vec::new(),
                Err(mpsc::RecvTimeoutError::Timeout) if enough() => break Vec::new(),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        };
        drop(patience);
        // A panic was printed when it happened; the run's result stands.
        handle.join().ok();
        said
    }

    fn tell(&self, what: &RunEvent) {
        for exporter in &self.exporters {
            // One that has ended already needs to hear nothing.
            exporter.send(what.clone()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::snapshot::Gauges;
    use crate::collector::tally::Tally;
    use crate::report::fixtures;

    /// Counts the seconds, and waits for ever after the end if told to.
    struct Counting {
        waits: bool,
    }

    impl Exporter for Counting {
        fn export(
            self: Box<Self>,
            mut events: UnboundedReceiver<RunEvent>,
        ) -> Pin<Box<dyn Future<Output = Vec<String>>>> {
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
            start: Duration::from_secs(start),
            length: Duration::from_secs(1),
            tally: Tally::new(1),
            gauges: Gauges::default(),
        }
    }

    #[test]
    fn every_teller_hears_every_second_and_the_end() {
        let live =
            Exporters::start(vec![Box::new(Counting { waits: false }), Box::new(Counting { waits: false })])
                .unwrap();
        (0..3).for_each(|start| live.second(&second(start)));
        let said = live.over(&Arc::new(fixtures::accepted()), || false);
        assert_eq!(said, ["[0, 1, 2]", "[0, 1, 2]"]);
    }

    #[test]
    fn whoever_has_had_enough_does_not_wait_for_one_that_goes_on() {
        let live = Exporters::start(vec![Box::new(Counting { waits: true })]).unwrap();
        assert_eq!(live.over(&Arc::new(fixtures::accepted()), || true), Vec::<String>::new());
    }

    #[test]
    fn without_tellers_there_is_nothing() {
        let live = Exporters::start(Vec::new()).unwrap();
        live.second(&second(0));
        assert!(live.thread.is_none());
        assert!(live.over(&Arc::new(fixtures::accepted()), || false).is_empty());
    }
}
