//! The arguments of `smtpress receive`.

use std::path::PathBuf;

use clap::Args;

/// The end of its help.
pub const EXAMPLES: &str = "\
Examples:
  smtpress receive --receive 127.0.0.1:2600 --deliveries out.jsonl
  smtpress run --target 127.0.0.1:25 -r 400/s -z 60s --deliveries out.jsonl

For times, a run on another machine asks this receiver for its clock before and after the run:
  smtpress run ... --deliveries FILE --clock-probe THIS-HOST:2600

Ctrl-C ends it. Exit codes: 0 ended as asked; 1 the log could not be written to its end;
3 an address or the log cannot be opened; 2 usage.";

/// The arguments of `smtpress receive`.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// A profile (TOML), or - for stdin; only its [receive] table is used
    pub profile: Option<PathBuf>,
    /// Receive at this address [the profile's receive.address]; may be repeated
    #[arg(long, value_name = "IP:PORT|unix:PATH")]
    pub receive: Vec<String>,
    /// Write the delivery log to this new file
    #[arg(long, value_name = "FILE")]
    pub deliveries: Option<PathBuf>,
    /// Stop after this time
    #[arg(short = 'z', long = "for", value_name = "TIME")]
    pub length: Option<String>,
    /// Set a key of the profile, such as receive.protocol=lmtp
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The seed of probabilities and delays
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}
