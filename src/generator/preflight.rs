//! What must be there before a load may run: descriptors, and a target that may be loaded and answers.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::net::address::Transport;
use crate::net::address::allowed::Allowed;
use crate::net::address::origin::Origin;
use crate::net::dial::{self, Endpoint, Fault};
use crate::net::source;
use crate::plan::{Phase, Plan};

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
        "{host} is not on this machine's loopback{}: a load on somebody's server needs their consent; if you have it, say --allow-target {host} (or allow = [\"{host}\"] in [target])",
        address.map(|address| format!(" (it resolves to {address})")).unwrap_or_default()
    )]
    NotAllowed {
        /// The target's host.
        host: String,
        /// What the name resolves to.
        address: Option<IpAddr>,
    },
    /// The name does not resolve.
    #[error("the target's name {host} does not resolve: {reason}")]
    NotResolved {
        /// The target's host.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// A source address that cannot be bound.
    #[error(
        "no session can leave from {address} (sources in [target]): {reason}; give it to an interface (ip address add {address} dev ...) or take it out of the list"
    )]
    Source {
        /// The address.
        address: IpAddr,
        /// Why not.
        reason: String,
    },
    /// Sources of the wrong family.
    #[error(
        "the target's address {target} needs {needed} addresses in sources of [target], and there are none"
    )]
    Families {
        /// The target's first address.
        target: IpAddr,
        /// The family that is missing.
        needed: &'static str,
    },
    /// Nothing answers there.
    #[error("the target {place} cannot be reached: {reason}")]
    Unreachable {
        /// Where it was tried.
        place: String,
        /// What the kernel says.
        reason: String,
    },
}

/// The most sessions a plan may have open at once in this process.
pub fn peak_sessions(plan: &Plan) -> u64 {
    plan.phases.iter().map(Phase::most_sessions).max().unwrap_or(0).div_ceil(u64::from(plan.shard.of.max(1)))
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
    if let Transport::Unix { path } = &plan.target.transport {
        return knock_unix(path);
    }
    let addresses = check_allowed(plan)?;
    check_sources(plan, &addresses)?;
    // The embedded listener is not started yet.
    if plan.target.is_embedded() { Ok(()) } else { knock(plan) }
}

/// Whether a load may go to the plan's target; nothing is sent there, for the first session of the load shows whether it can
/// be reached.
///
/// # Errors
/// It does not resolve or is not allowed, or no session could leave for it.
pub fn check_before_load(plan: &Plan) -> Result<(), PreflightError> {
    if let Transport::Unix { path } = &plan.target.transport {
        return check_unix(path);
    }
    let addresses = check_allowed(plan)?;
    check_sources(plan, &addresses)
}

/// Whether a unix socket is there and may be written to.
fn check_unix(path: &Path) -> Result<(), PreflightError> {
    use std::os::unix::fs::FileTypeExt;
    let unreachable = |reason: &str| PreflightError::Unreachable {
        place: path.display().to_string(),
        reason: reason.to_owned(),
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(unreachable("there is no such file")),
        Err(error) => Err(unreachable(&error.to_string())),
        Ok(file) if !file.file_type().is_socket() => Err(unreachable(NOBODY)),
        Ok(_) => nix::unistd::access(path, nix::unistd::AccessFlags::W_OK)
            .map_err(|_| unreachable("its mode does not let this user in")),
    }
}

/// Of a unix socket.
const NOBODY: &str = "nothing listens there: it is no socket, or its listener has gone";

/// The first session of a load could not reach its target.
pub(super) fn unreachable(plan: &Plan, fault: Fault) -> PreflightError {
    let (place, is_unix) = match &plan.target.transport {
        Transport::Unix { path } => (path.display().to_string(), true),
        Transport::Tcp { host, port } if host.contains(':') => (format!("[{host}]:{port}"), false),
        Transport::Tcp { host, port } => (format!("{host}:{port}"), false),
        Transport::Embedded => (plan.target.to_string(), false),
    };
    if let (Fault::NotAllowed(address), Some(host)) = (fault, plan.target.host()) {
        return PreflightError::NotAllowed { host: host.to_owned(), address: Some(address) };
    }
    let errno = |errno: nix::errno::Errno| std::io::Error::from(errno).to_string();
    let reason = match fault {
        Fault::Refused if is_unix => NOBODY.to_owned(),
        Fault::Refused => errno(nix::errno::Errno::ECONNREFUSED),
        Fault::Unreachable => errno(nix::errno::Errno::EHOSTUNREACH),
        Fault::TimedOut => "no answer to the connection attempt".to_owned(),
        Fault::NotResolved => "its name does not resolve any more".to_owned(),
        Fault::Reset | Fault::Own(_) | Fault::NotAllowed(_) => "the connection was lost".to_owned(),
    };
    PreflightError::Unreachable { place, reason }
}

/// Whether every source address is this machine's, and one of them can reach the target.
fn check_sources(plan: &Plan, targets: &[SocketAddr]) -> Result<(), PreflightError> {
    let sources = match &plan.origin {
        Origin::Bound(sources) | Origin::Proxied(_, sources) if !sources.is_empty() => sources,
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

/// Connects once, as the first session will.
fn knock(plan: &Plan) -> Result<(), PreflightError> {
    let unreachable = |reason: String| PreflightError::Unreachable { place: plan.target.to_string(), reason };
    let endpoint = super::endpoint(plan, None).map_err(|error| unreachable(error.to_string()))?;
    let endpoint = Endpoint { timeout: endpoint.timeout.min(Duration::from_secs(10)), ..endpoint };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| unreachable(error.to_string()))?;
    let dialed = runtime.block_on(dial::dial(&endpoint, 0, super::clock::now));
    match &dialed.result {
        // It let us in before it reset us: what that means is for the load to say.
        Ok(_) | Err((_, Fault::Reset)) => Ok(()),
        Err((_, fault)) => Err(unreachable(dialed.in_words(*fault))),
    }
}

fn knock_unix(path: &Path) -> Result<(), PreflightError> {
    use socket2::{Domain, SockAddr, Socket, Type};
    let knocked = SockAddr::unix(path).and_then(|address| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&address)
    });
    match knocked {
        Ok(()) => Ok(()),
        // Its queue is full: somebody listens.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => {
            let reason = match error.kind() {
                ErrorKind::NotFound => "there is no such file".to_owned(),
                ErrorKind::ConnectionRefused => NOBODY.to_owned(),
                ErrorKind::PermissionDenied => "its mode does not let this user in".to_owned(),
                _ => error.to_string(),
            };
            Err(PreflightError::Unreachable { place: path.display().to_string(), reason })
        }
    }
}

/// Whether the plan's target may be loaded; resolves it to its addresses, in the order to try them, and sends nothing there. None
/// for a unix socket and the embedded listener, which are this machine's own.
///
/// # Errors
/// It does not resolve or is not allowed.
pub fn check_allowed(plan: &Plan) -> Result<Vec<SocketAddr>, PreflightError> {
    use std::net::ToSocketAddrs;
    let Transport::Tcp { host, port } = &plan.target.transport else { return Ok(Vec::new()) };
    let allowed = Allowed::new(host, &plan.allow);
    // What is no name is not allowed or is, whatever the system's resolver says of it.
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
