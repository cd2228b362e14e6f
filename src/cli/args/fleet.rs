//! The arguments of `smtpress agent` and `smtpress fleet`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::RunArgs;
use super::capacity::CapacityArgs;
use super::limit::LimitArgs;

/// The end of the help of `agent`.
pub const AGENT_EXAMPLES: &str = "\
Examples:
  smtpress agent --nats tls://bus.example:4222 --nats-ca ca.pem --creds agent-1.creds \\
    --coordinator UABC... --allow-target mx.example

It waits for shards, runs them, and reports each second; it loads no host beyond loopback that
--allow-target does not name. Ctrl-C ends it. Exit codes: 0 ended as asked; 3 the NATS server is
not reached; 2 usage.";

/// The end of the help of `fleet`.
pub const FLEET_EXAMPLES: &str = "\
Examples:
  smtpress fleet run profiles/steady.toml --local 3
  smtpress fleet run profile.toml --ssh load1,load2,root@load3 --allow-target mx.example
  smtpress fleet limit --target mx.example --allow-target mx.example --ssh load1,load2,load3
  smtpress fleet init fleet --agents 5 --host bus.example
  smtpress fleet run profile.toml --nats tls://bus.example:4222 --nats-ca ca.pem \\
    --creds coordinator.creds --key coordinator.key --agents 5
  smtpress fleet status --nats tls://bus.example:4222 --nats-ca ca.pem --creds coordinator.creds
  smtpress fleet collect --nats tls://bus.example:4222 --nats-ca ca.pem --creds coordinator.creds

Needs nats-server (Debian: apt install nats-server); --local and --ssh start a private
one. --ssh needs a login without a password on each host; the program is copied to ~/.cache/smtpress there.";

/// The NATS server, and the credentials for it.
#[derive(Debug, Default, Args)]
pub struct BusArgs {
    /// The NATS server: nats://host:port or tls://host:port
    #[arg(long, value_name = "URL", env = "SMTPRESS_NATS", help_heading = "Fleet")]
    pub nats: Option<String>,
    /// The credentials for the NATS server: a file of `fleet init`, or one with a JWT
    #[arg(long, value_name = "FILE", env = "SMTPRESS_NATS_CREDS", help_heading = "Fleet")]
    pub creds: Option<PathBuf>,
    /// A PEM file of authorities to trust for the NATS server
    #[arg(long = "nats-ca", value_name = "FILE", env = "SMTPRESS_NATS_CA", help_heading = "Fleet")]
    pub nats_ca: Option<PathBuf>,
}

/// Runs `smtpress agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(flatten)]
    pub bus: BusArgs,
    /// The public key of the coordinator; commands that it did not sign are refused
    #[arg(long, value_name = "KEY", env = "SMTPRESS_COORDINATOR")]
    pub coordinator: Option<String>,
    /// The agent's name [from the credentials file of `fleet init`, else host name and process]
    #[arg(long, value_name = "NAME", env = "SMTPRESS_AGENT")]
    pub name: Option<String>,
    /// A host beyond loopback that this machine may load; may be repeated
    #[arg(long, value_name = "HOST")]
    pub allow_target: Vec<String>,
    /// The folder for reports that the NATS server does not have yet; only this user may write to it
    /// [smtpress/spool in $XDG_STATE_HOME, else in ~/.local/state]
    #[arg(long, value_name = "DIR", env = "SMTPRESS_SPOOL")]
    pub spool: Option<PathBuf>,
    /// Read all settings from standard input, and end when it ends
    #[arg(long, hide = true)]
    pub join: bool,
}

/// Runs `smtpress fleet`.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Run a profile on many agents, as one run with one result
    Run(Box<FleetRunArgs>),
    /// Search for the highest load that meets the goals, with many agents as one generator
    Capacity(Box<FleetCapacityArgs>),
    /// Find and verify limits with sessions on many agents, each a client host of its own
    Limit(Box<FleetLimitArgs>),
    /// List the agents and what they do
    Status(FleetStatusArgs),
    /// Print what the NATS server holds of a run that lost its coordinator
    Collect(FleetCollectArgs),
    /// Make a configuration of nats-server with TLS, and credentials for agents and coordinator
    Init(FleetInitArgs),
}

/// `smtpress fleet run`.
#[derive(Debug, Args)]
pub struct FleetRunArgs {
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub machines: MachinesArgs,
    /// Take over this run, which lost its coordinator, instead of starting one; its agents wait 10 s for that
    #[arg(long, value_name = "RUN", help_heading = "Fleet")]
    pub resume: Option<String>,
}

/// `smtpress fleet capacity`.
#[derive(Debug, Args)]
pub struct FleetCapacityArgs {
    #[command(flatten)]
    pub capacity: CapacityArgs,
    #[command(flatten)]
    pub machines: MachinesArgs,
}

/// `smtpress fleet limit`.
#[derive(Debug, Args)]
pub struct FleetLimitArgs {
    #[command(flatten)]
    pub limit: LimitArgs,
    #[command(flatten)]
    pub machines: MachinesArgs,
}

/// The agents of a run.
#[derive(Debug, Args)]
pub struct MachinesArgs {
    /// Start N agents and a private NATS server on this machine
    #[arg(long, value_name = "N", help_heading = "Fleet")]
    pub local: Option<usize>,
    /// Start an agent on each of these hosts by ssh, and a private NATS server here: host,user@host,...
    #[arg(
        long,
        value_name = "HOSTS",
        value_delimiter = ',',
        conflicts_with = "local",
        help_heading = "Fleet"
    )]
    pub ssh: Vec<String>,
    /// Do not copy this program to a host where it is missing
    #[arg(long, requires = "ssh", help_heading = "Fleet")]
    pub no_copy: bool,
    #[command(flatten)]
    pub bus: BusArgs,
    /// The number of agents [all that wait for work]
    #[arg(long, value_name = "N", requires = "nats", help_heading = "Fleet")]
    pub agents: Option<usize>,
    /// The coordinator's secret key, which signs the commands
    #[arg(long, value_name = "FILE", env = "SMTPRESS_FLEET_KEY", help_heading = "Fleet")]
    pub key: Option<PathBuf>,
    /// The nats-server to start [that on PATH]
    #[arg(long, value_name = "PATH", env = "SMTPRESS_NATS_SERVER", help_heading = "Fleet")]
    pub nats_server: Option<PathBuf>,
    /// The largest deviation of an agent's start from the common start
    #[arg(long, default_value = "10ms", value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Fleet")]
    pub max_start_skew: Duration,
}

/// `smtpress fleet collect`.
#[derive(Debug, Args)]
pub struct FleetCollectArgs {
    /// The run; without it, the runs that have reports are listed
    #[arg(value_name = "RUN")]
    pub of: Option<String>,
    #[command(flatten)]
    pub bus: BusArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `smtpress fleet init`.
#[derive(Debug, Args)]
pub struct FleetInitArgs {
    /// The folder to make; an empty one may exist
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The number of agents that get credentials: agent-1, agent-2, ...
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub agents: usize,
    /// A name or an address of the NATS server's machine; may be repeated [this machine's name]
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// The port of the NATS server
    #[arg(long, value_name = "PORT", default_value_t = 4222)]
    pub port: u16,
}

/// `smtpress fleet status`.
#[derive(Debug, Args)]
pub struct FleetStatusArgs {
    #[command(flatten)]
    pub bus: BusArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
