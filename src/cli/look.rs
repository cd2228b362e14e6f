//! What is only looked at: the screen, schemas and manuals.

use std::io::{self, IsTerminal, Write};

use clap::CommandFactory;
use nix::errno::Errno;

use super::args::{Cli, Color, SchemaOf};
use super::exit::Failure;
use crate::profile::redact;
use crate::report::compared;
use crate::report::stored::json;
use crate::verdict::ExitCode;

/// Where text goes, and whether it may be coloured.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    color: Color,
}

impl Screen {
    /// For this `--color`.
    pub fn new(color: Color) -> Screen {
        Screen { color }
    }

    /// Results.
    pub fn out(&self) -> Out {
        Out(io::stdout().lock())
    }

    /// A line for the user, on stderr; without the credentials that a URL in it may have.
    pub fn note(&self, line: &str) {
        let line = redact::sentence(line);
        // If stderr is gone there is nobody to tell.
        writeln!(io::stderr().lock(), "{line}").ok();
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

    /// How wide stdout is, in columns.
    pub fn width(&self) -> usize {
        let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let seen = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        asked.or_else(seen).unwrap_or(80)
    }

    /// How wide stderr is, in columns.
    pub fn width_err(&self) -> usize {
        terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
    }
}

/// stdout. A terminal that was closed is a reader that went away.
pub struct Out(io::StdoutLock<'static>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(gone)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(gone)
    }
}

fn gone(error: io::Error) -> io::Error {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EIO => io::ErrorKind::BrokenPipe.into(),
        _ => error,
    }
}

/// `smtpress schema`.
pub fn schema(of: SchemaOf) -> Result<ExitCode, Failure> {
    let schema = match of {
        SchemaOf::Profile => schemars::schema_for!(crate::profile::schema::Profile).to_value(),
        SchemaOf::Result => json::schema(),
        SchemaOf::Compare => compared::schema(),
    };
    writeln!(io::stdout().lock(), "{schema:#}")?;
    Ok(ExitCode::Success)
}

/// `smtpress completions`.
pub fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "smtpress", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(ExitCode::Success)
}

/// `smtpress man`.
pub fn man() -> Result<ExitCode, Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Subcommands know their whole names only when all is built.
    command.build();
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_bin_name().unwrap_or_default().to_uppercase();
        let page = clap_mangen::Man::new(subcommand.clone());
        let mut part = Vec::new();
        page.render_synopsis_section(&mut part)?;
        page.render_description_section(&mut part)?;
        page.render_options_section(&mut part)?;
        page.render_extra_section(&mut part)?;
        let part = String::from_utf8_lossy(&part).replace(".SH ", ".SS ");
        write!(text, ".SH \"{name}\"\n{part}")?;
    }
    page.render_extra_section(&mut text)?;
    page.render_version_section(&mut text)?;
    io::stdout().lock().write_all(&text)?;
    Ok(ExitCode::Success)
}
