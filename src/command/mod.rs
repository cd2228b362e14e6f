//! What the commands that measure have in common: they open their outputs, check, run, store, and end with an exit code.
//!
//! It parses no command line and prints nothing: `cli` does both. It stands above `report` and `telemetry`, because a run
//! directory and a result are written here; so it cannot be part of `experiment`, which both of them import.

pub mod behind_relay;
pub mod capacity;
pub mod copies;
pub mod display;
pub mod error;
pub mod events;
pub mod fleet;
pub mod joined;
pub mod life;
pub mod limit;
pub mod machine;
pub mod messages;
pub mod output;
pub mod prepared;
pub mod run;
pub mod selftest;
pub mod signals;

pub use copies::Copies;
pub use display::Display;
pub use error::CommandError;
pub use life::Finished;
pub use messages::MessageSink;
pub use prepared::Prepared;
