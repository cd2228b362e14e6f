//! The judging: expressions over what was measured, and the exit code that follows.
//!
//! It measures nothing and prints nothing: `grammar` says what is asked, `evidence` finds the number in the collector's
//! books, `window` watches a run while it lasts, and `judge` comes to the verdict. `compare` holds runs against runs.

pub mod compare;
mod evidence;
pub mod grammar;
pub mod judge;
pub mod window;

pub use evidence::duration_text;
pub use grammar::{Assertion, Expr, GrammarError};
pub use judge::{AssertionResult, AssertionStatus, Verdict, VerdictStatus};
pub use window::Windows;
