//! Finds the agents on a bus, and selects agents that wait for work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use nkeys::KeyPair;
use tokio::runtime::Runtime;

use super::bus::{Bus, BusAccess, BusError};
use super::message::{AgentAnswer, AgentOrder, AgentState, Heartbeat, decode};
use super::record::StoredRecord;
use super::{LOST_AFTER, subject};
use crate::generator::clock;

/// How long agents may take after a run until they wait for work again.
const IDLE_WITHIN: Duration = Duration::from_secs(15);

/// Why no fleet could be made.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The bus cannot be used.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Too few agents wait for work.
    #[error(
        "{found} of {wanted} agents are ready{beside}; start `smtpress agent` on the others, or ask for fewer with --agents"
    )]
    Few {
        /// The number of agents that wait.
        found: usize,
        /// The number of agents that are needed.
        wanted: usize,
        /// The agents that were not counted, and why.
        beside: String,
    },
    /// No agent of the run has this name.
    #[error(
        "the profile names {agent} as its receiver (`agent` in [receive]), but the agents of the run are {agents}"
    )]
    Nobody {
        /// The name.
        agent: String,
        /// The agents of the run.
        agents: String,
    },
    /// An agent cannot do its part.
    #[error("agent {agent} ({host}): {why}")]
    Unable {
        /// The name.
        agent: String,
        /// The machine.
        host: String,
        /// The reason.
        why: String,
    },
    /// No thread or descriptor is left.
    #[error("failed to start the coordinator: {0}")]
    Io(#[from] std::io::Error),
}

/// A fleet of agents that wait for work.
pub struct Fleet {
    pub(super) runtime: Runtime,
    pub(super) bus: Bus,
    /// The access to the bus, for a connection of another thread.
    pub(super) access: BusAccess,
    pub(super) key: KeyPair,
    pub(super) agents: Vec<Heartbeat>,
    /// When the agents were last known to wait for work.
    pub(super) gathered: Instant,
    pub(super) max_start_skew: Duration,
    pub(super) say: Arc<dyn Fn(&str) + Send + Sync>,
    /// The record of the run that is to be taken over, if any.
    pub(super) taken_over: Option<StoredRecord>,
}

impl Fleet {
    /// Waits until enough agents wait for work, at most `within`. `program`: the version that the agents must have.
    ///
    /// # Errors
    /// The bus cannot be used, or too few agents wait for work.
    pub fn gather(
        access: &BusAccess,
        key: KeyPair,
        wanted: usize,
        within: Duration,
        program: &str,
        say: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Fleet, FleetError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (bus, agents) = runtime.block_on(async {
            let bus = Bus::connect(access).await?;
            bus.stream().await?;
            let heard = heard(&bus, within, |heard| idle(heard, program).len() >= wanted).await?;
            let mut agents = idle(&heard, program);
            if agents.len() < wanted {
                let beside = heard.values().filter_map(|own| unfit(own, program)).collect::<Vec<_>>();
                let beside =
                    if beside.is_empty() { String::new() } else { format!(" ({})", beside.join("; ")) };
                return Err(FleetError::Few { found: agents.len(), wanted, beside });
            }
            agents.truncate(wanted);
            Ok((bus, agents))
        })?;
        let (access, max_start_skew) = (access.clone(), super::MAX_START_SKEW);
        let gathered = clock::now();
        Ok(Fleet { runtime, bus, access, key, agents, gathered, max_start_skew, say, taken_over: None })
    }

    /// Sets how far from T0 an agent may start.
    #[must_use]
    pub fn with_max_start_skew(self, max_start_skew: Duration) -> Fleet {
        Fleet { max_start_skew, ..self }
    }

    /// Sends a signed command to an agent, and waits this long for its answer.
    ///
    /// # Errors
    /// There is no agent of this name, or it does not answer in time.
    pub(super) async fn ask(
        &self,
        agent: &Heartbeat,
        order: AgentOrder,
        within: Duration,
    ) -> Result<AgentAnswer, BusError> {
        self.bus.ask(agent, order, &self.key, within).await
    }

    /// Reads the agents' heartbeats again if they are no longer recent, as after a wait for the time of the start: an agent
    /// that took part in another run or started again meanwhile obeys only commands with its new random number.
    ///
    /// # Errors
    /// An agent does not wait for work within 15 s.
    pub fn renew_after_wait(&mut self) -> Result<(), FleetError> {
        // The agents of a run that is taken over do not wait for work.
        if self.taken_over.is_some() || clock::now().saturating_duration_since(self.gathered) < LOST_AFTER {
            return Ok(());
        }
        self.renew("of those that waited for the start")
    }

    /// Waits until all agents of the fleet wait for work again. `which`: which agents they are, for the error.
    ///
    /// # Errors
    /// An agent does not wait for work within [`IDLE_WITHIN`].
    pub(super) fn renew(&mut self, which: &str) -> Result<(), FleetError> {
        let known: Vec<(String, String)> =
            self.agents.iter().map(|agent| (agent.agent.clone(), agent.program.clone())).collect();
        // An agent that was started again meanwhile may have another version.
        let of_fleet = |heard: &BTreeMap<String, Heartbeat>| -> Vec<Heartbeat> {
            let own = known.iter().filter_map(|(name, program)| {
                heard.get(name).filter(|agent| agent.state == AgentState::Idle && agent.program == *program)
            });
            own.cloned().collect()
        };
        let enough = |heard: &BTreeMap<String, Heartbeat>| of_fleet(heard).len() == known.len();
        let heard = self.runtime.block_on(heard(&self.bus, IDLE_WITHIN, enough))?;
        let agents = of_fleet(&heard);
        if agents.len() < known.len() {
            let beside = format!(" {which}");
            return Err(FleetError::Few { found: agents.len(), wanted: known.len(), beside });
        }
        self.agents = agents;
        self.gathered = clock::now();
        Ok(())
    }

    /// Returns the name and the machine of each agent.
    pub fn agents(&self) -> impl Iterator<Item = (&str, &str)> {
        self.agents.iter().map(|agent| (agent.agent.as_str(), agent.host.as_str()))
    }
}

/// Listens for heartbeats, and returns the last heartbeat of each agent, by name.
///
/// # Errors
/// The bus cannot be used.
pub fn status(access: &BusAccess, listen: Duration) -> Result<Vec<Heartbeat>, FleetError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let bus = Bus::connect(access).await?;
        Ok(heard(&bus, listen, |_| false).await?.into_values().collect())
    })
}

/// Collects the last heartbeat of each agent, by name, until `enough` or for at most `within`.
async fn heard(
    bus: &Bus,
    within: Duration,
    enough: impl Fn(&BTreeMap<String, Heartbeat>) -> bool,
) -> Result<BTreeMap<String, Heartbeat>, BusError> {
    let mut heartbeats = bus
        .client
        .subscribe(subject::HEARTBEATS)
        .await
        .map_err(|error| BusError::NoAnswer(error.to_string()))?;
    let mut heard = BTreeMap::new();
    let until = tokio::time::Instant::now() + within;
    while let Ok(Some(message)) = tokio::time::timeout_at(until, heartbeats.next()).await {
        if let Some(own) = heartbeat(&message.subject, &message.payload) {
            heard.insert(own.agent.clone(), own);
        }
        if enough(&heard) {
            break;
        }
    }
    // A server that denies the subscription sends no heartbeats, which is not the same as no agents.
    bus.allowed()?;
    Ok(heard)
}

/// Parses a heartbeat; `None` if it is malformed, or its subject is that of another agent.
pub(super) fn heartbeat(at: &str, bytes: &[u8]) -> Option<Heartbeat> {
    decode(bytes)
        .ok()
        .filter(|own: &Heartbeat| subject::is_name(&own.agent) && at == subject::heartbeat(&own.agent))
}

fn idle(heard: &BTreeMap<String, Heartbeat>, program: &str) -> Vec<Heartbeat> {
    let is_fit = |own: &&Heartbeat| own.state == AgentState::Idle && own.program == program;
    heard.values().filter(is_fit).cloned().collect()
}

fn unfit(own: &Heartbeat, program: &str) -> Option<String> {
    let Heartbeat { agent, host, .. } = own;
    if own.program != program {
        return Some(format!("agent {agent} on {host} is of version {}, this is {program}", own.program));
    }
    let run = own.run.as_deref().unwrap_or("?");
    (own.state != AgentState::Idle)
        .then(|| format!("agent {agent} on {host} is {} for run {run}", own.state.as_str()))
}
