//! The other end of a relay: a receiver that takes what the relay delivers, and matches it with what was accepted.
//!
//! [`Receiver`] listens and counts; [`settings`] say how. A [`LoggingReceiver`] is a process of its own and writes a [`log`], from
//! which a run learns the same; [`FarEnd`] is either, and [`clock`] relates their times. [`received`] reads a message that came out,
//! [`integrity`] holds it against the one that went in, [`notification`] reads a bounce, [`matching`] counts each accepted recipient
//! once, [`flow`](crate::collector::flow) knows the relay's queue, and [`account`] keeps all of it for one run. What a run needs for a log that is joined later
//! is kept by [`transactions`].

pub mod account;
mod catcher;
pub mod clock;
mod far_end;
mod hops;
pub mod integrity;
mod kind;
pub mod log;
mod logging;
pub mod matching;
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
