//! Turns the user's TOML into a [`Plan`](crate::plan::Plan), with errors that show the place.
//!
//! This module uses no network and measures nothing. The steps: a [`Document`] (text and overrides, with their places)
//! becomes a [`schema::Profile`], [`resolved`] fills in the defaults, and [`compile()`] makes the plan.

mod bounds;
pub mod check;
pub mod compile;
pub mod document;
pub mod error;
pub mod flags;
pub mod input;
mod nearest;
pub mod overrides;
pub mod place;
pub mod redact;
pub mod resolved;
pub mod schema;
pub mod table;
pub mod units;
pub mod value;

pub use compile::{Compiled, Context, Purpose, compile};
pub use document::Document;
pub use error::ProfileError;
pub use overrides::Override;

#[cfg(test)]
mod tests;
