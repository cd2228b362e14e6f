//! Converts a search for the capacity to its stored form.

use crate::experiment::capacity::controller::TRIES;
use crate::experiment::capacity::sustained::Sustained;
use crate::experiment::capacity::{CapacityPlan, GoalBounds, GoalEnd, SearchEnd, SearchState, describe};
use crate::report::stored::{Capacity, CapacityEnd, CapacityGoal, CapacityStatus, StoredSustained};

impl Capacity {
    /// Converts the result of a search, for every way in which it can end.
    pub fn found(asked: &CapacityPlan, state: &SearchState, end: &SearchEnd) -> Capacity {
        let (ended, ended_by) = match end {
            SearchEnd::Complete => (CapacityEnd::Complete, None),
            SearchEnd::Deadline => {
                let allowed = asked.deadline.as_secs();
                (
                    CapacityEnd::Deadline,
                    Some(format!(
                        "ended by its deadline of {allowed} s: raise `deadline`, or shorten the trials; --resume goes on with what is known"
                    )),
                )
            }
            SearchEnd::Interrupted => (CapacityEnd::Interrupted, None),
            SearchEnd::Hook(reason) => (CapacityEnd::HookFailed, Some(reason.clone())),
            SearchEnd::Undelivered(reason) => (CapacityEnd::Undelivered, Some(reason.clone())),
        };
        let rules = state.controller.rules();
        Capacity {
            by: asked.knob.as_str().to_owned(),
            goals: (0..asked.goals.len()).map(|index| goal(asked, state, index)).collect(),
            trials: state.records.iter().cloned().map(Into::into).collect(),
            width: rules.width,
            ended,
            ended_by,
            ceiling: rules.ceiling,
            base_ns: state.base_ns,
            onsets: describe::onsets(&state.records).into_iter().map(Into::into).collect(),
        }
    }
}

fn goal(asked: &CapacityPlan, state: &SearchState, index: usize) -> CapacityGoal {
    let goal = &asked.goals[index];
    let bounds = state.controller.bounds(index);
    let is_judged = !state.lacks_judged_backlogs(asked);
    let status = match bounds.ending {
        _ if !is_judged => CapacityStatus::Inconclusive,
        GoalEnd::Found if bounds.confirmed => CapacityStatus::Found,
        GoalEnd::MaxReached => CapacityStatus::MaxReached,
        GoalEnd::GeneratorLimited => CapacityStatus::GeneratorLimited,
        GoalEnd::Found | GoalEnd::NoneGood | GoalEnd::Unfinished => CapacityStatus::Inconclusive,
    };
    CapacityGoal {
        name: goal.name.clone(),
        lower: bounds.lower,
        upper: bounds.upper,
        unit: asked.unit().to_owned(),
        status,
        objective: goal.objective.clone(),
        failures: goal.failures,
        throughput: bounds.throughput,
        confirmed: bounds.confirmed && is_judged,
        inverted: bounds.inverted,
        sustained: sustained(asked, state, &bounds),
        bound_by: describe::bound_by(asked, state, index),
        notes: notes(asked, state, index, &bounds),
        latency: bounds
            .lower
            .map(|lower| describe::latency(&state.records, lower))
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
    }
}

/// Returns whether the lower bound can be sustained; `None` if the search did not judge it, or if it is unknown.
fn sustained(asked: &CapacityPlan, state: &SearchState, bounds: &GoalBounds) -> Option<StoredSustained> {
    let lower = bounds.lower.filter(|_| asked.judges_backlog())?;
    let growths: Vec<_> =
        describe::longest_at(state, lower)?.growths().map(|(_, growth, _)| growth).collect();
    let has = |wanted| growths.iter().any(|growth| growth.is_some_and(|growth| growth.verdict == wanted));
    Some(if has(Sustained::Unsustained) {
        StoredSustained::Unsustained
    } else if growths.contains(&None) || has(Sustained::Undecided) {
        StoredSustained::Undecided
    } else {
        StoredSustained::Sustained
    })
}

/// Returns a note that the time of the idle listener is not known, and what the search lacks because of that.
fn no_idle_listener(asked: &CapacityPlan, state: &SearchState) -> Option<String> {
    if state.base_ns.is_some() || state.records.is_empty() {
        return None;
    }
    let (lacks, remedy) = match state.lacks_judged_backlogs(asked) {
        true => {
            ("so no backlog was judged, and no load is known to be sustained", ", or set `sustained = false`")
        }
        false => ("so no trial waited until the listener had worked off the backlog of the one before", ""),
    };
    Some(format!(
        "no message that was sent to the idle listener was accepted, {lacks}: search again when it accepts one (a greylist defers the \
         first){remedy}"
    ))
}

/// Returns a note that a lower bound may not be sustained, and how long a trial must be to decide.
fn undecided(asked: &CapacityPlan, state: &SearchState, lower: f64) -> Option<String> {
    let longest = describe::longest_at(state, lower)?;
    let (load, length_s) = (asked.format_load(lower), longest.length_s);
    longest.growths().find_map(|(name, growth, _)| match growth {
        None => Some(format!(
            "whether {load} is sustainable is not known: in a trial of {length_s} s the growth of {name} does not show; raise \
             `confirm`"
        )),
        Some(growth) => Some(format!(
            "whether {load} is sustainable is not decided: in {length_s} s {name} grew by {}; raise `confirm` to {} s",
            describe::in_words(&growth),
            growth.needed_s?
        )),
    })
}

/// Returns notes on an irregular result (RFC 9971, "Irregular Goal Result"), and on what the user can do.
fn notes(asked: &CapacityPlan, state: &SearchState, index: usize, bounds: &GoalBounds) -> Vec<String> {
    let rules = state.controller.rules();
    let mut notes = Vec::new();
    match bounds.ending {
        GoalEnd::Found if !bounds.confirmed => {
            notes.push(format!("no trial of {} s met the goal at the lower bound", rules.confirm_s));
        }
        GoalEnd::Found => {}
        GoalEnd::MaxReached => {
            notes.push(format!("max reached: {} meets the goal; raise `max`", asked.format_load(rules.max)));
        }
        GoalEnd::GeneratorLimited => notes.push(match state.controller.gap(index).1 {
            Some(next) => format!(
                "generator-limited: {TRIES} trials of {} were invalid because of the generator; use a faster or an idle machine",
                asked.format_load(next)
            ),
            None => format!(
                "generator-limited: beyond {} this machine's generator is not trusted; use a faster or an idle one",
                asked.format_load(bounds.lower.or(rules.ceiling).unwrap_or(rules.max))
            ),
        }),
        GoalEnd::NoneGood => notes.push("even the lowest load that was tried misses the goal".to_owned()),
        GoalEnd::Unfinished => {
            if let (Some(lower), Some(upper)) = state.controller.gap(index) {
                notes.push(format!(
                    "width not met: the search had come to between {} and {}",
                    asked.format_load(lower),
                    asked.format_load(upper)
                ));
            }
        }
    }
    notes.extend(no_idle_listener(asked, state));
    if let Some(lower) = bounds.lower.filter(|_| asked.judges_backlog() && state.base_ns.is_some()) {
        notes.extend(undecided(asked, state, lower));
    }
    if bounds.inverted {
        notes.push("results inverted: higher loads met the goal, which is not believed".to_owned());
    }
    if state.records.iter().any(|record| record.backlog_left) {
        notes.push(
            "after some trials the listener did not become as fast as before in the time allowed".to_owned(),
        );
    }
    notes
}
