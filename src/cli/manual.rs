//! Prints schemas, completions and the manual page.

use std::io::{self, Write};

use clap::CommandFactory;

use super::args::{Cli, SchemaOf};
use crate::command::CommandError;
use crate::report::compared;
use crate::report::stored::json;
use crate::verdict::ExitCode;

/// Runs `smtpress schema`.
pub fn schema(of: SchemaOf) -> Result<ExitCode, CommandError> {
    let schema = match of {
        SchemaOf::Profile => schemars::schema_for!(crate::profile::schema::Profile).to_value(),
        SchemaOf::Result => json::schema(),
        SchemaOf::Compare => compared::schema(),
    };
    writeln!(io::stdout().lock(), "{schema:#}")?;
    Ok(ExitCode::Success)
}

/// Runs `smtpress completions`.
pub fn completions(shell: clap_complete::Shell) -> Result<ExitCode, CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "smtpress", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(ExitCode::Success)
}

/// Runs `smtpress man`.
pub fn man() -> Result<ExitCode, CommandError> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Subcommands get their full names only when the command is built.
    command.build();
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    sections_of(&command, &mut text)?;
    page.render_extra_section(&mut text)?;
    page.render_version_section(&mut text)?;
    io::stdout().lock().write_all(&text)?;
    Ok(ExitCode::Success)
}

/// Writes a section for each subcommand, and after it those of its own subcommands.
fn sections_of(command: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|one| one.get_name() != "help") {
        let name = subcommand.get_bin_name().unwrap_or_default().to_uppercase();
        let page = clap_mangen::Man::new(subcommand.clone());
        let mut part = Vec::new();
        page.render_synopsis_section(&mut part)?;
        page.render_description_section(&mut part)?;
        page.render_options_section(&mut part)?;
        page.render_extra_section(&mut part)?;
        let part = String::from_utf8_lossy(&part).replace(".SH ", ".SS ");
        write!(text, ".SH \"{name}\"\n{part}")?;
        sections_of(subcommand, text)?;
    }
    Ok(())
}
