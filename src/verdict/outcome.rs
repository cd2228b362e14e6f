//! The outcome of an assertion, and the phases that it is about.

use std::time::Duration;

use super::grammar::Assertion;
use crate::collector::summary::PhaseInfo;

/// The status of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionStatus {
    /// The assertion passed.
    Pass,
    /// The assertion failed.
    Fail,
    /// There were no data, which counts as a failure.
    NoData,
    /// The user stopped the run, so the assertion is not judged.
    NotJudged,
}

impl AssertionStatus {
    /// Returns the name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            AssertionStatus::Pass => "pass",
            AssertionStatus::Fail => "fail",
            AssertionStatus::NoData => "no-data",
            AssertionStatus::NotJudged => "not-judged",
        }
    }
}

impl Assertion {
    /// Returns the result of the assertion.
    pub(super) fn result(&self, observed: String, status: AssertionStatus) -> AssertionResult {
        AssertionResult {
            expr: self.expr.text.clone(),
            phase: self.phase.clone(),
            observed,
            status,
            builtin: self.builtin,
            abort: self.abort,
            window: self.window,
            grace: self.grace,
        }
    }
}

/// The result of one assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionResult {
    /// The expression as the user wrote it.
    pub expr: String,
    /// The phase, if the assertion is about one.
    pub phase: Option<String>,
    /// The observed value with its unit, or why there is none.
    pub observed: String,
    /// The status.
    pub status: AssertionStatus,
    /// Whether the assertion is built in.
    pub builtin: bool,
    /// Whether the assertion ends the run as soon as it fails.
    pub abort: bool,
    /// The length of the sliding window; the assertion must hold in each window. `None`: it must hold over the whole.
    pub window: Option<Duration>,
    /// How long after the start of its first phase the assertion is checked for the first time during the run.
    pub grace: Duration,
}

/// Returns the indices of the phases that an assertion is about.
///
/// # Errors
/// The phase does not exist, or is a warm-up.
pub(super) fn scope<'a>(
    assertion: &Assertion,
    phases: impl IntoIterator<Item = &'a PhaseInfo>,
) -> Result<Vec<usize>, &'static str> {
    let mut phases = phases.into_iter().enumerate();
    match &assertion.phase {
        None => Ok(phases.filter(|(_, phase)| !phase.warmup).map(|(index, _)| index).collect()),
        Some(name) => match phases.find(|(_, phase)| phase.name == *name) {
            Some((_, phase)) if phase.warmup => Err("a warm-up phase is not measured"),
            Some((index, _)) => Ok(vec![index]),
            None => Err("no such phase"),
        },
    }
}
