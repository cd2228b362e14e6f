//! The arguments of `smtpress capacity`.

use std::path::PathBuf;

use clap::Args;

use super::common::CommonArgs;
use super::login::LoginArgs;

/// Runs `smtpress capacity`.
#[derive(Debug, Default, Args)]
pub struct CapacityArgs {
    /// A profile (TOML), or - for stdin: its target, session, message, first measured phase and [capacity] are used; or
    /// give --target
    pub profile: Option<PathBuf>,
    /// host:port, smtp://host:port, smtps://, lmtp://, or embedded
    #[arg(long, value_name = "URL", env = "SMTPRESS_TARGET", help_heading = "Search")]
    pub target: Option<String>,
    /// A goal that a load must meet: '[NAME:] response p99 < 500ms[, failures 0.1%]'; may be repeated
    #[arg(long = "goal", value_name = "GOAL", help_heading = "Search")]
    pub goals: Vec<String>,
    /// The parameter that is raised [rate]
    #[arg(long, value_name = "rate|sessions|size", help_heading = "Search")]
    pub by: Option<String>,
    /// The expected capacity for every goal, or for the named one: '[NAME:] >= 400/s'; may be repeated
    #[arg(long = "expect", value_name = "CAPACITY", help_heading = "Search")]
    pub expects: Vec<String>,
    /// Continue the interrupted search of this run directory
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["profile", "goals", "by", "set", "receive", "drain", "auth"],
        help_heading = "Search"
    )]
    pub resume: Option<PathBuf>,
    /// Receive at this address what the relay delivers; a load at which its queue grows is too high; may be repeated
    #[arg(long, value_name = "ADDR", help_heading = "Search")]
    pub receive: Vec<String>,
    /// The longest wait for deliveries after each trial [2m]
    #[arg(long, value_name = "TIME", help_heading = "Search")]
    pub drain: Option<String>,
    /// Whether and how the sessions are encrypted [none]
    #[arg(long, value_name = "none|starttls|implicit", env = "SMTPRESS_TLS", help_heading = "Dialogue")]
    pub tls: Option<String>,
    #[command(flatten, next_help_heading = "Dialogue")]
    pub login: LoginArgs,
    #[command(flatten)]
    pub common: CommonArgs,
    /// Write JUnit XML for CI: one case per goal
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub junit: Option<PathBuf>,
    /// Write a copy of the HTML report
    #[arg(long, value_name = "FILE", env = "SMTPRESS_HTML", help_heading = "Result")]
    pub html: Option<PathBuf>,
}
