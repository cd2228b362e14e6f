//! The head of the report: the verdict, its reasons, and the identity of the run.

use super::claims;
use super::conditions::{self, ConditionView};
use super::{Cell, Tone, measured};
use crate::collector::summary::Code;
use crate::report::format;
use crate::report::stored::{
    Capacity, CapacityStatus, RunResult, StoredAssertionStatus, StoredStatus, ValidityStatus,
};

/// The head of the report.
#[derive(Clone, Debug)]
pub struct Head {
    /// `PASS`, `FAIL`, `NO-DATA`, ..., with its severity.
    pub word: Cell,
    /// The verdict in a sentence.
    pub sentence: String,
    /// The exit code of the process.
    pub exit_code: Cell,
    /// The assertion that stopped the run, if one did.
    pub aborted_by: Option<String>,
    /// Whether the measurement is valid, in a sentence.
    pub validity: Cell,
    /// The reasons why the run is invalid, by name and in words.
    pub reasons: Vec<(String, String)>,
    /// Warnings that do not make the run invalid.
    pub warnings: Vec<String>,
    /// The most frequent failure, if nothing was accepted.
    pub foremost: Option<Box<ConditionView>>,
    /// The profile's name.
    pub profile: Cell,
    /// The target.
    pub target: Cell,
    /// The time of the run's start.
    pub started_at: Cell,
    /// The length of the run.
    pub took: Cell,
    /// The seed.
    pub seed: String,
    /// The identifier of the run.
    pub run_id: Cell,
}

impl Head {
    pub(super) fn of(result: &RunResult) -> Head {
        let status = result.verdict.status;
        let validity = &result.validity;
        let is_valid = validity.status == ValidityStatus::Valid;
        let explained = |(i, reason): (usize, &String)| {
            let words = validity.explanations.get(i).map(|words| format::harmless(words)).unwrap_or_default();
            (format::harmless(reason), words)
        };
        Head {
            word: Cell::words(status.as_str().to_uppercase())
                .tone(severity(status))
                .stored("/verdict/status", "verdict"),
            sentence: format::harmless(&sentence(result)),
            exit_code: Cell::count(result.verdict.exit_code.into(), "/verdict/exit_code"),
            aborted_by: result.verdict.aborted_by.as_deref().map(format::harmless),
            validity: match is_valid {
                true => Cell::words(kept_up(result)).tone(Tone::Good),
                false => Cell::words(not_valid(&validity.reasons)).tone(Tone::Bad),
            },
            reasons: validity.reasons.iter().enumerate().map(explained).collect(),
            warnings: result.warnings.iter().map(|warning| format::harmless(warning)).collect(),
            foremost: match measured(result).all(|(_, phase)| phase.accepted == 0) {
                true => conditions::foremost(result, None).map(Box::new),
                false => None,
            },
            profile: Cell::stored_name(&result.profile.name, "/profile/name"),
            target: Cell::stored_name(&result.target, "/target"),
            started_at: Cell::stored_name(&result.started_at, "/started_at"),
            took: Cell::seconds(result.took_s, "/took_s"),
            seed: result.profile.seed.to_string(),
            run_id: Cell::stored_code(&result.run_id, "/run_id"),
        }
    }

    /// Returns the reasons why the run is invalid, a line each.
    pub fn reason_lines(&self) -> impl Iterator<Item = String> {
        self.reasons.iter().map(|(name, words)| match words.is_empty() {
            true => name.clone(),
            false => format!("{name}: {words}"),
        })
    }

    /// Returns the sentence with the exit code.
    pub fn sentence_with_code(&self) -> String {
        format!("{} (exit code {})", self.sentence, self.exit_code.text)
    }
}

/// Returns the sentence that the measurement is invalid. The generator is named only if all reasons are about it.
fn not_valid(reasons: &[String]) -> &'static str {
    let is_of_generator =
        |reason: &String| Code::ALL.iter().any(|code| code.is_of_generator() && code.as_str() == reason);
    if reasons.is_empty() {
        "The measurement is invalid."
    } else if reasons.iter().all(is_of_generator) {
        "The measurement is invalid: the load generator or its machine was the bottleneck, so the numbers below say more about \
         it than about the listener."
    } else {
        "The measurement is invalid, for these reasons:"
    }
}

fn severity(status: StoredStatus) -> Tone {
    match status {
        StoredStatus::Pass => Tone::Good,
        StoredStatus::Fail | StoredStatus::NoData | StoredStatus::Invalid => Tone::Bad,
        StoredStatus::Interrupted => Tone::Warning,
    }
}

/// Returns the sentence that the measurement is valid, with the figures of the generator.
fn kept_up(result: &RunResult) -> String {
    let cpu = format::percent(result.generator.cpu_share);
    let is_search = result.capacity.is_some() || !result.limits.is_empty();
    match result.generator.lag_p99_ns {
        Some(lag) => format!(
            "The measurement is valid: the load generator kept up. 99 of 100 arrivals started within {} of their scheduled \
             time, and it used {cpu} of its CPU.",
            format::duration(lag as f64)
        ),
        None if !is_search => "The measurement is valid, but no measured arrival started.".to_owned(),
        None => {
            "The results are valid: measurements that the load generator limited are not counted.".to_owned()
        }
    }
}

/// Returns the verdict in words.
fn sentence(result: &RunResult) -> String {
    if result.is_unfinished() {
        return "no verdict: these are the counts until the run ended".to_owned();
    }
    if result.verdict.status == StoredStatus::Interrupted {
        return format!("stopped by the user after {}", format::seconds(result.took_s));
    }
    match &result.capacity {
        _ if !result.phases.is_empty() => of_load(result),
        _ if !result.limits.is_empty() => of_limits(result),
        Some(capacity) => of_capacity(result, capacity),
        None => of_load(result),
    }
}

fn of_load(result: &RunResult) -> String {
    let failed = result.assertions.iter().filter(|own| own.status != StoredAssertionStatus::Pass).count();
    let all = result.assertions.len();
    match result.verdict.status {
        StoredStatus::Pass if all == 1 => "measured, valid, and the assertion holds".to_owned(),
        StoredStatus::Pass => format!("measured, valid, and all {all} assertions hold"),
        StoredStatus::Fail if failed == 0 => "not as expected".to_owned(),
        StoredStatus::Fail if all == 1 => "the assertion does not hold".to_owned(),
        StoredStatus::Fail => {
            let verb = if failed == 1 { "does" } else { "do" };
            let unexpected = result
                .assertions
                .iter()
                .find(|own| own.status == StoredAssertionStatus::Fail && own.expr.starts_with("unexpected"));
            let also = unexpected
                .map_or(String::new(), |own| format!("; unexpected were {}", claims::observed(own)));
            format!("{failed} of {all} assertions {verb} not hold{also}")
        }
        StoredStatus::Invalid => "the numbers below cannot be trusted".to_owned(),
        StoredStatus::NoData | StoredStatus::Interrupted => "nothing was measured".to_owned(),
    }
}

fn of_limits(result: &RunResult) -> String {
    let failed = result.limits.iter().filter(|limit| limit.fails()).count();
    let limits = format::counted(result.limits.len() as u64, "limit");
    match result.verdict.status {
        StoredStatus::Pass => match result.limits.iter().filter(|limit| limit.expected.is_some()).count() {
            0 => format!("{limits} tested, none with an expected value"),
            all if all == result.limits.len() => format!("{limits} tested, all as expected"),
            some => format!("{limits} tested, {some} with an expected value, as expected"),
        },
        StoredStatus::Fail if result.limits.len() == 1 => "the limit is not as expected".to_owned(),
        StoredStatus::Fail if failed == 1 => format!("1 of {limits} is not as expected"),
        StoredStatus::Fail => format!("{failed} of {limits} are not as expected"),
        StoredStatus::NoData | StoredStatus::Interrupted => "no limit was found".to_owned(),
        StoredStatus::Invalid => "the search could not be completed".to_owned(),
    }
}

fn of_capacity(result: &RunResult, capacity: &Capacity) -> String {
    let count = |status: CapacityStatus| capacity.goals.iter().filter(|goal| goal.status == status).count();
    let sentence = match result.verdict.status {
        StoredStatus::Pass if result.assertions.is_empty() => "the capacity is found",
        StoredStatus::Pass => "the capacity is as expected",
        StoredStatus::Fail => "the capacity is not as expected",
        StoredStatus::Invalid => "no trial can be trusted",
        StoredStatus::NoData | StoredStatus::Interrupted => {
            let causes = [
                (CapacityStatus::GeneratorLimited, "inconclusive: the generator could do no more"),
                (CapacityStatus::MaxReached, "inconclusive: the highest load allowed meets the goal"),
                (CapacityStatus::Inconclusive, "inconclusive: the search did not settle"),
            ];
            match causes.into_iter().find(|(status, _)| count(*status) > 0) {
                Some((_, why)) => why,
                None if capacity.goals.is_empty() => "nothing was measured",
                None => "inconclusive: the search ended early",
            }
        }
    };
    sentence.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn the_generator_is_blamed_only_for_its_own_reasons() {
        let validity = |reasons: &[&str]| {
            let mut result = fixtures::invalid();
            result.validity.reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
            Head::of(&result).validity.text
        };
        let own = validity(&["generator-lag", "own-resource", "generator-throttled"]);
        assert!(own.contains("the load generator or its machine was the bottleneck"), "{own}");
        for others in [
            &["receiver-overloaded"][..],
            &["generator-lag", "deliveries-incomplete"],
            &["event-failed"],
            &["cut-off"],
            &["a-reason-of-a-later-version"],
        ] {
            assert_eq!(validity(others), "The measurement is invalid, for these reasons:");
        }
        assert_eq!(validity(&[]), "The measurement is invalid.");
    }
}
