//! The format of a profile: every table and key, declared once (see [`super::table`]), and the JSON Schema that is
//! derived from the declarations (`smtpress schema profile`).
//!
//! This module decides nothing: `resolved` fills in defaults, and `compile` checks keys against each other.
//!
//! # Decisions
//! - No `flatten` and no untagged enums, because they lose the place of an error.
//! - A phase is one flat table for all load models, so that a key of another model gets an error that names this
//!   reason.
//! - The places of later errors come from the document (`Document::place`), not from spans in these types. So a profile
//!   that is made from flags has the same types.

pub mod auth;
pub mod capacity;
pub mod event;
pub mod listener;
pub mod message;
pub mod phase;
pub mod receive;
pub mod rule;
pub mod session;
pub mod target;

use std::collections::BTreeMap;

use super::bounds;
use super::table::tables;
use super::units::Seed;
use super::value::Plain;
use capacity::Capacity;
use event::Event;
use listener::Listener;
use message::Message;
use phase::Phase;
use receive::Receive;
use rule::{Assert, Classify, Expect};
use session::{Session, Timeouts};
use target::Target;

tables! {
    /// A smtpress profile: a load test with its expectations and assertions.
    Profile {
        /// The version of this format: 1.
        schema: u32 = 1, if bounds::schema;
        /// A name for reports and run directories: letters, digits, `-`, `_` and `.`.
        name: String, if bounds::profile_name;
        /// The seed of all random choices of the run. Absent: drawn, printed and stored.
        seed: Seed, flag "--seed";
        /// Threads of the generator. Absent: as many as there are cores.
        threads: u32, if bounds::threads, flag "--threads";
        /// The folder in which the commands of [[event]] and `between_trials` run, and in which scripts are found.
        /// Absent: that of the profile, or the current one without a profile.
        folder: String;
        /// The target of the load.
        target: Target = Target::default();
        /// How long each step may take.
        timeouts: Timeouts = Timeouts::default();
        /// The dialogue.
        session: Session = Session::default();
        /// The messages.
        message: Message = Message::default();
        /// The parts of the run, in order.
        phase: Vec<Phase>, or Vec::new();
        /// Replies that are expected, and no failures.
        expect: Vec<Expect>, or Vec::new();
        /// Commands that run during the load of `smtpress run`.
        event: Vec<Event>, or Vec::new();
        /// What must hold for the run to pass.
        assert: Vec<Assert>, or Vec::new();
        /// Your own conditions for replies, checked before the built-in rules.
        classify: Vec<Classify>, or Vec::new();
        /// For `smtpress limit`: what the administrator configured, by the name of the limit, such as
        /// `too-many-connections-from-host = 50`; `smtpress limit --target embedded --plan` lists the names. A count, a size, a time
        /// or a rate, as the limit asks for.
        limits: BTreeMap<String, Plain>, or BTreeMap::new();
        /// For `smtpress capacity`: what to search, and which goals to meet.
        capacity: Capacity;
        /// The receiver behind the relay under test. Absent: deliveries are not checked.
        receive: Receive;
        /// The embedded listener: for `address = "embedded"` and `smtpress listen`.
        listener: Listener, or Listener::default();
    }
}

/// Returns the JSON Schema of a profile (2020-12).
pub fn json_schema() -> schemars::Schema {
    schemars::schema_for!(Profile)
}
