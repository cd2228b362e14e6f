//! Probes: SMTP sessions that a measurement drives step by step. They use the same connections and commands as the sessions of
//! a run; what a reply means is decided by the measurement.
//!
//! # Decisions
//! - One thread, which runs only while its owner waits: a measurement asks one question after the other, and only the kernel
//!   works in between.
//! - The caller bounds every wait. Silence is an event.

mod network;
mod stalls;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::condition::{Classifier, Condition};
use crate::generator::failure_class::classify;
use crate::smtp::client::Failure;
use crate::smtp::{Closed, Reply, Step};

pub use crate::smtp::hello::Offer;
pub use network::NetworkProbes;

/// The number of a probe session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Probe(pub usize);

/// How a probe is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOptions {
    /// Which of the client's addresses it comes from, from 0.
    pub host: u64,
    /// Without TLS, although the script has it, and without a login.
    pub clear: bool,
    /// Nothing is sent after the connect: the probe is open when it is connected, and the greeting is the first reply.
    pub bare: bool,
}

/// The outcome of opening a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenOutcome {
    /// It is open, and no reply is outstanding.
    Open(Probe),
    /// The listener does not serve it.
    Refused(ProbeRefusal),
    /// This machine failed, and why: no finding about the listener.
    OwnFailure(String),
}

impl OpenOutcome {
    /// The session, if it is served.
    pub fn session(&self) -> Option<Probe> {
        match self {
            OpenOutcome::Open(session) => Some(*session),
            OpenOutcome::Refused(_) | OpenOutcome::OwnFailure(_) => None,
        }
    }
}

/// A session that the listener does not serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRefusal {
    /// The step at which its opening ended.
    pub step: Step,
    /// What ended it.
    pub event: ProbeEvent,
    /// The connection, which may still be there.
    pub session: Probe,
    /// From the SYN to its end.
    pub took: Duration,
}

/// What came on a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeEvent {
    /// A reply.
    Reply(Reply),
    /// A close without a reply.
    Closed(Closed),
    /// Nothing: no reply came in time.
    Silence,
    /// No connection came about, and the condition that this is.
    NotConnected(Condition),
    /// Something else, its condition and its evidence: what came is no reply, the handshake failed, or what the profile
    /// requires is not offered.
    Failed(Condition, String),
}

impl ProbeEvent {
    /// The condition that it is at `step`: the one that a run gives it.
    pub fn condition(&self, classifier: &Classifier, step: Step) -> Condition {
        let failure = match self {
            ProbeEvent::Reply(reply) => return classifier.classify(Some(step), reply, false),
            ProbeEvent::NotConnected(condition) | ProbeEvent::Failed(condition, _) => return *condition,
            ProbeEvent::Closed(how) => Failure::Closed(*how),
            ProbeEvent::Silence => Failure::TimedOut(String::new()),
        };
        classify(classifier, step, &failure, false).condition
    }
}

/// What came next on a probe, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// What.
    pub event: ProbeEvent,
    /// Since the probes were created.
    pub at: Duration,
}

impl ProbeOutcome {
    /// The reply, if it was one.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.event {
            ProbeEvent::Reply(reply) => Some(reply),
            _ => None,
        }
    }

    /// The reply's code; 0 if it was none.
    pub fn code(&self) -> u16 {
        self.reply().map_or(0, |reply| reply.code)
    }
}

/// How a probe is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseMode {
    /// QUIT, its reply, and the close.
    Quit,
    /// The close alone.
    Close,
    /// A reset.
    Reset,
}

/// The cost of the probes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Connections that were tried.
    pub connections: u64,
    /// Bytes handed to the kernel.
    pub bytes: u64,
}

/// Openings at once: fewer than any listener's accept queue holds (OpenSMTPD 5, Sendmail 10, Exim 20). A connection
/// that the kernel never handed to the listener is neither greeted nor closed by it for many seconds.
pub const AT_ONCE: usize = 4;

/// Opens and drives probes.
pub trait Probes {
    /// Opens a session for each of `ways`, `at_once` of them at a time, and waits until each is in or out, at most `within`:
    /// what is not decided then is [`OpenOutcome::OwnFailure`]. In their order.
    fn open(&mut self, ways: &[ProbeOptions], at_once: usize, within: Duration) -> Vec<OpenOutcome>;

    /// What the listener offers to a session that is open; nothing to one that said no hello.
    fn offer(&self, session: Probe) -> Offer;

    /// Sends these bytes, line ends included, as they are.
    fn send(&mut self, session: Probe, bytes: &[u8]);

    /// The next event of the session, asked for or not; [`ProbeEvent::Silence`] if none comes `within` the time. After the end
    /// of the connection it is silence, at once.
    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome;

    /// Whether the session has ended, and all that came of it was received.
    fn is_over(&self, session: Probe) -> bool {
        let _ = session;
        false
    }

    /// Closes sessions, and waits at most `within` until the listener has closed each of them as well; then they are reset.
    /// Returns how many closes of the listener were not seen: it may still count those sessions.
    fn close(&mut self, sessions: &[Probe], how: CloseMode, within: Duration) -> u64;

    /// Waits.
    fn pause(&mut self, length: Duration);

    /// The time since the probes were created.
    fn now(&self) -> Duration;

    /// How many client addresses there are; 1: all sessions come from one.
    fn hosts(&self) -> u64;

    /// Whether the measurement is to be ended.
    fn is_stopped(&self) -> bool {
        false
    }

    /// Why this side cannot go on, if it cannot: what came since then says nothing about the listener.
    fn own_failure(&self) -> Option<String> {
        None
    }

    /// How long this machine has stood still so far: times measured meanwhile are not the listener's.
    fn stalled(&self) -> Duration {
        Duration::ZERO
    }

    /// The network of a client address: the first 24 bits of an IPv4 address, the first 64 of an IPv6 one; `None`: not known.
    fn network(&self, host: u64) -> Option<IpAddr> {
        let _ = host;
        None
    }

    /// The cost so far.
    fn spent(&self) -> Spent;

    /// Sends `bytes` and waits for the next event.
    fn exchange(&mut self, session: Probe, bytes: &[u8], within: Duration) -> ProbeOutcome {
        self.send(session, bytes);
        self.receive(session, within)
    }
}
