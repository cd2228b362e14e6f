//! The command line: the commands and their flags.

pub mod capacity;
pub mod common;
pub mod compare;
pub mod fleet;
pub mod limit;
pub mod login;
pub mod receive;
pub mod telemetry;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::profile::error::nearest;
use capacity::CapacityArgs;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use common::CommonArgs;
use compare::CompareArgs;
use fleet::{AgentArgs, FleetCommand};
use limit::LimitArgs;
use login::LoginArgs;
use receive::ReceiveArgs;
use telemetry::TelemetryArgs;

/// The first commands for a new user.
pub const FIRST_STEPS: &str = "\
First steps:
  smtpress run --target embedded -c 10 -z 5s        see a run, without a server
  smtpress trace 127.0.0.1:2525 --helo              look at one session, line by line
  smtpress run --target 127.0.0.1:2525 -r 200/s -z 60s --assert 'p99 < 500ms'";

/// SMTP load and concurrency stress tester.
#[derive(Debug, Parser)]
#[command(
    name = "smtpress",
    version,
    max_term_width = 100,
    about = "SMTP load and concurrency stress tester: true latencies, every failure named, counts that reconcile",
    after_help = format!("{FIRST_STEPS}

Always asserted, unless the profile removes it:
  accepted > 0, shed == 0, done rate == 100%, unexpected rate <= 1%

Exit codes:
  0  measured, valid, every assertion held    5   inconclusive
  1  a fault in smtpress itself               98  the measurement is invalid
  2  usage or profile; nothing was sent       99  an assertion failed
  3  preflight, target or safety; no load     105 interrupted; the report is written
  4  nothing was measured")
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// When to use colours; NO_COLOR turns them off
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        hide_default_value = true,
        value_name = "auto|always|never",
        env = "SMTPRESS_COLOR"
    )]
    pub color: Color,
}

impl Cli {
    /// Parses the command line. The arguments of `run` record which flags took their values from the environment.
    ///
    /// # Errors
    /// Help, version or wrong usage, ready to be printed.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let matches = Cli::short().try_get_matches_from(arguments).map_err(suggest)?;
        let mut cli = Cli::from_arg_matches(&matches)?;
        let from_environment = |matches: &clap::ArgMatches| {
            let is_variable = |id: &&clap::Id| {
                matches.value_source(id.as_str()) == Some(clap::parser::ValueSource::EnvVariable)
            };
            matches.ids().filter(is_variable).map(|id| id.as_str().to_owned()).collect()
        };
        match (&mut cli.command, matches.subcommand()) {
            (Command::Run(args), Some((_, matches))) => {
                args.load.from_environment = from_environment(matches)
            }
            (Command::Fleet(FleetCommand::Run(args)), Some((_, matches))) => {
                let of_run = matches.subcommand().map(|(_, matches)| from_environment(matches));
                args.run.load.from_environment = of_run.unwrap_or_default();
            }
            _ => {}
        }
        Ok(cli)
    }

    /// Returns the command with a help that fits on a screen: the names of values list the possible values, and variables are
    /// not repeated at each flag.
    fn short() -> clap::Command {
        let brief = |arg: clap::Arg| match arg.get_action().takes_values() {
            true => arg.hide_env(true).hide_possible_values(true),
            false => arg,
        };
        // The help of `run` is long already; that of `trace` lists all flags of a login.
        let run = |command: clap::Command| {
            let hide = |command: clap::Command, id| command.mut_arg(id, |arg| arg.hide(true));
            let of_a_login = ["user", "user_env", "password_env", "token_env", "users_file"];
            let command = of_a_login.into_iter().fold(command, hide);
            command
                .mut_arg("auth", |arg| arg.help("Log in with this mechanism; trace --help lists its flags"))
        };
        let command = Cli::command().mut_args(brief).mut_subcommands(|command| {
            command.mut_args(brief).mut_subcommands(|command| command.mut_args(brief))
        });
        command.mut_subcommand("run", run).mut_subcommand("fleet", |fleet| fleet.mut_subcommand("run", run))
    }
}

/// Suggests the command that is nearest to a mistyped one if clap suggests none: clap does not see that `rnu` is `run`.
fn suggest(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand)
        && error.get(ContextKind::SuggestedSubcommand).is_none()
    {
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        if let Some(near) = nearest(typed, &names) {
            let near = ContextValue::Strings(vec![near.to_owned()]);
            error.insert(ContextKind::SuggestedSubcommand, near);
        }
    }
    error
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the load, check the assertions, write a run directory
    #[command(after_help = "\
Examples:
  smtpress run --target 127.0.0.1:2525 -n 10k -c 50 --messages-per-session 0
  smtpress run profile.toml --set phase.steady.rate=400/s --json - | jq .verdict

Precedence: flags, variables (SMTPRESS_MESSAGES_PER_SESSION), --set, profile. Ctrl-C ends the run.")]
    Run(Box<RunArgs>),
    /// Find the limits of a listener, and verify that each is enforced at its expected value
    #[command(after_help = "\
Examples:
  smtpress limit --target smtp://127.0.0.1:2525
  smtpress limit --target smtp://127.0.0.1:2525 --find too-many-recipients,rule
  smtpress limit --target smtp://127.0.0.1:2525 --expect too-many-connections-from-host=50
  smtpress limit profiles/limits/postfix.toml --junit limits.xml
  smtpress limit --target embedded --set listener.max_recipients=100 --plan

Exit codes: 0 all as expected; 99 something differs; 98 the search could not be completed;
3 the listener does not serve; 2 usage.")]
    Limit(Box<LimitArgs>),
    /// Search for the highest load that meets the goals (RFC 9971)
    #[command(after_help = "\
Examples:
  smtpress capacity --target smtp://127.0.0.1:2525 --goal 'response p99 < 500ms'
  smtpress capacity profiles/capacity.toml --by sessions --expect '>= 50'
  smtpress capacity profiles/capacity.toml --set capacity.start=50/s --junit capacity.xml
  smtpress capacity --resume smtpress-runs/20260131T120000Z-capacity

A goal says what each trial must meet; the share of arrivals that may fail follows a comma:
--goal 'strict: response p99 < 500ms' --goal 'lax: response p95 < 2s, failures 1%'

Exit codes: 0 found, or as expected; 5 inconclusive; 98 no trial can be trusted; 99 not as expected;
3 not reached, or between_trials failed; 105 interrupted, --resume continues; 2 usage.")]
    Capacity(Box<CapacityArgs>),
    /// Run one session and show every line with its time and meaning: a telnet test
    #[command(after_help = "\
Examples:
  smtpress trace smtp://127.0.0.1:2525 --helo       HELO, MAIL FROM, RCPT TO, DATA, dot, QUIT
  smtpress trace smtp://127.0.0.1:2525 --from a@sender.example --to b@recipient.example
  smtpress trace smtp://127.0.0.1:2525 --no-message --timeout 5s
  smtpress trace 127.0.0.1:25 --receive 127.0.0.1:2600   and what comes out of the relay
  smtpress trace embedded                           without a server

Exit codes: 0 accepted; 99 not accepted, or delivered changed (--receive); 3 not reached; 2 usage.")]
    Trace(Box<TraceArgs>),
    /// Run only the embedded listener; when it ends it prints its counts (the ledger) as JSON
    #[command(after_help = "\
Examples:
  smtpress listen
  smtpress listen --bind 127.0.0.1:0 -z 60s --set listener.max_connections_per_host=50
  smtpress listen profiles/cisco-listener.toml")]
    Listen(ListenArgs),
    /// Run only the receiver behind a relay; it logs what the relay delivers, for a run
    #[command(after_help = receive::EXAMPLES)]
    Receive(Box<ReceiveArgs>),
    /// Check a profile, preview its schedule and list what it needs; sends nothing
    Check(CheckArgs),
    /// Show a stored run again, or merge the shards of one run
    #[command(after_help = "\
Examples:
  smtpress report smtpress-runs/20261123T120000Z-mx
  smtpress report RUN --format markdown >> $GITHUB_STEP_SUMMARY
  smtpress report shard-0 shard-1 shard-2 --expect-shards 3 --format json -o whole.json
  smtpress report RUN --format hgrm --of steady/step.body/accepted -o body.hgrm")]
    Report(Box<ReportArgs>),
    /// Wait for shards of runs on many machines, and run them
    #[command(after_help = fleet::AGENT_EXAMPLES)]
    Agent(AgentArgs),
    /// Run a profile on many machines, as one run with one result
    #[command(subcommand, after_help = fleet::FLEET_EXAMPLES)]
    Fleet(FleetCommand),
    /// Compare two sets of runs: regressed, improved, equivalent or inconclusive
    #[command(after_help = compare::EXAMPLES)]
    Compare(Box<CompareArgs>),
    /// Read replies, one a line, and print the condition of each: a triage tool for logs
    #[command(after_help = "\
Examples:
  smtpress classify /var/log/mail.log
  echo '421 4.7.0 Too many connections' | smtpress classify
  smtpress classify --json replies.txt | jq -r .condition | sort | uniq -c")]
    Classify(ClassifyArgs),
    /// Print all conditions, and Cisco's list of bounces
    Codes(CodesArgs),
    /// Prove on this machine that the measurements are true, and measure the speed of the generator
    Selftest(SelftestArgs),
    /// Print the JSON Schema of a profile, a result or a comparison
    Schema {
        /// Which schema
        #[arg(value_enum, value_name = "profile|result|compare")]
        of: SchemaOf,
    },
    /// Print the completion script of a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
}

/// The formats that have a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// The profile
    Profile,
    /// result.json
    Result,
    /// The JSON of `compare`
    Compare,
}

/// Runs `smtpress run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// The profile (TOML), or - for stdin; without it, --target and the load flags make one
    pub profile: Option<PathBuf>,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten, next_help_heading = "Dialogue")]
    pub login: LoginArgs,
    /// An assertion, such as 'p99 < 500ms'; may be repeated
    #[arg(long = "assert", value_name = "EXPR", help_heading = "Result")]
    pub asserts: Vec<String>,
    #[command(flatten, next_help_heading = "Result")]
    pub telemetry: TelemetryArgs,
    /// Write a copy of the HTML report
    #[arg(long, value_name = "FILE", env = "SMTPRESS_HTML", help_heading = "Result")]
    pub html: Option<PathBuf>,
    /// Write JUnit XML for CI: one case per assertion
    #[arg(long, value_name = "FILE", env = "SMTPRESS_JUNIT", help_heading = "Result")]
    pub junit: Option<PathBuf>,
    /// Print the profile that the arguments make, with all defaults
    #[arg(long, help_heading = "Run")]
    pub print_profile: bool,
    /// Run only part I (from 0) of N of the load; env: the scheduler's part
    #[arg(long, value_name = "I/N|env", env = "SMTPRESS_SHARD", help_heading = "Run")]
    pub shard: Option<String>,
    /// Start at this time (RFC 3339), for shards on several machines
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    pub start_at: Option<String>,
}

/// Flags for keys of a profile, named as in k6, oha, hey and vegeta.
#[derive(Debug, Default, Args)]
pub struct LoadArgs {
    /// host:port, smtp://host:port, or embedded
    #[arg(long, value_name = "URL", env = "SMTPRESS_TARGET", help_heading = "Load")]
    pub target: Option<String>,
    /// Sessions at once [10]
    #[arg(short = 'c', long, value_name = "N", env = "SMTPRESS_SESSIONS", help_heading = "Load")]
    pub sessions: Option<String>,
    /// Number of messages in all: 500, 20k, 1m
    #[arg(short = 'n', long, value_name = "N", env = "SMTPRESS_MESSAGES", help_heading = "Load")]
    pub messages: Option<String>,
    /// How long the load runs [10s]
    #[arg(
        id = "for",
        short = 'z',
        long = "for",
        value_name = "TIME",
        env = "SMTPRESS_FOR",
        help_heading = "Load"
    )]
    pub length: Option<String>,
    /// Messages per second, even if the target is slow (open load): 200/s
    #[arg(short = 'r', long, value_name = "RATE", env = "SMTPRESS_RATE", help_heading = "Load")]
    pub rate: Option<String>,
    /// Open all sessions before the first message (closed loads)
    #[arg(
        long,
        value_name = "BOOL",
        env = "SMTPRESS_OPEN_FIRST",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = "Load"
    )]
    pub open_first: Option<String>,
    /// Generator threads [one per core]
    #[arg(long, value_name = "N", env = "SMTPRESS_THREADS", help_heading = "Load")]
    pub threads: Option<String>,
    /// Messages per session [1]; 0: no limit
    #[arg(long, value_name = "N", env = "SMTPRESS_MESSAGES_PER_SESSION", help_heading = "Dialogue")]
    pub messages_per_session: Option<String>,
    /// Message size [4KiB]
    #[arg(long, value_name = "SIZE", env = "SMTPRESS_SIZE", help_heading = "Dialogue")]
    pub size: Option<String>,
    /// Recipients per message [1]
    #[arg(long, value_name = "N", env = "SMTPRESS_RECIPIENTS", help_heading = "Dialogue")]
    pub recipients: Option<String>,
    /// The first command [ehlo]
    #[arg(long, value_name = "ehlo|ehlo-only|helo", env = "SMTPRESS_HELLO", help_heading = "Dialogue")]
    pub hello: Option<String>,
    /// How commands are grouped (RFC 2920) [auto]
    #[arg(long, value_name = "off|auto|full", env = "SMTPRESS_PIPELINING", help_heading = "Dialogue")]
    pub pipelining: Option<String>,
    /// Whether and how the sessions are encrypted [none]
    #[arg(long, value_name = "none|starttls|implicit", env = "SMTPRESS_TLS", help_heading = "Dialogue")]
    pub tls: Option<String>,
    /// Receive what the relay delivers at this address, and match it
    #[arg(long, value_name = "ADDR", help_heading = "Load")]
    pub receive: Vec<String>,
    /// Or match a log of `smtpress receive`; --clock-probe asks for its clock
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    pub deliveries: Vec<String>,
    /// How far the clock of the log's machine is ahead of this machine's: 1.2ms+-0.3ms
    #[arg(long, value_name = "TIME", hide = true, allow_hyphen_values = true, help_heading = "Load")]
    pub clock_offset: Option<String>,
    /// Ask the receiver that writes the log for its clock, before and after the run
    #[arg(long, value_name = "ADDR", hide = true, conflicts_with = "clock_offset", help_heading = "Load")]
    pub clock_probe: Option<String>,
    /// The longest wait for deliveries after the load [2m]
    #[arg(long, value_name = "TIME", env = "SMTPRESS_DRAIN", help_heading = "Load")]
    pub drain: Option<String>,
    /// The ids of the arguments whose values came from the environment.
    #[arg(skip)]
    pub from_environment: BTreeSet<String>,
}

/// Runs `smtpress trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The listener: host:port, smtp://host:port, smtps://host:port, or embedded
    pub url: String,
    /// Send HELO, and one command at a time, as in a telnet session
    #[arg(long)]
    pub helo: bool,
    /// The name given with HELO or EHLO [load.example]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The sender [load@sender.example]
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// The recipient [user0@recipient.example]
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<String>,
    /// Send addresses even if they break the grammar of RFC 5321
    #[arg(long)]
    pub lax_addresses: bool,
    /// Require SMTPUTF8, for addresses beyond ASCII (RFC 6531)
    #[arg(long, conflicts_with = "helo")]
    pub smtputf8: bool,
    /// Recipients
    #[arg(long, value_name = "N", default_value = "1")]
    pub recipients: String,
    /// Message size
    #[arg(long, value_name = "SIZE", default_value = "1KiB")]
    pub size: String,
    /// How commands are grouped (RFC 2920)
    #[arg(long, value_name = "off|auto|full", default_value = "off", conflicts_with = "helo")]
    pub pipelining: String,
    /// Whether and how the session is encrypted [none; smtps://: implicit]
    #[arg(long, value_name = "none|starttls|implicit")]
    pub tls: Option<String>,
    /// A PEM file of certificates to trust [those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<String>,
    /// The server name for SNI and for the check of the certificate [the host]
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// Accept any certificate, and show why it would normally be refused
    #[arg(long)]
    pub no_verify: bool,
    /// The client's address: a local address to bind, or the one that --proxy or --xclient announces
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<String>,
    /// Begin with a PROXY protocol header, as a load balancer does
    #[arg(long, value_name = "v1|v2")]
    pub proxy: Option<String>,
    /// Announce the client's address by XCLIENT
    #[arg(long, requires = "source", conflicts_with = "proxy")]
    pub xclient: bool,
    /// Send no message: greeting, hello, QUIT
    #[arg(long)]
    pub no_message: bool,
    /// The longest time for each step
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: String,
    /// Receive at this address what the relay delivers, and show it; may be repeated
    #[arg(long, value_name = "ADDR", conflicts_with = "no_message")]
    pub receive: Vec<String>,
    /// The longest wait for the delivery
    #[arg(long, value_name = "TIME", default_value = "2m", requires = "receive")]
    pub drain: String,
    /// Show the whole message instead of its first and last lines
    #[arg(long)]
    pub full: bool,
    /// Write the session as JSON
    #[arg(long)]
    pub json: bool,
    /// Allow this target beyond loopback; only with its owner's consent
    #[arg(long, value_name = "HOST")]
    pub allow_target: Vec<String>,
    #[command(flatten, next_help_heading = "Login")]
    pub login: LoginArgs,
}

/// Runs `smtpress listen`.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// A profile (TOML), -: from stdin; only its [listener] table is used
    pub profile: Option<PathBuf>,
    /// The address to listen on; port 0 takes any free one [default: the profile's listener.address, or 127.0.0.1:2525]
    #[arg(long, value_name = "IP:PORT|unix:PATH")]
    pub bind: Option<crate::net::address::bind::Bind>,
    /// Threads of the listener
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Stop after this time
    #[arg(short = 'z', long = "for", value_name = "TIME")]
    pub length: Option<String>,
    /// Set a key of the profile, such as listener.max_connections_per_host=20
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The seed of probabilities and delays
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Runs `smtpress check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The profile (TOML); -: from stdin
    pub profile: PathBuf,
    /// Set a key of the profile; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The seed of all randomness
    #[arg(long, value_name = "N")]
    pub seed: Option<String>,
}

/// Runs `smtpress report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A run directory or its result.json; several are merged as the shards of one run
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The format
    #[arg(
        long,
        value_enum,
        default_value = "text",
        value_name = "text|html|json|junit|csv|hlog|hgrm|markdown"
    )]
    pub format: Format,
    /// The longest time between the starts of two shards; if it is longer the merged run is invalid
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub max_skew: Duration,
    /// Refuse runs that are not all the N shards of one run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub expect_shards: Option<u32>,
    /// Join the run with a log of `smtpress receive`; may be repeated
    #[arg(long, value_name = "FILE")]
    pub deliveries: Vec<String>,
    /// How far the clock of the log's machine is ahead of the run's: 1.2ms+-0.3ms
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "deliveries")]
    pub clock_offset: Option<String>,
    /// Ask the receiver that writes the log, which still runs, for its clock instead
    #[arg(long, value_name = "ADDR", requires = "deliveries", conflicts_with = "clock_offset")]
    pub clock_probe: Option<String>,
    /// Allow a host beyond loopback to be asked for its clock; may be repeated
    #[arg(long, value_name = "HOST", requires = "clock_probe")]
    pub allow_target: Vec<String>,
    /// The distribution for hgrm: metric/outcome of all measured phases, or phase/metric/outcome
    #[arg(long, default_value = "response/accepted", value_name = "NAME")]
    pub of: String,
    /// Write to a file instead of stdout
    #[arg(short = 'o', long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal
    Text,
    /// One HTML page, complete in itself
    Html,
    /// result.json
    Json,
    /// JUnit XML, for CI
    Junit,
    /// The time series, one row for each second of a phase
    Csv,
    /// HdrHistogram's interval log, one line for each second of a distribution
    Hlog,
    /// HdrHistogram's table of percentiles of one distribution
    Hgrm,
    /// Markdown, for a pull request
    Markdown,
}

/// Runs `smtpress classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// A file of replies; - or no file: stdin
    pub file: Option<PathBuf>,
    /// The input is one JSON object a line: {"reply": "...", "step": "mail"}
    #[arg(long)]
    pub jsonl: bool,
    /// Write one JSON object for each reply
    #[arg(long)]
    pub json: bool,
}

/// Runs `smtpress codes`.
#[derive(Debug, Args)]
pub struct CodesArgs {
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// Run only the proofs, without measuring what this machine can do
    #[arg(long)]
    pub proofs_only: bool,
}
