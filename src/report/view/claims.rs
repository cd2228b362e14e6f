//! The claims that decide the verdict of a run: assertions, limits, goals and events, each with its status word and its
//! severity.

use super::{Cell, Column, ReportTable, Tone, amounts, conditions, delivery, events};
use crate::report::format;
use crate::report::stored::{
    CapacityGoal, CapacityStatus, RunResult, StoredAssertion, StoredAssertionStatus, StoredLimit,
    StoredLimitVerdict, StoredStatus, ValidityStatus,
};
use crate::verdict::grammar;

/// One claim.
#[derive(Clone, Debug)]
pub struct Claim {
    /// `assertions`, `limits`, `capacity` or `events`.
    pub group: &'static str,
    /// The status, with its severity.
    pub word: Cell,
    /// The claim.
    pub what: String,
    /// The phase, if the claim is about a single phase.
    pub phase: Option<String>,
    /// The observed value.
    pub observed: String,
    /// The options of an assertion: its window, and whether a failure ends the run.
    pub conditions: String,
    /// Further details, one line each.
    pub details: Vec<String>,
    /// The result, given the state of the whole run.
    pub state: ClaimState,
    /// The kind of failure, if the claim failed.
    pub failure: &'static str,
}

/// The result of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// The claim holds.
    Passed,
    /// The claim does not hold.
    Failed,
    /// The claim is unknown: the measurement is invalid, or a search did not converge.
    Unknown,
    /// The claim was not judged.
    Skipped,
}

/// Returns all claims of a run. Assertions that do not hold come first.
pub fn all(result: &RunResult) -> Vec<Claim> {
    let assertions = sorted(result).into_iter().map(|(_, own)| explained(result, own));
    let goals = result.capacity.iter().flat_map(|capacity| &capacity.goals);
    let claims = assertions
        .chain(result.limits.iter().map(of_limit))
        .chain(goals.map(of_goal))
        .chain(result.events.iter().map(events::claim));
    claims.map(|claim| Claim { state: in_run(result, &claim), ..claim }).collect()
}

/// Returns the claim of an assertion. A failed assertion has the most frequent failure of its phase, its meaning and the
/// remedy among its details.
fn explained(result: &RunResult, assertion: &StoredAssertion) -> Claim {
    let mut claim = of_assertion(assertion);
    if claim.state == ClaimState::Failed
        && let Some(own) = conditions::foremost(result, assertion.phase.as_deref())
        && own.name.tone == Tone::Bad
    {
        claim
            .details
            .push(format!("most frequent failure: {} x {} {}", own.count.text, own.name.text, own.at));
        claim.details.extend(own.advice.iter().map(|sentence| (*sentence).to_owned()));
    }
    if claim.state == ClaimState::Failed
        && let Ok(own) = grammar::Assertion::parse(&assertion.expr)
    {
        claim.details.extend(delivery::details(result, &own.expr.subject, assertion.phase.as_deref()));
    }
    claim
}

/// Returns the state of a claim. In an invalid or interrupted run no claim counts as passed.
fn in_run(result: &RunResult, claim: &Claim) -> ClaimState {
    let is_invalid = result.validity.status == ValidityStatus::Invalid;
    match claim.state {
        ClaimState::Passed if is_invalid => ClaimState::Unknown,
        ClaimState::Skipped if is_invalid && claim.group == "assertions" => ClaimState::Unknown,
        ClaimState::Passed if result.verdict.status == StoredStatus::Interrupted => ClaimState::Skipped,
        state => state,
    }
}

fn sorted(result: &RunResult) -> Vec<(usize, &StoredAssertion)> {
    let mut all: Vec<_> = result.assertions.iter().enumerate().collect();
    all.sort_by_key(|(_, own)| own.status == StoredAssertionStatus::Pass);
    all
}

/// Returns the status word of an assertion; failures are in capitals.
fn status(assertion: &StoredAssertion) -> Cell {
    let word = assertion.status.as_str();
    match assertion.status {
        StoredAssertionStatus::Pass => Cell::words(word).tone(Tone::Good),
        StoredAssertionStatus::Fail | StoredAssertionStatus::NoData => {
            Cell::words(word.to_uppercase()).tone(Tone::Bad)
        }
        StoredAssertionStatus::NotJudged => Cell::words(word).tone(Tone::Warning),
    }
}

/// Returns the observed value, with numbers in the form of the report.
///
/// The stored text has more digits. They are kept if the shorter number would look equal to the bound.
pub(super) fn observed(assertion: &StoredAssertion) -> String {
    let stored = format::harmless(&assertion.observed);
    let rounded = format::numbers_in(&stored);
    let bound = grammar::Assertion::parse(&assertion.expr).ok().map(|own| own.expr.value);
    let numbers = rounded.split_once(": ").map_or(rounded.as_str(), |(numbers, _)| numbers);
    let is_close = bound.is_some_and(|bound| {
        let percent = format::exact_percent(bound * 100.0);
        let as_shown = [format::duration(bound), format::rate(bound), format::count(bound as u64), percent];
        let bare = |number: &str| number.trim_start_matches(">= ").to_owned();
        numbers.split(" to ").any(|number| as_shown.contains(&bare(number)))
    });
    if is_close { stored } else { rounded }
}

fn of_assertion(assertion: &StoredAssertion) -> Claim {
    let observed = observed(assertion);
    let over = assertion.window_s.map(|s| format!(" over every {}", format::seconds(s)));
    let abort = if assertion.abort { ", else abort" } else { "" };
    let expr = format::harmless(&assertion.expr);
    Claim {
        group: "assertions",
        word: status(assertion),
        phase: assertion.phase.as_deref().map(format::harmless),
        conditions: over.unwrap_or_default() + abort,
        details: vec![format!("asserted: {expr}"), format!("observed: {observed}")],
        what: expr,
        observed,
        state: match assertion.status {
            StoredAssertionStatus::Pass => ClaimState::Passed,
            StoredAssertionStatus::Fail | StoredAssertionStatus::NoData => ClaimState::Failed,
            StoredAssertionStatus::NotJudged => ClaimState::Skipped,
        },
        failure: if assertion.status == StoredAssertionStatus::NoData { "no-data" } else { "assertion" },
    }
}

/// Returns the assertions as a table.
pub fn assertions(result: &RunResult) -> ReportTable {
    let mut table = ReportTable::new(["", "asserted", "phase", "observed"].map(Column::words));
    table.is_list = true;
    for (i, assertion) in sorted(result) {
        let claim = of_assertion(assertion);
        let phase = claim.phase.map_or(String::new(), |phase| format!("in {phase}"));
        let builtin = if assertion.builtin { "always asserted" } else { "" };
        let scope = [phase.as_str(), claim.conditions.trim_start_matches([' ', ',']), builtin];
        let scope: Vec<&str> = scope.into_iter().filter(|part| !part.is_empty()).collect();
        table.row([
            claim.word,
            Cell::stored_code(&assertion.expr, format!("/assertions/{i}/expr")),
            Cell::name(scope.join(", ")).tone(Tone::Quiet),
            match claim.observed == format::harmless(&assertion.observed) {
                true => Cell::stored_code(&assertion.observed, format!("/assertions/{i}/observed")),
                false => Cell::code(claim.observed),
            },
        ]);
    }
    table
}

/// Returns the severity of a limit: a limit that fails the run is a failure in every format.
pub(super) fn severity_of_limit(limit: &StoredLimit) -> Tone {
    match limit.verdict {
        _ if limit.fails() => Tone::Bad,
        StoredLimitVerdict::AsExpected | StoredLimitVerdict::Found => Tone::Good,
        _ => Tone::Warning,
    }
}

/// Returns the status word of a limit.
pub(super) fn status_of_limit(limit: &StoredLimit) -> Cell {
    Cell::words(limit.verdict.as_str()).tone(severity_of_limit(limit))
}

fn of_limit(limit: &StoredLimit) -> Claim {
    let configured = limit.expected.map(|expected| amounts::limit_amount(limit, expected));
    let served = amounts::limit_found(limit);
    let beside = configured.as_ref().map_or(String::new(), |own| format!(", {own} configured"));
    let mut details = vec![format!("result: {}", limit.verdict)];
    details.extend(configured.map(|own| format!("configured: {own}")));
    details.push(format!("served: {served}"));
    details.extend(limit.shown_by.map(|by| format!("shown by: {by}")));
    details.extend(limit.reply.as_ref().map(|reply| format!("reply: {reply}")));
    details.extend(limit.inexact.as_ref().map(|why| format!("not exact: {why}")));
    details.extend(limit.remarks.iter().cloned());
    Claim {
        group: "limits",
        word: status_of_limit(limit),
        what: format::harmless(&limit.name),
        phase: None,
        observed: match (limit.verdict, limit.remarks.first()) {
            (StoredLimitVerdict::Obstructed, Some(why)) => format!("{served} served{beside}: {why}"),
            _ => format!("{served} served{beside}"),
        },
        conditions: String::new(),
        details,
        state: match severity_of_limit(limit) {
            Tone::Bad => ClaimState::Failed,
            Tone::Good => ClaimState::Passed,
            // No value was configured, and the limit was not reached, changes, or could not be measured.
            _ => ClaimState::Skipped,
        },
        failure: limit.verdict.as_str(),
    }
}

/// Returns the status word of a goal.
pub(super) fn status_of_goal(goal: &CapacityGoal) -> Cell {
    let tone = match goal.status {
        CapacityStatus::Inconclusive => Tone::Bad,
        _ if goal.lower.is_none() => Tone::Bad,
        CapacityStatus::Found => Tone::Good,
        CapacityStatus::GeneratorLimited | CapacityStatus::MaxReached => Tone::Warning,
    };
    Cell::words(goal.status.as_str()).tone(tone)
}

fn of_goal(goal: &CapacityGoal) -> Claim {
    let word = status_of_goal(goal);
    let (state, why) = match goal.status {
        CapacityStatus::Inconclusive => (ClaimState::Unknown, Some("the search did not settle")),
        _ if goal.lower.is_none() => (ClaimState::Failed, Some("no load that was tried met the goal")),
        _ => (ClaimState::Passed, None),
    };
    Claim {
        group: "capacity",
        word,
        what: format::harmless(&goal.name),
        phase: None,
        observed: amounts::capacity_found(goal),
        conditions: String::new(),
        details: why
            .map(str::to_owned)
            .into_iter()
            .chain(goal.bound_by.clone())
            .chain(goal.notes.clone())
            .collect(),
        state,
        failure: if state == ClaimState::Unknown { "inconclusive" } else { "not-met" },
    }
}
