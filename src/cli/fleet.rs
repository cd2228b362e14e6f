//! `smtpress fleet`: one run on many machines.

mod collect;
mod init;
mod resume;

use std::io::{self, Write};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nkeys::KeyPair;

use super::agent::{access, host};
use super::args::fleet::{FleetCommand, FleetRunArgs, FleetStatusArgs, MachinesArgs};
use super::prepare::drawn;
use super::screen::Screen;
use super::{capacity, limit, run};
use crate::command::fleet::{GatheredFleet, cannot_be_taken_over};
use crate::command::{CommandError, MessageSink};
use crate::fleet::gathering::{self, Fleet};
use crate::fleet::init::COORDINATOR;
use crate::fleet::local::{AgentProcesses, Invitation};
use crate::fleet::message::AgentState;
use crate::fleet::seed;
use crate::fleet::server::PrivateServer;
use crate::fleet::ssh::{self, SshStart};
use crate::generator::preflight;
use crate::plan::{Plan, PlanPart};
use crate::verdict::ExitCode;

/// How long started agents may take to join.
const STARTED_WITHIN: Duration = Duration::from_secs(20);
/// How long to listen for agents that wait for work.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// The largest number of agents on one machine.
const MOST_LOCAL: usize = 64;
/// The version of smtpress that all agents must have.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Runs the command.
pub fn fleet(command: &FleetCommand, screen: &Screen) -> Result<ExitCode, CommandError> {
    match command {
        FleetCommand::Run(args) => run_on_agents(args, screen),
        FleetCommand::Capacity(args) => {
            check(&args.machines)?;
            capacity::capacity_on(&args.capacity, screen, |plan, messages| {
                gather(&args.machines, plan, messages).and_then(|fleet| check_shared(plan, fleet)).map(Some)
            })
        }
        FleetCommand::Limit(args) => {
            check(&args.machines)?;
            limit::limit_on(&args.limit, screen, |plan, messages| {
                gather(&args.machines, plan, messages).map(Some)
            })
        }
        FleetCommand::Status(args) => status(args, screen),
        FleetCommand::Collect(args) => collect::collect(args, screen),
        FleetCommand::Init(args) => init::init(args, screen),
    }
}

fn run_on_agents(args: &FleetRunArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    if args.run.shard.is_some() {
        return Err(CommandError::usage(
            "--shard is for runs without a coordinator: a fleet shares the load out itself",
        ));
    }
    if let Some(run) = &args.resume {
        return resume::resume(args, run, screen);
    }
    check(&args.machines)?;
    run::run_on(&args.run, screen, |compiled, messages| {
        let fleet = check_shared(&compiled.plan, gather(&args.machines, &compiled.plan, messages)?)?;
        if args.machines.local.is_none() && args.machines.ssh.is_empty() {
            let run = &compiled.plan.run_id;
            messages.say(&match cannot_be_taken_over(PlanPart::Run, compiled) {
                None => format!(
                    "smtpress: run {run}: if this command dies, `smtpress fleet run --resume {run}` within 10 s goes on"
                ),
                Some(why) => {
                    format!("smtpress: run {run}: if this command dies, no other can take the run over: {why}")
                }
            });
        }
        Ok(Some(fleet))
    })
}

/// Checks that the agents of a fleet together can judge the load as one process would.
fn check_shared(plan: &Plan, fleet: GatheredFleet) -> Result<GatheredFleet, CommandError> {
    match plan.uncounted_sessions().filter(|_| fleet.fleet.agents().count() > 1) {
        Some(why) => Err(CommandError::usage(format!("{why}; or use one agent; no load was started"))),
        None => Ok(fleet),
    }
}

/// Checks that the arguments name the agents.
fn check(args: &MachinesArgs) -> Result<(), CommandError> {
    if let Some(host) = args.ssh.iter().find(|host| host.is_empty() || host.starts_with('-')) {
        return Err(CommandError::usage(format!(
            "--ssh: {host:?} is no host; write them as in --ssh load1,load2"
        )));
    }
    // A NATS server from the environment is used only if no other agents are named.
    let is_named = args.bus.nats.is_some() && args.bus.nats != std::env::var("SMTPRESS_NATS").ok();
    if is_named && (args.local.is_some() || !args.ssh.is_empty()) {
        return Err(CommandError::usage(
            "--nats finds agents that wait, --local and --ssh start their own: give one of them",
        ));
    }
    match (args.local, &args.bus.nats) {
        (None, None) if args.ssh.is_empty() => {
            return Err(CommandError::usage(
                "a fleet needs agents: --local N starts them on this machine, --ssh HOSTS on others, --nats URL finds those that wait",
            ));
        }
        (Some(count), _) if count == 0 || count > MOST_LOCAL => {
            return Err(CommandError::usage(format!("--local {count}: start 1 to {MOST_LOCAL} agents")));
        }
        _ => {}
    }
    Ok(())
}

fn gather(args: &MachinesArgs, plan: &Plan, messages: &MessageSink) -> Result<GatheredFleet, CommandError> {
    // Agents raise their own limits of descriptors; this process needs those of the embedded listener.
    let served = if plan.target.is_embedded() { preflight::peak_sessions(plan) } else { 0 };
    preflight::raise_descriptors(served)?;
    let sink = messages.clone();
    let say: Arc<dyn Fn(&str) + Send + Sync> =
        Arc::new(move |line: &str| sink.say(&format!("smtpress: {line}")));
    let (fleet, processes): (Fleet, Box<dyn std::any::Any>) = if args.local.is_some() || !args.ssh.is_empty()
    {
        let key = KeyPair::new_user();
        let names = match args.local {
            Some(count) => (0..count).map(|index| format!("local-{index}")).collect(),
            None => ssh::names(&args.ssh),
        };
        let users = names.iter().map(String::as_str).chain([COORDINATOR]);
        let users =
            users.map(|name| Ok((name.to_owned(), password()?))).collect::<Result<_, CommandError>>()?;
        let server = PrivateServer::start(args.nats_server.as_deref(), users)?;
        let inviting = Inviting { server: &server, key: &key, plan };
        let (agents, count) = match args.local {
            Some(count) => (start_local(&names, &inviting)?, count),
            None => (start_by_ssh(args, &inviting, say.clone())?, args.ssh.len()),
        };
        let fleet = Fleet::gather(&server.access(COORDINATOR), key, count, STARTED_WITHIN, PROGRAM, say)?;
        // The order of fields matters: agents end before their server.
        (fleet, Box::new((agents, server)))
    } else {
        let key = secret_key(args)?;
        let access = access(&args.bus, COORDINATOR)?;
        let wanted = match args.agents {
            Some(0) => return Err(CommandError::usage("--agents 0: a run needs at least one agent")),
            Some(wanted) => wanted,
            None => {
                let agents = gathering::status(&access, HEARD_WITHIN)?;
                agents.iter().filter(|agent| agent.state == AgentState::Idle).count().max(1)
            }
        };
        (Fleet::gather(&access, key, wanted, HEARD_WITHIN, PROGRAM, say)?, Box::new(()))
    };
    let fleet = fleet.with_max_start_skew(args.max_start_skew);
    let elsewhere = fleet.agents().find(|(_, machine)| *machine != host());
    if let Some((name, machine)) = elsewhere.filter(|_| plan.target.is_embedded()) {
        return Err(CommandError::usage(format!(
            "the embedded listener is on this machine, and agent {name} is on {machine}: name a target that all agents reach"
        )));
    }
    let names = names(&fleet);
    messages.say(&format!("smtpress: {} agents: {}", names.len(), names.join(", ")));
    Ok(GatheredFleet { fleet, processes })
}

/// Returns each agent as `name (host)`.
fn names(fleet: &Fleet) -> Vec<String> {
    fleet.agents().map(|(name, host)| format!("{name} ({host})")).collect()
}

/// The common part of the invitations to a private server.
struct Inviting<'a> {
    server: &'a PrivateServer,
    key: &'a KeyPair,
    plan: &'a Plan,
}

impl Inviting<'_> {
    /// Returns the invitation of an agent by its name and the URL by which it reaches the server.
    fn invite(&self, name: String, url: String) -> Invitation {
        Invitation {
            url,
            password: self.server.access(&name).password.unwrap_or_default(),
            name,
            coordinator: self.key.public_key(),
            allow_target: self.plan.allow.clone(),
            spool: None,
        }
    }
}

/// Starts agents on this machine.
fn start_local(names: &[String], inviting: &Inviting<'_>) -> Result<AgentProcesses, CommandError> {
    let program = AgentProcesses::own_program()?;
    let mut agents = AgentProcesses::default();
    for name in names {
        let mut command = Command::new(&program);
        command.args(["agent", "--join"]);
        let invitation = inviting.invite(name.clone(), inviting.server.access(name).url);
        agents.start(command, &Invitation { spool: Some(inviting.server.spool()), ..invitation })?;
    }
    Ok(agents)
}

/// Starts agents on other machines, which reach the server through ssh.
fn start_by_ssh(
    args: &MachinesArgs,
    inviting: &Inviting<'_>,
    say: Arc<dyn Fn(&str) + Send + Sync>,
) -> Result<AgentProcesses, CommandError> {
    let start = SshStart {
        hosts: &args.ssh,
        may_copy: !args.no_copy,
        port: inviting.server.port(),
        version: PROGRAM,
        invite: &|name, url| inviting.invite(name, url),
        say,
        draw: drawn,
    };
    Ok(start.start()?)
}

/// Draws a random text that cannot be guessed.
fn password() -> Result<String, CommandError> {
    KeyPair::new_user()
        .seed()
        .map_err(|error| CommandError::Failed(ExitCode::Fault, format!("failed to draw a password: {error}")))
}

/// Reads the coordinator's key from its file.
fn secret_key(args: &MachinesArgs) -> Result<KeyPair, CommandError> {
    let Some(path) = &args.key else {
        return Err(CommandError::usage(
            "agents obey only signed commands: give the coordinator's secret key with --key FILE",
        ));
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        CommandError::usage(format!("failed to read the key {}: {error}", path.display()))
    })?;
    KeyPair::from_seed(seed(&text).unwrap_or_default()).map_err(|_| {
        CommandError::usage(format!(
            "{} holds no secret key of a user (a line that begins with SU)",
            path.display()
        ))
    })
}

fn status(args: &FleetStatusArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let agents = gathering::status(&access(&args.bus, COORDINATOR)?, HEARD_WITHIN)?;
    let mut out = screen.out();
    if args.json {
        let rows: Vec<serde_json::Value> = agents
            .iter()
            .map(|agent| {
                serde_json::json!({
                    "agent": agent.agent, "host": agent.host, "version": agent.program,
                    "state": agent.state.as_str(), "run": agent.run,
                })
            })
            .collect();
        serde_json::to_writer_pretty(&mut out, &rows).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(ExitCode::Success);
    }
    if agents.is_empty() {
        writeln!(out, "no agent sent a message for {} s", HEARD_WITHIN.as_secs())?;
    }
    for agent in &agents {
        let run = agent.run.as_deref().map(|run| format!(", run {run}")).unwrap_or_default();
        writeln!(out, "{}  {}  {}  {}{run}", agent.agent, agent.host, agent.program, agent.state.as_str())?;
    }
    Ok(ExitCode::Success)
}
