//! The judging: expressions over what was measured, and the exit code that follows.

pub mod evidence;
pub mod grammar;
pub mod judge;
pub mod window;

pub use grammar::{Assertion, Expr, GrammarError};
pub use judge::{AssertionResult, AssertionStatus, Verdict, VerdictStatus};
pub use window::Windows;
