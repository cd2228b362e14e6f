//! The commands: parses the command line, runs the command, prints its messages, and returns its exit code.
//!
//! stdout holds results only; progress and messages go to stderr.

mod agent;
mod agent_lines;
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

/// Checks whether a command line is valid, without running it.
///
/// # Errors
/// The text that `main` would print, also for `--help` and `--version`.
pub fn understands(arguments: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    Cli::read(arguments).map(drop).map_err(|error| error.to_string())
}

/// Parses the command line, runs the command, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    let cli = match Cli::read(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come as errors, too. A failure to print them is ignored: the terminal was closed.
            match redact::sentence(&error.to_string()) {
                Cow::Borrowed(_) => error.print().ok(),
                // The wrong argument may be a URL with a password.
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
