//! The delivery log: a receiver in another process records the messages that it took, and a run joins the log.
//!
//! The log has one JSON object on each line. The first line names the format, the host and its clock. The next lines
//! are the messages in the order of arrival: `delivered` (a copy of a message of a run), `notified` (a delivery status
//! notification) or `foreign` (neither). Once a second, a `mark` confirms that the log is complete up to its time. The
//! last line is `end`, when the receiver was stopped.
//!
//! # Decisions
//! - A copy is one line with all its recipients, as the relay delivered it, so that an altered message is named once.
//! - A line holds the fingerprint of a content: the receiver does not know the content that the run sent.
//! - Only whole lines count. A log whose marks stop is incomplete, and a run that joins it is invalid: messages that
//!   are not in the log may still have come out.

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

/// Why a delivery log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file for a new log exists.
    #[error("{} is there already, and a delivery log is never overwritten or continued; name another file with --deliveries", .0.display())]
    Taken(PathBuf),
    /// The log cannot be written.
    #[error("failed to write the delivery log {}: {source}; {}", path.display(), remedy(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The log cannot be read.
    #[error("failed to read the delivery log {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is not a delivery log.
    #[error("{} is no delivery log ({why}): give the file that `smtpress receive --deliveries FILE` writes", path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A line of the log cannot be read.
    #[error("line {line} of the delivery log {} cannot be read: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: u64,
        /// The reason.
        why: String,
    },
    /// Two of the given logs are the same file.
    #[error("{} and {} are the same delivery log: give each once", .0.display(), .1.display())]
    Twice(PathBuf, PathBuf),
    /// No receiver writes to the log, and a run is about to start.
    #[error("{}: {why}; start `smtpress receive --deliveries FILE` and leave it on until the run is over, or join a run with a log afterwards: `smtpress report RUN --deliveries FILE`", path.display())]
    NotAlive {
        /// The file.
        path: PathBuf,
        /// What is known about the receiver that wrote the log.
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
