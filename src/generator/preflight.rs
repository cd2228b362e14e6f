//! Checks before a load: enough descriptors, and a target that may be loaded.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::failure_class::classify_dial;
use crate::condition::Condition;
use crate::net::address::Transport;
use crate::net::address::allowed::Allowed;
use crate::net::address::origin::ClientAddress;
use crate::net::dial::ConnectFault;
use crate::net::source;
use crate::plan::{Phase, Plan};

/// The number of descriptors for everything except sessions: runtimes, timers, files of the run.
const RESERVE: u64 = 64;

/// Why no load may run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreflightError {
    /// There are too few descriptors, even at the hard limit.
    #[error(
        "the run needs {needed} file descriptors and the hard limit is {limit}: raise it (ulimit -Hn {needed}) or ask for fewer sessions"
    )]
    Descriptors {
        /// The needed number.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// The target is not on loopback, and not allowed.
    #[error(
        "{host} is not on this machine's loopback{}: a load on another person's server needs their consent; if you have it, add --allow-target {host} (or allow = [\"{host}\"] in [target])",
        address.map(|address| format!(" (it resolves to {address})")).unwrap_or_default()
    )]
    NotAllowed {
        /// The target's host.
        host: String,
        /// The address that the name resolves to.
        address: Option<IpAddr>,
    },
    /// The target's name does not resolve.
    #[error("the target's name {host} does not resolve ({}): {reason}", Condition::NameNotResolved)]
    NotResolved {
        /// The target's host.
        host: String,
        /// The resolver's error.
        reason: String,
    },
    /// A source address cannot be bound.
    #[error(
        "no session can leave from {address} (sources in [target]): {reason}; give it to an interface (ip address add {address} dev ...) or take it out of the list"
    )]
    Source {
        /// The source address.
        address: IpAddr,
        /// The reason.
        reason: String,
    },
    /// The sources lack a family of addresses.
    #[error(
        "the target's address {target} needs {needed} addresses in sources of [target], and there are none"
    )]
    Families {
        /// The target's first address.
        target: IpAddr,
        /// The family that is missing.
        needed: &'static str,
    },
    /// The target cannot be reached.
    #[error("the target {place} cannot be reached ({condition}): {reason}")]
    Unreachable {
        /// The address that was tried.
        place: String,
        /// The condition that a session would get.
        condition: Condition,
        /// The reason, in words.
        reason: String,
    },
}

/// Returns the most sessions a plan may have open at once in this process.
pub fn peak_sessions(plan: &Plan) -> u64 {
    plan.phases.iter().map(Phase::most_sessions).max().unwrap_or(0).div_ceil(u64::from(plan.shard.of.max(1)))
}

/// Returns the number of descriptors that a run of `plan` needs; `embedded`: this process also holds the listener's ends.
pub fn descriptors_needed(plan: &Plan, embedded: bool) -> u64 {
    peak_sessions(plan) * if embedded { 2 } else { 1 } + RESERVE
}

/// Raises the soft limit of descriptors to the hard limit, and checks that this is enough. Returns the limit.
///
/// # Errors
/// The limit is too low; the error names the needed number.
pub fn raise_descriptors(needed: u64) -> Result<u64, PreflightError> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(needed) };
    // If the limit cannot be raised, the soft limit stays.
    let limit =
        if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() { soft } else { hard };
    if limit < needed {
        return Err(PreflightError::Descriptors { needed, limit });
    }
    Ok(limit)
}

/// Returns the number of open descriptors of this process; 0 if unknown.
pub fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// Checks whether a load may be sent to the plan's target. Sends nothing: the first session of the load shows whether
/// the target can be reached.
///
/// # Errors
/// The target does not resolve or is not allowed, or no source address can reach it.
pub fn check_before_load(plan: &Plan) -> Result<(), PreflightError> {
    if let Transport::Unix { path } = &plan.target.transport {
        return check_unix(plan, path);
    }
    let addresses = check_allowed(plan)?;
    check_sources(plan, &addresses)
}

/// Checks that a unix socket exists and may be written to.
fn check_unix(plan: &Plan, path: &Path) -> Result<(), PreflightError> {
    use std::os::unix::fs::FileTypeExt;
    let unreachable = |reason: &str| Err(unreachable(plan, ConnectFault::Refused, reason.to_owned()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => unreachable("there is no such file"),
        Err(error) => unreachable(&error.to_string()),
        Ok(file) if !file.file_type().is_socket() => unreachable("the file is not a socket"),
        Ok(_) if nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_err() => {
            unreachable("this user may not write to the socket")
        }
        Ok(_) => Ok(()),
    }
}

/// Makes the error of a session that could not reach the target, with the reason in words.
pub(super) fn unreachable(plan: &Plan, fault: ConnectFault, reason: String) -> PreflightError {
    if let (ConnectFault::NotAllowed(address), Some(host)) = (fault, plan.target.host()) {
        return PreflightError::NotAllowed { host: host.to_owned(), address: Some(address) };
    }
    PreflightError::Unreachable {
        place: plan.target.to_string(),
        condition: classify_dial(fault).condition,
        reason,
    }
}

/// Checks that the source addresses that are bound belong to this machine, and that a source address has the family of
/// an address of the target.
fn check_sources(plan: &Plan, targets: &[SocketAddr]) -> Result<(), PreflightError> {
    let sources = match &plan.origin {
        ClientAddress::Bound(sources) | ClientAddress::Proxied(_, sources) if !sources.is_empty() => sources,
        _ => return Ok(()),
    };
    if plan.origin.bound().is_some() {
        source::check(sources).map_err(|(address, error)| PreflightError::Source {
            address,
            reason: match error.kind() {
                ErrorKind::AddrNotAvailable => "it is none of this machine's".to_owned(),
                _ => error.to_string(),
            },
        })?;
    }
    let reached = |target: &SocketAddr| sources.len_of(target.is_ipv4()) > 0;
    match targets.first() {
        Some(first) if !targets.iter().any(reached) => Err(PreflightError::Families {
            target: first.ip(),
            needed: if first.is_ipv4() { "IPv4" } else { "IPv6" },
        }),
        _ => Ok(()),
    }
}

/// Checks whether the plan's target may be loaded. Returns the target's addresses in the order in which they are tried;
/// none for a unix socket and the embedded listener, which belong to this machine. Sends nothing to the target.
///
/// # Errors
/// The target does not resolve or is not allowed.
pub fn check_allowed(plan: &Plan) -> Result<Vec<SocketAddr>, PreflightError> {
    use std::net::ToSocketAddrs;
    let Transport::Tcp { host, port } = &plan.target.transport else { return Ok(Vec::new()) };
    let allowed = Allowed::new(host, &plan.allow);
    // An address is checked as written, without the system's resolver.
    let literal = host.parse::<IpAddr>().ok();
    if literal.is_some_and(|address| !allowed.admits(address)) {
        return Err(PreflightError::NotAllowed { host: host.clone(), address: None });
    }
    let unresolved = |reason: String| PreflightError::NotResolved { host: host.clone(), reason };
    let addresses: Vec<SocketAddr> =
        (host.as_str(), *port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(unresolved("no address".to_owned()));
    }
    match addresses.iter().map(SocketAddr::ip).find(|address| !allowed.admits(*address)) {
        Some(address) => Err(PreflightError::NotAllowed { host: host.clone(), address: Some(address) }),
        None => Ok(addresses),
    }
}
