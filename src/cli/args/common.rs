//! The common flags of the commands that send.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::command::CommandError;
use crate::plan::Plan;
use crate::report::RunDir;

/// The display of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, else log lines
    Auto,
    /// Bars
    Bar,
    /// Log lines
    Log,
    /// Nothing
    None,
}

/// The common flags of the commands that send.
#[derive(Debug, Default, Args)]
pub struct CommonArgs {
    /// Set a key, such as phase.steady.rate=200/s; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Run")]
    pub set: Vec<String>,
    /// The seed of all randomness [drawn, and shown]
    #[arg(long, value_name = "N", env = "SMTPRESS_SEED", help_heading = "Run")]
    pub seed: Option<String>,
    /// Allow this target beyond loopback; only with its owner's consent
    #[arg(long, value_name = "HOST", help_heading = "Run")]
    pub allow_target: Vec<String>,
    /// The run directory [smtpress-runs/<time>-<name>]
    #[arg(short = 'o', long, value_name = "DIR", env = "SMTPRESS_OUT", help_heading = "Result")]
    pub out: Option<PathBuf>,
    /// Replace an earlier run there, once this one is stored
    #[arg(long, requires = "out", help_heading = "Result")]
    pub overwrite: bool,
    /// Write the result as JSON; -: to stdout, and nothing else there
    #[arg(long, value_name = "FILE|-", env = "SMTPRESS_JSON", help_heading = "Result")]
    pub json: Option<PathBuf>,
    /// How to show progress on stderr [auto]
    #[arg(
        long,
        value_enum,
        value_name = "auto|bar|log|none",
        env = "SMTPRESS_PROGRESS",
        help_heading = "Result"
    )]
    pub progress: Option<ProgressMode>,
    /// Print only errors, and the result if --json - asks for it
    #[arg(short = 'q', long, help_heading = "Result")]
    pub quiet: bool,
}

impl CommonArgs {
    /// Returns the display of progress.
    pub fn shown(&self) -> ProgressMode {
        if self.quiet { ProgressMode::None } else { self.progress.unwrap_or(ProgressMode::Auto) }
    }

    /// Makes the run directory. Nothing is sent before it exists.
    ///
    /// # Errors
    /// The path is in use (exit code 2), or it cannot be made or written to (3).
    pub fn directory(&self, plan: &Plan, started_at: Duration) -> Result<RunDir, CommandError> {
        RunDir::create(self.out.as_deref(), self.overwrite, &plan.name, started_at)
            .map_err(CommandError::unwritable)
    }
}
