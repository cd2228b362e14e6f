//! The events of a run in their stored form. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::named;

/// An event of a run: its command, how the command ended, and its effect on the arrivals. Times count from the start of
/// the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct StoredEvent {
    /// The name of the event.
    pub name: String,
    /// The command, as the profile has it.
    pub command: String,
    /// The scheduled time; `null` if the phase of the event never started.
    pub due_s: Option<f64>,
    /// When the command started; `null` if it did not.
    pub started_s: Option<f64>,
    /// When the command ended.
    pub ended_s: Option<f64>,
    /// How the command ended.
    pub status: StoredEventStatus,
    /// The exit code; `null` if the command did not end by itself.
    pub exit_code: Option<i32>,
    /// How the command ended, in words.
    pub explanation: String,
    /// The output of the command, without the middle of a long text. It may hold any characters.
    pub output: String,
    /// The effect on the arrivals of the measured phases; `null` until the run is over, and if the command did not
    /// start.
    pub effect: Option<StoredEffect>,
}

/// How the command of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "EventStatus")]
pub enum StoredEventStatus {
    /// The time of the event has not come.
    Waiting,
    /// The command is running.
    Running,
    /// The command ended with exit code 0.
    Done,
    /// The command ended with another exit code, by a signal, or with an unknown exit code.
    Failed,
    /// The command took too long and was killed.
    TimedOut,
    /// The run was stopped, and the command was killed.
    Stopped,
    /// The command could not be started.
    NotStarted,
    /// The run ended before the time of the event came.
    NotRun,
}

named!(StoredEventStatus {
    Waiting => "waiting", Running => "running", Done => "done", Failed => "failed", TimedOut => "timed-out",
    Stopped => "stopped", NotStarted => "not-started", NotRun => "not-run",
});

/// The effect of an event on the arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventEffect")]
pub struct StoredEffect {
    /// The time in which arrivals failed; `null` if none failed.
    pub outage: Option<StoredOutage>,
    /// The time from the event until the load recovered. The load has recovered when, for five seconds, 99 % of the
    /// offered arrivals were accepted and the 99th percentile of the response time was within 1.5 times the value before
    /// the event, or 10 ms above that value. `null` if the load did not recover in this run, or if that is unknown.
    pub recovery_s: Option<f64>,
    /// The time after the event in which the load did not recover, if the run ended too early to measure more; `null` if
    /// the load recovered, or if that is unknown.
    pub not_recovered_within_s: Option<f64>,
    /// Why it is unknown whether the load recovered.
    pub recovery_unknown: Option<String>,
    /// The arrivals that were scheduled since the event before, or since the start of the measured phases.
    pub before: StoredEventSide,
    /// The arrivals that were scheduled until the next event, or until the end.
    pub after: StoredEventSide,
}

/// The time in which arrivals failed, to a tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Outage")]
pub struct StoredOutage {
    /// The time from the first to the last failed arrival.
    pub s: f64,
    /// The upper bound of its length: from the last accepted arrival before the outage to the first accepted arrival after
    /// it; `null` if no arrival was accepted after it.
    pub at_most_s: Option<f64>,
    /// The start of the first arrival that failed.
    pub from_s: f64,
    /// The start of the last arrival that failed.
    pub to_s: f64,
    /// How many arrivals failed.
    pub failed: u64,
}

/// The arrivals on one side of an event: those that were scheduled in this time, with their outcomes, whenever they
/// ended. The times are exact to a tenth of a second. The tenth in which the event started belongs to the side after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventSide")]
pub struct StoredEventSide {
    /// The start of the time.
    pub from_s: f64,
    /// The end of the time.
    pub to_s: f64,
    /// Arrivals that were scheduled: the sum of the outcomes below.
    pub offered: u64,
    /// Arrivals that were accepted.
    pub accepted: u64,
    /// Arrivals with a refusal that the profile expects.
    pub expected: u64,
    /// Arrivals that ended with a 4yz reply.
    pub deferred: u64,
    /// Arrivals that ended with a 5yz reply.
    pub rejected: u64,
    /// Arrivals that got no session.
    pub refused: u64,
    /// Arrivals whose connection was lost.
    pub dropped: u64,
    /// Arrivals that reached a time-out.
    pub timed_out: u64,
    /// Arrivals whose connection was lost between the final dot and its reply.
    pub in_doubt: u64,
    /// Arrivals for which the listener broke the protocol.
    pub malformed: u64,
    /// Arrivals that were in flight when the run ended.
    pub interrupted: u64,
    /// Arrivals that never started.
    pub shed: u64,
    /// The relay's deliveries of the messages accepted in this time; absent without a receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<StoredSideDelivery>,
}

/// The recipients that were accepted on one side of an event: `accepted_recipients = delivered + bounced + missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventSideDelivery")]
pub struct StoredSideDelivery {
    /// Recipients that the relay accepted.
    pub accepted_recipients: u64,
    /// Recipients that were delivered, at any time.
    pub delivered: u64,
    /// Recipients that a notification reported as failed, and that were not delivered.
    pub bounced: u64,
    /// Recipients without a delivery or a notification.
    pub missing: u64,
}
