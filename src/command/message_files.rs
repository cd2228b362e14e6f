//! The message files that a profile names: the coordinator of a fleet sends them, and its agents use them.

use std::path::Path;

use super::error::CommandError;
use crate::fleet::agent::FilePaths;
use crate::fleet::files::{FilePlace, FilesToSend};
use crate::profile::overrides::OverrideOrigin;
use crate::profile::{Compiled, Document, Override};

/// Returns the message files that the profile names, for agents.
///
/// # Errors
/// The files cannot be read, or are too many or too large.
pub fn message_files(compiled: &Compiled) -> Result<FilesToSend, CommandError> {
    let profile: toml::Table = compiled.resolved.parse().unwrap_or_default();
    let mut files: Vec<(FilePlace, &Path)> = Vec::new();
    for (place, path) in named(&profile) {
        match place {
            FilePlace::Messages => files.extend(compiled.whole_messages().map(|path| (place, path))),
            _ => files.push((place, Path::new(path))),
        }
    }
    FilesToSend::read(files.into_iter()).map_err(CommandError::usage)
}

/// Replaces the files that the profile names by those that came from the coordinator. No path of the coordinator is
/// opened on this machine.
pub(super) fn use_sent_files(
    document: &mut Document,
    profile: &str,
    files: &FilePaths,
) -> Result<(), String> {
    let profile: toml::Table = profile.parse().map_err(|error: toml::de::Error| error.to_string())?;
    for (place, path) in named(&profile) {
        let Some(sent) = files.get(&place) else {
            return Err(format!(
                "the profile names {path} as message.{}, and the coordinator did not send it",
                place.key()
            ));
        };
        let (key, value) = (format!("message.{}", place.key()), sent.display().to_string());
        let value = toml::Value::String(value).to_string();
        document
            .apply(Override::for_key(OverrideOrigin::Flag, "the coordinator's files", &key, &value))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Returns the message files that a profile names.
fn named(profile: &toml::Table) -> Vec<(FilePlace, &str)> {
    let path = |place: &FilePlace| Some((*place, profile.get("message")?.get(place.key())?.as_str()?));
    FilePlace::ALL.iter().filter_map(path).collect()
}
