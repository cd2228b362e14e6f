//! Writes a run as JUnit XML, which CI systems show as tests: a case for each assertion, each limit, each goal of a
//! capacity and each event.
//!
//! The module lays out the claims of a [`View`] and judges none of them again.
//!
//! # Decisions
//! - If the measurement is invalid, no case passes: cases that would have passed are errors. In a run that the user
//!   stopped, such cases are skipped. So a CI system never shows a better result than the exit code.
//! - A verdict that no case shows (such as a run without assertions that measured nothing) gets a case of its own.
//! - CI systems identify a case by its class and its name over all files of a pipeline: the class names profile,
//!   target, shard and phase, the name holds the assertion with its options, and remaining duplicates are numbered.
//! - The output is valid by both known schemas, that of Jenkins and the older one of Ant.

use std::collections::HashSet;

use askama::Template;

use super::format;
use super::stored::{RunResult, StoredShard, ValidityStatus};
use super::view::{Claim, ClaimState, Head, Tone, View};

/// The groups of claims, each a suite.
const SUITES: [&str; 4] = ["assertions", "limits", "capacity", "events"];

/// Returns the result as JUnit XML. Every text is escaped. Characters that XML cannot hold are written as `\u{...}`.
pub fn junit(result: &RunResult) -> String {
    let view = View::of(result);
    let mut seen = HashSet::new();
    let class = CaseClass { result };
    let mut suites: Vec<Suite> = SUITES
        .into_iter()
        .map(|group| {
            let claims = view.claims.iter().filter(|claim| claim.group == group);
            Suite::new(group, claims.map(|claim| class.case(claim, &view.head).unique(&mut seen)).collect())
        })
        .filter(|suite| !suite.cases.is_empty())
        .collect();
    let is_shown = suites.iter().flat_map(|suite| &suite.cases).any(|case| case.state != ClaimState::Passed);
    if view.head.word.tone != Tone::Good && !is_shown {
        suites.push(Suite::new("verdict", vec![class.verdict(&view.head)]));
    }
    let sum = |of: fn(&Suite) -> usize| suites.iter().map(of).sum();
    let report = JunitReport {
        time: format!("{:.3}", result.took_s.max(0.0)),
        timestamp: clean(result.started_at.trim_end_matches('Z')),
        tests: sum(|suite| suite.cases.len()),
        failures: sum(Suite::failures),
        errors: sum(Suite::errors),
        properties: properties(result),
        suites: &suites,
    };
    let mut text = report.render().expect("a template of plain values writes into memory");
    text.push('\n');
    text
}

#[derive(Template)]
#[template(path = "junit.xml")]
struct JunitReport<'a> {
    time: String,
    timestamp: String,
    tests: usize,
    failures: usize,
    errors: usize,
    properties: Vec<(&'static str, String)>,
    suites: &'a [Suite],
}

/// The cases of one group of claims.
struct Suite {
    name: &'static str,
    cases: Vec<Case>,
    out: String,
}

impl Suite {
    fn new(name: &'static str, cases: Vec<Case>) -> Suite {
        let lines: Vec<String> =
            cases.iter().map(|case| format!("{}: {} {}", case.name, case.word, case.observed)).collect();
        Suite { name, cases, out: lines.join("\n") }
    }

    fn count(&self, state: ClaimState) -> usize {
        self.cases.iter().filter(|case| case.state == state).count()
    }

    fn failures(&self) -> usize {
        self.count(ClaimState::Failed)
    }

    fn errors(&self) -> usize {
        self.count(ClaimState::Unknown)
    }

    fn skipped(&self) -> usize {
        self.count(ClaimState::Skipped)
    }
}

/// A claim with cleaned texts.
struct Case {
    class: String,
    name: String,
    word: String,
    observed: String,
    state: ClaimState,
    /// The kind of failure.
    kind: &'static str,
    message: String,
    text: String,
}

impl Case {
    /// Returns the case with a number at the end of its name, if its class and name are in use.
    fn unique(mut self, seen: &mut HashSet<(String, String)>) -> Case {
        let name = self.name.clone();
        let mut number = 1;
        while !seen.insert((self.class.clone(), self.name.clone())) {
            number += 1;
            self.name = format!("{name} ({number})");
        }
        self
    }
}

/// Makes the cases of one run.
struct CaseClass<'a> {
    result: &'a RunResult,
}

impl CaseClass<'_> {
    fn of(&self, scope: &str) -> String {
        let RunResult { profile, target, shard, .. } = self.result;
        let shard = shard.map(|StoredShard { index, of }| format!("shard-{index}-of-{of}"));
        let parts = ["smtpress", &profile.name, target].into_iter().chain(shard.as_deref()).chain([scope]);
        // A dot in a class is a package separator to CI systems.
        clean(&parts.map(|part| part.replace('.', "_")).collect::<Vec<_>>().join("."))
    }

    fn case(&self, claim: &Claim, head: &Head) -> Case {
        let scope = match claim.group {
            "assertions" => claim.phase.as_deref().unwrap_or("run"),
            group => group,
        };
        let phase = claim.phase.as_ref().map_or(String::new(), |phase| format!(" in {phase}"));
        let is_invalid = self.result.validity.status == ValidityStatus::Invalid;
        let is_doubtful = is_invalid && claim.state == ClaimState::Unknown && claim.failure != "inconclusive";
        let observed = clean(&claim.observed);
        let (kind, text) = match is_doubtful {
            true => ("invalid", head.reason_lines().collect::<Vec<_>>()),
            false => (claim.failure, claim.details.clone()),
        };
        let message = match claim.state {
            ClaimState::Unknown if is_doubtful => format!("the measurement is invalid; observed: {observed}"),
            _ => format!("{}: {observed}", claim.word.text),
        };
        Case {
            class: self.of(scope),
            name: clean(&format!("{}{phase}{}", claim.what, claim.conditions)),
            word: claim.word.text.clone(),
            observed,
            state: claim.state,
            kind,
            message,
            text: clean(&text.join("\n")),
        }
    }

    /// Returns the verdict as a case of its own.
    fn verdict(&self, head: &Head) -> Case {
        let observed = format!("{} (exit code {})", head.word.text, head.exit_code.text);
        Case {
            class: self.of("run"),
            name: "verdict".to_owned(),
            word: String::new(),
            state: match (head.word.tone, head.word.text.as_str()) {
                (_, "FAIL") => ClaimState::Failed,
                (Tone::Warning, _) => ClaimState::Skipped,
                _ => ClaimState::Unknown,
            },
            kind: self.result.verdict.status.as_str(),
            message: observed.clone(),
            text: clean(&head.reason_lines().collect::<Vec<_>>().join("\n")),
            observed,
        }
    }
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

/// Returns the text, line by line, with escapes for control characters, which XML 1.0 cannot hold even as references.
fn clean(text: &str) -> String {
    text.lines().map(format::harmless).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;
    use crate::report::stored::{StoredAssertion, StoredStatus};

    #[test]
    fn there_is_a_case_for_each_assertion_limit_and_goal() {
        for result in fixtures::all() {
            let goals = result.capacity.as_ref().map_or(0, |capacity| capacity.goals.len());
            let claims = result.assertions.len() + result.limits.len() + goals;
            // A run that was stopped before any assertion shows its verdict.
            assert_eq!(junit(&result).matches("<testcase ").count(), claims.max(1), "{}", junit(&result));
        }
    }

    #[test]
    fn what_failed_says_what_was_observed() {
        insta::assert_snapshot!(junit(&fixtures::limit_enforced()));
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

    /// Returns class and name of each case in the file.
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
        let shard = |index| RunResult { shard: Some(StoredShard { index, of: 2 }), ..result.clone() };
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
