//! The signals that ask a command to end: first drain, then stop now, then give up.
//!
//! # Decisions
//! - Ctrl-C (INT), Ctrl-\ (QUIT), TERM and a closed terminal (HUP) have the same effect. Under `nohup` a closed
//!   terminal has none.
//! - A closing terminal may send two signals (from the kernel, then from the shell): hangups at most two seconds apart
//!   count as one.
//! - A write beyond `ulimit -f` fails with an error, and does not end the process.

use std::future::pending;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::libc::{SIGHUP, SIGXFSZ};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::error::CommandError;
use super::messages::MessageSink;
use crate::generator::{Stop, clock};
use crate::verdict::ExitCode;

/// The interval at which the wait for a start checks the clock and the signals.
const GLANCE: Duration = Duration::from_millis(50);
/// The largest distance between the two signals of a closing terminal.
const CLOSING: Duration = Duration::from_secs(2);

/// The stream of signals that ask to end.
#[derive(Debug)]
pub struct Requests {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Option<Signal>,
    closed_at: Option<Instant>,
}

impl Requests {
    /// Takes over the signals: they no longer end the process by themselves. Must be called on the runtime that waits
    /// for them.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn register() -> io::Result<Requests> {
        // The handler stays for the rest of the process; its signals are not read.
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        Ok(Requests {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: if is_ignored(SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) },
            closed_at: None,
        })
    }

    /// Waits for the next request.
    pub async fn next(&mut self) {
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.quit.recv() => return,
                _ = hangup => {}
            }
            let now = clock::now();
            let before = self.closed_at.replace(now);
            if before.is_none_or(|before| now - before > CLOSING) {
                return;
            }
        }
    }
}

/// Whether the parent process set this signal to be ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

/// The user's request to stop.
#[derive(Debug)]
pub struct Signals {
    /// The requests so far.
    pub stop: watch::Receiver<Stop>,
    ask: watch::Sender<Stop>,
    stage: Arc<AtomicU8>,
    messages: MessageSink,
}

/// A load runs that can be stopped.
const RUNNING: u8 = 0;
/// The files are being written. The first two requests of a command only get a message now; the third ends the process.
const WRITING: u8 = 1;
/// All files are written; exporters may still be read.
const LINGERING: u8 = 2;

impl Signals {
    /// Starts to listen. `messages` gets a line for each request.
    ///
    /// # Errors
    /// No thread or no descriptor is left.
    pub fn listen(messages: MessageSink) -> Result<Signals, CommandError> {
        let (ask, stop) = watch::channel(Stop::Run);
        let (asking, for_brake) = (ask.clone(), messages.clone());
        let stage = Arc::new(AtomicU8::new(RUNNING));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Registered here and not on the thread: a signal that comes before the thread runs must not end the process.
        let registered = runtime.block_on(async { Requests::register() });
        let mut requests = registered.map_err(|error| {
            CommandError::Failed(ExitCode::Fault, format!("failed to listen for signals: {error}"))
        })?;
        let now_at = stage.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async move {
                let mut heard = 0_u32;
                loop {
                    requests.next().await;
                    // A stop by the live page counts as the first request: the next Ctrl-C is the second.
                    heard = heard.max(u32::from(*ask.borrow() > Stop::Run));
                    match heard {
                        _ if now_at.load(Ordering::Relaxed) == LINGERING => drop(ask.send_replace(Stop::Now)),
                        _ if heard > 1 => {
                            messages.say(
                                "smtpress: given up; there is no report, but what each second counted is in the run directory",
                            );
                            process::exit(ExitCode::Fault.number().into());
                        }
                        _ if now_at.load(Ordering::Relaxed) == WRITING => {
                            messages.say("smtpress: the run is over, its files are being written");
                        }
                        0 => {
                            messages.say("smtpress: stopping: what is in progress may end; Ctrl-C again stops at once");
                            ask.send_replace(Stop::Drain);
                        }
                        _ => {
                            messages.say("smtpress: stopping now");
                            ask.send_replace(Stop::Now);
                        }
                    }
                    heard += 1;
                }
            });
        })?;
        Ok(Signals { stop, ask: asking, stage, messages: for_brake })
    }

    /// Returns two functions: the first asks for the same stop as the first Ctrl-C, and the second returns whether a
    /// stop was asked for.
    pub fn brake(&self) -> (impl Fn() + Send + Sync + use<>, impl Fn() -> bool + Send + Sync + use<>) {
        let (ask, messages, stage, stop) =
            (self.ask.clone(), self.messages.clone(), self.stage.clone(), self.stop.clone());
        let drain = move || {
            let runs = stage.load(Ordering::Relaxed) == RUNNING;
            if runs
                && ask.send_if_modified(|stop| {
                    *stop == Stop::Run && {
                        *stop = Stop::Drain;
                        true
                    }
                })
            {
                messages.say(
                    "smtpress: stopping, as the live page asks: what is in progress may end; Ctrl-C stops at once",
                );
            }
        };
        (drain, move || *stop.borrow() > Stop::Run)
    }

    /// Notes that the run is over and its files are being written.
    pub fn over(&self) {
        self.stage.store(WRITING, Ordering::Relaxed);
    }

    /// Notes that all files are written: a further signal ends the wait for scrapes.
    pub fn linger(&self) {
        self.stage.store(LINGERING, Ordering::Relaxed);
    }

    /// Waits until `at`, or until the user asks to stop.
    pub fn wait_until(&self, at: SystemTime) {
        // Sleeps for short times, because shards start by the wall clock, which may be set during the wait.
        while let Ok(left) = at.duration_since(clock::wall()) {
            if *self.stop.borrow() > Stop::Run {
                return;
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }
}
