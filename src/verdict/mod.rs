//! Judges runs, searches and comparisons, and returns the exit code that follows.
//!
//! This module measures nothing and prints nothing: `grammar` parses an assertion, `evidence` finds its value in the
//! collector's counts, `window` evaluates sliding windows during the run, and `judge` gives the verdict of a run.
//! `search` judges searches for limits and for the capacity, `compare` compares runs with runs. `exit_code` holds the
//! exit codes of every command.

pub mod compare;
mod evidence;
mod exit_code;
pub mod grammar;
pub mod judge;
mod outcome;
pub mod search;
pub mod window;

pub use evidence::{decimals_for_three_digits, duration_text};
pub use exit_code::ExitCode;
pub use grammar::{Assertion, Expr, GrammarError};
pub use judge::{Verdict, VerdictStatus, judge_deliveries};
pub use outcome::{AssertionResult, AssertionStatus};
pub use search::SearchVerdict;
pub use window::Windows;
