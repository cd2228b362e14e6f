//! What a receiver behind a relay is to be.

use std::path::PathBuf;
use std::time::Duration;

pub use super::clock::ClockOffset;
use crate::listener::limits::Limits;
use crate::net::address::bind::Bind;

/// The settings of a receiver.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    /// Where the relay delivers to.
    pub addresses: Vec<Bind>,
    /// The delivery logs of receivers that are processes of their own. Where there are some, this process does not listen.
    pub logs: Vec<PathBuf>,
    /// How far the clock of these receivers is ahead of ours.
    pub clock_offset: Option<ClockOffset>,
    /// Whether the run keeps its transactions, for logs that are joined when it is over.
    pub keeps_transactions: bool,
    /// How the receiver answers: a realistic next hop.
    pub limits: Limits,
    /// How long deliveries are awaited after the last arrival, at most.
    pub drain: Duration,
    /// How long nothing must have come out for what is in doubt to be given up, once nothing accepted is missing.
    pub quiet: Duration,
}

impl ReceiverSettings {
    /// Where it is to listen, for a reader: `127.0.0.1:2600, 127.0.0.1:2601`.
    pub fn places(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}
