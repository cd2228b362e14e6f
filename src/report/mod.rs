//! Telling: what a run gave, as text and as files. It measures nothing and judges nothing.
//!
//! [`RunResult`] is the only input of every renderer; a run is told again from its stored `result.json` with the same code.

pub mod build;
pub mod findings;
#[cfg(test)]
mod fixtures;
mod layout;
pub mod result;
pub mod terminal;
mod words;

pub use build::BuildInput;
pub use result::RunResult;
