//! What was done to the listener during a run, as it is stored. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::named;

/// An event of a run: its command, how that ended, and what it did to the arrivals. Times are since the start of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct StoredEvent {
    /// Its name.
    pub name: String,
    /// The command, as the profile has it.
    pub command: String,
    /// When it was to start; `null`: the phase that it waited for never began.
    pub due_s: Option<f64>,
    /// When its command started; `null`: it did not.
    pub started_s: Option<f64>,
    /// When its command ended.
    pub ended_s: Option<f64>,
    /// How its command ended.
    pub status: StoredEventStatus,
    /// The exit code; `null` if the command did not end by itself.
    pub exit_code: Option<i32>,
    /// How its command ended, in words.
    pub explanation: String,
    /// What the command wrote, the middle of a long text left out. It may hold anything.
    pub output: String,
    /// What it did to the arrivals of the measured phases; `null` until the run is over, and if the command did not start.
    pub effect: Option<StoredEffect>,
}

/// How the command of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "EventStatus")]
pub enum StoredEventStatus {
    /// Its time has not come.
    Waiting,
    /// It runs.
    Running,
    /// By itself, with exit code 0.
    Done,
    /// By itself, with another exit code, or by a signal.
    Failed,
    /// It took too long and was killed.
    TimedOut,
    /// The run was stopped, and it was killed.
    Stopped,
    /// It could not be started.
    NotStarted,
    /// The run was over before its time came.
    NotRun,
}

named!(StoredEventStatus {
    Waiting => "waiting", Running => "running", Done => "done", Failed => "failed", TimedOut => "timed-out",
    Stopped => "stopped", NotStarted => "not-started", NotRun => "not-run",
});

/// What an event did to the arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventEffect")]
pub struct StoredEffect {
    /// The time in which arrivals failed; `null`: none did.
    pub outage: Option<StoredOutage>,
    /// From the event until, for five seconds, 99 % of the offered arrivals were accepted and the 99th percentile of the response
    /// time was within 1.5 times that from before, or 10 ms above it; `null`: not in this run, or it cannot be said.
    pub recovery_s: Option<f64>,
    /// It did not recover in this time, and what was left of the run is too short to say more; `null`: it did, or it cannot be said.
    pub not_recovered_within_s: Option<f64>,
    /// Why it cannot be said whether it recovered.
    pub recovery_unknown: Option<String>,
    /// The arrivals that were due since the event before, or the start of the measured phases.
    pub before: StoredEventSide,
    /// Those that were due until the next event, or the end.
    pub after: StoredEventSide,
}

/// The time in which arrivals failed, right to a tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Outage")]
pub struct StoredOutage {
    /// From the first to the last failed arrival.
    pub s: f64,
    /// It was no longer than this: from the last accepted arrival before it to the first after it; `null`: none was accepted any more.
    pub at_most_s: Option<f64>,
    /// When the first arrival failed.
    pub from_s: f64,
    /// When the last one that failed had started.
    pub to_s: f64,
    /// How many arrivals failed.
    pub failed: u64,
}

/// The arrivals on one side of an event: those that were due in this time, and how they ended, whenever that was. To a tenth of a
/// second, of which the one in which the event started belongs to the side after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventSide")]
pub struct StoredEventSide {
    /// From when on.
    pub from_s: f64,
    /// Until when.
    pub to_s: f64,
    /// Arrivals that were due: the sum of the others.
    pub offered: u64,
    /// Arrivals that ended well.
    pub accepted: u64,
    /// Refusals that the profile expects.
    pub expected: u64,
    /// Ended by a 4yz reply.
    pub deferred: u64,
    /// Ended by a 5yz reply.
    pub rejected: u64,
    /// There was no session.
    pub refused: u64,
    /// The connection was lost.
    pub dropped: u64,
    /// A time-out passed.
    pub timed_out: u64,
    /// Lost between the final dot and its reply.
    pub in_doubt: u64,
    /// The listener broke the protocol.
    pub malformed: u64,
    /// Still in flight when the run ended.
    pub interrupted: u64,
    /// Never started.
    pub shed: u64,
    /// What became of what was accepted in this time, behind the relay; absent without a receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<StoredSideDelivery>,
}

/// What became of the recipients that were accepted on one side of an event: `accepted_recipients = delivered + bounced + missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventSideDelivery")]
pub struct StoredSideDelivery {
    /// Recipients that the relay accepted.
    pub accepted_recipients: u64,
    /// Those that came out, whenever that was.
    pub delivered: u64,
    /// Those that a notification reported as failed before anything came out.
    pub bounced: u64,
    /// Those of which nothing was seen.
    pub missing: u64,
}
