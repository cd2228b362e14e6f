//! What is done to the listener beside the load: a command of the user at a time of the run, and how it ended.
//!
//! A run has events (`[[event]]`), a search for a capacity has a command between two trials; both are a [`ShellCommand`]. What
//! an event did to the arrivals is the business of `collector::effect`.
//!
//! # Decisions
//! - Commands come only from a profile or a flag that the user gives, never from an environment variable.
//! - A command runs in the profile's folder, and that folder is the last one in its PATH: `run = "restart.sh"` finds the
//!   script beside the profile, `./restart.sh` too, and a program of the system is not shadowed by a file there.

pub mod shell;

use std::time::Duration;

pub use shell::{CommandEnd, ShellCommand};

/// An event of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEvent {
    /// Its name, unique in the plan.
    pub name: String,
    /// When it starts.
    pub at: EventTime,
    /// What it does.
    pub command: ShellCommand,
    /// How long the command may take.
    pub timeout: Duration,
}

/// When an event starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// So long after the start of the run.
    Run(Duration),
    /// So long after the start of the load of a phase.
    Phase {
        /// The index of the phase.
        index: usize,
        /// Its name.
        name: String,
        /// How long after.
        after: Duration,
    },
}

/// An event of a run: when its command ran, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRun {
    /// Its name.
    pub name: String,
    /// The command.
    pub command: String,
    /// When it was to start, since the run's epoch; `None`: the phase that it waits for never began.
    pub due: Option<Duration>,
    /// When it started; `None`: it did not.
    pub started: Option<Duration>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// How it ended; `None`: it has not.
    pub end: Option<CommandEnd>,
    /// What it wrote, the middle of a long text left out. It may hold anything.
    pub output: String,
}

impl EventRun {
    /// One that waits for its time.
    pub fn waiting(event: &PlannedEvent) -> EventRun {
        EventRun {
            name: event.name.clone(),
            command: event.command.text.clone(),
            due: None,
            started: None,
            ended: None,
            end: None,
            output: String::new(),
        }
    }
}
