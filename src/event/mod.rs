//! Events: the user's commands that run at a given time of a run, for example to restart the listener.
//!
//! A run has events (`[[event]]`), and a capacity search has a command between two trials. Both are a [`ShellCommand`].
//! `collector::effect` measures the effect of an event on the arrivals.
//!
//! # Decisions
//! - Commands come only from a profile or a flag that the user gives, never from an environment variable.
//! - A command runs in the profile's folder, and that folder is the last one in its PATH: `run = "restart.sh"` finds
//!   the script beside the profile, as `./restart.sh` does, and a file there cannot hide a program of the system.

pub mod shell;

use std::time::Duration;

pub use shell::{CommandEnd, ShellCommand};

/// An event of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEvent {
    /// The name, unique in the plan.
    pub name: String,
    /// The time at which the event starts.
    pub at: EventTime,
    /// The command.
    pub command: ShellCommand,
    /// How long the command may take.
    pub timeout: Duration,
}

/// When an event starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// This long after the start of the run.
    Run(Duration),
    /// This long after the start of the load of a phase.
    Phase {
        /// The index of the phase.
        index: usize,
        /// The name of the phase.
        name: String,
        /// The time after the start of its load.
        after: Duration,
    },
}

/// The record of an event: when its command ran, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRun {
    /// The name.
    pub name: String,
    /// The command.
    pub command: String,
    /// The scheduled start, since the run's epoch; `None` if the phase of the event never started.
    pub due: Option<Duration>,
    /// When the command started; `None` if it has not.
    pub started: Option<Duration>,
    /// When the command ended.
    pub ended: Option<Duration>,
    /// How the command ended; `None` if it has not.
    pub end: Option<CommandEnd>,
    /// The output, without the middle of a long text. It may hold any bytes.
    pub output: String,
}

impl EventRun {
    /// Returns the record of an event that has not started.
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
