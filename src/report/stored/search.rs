//! The results of searches in their stored form: limits and capacities. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gives each variant of a plain enum its stored name, as text.
macro_rules! named {
    ($type:ident { $($variant:ident => $name:literal),* $(,)? }) => {
        impl $type {
            /// Returns the stored name.
            pub const fn as_str(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(super) use named;

/// The result of one limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Limit")]
pub struct StoredLimit {
    /// The condition that shows the limit. A suffix names the kind, as in `line-too-long.command`.
    pub name: String,
    /// The largest value that was served; `null` if it is not known exactly.
    pub value: Option<u64>,
    /// The largest value that is known to be served.
    pub at_least: Option<u64>,
    /// The largest value that can be served, as far as it is known.
    pub at_most: Option<u64>,
    /// The unit: `sessions`, `messages`, `bytes`, `ms`, ...
    pub unit: String,
    /// The value that the administrator configured.
    pub expected: Option<u64>,
    /// The result.
    pub verdict: StoredLimitVerdict,
    /// How the listener showed the limit.
    pub shown_by: Option<StoredShownBy>,
    /// The reply.
    pub reply: Option<String>,
    /// The reply's code.
    pub code: Option<u16>,
    /// The reply's enhanced code.
    pub enhanced: Option<String>,
    /// The condition that the reply means.
    pub condition: Option<String>,
    /// The step at which the limit showed.
    pub step: Option<String>,
    /// Whether the listener closed the connection with the refusal.
    pub closed: Option<bool>,
    /// Whether the open sessions were still served while the limit refused others.
    pub inside_alive: Option<bool>,
    /// How long after the close of a session a new one was served; `null` if none was, or if it was not tried.
    pub release_ms: Option<f64>,
    /// The number of trials.
    pub trials: u64,
    /// How many repeats had the same result.
    pub repeats: u64,
    /// The number of repeats.
    #[serde(default)]
    pub looked: u64,
    /// Why the value is not exact.
    #[serde(default)]
    pub inexact: Option<String>,
    /// For limits by time: the length of the window, or the time until one more is served.
    #[serde(default)]
    pub window_ms: Option<f64>,
    /// How long the listener held back its reply to the last error before the limit (a tarpit).
    #[serde(default)]
    pub delay_ms: Option<f64>,
    /// More remarks, in words.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// The result of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LimitVerdict")]
pub enum StoredLimitVerdict {
    /// The limit is enforced at the expected value.
    AsExpected,
    /// The limit is enforced at another value.
    Differs,
    /// The limit was not reached up to the highest value tried.
    NotReached,
    /// The limit is enforced at changing values.
    Unstable,
    /// More than the configured value is served.
    NotEnforced,
    /// The listener serves a value that is unsafe.
    Unsafe,
    /// The limit was found, and no value was expected.
    Found,
    /// Another obstacle prevented the measurement.
    #[default]
    Obstructed,
}

/// How the listener showed a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ShownBy")]
pub enum StoredShownBy {
    /// A reply.
    Reply,
    /// A reset.
    Reset,
    /// An orderly close without a reply.
    Close,
    /// A greeting, or another reply, did not come.
    NoGreeting,
    /// The connection was not established.
    NoConnect,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Trial")]
pub struct StoredTrial {
    /// The number of the trial, from 1.
    pub number: usize,
    /// The load, in the unit of the goals' bounds.
    pub load: f64,
    /// The intended length in seconds.
    pub length_s: f64,
    /// The purpose: `start`, `down`, `double`, `bisect`, `classify` or `confirm`.
    pub why: String,
    /// When the trial began, since the start of the search.
    pub began_s: f64,
    /// Whether the trial was ended early, because no goal could be met any more.
    pub ended_early: bool,
    /// Why the trial describes the generator rather than the listener, by name and in a sentence. Such a trial counts
    /// for no goal.
    pub invalid: Vec<StoredTrialFault>,
    /// Arrivals that were scheduled.
    pub scheduled: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that were accepted.
    pub accepted: u64,
    /// Arrivals that never started.
    pub shed: u64,
    /// Scheduled arrivals for each second.
    pub offered_per_s: f64,
    /// Accepted arrivals for each second.
    pub accepted_per_s: f64,
    /// The average number of arrivals in flight.
    pub concurrency: f64,
    /// The most sessions open at once.
    pub peak_sessions: u64,
    /// The median of the response times of accepted arrivals; `null` if there are too few.
    pub p50_ns: Option<u64>,
    /// The 90th percentile of these response times.
    pub p90_ns: Option<u64>,
    /// The 99th percentile of these response times.
    pub p99_ns: Option<u64>,
    /// The longest of these response times.
    pub max_ns: Option<u64>,
    /// How the number of unfinished arrivals grew. `null` if that was not asked, or if the trial is invalid, cut short,
    /// or too short for any answer.
    #[serde(default)]
    pub backlog: Option<StoredBacklogGrowth>,
    /// The deliveries of the relay; `null` without a receiver behind it.
    #[serde(default)]
    pub delivery: Option<StoredTrialDelivery>,
    /// Whether each goal was met, in the order of the goals. Empty if the trial is invalid.
    pub goals: Vec<StoredGoalVerdict>,
    /// The conditions of failures and expected refusals.
    pub conditions: Vec<StoredTrialCondition>,
    /// How long after the trial the listener took to be as fast as before the search; `null` if the search did not wait
    /// for it.
    pub cooldown_s: Option<f64>,
    /// Whether the listener did not become as fast again within the allowed time.
    pub backlog_left: bool,
}

/// The deliveries of the relay in a trial, counted in recipients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TrialDelivery")]
pub struct StoredTrialDelivery {
    /// Recipients that the relay accepted.
    pub accepted: u64,
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
    /// Delivered messages that belong to another trial or to no trial.
    pub foreign: u64,
    /// Recipients in the relay's queue when the load ended.
    pub queued_at_end: u64,
    /// The most recipients in the relay's queue.
    pub queued_max: u64,
    /// The time from the last accepted message to the last delivery; `null` if there was no accepted message or no
    /// delivery.
    pub drain_s: Option<f64>,
    /// Whether deliveries still came when the wait for them ended.
    pub is_queue_left: bool,
    /// How the relay's queue grew; `null` as for the backlog.
    pub queue_growth: Option<StoredBacklogGrowth>,
    /// How far the accepted load fell behind the offered load; `null` as for the backlog.
    pub shortfall: Option<StoredBacklogGrowth>,
    /// The assertions about these counts that failed, with the observed values.
    pub failed: Vec<String>,
}

/// A reason why a trial is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TrialFault")]
pub struct StoredTrialFault {
    /// The name: `generator-lag`, `own-resource`, ...
    pub code: String,
    /// The reason in a sentence.
    pub sentence: String,
}

/// A condition that occurred in a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TrialCondition")]
pub struct StoredTrialCondition {
    /// The condition.
    pub condition: String,
    /// The step at which it occurred.
    pub step: String,
    /// The reply's code; `null` without a reply.
    pub code: Option<u16>,
    /// How often it occurred.
    pub count: u64,
    /// Whether the profile expects it.
    pub expected: bool,
    /// The first reply of this kind, cut to a maximum length.
    pub sample: String,
}

/// The result of a trial for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "GoalVerdict")]
pub struct StoredGoalVerdict {
    /// Whether the goal was met, the load was sustained, and the relay delivered everything.
    pub good: bool,
    /// Bad arrivals: not accepted, or too slow. In a trial that was ended early, those known by then.
    pub bad: u64,
    /// Bad arrivals that were not accepted.
    pub failed: u64,
    /// Bad arrivals as a share of all scheduled arrivals.
    pub bad_share: f64,
    /// Whether the goal was met but the trial is bad, because its backlog or the relay's queue grew, or too little was
    /// accepted.
    #[serde(default)]
    pub unsustained: bool,
    /// Whether the goal was met but the trial is bad because of the relay's deliveries.
    #[serde(default)]
    pub undelivered: bool,
}

/// The growth of a backlog or a queue, in arrivals or recipients a second, with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BacklogGrowth")]
pub struct StoredBacklogGrowth {
    /// The growth.
    pub per_s: f64,
    /// The lower end of the interval.
    pub low_per_s: f64,
    /// The upper end of the interval.
    pub high_per_s: f64,
    /// What the growth says about the load.
    pub verdict: StoredSustained,
    /// The length of a trial that would decide, approximately; `null` if this trial decides.
    pub needed_s: Option<f64>,
}

/// What the backlog says about a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Sustained")]
pub enum StoredSustained {
    /// The backlog does not grow by more than about 1 % of the load.
    Sustained,
    /// The backlog grows: the lower end of the interval is above 1 % of the load.
    Unsustained,
    /// The trial is too short to decide: the interval includes 1 % of the load and is wider than 2 % of the load.
    Undecided,
}

/// The latency at a share of the capacity, from the trial with the nearest load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Latency")]
pub struct StoredLatency {
    /// The requested share.
    pub share: f64,
    /// The load of the trial.
    pub load: f64,
    /// The median of the response times of accepted arrivals.
    pub p50_ns: Option<u64>,
    /// The 99th percentile of these response times.
    pub p99_ns: Option<u64>,
}

/// The lowest load at which a condition occurred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Onset")]
pub struct StoredOnset {
    /// The lowest load at which it occurred.
    pub from: f64,
    /// The largest lower load that was tried without it; `null` if there is none.
    pub not_at: Option<f64>,
    /// The condition at that load. The count is that of the trial.
    pub met: StoredTrialCondition,
}

named!(StoredLimitVerdict {
    AsExpected => "as-expected", Differs => "differs", NotReached => "not-reached", Unstable => "unstable",
    NotEnforced => "not-enforced", Unsafe => "unsafe", Found => "found", Obstructed => "obstructed",
});

named!(StoredSustained {
    Sustained => "sustained", Unsustained => "unsustained", Undecided => "undecided",
});

named!(StoredShownBy {
    Reply => "reply", Reset => "reset", Close => "close", NoGreeting => "no-greeting", NoConnect => "no-connect",
});

/// The result of a capacity search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// The parameter that was varied: `rate`, `sessions` or `size`.
    pub by: String,
    /// The result for each goal.
    pub goals: Vec<CapacityGoal>,
    /// The trials, in order.
    pub trials: Vec<StoredTrial>,
    /// The intended gap between the bounds, as a share of the upper one.
    #[serde(default)]
    pub width: f64,
    /// How the whole search ended.
    #[serde(default)]
    pub ended: CapacityEnd,
    /// Why the search ended early, in a sentence.
    #[serde(default)]
    pub ended_by: Option<String>,
    /// The highest load at which the generator is trusted; `null` if no such figure was used.
    #[serde(default)]
    pub ceiling: Option<f64>,
    /// The median of the response times of an idle listener, before the first trial.
    #[serde(default)]
    pub base_ns: Option<u64>,
    /// The lowest load at which each condition occurred, in ascending order.
    #[serde(default)]
    pub onsets: Vec<StoredOnset>,
}

/// The result for one goal. The capacity lies between the bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CapacityGoal {
    /// The name of the goal.
    pub name: String,
    /// The highest load that is known to meet the goal.
    pub lower: Option<f64>,
    /// The lowest load that is known to miss the goal.
    pub upper: Option<f64>,
    /// The unit of both bounds.
    pub unit: String,
    /// How the search ended.
    pub status: CapacityStatus,
    /// The objective as it was written.
    #[serde(default)]
    pub objective: String,
    /// The share of arrivals that need not be accepted.
    #[serde(default)]
    pub failures: f64,
    /// The conditional throughput at the lower bound (RFC 9971): the load without its bad arrivals.
    #[serde(default)]
    pub throughput: Option<f64>,
    /// Whether a long trial confirmed the lower bound.
    #[serde(default)]
    pub confirmed: bool,
    /// Whether loads above the upper bound met the goal. Then the results are inverted, and the bounds are those of the
    /// first miss.
    #[serde(default)]
    pub inverted: bool,
    /// Whether the load at the lower bound can be sustained, by its longest trial; `null` if that was not asked.
    #[serde(default)]
    pub sustained: Option<StoredSustained>,
    /// The first cause of the bound: time, failures (and which), a growing backlog or queue, or deliveries.
    #[serde(default)]
    pub bound_by: Option<String>,
    /// Notes on the result, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The latency at 10, 50 and 90 % of the lower bound, if there was a trial near that load.
    #[serde(default)]
    pub latency: Vec<StoredLatency>,
}

/// How a capacity search ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityEnd {
    /// The search reached its result.
    #[default]
    Complete,
    /// The time of the search was used up.
    Deadline,
    /// The user stopped the search.
    Interrupted,
    /// The user's command between the trials failed.
    HookFailed,
    /// The relay did not deliver what it had accepted, so that further trials would have no meaning.
    Undelivered,
}

/// The status of the result for one goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityStatus {
    /// Both bounds are known and close enough, and a long trial confirmed the lower bound.
    Found,
    /// The generator reached its own maximum.
    GeneratorLimited,
    /// The highest allowed load still met the goal.
    MaxReached,
    /// The bounds are not known, or the lower bound is not confirmed.
    Inconclusive,
}

named!(CapacityStatus {
    Found => "found", GeneratorLimited => "generator-limited", MaxReached => "max-reached", Inconclusive => "inconclusive",
});
