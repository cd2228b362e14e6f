//! The commands a user types. All writing to the terminal, all exit codes.
//!
//! stdout holds results only; progress and messages go to stderr.

mod agent;
mod args;
mod came_out;
mod capacity;
mod compare;
mod fleet;
mod limit;
mod manual;
mod overrides;
mod prepare;
mod progress;
mod receive;
mod report;
mod run;
mod screen;
mod selftest;
mod serve;
mod shard;
mod show;
mod start;
mod tables;
mod trace;
mod transcript;
mod variables;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process;

use args::{Cli, Command};

use crate::profile::redact;
use crate::verdict::ExitCode;

/// Whether a command line would be understood; nothing is done.
///
/// # Errors
/// What `main` would print, `--help` and `--version` too.
pub fn understands(arguments: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    Cli::read(arguments).map(drop).map_err(|error| error.to_string())
}

/// Parses the command line, does what it says, and gives the contract's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    let cli = match Cli::read(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come as errors too; nobody is left to hear it if the terminal is gone.
            match redact::sentence(&error.to_string()) {
                Cow::Borrowed(_) => error.print().ok(),
                // A URL with a password stood where another argument was expected.
                Cow::Owned(told) => write!(io::stderr().lock(), "{told}").ok(),
            };
            return if error.use_stderr() { ExitCode::Usage } else { ExitCode::Success }.into();
        }
    };
    let screen = screen::Screen::new(cli.color);
    let done = match cli.command {
        Command::Run(args) => run::run(&args, &screen),
        Command::Capacity(args) => capacity::capacity(&args, &screen),
        Command::Limit(args) => limit::limit(&args, &screen),
        Command::Trace(args) => trace::trace(&args, &screen),
        Command::Listen(args) => serve::listen(&args, &screen),
        Command::Receive(args) => receive::receive(&args, &screen),
        Command::Check(args) => prepare::check(&args, &screen),
        Command::Agent(args) => agent::agent(&args, &screen),
        Command::Fleet(command) => fleet::fleet(&command, &screen),
        Command::Report(args) => report::report(&args, &screen),
        Command::Compare(args) => compare::compare(&args, &screen),
        Command::Classify(args) => tables::classify(&args, &screen),
        Command::Codes(args) => tables::codes(&args, &screen),
        Command::Schema { of } => manual::schema(of),
        Command::Completions { shell } => manual::completions(shell),
        Command::Selftest(args) => selftest::selftest(&args, &screen),
        Command::Man => manual::man(),
    };
    let code = match done {
        Ok(code) => code,
        Err(failure) => {
            screen.error(&failure);
            failure.code()
        }
    };
    code.into()
}
