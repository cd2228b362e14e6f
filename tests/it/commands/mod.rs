//! The binary from outside: what a user types, sees, finds in files and gets as exit code.

mod ceiling;
mod compare;
mod connector;
mod dashboard;
mod death;
mod flags;
mod gone;
mod habits;
mod hosts;
mod inputs;
mod interleave;
mod limits;
mod logins;
mod looks;
mod machine;
mod memory;
mod numbers;
mod opening;
mod otlp;
mod places;
mod rude;
mod runs;
mod sessions;
pub mod stage;
mod standstill;
mod stops;
mod wrong;
