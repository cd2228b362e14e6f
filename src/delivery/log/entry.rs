//! What stands in a line of a delivery log.

use serde::{Deserialize, Serialize};

use crate::delivery::clock::ClockReading;
use crate::delivery::integrity::Fingerprint;
use crate::delivery::next_hop::HopHealth;
use crate::delivery::notification::Notification;

/// The version of the format that is written and read.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHeader {
    /// The version of the format.
    pub smtpress_delivery_log: u32,
    /// The version of smtpress.
    pub tool: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The name of its monotonic clock; `null`: unknown.
    pub clock: Option<String>,
    /// When it began.
    pub at: ClockReading,
    /// Where it listens.
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
        /// When its end was read.
        at: ClockReading,
        /// What it says.
        about: Notification,
    },
    /// A message of no run came out.
    Foreign {
        /// When its end was read.
        at: ClockReading,
    },
    /// All that came out before stands before this line.
    Mark(LogMark),
    /// The receiver was stopped; nothing comes after it.
    End(LogMark),
}

/// A copy of a message that came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCopy {
    /// The run id.
    pub run: String,
    /// The number of the message.
    pub seq: u64,
    /// For whom.
    pub to: Vec<String>,
    /// When the end of its content was read.
    pub at: ClockReading,
    /// What the content is compared by; `null`: it was no message.
    pub content: Option<Fingerprint>,
}

/// The state of the receiver at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogMark {
    /// When.
    pub at: ClockReading,
    /// Copies, notifications and foreign messages so far.
    pub messages: u64,
    /// How it fared.
    pub health: HopHealth,
}
