//! The arguments of `smtpress limit`.

use std::path::PathBuf;

use clap::Args;

use super::common::CommonArgs;
use super::login::LoginArgs;

/// Runs `smtpress limit`.
#[derive(Debug, Default, Args)]
pub struct LimitArgs {
    /// A profile (TOML), or - for stdin: its target, session, message and [limits] are used; or give --target
    pub profile: Option<PathBuf>,
    /// host:port, smtp://host:port, smtps://, lmtp://, or embedded
    #[arg(long, value_name = "URL", env = "SMTPRESS_TARGET", help_heading = "Search")]
    pub target: Option<String>,
    /// Search only these limits, by name or family (rule, bare-cr-lf); all: every limit [those with an expected value,
    /// else all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = "Search")]
    pub find: Vec<String>,
    /// Leave out these limits, by name or family
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = "Search")]
    pub skip: Vec<String>,
    /// The configured value of a limit, such as too-many-connections-from-host=50; may be repeated
    #[arg(long, value_name = "NAME=VALUE,...", value_delimiter = ',', help_heading = "Search")]
    pub expect: Vec<String>,
    /// Print which limits would be searched, in which order and up to which bounds, and exit
    #[arg(long, help_heading = "Search")]
    pub plan: bool,
    /// The longest wait for a reply [10s]
    #[arg(long, value_name = "TIME", help_heading = "Search")]
    pub timeout: Option<String>,
    /// The longest wait for a timeout without an expected value [20s]
    #[arg(long, value_name = "TIME", help_heading = "Search")]
    pub wait: Option<String>,
    /// The most sessions at once for a limit without an expected value [1000]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub max_sessions: Option<String>,
    /// The most messages, recipients or errors in a session for a limit without an expected value [1000]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub max_messages: Option<String>,
    /// The largest message for a limit without an expected value [64MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Search")]
    pub max_size: Option<String>,
    /// The longest time of the whole search [20m]
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
    /// The recipients, a template like `to` in [message]
    #[arg(long, value_name = "ADDRESS", help_heading = "Dialogue")]
    pub to: Option<String>,
    #[command(flatten, next_help_heading = "Dialogue")]
    pub login: LoginArgs,
    #[command(flatten)]
    pub common: CommonArgs,
    /// Write JUnit XML for CI: one case per limit
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub junit: Option<PathBuf>,
    /// Write a copy of the HTML report
    #[arg(long, value_name = "FILE", env = "SMTPRESS_HTML", help_heading = "Result")]
    pub html: Option<PathBuf>,
}
