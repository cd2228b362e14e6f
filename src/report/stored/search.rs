//! What searches found, as it is stored: limits and capacities. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::experiment::capacity::describe::{Latency, Onset};
use crate::experiment::capacity::record::TrialRecord;
pub(super) use crate::experiment::limit::finding::named;

pub use crate::experiment::limit::finding::{Finding as Limit, ShownBy, Verdict as LimitVerdict};

/// The capacity that was looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// What was raised: `rate`, `sessions` or `size`.
    pub by: String,
    /// What was found, goal by goal.
    pub goals: Vec<CapacityGoal>,
    /// The trials, in order.
    pub trials: Vec<TrialRecord>,
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
    pub onsets: Vec<Onset>,
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
    /// What bound first: time or failures, and which.
    #[serde(default)]
    pub bound_by: Option<String>,
    /// What is to be known of the result, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The latency at 10, 50 and 90 % of the lower bound, where a trial was near.
    #[serde(default)]
    pub latency: Vec<Latency>,
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
