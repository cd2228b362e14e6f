//! The deliveries of a relay in their stored form. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The deliveries to the recipients of a phase: `accepted_recipients = delivered + bounced + missing`, and `in_doubt =
/// in_doubt_delivered + in_doubt_bounced + in_doubt_missing`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PhaseDelivery")]
pub struct StoredPhaseDelivery {
    /// Recipients that the relay accepted.
    pub accepted_recipients: u64,
    /// Recipients that were delivered.
    pub delivered: u64,
    /// Recipients that a notification reported as failed, and that were not delivered.
    pub bounced: u64,
    /// Recipients without a delivery or a notification when the wait ended.
    pub missing: u64,
    /// Deliveries beyond the first of a recipient.
    pub duplicated: u64,
    /// Recipients whose message was delivered with a change.
    pub altered: u64,
    /// Recipients that were delivered although they were refused.
    pub unexpected: u64,
    /// Recipients in doubt: the content was sent, and no final reply came.
    pub in_doubt: u64,
    /// Recipients in doubt that were delivered.
    pub in_doubt_delivered: u64,
    /// Recipients in doubt that were reported as failed.
    pub in_doubt_bounced: u64,
    /// Recipients in doubt without a delivery or a notification.
    pub in_doubt_missing: u64,
    /// Recipients that were delivered and also reported as failed.
    pub bounced_and_delivered: u64,
    /// The most recipients in the relay's queue during the window of the phase; `null` if the times are unknown.
    pub queued_max: Option<u64>,
    /// How fast the queue grew in that window, in recipients a second; `null` if the window is too short, or the times
    /// are unknown.
    pub queued_growth_per_s: Option<StoredGrowth>,
    /// The time from the last accepted message to the last first delivery; `null` if there was no accepted message or no
    /// delivery, or if the times are unknown.
    pub drain_s: Option<f64>,
    /// First deliveries within the window, for each second of it; `null` if the times are unknown.
    pub delivered_per_s: Option<f64>,
}

/// A slope with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Growth")]
pub struct StoredGrowth {
    /// The slope.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// The deliveries of a run. The counts are in the phases. Times count from the start of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Delivery")]
pub struct StoredDelivery {
    /// Delivered messages that belong to another run or to no run.
    pub foreign: u64,
    /// Notifications of delay.
    pub delayed: u64,
    /// When the wait for deliveries ended.
    pub ended_s: f64,
    /// How long there had been no delivery when the wait ended; `null` if there was no delivery at all.
    pub silent_s: Option<f64>,
    /// Whether the wait was cut short.
    pub cut_short: bool,
    /// The first missing recipients.
    pub missing: Vec<StoredMissing>,
    /// The first altered messages.
    pub altered: Vec<StoredAltered>,
    /// The bounces by status code and condition, the most frequent first.
    pub bounces: Vec<StoredBounce>,
    /// The health of the receiver.
    pub receiver: StoredReceiver,
    /// How the receiver's clock relates to the clock of the run; `null` if both are one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<StoredClock>,
}

/// How the clock that times the deliveries relates to the clock of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "relation", rename_all = "kebab-case")]
#[schemars(rename = "Clock")]
pub enum StoredClock {
    /// Two processes use one clock.
    Same,
    /// There are two clocks with a measured offset. Each time of the relay may be wrong by the bound.
    Offset {
        /// How far the receiver's clock is ahead of this machine's clock, in seconds; below zero if it is behind.
        ahead_s: f64,
        /// The bound of the error of this offset, in seconds.
        bound_s: f64,
    },
    /// There are two clocks with an unknown offset. There are counts, and no times.
    Unknown,
}

/// A recipient that was accepted and not delivered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Missing")]
pub struct StoredMissing {
    /// The phase.
    pub phase: String,
    /// The number of the message: its `X-Smtpress-Seq`.
    pub seq: u64,
    /// The index of the recipient, from 0.
    pub recipient: u32,
    /// When the message was accepted.
    pub accepted_s: f64,
}

/// A message that was delivered with a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Altered")]
pub struct StoredAltered {
    /// The number of the message.
    pub seq: u64,
    /// The difference, in words.
    pub what: String,
}

/// Bounces of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Bounce")]
pub struct StoredBounce {
    /// The enhanced status code (RFC 3463); empty if the bounce has none; `other` for all kinds after the first hundred.
    pub status: String,
    /// The condition of the reply in the bounce; `null` if it holds no reply.
    pub condition: Option<String>,
    /// The number of recipients.
    pub count: u64,
    /// The reply or the text of the first bounce. It may hold any characters.
    pub sample: String,
}

/// The health of the receiver (M32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Receiver")]
pub struct StoredReceiver {
    /// The share of the time in which the threads of the receiver used their cores.
    pub cpu_share: f64,
    /// The largest lateness of a timer of these threads.
    pub lag_max_ms: f64,
    /// Connections that the relay opened.
    pub connections: u64,
    /// Replies by which the receiver refused a command or a message.
    pub refusals: u64,
}
