//! The binary from outside: what a user types, sees, finds in files and gets as exit code.

mod ceiling;
mod flags;
mod looks;
mod memory;
mod runs;
mod sessions;
mod stage;
mod stops;
mod wrong;
