//! The integration tests: the crate from outside, and the shape of its source.

#![expect(
    clippy::unwrap_used,
    reason = "in a test what fails must end it, also in the functions that tests share"
)]

mod architecture;
mod capacity;
mod chunk_laws;
mod client_laws;
mod commands;
mod dialogues;
mod docs;
mod hostile;
mod ignored;
mod limits;
mod listener;
mod measurement;
mod odd_listeners;
mod reports;
mod runs;
mod selftest;
mod signed;
mod tls;
mod virtual_wire;
