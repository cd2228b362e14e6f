//! Describes more results of a search than its bounds: why a goal was missed, at which load each condition first occurred,
//! and how the latency grew. It decides nothing.

use super::record::{SearchState, TrialCondition, TrialRecord};
use super::search_plan::CapacityPlan;
use super::sustained::BacklogGrowth;

/// The shares of a capacity at which the latency is reported.
const SHARES: [f64; 3] = [0.1, 0.5, 0.9];
/// A trial is used for a share if its load differs from that share of the capacity by at most this factor.
const NEAR: f64 = 1.5;
/// The latency at a share of the capacity, from the trial whose load is nearest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// The share.
    pub share: f64,
    /// The load of the trial.
    pub load: f64,
    /// The median of the response times of accepted arrivals.
    pub p50_ns: Option<u64>,
    /// The 99th percentile of these times.
    pub p99_ns: Option<u64>,
}

/// The lowest load at which a condition occurred.
#[derive(Clone, Debug, PartialEq)]
pub struct Onset {
    /// The lowest load at which the condition occurred.
    pub from: f64,
    /// The largest lower load that was tried; `None`: no lower load was tried.
    pub not_at: Option<f64>,
    /// The condition, as counted in the trial at this load.
    pub met: TrialCondition,
}

/// Returns the latency at 10, 50 and 90 % of a capacity, each if there was a trial near that load.
pub fn latency(records: &[TrialRecord], capacity: f64) -> Vec<Latency> {
    let at = |share: f64| {
        let wanted = share * capacity;
        let apart = |record: &TrialRecord| (record.load / wanted).ln().abs();
        let near = records
            .iter()
            .filter(|record| record.invalid.is_empty() && !record.ended_early && record.load <= capacity)
            .filter(|record| apart(record) <= NEAR.ln());
        let nearest = near.min_by(|one, other| {
            // Of several trials at one load the longest is used.
            apart(one).total_cmp(&apart(other)).then(other.length_s.total_cmp(&one.length_s))
        })?;
        Some(Latency { share, load: nearest.load, p50_ns: nearest.p50_ns, p99_ns: nearest.p99_ns })
    };
    SHARES.into_iter().filter_map(at).collect()
}

/// Returns each condition with the lowest load at which it occurred, lowest first.
pub fn onsets(records: &[TrialRecord]) -> Vec<Onset> {
    let mut found: Vec<Onset> = Vec::new();
    let mut rising: Vec<&TrialRecord> = records.iter().filter(|record| record.invalid.is_empty()).collect();
    rising.sort_by(|one, other| one.load.total_cmp(&other.load).then(one.number.cmp(&other.number)));
    let same = |one: &TrialCondition, other: &TrialCondition| {
        (&one.condition, &one.step, one.code) == (&other.condition, &other.step, other.code)
    };
    for record in &rising {
        for met in &record.conditions {
            if found.iter().all(|onset| !same(&onset.met, met)) {
                let below = rising.iter().map(|record| record.load).filter(|load| *load < record.load);
                let not_at = below.reduce(f64::max);
                found.push(Onset { from: record.load, not_at, met: met.clone() });
            }
        }
    }
    found
}

/// Returns why a goal was missed at its upper bound, in words: a growing queue, faults of the deliveries, arrivals that were
/// too slow, or arrivals that were not accepted. `None`: there is no upper bound, or no reason was recorded.
pub fn bound_by(capacity: &CapacityPlan, state: &SearchState, goal: usize) -> Option<String> {
    let upper = state.controller.bounds(goal).upper?;
    let missed = state.records.iter().filter(|record| record.load == upper);
    let missed = missed.filter(|record| record.goals.get(goal).is_some_and(|verdict| !verdict.good));
    let (grown, missed): (Vec<&TrialRecord>, Vec<&TrialRecord>) =
        missed.partition(|record| record.goals[goal].unsustained);
    let (undelivered, missed): (Vec<&TrialRecord>, Vec<&TrialRecord>) =
        missed.into_iter().partition(|record| record.goals[goal].undelivered);
    let (load, objective) = (capacity.format_load(upper), &capacity.goals[goal].objective);
    if grown.len() > missed.len().max(undelivered.len()) {
        let longest = grown.iter().max_by(|one, other| one.length_s.total_cmp(&other.length_s))?;
        let (name, growth) = longest.grown().next()?;
        let growth = in_words(&growth);
        return Some(format!("unsustained: at {load} {name} grew by {growth}, while {objective} was met"));
    }
    if undelivered.len() > missed.len() {
        let failed = &undelivered.last()?.delivery.as_ref()?.failed;
        return Some(format!(
            "deliveries: at {load} the deliveries do not match what was accepted ({}), while {objective} was met",
            failed.join(", ")
        ));
    }
    let sum = |of: &dyn Fn(&TrialRecord) -> u64| missed.iter().map(|record| of(record)).sum::<u64>();
    let failed = sum(&|record| record.goals[goal].failed);
    let slow = sum(&|record| record.goals[goal].bad) - failed;
    if failed + slow == 0 {
        return None;
    }
    let share = |count: u64| format!("{:.1} %", 100.0 * count as f64 / (failed + slow) as f64);
    let why = match foremost(&missed) {
        Some(met) => match met.code {
            Some(code) => format!("{code:03} {}", met.condition),
            None => met.condition.clone(),
        },
        None if sum(&|record| record.shed) > 0 => "shed".to_owned(),
        None => "not ended in time".to_owned(),
    };
    Some(match (slow, failed) {
        (_, 0) => {
            format!(
                "time: the arrivals that missed the goal at {load} were accepted, but too late for {objective}"
            )
        }
        (0, _) => {
            format!("failures: the arrivals that missed the goal at {load} were not accepted, mostly {why}")
        }
        _ => format!(
            "both: of the arrivals that missed the goal at {load}, {} were too slow for {objective}, and {} were not \
             accepted, mostly {why}",
            share(slow),
            share(failed),
        ),
    })
}

/// Formats the growth of a backlog with its interval: `3.2/s (2.1 to 4.4/s)`.
pub fn in_words(growth: &BacklogGrowth) -> String {
    format!("{:.1}/s ({:.1} to {:.1}/s)", growth.per_s, growth.low_per_s, growth.high_per_s)
}

/// Returns the longest valid trial at a load.
pub fn longest_at(state: &SearchState, load: f64) -> Option<&TrialRecord> {
    let at = state.records.iter().filter(|record| record.load == load && record.invalid.is_empty());
    at.max_by(|one, other| one.length_s.total_cmp(&other.length_s))
}

/// Returns the most frequent condition of these trials that the profile does not expect.
fn foremost<'a>(records: &[&'a TrialRecord]) -> Option<&'a TrialCondition> {
    let met = records.iter().flat_map(|record| &record.conditions).filter(|met| !met.expected);
    met.max_by_key(|met| met.count)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a valid trial of 20 s at a load, in which all arrivals were accepted, with this mean concurrency.
    pub fn record(number: usize, load: f64, concurrency: f64) -> TrialRecord {
        TrialRecord {
            number,
            load,
            length_s: 20.0,
            why: "double".into(),
            began_s: 0.0,
            ended_early: false,
            invalid: Vec::new(),
            scheduled: (load * 20.0) as u64,
            started: (load * 20.0) as u64,
            accepted: (load * 20.0) as u64,
            shed: 0,
            refused_sessions: 0,
            offered_per_s: load,
            accepted_per_s: load,
            concurrency,
            peak_sessions: 8,
            p50_ns: Some((load * 1e4) as u64),
            p90_ns: None,
            p99_ns: Some((load * 1e5) as u64),
            max_ns: None,
            backlog: None,
            delivery: None,
            goals: Vec::new(),
            conditions: Vec::new(),
            cooldown_s: None,
            backlog_left: false,
        }
    }

    fn met(condition: &str, code: u16, count: u64) -> TrialCondition {
        let (condition, step, sample) = (condition.to_owned(), "mail".to_owned(), String::new());
        TrialCondition { condition, step, code: Some(code), count, expected: false, sample }
    }

    #[test]
    fn latency_is_that_of_the_nearest_trial_and_of_no_distant_one() {
        let records: Vec<TrialRecord> = [40.0, 100.0, 200.0, 350.0, 380.0, 640.0]
            .into_iter()
            .zip(1..)
            .map(|(load, n)| record(n, load, 1.0))
            .collect();
        let loads: Vec<(f64, f64)> = latency(&records, 400.0).iter().map(|at| (at.share, at.load)).collect();
        assert_eq!(loads, [(0.1, 40.0), (0.5, 200.0), (0.9, 350.0)]);
        assert_eq!(latency(&records[1..], 400.0).len(), 2, "nothing was tried near 10 %");
    }

    #[test]
    fn a_condition_sets_in_at_the_lowest_load_that_met_it() {
        let mut records: Vec<TrialRecord> =
            [320.0, 640.0, 452.5, 380.0].into_iter().zip(1..).map(|(load, n)| record(n, load, 1.0)).collect();
        records[1].conditions = vec![met("resource-low", 452, 900), met("too-many-connections", 421, 3)];
        records[2].conditions = vec![met("resource-low", 452, 7)];
        let found = onsets(&records);
        let told: Vec<_> =
            found.iter().map(|onset| (onset.met.condition.as_str(), onset.from, onset.not_at)).collect();
        assert_eq!(
            told,
            [("resource-low", 452.5, Some(380.0)), ("too-many-connections", 640.0, Some(452.5))]
        );
        assert_eq!(found[0].met.count, 7);
    }
}
