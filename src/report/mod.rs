//! Telling: what a run gave, as text and as files. It measures nothing and judges nothing.
//!
//! [`RunResult`] is the only input of every renderer; a run is told again from its stored `result.json` with the same code.

pub mod findings;
pub mod result;

pub use result::RunResult;
