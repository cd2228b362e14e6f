//! `environment.json`: the machine and the command of a measurement.
//!
//! Unknown values are `null`, and nothing here fails. Host names and user names are not recorded.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use super::format;
use super::stored::json::MOST_INTEGER;

/// The environment of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The version of smtpress.
    pub smtpress_version: String,
    /// The command line, program name first.
    pub command_line: Vec<String>,
    /// When the run started, in UTC (RFC 3339).
    pub started_at: String,
    /// The processor's name.
    pub cpu_model: Option<String>,
    /// The processors that this process may use.
    pub cores: Option<usize>,
    /// The architecture for which smtpress was built.
    pub architecture: String,
    /// The kernel's name and release.
    pub kernel: Option<String>,
    /// The machine's memory.
    pub memory_bytes: Option<u64>,
    /// The number of descriptors that this process may have open; `null`: unlimited.
    pub descriptors_soft_limit: Option<u64>,
    /// The hard limit of descriptors.
    pub descriptors_hard_limit: Option<u64>,
    /// The first and the last local port for outgoing connections.
    pub local_port_range: Option<[u16; 2]>,
    /// The longest queue of connections that wait for `accept`.
    pub somaxconn: Option<u64>,
    /// The longest queue of connections that wait for the last segment of the TCP handshake.
    pub tcp_max_syn_backlog: Option<u64>,
}

impl Environment {
    /// Reads the environment of this machine. `started_at` is since the Unix epoch.
    pub fn read(command_line: Vec<String>, started_at: Duration) -> Environment {
        Environment::read_from(Path::new("/proc"), command_line, started_at)
    }

    fn read_from(proc: &Path, command_line: Vec<String>, started_at: Duration) -> Environment {
        let text = |file: &str| fs::read_to_string(proc.join(file)).ok();
        let number = |file: &str| text(file)?.trim().parse().ok();
        let limits = getrlimit(Resource::RLIMIT_NOFILE).ok();
        Environment {
            smtpress_version: env!("CARGO_PKG_VERSION").to_owned(),
            command_line,
            started_at: format::timestamp(started_at),
            cpu_model: text("cpuinfo").and_then(|text| field(&text, "model name")),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            architecture: std::env::consts::ARCH.to_owned(),
            kernel: text("sys/kernel/osrelease").map(|release| format!("Linux {}", release.trim())),
            memory_bytes: text("meminfo").and_then(|text| kilobytes(&field(&text, "MemTotal")?)),
            descriptors_soft_limit: limits.and_then(|(soft, _)| bounded(soft)),
            descriptors_hard_limit: limits.and_then(|(_, hard)| bounded(hard)),
            local_port_range: text("sys/net/ipv4/ip_local_port_range").and_then(|text| range(&text)),
            somaxconn: number("sys/net/core/somaxconn"),
            tcp_max_syn_backlog: number("sys/net/ipv4/tcp_max_syn_backlog"),
        }
    }

    /// Returns the text of `environment.json`.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("an environment has only text keys and plain values");
        text.push('\n');
        text
    }
}

/// Returns a finite limit; `None` for `RLIM_INFINITY`.
fn bounded(limit: u64) -> Option<u64> {
    (limit <= MOST_INTEGER).then_some(limit)
}

/// Returns the value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Parses `16384 kB`. Returns bytes.
fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn range(text: &str) -> Option<[u16; 2]> {
    let mut ports = text.split_whitespace().map(|port| port.parse().ok());
    Some([ports.next()??, ports.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_and_what_it_does_not_say_is_null() {
        let proc = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let path = proc.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nmodel name\t: other\n");
        put("meminfo", "MemFree: 1 kB\nMemTotal:       16384 kB\n");
        put("sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
        put("sys/net/core/somaxconn", "lots\n");
        let found = Environment::read_from(proc.path(), vec!["smtpress".into()], Duration::ZERO);
        assert_eq!(found.cpu_model.as_deref(), Some("Some CPU @ 2.0GHz"));
        assert_eq!(found.memory_bytes, Some(16_777_216));
        assert_eq!(found.local_port_range, Some([32768, 60999]));
        assert_eq!((found.somaxconn, found.kernel.as_deref()), (None, None));
        assert_eq!(found.started_at, "1970-01-01T00:00:00Z");
        let value: serde_json::Value = serde_json::from_str(&found.to_json()).unwrap();
        assert!(value["kernel"].is_null() && value["somaxconn"].is_null());
    }
}
