//! The changes that flags make to a profile.

use crate::command::CommandError;
use crate::profile::Override;
use crate::profile::overrides::OverrideOrigin;

/// Returns the changes of flags with text values: flag, key, and the value if given.
pub fn flags(given: &[(&str, &str, &Option<String>)]) -> Vec<Override> {
    let change = |(flag, key, value): &(&str, &str, &Option<String>)| {
        Some(Override::for_key(OverrideOrigin::Flag, flag, key, &quoted(value.as_ref()?)))
    };
    given.iter().filter_map(change).collect()
}

/// Returns the changes that `--set` asks for.
pub fn set(arguments: &[String]) -> Result<Vec<Override>, CommandError> {
    arguments.iter().map(|argument| Ok(Override::set(argument)?)).collect()
}

/// Returns the changes of `--receive` and `--drain`.
pub fn receiver(addresses: &[String], drain: &Option<String>) -> Vec<Override> {
    let listed = (!addresses.is_empty())
        .then(|| Override::for_key(OverrideOrigin::Flag, "--receive", "receive.address", &list(addresses)));
    listed.into_iter().chain(flags(&[("--drain", "receive.drain", drain)])).collect()
}

/// Writes texts as a TOML array.
pub fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// Writes a text as a TOML string.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Returns the hosts beyond loopback that the command line allows.
pub fn allowed(hosts: &[String]) -> Option<Override> {
    (!hosts.is_empty())
        .then(|| Override::for_key(OverrideOrigin::Flag, "--allow-target", "target.allow", &list(hosts)))
}
