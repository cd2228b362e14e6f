//! Deliveries end to end: a receiver takes the messages that a relay delivers, and matches them with those that the
//! relay accepted.
//!
//! [`Receiver`] listens and counts, and [`settings`] holds its settings. A [`LoggingReceiver`] is a process of its own
//! and writes a [`log`], from which a run gets the same counts. [`FarEnd`] is the receiver or the logs of a run, and
//! [`clock`] relates their times. `mime` parses a message that came out, [`received`] identifies it, [`integrity`] compares
//! it with the sent one, and [`notification`] reads a bounce. [`matching`] counts each accepted recipient once,
//! [`flow`](crate::collector::flow) computes the length of the relay's queue, and [`account`] adds everything up for
//! one run. [`transactions`] stores the data that is needed to join a run with a log later.

pub mod account;
mod catcher;
pub mod clock;
mod far_end;
#[cfg(test)]
mod fixtures;
mod hops;
pub mod integrity;
mod kind;
pub mod log;
mod logging;
pub mod matching;
mod mime;
mod next_hop;
pub mod notification;
pub mod received;
mod receiver;
pub mod settings;
pub mod transactions;

pub use catcher::{Catcher, CaughtMessage};
pub use far_end::FarEnd;
pub use hops::{AddedField, added};
pub use logging::{LoggingReceiver, ReceiveError, ReceivedInAll, ReceivedOfRun};
pub use next_hop::HopHealth;
pub use receiver::Receiver;
