//! Ctrl-C and SIGTERM while a run goes on: first drain, then stop now, then give up.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::{FAULT, Failure};
use super::progress::Voice;
use crate::generator::{Stop, clock};

/// How long the wait for a start may sleep without looking at the clock and the signals.
const GLANCE: Duration = Duration::from_millis(50);

/// The user's wish to stop.
#[derive(Debug)]
pub struct Signals {
    /// What was asked so far.
    pub stop: watch::Receiver<Stop>,
    over: Arc<AtomicBool>,
}

impl Signals {
    /// Listens from now on. What happens is told by `voice`.
    ///
    /// # Errors
    /// No thread or no descriptor is left.
    pub fn listen(voice: Voice) -> Result<Signals, Failure> {
        let (ask, stop) = watch::channel(Stop::Run);
        let over = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Registered here and not on the thread: a signal that comes before the thread is up must not end the process.
        let registered = runtime
            .block_on(async { Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) });
        let (mut interrupt, mut terminate) = registered.map_err(|error: std::io::Error| {
            Failure::Told(FAULT, format!("failed to listen for Ctrl-C: {error}"))
        })?;
        let is_over = over.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async move {
                for heard in 0_u32.. {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    match heard {
                        _ if heard > 1 => {
                            voice.say("smtpress: given up; there is no report");
                            process::exit(FAULT.into());
                        }
                        _ if is_over.load(Ordering::Relaxed) => {
                            voice.say("smtpress: the run is over, its files are being written");
                        }
                        0 => {
                            voice
                                .say("smtpress: stopping: what is under way may end; Ctrl-C again: stop now");
                            ask.send_replace(Stop::Drain);
                        }
                        _ => {
                            voice.say("smtpress: stopping now");
                            ask.send_replace(Stop::Now);
                        }
                    }
                }
            });
        })?;
        Ok(Signals { stop, over })
    }

    /// The run is over: from now on there is nothing to stop but the writing of its files.
    pub fn over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits until `at`, or until the user wants to stop.
    pub fn wait_until(&self, at: SystemTime) {
        // In short sleeps: the wall clock may be set meanwhile, and shards must start by what it says.
        while let Ok(left) = at.duration_since(clock::wall()) {
            if *self.stop.borrow() > Stop::Run {
                return;
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }
}
