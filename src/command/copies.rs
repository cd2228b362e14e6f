//! The copies of a result that the user asks for, beside its run directory.

use std::path::Path;

use super::error::CommandError;
use super::output::Output;
use crate::report;
use crate::report::run_dir;
use crate::report::stored::{RunResult, json};

/// The format of a copy.
#[derive(Clone, Copy, Debug)]
enum Copy {
    Json,
    Html,
    Junit,
}

/// The copies of one result, each with its place.
pub struct Copies(Vec<(Copy, Output)>);

impl Copies {
    /// Checks that each place can be written to.
    ///
    /// # Errors
    /// A place cannot be written to, or two copies would go to stdout.
    pub fn open(
        json: Option<&Path>,
        html: Option<&Path>,
        junit: Option<&Path>,
    ) -> Result<Copies, CommandError> {
        let wanted =
            [("--json", Copy::Json, json), ("--html", Copy::Html, html), ("--junit", Copy::Junit, junit)];
        let mut copies = Vec::new();
        let mut on_stdout: Option<&str> = None;
        for (flag, copy, path) in wanted {
            let Some(path) = path else { continue };
            let output = Output::open(Some(path))?;
            if output == Output::Stdout
                && let Some(other) = on_stdout.replace(flag)
            {
                return Err(CommandError::usage(format!(
                    "{other} - and {flag} - both want stdout: give one of them a file"
                )));
            }
            copies.push((copy, output));
        }
        Ok(Copies(copies))
    }

    /// Removes the copies of an earlier run: if this run is cut off, they must not be taken for its result.
    pub fn clear(&self) {
        self.0.iter().for_each(|(_, output)| output.clear());
    }

    /// Whether a copy goes to stdout. Stdout then holds nothing else.
    pub fn take_stdout(&self) -> bool {
        self.0.iter().any(|(_, output)| *output == Output::Stdout)
    }

    /// Writes all copies, even if one fails. `files` is the run directory.
    ///
    /// # Errors
    /// The first failure.
    pub fn write(&self, result: &RunResult, files: &Path) -> Result<(), CommandError> {
        let mut first = Ok(());
        for (copy, output) in &self.0 {
            let text = match copy {
                Copy::Json => json_text(result),
                Copy::Junit => report::junit(result).into_bytes(),
                // Encoding a long run takes time, so the page that the run directory already holds is copied.
                Copy::Html => std::fs::read(files.join(run_dir::PAGE))
                    .unwrap_or_else(|_| run_dir::page(files, result, None).into_bytes()),
            };
            first = first.and(output.write(&text));
        }
        first
    }
}

/// Returns a result as JSON, as in result.json.
pub fn json_text(result: &RunResult) -> Vec<u8> {
    format!("{}\n", json::write(result).trim_end()).into_bytes()
}
