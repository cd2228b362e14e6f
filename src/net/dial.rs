//! Opens a connection: name resolution, connect, PROXY header, and why it failed.
//!
//! # Decisions
//! - The addresses of a name are tried in the resolver's order with its families in turn (RFC 8305 4), one after the other:
//!   each has its share of the time that is left. They are not raced (RFC 8305 5): a listener that is slow to
//!   accept would get a second connection while the first is pending, which is load that the profile does not ask for.
//! - A session goes to the first address that answers, as those of real clients do. The load is not spread.
//! - The safety rule is asked for the addresses of every connection. If one of them is not allowed nothing is sent to any,
//!   as before the run: which of them is the listener that was meant cannot be known.

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

/// How long until a unix socket whose queue is full is asked again.
const QUEUE_FULL: Duration = Duration::from_millis(1);

/// Turns names into addresses.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `host`, in the order to try them, with `port`.
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

/// Where a listener is.
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
    /// The place, dialled as the system sees fit, within 30 s, and on loopback only.
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

/// Where and how to dial.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub place: Destination,
    /// Which addresses may be connected to.
    pub allowed: Allowed,
    /// How names are resolved. A literal never is.
    pub resolver: Arc<dyn Resolve>,
    /// For name resolution and connect together.
    pub timeout: Duration,
    /// The client's address, as the listener sees it. Nothing but TCP has one to bind or to carry.
    pub origin: ClientAddress,
    /// A PROXY header says that the client speaks TLS.
    pub proxied_tls: bool,
}

/// One connection that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where.
    pub address: SocketAddr,
    /// When it began.
    pub from: Instant,
    /// When it ended.
    pub to: Instant,
    /// Why it failed; `None`: it is the connection.
    pub fault: Option<ConnectFault>,
}

/// What this machine does not let a socket have. The session goes on without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// TCP_NODELAY: what is written in pieces may wait for a delayed acknowledgement.
    pub no_delay: bool,
    /// IP_BIND_ADDRESS_NO_PORT: a source address takes its port for all targets at once.
    pub late_port: bool,
}

/// The timed waits of a dial, and how it ended.
#[derive(Debug)]
pub struct Dialed {
    /// When the look-up began and ended; `None` for an address literal.
    pub dns: Option<(Instant, Instant)>,
    /// When the connect began and ended, a header that goes out with it included; `None` if it never came to it.
    pub connect: Option<(Instant, Instant)>,
    /// The addresses that were tried, in order; none of a unix socket.
    pub attempts: Vec<Attempt>,
    /// What the socket could not have.
    pub refused: Refused,
    /// What was sent before the session: a PROXY header.
    pub header: Vec<u8>,
    /// The stream, or the step that failed and why: the most telling failure of all addresses. A reset is the greeting's
    /// failure: it can only follow an established connection, and whether we learn of it before or after that is up to our
    /// own speed.
    pub result: Result<Stream, (Step, ConnectFault)>,
}

impl Dialed {
    /// The steps it came to, in order: when each began and ended, and why it failed if it did.
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
    /// Why there is no connection, in words: at each address, if there are several.
    pub fn in_words(&self, fault: ConnectFault) -> String {
        if self.attempts.len() < 2 {
            return fault.to_string();
        }
        let at = |attempt: &Attempt| Some(format!("{}: {}", attempt.address, attempt.fault?));
        self.attempts.iter().filter_map(at).collect::<Vec<_>>().join("; ")
    }
}

/// Resolves and connects for the session `serial`. `now` reads the clock; `step` is the step that it is at, for an owner that
/// does not wait to its end.
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

/// The addresses with their families in turn, each address once (RFC 8305 4).
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

/// A connection that came about.
struct Connected {
    stream: Stream,
    /// What went out first.
    header: Vec<u8>,
    refused: Refused,
}

/// Connects to the first of the addresses that answers before `end`, and notes each that is tried.
async fn first_of(
    addresses: &[SocketAddr],
    endpoint: &Endpoint,
    serial: u64,
    end: Instant,
    now: fn() -> Instant,
    attempts: &mut Vec<Attempt>,
) -> Result<Connected, ConnectFault> {
    // Unless there is an address of a family that we have sources of.
    let mut failure = ConnectFault::Own(LocalFault::Source);
    for (tried, address) in addresses.iter().enumerate() {
        // Each has its share of the time that is left: one that swallows our SYN must not hide those after it.
        let shares = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let from = now();
        let share = end.saturating_duration_since(from) / shares;
        let source = match &endpoint.origin {
            ClientAddress::Bound(sources) | ClientAddress::Proxied(_, sources) if !sources.is_empty() => {
                let Some(source) = sources.in_turn_of(address.is_ipv4(), serial) else { continue };
                Some(source)
            }
            _ => None,
        };
        let connected = tokio::time::timeout(share, connect(endpoint, *address, source)).await;
        let connected = connected.unwrap_or(Err(ConnectFault::TimedOut));
        let fault = connected.as_ref().err().copied();
        attempts.push(Attempt { address: *address, from, to: now(), fault });
        match connected {
            Ok(connected) => return Ok(connected),
            // One that resets us was reached.
            Err(ConnectFault::Reset) => return Err(ConnectFault::Reset),
            Err(fault) => failure = failure.or_more_telling(fault),
        }
    }
    Err(failure)
}

/// Connects to one address; the header goes out with it.
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

/// At which step a connect failed.
fn failed(fault: ConnectFault) -> (Step, ConnectFault) {
    match fault {
        ConnectFault::Reset => (Step::Greeting, ConnectFault::Reset),
        fault => (Step::Connect, fault),
    }
}

/// All addresses of a name, at least one, in the order to try them.
async fn resolve(resolver: &dyn Resolve, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectFault> {
    match resolver.resolve(host, port).await {
        Ok(addresses) if addresses.is_empty() => Err(ConnectFault::NotResolved),
        Ok(addresses) => Ok(addresses),
        // Without a descriptor for its socket a query says nothing about the name.
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

/// A socket for a connection to `address`, bound to `source`; and whether its port is chosen when it connects.
fn socket(address: SocketAddr, source: Option<IpAddr>) -> Result<(TcpSocket, bool), ConnectFault> {
    let Some(source) = source else {
        let made = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        return made.map(|socket| (socket, true)).map_err(|error| ConnectFault::of(&error));
    };
    let bound = source::from(source).map_err(|error| match (error.kind(), ConnectFault::of(&error)) {
        // It is none of this machine's.
        (io::ErrorKind::AddrNotAvailable, _) => ConnectFault::Own(LocalFault::Source),
        (_, fault) => fault,
    });
    bound.map(|bound| (TcpSocket::from_std_stream(bound.socket.into()), bound.late_port))
}

/// Connects as a balancer does: the client's address goes before everything else.
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
        // The port is the connection's own, so that no two clients at one address have the same.
        let client = SocketAddr::new(source.unwrap_or(local.ip()), local.port());
        let header = proxy::header(version, client, address, tls)?;
        stream.write_all(&header).await?;
        io::Result::Ok(header)
    };
    let header = header_sent.await.map_err(|error| ConnectFault::of(&error))?;
    Ok((stream, header))
}

/// A unix socket whose queue is full says so at once, where TCP would wait: asked again until there is room.
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
