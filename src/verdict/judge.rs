//! Makes the verdict and the exit code of a run from its measurement.
//!
//! # Decisions
//! - If several statuses apply to a run, the first of this list wins, because it says most about whether the numbers
//!   can be used: interrupted, invalid, nothing measured, an assertion failed. The results of all assertions are always
//!   given.
//! - If the user stopped the run, no assertion is judged: waiting arrivals are shed and the work is incomplete, through
//!   no fault of the listener. The values observed until then are reported.
//! - An assertion without data fails the run, as a failed assertion does: a check without data must not pass.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::{self, Answer, Evidence, expect_index};
use super::exit_code::ExitCode;
use super::grammar::{Assertion, Subject};
use super::outcome::{AssertionResult, AssertionStatus, scope};
use super::window::Windows;
use crate::collector::Outcome;
use crate::collector::delivery::Delivered;
use crate::collector::snapshot::Measured;
use crate::collector::summary::Summary;
use crate::collector::work::Work;
use crate::condition::expect::Expect;

/// The verdict of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictStatus {
    /// The run was measured and is valid, and every assertion held.
    Pass,
    /// An assertion failed.
    Fail,
    /// Nothing was measured.
    NoData,
    /// The numbers cannot be trusted.
    Invalid,
    /// The user stopped the run.
    Interrupted,
}

impl VerdictStatus {
    /// Returns the name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            VerdictStatus::Pass => "pass",
            VerdictStatus::Fail => "fail",
            VerdictStatus::NoData => "no-data",
            VerdictStatus::Invalid => "invalid",
            VerdictStatus::Interrupted => "interrupted",
        }
    }

    /// Returns the exit code of a run with this status.
    pub const fn exit_code(self) -> ExitCode {
        match self {
            VerdictStatus::Pass => ExitCode::Success,
            VerdictStatus::NoData => ExitCode::NoData,
            VerdictStatus::Invalid => ExitCode::Invalid,
            VerdictStatus::Fail => ExitCode::Failed,
            VerdictStatus::Interrupted => ExitCode::Interrupted,
        }
    }
}

/// The verdict of a run, with its exit code and its assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The verdict in one word.
    pub status: VerdictStatus,
    /// The process's exit code.
    pub exit_code: ExitCode,
    /// The results of the assertions, in their order.
    pub results: Vec<AssertionResult>,
}

impl Verdict {
    /// Judges a run. `expects` is the list of the plan. `windows` has evaluated the same assertions during the run.
    pub fn judge(
        measured: &Measured,
        summary: &Summary,
        expects: &[Expect],
        assertions: &[Assertion],
        windows: &Windows,
    ) -> Verdict {
        let results: Vec<AssertionResult> = assertions
            .iter()
            .enumerate()
            .map(|(index, assertion)| {
                let answer = answer(measured, summary, expects, assertion, || windows.answer(index));
                let answer = if summary.interrupted { answer.until_stopped() } else { answer };
                assertion.result(answer.observed, answer.status)
            })
            .collect();
        let ended: u64 = summary.measured_phases().map(|p| p.counts.arrivals.ended()).sum();
        let status = if summary.interrupted {
            VerdictStatus::Interrupted
        } else if !summary.validity.is_valid() {
            VerdictStatus::Invalid
        } else if ended == 0 {
            VerdictStatus::NoData
        } else if summary.aborted_by.is_some()
            || results.iter().any(|result| result.status != AssertionStatus::Pass)
        {
            VerdictStatus::Fail
        } else {
            VerdictStatus::Pass
        };
        Verdict { status, exit_code: status.exit_code(), results }
    }
}

/// Judges the assertions on deliveries for a run of one phase with this window, whatever phases the assertions name.
pub fn judge_deliveries(
    assertions: &[Assertion],
    delivered: &Delivered,
    window: Duration,
) -> Vec<AssertionResult> {
    let phases: Vec<_> = delivered.phases.iter().map(|phase| (phase, window)).collect();
    let judge = |assertion: &Assertion| {
        let answer = evidence::behind_relay(&assertion.expr, delivered, &phases);
        assertion.result(answer.observed, answer.status)
    };
    assertions.iter().map(judge).collect()
}

fn answer(
    measured: &Measured,
    summary: &Summary,
    expects: &[Expect],
    assertion: &Assertion,
    watched: impl FnOnce() -> Option<Answer>,
) -> Answer {
    let scope = match scope(assertion, summary.phases.iter().map(|phase| &phase.info)) {
        Ok(scope) => scope,
        Err(why) => return Answer::no_data(why),
    };
    if let Subject::Expect(name) = &assertion.expr.subject
        && expect_index(expects, name).is_none()
    {
        return Answer::no_data("no such expect");
    }
    if assertion.expr.subject == Subject::Done && assertion.window.is_none() {
        let phases: Vec<&Work> = scope.iter().filter_map(|index| measured.work.get(*index)).collect();
        return evidence::done(&assertion.expr, &phases);
    }
    if let Subject::Event(name, measure) = &assertion.expr.subject {
        let of_name = summary.events.iter().find(|(event, _)| event.name == *name);
        return match of_name {
            None => Answer::no_data("no such event"),
            Some((_, None)) => Answer::no_data("the event was not run"),
            // A later arrival may still be part of what it caused.
            Some((event, Some(_))) if event.end.is_none() => {
                Answer::no_data("the command of the event has not ended")
            }
            Some((_, Some(effect))) => evidence::of_event(&assertion.expr, *measure, effect),
        };
    }
    if assertion.expr.subject.is_behind_relay() {
        let Some(delivered) = &measured.delivered else {
            return Answer::no_data("no receiver stood behind the relay");
        };
        let phase = |index: &usize| Some((delivered.phases.get(*index)?, summary.phases[*index].window));
        let phases: Vec<_> = scope.iter().filter_map(phase).collect();
        return evidence::behind_relay(&assertion.expr, delivered, &phases);
    }
    match watched() {
        Some(answer) => return answer,
        None if assertion.window.is_some() => return Answer::no_data("its windows were not watched"),
        None => {}
    }
    let mut whole = Evidence::default();
    for &index in &scope {
        if let Some(tally) = measured.tally.phases.get(index) {
            let window = summary.phases[index].window;
            whole.add(&Evidence::gather(&assertion.expr, expects, tally, window));
        }
    }
    let clock = measured.delivered.as_ref().map(|delivered| delivered.clock).unwrap_or_default();
    let answer = whole.answer_by(&assertion.expr, clock);
    match (&assertion.expr.subject, answer.status) {
        (Subject::Unexpected, AssertionStatus::Fail) => {
            let observed = format!("{}{}", answer.observed, unexpected(measured, &scope));
            Answer { observed, ..answer }
        }
        _ => answer,
    }
}

/// The largest number of unexpected outcomes that are named.
const NAMED: usize = 3;

/// Returns the unexpected outcomes of these phases, the most frequent first: `: 31 malformed-reply at body, 20
/// no-greeting at greeting`.
fn unexpected(measured: &Measured, scope: &[usize]) -> String {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for tally in scope.iter().filter_map(|index| measured.tally.phases.get(*index)) {
        for (key, row) in tally.conditions.iter().filter(|(key, _)| key.outcome.is_unexpected()) {
            *kinds.entry(format!("{} at {}", key.condition, key.step)).or_default() += row.count;
        }
        let shed = tally.counts.arrivals.of(Outcome::Shed);
        if shed > 0 {
            *kinds.entry("shed".to_owned()).or_default() += shed;
        }
    }
    let mut kinds: Vec<(String, u64)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = kinds.len().saturating_sub(NAMED);
    let named = kinds.iter().take(NAMED).map(|(kind, count)| format!("{count} {kind}"));
    let mut named: Vec<String> = named.collect();
    if more > 0 {
        named.push(format!("{more} other kinds"));
    }
    if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) }
}

#[cfg(test)]
mod tests;
