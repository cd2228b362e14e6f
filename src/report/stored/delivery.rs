//! What came out of the relay, as it is stored. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the recipients of a phase: `accepted_recipients = delivered + bounced + missing`, and
/// `in_doubt = in_doubt_delivered + in_doubt_bounced + in_doubt_missing`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PhaseDelivery")]
pub struct StoredPhaseDelivery {
    /// Recipients that the relay accepted.
    pub accepted_recipients: u64,
    /// Those that came out.
    pub delivered: u64,
    /// Those that a notification reported as failed, and that did not come out.
    pub bounced: u64,
    /// Those of which nothing was seen when the wait ended.
    pub missing: u64,
    /// Deliveries beyond the first of a recipient.
    pub duplicated: u64,
    /// Recipients that came out with a change.
    pub altered: u64,
    /// Recipients that came out although they were refused.
    pub unexpected: u64,
    /// Recipients in doubt: the content was sent, and no final reply came.
    pub in_doubt: u64,
    /// Those that came out.
    pub in_doubt_delivered: u64,
    /// Those that were reported as failed.
    pub in_doubt_bounced: u64,
    /// Those of which nothing was seen.
    pub in_doubt_missing: u64,
    /// Recipients that came out and were reported as failed.
    pub bounced_and_delivered: u64,
    /// The most recipients in the relay's queue during the window of the phase; `null`: the times are unknown.
    pub queued_max: Option<u64>,
    /// How fast its queue grew in that window, in recipients a second; `null`: the window is too short to say, or the
    /// times are unknown.
    pub queued_growth_per_s: Option<StoredGrowth>,
    /// From the last accepted message to the last first delivery; `null`: one of both was never seen, or the
    /// times are unknown.
    pub drain_s: Option<f64>,
    /// First deliveries within the window, a second of it; `null`: the times are unknown.
    pub delivered_per_s: Option<f64>,
}

/// A slope with the interval that holds it in 95 of 100 cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Growth")]
pub struct StoredGrowth {
    /// The slope.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What came out of a run beside the counts of its phases. Times are since the start of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Delivery")]
pub struct StoredDelivery {
    /// Messages that came out and are of another run, or of none.
    pub foreign: u64,
    /// Notifications of delay.
    pub delayed: u64,
    /// When the wait for deliveries ended.
    pub ended_s: f64,
    /// How long nothing had come out by then; `null`: nothing ever did.
    pub silent_s: Option<f64>,
    /// Whether the wait was cut short.
    pub cut_short: bool,
    /// The first recipients that are missing.
    pub missing: Vec<StoredMissing>,
    /// The first messages that were altered.
    pub altered: Vec<StoredAltered>,
    /// The bounces by status code and meaning, the most frequent first.
    pub bounces: Vec<StoredBounce>,
    /// The receiver's own part.
    pub receiver: StoredReceiver,
    /// How its clock is related to that of the run; `null` where both ends are one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<StoredClock>,
}

/// How the clock by which deliveries are timed is related to that of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "relation", rename_all = "kebab-case")]
#[schemars(rename = "Clock")]
pub enum StoredClock {
    /// Two processes, one clock.
    Same,
    /// Two clocks with a measured offset: each time of the relay may be wrong by the bound.
    Offset {
        /// How far the receiver's clock is ahead of ours; below zero: behind.
        ahead_s: f64,
        /// How far from the truth that may be.
        bound_s: f64,
    },
    /// Two clocks, and nobody knows how far apart: there are counts, and no times.
    Unknown,
}

/// A recipient that was accepted and did not come out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Missing")]
pub struct StoredMissing {
    /// The phase.
    pub phase: String,
    /// The number of the message: its `X-Smtpress-Seq`.
    pub seq: u64,
    /// The recipient by its place, from 0.
    pub recipient: u32,
    /// When the message was accepted.
    pub accepted_s: f64,
}

/// A message that came out changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Altered")]
pub struct StoredAltered {
    /// The number of the message.
    pub seq: u64,
    /// What differs, in words.
    pub what: String,
}

/// Bounces of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Bounce")]
pub struct StoredBounce {
    /// The enhanced status code (RFC 3463); empty if none was given.
    pub status: String,
    /// What the reply in it means; `null`: it holds no reply.
    pub condition: Option<String>,
    /// How many recipients.
    pub count: u64,
    /// The reply or the words of the first. It may hold anything.
    pub sample: String,
}

/// How the receiver itself fared (M32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Receiver")]
pub struct StoredReceiver {
    /// The share of the time in which its threads used their cores.
    pub cpu_share: f64,
    /// How late a timer of its threads was, at most.
    pub lag_max_ms: f64,
    /// Connections that the relay opened.
    pub connections: u64,
    /// Replies by which the receiver refused something.
    pub refusals: u64,
}
