//! One trial, fully decided: the centre between what is asked (a profile, flags, a search) and what is done.
//!
//! # Decisions
//! - A plan may name conditions (`collector::expect`): the rules that tell an expected refusal from a failure are part of
//!   what is asked, and the vocabulary of conditions is the collector's.

use std::time::Duration;

use crate::collector::expect::{Expect, UserRule};
use crate::load;
use crate::mail;
use crate::net::target::Target;
use crate::smtp::Script;

/// What one arrival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A session with all its messages: connect to close.
    Session,
    /// A transaction, on a session of the pool.
    Message,
}

impl Unit {
    /// The unit's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Session => "session",
            Unit::Message => "message",
        }
    }
}

/// What becomes of an arrival that is due when no session is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSaturation {
    /// It waits, with its intended time.
    Queue,
    /// It is shed.
    Drop,
}

/// How many messages a session carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Messages {
    /// As many as there are (only over the pool).
    Unlimited,
    /// Always so many; 0 opens and closes the session.
    Fixed(u32),
    /// Uniform between the two, both included, drawn by seed and session.
    Uniform {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// One of these, by weight.
    Weighted(Vec<(u32, f64)>),
}

/// A named part of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name, unique in the plan.
    pub name: String,
    /// When arrivals are due.
    pub load: load::Phase,
    /// The name of the load model as the user wrote it.
    pub model: String,
    /// What an arrival is.
    pub unit: Unit,
    /// Never measured.
    pub warmup: bool,
    /// The most sessions open at once.
    pub max_sessions: u32,
    /// The most connections opened a second; `None`: as the load asks.
    pub connect_rate: Option<f64>,
    /// What becomes of an arrival when no session is free.
    pub on_saturation: OnSaturation,
    /// How long arrivals may take to end after the phase's end, before they are interrupted.
    pub graceful_stop: Duration,
}

/// One trial, fully decided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The profile's name.
    pub name: String,
    /// All randomness of the run.
    pub seed: u64,
    /// Identifies the run in its messages (`X-Smtpress-Run`).
    pub run_id: String,
    /// Where the load goes.
    pub target: Target,
    /// Hosts beyond loopback that the user allows.
    pub allow: Vec<String>,
    /// The dialogue.
    pub script: Script,
    /// Messages in a session.
    pub messages: Messages,
    /// What the messages are.
    pub mail: mail::Spec,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// Refusals that are right.
    pub expects: Vec<Expect>,
    /// The user's own names for replies.
    pub classify: Vec<UserRule>,
    /// Generator threads.
    pub threads: u32,
    /// Which part of the whole load this process carries.
    pub shard: load::Shard,
}
