//! The settings of a receiver behind a relay.

use std::path::PathBuf;
use std::time::Duration;

pub use super::clock::ClockOffset;
use crate::listener::limits::Limits;
use crate::net::address::bind::Bind;

/// The settings of a receiver.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    /// The addresses to which the relay delivers.
    pub addresses: Vec<Bind>,
    /// The agent of a fleet that listens; `None`: this process listens.
    pub agent: Option<String>,
    /// The delivery logs of receivers in other processes. If there are any, this process does not listen.
    pub logs: Vec<PathBuf>,
    /// The offset of these receivers' clock from that of the run.
    pub clock_offset: Option<ClockOffset>,
    /// The address of a receiver that is asked for its clock, if the offset is not given.
    pub clock_probe: Option<String>,
    /// Whether the run stores its transactions, so that logs can be joined afterwards.
    pub keeps_transactions: bool,
    /// The settings of the receiver's listeners, which behave like a realistic next hop.
    pub limits: Limits,
    /// The longest wait for deliveries after the last arrival.
    pub drain: Duration,
    /// How long to wait without any delivery for recipients in doubt, once no accepted recipient is missing.
    pub quiet: Duration,
}

impl ReceiverSettings {
    /// Whether deliveries are read from logs, of other processes or of an agent.
    pub fn reads_logs(&self) -> bool {
        !self.logs.is_empty() || self.agent.is_some()
    }

    /// Returns the addresses on which the receiver listens, for people: `127.0.0.1:2600, 127.0.0.1:2601`.
    pub fn places(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}
