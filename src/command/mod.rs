//! The life of the commands that measure: open the outputs, check, run, store, and end with an exit code.
//!
//! `cli` parses the command line and prints. This module imports `report` and `telemetry`, because it writes run
//! directories and results; so it cannot be part of `experiment`, which both of them import.

pub mod behind_relay;
pub mod capacity;
pub mod clock_probe;
pub mod copies;
pub mod display;
pub mod error;
pub mod events;
pub mod fleet;
pub mod joined;
pub mod life;
pub mod limit;
pub mod machine;
pub mod message_files;
pub mod messages;
pub mod output;
pub mod prepared;
pub mod remote_receiver;
pub mod run;
pub mod selftest;
pub mod signals;

pub use copies::Copies;
pub use display::Display;
pub use error::CommandError;
pub use life::Finished;
pub use messages::MessageSink;
pub use prepared::Prepared;
