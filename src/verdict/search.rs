//! The verdict of a search: for limits, or for the capacity.

use super::exit_code::ExitCode;
use super::judge::VerdictStatus;
use super::outcome::{AssertionResult, AssertionStatus};

/// The verdict of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchVerdict {
    /// The verdict in one word.
    pub status: VerdictStatus,
    /// The process's exit code.
    pub exit_code: ExitCode,
    /// Why the search is invalid, or has no result.
    pub reason: Option<SearchReason>,
}

/// Why a search is invalid, or has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchReason {
    /// The name in result.json.
    pub code: String,
    /// The reason in a sentence.
    pub sentence: String,
}

impl SearchVerdict {
    fn new(status: VerdictStatus) -> SearchVerdict {
        SearchVerdict { status, exit_code: status.exit_code(), reason: None }
    }

    fn because(self, code: &str, sentence: String) -> SearchVerdict {
        SearchVerdict { reason: Some(SearchReason { code: code.to_owned(), sentence }), ..self }
    }

    /// Returns the verdict of a search that ran to its end. `as_expected` says that all limits are as expected.
    pub fn complete(as_expected: bool) -> SearchVerdict {
        SearchVerdict::new(if as_expected { VerdictStatus::Pass } else { VerdictStatus::Fail })
    }

    /// Returns the verdict of a search that the user stopped.
    pub fn stopped() -> SearchVerdict {
        SearchVerdict::new(VerdictStatus::Interrupted)
    }

    /// Returns the verdict of a search that did not begin, because its first session was not served. `reply` describes
    /// what the listener did instead, and `hint` the probable cause.
    pub fn not_served(reply: &str, hint: Option<&str>) -> SearchVerdict {
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let sentence = format!("the listener does not serve a first session: {reply}{hint}");
        let verdict = SearchVerdict::new(VerdictStatus::NoData).because("unserved", sentence);
        SearchVerdict { exit_code: ExitCode::Preflight, ..verdict }
    }

    /// Returns the verdict of a search in which the listener served no session after the limit `after`.
    pub fn listener_lost(after: &str, reply: &str) -> SearchVerdict {
        let sentence = format!("after {after} the listener served no further session: {reply}");
        SearchVerdict::new(VerdictStatus::Invalid).because("listener-lost", sentence)
    }

    /// Returns the verdict of a search that this machine could not continue.
    pub fn own_failure(why: &str) -> SearchVerdict {
        let sentence = format!("the generator could not continue: {why}");
        SearchVerdict::new(VerdictStatus::Invalid).because("own-failure", sentence)
    }

    /// Returns the verdict of a search that a fault in smtpress ended.
    pub fn fault(limit: &str, why: &str) -> SearchVerdict {
        let sentence = format!("a fault in smtpress ended the search for {limit}, please report it: {why}");
        let verdict = SearchVerdict::new(VerdictStatus::Invalid).because("fault", sentence);
        SearchVerdict { exit_code: ExitCode::Fault, ..verdict }
    }

    /// Returns the verdict of a search that used up its budget of `what` before its last limit.
    pub fn budget_spent(what: &str) -> SearchVerdict {
        let sentence = format!("the budget of {what} is used up, and some limits were not looked for");
        SearchVerdict::new(VerdictStatus::Invalid).because("spent", sentence)
    }

    /// Returns the verdict of a capacity search whose command between two trials failed.
    pub fn hook_failed() -> SearchVerdict {
        SearchVerdict { exit_code: ExitCode::Preflight, ..SearchVerdict::new(VerdictStatus::NoData) }
    }

    /// Returns the verdict of a capacity search that ran to its end. `is_settled` says that every goal has a confirmed
    /// capacity. `no_valid_trial` is the reason if no trial is valid.
    pub fn capacity(
        is_settled: bool,
        expectations: &[AssertionResult],
        no_valid_trial: Option<SearchReason>,
    ) -> SearchVerdict {
        let any = |status| expectations.iter().any(|expectation| expectation.status == status);
        let inconclusive = || SearchVerdict {
            exit_code: ExitCode::Inconclusive,
            ..SearchVerdict::new(VerdictStatus::NoData)
        };
        match no_valid_trial {
            Some(reason) => {
                SearchVerdict { reason: Some(reason), ..SearchVerdict::new(VerdictStatus::Invalid) }
            }
            None if any(AssertionStatus::Fail) => SearchVerdict::complete(false),
            None if any(AssertionStatus::NoData) => inconclusive(),
            None if is_settled || !expectations.is_empty() => SearchVerdict::complete(true),
            None => inconclusive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn capacity(is_settled: bool, expectations: &[AssertionStatus], invalid: bool) -> (VerdictStatus, u8) {
        let reason = SearchReason { code: "generator-lag".to_owned(), sentence: "too late".to_owned() };
        let result = |status: &AssertionStatus| AssertionResult {
            expr: "capacity >= 50".to_owned(),
            phase: None,
            observed: String::new(),
            status: *status,
            builtin: false,
            abort: false,
            window: None,
            grace: Duration::ZERO,
        };
        let results: Vec<_> = expectations.iter().map(result).collect();
        let verdict = SearchVerdict::capacity(is_settled, &results, invalid.then_some(reason));
        assert_eq!(verdict.reason.is_some(), verdict.status == VerdictStatus::Invalid);
        (verdict.status, verdict.exit_code.number())
    }

    #[test]
    fn a_capacity_is_judged_by_its_expectations_or_else_by_its_bounds() {
        let [pass, fail, none] = [AssertionStatus::Pass, AssertionStatus::Fail, AssertionStatus::NoData];
        assert_eq!(capacity(true, &[], false), (VerdictStatus::Pass, 0));
        assert_eq!(capacity(false, &[], false), (VerdictStatus::NoData, 5));
        assert_eq!(capacity(false, &[pass], false), (VerdictStatus::Pass, 0));
        assert_eq!(capacity(true, &[pass, none], false), (VerdictStatus::NoData, 5));
        assert_eq!(capacity(true, &[none, fail], false), (VerdictStatus::Fail, 99));
        assert_eq!(capacity(true, &[fail], true), (VerdictStatus::Invalid, 98));
        assert_eq!(SearchVerdict::hook_failed().exit_code.number(), 3);
    }

    #[test]
    fn a_search_that_ended_early_says_why() {
        let silent = SearchVerdict::not_served("no reply (at greeting)", Some("is it an SMTP port?"));
        assert_eq!((silent.status, silent.exit_code), (VerdictStatus::NoData, ExitCode::Preflight));
        let reason = silent.reason.unwrap();
        assert_eq!(reason.code, "unserved");
        assert!(reason.sentence.ends_with("no reply (at greeting); is it an SMTP port?"), "{reason:?}");
        assert_eq!(SearchVerdict::fault("size", "x").exit_code, ExitCode::Fault);
        assert_eq!(SearchVerdict::stopped().exit_code, ExitCode::Interrupted);
        for invalid in [
            SearchVerdict::listener_lost("size", "x"),
            SearchVerdict::own_failure("x"),
            SearchVerdict::budget_spent("time"),
        ] {
            assert_eq!((invalid.status, invalid.exit_code), (VerdictStatus::Invalid, ExitCode::Invalid));
        }
    }
}
