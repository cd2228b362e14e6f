//! What searches found, as it is stored: limits and capacities. Part of [`RunResult`](super::RunResult).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use crate::experiment::limit::finding::named;

pub use crate::experiment::limit::finding::{Finding as Limit, ShownBy, Verdict as LimitVerdict};

/// The capacity that was looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// What was raised: `rate` or `sessions`.
    pub by: String,
    /// What was found, goal by goal.
    pub goals: Vec<CapacityGoal>,
    /// The trials, in order.
    pub trials: Vec<serde_json::Value>,
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
