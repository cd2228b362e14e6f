//! What a user can type behind `smtpress limit`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::CommonArgs;
use crate::cli::login::LoginArgs;

/// `smtpress limit`.
#[derive(Debug, Default, Args)]
pub struct LimitArgs {
    /// A profile (TOML): its target, session, message and [limits]; without it --target
    pub profile: Option<PathBuf>,
    /// smtp://host:port, smtps://, lmtp://, or embedded
    #[arg(long, value_name = "URL", env = "SMTPRESS_TARGET", help_heading = "Search")]
    pub target: Option<String>,
    /// Look for these, by name or family (rule, bare-cr-lf), or for all [those expected, else all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = "Search")]
    pub find: Vec<String>,
    /// Leave these out, by name or family
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = "Search")]
    pub skip: Vec<String>,
    /// What was configured, such as too-many-connections-from-host=50; may be repeated
    #[arg(long, value_name = "NAME=VALUE,...", value_delimiter = ',', help_heading = "Search")]
    pub expect: Vec<String>,
    /// Print what would be done, in which order and how far, and stop
    #[arg(long, help_heading = "Search")]
    pub plan: bool,
    /// How long a reply may take [10s]
    #[arg(long, value_name = "TIME", help_heading = "Search")]
    pub timeout: Option<String>,
    /// How long silence is waited for where no time is expected [20s]
    #[arg(long, value_name = "TIME", help_heading = "Search")]
    pub wait: Option<String>,
    /// Sessions held at most where no number is expected [1000]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub max_sessions: Option<String>,
    /// Messages, recipients or errors of a session at most, likewise [1000]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub max_messages: Option<String>,
    /// Octets of a message at most, likewise [64MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Search")]
    pub max_size: Option<String>,
    /// All of it takes no longer [20m]
    #[arg(long, value_name = "TIME", help_heading = "Search")]
    pub max_time: Option<String>,
    /// A recipient that the listener refuses [nobody-at-all@ the recipients' domain]
    #[arg(long, value_name = "ADDRESS", help_heading = "Dialogue")]
    pub bad_recipient: Option<String>,
    /// Whether and how the sessions are encrypted [none]
    #[arg(long, value_name = "none|starttls|implicit", env = "SMTPRESS_TLS", help_heading = "Dialogue")]
    pub tls: Option<String>,
    /// The reverse path
    #[arg(long, value_name = "ADDRESS", help_heading = "Dialogue")]
    pub from: Option<String>,
    /// The recipients, a template as `to` in [message]
    #[arg(long, value_name = "ADDRESS", help_heading = "Dialogue")]
    pub to: Option<String>,
    #[command(flatten, next_help_heading = "Dialogue")]
    pub login: LoginArgs,
    #[command(flatten)]
    pub common: CommonArgs,
    /// Write a JUnit report: one case a limit
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub junit: Option<PathBuf>,
    /// Write the HTML report here too; report.html is in the run directory
    #[arg(long, value_name = "FILE", env = "SMTPRESS_HTML", help_heading = "Result")]
    pub html: Option<PathBuf>,
}
