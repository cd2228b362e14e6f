//! What the commands that measure have in common: they open their outputs, check, run, store, and end with an exit code.
//!
//! It parses no command line and prints nothing: `cli` does both. It stands above `report` and `telemetry`, because a run
//! directory and a result are written here; so it cannot be part of `experiment`, which both of them import.

pub mod error;
pub mod messages;
pub mod output;
pub mod signals;

pub use error::CommandError;
pub use messages::Messages;
