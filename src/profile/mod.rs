//! From what the user wrote (TOML) to what is done ([`Plan`](crate::plan::Plan)), with errors that show the place.
//!
//! It knows no network and measures nothing. The walk: [`Document`] (text and overrides, with their places) becomes a
//! [`schema::Profile`], is filled up with defaults by [`resolved`], and decided by [`compile()`].

pub mod schema;
pub mod units;
pub mod value;
