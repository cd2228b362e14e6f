//! The other end of a relay: a receiver that takes what the relay delivers, and matches it with what was accepted.
//!
//! [`Receiver`] listens and counts; [`settings`] say how. [`received`] reads a message that came out, [`integrity`] holds it against
//! the one that went in, [`notification`] reads a bounce, [`matching`] counts each accepted recipient once, [`flow`](crate::collector::flow) knows the
//! relay's queue, and [`account`] keeps all of it for one run.

pub mod account;
pub mod integrity;
pub mod matching;
pub mod notification;
pub mod received;
mod receiver;
pub mod settings;

pub use receiver::Receiver;
