//! The integration tests, one binary.

mod client_laws;
mod dialogues;
mod virtual_wire;
