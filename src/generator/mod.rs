//! The doing: threads, sessions and the loop that hands arrivals to them. It measures and does not judge.
//!
//! `local` starts the workers and adds them up; a `worker` is one thread; `dispatch` decides, `session` acts.

pub mod clock;
mod dispatch;
mod endpoint;
mod gates;
pub mod hands;
pub mod judge;
mod local;
pub mod preflight;
mod reach;
pub mod runner;
mod session;
mod slots;
mod tape;
mod work;
mod worker;

pub use endpoint::endpoint;
pub use local::{Local, resident_bytes, sessions_to_share, tls};
pub use runner::{Control, Observer, RunError, Runner};
pub use worker::{Faults, Stop};
