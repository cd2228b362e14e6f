//! The arguments of `smtpress compare`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::common::ProgressMode;

pub const EXAMPLES: &str = "\
Examples:
  smtpress compare monday --against tuesday
  smtpress compare base-1 base-2 base-3 base-4 base-5 --against new-1 new-2 new-3 new-4 new-5
  smtpress compare base-* --against new-* --metric 'response p99' --markdown >> $GITHUB_STEP_SUMMARY
  smtpress compare --interleave 5 mx.toml --target smtp://127.0.0.1:2525 \\
    --candidate smtp://127.0.0.1:2626 --html compared.html

Exit codes: 0 improved or equivalent, 99 regressed, 5 inconclusive, 2 not comparable.
With --interleave also: 3 a target is not reached, 98 no run of a side is valid, 105 interrupted; what was run is kept.";

/// The arguments of `smtpress compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Run directories of the base; with --interleave, the profile
    #[arg(required = true, value_name = "BASE")]
    pub base: Vec<PathBuf>,
    /// Run directories of the candidate; five runs on each side are a good number
    #[arg(
        long,
        required_unless_present = "interleave",
        conflicts_with = "interleave",
        num_args = 1..,
        value_name = "CAND"
    )]
    pub against: Vec<PathBuf>,
    /// Compare only this metric, such as 'response p99', 'accepted rate' or 'unexpected rate'; may be repeated
    #[arg(long = "metric", value_name = "METRIC")]
    pub metrics: Vec<String>,
    /// Compare even if profiles or seeds differ, or runs are invalid or interrupted
    #[arg(long)]
    pub force: bool,
    /// The format
    #[arg(
        long,
        value_enum,
        value_name = "text|html|json|markdown",
        default_value = "text",
        hide_default_value = true
    )]
    pub format: CompareFormat,
    /// The same as --format json
    #[arg(long, conflicts_with_all = ["markdown", "format"])]
    pub json: bool,
    /// The same as --format markdown, for a pull request
    #[arg(long, conflicts_with = "format")]
    pub markdown: bool,
    /// Write a copy as an HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write to a file instead of stdout
    #[arg(short = 'o', long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Series of runs")]
    pub series: SeriesArgs,
}

/// The format of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// For a terminal
    Text,
    /// One HTML page, complete in itself
    Html,
    /// JSON; its schema: smtpress schema compare
    Json,
    /// Markdown, for a pull request
    Markdown,
}

impl CompareArgs {
    /// Returns the requested format.
    pub fn form(&self) -> CompareFormat {
        match (self.json, self.markdown) {
            (true, _) => CompareFormat::Json,
            (_, true) => CompareFormat::Markdown,
            _ => self.format,
        }
    }
}

/// The flags of a comparison that runs the loads itself.
#[derive(Debug, Args)]
pub struct SeriesArgs {
    /// Run N times on each side, in the order A B B A, and compare the runs; BASE is the profile
    #[arg(long, value_name = "N", requires = "candidate")]
    pub interleave: Option<usize>,
    /// The target of the base [the profile's]
    #[arg(long, value_name = "URL", requires = "interleave")]
    pub target: Option<String>,
    /// The target of the candidate
    #[arg(long, value_name = "URL", requires = "interleave")]
    pub candidate: Option<String>,
    /// Receive at this address what the relay delivers, in each run; may be repeated
    #[arg(long, value_name = "ADDR", requires = "interleave")]
    pub receive: Vec<String>,
    /// The longest wait for deliveries after each run [2m]
    #[arg(long, value_name = "TIME", requires = "interleave")]
    pub drain: Option<String>,
    /// The pause between two runs
    #[arg(long, value_name = "TIME", requires = "interleave", default_value = "5s")]
    pub cooldown: String,
    /// Set a key of the profile; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "interleave")]
    pub set: Vec<String>,
    /// The seed of all runs [the profile's, or drawn and shown]
    #[arg(long, value_name = "N", requires = "interleave")]
    pub seed: Option<String>,
    /// Allow this target beyond loopback; only with its owner's consent
    #[arg(long, value_name = "HOST", requires = "interleave")]
    pub allow_target: Vec<String>,
    /// The directory of the runs [smtpress-runs/<time>-<name>-compare]
    #[arg(long, value_name = "DIR", requires = "interleave")]
    pub runs: Option<PathBuf>,
    /// Replace earlier runs in that directory, once all of these are stored
    #[arg(long, requires = "runs")]
    pub overwrite: bool,
    /// How to show progress on stderr [auto]
    #[arg(long, value_enum, value_name = "auto|bar|log|none", requires = "interleave")]
    pub progress: Option<ProgressMode>,
    /// Print only warnings and errors of the runs
    #[arg(short = 'q', long, requires = "interleave")]
    pub quiet: bool,
}
