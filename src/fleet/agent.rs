//! An agent: it waits for a shard, runs it with the Runner of this machine, and reports each second.
//!
//! # Decisions
//! - An agent obeys only commands that its coordinator signed for this agent and its present work: each command carries
//!   the random number that the agent drew for it.
//! - A report stays on disk, and is sent again, until the bus has stored it.
//! - An agent that no longer receives the coordinator's lease ends its load: a load must not go on when it cannot be
//!   stopped.

mod files;
mod limits;
mod load;
mod receiver;
mod sending;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use nkeys::KeyPair;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::bus::{Bus, BusError};
use super::files::FilePlace;
use super::message::{
    AgentAnswer, AgentCommand, AgentOrder, AgentState, Heartbeat, Lease, RunSpec, encode, verify,
};
use super::probing::{MakeProbes, Probing};
use super::spool::Spool;
use super::union::SecondsDigest;
use super::{HEARTBEAT, LEASE, subject};
use crate::collector::snapshot::{Interval, Measured};
use crate::generator::clock;
use crate::generator::runner::{Runner, Stop};
use crate::plan::Plan;
use files::FilesAtHand;
use receiver::ReceiverAtWork;
pub use receiver::{DeliverySource, Receive};
use sending::Outgoing;
pub use sending::deliver_spool;

/// Makes the Runner of a shard from its stop flag and the time at which it starts.
pub type MakeRunner = Box<dyn FnOnce(watch::Receiver<Stop>, Instant) -> Box<dyn Runner> + Send>;

/// A shard that this machine can run.
pub struct PreparedShard {
    /// The load.
    pub plan: Plan,
    /// The runner of the load.
    pub runner: MakeRunner,
    /// The sessions of a search for limits.
    pub probes: MakeProbes,
}

/// The message files that came from the coordinator, by their places in the profile.
pub type FilePaths = BTreeMap<FilePlace, PathBuf>;

/// Checks whether this machine can run a shard. Returns the prepared shard, or a sentence that says why the machine
/// cannot.
pub type Prepare = Arc<dyn Fn(&RunSpec, &FilePaths) -> Result<PreparedShard, String> + Send + Sync>;

/// The settings of an agent: its name, its machine, and the key of its coordinator.
pub struct AgentSettings {
    /// The name, unique in the fleet ([`is_name`]).
    pub name: String,
    /// The machine.
    pub host: String,
    /// The version of its smtpress.
    pub program: String,
    /// The coordinator's public key.
    pub coordinator: KeyPair,
    /// The folder in which reports are kept until the bus has stored them.
    pub spool: PathBuf,
    /// Checks whether this machine can run a shard.
    pub prepare: Prepare,
    /// The function that starts a receiver behind the relay.
    pub receive: Receive,
    /// Shows a line to the user.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
    /// Draws a random number that cannot be guessed.
    pub draw: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// A message from the thread that runs the load.
enum FromLoad {
    Second(Box<Interval>, Vec<(String, String)>),
    Over(Box<Result<Measured, String>>),
    /// The result of a call to the probes, and the subject of the reply to the call.
    Probed(String, AgentAnswer),
    /// The probes are closed: the search for limits is over.
    ProbesOver,
    /// The thread ended without a result.
    Gone,
}

/// A shard that the agent has accepted.
struct ShardAtWork {
    spec: RunSpec,
    prepared: Option<PreparedShard>,
    /// The start of the load by the agent's clock; `None`: not known yet.
    begins: Option<Duration>,
    stop: watch::Sender<Stop>,
    control: async_nats::Subscriber,
    /// The time of the coordinator's last message.
    heard: Instant,
    epoch: u64,
    number: u64,
    lease_over: bool,
    /// Whether this process was asked to end before the load was over.
    is_ended_there: bool,
    threads: u32,
    seconds: u64,
    digest: SecondsDigest,
    load: Option<mpsc::UnboundedReceiver<FromLoad>>,
    outgoing: Option<mpsc::UnboundedSender<Outgoing>>,
    spool: Option<Arc<Spool>>,
    /// Whether the user was warned that reports cannot be written to disk.
    warned: bool,
    /// The sessions of a search for limits.
    probing: Option<Probing>,
    /// The highest number of a call to the sessions.
    calls: u64,
}

impl ShardAtWork {
    /// Returns a shard whose load has not started. `control` receives the coordinator's messages to the run.
    fn new(spec: RunSpec, prepared: Option<PreparedShard>, control: async_nats::Subscriber) -> ShardAtWork {
        ShardAtWork {
            spec,
            prepared,
            begins: None,
            stop: watch::channel(Stop::Run).0,
            control,
            heard: clock::now(),
            epoch: 0,
            number: 0,
            lease_over: false,
            is_ended_there: false,
            threads: 0,
            seconds: 0,
            digest: SecondsDigest::default(),
            load: None,
            outgoing: None,
            spool: None,
            warned: false,
            probing: None,
            calls: 0,
        }
    }
}

/// The state of an agent.
struct Agent {
    settings: AgentSettings,
    bus: Bus,
    /// The zero of its clock.
    zero: Instant,
    nonce: u64,
    state: AgentState,
    work: Option<ShardAtWork>,
    /// The message files for the next shard or the one at work.
    files: Option<FilesAtHand>,
    /// The receiver behind the relay.
    receiving: Option<ReceiverAtWork>,
    /// Signals that all reports of the shard are stored.
    stored: (mpsc::UnboundedSender<()>, mpsc::UnboundedReceiver<()>),
}

/// Whether a name is valid for an agent: letters, digits, `-` and `_`, at most 64 of them.
pub fn is_name(name: &str) -> bool {
    subject::is_name(name)
}

/// Serves until `quit` asks it to end.
///
/// # Errors
/// The bus cannot be used.
pub async fn serve(
    bus: Bus,
    settings: AgentSettings,
    mut quit: watch::Receiver<bool>,
) -> Result<(), BusError> {
    let failed = |error: &dyn std::fmt::Display| BusError::NoAnswer(error.to_string());
    let mut commands =
        bus.client.subscribe(subject::command(&settings.name)).await.map_err(|error| failed(&error))?;
    let nonce = (settings.draw)();
    let mut agent = Agent {
        settings,
        bus,
        zero: clock::now(),
        nonce,
        state: AgentState::Idle,
        work: None,
        files: None,
        receiving: None,
        stored: mpsc::unbounded_channel(),
    };
    let mut beats = tokio::time::interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let deadline = agent.deadline();
        tokio::select! {
            message = commands.next() => {
                let Some(message) = message else { return Err(failed(&"the connection is over")) };
                let reply = message.reply.map(|reply| reply.to_string());
                if let Some(answer) = agent.command(&message.payload, reply.as_deref()).await {
                    agent.answer(reply, &answer).await;
                }
            }
            event = next(&mut agent.work) => match event {
                AtWork::Lease(lease) => agent.lease(&lease),
                AtWork::Load(event) => agent.report(event).await,
            },
            Some(()) = agent.stored.1.recv() => {
                agent.free();
                agent.beat().await;
            }
            _ = beats.tick() => {
                agent.look_after_receiver();
                agent.beat().await;
            }
            () = until(deadline) => agent.overdue(),
            _ = quit.wait_for(|quit| *quit) => break,
        }
    }
    agent.end().await;
    Ok(())
}

/// Returns the answer to a command for another run.
fn busy(work: &ShardAtWork) -> AgentAnswer {
    AgentAnswer::Refused(format!("it is busy with run {}", work.spec.run))
}

/// Waits until this time; `None`: never returns.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The next input of a shard.
enum AtWork {
    Lease(Vec<u8>),
    Load(FromLoad),
}

/// Waits for the next input: a message of the coordinator, or one from the load.
async fn next(work: &mut Option<ShardAtWork>) -> AtWork {
    let Some(ShardAtWork { control, load, outgoing, probing, .. }) = work else {
        return std::future::pending().await;
    };
    let is_awaited = outgoing.is_some() || probing.is_some();
    let from_load = async {
        match load {
            Some(load) if is_awaited => load.recv().await.unwrap_or(FromLoad::Gone),
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        Some(lease) = control.next() => AtWork::Lease(lease.payload.to_vec()),
        event = from_load => AtWork::Load(event),
    }
}

impl Agent {
    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.zero)
    }

    async fn answer(&self, subject: Option<String>, answer: &AgentAnswer) {
        if let Some(subject) = subject {
            self.bus.client.publish(subject, encode(answer).into()).await.ok();
        }
    }

    /// Executes a command; `None`: the reply comes later, for the subject `reply`.
    async fn command(&mut self, bytes: &[u8], reply: Option<&str>) -> Option<AgentAnswer> {
        let at = self.now();
        let command: AgentCommand = match verify(bytes, &self.settings.coordinator) {
            Ok(command) => command,
            Err(error) => {
                (self.settings.say)(&format!("a command was refused: {error}"));
                return Some(AgentAnswer::Refused(error.to_string()));
            }
        };
        // A receiver continues when the shard is over, so its random number stays valid.
        let nonce = match command.order {
            AgentOrder::Deliveries { .. } | AgentOrder::EndReceiver => self.receiver_nonce(),
            _ => Some(self.nonce),
        };
        if command.agent != self.settings.name || Some(command.nonce) != nonce {
            return Some(AgentAnswer::Refused(
                "the command was meant for another agent, or for an earlier state of this agent".to_owned(),
            ));
        }
        Some(match command.order {
            AgentOrder::Ping => {
                self.asked_for_time();
                AgentAnswer::Pong { at }
            }
            AgentOrder::Prepare(spec) => self.prepare(*spec).await,
            AgentOrder::Files { run, files } => self.announce(&run, files),
            AgentOrder::Content(part) => self.content(&part),
            AgentOrder::Receive(order) => self.receive(*order).await,
            AgentOrder::Deliveries { number, from } => self.deliveries(number, from),
            AgentOrder::EndReceiver => {
                self.receiving = None;
                AgentAnswer::Done
            }
            AgentOrder::Arm { at } => self.arm(at),
            AgentOrder::Probe { number, call } => match self.probe(number, call, reply) {
                Ok(()) => return None,
                Err(why) => AgentAnswer::Refused(why),
            },
            AgentOrder::Release { run } => self.release(&run),
        })
    }

    /// Notes that the coordinator asks for the time: it measures the clocks of all agents, one after the other, before
    /// it sends the time of the start. The lease of a load is not renewed.
    fn asked_for_time(&mut self) {
        if let (AgentState::Prepared, Some(work)) = (self.state, &mut self.work) {
            work.heard = clock::now();
        }
    }

    async fn prepare(&mut self, spec: RunSpec) -> AgentAnswer {
        if let Some(work) = &self.work {
            return busy(work);
        }
        if !subject::is_name(&spec.run) || spec.shard.0 >= spec.shard.1 {
            return AgentAnswer::Refused("the run has no proper name or shard".to_owned());
        }
        let paths = match self.file_paths(&spec.run) {
            Ok(paths) => paths,
            Err(why) => return AgentAnswer::Refused(why),
        };
        let (prepare, asked) = (self.settings.prepare.clone(), spec.clone());
        let prepared = match tokio::task::spawn_blocking(move || prepare(&asked, &paths)).await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(why)) => return AgentAnswer::Refused(why),
            Err(_) => return AgentAnswer::Refused("it failed to read the profile".to_owned()),
        };
        let control = match self.bus.client.subscribe(subject::control(&spec.run)).await {
            Ok(control) => control,
            Err(error) => {
                return AgentAnswer::Refused(format!("it cannot listen to the coordinator: {error}"));
            }
        };
        (self.settings.say)(&format!(
            "run {}: ready with shard {} of {}",
            spec.run, spec.shard.0, spec.shard.1
        ));
        self.state = AgentState::Prepared;
        self.work = Some(ShardAtWork::new(spec, Some(prepared), control));
        match self.start_probes() {
            Ok(()) => AgentAnswer::Done,
            Err(why) => {
                self.free();
                AgentAnswer::Refused(why)
            }
        }
    }

    /// Drops the shard and the message files of this run. A load that is in progress is stopped.
    fn release(&mut self, run: &str) -> AgentAnswer {
        match &self.work {
            Some(work) if work.spec.run != run => return busy(work),
            Some(work) if work.load.is_some() => drop(work.stop.send_replace(Stop::Now)),
            Some(_) => self.free(),
            None if self.files.as_ref().is_some_and(|files| files.is_of(run)) => self.free(),
            None => {}
        }
        AgentAnswer::Done
    }

    /// Arms the load for a time of the agent's clock. The load starts only if a lease of the coordinator arrives before
    /// that time.
    fn arm(&mut self, at: Duration) -> AgentAnswer {
        let now = self.now();
        let Some(work) = self.work.as_mut().filter(|_| self.state == AgentState::Prepared) else {
            return AgentAnswer::Refused("it has no shard to start".to_owned());
        };
        if at <= now {
            return AgentAnswer::Refused(format!(
                "the command to start came {:.0} ms after the start",
                (now - at).as_secs_f64() * 1e3
            ));
        }
        work.begins = Some(at);
        work.heard = clock::now();
        self.state = AgentState::Armed;
        AgentAnswer::Done
    }

    /// Accepts a lease of the coordinator if it is newer than the last accepted one.
    fn lease(&mut self, bytes: &[u8]) {
        let Some(work) = &mut self.work else { return };
        let Ok(lease) = verify::<Lease>(bytes, &self.settings.coordinator) else { return };
        if lease.run != work.spec.run || (lease.epoch, lease.number) <= (work.epoch, work.number) {
            return;
        }
        (work.epoch, work.number) = (lease.epoch, lease.number);
        work.heard = clock::now();
        work.stop.send_if_modified(|stop| std::mem::replace(stop, (*stop).max(lease.stop)) < lease.stop);
        if work.begins.is_some() && work.prepared.is_some() {
            self.begin();
        }
    }

    /// Returns until when the agent waits for the next message of the coordinator: a part of a message file, the
    /// command to start, the first lease or the next lease. `None`: the agent waits for none.
    fn deadline(&self) -> Option<Instant> {
        let Some(work) = &self.work else { return self.files.as_ref().map(FilesAtHand::deadline) };
        match self.state {
            AgentState::Idle | AgentState::Reporting => None,
            AgentState::Prepared => Some(work.heard + super::bus::ANSWER_WITHIN * 3),
            AgentState::Armed | AgentState::Running if work.load.is_none() => {
                work.begins.map(|at| self.zero + at)
            }
            AgentState::Armed | AgentState::Running => (!work.lease_over).then(|| work.heard + LEASE),
        }
    }

    /// Handles a wait for the coordinator that is over: a running load ends, a load that has not started is dropped,
    /// and so are message files without a shard.
    fn overdue(&mut self) {
        let Some(work) = &mut self.work else {
            // No shard followed these files.
            self.files = None;
            return;
        };
        if work.load.is_none() {
            return self.free();
        }
        work.lease_over = true;
        (self.settings.say)("the coordinator sent no message: the load ends");
        work.stop.send_replace(Stop::Now);
    }

    /// Publishes the agent's heartbeat.
    async fn beat(&mut self) {
        let heartbeat = Heartbeat {
            agent: self.settings.name.clone(),
            host: self.settings.host.clone(),
            program: self.settings.program.clone(),
            nonce: self.nonce,
            state: self.state,
            run: self.work.as_ref().map(|work| work.spec.run.clone()),
        };
        let subject = subject::heartbeat(&self.settings.name);
        self.bus.say(subject, encode(&heartbeat)).await;
    }

    /// Makes the agent wait for work again, with a new random number: commands that carry the old one are refused.
    fn free(&mut self) {
        if let Some(spool) = self.work.take().and_then(|work| work.spool).and_then(Arc::into_inner) {
            spool.close();
        }
        self.files = None;
        self.nonce = (self.settings.draw)();
        self.state = AgentState::Idle;
    }
}

#[cfg(test)]
mod tests;
