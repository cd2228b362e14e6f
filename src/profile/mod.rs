//! From what the user wrote (TOML) to what is done ([`Plan`](crate::plan::Plan)), with errors that show the place.
//!
//! It knows no network and measures nothing. The walk: [`Document`] (text and overrides, with their places) becomes a
//! [`schema::Profile`], is filled up with defaults by [`resolved`], and decided by [`compile()`].

pub mod auth;
mod capacity;
pub mod check;
pub mod compile;
mod dialogue;
pub mod document;
pub mod error;
mod extensions;
pub mod flags;
pub mod input;
pub mod listener;
pub mod message;
pub mod misbehave;
pub mod overrides;
mod phase;
pub mod redact;
pub mod resolved;
mod rule;
pub mod schema;
mod target;
pub mod tls;
pub mod units;
pub mod value;

pub use compile::{Compiled, Context, Purpose, compile};
pub use document::Document;
pub use error::ProfileError;
pub use overrides::Override;

#[cfg(test)]
mod tests;
