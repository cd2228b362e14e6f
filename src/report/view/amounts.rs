//! Amounts with their units: the value of a limit, the bounds of a capacity, the CPU of the generator.

use crate::report::format;
use crate::report::stored::{CapacityGoal, Generator, StoredLimit};

/// Returns the share of its CPU that the generator used: `31 % of 2 threads`, or `31 % of 1.5 cores for 2 threads` if there
/// are fewer cores than threads.
pub fn cpu(own: &Generator) -> String {
    let share = format::percent(own.cpu_share);
    match own.threads {
        0 => share,
        threads if own.allowed_cores > 0.0 && own.allowed_cores < f64::from(threads) => {
            let cores = format!("{:.2}", own.allowed_cores);
            let cores = cores.trim_end_matches('0').trim_end_matches('.');
            let noun = if cores == "1" { "core" } else { "cores" };
            format!("{share} of {cores} {noun} for {}", format::counted(threads.into(), "thread"))
        }
        threads => format!("{share} of {}", format::counted(threads.into(), "thread")),
    }
}

/// Returns the value of a limit: a number, a range, or a bound, with its unit.
pub fn limit_found(limit: &StoredLimit) -> String {
    match (limit.value, limit.at_least, limit.at_most) {
        (Some(value), ..) => limit_amount(limit, value),
        (None, Some(low), Some(high)) => format!("{} to {}", format::count(low), limit_amount(limit, high)),
        (None, Some(low), None) => format!(">= {}", limit_amount(limit, low)),
        (None, None, Some(high)) => format!("<= {}", limit_amount(limit, high)),
        (None, None, None) => "unknown".to_owned(),
    }
}

/// Returns a value in the unit of a limit.
pub fn limit_amount(limit: &StoredLimit, value: u64) -> String {
    match limit.unit.as_str() {
        "ms" => format::duration(value as f64 * 1e6),
        "reply" => format!("{value:03}"),
        unit if unit.ends_with(" a minute") => format!("{}/min", format::count(value)),
        unit => format!("{} {}", format::count(value), format::harmless(unit)),
    }
}

/// Returns the bounds of a capacity, with their unit.
pub fn capacity_found(goal: &CapacityGoal) -> String {
    let unit = format::harmless(&goal.unit);
    match (goal.lower, goal.upper) {
        (Some(lower), Some(upper)) => format!("{lower:.1} to {upper:.1} {unit}"),
        (Some(lower), None) => format!(">= {lower:.1} {unit}"),
        (None, Some(upper)) => format!("< {upper:.1} {unit}"),
        (None, None) => "n/a".to_owned(),
    }
}
