//! Opens a connection: name resolution, connect and PROXY header. Determines the reason for a failure.
//!
//! # Decisions
//! - The addresses of a name are tried one after the other, in the resolver's order but with IPv4 and IPv6 alternating
//!   (RFC 8305 4). Each address gets an equal share of the time that is left, and all but the last at most that share of
//!   [`PATIENCE`], so that a run reaches an address behind one that never answers before it gives its target up. Attempts
//!   do not overlap, unlike in RFC 8305 5: a listener that is slow to accept would get a second connection while the first
//!   is pending, and the profile does not ask for that load.
//! - A session uses the first address that answers, as a real client does. The load is not spread over the addresses.
//! - The safety rule is applied to the addresses of every connection. If one address is not allowed, the client
//!   connects to none of them, as in the check before the run: it is unknown which address is the intended listener.

mod fault;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::LocalBoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

pub use self::fault::{ConnectFault, LocalFault};
use super::address::allowed::Allowed;
use super::address::bind::Bind;
use super::address::origin::{ClientAddress, ProxyVersion};
use super::proxy;
use super::source;
use super::stream::Stream;
use crate::smtp::Step;

/// How long a run waits for its first connection: all addresses of a name are tried within this time.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before the next attempt to connect to a unix socket whose accept queue is full.
const QUEUE_FULL: Duration = Duration::from_millis(1);

/// Resolves names to addresses.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// Returns the addresses of `host` with `port`, in the order in which to try them.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system, which orders the addresses (RFC 6724).
#[derive(Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The place of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// TCP.
    Tcp {
        /// A name or an address literal.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Returns an endpoint with the defaults: the system's resolver and source address, a time-out of 30 s, and
    /// loopback only.
    pub fn new(place: Destination) -> Endpoint {
        Endpoint {
            place,
            allowed: Allowed::default(),
            resolver: Arc::new(SystemResolver),
            timeout: Duration::from_secs(30),
            origin: ClientAddress::Any,
            proxied_tls: false,
        }
    }
}

impl From<&Bind> for Destination {
    fn from(bind: &Bind) -> Destination {
        match bind {
            Bind::Tcp(address) => Destination::from(*address),
            Bind::Unix(path) => Destination::Unix(path.clone()),
        }
    }
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Destination {
        Destination::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Destination::Tcp { host, port } => write!(f, "{host}:{port}"),
            Destination::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The listener's place.
    pub place: Destination,
    /// Which addresses may be connected to.
    pub allowed: Allowed,
    /// Resolves names. Address literals need no resolver.
    pub resolver: Arc<dyn Resolve>,
    /// The maximum time for name resolution and connect together.
    pub timeout: Duration,
    /// The client's address, as the listener sees it. A unix socket is not bound to an address, and no PROXY header is
    /// sent over it.
    pub origin: ClientAddress,
    /// Whether a PROXY header says that the client speaks TLS.
    pub proxied_tls: bool,
}

/// One attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// The start of the attempt.
    pub from: Instant,
    /// The end of the attempt.
    pub to: Instant,
    /// Why it failed; `None` if this attempt became the connection.
    pub fault: Option<ConnectFault>,
}

/// The socket options that this machine refuses. The session continues without them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// TCP_NODELAY: without it, data that is written in pieces may wait for a delayed acknowledgement.
    pub no_delay: bool,
    /// IP_BIND_ADDRESS_NO_PORT: without it, a bound socket occupies its local port for all targets, not only for its own.
    pub late_port: bool,
}

/// The timed waits of a dial, and its result.
#[derive(Debug)]
pub struct Dialed {
    /// When the look-up began and ended; `None` for an address literal.
    pub dns: Option<(Instant, Instant)>,
    /// When the connect began and ended, including the sending of a PROXY header; `None` if the connect never started.
    pub connect: Option<(Instant, Instant)>,
    /// The attempts, in order; empty for a unix socket.
    pub attempts: Vec<Attempt>,
    /// The socket options that were refused.
    pub refused: Refused,
    /// The PROXY header that was sent before the session; empty if there was none.
    pub header: Vec<u8>,
    /// The stream, or the step that failed and why. If several addresses failed, `result` holds the failure that says
    /// most about the listener. A reset counts as a failure of the greeting, not of the connect: the connection was
    /// established before the reset. Whether the connect itself reports the reset depends only on the speed of the
    /// generator.
    pub result: Result<Stream, (Step, ConnectFault)>,
}

impl Dialed {
    /// Returns the steps that were started, in order: when each started and ended, and why it failed; `None` if it
    /// succeeded.
    pub fn steps(&self) -> impl Iterator<Item = (Step, Instant, Instant, Option<ConnectFault>)> {
        let failed = self.result.as_ref().err().copied();
        let reset = self.connect.filter(|_| failed.is_some_and(|(step, _)| step == Step::Greeting));
        [
            (Step::Dns, self.dns),
            (Step::Connect, self.connect),
            (Step::Greeting, reset.map(|(_, at)| (at, at))),
        ]
        .into_iter()
        .filter_map(move |(step, span)| {
            let (from, to) = span?;
            Some((step, from, to, failed.filter(|(at, _)| *at == step).map(|(_, fault)| fault)))
        })
    }
}

impl Dialed {
    /// Returns why there is no connection, in words. Several addresses are listed, each with its own reason.
    pub fn in_words(&self, fault: ConnectFault) -> String {
        if self.attempts.len() < 2 {
            return fault.to_string();
        }
        let at = |attempt: &Attempt| Some(format!("{}: {}", attempt.address, attempt.fault?));
        self.attempts.iter().filter_map(at).collect::<Vec<_>>().join("; ")
    }
}

/// Resolves and connects for the session `serial`. `now` reads the clock. `step` is always set to the current step, so
/// that a caller that cancels the dial knows which step it had reached.
pub async fn dial(endpoint: &Endpoint, serial: u64, now: fn() -> Instant, step: &Cell<Step>) -> Dialed {
    let started = now();
    let mut dialed = Dialed {
        dns: None,
        connect: None,
        attempts: Vec::new(),
        refused: Refused::default(),
        header: Vec::new(),
        result: Err((Step::Dns, ConnectFault::TimedOut)),
    };
    let addresses = match &endpoint.place {
        Destination::Unix(path) => {
            step.set(Step::Connect);
            let connected = async { connect_unix(path).await.map_err(|error| ConnectFault::of(&error)) };
            let connected = tokio::time::timeout(endpoint.timeout, connected).await;
            dialed.connect = Some((started, now()));
            dialed.result = connected.unwrap_or(Err(ConnectFault::TimedOut)).map_err(failed);
            return dialed;
        }
        Destination::Tcp { host, port } => match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, *port)],
            Err(_) => {
                let found =
                    tokio::time::timeout(endpoint.timeout, resolve(&*endpoint.resolver, host, *port)).await;
                dialed.dns = Some((started, now()));
                match found {
                    Ok(Ok(addresses)) => in_turn(addresses),
                    Ok(Err(fault)) => {
                        dialed.result = Err((Step::Dns, fault));
                        return dialed;
                    }
                    Err(_) => return dialed,
                }
            }
        },
    };
    step.set(Step::Connect);
    let connecting = now();
    let connected = match addresses.iter().find(|address| !endpoint.allowed.admits(address.ip())) {
        Some(foreign) => Err(ConnectFault::NotAllowed(foreign.ip())),
        None => {
            first_of(&addresses, endpoint, serial, started + endpoint.timeout, now, &mut dialed.attempts)
                .await
        }
    };
    dialed.connect = Some((connecting, now()));
    dialed.result = connected.map_err(failed).map(|connected| {
        dialed.header = connected.header;
        dialed.refused = connected.refused;
        connected.stream
    });
    dialed
}

/// Returns the addresses with IPv4 and IPv6 alternating, each address once (RFC 8305 4).
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let mut in_turn: Vec<SocketAddr> = Vec::new();
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return in_turn;
        }
        for address in pair.into_iter().flatten() {
            if !in_turn.contains(&address) {
                in_turn.push(address);
            }
        }
    }
}

/// An established connection.
struct Connected {
    stream: Stream,
    /// The PROXY header that was sent; empty if there was none.
    header: Vec<u8>,
    refused: Refused,
}

/// Connects to the first of the addresses that answers before `end`, and adds each try to `attempts`.
async fn first_of(
    addresses: &[SocketAddr],
    endpoint: &Endpoint,
    serial: u64,
    end: Instant,
    now: fn() -> Instant,
    attempts: &mut Vec<Attempt>,
) -> Result<Connected, ConnectFault> {
    // The failure that remains if every address is skipped, because no source address has its family.
    let mut failure = ConnectFault::Own(LocalFault::Source);
    let with_source = |address: &SocketAddr| match &endpoint.origin {
        ClientAddress::Bound(sources) | ClientAddress::Proxied(_, sources) if !sources.is_empty() => {
            Some((*address, Some(sources.in_turn_of(address.is_ipv4(), serial)?)))
        }
        _ => Some((*address, None)),
    };
    let usable = || addresses.iter().filter_map(with_source);
    let all = usable().count();
    for (tried, (address, source)) in usable().enumerate() {
        let from = now();
        let share = share(end.saturating_duration_since(from), tried, all);
        let connected = tokio::time::timeout(share, connect(endpoint, address, source)).await;
        let connected = connected.unwrap_or(Err(ConnectFault::TimedOut));
        let fault = connected.as_ref().err().copied();
        attempts.push(Attempt { address, from, to: now(), fault });
        match connected {
            Ok(connected) => return Ok(connected),
            // An address that resets the connection was reached: no other address is tried.
            Err(ConnectFault::Reset) => return Err(ConnectFault::Reset),
            Err(fault) => failure = failure.or_more_telling(fault),
        }
    }
    Err(failure)
}

/// Returns how long the next of `all` addresses may take, if `left` is left after the `tried` ones: an address that never
/// answers the SYN must leave time for those after it.
fn share(left: Duration, tried: usize, all: usize) -> Duration {
    let parts = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    match all - tried {
        1 => left,
        untried => (left / parts(untried)).min(PATIENCE / parts(all)),
    }
}

/// Connects to one address, and sends the PROXY header if there is one.
async fn connect(
    endpoint: &Endpoint,
    address: SocketAddr,
    source: Option<IpAddr>,
) -> Result<Connected, ConnectFault> {
    let mut refused = Refused::default();
    let (stream, header) = match &endpoint.origin {
        ClientAddress::Proxied(version, _) => {
            connect_proxied(address, *version, source, endpoint.proxied_tls).await?
        }
        ClientAddress::Any | ClientAddress::Bound(_) | ClientAddress::Xclient(_) => {
            let (socket, late_port) = socket(address, source)?;
            refused.late_port = !late_port;
            let connected = socket.connect(address).await;
            let of = |error| match source {
                None => ConnectFault::of_connect(&error, address),
                Some(_) => ConnectFault::of(&error),
            };
            (connected.map_err(of)?, Vec::new())
        }
    };
    let (stream, no_delay) = Stream::tcp(stream);
    refused.no_delay = !no_delay;
    Ok(Connected { stream, header, refused })
}

/// Returns the step that a failed connect counts for, and the failure.
fn failed(fault: ConnectFault) -> (Step, ConnectFault) {
    match fault {
        ConnectFault::Reset => (Step::Greeting, ConnectFault::Reset),
        fault => (Step::Connect, fault),
    }
}

/// Returns all addresses of a name, at least one, in the order in which to try them.
async fn resolve(resolver: &dyn Resolve, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectFault> {
    match resolver.resolve(host, port).await {
        Ok(addresses) if addresses.is_empty() => Err(ConnectFault::NotResolved),
        Ok(addresses) => Ok(addresses),
        // If the query failed for lack of a resource of this machine, the failure says nothing about the name.
        Err(error) => Err(match error.raw_os_error().map(|_| ConnectFault::of(&error)) {
            Some(
                own @ ConnectFault::Own(
                    LocalFault::Descriptors | LocalFault::Buffers | LocalFault::Memory | LocalFault::Ports,
                ),
            ) => own,
            _ => ConnectFault::NotResolved,
        }),
    }
}

/// Returns a socket for a connection to `address`, bound to `source` if there is one, and whether the kernel chooses its port
/// only when it connects.
fn socket(address: SocketAddr, source: Option<IpAddr>) -> Result<(TcpSocket, bool), ConnectFault> {
    let Some(source) = source else {
        let made = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        return made.map(|socket| (socket, true)).map_err(|error| ConnectFault::of(&error));
    };
    let bound = source::from(source).map_err(|error| match (error.kind(), ConnectFault::of(&error)) {
        // `source` is not an address of this machine.
        (io::ErrorKind::AddrNotAvailable, _) => ConnectFault::Own(LocalFault::Source),
        (_, fault) => fault,
    });
    bound.map(|bound| (TcpSocket::from_std_stream(bound.socket.into()), bound.late_port))
}

/// Connects as a load balancer does: a PROXY header with the client's address is sent before anything else.
async fn connect_proxied(
    address: SocketAddr,
    version: ProxyVersion,
    source: Option<IpAddr>,
    tls: bool,
) -> Result<(TcpStream, Vec<u8>), ConnectFault> {
    let connected = socket(address, None)?.0.connect(address).await;
    let mut stream = connected.map_err(|error| ConnectFault::of_connect(&error, address))?;
    let header_sent = async {
        let local = stream.local_addr()?;
        // The header carries the local port of the connection, so that no two clients at one address have the same port.
        let client = SocketAddr::new(source.unwrap_or(local.ip()), local.port());
        let header = proxy::header(version, client, address, tls)?;
        stream.write_all(&header).await?;
        io::Result::Ok(header)
    };
    let header = header_sent.await.map_err(|error| ConnectFault::of(&error))?;
    Ok((stream, header))
}

/// Connects to a unix socket. If its accept queue is full, the connect fails at once, where TCP would wait. The connect
/// is then repeated until the queue has room.
async fn connect_unix(path: &Path) -> io::Result<Stream> {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(Stream::Unix(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(QUEUE_FULL).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
