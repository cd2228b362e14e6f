//! What must be there before a load may run: descriptors, and a target that may be loaded and answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::load::Load;
use crate::net::target::Target;
use crate::plan::Plan;

/// Descriptors for everything but sessions: runtimes, timers, files of the run.
const RESERVE: u64 = 64;

/// Why no load may run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreflightError {
    /// Too few descriptors even at the hard limit.
    #[error(
        "the run needs {needed} file descriptors and the hard limit is {limit}: raise it (ulimit -Hn {needed}) or ask for fewer sessions"
    )]
    Descriptors {
        /// How many are needed.
        needed: u64,
        /// How many there are.
        limit: u64,
    },
    /// Not a loopback address, and not allowed.
    #[error(
        "{host} is not on this machine's loopback: a load on somebody's server needs their consent; if you have it, say --allow-target {host} (or allow = [\"{host}\"] in [target])"
    )]
    NotAllowed {
        /// The target's host.
        host: String,
    },
    /// The name does not resolve.
    #[error("the target's name {host} does not resolve: {reason}")]
    NotResolved {
        /// The target's host.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// Nothing answers there.
    #[error("the target {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where it was tried.
        address: SocketAddr,
        /// What the kernel says.
        reason: String,
    },
}

/// The most sessions a plan may have open at once in this process.
pub fn peak_sessions(plan: &Plan) -> u64 {
    let of_phase = |phase: &crate::plan::Phase| {
        let most = u64::from(phase.max_sessions);
        match &phase.load.load {
            Load::Shared { sessions, .. } | Load::Held { sessions, .. } => most.min(*sessions),
            Load::Sessions { curve, .. } => {
                let top = curve.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
                most.min(top.ceil() as u64)
            }
            Load::Rate { .. } | Load::Burst { .. } => most,
        }
    };
    plan.phases.iter().map(of_phase).max().unwrap_or(0).div_ceil(u64::from(plan.shard.of.max(1)))
}

/// How many descriptors a run of `plan` needs; `embedded`: the listener's ends are in this process too.
pub fn descriptors_needed(plan: &Plan, embedded: bool) -> u64 {
    peak_sessions(plan) * if embedded { 2 } else { 1 } + RESERVE
}

/// Raises the descriptor limit as far as it goes and checks that it suffices.
///
/// # Errors
/// It does not suffice; the number needed is in the error.
pub fn raise_descriptors(needed: u64) -> Result<u64, PreflightError> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(needed) };
    // Where the limit cannot be raised the soft one stands.
    let limit =
        if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() { soft } else { hard };
    if limit < needed {
        return Err(PreflightError::Descriptors { needed, limit });
    }
    Ok(limit)
}

/// Descriptors open in this process now; 0 if unknown.
pub fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// Whether the plan's target may be loaded; resolves it and knocks once (connects and closes).
///
/// # Errors
/// It does not resolve, is not allowed or cannot be reached.
pub fn check_target(plan: &Plan) -> Result<(), PreflightError> {
    let Some(address) = check_allowed(plan)? else { return Ok(()) };
    let timeout = plan.script.timeouts.connect.min(Duration::from_secs(10)).max(Duration::from_millis(1));
    std::net::TcpStream::connect_timeout(&address, timeout)
        .map(drop)
        .map_err(|error| PreflightError::Unreachable { address, reason: error.to_string() })
}

/// Whether the plan's target may be loaded; resolves it to its first address and sends nothing there. `None`: embedded.
///
/// # Errors
/// It does not resolve or is not allowed.
pub fn check_allowed(plan: &Plan) -> Result<Option<SocketAddr>, PreflightError> {
    use std::net::ToSocketAddrs;
    let Target::Smtp { host, port } = &plan.target else { return Ok(None) };
    let allowed = plan.allow.iter().any(|allowed| allowed.eq_ignore_ascii_case(host));
    // A name is not looked up before it is allowed, unless it is one of this machine's own.
    let literal = host.parse::<IpAddr>().ok();
    let local = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
    if !allowed && literal.is_some_and(|ip| !ip.is_loopback()) {
        return Err(PreflightError::NotAllowed { host: host.clone() });
    }
    let unresolved = |reason: String| PreflightError::NotResolved { host: host.clone(), reason };
    let addresses: Vec<SocketAddr> =
        (host.as_str(), *port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?.collect();
    let Some(&address) = addresses.first() else { return Err(unresolved("no address".to_owned())) };
    if !allowed && !local && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(PreflightError::NotAllowed { host: host.clone() });
    }
    Ok(Some(address))
}
