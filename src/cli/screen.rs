//! The terminal: writes text, and decides about colours.

use std::io::{self, IsTerminal, Write};

use super::args::Color;
use crate::command::output::Stdout;
use crate::command::{CommandError, MessageSink};
use crate::profile::redact;
use crate::verdict::ExitCode;

/// Writes text to stdout and stderr, with or without colours.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    color: Color,
}

impl Screen {
    /// Returns a screen for this `--color`.
    pub fn new(color: Color) -> Screen {
        Screen { color }
    }

    /// Returns stdout, locked, for a result.
    pub fn out(&self) -> Stdout {
        Stdout::lock()
    }

    /// Prints a line to stderr, without credentials of URLs in it.
    pub fn note(&self, line: &str) {
        let line = redact::sentence(line);
        // A closed stderr cannot be reported.
        writeln!(io::stderr().lock(), "{line}").ok();
    }

    /// Prints why a command ends without its result.
    pub fn error(&self, error: &CommandError) {
        match error {
            CommandError::Profile(error) => self.note(error.render(self.colour_err()).trim_end()),
            CommandError::Failed(_, sentence) => {
                let word = if self.colour_err() { "\x1b[1;31merror\x1b[0m" } else { "error" };
                self.note(&format!("{word}: {sentence}"));
            }
            CommandError::ReaderGone => {}
        }
    }

    /// Handles a failure to write or show a result. A closed pipe is ignored. If the exit code is a failure already,
    /// the failure is only printed.
    ///
    /// # Errors
    /// The failure itself, if the exit code would have been success.
    pub fn unless_failed(&self, error: CommandError, code: ExitCode) -> Result<(), CommandError> {
        match error {
            CommandError::ReaderGone => Ok(()),
            error if code == ExitCode::Success => Err(error),
            error => {
                self.error(&error);
                Ok(())
            }
        }
    }

    /// Returns the sink of a command's messages: lines on stderr.
    pub fn messages(&self) -> MessageSink {
        let screen = *self;
        MessageSink::new(move |line| screen.note(line))
    }

    /// Whether stdout is coloured.
    pub fn colour_out(&self) -> bool {
        self.colours(io::stdout().is_terminal())
    }

    /// Whether stderr is coloured.
    pub fn colour_err(&self) -> bool {
        self.colours(io::stderr().is_terminal())
    }

    fn colours(&self, terminal: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                terminal && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }

    /// Returns the width of stdout, in columns.
    pub fn width(&self) -> usize {
        let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let seen = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        asked.or_else(seen).unwrap_or(80)
    }

    /// Returns the width of stderr, in columns.
    pub fn width_err(&self) -> usize {
        terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
    }
}
