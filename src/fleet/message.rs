//! The messages of coordinator and agents: the version of the message format, then the message, both in CBOR.
//!
//! # Decisions
//! - The version comes first and is decoded separately, because in another version the rest may have any form.
//! - Durations and counts are sent unchanged. Distributions are sent bucket by bucket, with their exact minimum and
//!   maximum.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nkeys::KeyPair;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::files::{AnnouncedFile, ContentPart};
use crate::collector::snapshot::{Interval, Measured};
use crate::generator::probe::{CloseMode, Offer, OpenOutcome, Probe, ProbeOptions, ProbeOutcome, Spent};
use crate::generator::runner::Stop;
use crate::plan::PlanPart;

/// The version of the message format.
pub const VERSION: u16 = 1;
/// The length of a signature (Ed25519), in bytes.
const SIGNATURE: usize = 64;

/// Why a message cannot be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The message is of another version of smtpress.
    #[error(
        "a message of format version {0}, and this smtpress reads version {VERSION}: use the same smtpress on all machines"
    )]
    Version(u16),
    /// The bytes are not a message of a fleet.
    #[error("no message of a fleet")]
    Malformed,
    /// The coordinator did not sign the message.
    #[error("not signed by the coordinator's key")]
    Unsigned,
}

/// Encodes a message.
///
/// # Panics
/// Never: writing to a vector cannot fail, and every type here can be encoded as CBOR.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&VERSION, &mut bytes).expect("a vector takes all that is written");
    ciborium::into_writer(message, &mut bytes).expect("every message has a form in CBOR");
    bytes
}

/// Decodes a message.
///
/// # Errors
/// The bytes are of another version, or are not a message of this type.
pub fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, MessageError> {
    let version: u16 = ciborium::from_reader(&mut bytes).map_err(|_| MessageError::Malformed)?;
    if version != VERSION {
        return Err(MessageError::Version(version));
    }
    let message = ciborium::from_reader(&mut bytes).map_err(|_| MessageError::Malformed)?;
    if bytes.is_empty() { Ok(message) } else { Err(MessageError::Malformed) }
}

/// Encodes a message with its signature in front.
///
/// # Panics
/// `key` has no secret part.
pub fn sign(message: &impl Serialize, key: &KeyPair) -> Vec<u8> {
    let body = encode(message);
    let mut bytes = key.sign(&body).expect("the key of a coordinator signs");
    bytes.extend_from_slice(&body);
    bytes
}

/// Decodes a signed message after checking its signature by `key`.
///
/// # Errors
/// The signature is wrong, or the bytes are not a message of this type.
pub fn verify<T: DeserializeOwned>(bytes: &[u8], key: &KeyPair) -> Result<T, MessageError> {
    let (signature, body) = bytes.split_at_checked(SIGNATURE).ok_or(MessageError::Unsigned)?;
    key.verify(body, signature).map_err(|_| MessageError::Unsigned)?;
    decode(body)
}

/// The state of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentState {
    /// The agent waits for work.
    Idle,
    /// The agent has a shard, and is able to run it.
    Prepared,
    /// The agent knows the time of the start.
    Armed,
    /// The load of the agent is on the target.
    Running,
    /// The load of the agent is over, and some of its reports are not stored yet.
    Reporting,
}

impl AgentState {
    /// Returns the state in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            AgentState::Idle => "idle",
            AgentState::Prepared => "prepared",
            AgentState::Armed => "armed",
            AgentState::Running => "running",
            AgentState::Reporting => "reporting",
        }
    }
}

/// The heartbeat of an agent, published once a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The name, unique in the fleet.
    pub agent: String,
    /// The machine.
    pub host: String,
    /// The version of its smtpress.
    pub program: String,
    /// A random number that the agent draws at its start and whenever it drops its shard. The agent refuses commands
    /// without this number.
    pub nonce: u64,
    /// The state.
    pub state: AgentState,
    /// The run of the agent's shard, if any.
    pub run: Option<String>,
}

/// A signed command of the coordinator to one agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentCommand {
    /// The name of the agent.
    pub agent: String,
    /// The agent's random number, from its heartbeat.
    pub nonce: u64,
    /// The command.
    pub order: AgentOrder,
}

/// The action of a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum AgentOrder {
    /// Answer with the time of the agent's clock.
    Ping,
    /// Take a shard, and check whether this machine can run it.
    Prepare(Box<RunSpec>),
    /// Start at this time of its own clock.
    Arm {
        /// The time since the zero of the agent's clock.
        at: Duration,
    },
    /// Prepare for these message files of a run; the contents follow.
    Files {
        /// The run.
        run: String,
        /// The announced files.
        files: Vec<AnnouncedFile>,
    },
    /// Take the next part of a content.
    Content(ContentPart),
    /// Start a receiver behind the relay, which writes a delivery log.
    Receive(Box<ReceiveOrder>),
    /// Answer with the bytes of the delivery log from this offset on. An agent that gets no such command for
    /// [`LEASE`](super::LEASE) ends its receiver.
    Deliveries {
        /// The rising number of the command: a recorded command cannot be used again.
        number: u64,
        /// The offset in the log.
        from: u64,
    },
    /// End the receiver.
    EndReceiver,
    /// Drop the shard of this run. A load or a search that is in progress is stopped. An agent with another run refuses:
    /// a coordinator that was refused because an agent is busy must not stop the run of the other coordinator.
    Release {
        /// The run.
        run: String,
    },
    /// Make a call to the probes of a search for limits.
    Probe {
        /// The number of the call, rising: a recorded call cannot be used again.
        number: u64,
        /// The call.
        call: ProbeCall,
    },
}

/// A receiver behind the relay, on an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveOrder {
    /// The run.
    pub run: String,
    /// The profile with every default, as TOML; only `[receive]` is used.
    pub profile: String,
    /// The seed of the random draws of the receiver's listeners.
    pub seed: u64,
}

/// A part of a delivery log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    /// The reading of the agent's wall clock, since the Unix epoch.
    pub wall: Duration,
    /// The bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// A call to the probes of a search for limits: see [`Probes`](crate::generator::probe::Probes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeCall {
    /// Answer with the client addresses.
    Hosts,
    /// Open sessions.
    Open {
        /// The way in which each session is opened.
        ways: Vec<ProbeOptions>,
        /// The number of sessions at a time.
        at_once: usize,
        /// The longest time until all sessions are open or refused.
        within: Duration,
    },
    /// Send these bytes, possibly none, and do not wait.
    Send {
        /// The session.
        session: Probe,
        /// The bytes, unchanged.
        bytes: Vec<u8>,
    },
    /// Send these bytes, possibly none, and answer with the next event.
    Receive {
        /// The session.
        session: Probe,
        /// The bytes, unchanged.
        bytes: Vec<u8>,
        /// The longest wait for the event.
        within: Duration,
    },
    /// Close sessions.
    Close {
        /// The sessions.
        sessions: Vec<Probe>,
        /// The way in which they are closed.
        how: CloseMode,
        /// The longest wait until the listener has closed the sessions, too.
        within: Duration,
    },
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The answer.
    pub value: ProbeValue,
    /// How long the agent's machine has stood still so far.
    pub stalled: Duration,
    /// The cost of the agent's probes so far.
    pub spent: Spent,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeValue {
    /// The number of client addresses, and the address of this machine towards the target, if known.
    Hosts(u64, Option<IpAddr>),
    /// The outcome of each session, in the order of the call, with the extensions that the listener offers to the
    /// session.
    Opened(Vec<(OpenOutcome, Offer)>),
    /// The bytes were passed to the session.
    Sent,
    /// The next event. The time of the event counts from the zero of the agent's clock.
    Received(ProbeOutcome),
    /// The number of sessions that the listener did not close.
    Closed(u64),
}

/// An agent's reply to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentAnswer {
    /// The time of the agent's clock.
    Pong {
        /// The time since the zero of the agent's clock.
        at: Duration,
    },
    /// The agent accepts the command.
    Done,
    /// The agent refuses the command, for this reason (a sentence).
    Refused(String),
    /// A part of the delivery log.
    Delivered(LogPart),
    /// The result of a call to the agent's probes.
    Probed(Box<ProbeReport>),
}

impl AgentAnswer {
    /// Returns, as a sentence, why this is not the expected answer.
    pub(super) fn refusal(self) -> String {
        match self {
            AgentAnswer::Refused(why) => why,
            _ => "it sent an unexpected answer".to_owned(),
        }
    }
}

/// The embedded listener of the coordinator's machine, for agents on the same machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerOfRun {
    /// The address on which it listens.
    pub address: SocketAddr,
    /// The certificate (DER). It is trusted unless the plan names authorities.
    pub certificate: Option<Vec<u8>>,
}

/// A shard of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The run.
    pub run: String,
    /// The profile with every default, as TOML. It holds no passwords: an agent reads the variables and files that the
    /// profile names.
    pub profile: String,
    /// The index of the shard, from 0, and the number of shards.
    pub shard: (u32, u32),
    /// The Date of all messages.
    pub date: String,
    /// The coordinator's embedded listener, if that is the target.
    pub embedded: Option<ListenerOfRun>,
    /// The part of the profile that this run is: the whole, or a part of a search.
    pub part: PlanPart,
    /// Whether each transaction is reported, to be matched with deliveries during the run or afterwards.
    pub lists_transactions: bool,
}

/// The lease: a signed message of the coordinator to all agents of a run, once a second and at each change. An agent
/// that gets no lease for [`LEASE`](super::LEASE) ends its load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The run.
    pub run: String,
    /// The number of the coordinator. A coordinator that takes over a run has a higher number.
    pub epoch: u64,
    /// The rising number of the lease. An agent ignores older leases.
    pub number: u64,
    /// Whether the load goes on, drains or stops.
    pub stop: Stop,
}

/// A second of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecondReport {
    /// The number of the second, from 0.
    pub number: u64,
    /// The counts.
    pub interval: Interval,
    /// The recorded sessions that ended in this second: file stem and text.
    pub transcripts: Vec<(String, String)>,
}

/// The end of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FinalReport {
    /// How many seconds the shard reported.
    pub seconds: u64,
    /// SHA-256 over the reports of all seconds in order: for each report the length of its bytes (64 bits,
    /// little-endian), then the bytes.
    pub digest: [u8; 32],
    /// The measurement without the counts of the seconds, or why there is none: the load could not start, or it failed.
    pub measured: Result<Box<Measured>, String>,
    /// The number of the generator's threads.
    pub threads: u32,
    /// Whether the agent ended the load itself because the lease ran out.
    pub lease_over: bool,
    /// Whether the agent ended the load because it was asked to end on its own machine.
    #[serde(default)]
    pub is_ended_there: bool,
}

impl FinalReport {
    /// Returns why the load of the shard is not the one that the coordinator asked for; `None`: it is.
    pub(super) fn is_cut_short_by(&self) -> Option<&str> {
        match &self.measured {
            Err(why) => Some(why),
            Ok(_) if self.lease_over => Some("no message of the coordinator came"),
            Ok(_) if self.is_ended_there => Some("it was stopped on its own machine"),
            Ok(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease { run: "6a2-1".into(), epoch: 1, number: 7, stop: Stop::Drain }
    }

    #[test]
    fn a_message_of_another_version_is_refused_whatever_else_it_holds() {
        let mut bytes = Vec::new();
        ciborium::into_writer(&(VERSION + 1), &mut bytes).unwrap();
        bytes.extend_from_slice(b"\xff\xff nobody knows");
        assert_eq!(decode::<Lease>(&bytes), Err(MessageError::Version(VERSION + 1)));
        assert_eq!(decode::<Lease>(b""), Err(MessageError::Malformed));
        assert_eq!(decode::<Lease>(&encode(&17)), Err(MessageError::Malformed));
        let doubled = [encode(&lease()), encode(&lease())].concat();
        assert_eq!(decode::<Lease>(&doubled), Err(MessageError::Malformed));
    }

    #[test]
    fn only_what_the_coordinator_signed_is_taken() {
        let (key, other) = (KeyPair::new_user(), KeyPair::new_user());
        let public = KeyPair::from_public_key(&key.public_key()).unwrap();
        let bytes = sign(&lease(), &key);
        assert_eq!(verify::<Lease>(&bytes, &public), Ok(lease()));
        assert_eq!(verify::<Lease>(&sign(&lease(), &other), &public), Err(MessageError::Unsigned));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(verify::<Lease>(&changed, &public), Err(MessageError::Unsigned), "byte {at}");
            assert!(verify::<Lease>(&bytes[..at], &public).is_err(), "cut at {at}");
        }
    }

    /// Golden bytes: messages of the same version must stay readable, because the bus and agents may hold messages of
    /// an older build.
    #[test]
    fn a_lease_has_the_bytes_that_it_always_had() {
        let hex: String = encode(&lease()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "01a46372756e6536613 22d316565706f636801666e756d6265720764 73746f7065447261696e".replace(' ', "")
        );
    }
}
