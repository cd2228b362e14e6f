//! What a user can type behind `smtpress capacity`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::CommonArgs;
use crate::cli::login::LoginArgs;

/// `smtpress capacity`.
#[derive(Debug, Default, Args)]
pub struct CapacityArgs {
    /// A profile (TOML): its target, session, message, first measured phase and [capacity]; without it --target
    pub profile: Option<PathBuf>,
    /// smtp://host:port, smtps://, lmtp://, or embedded
    #[arg(long, value_name = "URL", env = "SMTPRESS_TARGET", help_heading = "Search")]
    pub target: Option<String>,
    /// What a load must meet: '[NAME:] response p99 < 500ms[, failures 0.1%]'; may be repeated
    #[arg(long = "goal", value_name = "GOAL", help_heading = "Search")]
    pub goals: Vec<String>,
    /// What is raised [rate]
    #[arg(long, value_name = "rate|sessions|size", help_heading = "Search")]
    pub by: Option<String>,
    /// The capacity that every goal (or the one named) must have: '[NAME:] >= 400/s'; may be repeated
    #[arg(long = "expect", value_name = "CAPACITY", help_heading = "Search")]
    pub expects: Vec<String>,
    /// Go on with the search that was broken off in this run directory
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["profile", "goals", "by", "set", "out"],
        help_heading = "Search"
    )]
    pub resume: Option<PathBuf>,
    /// Whether and how the sessions are encrypted [none]
    #[arg(long, value_name = "none|starttls|implicit", env = "SMTPRESS_TLS", help_heading = "Dialogue")]
    pub tls: Option<String>,
    #[command(flatten, next_help_heading = "Dialogue")]
    pub login: LoginArgs,
    #[command(flatten)]
    pub common: CommonArgs,
    /// Write a JUnit report: one case a goal
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub junit: Option<PathBuf>,
    /// Write the HTML report here too; report.html is in the run directory
    #[arg(long, value_name = "FILE", env = "SMTPRESS_HTML", help_heading = "Result")]
    pub html: Option<PathBuf>,
}
