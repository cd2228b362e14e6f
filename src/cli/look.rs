//! What is only looked at: the screen, stored runs, replies, tables and schemas.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;

use clap::CommandFactory;

use super::args::{ClassifyArgs, Cli, CodesArgs, Color, Format, ReportArgs, SchemaOf};
use super::exit::Failure;
use crate::report::run_dir::RunDir;
use crate::report::{json, terminal};

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
    pub fn out(&self) -> io::StdoutLock<'static> {
        io::stdout().lock()
    }

    /// A line for the user, on stderr.
    pub fn note(&self, line: &str) {
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
}

/// `smtpress report`.
pub fn report(args: &ReportArgs, screen: &Screen) -> Result<u8, Failure> {
    let result = RunDir::open(&args.run)?;
    let mut text = Vec::new();
    let directory = if args.run.is_dir() { Some(args.run.display().to_string()) } else { None };
    match args.format {
        Format::Json => writeln!(text, "{}", json::write(&result).trim_end())?,
        Format::Text => {
            let colour = args.out.is_none() && screen.colour_out();
            let style = terminal::Style { width: screen.width(), colour, files: directory.as_deref() };
            terminal::write(&result, style, &mut text)?;
        }
    }
    match &args.out {
        None => screen.out().write_all(&text)?,
        Some(path) => put(path, &text)?,
    }
    Ok(0)
}

/// Writes a whole file or none.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::Told(
            super::exit::FAULT,
            format!("failed to write {}: {error}; name another file", path.display()),
        )
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// `smtpress classify`.
pub fn classify(args: &ClassifyArgs, screen: &Screen) -> Result<u8, Failure> {
    let input: Box<dyn BufRead> = match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        None => Box::new(io::stdin().lock()),
        Some(path) => Box::new(BufReader::new(File::open(path).map_err(|error| {
            Failure::usage(format!("failed to read {}: {error}; give a file of replies", path.display()))
        })?)),
    };
    let _ = input;
    let mut out = io::BufWriter::new(screen.out());
    out.flush()?;
    Ok(0)
}

/// `smtpress codes`.
pub fn codes(args: &CodesArgs, screen: &Screen) -> Result<u8, Failure> {
    let mut out = io::BufWriter::new(screen.out());
    let _ = args.json;
    out.flush()?;
    Ok(0)
}

/// `smtpress schema`.
pub fn schema(of: SchemaOf) -> Result<u8, Failure> {
    let schema = match of {
        SchemaOf::Profile => schemars::schema_for!(crate::profile::schema::Profile).to_value(),
        SchemaOf::Result => json::schema(),
    };
    writeln!(io::stdout().lock(), "{schema:#}")?;
    Ok(0)
}

/// `smtpress completions`.
pub fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "smtpress", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(0)
}

/// `smtpress man`.
pub fn man() -> Result<u8, Failure> {
    clap_mangen::Man::new(Cli::command()).render(&mut io::stdout().lock())?;
    Ok(0)
}
