//! The highest load that meets the goals, found as RFC 9971 (MLRsearch) says.
//!
//! `classify` says what trials mean for a load, `controller` which trial is next; neither knows what a message is.

pub mod classify;
pub mod controller;
