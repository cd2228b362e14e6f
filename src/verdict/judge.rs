//! From what was measured to a verdict and an exit code.

use super::grammar::Assertion;
use super::window::Windows;
use crate::collector::expect::Expect;
use crate::collector::snapshot::Measured;
use crate::collector::summary::Summary;

/// How a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictStatus {
    /// Measured, valid, and every assertion held.
    Pass,
    /// An assertion failed.
    Fail,
    /// Nothing was measured.
    NoData,
    /// The numbers cannot be trusted.
    Invalid,
    /// The user stopped it.
    Interrupted,
}

impl VerdictStatus {
    /// The status's name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            VerdictStatus::Pass => "pass",
            VerdictStatus::Fail => "fail",
            VerdictStatus::NoData => "no-data",
            VerdictStatus::Invalid => "invalid",
            VerdictStatus::Interrupted => "interrupted",
        }
    }

    /// The process's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            VerdictStatus::Pass => 0,
            VerdictStatus::NoData => 4,
            VerdictStatus::Invalid => 98,
            VerdictStatus::Fail => 99,
            VerdictStatus::Interrupted => 105,
        }
    }
}

/// How an assertion is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionStatus {
    /// It held.
    Pass,
    /// It did not.
    Fail,
    /// It could not be judged, which is a failure.
    NoData,
}

impl AssertionStatus {
    /// The status's name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            AssertionStatus::Pass => "pass",
            AssertionStatus::Fail => "fail",
            AssertionStatus::NoData => "no-data",
        }
    }
}

/// What became of one assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionResult {
    /// The expression as written.
    pub expr: String,
    /// The phase, if it is about one.
    pub phase: Option<String>,
    /// What was found, with its unit, or why nothing was.
    pub observed: String,
    /// How it is judged.
    pub status: AssertionStatus,
    /// One of ours, not the user's.
    pub builtin: bool,
}

/// The judgement of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In a word.
    pub status: VerdictStatus,
    /// The process's exit code.
    pub exit_code: u8,
    /// By assertion, in their order.
    pub results: Vec<AssertionResult>,
}

impl Verdict {
    /// Judges a run. `expects` are the plan's; `windows` watched the run with the same assertions.
    pub fn judge(
        measured: &Measured,
        summary: &Summary,
        expects: &[Expect],
        assertions: &[Assertion],
        windows: &Windows,
    ) -> Verdict {
        todo!()
    }
}
