//! The trials of a capacity search as a curve, for a chart.

use serde::Serialize;

use crate::report::format;
use crate::report::stored::{Capacity, RunResult};

/// The trials as a curve by load, for a chart. Times are in milliseconds.
#[derive(Debug, Serialize)]
pub struct TrialCurve {
    by: String,
    load: Vec<f64>,
    accepted: Vec<f64>,
    p50: Vec<Option<f64>>,
    p99: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
    /// The growth of the backlog in 1/s, 0 if it shrank; `null` if it was not measured.
    growth: Vec<Option<f64>>,
    /// The growth of the relay's queue in 1/s, in the same form; empty without a receiver.
    queue: Vec<Option<f64>>,
    /// The name and the bounds of each goal.
    goals: Vec<(String, Option<f64>, Option<f64>)>,
}

/// Returns the curve of the valid trials.
pub fn curve(result: &RunResult) -> Option<TrialCurve> {
    let capacity: &Capacity = result.capacity.as_ref()?;
    let mut trials: Vec<_> = capacity.trials.iter().filter(|trial| trial.invalid.is_empty()).collect();
    if trials.is_empty() {
        return None;
    }
    trials.sort_by(|one, other| one.load.total_cmp(&other.load).then(one.number.cmp(&other.number)));
    let ms = |ns: Option<u64>| ns.map(|ns| ns as f64 / 1e6);
    Some(TrialCurve {
        by: format::harmless(&capacity.by),
        load: trials.iter().map(|trial| trial.load).collect(),
        accepted: trials.iter().map(|trial| trial.accepted_per_s).collect(),
        p50: trials.iter().map(|trial| ms(trial.p50_ns)).collect(),
        p99: trials.iter().map(|trial| ms(trial.p99_ns)).collect(),
        max: trials.iter().map(|trial| ms(trial.max_ns)).collect(),
        growth: trials.iter().map(|trial| trial.backlog.map(|backlog| backlog.per_s.max(0.0))).collect(),
        queue: match trials.iter().any(|trial| trial.delivery.is_some()) {
            true => trials
                .iter()
                .map(|trial| trial.delivery.as_ref()?.queue_growth.map(|growth| growth.per_s.max(0.0)))
                .collect(),
            false => Vec::new(),
        },
        goals: capacity
            .goals
            .iter()
            .map(|goal| (format::harmless(&goal.name), goal.lower, goal.upper))
            .collect(),
    })
}
