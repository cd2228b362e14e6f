//! The events of a run: each waits for its time on a thread of its own, runs its command, and reports how that ended.
//!
//! # Decisions
//! - A stop ends a running command, but the end of the load does not: the restart of a listener must not be cut off.
//!   Such a command may use its whole time-out.
//! - Processes that a command left running may write to its log until the run is over, and the log stays bounded.
//! - An event whose time comes after the end of the run is not run: its effect could not be measured.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::event::shell::{CommandLog, Surroundings};
use crate::event::{CommandEnd, EventRun, EventTime, PlannedEvent};
use crate::generator::{RunStart, Stop};
use crate::report::format;

/// The interval at which a thread checks whether its event must start, or the run is over.
const GLANCE: Duration = Duration::from_millis(10);

/// The threads of a run's events.
#[derive(Debug, Default)]
pub struct EventThreads {
    threads: Vec<JoinHandle<()>>,
    state: Arc<EventState>,
}

/// The state that the threads share with the run.
#[derive(Debug, Default)]
struct EventState {
    events: Mutex<Vec<EventRun>>,
    /// Starts and ends of commands that were not shown yet, one line each.
    news: Mutex<Vec<String>>,
    /// Whether the run is over: waiting events are not run any more.
    is_over: AtomicBool,
    /// Whether an assertion stopped the run: running commands are ended.
    is_aborted: AtomicBool,
}

/// Locks, even if another thread panicked while it held the lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventState {
    fn change(&self, index: usize, change: impl FnOnce(&mut EventRun)) {
        let mut events = locked(&self.events);
        if let Some(event) = events.get_mut(index) {
            change(event);
        }
    }
}

impl EventThreads {
    /// Returns the events before the start of their run.
    pub fn waiting(events: &[PlannedEvent]) -> EventThreads {
        let waiting = events.iter().map(EventRun::waiting).collect();
        let state = EventState { events: Mutex::new(waiting), ..EventState::default() };
        EventThreads { threads: Vec::new(), state: Arc::new(state) }
    }

    /// Starts the threads of the events. `log` returns the file for the output of an event, by its name.
    pub fn start(
        &mut self,
        events: &[PlannedEvent],
        run: &RunStart,
        stop: &watch::Receiver<Stop>,
        log: impl Fn(&str) -> PathBuf,
    ) {
        for (index, event) in events.iter().enumerate() {
            let thread = EventThread {
                index,
                log: log(&event.name),
                event: event.clone(),
                run: run.clone(),
                stop: stop.clone(),
                state: self.state.clone(),
            };
            let started =
                std::thread::Builder::new().name(format!("event-{index}")).spawn(move || thread.live());
            match started {
                Ok(handle) => self.threads.push(handle),
                Err(error) => self.state.change(index, |own| {
                    own.end = Some(CommandEnd::NotStarted(format!("no thread is left: {error}")));
                }),
            }
        }
    }

    /// Returns the current record of each event.
    pub fn so_far(&self) -> Vec<EventRun> {
        locked(&self.state.events).clone()
    }

    /// Returns the starts and ends since the last call, one line each.
    pub fn news(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.state.news))
    }

    /// Ends all commands, because an assertion stopped the run.
    pub fn abort(&self) {
        self.state.is_aborted.store(true, Ordering::Relaxed);
    }

    /// Waits for the running commands, after the end of the run.
    pub fn finish(&mut self) -> Vec<EventRun> {
        self.state.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic was printed when it happened. The event then has no end, which makes the run invalid.
            thread.join().ok();
        }
        self.so_far()
    }
}

/// An event and its thread.
struct EventThread {
    index: usize,
    event: PlannedEvent,
    log: PathBuf,
    run: RunStart,
    stop: watch::Receiver<Stop>,
    state: Arc<EventState>,
}

impl EventThread {
    fn live(self) {
        let PlannedEvent { name, command, timeout, .. } = &self.event;
        if !self.wait() {
            return self.state.change(self.index, |own| own.end = Some(CommandEnd::NotRun));
        }
        let started = self.run.clock.offset();
        self.state.change(self.index, |own| own.started = Some(started));
        self.tell(started, &format!("event {name}: {}", command.text));
        let took = || self.run.clock.offset().saturating_sub(started);
        let (end, log) = command.run(&Surroundings {
            log: &self.log,
            title: &format!("event {name} at {}: {}", format::seconds(started.as_secs_f64()), command.text),
            variable: ("SMTPRESS_EVENT", name),
            took: &took,
            halt: &|| match self.is_stopped() {
                true => Some(CommandEnd::Stopped),
                false => (took() >= *timeout).then_some(CommandEnd::TimedOut(*timeout)),
            },
        });
        let ended = self.run.clock.offset();
        self.tell(ended, &format!("event {name}: the command {end}"));
        let output = log.as_ref().map(CommandLog::shown).unwrap_or_default();
        self.state.change(self.index, |own| {
            (own.ended, own.end, own.output) = (Some(ended), Some(end), output);
        });
        let Some(mut log) = log else { return };
        if log.bound_until(|| self.state.is_over.load(Ordering::Relaxed)) {
            self.state.change(self.index, |own| own.output = log.shown());
        }
    }

    fn tell(&self, at: Duration, what: &str) {
        let at = format::seconds(at.as_secs_f64());
        locked(&self.state.news).push(format!("smtpress: {at} {}", format::harmless(what)));
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow() > Stop::Run || self.state.is_aborted.load(Ordering::Relaxed)
    }

    /// Waits for the scheduled start of the event. Returns false if the run ends or is stopped before.
    fn wait(&self) -> bool {
        loop {
            // The offset is zero before the epoch, too, and an event at zero must wait for the epoch.
            let left = self.due().map(|due| {
                self.state.change(self.index, |own| own.due = Some(due));
                self.run.clock.until_epoch() + due.saturating_sub(self.run.clock.offset())
            });
            if left == Some(Duration::ZERO) {
                return !self.is_stopped();
            }
            if self.is_stopped() || self.state.is_over.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(left.unwrap_or(GLANCE).min(GLANCE));
        }
    }

    /// Returns the scheduled start, if it is known yet.
    fn due(&self) -> Option<Duration> {
        match &self.event.at {
            EventTime::Run(after) => Some(*after),
            EventTime::Phase { index, after, .. } => (self.run.phase)(*index).map(|start| start + *after),
        }
    }
}
