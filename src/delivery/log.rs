//! The delivery log: what a receiver took that is a process of its own, for runs that join it.
//!
//! One JSON object a line. The first line names the format, the host and its clock. Then, in the order of arrival, `delivered` (a
//! copy of a message came out), `notified` (a delivery status notification) and `foreign` (neither); once a second a `mark`: all that
//! came out before it stands before it; and `end` when the receiver was stopped.
//!
//! # Decisions
//! - A copy is one line with all its recipients, as the relay handed it over: so a message that came out changed is named once.
//! - What a line says of a content is its fingerprint: the receiver knows neither the seed nor the text of a run.
//! - Only whole lines count. A log whose marks stop, for whatever reason, is incomplete: a run that joins it is invalid, because what
//!   it does not find there may have come out all the same.

mod entry;
mod join;
mod reader;
mod writer;

use std::io;
use std::path::PathBuf;

pub use entry::{LogCopy, LogEntry, LogHeader, LogMark, VERSION};
pub use join::DeliveryLogs;
pub use reader::LogReader;
pub(super) use writer::LogInlet;
pub use writer::LogWriter;

/// What can go wrong with a delivery log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file for a new log is there already.
    #[error("{} is there already, and a delivery log is never overwritten or continued; name another file with --deliveries", .0.display())]
    Taken(PathBuf),
    /// It cannot be written.
    #[error("failed to write the delivery log {}: {source}; {}", path.display(), remedy(source))]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("failed to read the delivery log {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no delivery log ({why}): give the file that `smtpress receive --deliveries FILE` writes", path.display())]
    NoLog {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// One of its lines is none.
    #[error("line {line} of the delivery log {} cannot be read: {why}", path.display())]
    Line {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Why.
        why: String,
    },
    /// Two of several are the same.
    #[error("{} and {} are the same delivery log: give each once", .0.display(), .1.display())]
    Twice(PathBuf, PathBuf),
    /// Nobody writes to it, and a run is about to begin.
    #[error("{}: {why}; start `smtpress receive --deliveries FILE` and leave it on until the run is over, or join a run with a log afterwards: `smtpress report RUN --deliveries FILE`", path.display())]
    NotAlive {
        /// Which.
        path: PathBuf,
        /// What is known.
        why: String,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free some space there, or name another file with --deliveries"
        }
        io::ErrorKind::NotFound => "make its folder, or name another file with --deliveries",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "allow writing there, or name another file with --deliveries"
        }
        _ => "name another file with --deliveries",
    }
}

#[cfg(test)]
mod tests;
