//! Runs the same trial on many machines: a coordinator and its agents, connected by NATS.
//!
//! An agent runs one shard of the load with the Runner of its own machine, and reports each second. The coordinator is
//! a Runner too: it takes a plan and returns the measurement of all agents together, so that a fleet is judged and
//! reported by the same code as one machine. NATS does the transport, the storage, the access control and the
//! reconnection.
//!
//! `message` defines the messages of both sides, and `subject` their subjects. `states` is the coordinator as a pure
//! state machine; `clock_offset` relates the clocks of the agents, and `union` adds up their measurements. `bus` is the
//! connection, `gathering` finds the agents. `record` lets another coordinator take a run over, and `collect` reads the
//! reports of a run without a coordinator. `files` are the message files that agents get, and `deliveries` copies the
//! delivery log of an agent's receiver. `probes` lets a limit measurement use probes that run on the agents, and `probing`
//! runs the probes of one agent. `agent` and `coordinator` are the two ends. `server` is the private
//! nats-server, and `init` makes the configuration of a permanent nats-server. `local` and `ssh` start agents that end
//! with the coordinator.
//!
//! # Decisions
//! - A lost shard is not given to other agents: the load would no longer be the planned one. The others stop, and the
//!   run is invalid.
//! - Commands are signed by the coordinator's key and carry the agent's own random number: a command that was recorded
//!   on the bus cannot be used again.
//! - All times count from one moment T0, which each agent knows in its own monotonic clock; no wall clock is used.

pub mod agent;
mod bus;
pub mod clock_offset;
pub mod collect;
pub mod coordinator;
pub mod deliveries;
pub mod files;
pub mod gathering;
pub mod init;
pub mod local;
pub mod message;
pub mod probes;
pub mod probing;
pub mod record;
pub mod server;
pub mod silence;
mod spool;
pub mod ssh;
pub mod states;
mod subject;
pub mod union;

use std::time::Duration;

pub use crate::collector::agents::LEASE;
pub use bus::{Bus, BusAccess, BusError, seed};
/// An agent that sends no message for this long is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(3);
/// The interval of heartbeats and of leases.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How far from T0 an agent may start: the largest accepted error of its clock offset.
pub const MAX_START_SKEW: Duration = Duration::from_millis(10);
