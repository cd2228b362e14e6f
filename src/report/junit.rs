//! JUnit XML, for the page of a CI that shows tests: a case for each assertion, each limit and each goal of a capacity.
//!
//! # Decisions
//! - Where the measurement is invalid no case passes: what would have held is an error, because nobody knows. What held
//!   until the user stopped the run is skipped. So the page is never greener than the exit code.
//! - A verdict that no case would show (a run without assertions that measured nothing) gets a case of its own.
//! - Those who show it know a case by its class and its name, in a file and over all files of a pipeline: the class says
//!   which profile, target, shard and phase, the name says all that an assertion was asked with, and what is still alike is
//!   numbered.
//! - The form is what both known schemas take, that of Jenkins and the older one of Ant.

use std::collections::HashSet;

use askama::Template;

use super::format;
use super::stored::{
    CapacityGoal, CapacityStatus, Limit, LimitVerdict, RunResult, StoredAssertion, StoredAssertionStatus,
    StoredStatus, ValidityStatus,
};

/// The result as JUnit XML. Every text is escaped, and what XML cannot hold at all is written out as an escape.
pub fn junit(result: &RunResult) -> String {
    let mut seen = HashSet::new();
    let mut suite = |name, cases: Vec<Case>| {
        let told = |case: Case| case.in_doubt(result).told_apart(&mut seen);
        Suite::new(name, cases.into_iter().map(told).collect())
    };
    let goals = result.capacity.iter().flat_map(|capacity| &capacity.goals);
    let mut suites = vec![
        suite("assertions", result.assertions.iter().map(|own| assertion(result, own)).collect()),
        suite("limits", result.limits.iter().map(|own| limit(result, own)).collect()),
        suite("capacity", goals.map(|own| goal(result, own)).collect()),
    ];
    suites.retain(|suite| !suite.cases.is_empty());
    let told = suites.iter().flat_map(|suite| &suite.cases).any(|case| !matches!(case.end, End::Passed));
    if result.verdict.status != StoredStatus::Pass && !told {
        suites.push(Suite::new("verdict", vec![verdict(result)]));
    }
    let sum = |of: fn(&Suite) -> usize| suites.iter().map(of).sum();
    let page = Page {
        time: format!("{:.3}", result.took_s.max(0.0)),
        timestamp: clean(result.started_at.trim_end_matches('Z')),
        tests: sum(|suite| suite.cases.len()),
        failures: sum(Suite::failures),
        errors: sum(Suite::errors),
        properties: properties(result),
        suites: &suites,
    };
    let mut text = page.render().expect("a template of plain values writes into memory");
    text.push('\n');
    text
}

#[derive(Template)]
#[template(path = "junit.xml")]
struct Page<'a> {
    time: String,
    timestamp: String,
    tests: usize,
    failures: usize,
    errors: usize,
    properties: Vec<(&'static str, String)>,
    suites: &'a [Suite],
}

/// Cases of one kind.
struct Suite {
    name: &'static str,
    cases: Vec<Case>,
    out: String,
}

impl Suite {
    fn new(name: &'static str, cases: Vec<Case>) -> Suite {
        let lines: Vec<String> =
            cases.iter().map(|case| format!("{}: {}", case.name, case.observed)).collect();
        Suite { name, cases, out: lines.join("\n") }
    }

    fn count(&self, is: fn(&End) -> bool) -> usize {
        self.cases.iter().filter(|case| is(&case.end)).count()
    }

    fn failures(&self) -> usize {
        self.count(|end| matches!(end, End::Failed { .. }))
    }

    fn errors(&self) -> usize {
        self.count(|end| matches!(end, End::Broken { .. }))
    }

    fn skipped(&self) -> usize {
        self.count(|end| matches!(end, End::Skipped { .. }))
    }
}

/// One claim, with all its texts clean.
struct Case {
    class: String,
    name: String,
    observed: String,
    end: End,
}

/// How a case ended.
enum End {
    Passed,
    Skipped { message: String },
    Failed { kind: &'static str, message: String, text: String },
    Broken { kind: &'static str, message: String, text: String },
}

impl Case {
    fn new(result: &RunResult, of: &str, name: &str, observed: String) -> Case {
        let shard = result.shard.map(|shard| format!("shard-{}-of-{}", shard.index, shard.of));
        let parts = ["smtpress", &result.profile.name, &result.target].into_iter();
        // A dot in a class is a package to those who show it.
        let parts = parts.chain(shard.as_deref()).chain([of]).map(|part| part.replace('.', "_"));
        let class = parts.collect::<Vec<_>>().join(".");
        Case { class: clean(&class), name: clean(name), observed: clean(&observed), end: End::Passed }
    }

    fn failed(mut self, kind: &'static str, text: &str) -> Case {
        self.end = End::Failed { kind, message: self.observed.clone(), text: clean(text) };
        self
    }

    fn broken(mut self, kind: &'static str, text: &str) -> Case {
        self.end = End::Broken { kind, message: self.observed.clone(), text: clean(text) };
        self
    }

    /// With a number behind its name if there is one of its class and name already.
    fn told_apart(mut self, seen: &mut HashSet<(String, String)>) -> Case {
        let name = self.name.clone();
        let mut number = 1;
        while !seen.insert((self.class.clone(), self.name.clone())) {
            number += 1;
            self.name = format!("{name} ({number})");
        }
        self
    }

    /// What has passed in a run that proves nothing has not.
    fn in_doubt(mut self, result: &RunResult) -> Case {
        if !matches!(self.end, End::Passed) {
            return self;
        }
        if result.validity.status == ValidityStatus::Invalid {
            let message = format!("the measurement is invalid; observed: {}", self.observed);
            self.end = End::Broken { kind: "invalid", message, text: clean(&reasons(result)) };
        } else if result.verdict.status == StoredStatus::Interrupted {
            let message = format!("the run was interrupted; until then: {}", self.observed);
            self.end = End::Skipped { message };
        }
        self
    }
}

fn assertion(result: &RunResult, assertion: &StoredAssertion) -> Case {
    let phase = assertion.phase.as_deref();
    let mut name = assertion.expr.clone();
    if let Some(phase) = phase {
        name.push_str(&format!(" in {phase}"));
    }
    if let Some(window) = assertion.window_s {
        name.push_str(&format!(" over every {}", format::seconds(window)));
    }
    if assertion.abort {
        name.push_str(", else abort");
    }
    let case = Case::new(result, phase.unwrap_or("run"), &name, assertion.observed.clone());
    let text = format!("asserted: {}\nobserved: {}", assertion.expr, assertion.observed);
    match assertion.status {
        StoredAssertionStatus::Pass => case,
        StoredAssertionStatus::Fail => case.failed("assertion", &text),
        StoredAssertionStatus::NoData => case.failed("no-data", &text),
        StoredAssertionStatus::NotJudged if result.validity.status == ValidityStatus::Valid => {
            let message = format!("not judged: {}", case.observed);
            Case { end: End::Skipped { message }, ..case }
        }
        // What passed in doubt would, in an invalid run, is an error.
        StoredAssertionStatus::NotJudged => case,
    }
}

fn limit(result: &RunResult, limit: &Limit) -> Case {
    let mut observed = format!("{}, {}", format::limit_found(limit), limit.verdict);
    if let Some(expected) = limit.expected {
        observed.push_str(&format!(", configured {}", format::limit_amount(limit, expected)));
    }
    let case = Case::new(result, "limits", &limit.name, observed);
    let mut text = vec![format!("finding: {}", limit.verdict)];
    text.extend(
        limit.expected.map(|expected| format!("configured: {}", format::limit_amount(limit, expected))),
    );
    text.push(format!("found: {}", format::limit_found(limit)));
    text.extend(limit.shown_by.map(|by| format!("shown by: {by}")));
    text.extend(limit.reply.as_ref().map(|reply| format!("reply: {reply}")));
    text.extend(limit.inexact.as_ref().map(|why| format!("not exact: {why}")));
    text.extend(limit.remarks.iter().cloned());
    let text = text.join("\n");
    match limit.verdict {
        LimitVerdict::AsExpected | LimitVerdict::Found => case,
        verdict if limit.fails() => case.failed(verdict.as_str(), &text),
        // Nothing was known beforehand, and nothing is known now.
        _ => {
            let message = case.observed.clone();
            Case { end: End::Skipped { message }, ..case }
        }
    }
}

fn goal(result: &RunResult, goal: &CapacityGoal) -> Case {
    let observed = format!("{}, {}", format::capacity_found(goal), goal.status);
    let case = Case::new(result, "capacity", &goal.name, observed);
    match goal.status {
        CapacityStatus::Inconclusive => case.broken("inconclusive", "the search did not settle"),
        _ if goal.lower.is_none() => case.failed("not-met", "no load that was tried met the goal"),
        CapacityStatus::Found | CapacityStatus::GeneratorLimited | CapacityStatus::MaxReached => case,
    }
}

fn verdict(result: &RunResult) -> Case {
    let observed = format!("{} (exit code {})", result.verdict.status, result.verdict.exit_code);
    let case = Case::new(result, "run", "verdict", observed);
    match result.verdict.status {
        StoredStatus::Fail => case.failed("fail", &reasons(result)),
        StoredStatus::Interrupted => {
            let message = case.observed.clone();
            Case { end: End::Skipped { message }, ..case }
        }
        _ => case.broken(result.verdict.status.as_str(), &reasons(result)),
    }
}

/// Why the measurement is invalid, a line a reason.
fn reasons(result: &RunResult) -> String {
    let validity = &result.validity;
    let line = |(i, reason): (usize, &String)| match validity.explanations.get(i) {
        Some(words) => format!("{reason}: {words}"),
        None => reason.clone(),
    };
    validity.reasons.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn properties(result: &RunResult) -> Vec<(&'static str, String)> {
    let validity = match result.validity.status {
        ValidityStatus::Valid => "valid",
        ValidityStatus::Invalid => "invalid",
    };
    vec![
        ("verdict", result.verdict.status.to_string()),
        ("exit_code", result.verdict.exit_code.to_string()),
        ("validity", validity.to_owned()),
        ("run_id", clean(&result.run_id)),
        ("target", clean(&result.target)),
        ("profile", clean(&result.profile.name)),
        ("profile_sha256", clean(&result.profile.sha256)),
        ("schedule_sha256", clean(&result.profile.schedule_sha256)),
        ("seed", result.profile.seed.to_string()),
        ("smtpress_version", clean(&result.tool.version)),
    ]
}

/// The text, lines kept, as a terminal may show it: no control characters, which XML 1.0 cannot hold even escaped.
fn clean(text: &str) -> String {
    text.lines().map(format::harmless).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn there_is_a_case_for_each_assertion_limit_and_goal() {
        for result in fixtures::all() {
            let goals = result.capacity.as_ref().map_or(0, |capacity| capacity.goals.len());
            let claims = result.assertions.len() + result.limits.len() + goals;
            // A run that was stopped before anything was asserted has its verdict to show.
            assert_eq!(junit(&result).matches("<testcase ").count(), claims.max(1), "{}", junit(&result));
        }
    }

    #[test]
    fn what_failed_says_what_was_observed() {
        insta::assert_snapshot!(junit(&fixtures::limit_bites()));
        insta::assert_snapshot!(junit(&fixtures::searched()));
    }

    #[test]
    fn an_invalid_run_has_no_case_that_passes() {
        let text = junit(&fixtures::invalid());
        assert_eq!(text.matches("<error type=\"invalid\"").count(), 3, "{text}");
        assert!(text.contains("tests=\"3\" failures=\"0\" errors=\"3\""), "{text}");
        assert!(text.contains("generator-lag: arrivals of phase steady"), "{text}");
        let text = junit(&fixtures::interrupted());
        assert_eq!(text.matches("<skipped ").count(), 3, "{text}");
    }

    #[test]
    fn a_verdict_that_no_case_shows_has_its_own() {
        let mut result = fixtures::accepted();
        result.verdict.status = StoredStatus::Fail;
        assert!(junit(&result).contains("name=\"verdict\""));
        result.assertions.clear();
        assert!(junit(&result).contains("<failure type=\"fail\""));
        result.verdict.status = StoredStatus::Pass;
        assert_eq!(junit(&result).matches("<testcase ").count(), 0);
    }

    /// Class and name of each case, as they stand in the file.
    fn cases(result: &RunResult) -> Vec<String> {
        let text = junit(result);
        let line =
            |line: &str| Some(line.trim().strip_prefix("<testcase ")?.split(" time=").next()?.to_owned());
        text.lines().filter_map(line).collect()
    }

    #[track_caller]
    fn told_apart(results: &[&RunResult]) {
        let all: Vec<String> = results.iter().flat_map(|result| cases(result)).collect();
        let different: HashSet<&String> = all.iter().collect();
        assert_eq!(all.len(), different.len(), "{all:#?}");
        assert!(!all.is_empty());
    }

    #[test]
    fn the_same_claim_of_another_window_target_or_shard_is_another_case() {
        let mut result = fixtures::accepted();
        let one = result.assertions[0].clone();
        let other = |phase: Option<&str>, window_s, abort| StoredAssertion {
            phase: phase.map(str::to_owned),
            window_s,
            abort,
            ..one.clone()
        };
        result.assertions = vec![
            other(None, None, false),
            other(None, None, false),
            other(None, None, true),
            other(None, Some(5.0), false),
            other(None, Some(30.0), false),
            other(None, Some(30.0), true),
            other(Some("steady"), None, false),
            other(Some("peak"), None, false),
            other(Some("run"), None, false),
            other(Some("a.b"), None, false),
            other(Some("a_b"), None, false),
        ];
        told_apart(&[&result]);
        assert!(cases(&result)[1].ends_with("(2)\""), "{:?}", cases(&result)[1]);
        let elsewhere = RunResult { target: "smtp://127.0.0.2:25".into(), ..result.clone() };
        let shard = |index| RunResult {
            shard: Some(crate::report::stored::StoredShard { index, of: 2 }),
            ..result.clone()
        };
        told_apart(&[&result, &elsewhere, &shard(0), &shard(1)]);
        let searched = fixtures::searched();
        let again = RunResult { target: "smtp://127.0.0.2:25".into(), ..searched.clone() };
        told_apart(&[&searched, &again]);
        let mut twice = searched.clone();
        twice.limits.extend(searched.limits);
        if let Some(capacity) = &mut twice.capacity {
            capacity.goals.extend(capacity.goals.clone());
        }
        told_apart(&[&twice]);
    }

    proptest::proptest! {
        #[test]
        fn no_two_cases_of_a_file_are_alike(
            drawn in proptest::collection::vec(
                ("p99 < 1s|p99 < 1s \\(2\\)|a|a in b|\u{1}|\\\\u\\{1\\}", proptest::option::of("a|b|a\\.b|a_b|run|limits"),
                 proptest::option::of(0_u8..3), proptest::bool::ANY),
                1..40,
            )
        ) {
            let mut result = fixtures::searched();
            let one = result.assertions[0].clone();
            result.assertions = drawn.into_iter().map(|(expr, phase, window, abort)| {
                StoredAssertion { expr, phase, window_s: window.map(f64::from), abort, ..one.clone() }
            }).collect();
            told_apart(&[&result]);
        }
    }

    #[test]
    fn no_text_of_a_stranger_gets_out_of_its_place() {
        let mut result = fixtures::searched();
        let hostile = "421 \u{0}\u{1b}[31m]]>\"'<x a='b'>&amp;\r\n421 \u{fffe}\u{ffff}\u{b}\u{85}\u{2028}";
        result.limits[1].reply = Some(hostile.into());
        result.limits[1].name = hostile.into();
        result.profile.name = hostile.into();
        let text = junit(&result);
        assert!(text.chars().all(|c| c == '\n' || (' '..'\u{7f}').contains(&c)), "{text}");
        assert!(!text.contains("<x") && !text.contains("]]>"), "{text}");
        assert!(text.contains("\\u{1b}[31m") && text.contains("\\u{fffe}\\u{ffff}"), "{text}");
    }
}
