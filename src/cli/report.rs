//! `smtpress report`, and the forms of a result that a run writes on request.

use std::io;
use std::path::Path;

use super::args::{Format, ReportArgs};
use super::exit::Failure;
use super::look::Screen;
use super::output::Output;
use crate::report::result::RunResult;
use crate::report::run_dir::RunDir;
use crate::report::{self, json, terminal};

/// `smtpress report`.
pub fn report(args: &ReportArgs, screen: &Screen) -> Result<u8, Failure> {
    let result = RunDir::open(&args.run)?;
    let output = Output::open(args.out.as_deref())?;
    let directory = args.run.is_dir().then(|| args.run.display().to_string());
    let text = match args.format {
        Format::Json => in_json(&result),
        Format::Junit => report::junit(&result).into_bytes(),
        Format::Text => {
            let colour = output == Output::Stdout && screen.colour_out();
            in_text(&result, screen.width(), colour, directory.as_deref())?
        }
    };
    output.write(&text, screen)?;
    Ok(0)
}

/// A result as it stands in result.json.
pub fn in_json(result: &RunResult) -> Vec<u8> {
    format!("{}\n", json::write(result).trim_end()).into_bytes()
}

/// A result for a reader; `files`: the run directory to point to.
pub fn in_text(result: &RunResult, width: usize, colour: bool, files: Option<&str>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    terminal::write(result, terminal::Style { width, colour, files }, &mut text)?;
    Ok(text)
}

/// What a run writes of its result beside the run directory: each form at its place.
pub struct Copies(Vec<(Format, Output)>);

impl Copies {
    /// Sees whether each place can be written to. `wanted`: flag, form, place.
    ///
    /// # Errors
    /// One cannot be, or two forms want stdout.
    pub fn open(wanted: &[(&str, Format, Option<&Path>)]) -> Result<Copies, Failure> {
        let mut copies = Vec::new();
        let mut on_stdout: Option<&str> = None;
        for (flag, format, path) in wanted {
            let Some(path) = path else { continue };
            let output = Output::open(Some(path))?;
            if output == Output::Stdout
                && let Some(other) = on_stdout.replace(flag)
            {
                return Err(Failure::usage(format!(
                    "{other} - and {flag} - both want stdout: give one of them a file"
                )));
            }
            copies.push((*format, output));
        }
        Ok(Copies(copies))
    }

    /// Whether stdout belongs to one of them alone.
    pub fn take_stdout(&self) -> bool {
        self.0.iter().any(|(_, output)| *output == Output::Stdout)
    }

    /// Writes them all, whatever becomes of one.
    ///
    /// # Errors
    /// The first of them.
    pub fn write(&self, result: &RunResult, screen: &Screen) -> Result<(), Failure> {
        let mut first = Ok(());
        for (format, output) in &self.0 {
            let text = match format {
                Format::Json => in_json(result),
                Format::Junit => report::junit(result).into_bytes(),
                Format::Text => in_text(result, screen.width(), false, None)?,
            };
            first = first.and(output.write(&text, screen));
        }
        first
    }
}
