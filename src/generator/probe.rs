//! Probes: SMTP sessions that a measurement drives step by step. They use the same connections and commands as the
//! sessions of a run; the measurement decides what a reply means.
//!
//! # Decisions
//! - The probes run on the thread of the measurement, only while the measurement waits: it sends one command after the
//!   other, and only the kernel works in between.
//! - The caller limits every wait. That no reply came in time is an event.

mod network;
mod stalls;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::condition::{Classifier, Condition};
use crate::generator::failure_class::classify;
use crate::smtp::client::{Failure, is_positive};
use crate::smtp::{Closed, Reply, Step};

pub use crate::smtp::hello::Offer;
pub use network::NetworkProbes;

/// The number of a probe session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Probe(pub usize);

/// The way in which a probe is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOptions {
    /// The index of the probe's client address.
    pub host: u64,
    /// Whether the probe is opened without TLS and without a login, even if the script has them.
    pub clear: bool,
    /// Whether the probe only connects: it is open when it is connected, and its first reply is the greeting.
    pub bare: bool,
}

/// The outcome of opening a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenOutcome {
    /// The session is open, and no reply is expected.
    Open(Probe),
    /// The listener refused the session.
    Refused(ProbeRefusal),
    /// This machine failed, for this reason; nothing is known about the listener.
    OwnFailure(String),
}

impl OpenOutcome {
    /// Returns the session, if it is open.
    pub fn session(&self) -> Option<Probe> {
        match self {
            OpenOutcome::Open(session) => Some(*session),
            OpenOutcome::Refused(_) | OpenOutcome::OwnFailure(_) => None,
        }
    }
}

/// A session that the listener refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRefusal {
    /// The step at which the opening ended.
    pub step: Step,
    /// The event that ended the opening.
    pub event: ProbeEvent,
    /// The connection, which may still be open.
    pub session: Probe,
    /// The time from the start of the opening to that event.
    pub took: Duration,
}

/// An event of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeEvent {
    /// A reply.
    Reply(Reply),
    /// A close without a reply.
    Closed(Closed),
    /// No reply came in time.
    Silence,
    /// No connection could be made; the condition.
    NotConnected(Condition),
    /// Another failure, with its condition and evidence: the bytes are no reply, the handshake failed, or a required
    /// extension is not offered.
    Failed(Condition, String),
}

impl ProbeEvent {
    /// Returns the condition of the event at `step`, by the rules of a run.
    pub fn condition(&self, classifier: &Classifier, step: Step) -> Condition {
        let failure = match self {
            ProbeEvent::Reply(reply) => return classifier.classify(Some(step), reply, false),
            ProbeEvent::NotConnected(condition) | ProbeEvent::Failed(condition, _) => return *condition,
            ProbeEvent::Closed(how) => Failure::Closed(*how, String::new()),
            ProbeEvent::Silence => Failure::TimedOut(String::new()),
        };
        classify(classifier, step, &failure, false).condition
    }
}

/// An event of a probe, and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// The event.
    pub event: ProbeEvent,
    /// The time since the probes were created.
    pub at: Duration,
}

impl ProbeOutcome {
    /// Returns the reply, if the event is a reply.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.event {
            ProbeEvent::Reply(reply) => Some(reply),
            _ => None,
        }
    }

    /// Whether the event is a reply that accepts the command of `step`, by the rules of a run.
    pub fn accepts(&self, step: Step) -> bool {
        self.reply().is_some_and(|reply| is_positive(step, reply.code) && !reply.is_contradictory())
    }

    /// Returns the code of the reply; 0 if the event is not a reply.
    pub fn code(&self) -> u16 {
        self.reply().map_or(0, |reply| reply.code)
    }
}

/// The way in which a probe is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseMode {
    /// QUIT, its reply, and the close.
    Quit,
    /// A close without QUIT.
    Close,
    /// A reset.
    Reset,
}

/// The cost of the probes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The number of connections that were tried.
    pub connections: u64,
    /// The number of bytes written.
    pub bytes: u64,
}

/// The largest number of openings at once: below the accept queue of any listener (OpenSMTPD 5, Sendmail 10, Exim 20).
/// A connection that waits in that queue is neither greeted nor closed for many seconds.
pub const AT_ONCE: usize = 4;

/// Opens and drives probes. When the user ends the measurement, every wait ends, as if its time were over.
pub trait Probes {
    /// Opens a session for each of `ways`, `at_once` at a time, and waits until each is open or refused, at most
    /// `within`. A session that is still being opened then is an [`OpenOutcome::OwnFailure`]. Returns the outcomes in
    /// the order of `ways`.
    fn open(&mut self, ways: &[ProbeOptions], at_once: usize, within: Duration) -> Vec<OpenOutcome>;

    /// Returns the extensions that the listener offers to an open session; none before a hello.
    fn offer(&self, session: Probe) -> Offer;

    /// Sends bytes unchanged; they include the line ends.
    fn send(&mut self, session: Probe, bytes: &[u8]);

    /// Waits for the next event of the session, expected or not; [`ProbeEvent::Silence`] if none comes `within` the
    /// time, and at once after the end of the connection.
    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome;

    /// Whether the session has ended, and all its events were received.
    fn is_over(&self, session: Probe) -> bool {
        let _ = session;
        false
    }

    /// Closes sessions, waits at most `within` until the listener has closed each of them, too, and then resets the
    /// others. Returns the number of sessions that the listener did not close: the listener may still count them.
    fn close(&mut self, sessions: &[Probe], how: CloseMode, within: Duration) -> u64;

    /// Waits.
    fn pause(&mut self, length: Duration);

    /// Returns the time since the probes were created.
    fn now(&self) -> Duration;

    /// Returns the number of client addresses; 1: all sessions use the same.
    fn hosts(&self) -> u64;

    /// Whether the user wants to end the measurement.
    fn is_stopped(&self) -> bool {
        false
    }

    /// Returns why this machine cannot continue, if so: later events say nothing about the listener.
    fn own_failure(&self) -> Option<String> {
        None
    }

    /// Returns how long this machine has stood still so far: times measured during a standstill are not the listener's.
    fn stalled(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns the network of a client address: the first 24 bits of an IPv4 address, the first 64 of an IPv6 one;
    /// `None`: not known.
    fn network(&self, host: u64) -> Option<IpAddr> {
        let _ = host;
        None
    }

    /// Returns the cost so far.
    fn spent(&self) -> Spent;

    /// Sends `bytes` and waits for the next event.
    fn exchange(&mut self, session: Probe, bytes: &[u8], within: Duration) -> ProbeOutcome {
        self.send(session, bytes);
        self.receive(session, within)
    }
}
