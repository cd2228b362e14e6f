//! The `smtpress` binary: calls `cli::main` and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    smtpress::cli::main(std::env::args_os())
}
