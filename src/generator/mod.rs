//! The load generator: threads, sessions, and the dispatcher that assigns arrivals to sessions. It measures and does
//! not judge.
//!
//! `local` starts the workers and adds up their counts; a `worker` is the loop of one thread; `dispatch` decides which
//! arrival starts, `session_pool` passes the decision to a session, and a `session` serves the arrival and reports to
//! `accounting`.

mod accounting;
pub mod clock;
pub mod connector;
mod context;
mod dispatch;
pub mod failure_class;
mod host;
mod local;
mod loop_watch;
mod meter;
pub mod preflight;
pub mod probe;
pub mod reachability;
pub mod runner;
mod session;
mod session_pool;
mod start_barrier;
mod times;
mod transcript;
mod work;
mod worker;

pub use connector::Connector;
pub use local::Local;
pub use meter::resident_bytes;
pub use runner::{Control, Observer, PhaseStarts, RunError, RunStart, Runner, Stop};
