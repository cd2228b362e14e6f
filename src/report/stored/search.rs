//! What searches found, as it is stored: limits and capacities. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gives each variant of a plain enum its stored name, for text.
macro_rules! named {
    ($type:ident { $($variant:ident => $name:literal),* $(,)? }) => {
        impl $type {
            /// The name, as it is stored.
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
    /// The condition that shows it; behind a dot, of which kind it is, as in `line-too-long.command`.
    pub name: String,
    /// The largest that was still served; `null` if that is not known to the unit.
    pub value: Option<u64>,
    /// The largest known to be served.
    pub at_least: Option<u64>,
    /// The largest that can be served, as far as known.
    pub at_most: Option<u64>,
    /// What is counted: `sessions`, `messages`, `bytes`, `ms`, ...
    pub unit: String,
    /// What the administrator configured.
    pub expected: Option<u64>,
    /// The result.
    pub verdict: StoredLimitVerdict,
    /// How the listener showed it.
    pub shown_by: Option<StoredShownBy>,
    /// The reply as it came.
    pub reply: Option<String>,
    /// The reply's code.
    pub code: Option<u16>,
    /// The reply's enhanced code.
    pub enhanced: Option<String>,
    /// What it means.
    pub condition: Option<String>,
    /// Where it showed.
    pub step: Option<String>,
    /// Whether the listener closed the connection with it.
    pub closed: Option<bool>,
    /// Whether the open sessions were still served while the limit refused others.
    pub inside_alive: Option<bool>,
    /// How long after a session was closed a new one was served; `null`: it never was, or it was not tried.
    pub release_ms: Option<f64>,
    /// Trials made.
    pub trials: u64,
    /// How often the result was the same.
    pub repeats: u64,
    /// How often it was repeated.
    #[serde(default)]
    pub looked: u64,
    /// Why the value is not exact.
    #[serde(default)]
    pub inexact: Option<String>,
    /// Limits by time: how long the window is, or how long until one more is served.
    #[serde(default)]
    pub window_ms: Option<f64>,
    /// How long the listener held back its reply to the last error before the limit (a tarpit).
    #[serde(default)]
    pub delay_ms: Option<f64>,
    /// What else is to be known, in words.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// The result of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LimitVerdict")]
pub enum StoredLimitVerdict {
    /// It is enforced where it was expected.
    AsExpected,
    /// It is enforced elsewhere.
    Differs,
    /// It was not met up to the highest value tried.
    NotReached,
    /// It is enforced at different values.
    Unstable,
    /// More than was configured is served.
    NotEnforced,
    /// What is served here does harm.
    Unsafe,
    /// It was found; nothing was expected of it.
    Found,
    /// Something else was in the way, and nothing is known.
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
    /// A greeting, or another reply, that never came.
    NoGreeting,
    /// A connection that was never established.
    NoConnect,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Trial")]
pub struct StoredTrial {
    /// Its number, from 1.
    pub number: usize,
    /// The load, in the unit of the goals' bounds.
    pub load: f64,
    /// Its intended length.
    pub length_s: f64,
    /// Why it was made: `start`, `down`, `double`, `bisect`, `classify` or `confirm`.
    pub why: String,
    /// When it began, since the search began.
    pub began_s: f64,
    /// It was ended as soon as no goal could be met any more.
    pub ended_early: bool,
    /// Why it says more about the generator than about the listener, by name and in a sentence; then it counts for no goal.
    pub invalid: Vec<StoredTrialFault>,
    /// Arrivals that were scheduled.
    pub scheduled: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that were accepted.
    pub accepted: u64,
    /// Arrivals that were never started.
    pub shed: u64,
    /// Arrivals that were scheduled, a second.
    pub offered_per_s: f64,
    /// Arrivals that were accepted, a second.
    pub accepted_per_s: f64,
    /// Arrivals in flight, on average.
    pub concurrency: f64,
    /// The most sessions open at once.
    pub peak_sessions: u64,
    /// The median of the response times of accepted arrivals; `null` where there are too few to say.
    pub p50_ns: Option<u64>,
    /// Their 90th percentile.
    pub p90_ns: Option<u64>,
    /// Their 99th percentile.
    pub p99_ns: Option<u64>,
    /// The longest of them.
    pub max_ns: Option<u64>,
    /// How the arrivals that were not finished grew in number; `null`: that was not asked, or the trial is invalid, cut short, or too
    /// short for any answer.
    #[serde(default)]
    pub backlog: Option<StoredBacklogGrowth>,
    /// What came out of the relay; `null`: no receiver stood behind it.
    #[serde(default)]
    pub delivery: Option<StoredTrialDelivery>,
    /// By goal, in their order: whether it was met. Empty if the trial is invalid.
    pub goals: Vec<StoredGoalVerdict>,
    /// What failures and expected refusals meant.
    pub conditions: Vec<StoredTrialCondition>,
    /// How long the listener took, after the trial, to be as fast as before the search; `null`: it was not waited for.
    pub cooldown_s: Option<f64>,
    /// It did not come back to that within the time allowed.
    pub backlog_left: bool,
}

/// What came out of the relay in a trial, in recipients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TrialDelivery")]
pub struct StoredTrialDelivery {
    /// Those that the relay accepted.
    pub accepted: u64,
    /// Those that came out.
    pub delivered: u64,
    /// Those that a notification reported as failed, and that did not come out.
    pub bounced: u64,
    /// Those of which nothing was seen when the wait ended.
    pub missing: u64,
    /// Deliveries beyond the first of a recipient.
    pub duplicated: u64,
    /// Those that came out with a change.
    pub altered: u64,
    /// Those that came out although they were refused.
    pub unexpected: u64,
    /// Messages that came out and are of another trial, or of none.
    pub foreign: u64,
    /// Those in the relay's queue when the load ended.
    pub queued_at_end: u64,
    /// The most in its queue.
    pub queued_max: u64,
    /// From the last accepted message to the last delivery; `null`: one of both was never seen.
    pub drain_s: Option<f64>,
    /// The wait for deliveries was over, and they still came out.
    pub is_queue_left: bool,
    /// How the relay's queue grew; `null`: as of the backlog.
    pub queue_growth: Option<StoredBacklogGrowth>,
    /// By how much the relay accepted less than was offered; `null`: as of the backlog.
    pub shortfall: Option<StoredBacklogGrowth>,
    /// The assertions about these counts that do not hold, with what was found.
    pub failed: Vec<String>,
}

/// A reason why a trial is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TrialFault")]
pub struct StoredTrialFault {
    /// `generator-lag`, `own-resource`, ...
    pub code: String,
    /// In a sentence.
    pub sentence: String,
}

/// A condition that was met in a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TrialCondition")]
pub struct StoredTrialCondition {
    /// What it means.
    pub condition: String,
    /// Where it showed.
    pub step: String,
    /// The reply's code; `null` if it was no reply.
    pub code: Option<u16>,
    /// How often.
    pub count: u64,
    /// The profile expects it.
    pub expected: bool,
    /// The first reply of this kind, cut to some length.
    pub sample: String,
}

/// What a trial says about a goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "GoalVerdict")]
pub struct StoredGoalVerdict {
    /// The goal was met, the load lasts, and everything came out of the relay.
    pub good: bool,
    /// Arrivals that were bad: not accepted, or too slow. In a trial that was ended early, those known by then.
    pub bad: u64,
    /// Those of them that were not accepted.
    pub failed: u64,
    /// The bad ones as a share of all that were scheduled.
    pub bad_share: f64,
    /// The goal was met, and the trial is bad because its backlog or the relay's queue grew, or too little was accepted.
    #[serde(default)]
    pub unsustained: bool,
    /// The goal was met, and the trial is bad because of what came out of the relay, or did not.
    #[serde(default)]
    pub undelivered: bool,
}

/// How a backlog or a queue grew, in arrivals or recipients a second, with the interval that holds the truth in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BacklogGrowth")]
pub struct StoredBacklogGrowth {
    /// The growth.
    pub per_s: f64,
    /// The lower end.
    pub low_per_s: f64,
    /// The upper end.
    pub high_per_s: f64,
    /// What that says about the load.
    pub verdict: StoredSustained,
    /// A trial of about this length would decide; `null` where this one does.
    pub needed_s: Option<f64>,
}

/// What the backlog says about a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Sustained")]
pub enum StoredSustained {
    /// It does not grow.
    Sustained,
    /// The lower end of its growth is above 1 % of the load.
    Unsustained,
    /// The interval is wider than 2 % of the load: the trial is too short to say.
    Undecided,
}

/// The latency at a share of the capacity, from the trial whose load is nearest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Latency")]
pub struct StoredLatency {
    /// The share that was looked for.
    pub share: f64,
    /// The load of the trial.
    pub load: f64,
    /// The median of the response times of accepted arrivals.
    pub p50_ns: Option<u64>,
    /// Their 99th percentile.
    pub p99_ns: Option<u64>,
}

/// Where a condition was met first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Onset")]
pub struct StoredOnset {
    /// The lowest load at which it was met.
    pub from: f64,
    /// The greatest load below that was tried without meeting it; `null`: there is none.
    pub not_at: Option<f64>,
    /// What was met there; the count is of the trial.
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

/// The capacity that was looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// What was raised: `rate`, `sessions` or `size`.
    pub by: String,
    /// What was found, goal by goal.
    pub goals: Vec<CapacityGoal>,
    /// The trials, in order.
    pub trials: Vec<StoredTrial>,
    /// How close the bounds were to come: the gap as a share of the upper one.
    #[serde(default)]
    pub width: f64,
    /// How the whole search ended.
    #[serde(default)]
    pub ended: CapacityEnd,
    /// Why it ended before its end, in a sentence.
    #[serde(default)]
    pub ended_by: Option<String>,
    /// The generator is trusted up to this load; `null`: no such figure was used.
    #[serde(default)]
    pub ceiling: Option<f64>,
    /// The median of the response times of an idle listener, before the first trial.
    #[serde(default)]
    pub base_ns: Option<u64>,
    /// Where each condition was met first, the lowest load first.
    #[serde(default)]
    pub onsets: Vec<StoredOnset>,
}

/// What was found for one goal: the capacity lies between the bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CapacityGoal {
    /// The goal's name.
    pub name: String,
    /// The highest load that is known to meet the goal.
    pub lower: Option<f64>,
    /// The lowest load that is known to miss it.
    pub upper: Option<f64>,
    /// The unit of both.
    pub unit: String,
    /// How the search ended.
    pub status: CapacityStatus,
    /// What it asks, as it was written.
    #[serde(default)]
    pub objective: String,
    /// The share of arrivals that need not be accepted.
    #[serde(default)]
    pub failures: f64,
    /// The conditional throughput at the lower bound (RFC 9971): the load less what was bad there.
    #[serde(default)]
    pub throughput: Option<f64>,
    /// The lower bound was confirmed by a long trial.
    #[serde(default)]
    pub confirmed: bool,
    /// Loads above the upper bound met the goal: the results are inverted, and the bounds those of the first miss.
    #[serde(default)]
    pub inverted: bool,
    /// Whether the lower bound lasts, by its longest trial; `null`: that was not asked.
    #[serde(default)]
    pub sustained: Option<StoredSustained>,
    /// What bound first: time, failures (and which), a backlog or queue that grows, or deliveries.
    #[serde(default)]
    pub bound_by: Option<String>,
    /// What is to be known of the result, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The latency at 10, 50 and 90 % of the lower bound, where a trial was near.
    #[serde(default)]
    pub latency: Vec<StoredLatency>,
}

/// How a capacity search came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityEnd {
    /// It had nothing more to ask.
    #[default]
    Complete,
    /// Its time was up.
    Deadline,
    /// The user stopped it.
    Interrupted,
    /// The user's command between the trials failed.
    HookFailed,
    /// The relay did not hand on what it had accepted, so that no further trial would have meant anything.
    Undelivered,
}

/// How a capacity search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityStatus {
    /// Both bounds are known.
    Found,
    /// The generator could do no more.
    GeneratorLimited,
    /// The highest load allowed still met the goal.
    MaxReached,
    /// It did not settle.
    Inconclusive,
}

named!(CapacityStatus {
    Found => "found", GeneratorLimited => "generator-limited", MaxReached => "max-reached", Inconclusive => "inconclusive",
});
