//! The same trial on many machines: a coordinator and its agents, over NATS.
//!
//! An agent is a worker farther away: it has a shard of the load, runs it with the Runner of its own machine, and reports each
//! second. The coordinator is a Runner too: a plan goes in, and what all agents together measured comes out, so that all that
//! judges and reports a run of one machine does the same for a fleet. Transport, storage, access and reconnection are NATS'.
//!
//! `message` is what both say to each other, `subject` where, `states` the coordinator as a pure machine, `clock_offset` and
//! `union` the arithmetic of one clock and one result, `bus` the connection, `gathering` who is there, `collect` what is
//! left of a run without its coordinator, `record` what is kept for another one, `agent` and `coordinator`
//! the two ends, `server` the private nats-server, `init` the configuration of one that stays, `local` and `ssh`
//! agents that end with the coordinator.
//!
//! # Decisions
//! - A shard that is lost is not shared out anew: the load would no longer be the one that was planned. The others stop, and
//!   the run is invalid.
//! - Commands are signed by the coordinator's key and carry the agent's own random number: what was recorded on the bus starts
//!   nothing a second time.
//! - Times of all agents count from one moment T0, which each knows in its own monotonic clock: wall clocks decide nothing.

pub mod agent;
mod bus;
pub mod clock_offset;
pub mod collect;
pub mod coordinator;
pub mod gathering;
pub mod init;
pub mod local;
pub mod message;
pub mod probes;
pub mod probing;
pub mod record;
pub mod server;
mod spool;
pub mod ssh;
pub mod states;
mod subject;
pub mod union;

use std::time::Duration;

pub use crate::collector::agents::LEASE;
pub use bus::{Bus, BusAccess, BusError, seed};
/// An agent that is not heard of for so long is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(3);
/// How often agents and the coordinator give a sign of life.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How far from T0 an agent may start, by the bound of its clock's offset.
pub const MAX_START_SKEW: Duration = Duration::from_millis(10);
