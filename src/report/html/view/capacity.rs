//! What a search for the capacity found: the bounds of each goal, its trials, and where conditions set in.

use serde::Serialize;

use super::{Cell, Table};
use crate::report::format;
use crate::report::stored::{Capacity, CapacityStatus, RunResult};
use crate::report::terminal::capacity::{facts, load};

/// What was found of each goal.
pub fn capacity(result: &RunResult) -> Table {
    let mut table = Table::new(["goal", "asks", "capacity", "how the search ended", "to be known"]);
    let Some(capacity) = &result.capacity else { return table };
    for (i, goal) in capacity.goals.iter().enumerate() {
        let class = match goal.status {
            CapacityStatus::Found => "good",
            CapacityStatus::Inconclusive => "bad",
            CapacityStatus::GeneratorLimited | CapacityStatus::MaxReached => "warn",
        };
        let asks = format!("{}, at most {} not accepted", goal.objective, format::percent(goal.failures));
        table.rows.push(vec![
            Cell::stored(&goal.name, format!("/capacity/goals/{i}/name")),
            Cell::text(if goal.objective.is_empty() { String::new() } else { asks }).class("code"),
            Cell::text(format::capacity_found(goal)).class("figure"),
            Cell::stored(goal.status.as_str(), format!("/capacity/goals/{i}/status")).class(class),
            Cell::text(facts(capacity, goal).join("; ")),
        ]);
    }
    table
}

/// What else is to be known of the search: why it ended early, and which trials count for nothing.
pub fn remarks(result: &RunResult) -> Vec<String> {
    let Some(capacity) = &result.capacity else { return Vec::new() };
    let mut remarks: Vec<String> = capacity.ended_by.iter().map(|why| format::harmless(why)).collect();
    for trial in &capacity.trials {
        for reason in &trial.invalid {
            let text = format::harmless(&reason.sentence);
            remarks.push(format!(
                "trial {} counts for nothing ({}): {text}",
                trial.number,
                format::harmless(&reason.code)
            ));
        }
    }
    remarks
}

/// The trials in their order.
pub fn trials(result: &RunResult) -> Table {
    let Some(capacity) = &result.capacity else { return Table::default() };
    let titles =
        ["trial", capacity.by.as_str(), "for", "due", "accepted", "not accepted", "p50", "p90", "p99", "max"];
    let goals = capacity.goals.iter().map(|goal| format::harmless(&goal.name));
    let titles = titles.into_iter().map(format::harmless).chain(goals).chain(["sessions at most".to_owned()]);
    let mut table = Table::new(titles);
    for (i, trial) in capacity.trials.iter().enumerate() {
        let at = |field: &str| format!("/capacity/trials/{i}/{field}");
        let time = |ns: Option<u64>, field: &str| match ns {
            Some(ns) => Cell::duration(ns, at(field)),
            None => Cell::number("n/a").class("number quiet"),
        };
        let missed = trial.scheduled.saturating_sub(trial.accepted);
        let why = if trial.ended_early { format!("{}, cut short", trial.why) } else { trial.why.clone() };
        let mut row = vec![
            Cell::number(trial.number.to_string()),
            Cell::number(load(capacity, trial.load)).class("figure"),
            Cell::text(why),
            Cell::count(trial.scheduled, at("scheduled")),
            Cell::rate(trial.accepted_per_s, at("accepted_per_s")),
            Cell::number(format::share(missed, trial.scheduled)),
            time(trial.p50_ns, "p50_ns"),
            time(trial.p90_ns, "p90_ns"),
            time(trial.p99_ns, "p99_ns"),
            time(trial.max_ns, "max_ns"),
        ];
        row.extend((0..capacity.goals.len()).map(|goal| match trial.goals.get(goal) {
            Some(verdict) if verdict.good => Cell::text("met").class("good"),
            Some(_) => Cell::text("missed").class("bad"),
            None => Cell::text("invalid").class("warn"),
        }));
        row.push(Cell::count(trial.peak_sessions, at("peak_sessions")));
        table.rows.push(row);
    }
    table
}

/// Where each condition was met first.
pub fn onsets(result: &RunResult) -> Table {
    let mut table = Table::new(["condition", "from", "not at", "at step", "times there", "reply"]);
    let Some(capacity) = &result.capacity else { return table };
    for onset in &capacity.onsets {
        let expected = if onset.met.expected { " (expected)" } else { "" };
        table.rows.push(vec![
            Cell::text(format!("{}{expected}", onset.met.condition)).class(if onset.met.expected {
                "good"
            } else {
                "bad"
            }),
            Cell::number(load(capacity, onset.from)),
            Cell::number(onset.not_at.map(|below| load(capacity, below)).unwrap_or_default()),
            Cell::text(&onset.met.step),
            Cell::number(format::count(onset.met.count)),
            Cell::text(format::cut(&onset.met.sample, 200)).class("code"),
        ]);
    }
    table
}

/// The trials as a curve by load, for a chart; times in milliseconds.
#[derive(Debug, Serialize)]
pub struct Curve {
    by: String,
    load: Vec<f64>,
    accepted: Vec<f64>,
    p50: Vec<Option<f64>>,
    p99: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
    /// By goal: name and bounds.
    goals: Vec<(String, Option<f64>, Option<f64>)>,
}

/// The curve of the trials that count.
pub fn curve(result: &RunResult) -> Option<Curve> {
    let capacity: &Capacity = result.capacity.as_ref()?;
    let mut trials: Vec<_> = capacity.trials.iter().filter(|trial| trial.invalid.is_empty()).collect();
    if trials.is_empty() {
        return None;
    }
    trials.sort_by(|one, other| one.load.total_cmp(&other.load).then(one.number.cmp(&other.number)));
    let ms = |ns: Option<u64>| ns.map(|ns| ns as f64 / 1e6);
    Some(Curve {
        by: format::harmless(&capacity.by),
        load: trials.iter().map(|trial| trial.load).collect(),
        accepted: trials.iter().map(|trial| trial.accepted_per_s).collect(),
        p50: trials.iter().map(|trial| ms(trial.p50_ns)).collect(),
        p99: trials.iter().map(|trial| ms(trial.p99_ns)).collect(),
        max: trials.iter().map(|trial| ms(trial.max_ns)).collect(),
        goals: capacity
            .goals
            .iter()
            .map(|goal| (format::harmless(&goal.name), goal.lower, goal.upper))
            .collect(),
    })
}
