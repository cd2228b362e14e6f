//! What a user can type: the commands and their flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// SMTP load and concurrency stress tester.
#[derive(Debug, Parser)]
#[command(
    name = "smtpress",
    version,
    max_term_width = 100,
    about = "SMTP load and concurrency stress tester: true latencies, every failure named, books that balance",
    after_help = "Exit codes: 0 all held; 1 a fault in smtpress; 2 usage or profile; 3 preflight, target or safety; \
                  4 nothing measured; 5 inconclusive; 98 the measurement is invalid; 99 an assertion failed; 105 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// When to colour.
    #[arg(long, global = true, value_enum, default_value = "auto", env = "SMTPRESS_COLOR")]
    pub color: Color,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

/// How a run shows that it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, else log lines.
    Auto,
    Bar,
    Log,
    None,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the load, check the assertions, write a run directory.
    Run(Box<RunArgs>),
    /// One session with its whole transcript, times and meanings: the modern telnet test.
    Trace(Box<TraceArgs>),
    /// The embedded listener, on its own.
    Listen(ListenArgs),
    /// Parse a profile strictly, preview its schedule and say what it needs; no network.
    Check(CheckArgs),
    /// Render a stored run again.
    Report(ReportArgs),
    /// Name the condition of every reply line read.
    Classify(ClassifyArgs),
    /// The table of conditions, with every row of Cisco's list.
    Codes(CodesArgs),
    /// Prove on this machine that the measurements are true, and how fast the generator is.
    Selftest(SelftestArgs),
    /// Print the JSON Schema of a profile or a result.
    Schema {
        #[arg(value_enum)]
        of: SchemaOf,
    },
    /// Print the completions of a shell.
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    Profile,
    Result,
}

#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// The profile (TOML). Without it, --target and the flags below make one.
    pub profile: Option<PathBuf>,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub common: CommonArgs,
    /// Print the profile that the flags make, with all defaults, and stop.
    #[arg(long)]
    pub print_profile: bool,
    /// Something that must hold, such as 'p99 < 500ms'; may be given several times.
    #[arg(long = "assert", value_name = "EXPR")]
    pub asserts: Vec<String>,
    /// Write the HTML report here.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write a JUnit report here.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Carry part i of n of the load (from 0).
    #[arg(long, value_name = "I/N", env = "SMTPRESS_SHARD")]
    pub shard: Option<String>,
    /// Start at this time (RFC 3339), for shards on several machines.
    #[arg(long, value_name = "TIME")]
    pub start_at: Option<String>,
}

/// Flags that stand for keys of a profile, named as in k6, oha, hey and vegeta.
#[derive(Debug, Default, Args)]
pub struct LoadArgs {
    /// Where the load goes: smtp://host:port, or embedded.
    #[arg(long, value_name = "URL", env = "SMTPRESS_TARGET")]
    pub target: Option<String>,
    /// Sessions at once.
    #[arg(short = 'c', long, value_name = "N", env = "SMTPRESS_SESSIONS")]
    pub sessions: Option<String>,
    /// Messages in all (k and m are understood).
    #[arg(short = 'n', long, value_name = "N", env = "SMTPRESS_MESSAGES")]
    pub messages: Option<String>,
    /// How long.
    #[arg(short = 'z', long = "for", value_name = "30s", env = "SMTPRESS_FOR")]
    pub length: Option<String>,
    /// Arrivals a second, whatever the target does (open load).
    #[arg(short = 'r', long, value_name = "200/s", env = "SMTPRESS_RATE")]
    pub rate: Option<String>,
    /// Message size.
    #[arg(long, value_name = "4KiB", env = "SMTPRESS_SIZE")]
    pub size: Option<String>,
    /// Recipients of a message.
    #[arg(long, value_name = "N", env = "SMTPRESS_RECIPIENTS")]
    pub recipients: Option<String>,
    /// Messages in a session; 0: as many as there are.
    #[arg(long, value_name = "N", env = "SMTPRESS_MESSAGES_PER_SESSION")]
    pub messages_per_session: Option<String>,
    /// The first command: helo or ehlo.
    #[arg(long, value_name = "helo|ehlo", env = "SMTPRESS_HELLO")]
    pub hello: Option<String>,
    /// Grouping of commands: off, auto or full (RFC 2920).
    #[arg(long, value_name = "off|auto|full", env = "SMTPRESS_PIPELINING")]
    pub pipelining: Option<String>,
    /// none, starttls or implicit.
    #[arg(long, value_name = "MODE", env = "SMTPRESS_TLS")]
    pub tls: Option<String>,
    /// Generator threads; as many as cores if not given.
    #[arg(long, value_name = "N", env = "SMTPRESS_THREADS")]
    pub threads: Option<String>,
}

/// What the commands that send have in common.
#[derive(Debug, Default, Args)]
pub struct CommonArgs {
    /// The seed of all randomness; drawn and printed if not given.
    #[arg(long, value_name = "N", env = "SMTPRESS_SEED")]
    pub seed: Option<String>,
    /// Set a key of the profile, such as phase.steady.rate=200/s; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The run directory; smtpress-runs/<time>-<name> if not given.
    #[arg(short = 'o', long, value_name = "DIR", env = "SMTPRESS_OUT")]
    pub out: Option<PathBuf>,
    /// Write the result as JSON to a file, or to stdout with -.
    #[arg(long, value_name = "FILE|-", env = "SMTPRESS_JSON")]
    pub json: Option<PathBuf>,
    /// How to show that the run goes on.
    #[arg(long, value_enum, env = "SMTPRESS_PROGRESS")]
    pub progress: Option<Progress>,
    /// Print nothing but errors.
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Allow a target beyond loopback, by its host; only with its owner's consent.
    #[arg(long, value_name = "HOST")]
    pub allow_target: Vec<String>,
}

#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The listener: smtp://host:port, or embedded.
    pub url: String,
    /// Exactly the HELO flow of a telnet session, one command at a time.
    #[arg(long)]
    pub helo: bool,
    /// The name given with HELO or EHLO.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The sender.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// The recipient.
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<String>,
    /// Recipients.
    #[arg(long, value_name = "N", default_value = "1")]
    pub recipients: String,
    /// Message size.
    #[arg(long, value_name = "4KiB", default_value = "1KiB")]
    pub size: String,
    /// Grouping of commands: off, auto or full.
    #[arg(long, value_name = "off|auto|full", default_value = "off")]
    pub pipelining: String,
    /// No message: greeting, hello, QUIT.
    #[arg(long)]
    pub no_message: bool,
    /// How long any step may take.
    #[arg(long, value_name = "30s", default_value = "30s")]
    pub timeout: String,
    /// Write what happened as JSON to stdout.
    #[arg(long)]
    pub json: bool,
    /// Allow a target beyond loopback, by its host; only with its owner's consent.
    #[arg(long, value_name = "HOST")]
    pub allow_target: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ListenArgs {
    /// A profile; its [listener] table counts.
    pub profile: Option<PathBuf>,
    /// The address to listen on; port 0: any free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:2525")]
    pub bind: std::net::SocketAddr,
    /// Threads of the listener.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Stop after this time.
    #[arg(short = 'z', long = "for", value_name = "30s")]
    pub length: Option<String>,
    /// Set a key of the profile, such as listener.max_connections_per_host=20.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The seed of probabilities and delays.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The profile.
    pub profile: PathBuf,
    /// Set a key of the profile; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The seed.
    #[arg(long, value_name = "N")]
    pub seed: Option<String>,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A run directory, or its result.json.
    pub run: PathBuf,
    /// The form.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Write to a file instead of stdout.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// A file of replies; stdin if not given, or -.
    pub file: Option<PathBuf>,
    /// The input is one JSON object a line: {"reply": "...", "step": "mail"}.
    #[arg(long)]
    pub jsonl: bool,
    /// Write one JSON object a reply.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CodesArgs {
    /// Write JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// Write JSON to stdout.
    #[arg(long)]
    pub json: bool,
    /// Only the proofs, without the search for this machine's ceilings.
    #[arg(long)]
    pub proofs_only: bool,
}
