//! The record of a run that its coordinator stores on the bus, so that another coordinator can take the run over.
//!
//! # Decisions
//! - The record is stored before any agent knows the time of the start: every run that has started can be taken over.
//! - The record is signed, as commands are: a record that is signed with another key is refused.
//! - A coordinator that takes over stores the record again with the next epoch, and only in place of the record that it
//!   read: if two coordinators try, one succeeds.
//! - Agents obey the highest epoch that they know, and a coordinator that sees a lease with a higher epoch ends.

use std::sync::Arc;
use std::time::Duration;

use nkeys::KeyPair;
use serde::{Deserialize, Serialize};

use super::bus::{Bus, BusAccess, BusError, FORGOTTEN_WITHIN};
use super::files::FilesToSend;
use super::gathering::{Fleet, FleetError};
use super::message::{Heartbeat, ListenerOfRun, RunSpec, sign, verify};
use crate::generator::clock;
use crate::plan::PlanPart;

/// The data that all agents of a run get: the same for each shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The profile with every default, as TOML.
    pub profile: String,
    /// The Date of all messages.
    pub date: String,
    /// The embedded listener of the coordinator's machine, if that is the target.
    pub embedded: Option<ListenerOfRun>,
    /// Whether each transaction is to be reported.
    pub lists_transactions: bool,
    /// The message files that the profile names. After a takeover the agents have them already.
    #[serde(skip)]
    pub files: FilesToSend,
}

impl Assignment {
    /// Returns the order to run one shard of the run `run`. `shard`: the index of the shard, from 0, and the number of
    /// shards.
    pub(super) fn spec(&self, run: &str, shard: (u32, u32), part: PlanPart) -> RunSpec {
        let Assignment { profile, date, embedded, lists_transactions, files: _ } = self.clone();
        RunSpec { run: run.to_owned(), profile, shard, date, embedded, part, lists_transactions }
    }
}

/// An agent of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentOfRun {
    /// The agent's heartbeat, with its random number for this run.
    pub agent: Heartbeat,
    /// The bound of the difference between the agent's start and the common start: the bound of the error of its clock
    /// offset.
    pub clock_bound: Duration,
    /// The time of the start by the agent's own clock.
    pub begins: Duration,
}

/// A run whose agents know the time of the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run.
    pub run: String,
    /// The epoch of the coordinator: 1, and one more after each takeover.
    pub epoch: u64,
    /// The part of the profile that this run is: the whole, or a part of a search.
    pub part: PlanPart,
    /// The data that all agents of the run got.
    pub assignment: Assignment,
    /// The profile's file, if there is one.
    pub profile_path: Option<String>,
    /// When the command began, since the Unix epoch.
    pub began: Duration,
    /// When the load starts, since the Unix epoch.
    pub starts: Duration,
    /// The agents, in the order of shards.
    pub agents: Vec<AgentOfRun>,
}

/// A stored record.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The record.
    pub record: RunRecord,
    /// Its number in the stream.
    pub number: u64,
}

impl StoredRecord {
    /// Stores a record in place of the stored record with the number `before`; 0: no record is stored.
    ///
    /// # Errors
    /// The record cannot be stored, or another record was stored meanwhile.
    pub(super) async fn store(
        bus: &Bus,
        key: &KeyPair,
        record: RunRecord,
        before: u64,
    ) -> Result<StoredRecord, BusError> {
        let number = bus.keep_record(&record.run, sign(&record, key), before).await?;
        Ok(StoredRecord { record, number })
    }

    /// Whether this is the latest record of its run. `false` if the bus does not answer in time.
    pub(super) async fn is_latest(&self, bus: &Bus) -> bool {
        let latest = tokio::time::timeout(FORGOTTEN_WITHIN, bus.record(&self.record.run)).await;
        matches!(latest, Ok(Ok(Some((_, number)))) if number == self.number)
    }
}

/// Why a run cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The bus or this machine failed.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// There is no record of the run.
    #[error(
        "the NATS server keeps no record of run {0}: it has ended, or its agents never knew when to start; `smtpress fleet collect` \
         lists what is kept"
    )]
    Unknown(String),
    /// The record cannot be used.
    #[error("the record of run {run} cannot be used: {why}")]
    Unusable {
        /// The run.
        run: String,
        /// The reason.
        why: String,
    },
}

/// Reads the record of a run, and connects to its agents. Changes nothing. `program`: the version that the agents must
/// have.
///
/// # Errors
/// There is no such run, or it belongs to another version or key.
pub fn read(
    access: &BusAccess,
    key: KeyPair,
    run: &str,
    program: &str,
    say: Arc<dyn Fn(&str) + Send + Sync>,
) -> Result<(Fleet, RunRecord), TakeOverError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(FleetError::from)?;
    let unusable = |why: String| TakeOverError::Unusable { run: run.to_owned(), why };
    let (bus, stored) = runtime.block_on(async {
        let bus = Bus::connect(access).await.map_err(FleetError::from)?;
        let stored = bus.record(run).await.map_err(FleetError::from)?;
        let (bytes, number) = stored.ok_or_else(|| TakeOverError::Unknown(run.to_owned()))?;
        let record: RunRecord = verify(&bytes, &key).map_err(|error| {
            unusable(format!("{error}; give the --key that the run was started with, and the same version"))
        })?;
        Ok::<_, TakeOverError>((bus, StoredRecord { record, number }))
    })?;
    if stored.record.run != run {
        return Err(unusable(format!("it is that of run {}", stored.record.run)));
    }
    if let Some(other) = stored.record.agents.iter().find(|own| own.agent.program != program) {
        return Err(unusable(format!(
            "its agents are of version {}, this is {program}",
            other.agent.program
        )));
    }
    let record = stored.record.clone();
    let agents = record.agents.iter().map(|own| own.agent.clone()).collect();
    let (max_start_skew, taken_over) = (super::MAX_START_SKEW, Some(stored));
    let access = access.clone();
    let gathered = clock::now();
    Ok((Fleet { runtime, bus, access, key, agents, gathered, max_start_skew, say, taken_over }, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::message::{AgentState, MessageError};

    #[test]
    fn a_record_is_read_as_it_was_stored_and_only_from_its_own_coordinator() {
        let agent = Heartbeat {
            agent: "load1".into(),
            host: "h".into(),
            program: "0.1.0".into(),
            nonce: 7,
            state: AgentState::Prepared,
            run: Some("6a2-1".into()),
        };
        let record = RunRecord {
            run: "6a2-1".into(),
            epoch: 2,
            part: PlanPart::Run,
            assignment: Assignment { profile: "name = \"x\"".into(), ..Assignment::default() },
            profile_path: Some("x.toml".into()),
            began: Duration::from_secs(1),
            starts: Duration::from_millis(3500),
            agents: vec![AgentOfRun {
                agent,
                clock_bound: Duration::from_micros(80),
                begins: Duration::from_secs(9),
            }],
        };
        let (key, other) = (KeyPair::new_user(), KeyPair::new_user());
        assert_eq!(verify::<RunRecord>(&sign(&record, &key), &key), Ok(record.clone()));
        assert_eq!(verify::<RunRecord>(&sign(&record, &other), &key), Err(MessageError::Unsigned));
    }
}
