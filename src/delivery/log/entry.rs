//! The lines of a delivery log.

use serde::{Deserialize, Serialize};

use crate::delivery::clock::ClockReading;
use crate::delivery::integrity::Fingerprint;
use crate::delivery::next_hop::HopHealth;
use crate::delivery::notification::Notification;

/// The version of the log's format.
pub const VERSION: u32 = 2;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHeader {
    /// The version of the format.
    pub smtpress_delivery_log: u32,
    /// The version of smtpress.
    pub tool: String,
    /// The name of the receiver's machine.
    pub host: String,
    /// The process id of the receiver.
    pub pid: u32,
    /// The name of the receiver's monotonic clock; `null` if unknown.
    pub clock: Option<String>,
    /// The start of the log.
    pub at: ClockReading,
    /// The addresses of the receiver.
    pub addresses: Vec<String>,
    /// `smtp` or `lmtp`.
    pub protocol: String,
}

/// A line after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogEntry {
    /// A copy of a message of some run came out.
    Delivered(LogCopy),
    /// A notification about a message of some run came out.
    Notified {
        /// When the end of the notification was read.
        at: ClockReading,
        /// The report on each recipient.
        about: Notification,
    },
    /// A message came out that belongs to no run.
    Foreign {
        /// When the end of the message was read.
        at: ClockReading,
    },
    /// Everything that came out before this time is above this line.
    Mark(LogMark),
    /// The receiver was stopped. This is the last line.
    End(LogMark),
}

/// A copy of a message that came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCopy {
    /// The run id.
    pub run: String,
    /// The number of the message.
    pub seq: u64,
    /// The recipients.
    pub to: Vec<String>,
    /// When the end of its content was read.
    pub at: ClockReading,
    /// The fingerprint of the content; `null` if it was not a message.
    pub content: Option<Fingerprint>,
}

/// The state of the receiver at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogMark {
    /// The moment.
    pub at: ClockReading,
    /// The number of copies, notifications and foreign messages so far.
    pub messages: u64,
    /// The health of the receiver's threads.
    pub health: HopHealth,
}
