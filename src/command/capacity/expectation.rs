//! The expected capacity, and the verdict of a search.

use std::time::Duration;

use crate::command::error::CommandError;
use crate::experiment::capacity::{CapacityPlan, GoalBounds, GoalEnd, Knob, SearchEnd, SearchState};
use crate::profile::error::nearest;
use crate::profile::units::{Count, Quantity, Rate, Size, UnitError};
use crate::verdict::search::SearchReason;
use crate::verdict::{AssertionResult, AssertionStatus, SearchVerdict};

/// `[NAME:] >= 400/s`
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The text.
    text: String,
    /// The goal that the expectation is about; `None`: all goals.
    goal: Option<usize>,
    /// The expected minimum of the lower bound.
    least: f64,
}

impl Expectation {
    /// Reads `--expect`.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn read(text: &str, asked: &CapacityPlan) -> Result<Expectation, CommandError> {
        let example = match asked.knob {
            Knob::Rate => ">= 400/s",
            Knob::Sessions => ">= 50",
            Knob::Size => ">= 4MiB",
        };
        let wrong = |what: &str| {
            CommandError::usage(format!(
                "--expect {text:?}: {what}; write --expect '{example}', or '{}: {example}'",
                asked.goals[0].name
            ))
        };
        let (goal, rest) = match text.split_once(':') {
            Some((name, rest)) => {
                let name = name.trim();
                let found = asked.goals.iter().position(|goal| goal.name == name);
                let names: Vec<&str> = asked.goals.iter().map(|goal| goal.name.as_str()).collect();
                let near = nearest(name, &names).map(|near| format!(", did you mean {near:?}?"));
                let unknown = || format!("no goal is called {name:?}{}", near.unwrap_or_default());
                (Some(found.ok_or_else(|| wrong(&unknown()))?), rest)
            }
            None => (None, text),
        };
        let rest = rest.trim();
        let value = rest
            .strip_prefix(">=")
            .ok_or_else(|| wrong("a capacity is expected to be at least something"))?;
        let told = |error: UnitError| wrong(&error.message);
        let value = value.trim();
        let least = match asked.knob {
            Knob::Rate => Rate::read(value).map_err(told)?.hertz(),
            Knob::Sessions => Count::read(value).map_err(told)?.0 as f64,
            Knob::Size => Size::read(value).map_err(told)?.0 as f64,
        };
        Ok(Expectation { text: rest.to_owned(), goal, least })
    }

    /// Returns how the bounds of a goal compare with the expectation. `is_judged`: whether a load with a growing backlog
    /// would have been noticed, if that was asked.
    fn holds(&self, bounds: &GoalBounds, is_judged: bool) -> AssertionStatus {
        match (bounds.lower, bounds.upper) {
            // Until a longer trial has confirmed it, a lower bound may be a load that was judged good by chance.
            (Some(lower), _) if lower >= self.least && is_judged && bounds.confirmed => AssertionStatus::Pass,
            // A confirmed lower bound below the expectation fails it, even if a finer search could find a higher bound.
            _ if is_settled(bounds) && is_judged || bounds.ending == GoalEnd::NoneGood => {
                AssertionStatus::Fail
            }
            (_, Some(upper)) if upper <= self.least => AssertionStatus::Fail,
            _ => AssertionStatus::NoData,
        }
    }

    fn judge(&self, asked: &CapacityPlan, state: &SearchState) -> Vec<AssertionResult> {
        let goals = self.goal.map_or(0..asked.goals.len(), |goal| goal..goal + 1);
        let is_judged = !state.lacks_judged_backlogs(asked);
        let one = |index: usize| {
            let bounds = state.controller.bounds(index);
            let load = |load: Option<f64>| load.map_or("?".to_owned(), |load| asked.format_load(load));
            AssertionResult {
                expr: format!("capacity {}", self.text),
                phase: Some(asked.goals[index].name.clone()),
                observed: format!("{} .. {}", load(bounds.lower), load(bounds.upper)),
                status: self.holds(&bounds, is_judged),
                builtin: false,
                abort: false,
                window: None,
                grace: Duration::ZERO,
            }
        };
        goals.map(one).collect()
    }
}

fn is_settled(bounds: &GoalBounds) -> bool {
    bounds.ending == GoalEnd::Found && bounds.confirmed
}

/// Returns the verdict of a search, and the result of each expectation.
pub fn judge(
    asked: &CapacityPlan,
    state: &SearchState,
    end: &SearchEnd,
    expects: &[Expectation],
) -> (SearchVerdict, Vec<AssertionResult>) {
    let results: Vec<AssertionResult> =
        expects.iter().flat_map(|expect| expect.judge(asked, state)).collect();
    let verdict = match end {
        SearchEnd::Interrupted => SearchVerdict::stopped(),
        SearchEnd::Hook(_) => SearchVerdict::hook_failed(),
        _ => {
            let is_settled = (0..asked.goals.len()).all(|goal| is_settled(&state.controller.bounds(goal)));
            let is_settled = is_settled && !state.lacks_judged_backlogs(asked);
            SearchVerdict::capacity(is_settled, &results, no_valid_trial(state))
        }
    };
    (verdict, results)
}

/// Returns the first reason of the first trial if every trial is invalid; `None` if a trial is valid.
fn no_valid_trial(state: &SearchState) -> Option<SearchReason> {
    let reasons: Option<Vec<_>> = state.records.iter().map(|record| record.invalid.first()).collect();
    reasons?
        .first()
        .map(|reason| SearchReason { code: reason.code.clone(), sentence: reason.sentence.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_confirmed_lower_bound_passes() {
        let expected = Expectation { text: ">= 400/s".to_owned(), goal: None, least: 400.0 };
        let holds = |lower: f64, upper: Option<f64>, confirmed: bool, ending: GoalEnd| {
            let bounds = GoalBounds {
                lower: Some(lower),
                upper,
                throughput: None,
                confirmed,
                inverted: false,
                ending,
            };
            expected.holds(&bounds, true)
        };
        assert_eq!(holds(450.0, Some(460.0), true, GoalEnd::Found), AssertionStatus::Pass);
        assert_eq!(holds(450.0, Some(460.0), false, GoalEnd::Found), AssertionStatus::NoData);
        assert_eq!(holds(450.0, None, false, GoalEnd::MaxReached), AssertionStatus::NoData);
        assert_eq!(holds(450.0, None, true, GoalEnd::MaxReached), AssertionStatus::Pass);
        assert_eq!(holds(390.0, Some(410.0), true, GoalEnd::Found), AssertionStatus::Fail);
        assert_eq!(holds(390.0, Some(410.0), false, GoalEnd::Found), AssertionStatus::NoData);
        assert_eq!(holds(380.0, Some(400.0), false, GoalEnd::Unfinished), AssertionStatus::Fail);
    }
}
