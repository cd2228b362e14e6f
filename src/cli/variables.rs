//! Checks for unknown environment variables with the prefix of smtpress.
//!
//! # Decisions
//! - A variable whose name resembles a known one is a typing error, and is refused. Otherwise the setting would
//!   silently be missing, and the wrong run might pass. Any other unknown variable may belong to another program, so it
//!   only causes a warning.
//! - A variable that the profile or the command line names counts as known, because logins choose their variables.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::args::Cli;
use crate::command::CommandError;
use crate::profile::error::nearest;

/// The prefix of all variables.
const PREFIX: &str = "SMTPRESS_";
/// The variables that smtpress sets for the commands between trials and of events. Such a command may itself run
/// smtpress.
const OWN: [&str; 2] = ["SMTPRESS_TRIAL", "SMTPRESS_EVENT"];

/// Returns a warning about the unknown variables of this process. `mentioned` returns whether the profile or the
/// command line names a variable.
///
/// # Errors
/// The name of a variable resembles a known one.
pub fn unread(mentioned: impl Fn(&str) -> bool) -> Result<Option<String>, CommandError> {
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    judge(set.filter(|name| !mentioned(name)))
}

fn judge(set: impl Iterator<Item = String>) -> Result<Option<String>, CommandError> {
    let mut known = BTreeSet::from(OWN.map(str::to_owned));
    gather(&Cli::command(), &mut known);
    let strange: Vec<String> = set.filter(|name| name.starts_with(PREFIX) && !known.contains(name)).collect();
    // Names are compared without their common prefix.
    let rests: Vec<&str> = known.iter().filter_map(|name| name.strip_prefix(PREFIX)).collect();
    for name in &strange {
        if let Some(near) = nearest(&name[PREFIX.len()..], &rests) {
            return Err(CommandError::usage(format!(
                "the variable {name} is none of smtpress; did you mean {PREFIX}{near}? correct it, or unset it"
            )));
        }
    }
    Ok((!strange.is_empty()).then(|| {
        let (are, them) = if strange.len() == 1 { ("is", "it") } else { ("are", "them") };
        format!(
            "warning: {} {are} set, and smtpress reads no such variable; unset {them}",
            strange.join(", ")
        )
    }))
}

/// Adds the variables that a command and its subcommands read.
fn gather(command: &clap::Command, known: &mut BTreeSet<String>) {
    let names = command.get_arguments().filter_map(|argument| argument.get_env());
    known.extend(names.filter_map(|name| name.to_str().map(str::to_owned)));
    command.get_subcommands().for_each(|inner| gather(inner, known));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::ExitCode;

    fn judged(names: &[&str]) -> Result<Option<String>, CommandError> {
        judge(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_slip_is_refused_and_a_stranger_is_named() {
        for (slip, meant) in [
            ("SMTPRESS_TARGTE", "SMTPRESS_TARGET"),
            ("SMTPRESS_RAET", "SMTPRESS_RATE"),
            ("SMTPRESS_MESSAGE", "SMTPRESS_MESSAGES"),
            ("SMTPRESS_MESSAGES_PER_SESION", "SMTPRESS_MESSAGES_PER_SESSION"),
            ("SMTPRESS_target", "SMTPRESS_TARGET"),
            ("SMTPRESS_OTU", "SMTPRESS_OUT"),
        ] {
            match judged(&["HOME", "SMTPRESS_SEED", slip]) {
                Err(CommandError::Failed(ExitCode::Usage, sentence)) => {
                    assert!(sentence.contains(slip) && sentence.contains(meant), "{sentence}");
                }
                other => panic!("{slip}: {other:?}"),
            }
        }
        for stranger in
            ["SMTPRESS_REAL", "SMTPRESS_IMAGE", "SMTPRESS_HOSTNAME", "SMTPRESS_UPDATE_DOCS", "SMTPRESS_"]
        {
            let named = judged(&[stranger]).unwrap().unwrap();
            assert!(named.contains(stranger), "{named}");
        }
        let none = judged(&["HOME", "SMTPRESS_TARGET", "SMTPRESS_OUT", "SMTPRESS_TRIAL", "smtpress_target"]);
        assert!(matches!(none, Ok(None)), "{none:?}");
    }
}
