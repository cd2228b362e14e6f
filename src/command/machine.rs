//! The resources of this machine, and the result of its last selftest.

use std::path::PathBuf;

use serde_json::Value;

use crate::net::source;
use crate::profile::check::Has;

/// The path of the last selftest's result, below the user's state directory.
const SELFTEST: &str = "smtpress/selftest.json";

/// Returns the resources of this machine that a load uses up.
pub fn resources() -> Has {
    use nix::sys::resource::{Resource, getrlimit};
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("MemAvailable:"))?;
        Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    });
    // `ulimit -v` may allow less than the machine has.
    let allowed = getrlimit(Resource::RLIMIT_AS).ok().map(|(soft, _)| soft);
    Has {
        descriptors: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard),
        ports: source::ports(),
        memory: memory.into_iter().chain(allowed).min(),
    }
}

/// Returns the highest rate at which this machine's generator was on time in the last selftest, in messages a second.
/// `None`: unknown, also if that selftest found it late at any rate.
pub fn generator_rate() -> Option<f64> {
    let text = std::fs::read_to_string(selftest_file()?).ok()?;
    serde_json::from_str::<Value>(&text).ok()?["ceiling"]["rate_per_s"].as_f64().filter(|rate| *rate > 0.0)
}

/// Returns the file of the last selftest.
pub fn selftest_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.filter(|path| path.is_absolute()).or_else(home)?.join(SELFTEST))
}
