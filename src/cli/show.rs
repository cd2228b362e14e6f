//! Prints the report of a finished command, and writes the copies of its result.

use std::io;

use super::screen::Screen;
use crate::command::output::Output;
use crate::command::{CommandError, Copies, Finished};
use crate::report::stored::RunResult;
use crate::report::terminal;
use crate::verdict::ExitCode;

/// Prints the report, unless a copy goes to stdout, and writes the copies.
///
/// # Errors
/// Something could not be written.
pub fn show(finished: &Finished, copies: &Copies, quiet: bool, screen: &Screen) -> Result<(), CommandError> {
    let mut printed = Ok(());
    if !quiet && !copies.take_stdout() {
        let files = finished.directory.path().display().to_string();
        let text = in_text(&finished.result, screen.width(), screen.colour_out(), Some(&files))?;
        printed = Output::Stdout.write(&text);
    }
    // The copies are written even if stdout was closed.
    copies.write(&finished.result, finished.directory.files()).and(printed)
}

/// Returns the exit code of a command whose result was shown. A result that could not be stored is shown, but the
/// command is no success.
///
/// # Errors
/// The result passed, and could not be stored or shown.
pub fn conclude(
    finished: Finished,
    shown: Result<(), CommandError>,
    screen: &Screen,
) -> Result<ExitCode, CommandError> {
    let code = finished.exit_code();
    finished.stored.and(shown).or_else(|error| screen.unless_failed(error, code))?;
    Ok(code)
}

/// Writes a report; `files` is the run directory that the report names.
pub fn in_text(result: &RunResult, width: usize, colour: bool, files: Option<&str>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    terminal::write(result, terminal::TextStyle { width, colour, files }, &mut text)?;
    Ok(text)
}
