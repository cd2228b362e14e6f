//! The measuring half of smtpress: the protocol, the network, the load, the measurements, the listener and the receiver.
//!
//! It is a package of its own, because a load calls it for each message: a build for quick use optimizes it, and leaves out
//! the optimization of what judges, reports and reads the command line. It imports nothing of that other half. The map of
//! all modules, and what each may import, is that of the crate `smtpress`, which exports these modules as its own.

pub mod collector;
pub mod condition;
pub mod delivery;
pub mod event;
pub mod generator;
pub mod listener;
pub mod load;
pub mod mail;
pub mod net;
pub mod plan;
pub mod smtp;
