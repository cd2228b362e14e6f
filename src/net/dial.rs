//! Opening a connection: name, connect, and whose fault it is when it fails.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::proxy::{self, SpokenTls};
use super::source;
use super::stream::Stream;
use super::target::bind::Bind;
use super::target::origin::{Origin, ProxyVersion};
use crate::smtp::Step;

/// How long until a unix socket whose queue is full is asked again.
const QUEUE_FULL: Duration = Duration::from_millis(1);

/// Turns names into addresses.
#[derive(Clone, Debug, Default)]
pub enum Resolver {
    /// The system's.
    #[default]
    System,
    /// A table with a delay, for tests.
    Table {
        /// The address of any name.
        address: IpAddr,
        /// How long a look-up takes.
        delay: Duration,
    },
    /// A table whose look-up holds up its whole thread, as a machine without a free processor does; for tests.
    Holding {
        /// The address of any name.
        address: IpAddr,
        /// How long a look-up holds the thread.
        hold: Duration,
    },
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
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
    /// The place, dialled as the system sees fit, within 30 s.
    pub fn new(place: Place) -> Endpoint {
        Endpoint {
            place,
            resolver: Resolver::System,
            timeout: Duration::from_secs(30),
            origin: Origin::Any,
            proxied_tls: None,
        }
    }
}

impl From<&Bind> for Place {
    fn from(bind: &Bind) -> Place {
        match bind {
            Bind::Tcp(address) => Place::from(*address),
            Bind::Unix(path) => Place::Unix(path.clone()),
        }
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Place {
        Place::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where and how to dial.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub place: Place,
    /// How names are resolved. A literal never is.
    pub resolver: Resolver,
    /// For name resolution and connect together.
    pub timeout: Duration,
    /// The client's address, as the listener sees it. Nothing but TCP has one to bind or to carry.
    pub origin: Origin,
    /// What a PROXY header says of the client's TLS.
    pub proxied_tls: Option<SpokenTls>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The name does not resolve.
    NotResolved,
    /// RST to our SYN.
    Refused,
    /// No answer in time.
    TimedOut,
    /// No route, or an ICMP unreachable.
    Unreachable,
    /// Established, and reset before we knew of it.
    Reset,
    /// Our own side could not: the errno.
    Own(Own),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::NotResolved => "the name does not resolve",
            Fault::Refused => "the connection was refused",
            Fault::TimedOut => "nothing answered in time",
            Fault::Unreachable => "there is no route to the address",
            Fault::Reset => "the connection was reset as soon as it was established",
            Fault::Own(own) => return own.fmt(f),
        })
    }
}

/// What our own side ran out of. Never charged to the listener (M24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// EMFILE, ENFILE.
    Descriptors,
    /// EADDRNOTAVAIL, EADDRINUSE.
    Ports,
    /// ENOBUFS.
    Buffers,
    /// ENOMEM.
    Memory,
    /// No source address that this machine owns and that is of the target's family.
    Source,
    /// Anything else.
    Other,
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Own::Descriptors => "this machine has no file descriptor left: raise `ulimit -n`",
            Own::Ports => {
                "this machine has no local port left: use fewer connections, or more source addresses"
            }
            Own::Buffers => "the kernel of this machine has no buffers left",
            Own::Memory => "this machine has no memory left",
            Own::Source => "this machine owns no source address of the target's family",
            Own::Other => "this machine could not open a connection",
        })
    }
}

/// The timed waits of a dial, and how it ended.
#[derive(Debug)]
pub struct Dialed {
    /// When the look-up began and ended; `None` for an address literal.
    pub dns: Option<(Instant, Instant)>,
    /// When the connect began and ended, a header that goes out with it included; `None` if it never came to it.
    pub connect: Option<(Instant, Instant)>,
    /// What was sent before the session: a PROXY header.
    pub header: Vec<u8>,
    /// The stream, or the step that failed and why. A reset is the greeting's failure: it can only follow an established
    /// connection, and whether we learn of it before or after that is up to our own speed.
    pub result: Result<Stream, (Step, Fault)>,
}

impl Dialed {
    /// The steps it came to, in order: when each began and ended, and why it failed if it did.
    pub fn steps(&self) -> impl Iterator<Item = (Step, Instant, Instant, Option<Fault>)> {
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

/// Resolves and connects for the session `serial`; `now` reads the clock.
pub async fn dial(endpoint: &Endpoint, serial: u64, now: fn() -> Instant) -> Dialed {
    dial_watched(endpoint, serial, now, &Cell::new(Step::Dns)).await
}

/// The same; `step` is the step that it is at, for an owner that does not wait to its end.
pub async fn dial_watched(
    endpoint: &Endpoint,
    serial: u64,
    now: fn() -> Instant,
    step: &Cell<Step>,
) -> Dialed {
    let begun = now();
    let result = Err((Step::Dns, Fault::TimedOut));
    let mut dialed = Dialed { dns: None, connect: None, header: Vec::new(), result };
    let addresses = match &endpoint.place {
        Place::Unix(path) => {
            step.set(Step::Connect);
            let connected = async { connect_unix(path).await.map_err(|error| fault(&error)) };
            let connected = tokio::time::timeout(endpoint.timeout, connected).await;
            dialed.connect = Some((begun, now()));
            dialed.result = ended(connected);
            return dialed;
        }
        Place::Tcp { host, port } => match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, *port)],
            Err(_) => {
                let found =
                    tokio::time::timeout(endpoint.timeout, resolve(&endpoint.resolver, host, *port)).await;
                dialed.dns = Some((begun, now()));
                match found {
                    Ok(Ok(addresses)) => addresses,
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
    let started = now();
    let first = first_of(&addresses, endpoint, serial, begun + endpoint.timeout, now).await;
    dialed.connect = Some((started, now()));
    dialed.result = first.map(|(stream, header)| {
        dialed.header = header;
        stream
    });
    dialed
}

/// Connects to the first of the addresses that answers before `end`; with the header that went out.
async fn first_of(
    addresses: &[SocketAddr],
    endpoint: &Endpoint,
    serial: u64,
    end: Instant,
    now: fn() -> Instant,
) -> Result<(Stream, Vec<u8>), (Step, Fault)> {
    // Unless there is an address of a family that we have sources of.
    let mut result = Err((Step::Connect, Fault::Own(Own::Source)));
    for (tried, address) in addresses.iter().enumerate() {
        // Each has its share of the time that is left: one that swallows our SYN must not hide those after it.
        let shares = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = end.saturating_duration_since(now()) / shares;
        let source = match &endpoint.origin {
            Origin::Bound(sources) | Origin::Proxied(_, sources) if !sources.is_empty() => {
                let Some(source) = sources.in_turn_of(address.is_ipv4(), serial) else { continue };
                Some(source)
            }
            _ => None,
        };
        let connected = async {
            let (stream, header) = match &endpoint.origin {
                Origin::Proxied(version, _) => {
                    let tls = endpoint.proxied_tls.as_ref().map(SpokenTls::version);
                    connect_proxied(*address, *version, source, tls).await?
                }
                Origin::Any | Origin::Bound(_) | Origin::Xclient(_) => {
                    let socket = socket(*address, source)?;
                    (socket.connect(*address).await.map_err(|error| fault(&error))?, Vec::new())
                }
            };
            Ok((Stream::tcp(stream).map_err(|error| fault(&error))?, header))
        };
        result = ended(tokio::time::timeout(share, connected).await);
        // What our own side lacks it lacks for the next address too; and one that resets us was reached.
        if matches!(result, Ok(_) | Err((_, Fault::Own(_) | Fault::Reset))) {
            break;
        }
    }
    result
}

/// How a connect ended.
fn ended<T>(connected: Result<Result<T, Fault>, tokio::time::error::Elapsed>) -> Result<T, (Step, Fault)> {
    connected.unwrap_or(Err(Fault::TimedOut)).map_err(|fault| match fault {
        Fault::Reset => (Step::Greeting, Fault::Reset),
        fault => (Step::Connect, fault),
    })
}

/// All addresses of a name, at least one, in the order to try them (RFC 6724, which the system's resolver applies).
async fn resolve(resolver: &Resolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    match resolver {
        Resolver::System => match tokio::net::lookup_host((host, port)).await {
            Ok(found) => {
                let addresses: Vec<SocketAddr> = found.collect();
                if addresses.is_empty() { Err(Fault::NotResolved) } else { Ok(addresses) }
            }
            // A look-up without a descriptor for its socket says nothing of the name.
            Err(error) => Err(match error.raw_os_error().map(|_| fault(&error)) {
                Some(own @ Fault::Own(own_kind)) if own_kind != Own::Other => own,
                _ => Fault::NotResolved,
            }),
        },
        Resolver::Table { address, delay } => {
            tokio::time::sleep(*delay).await;
            Ok(vec![SocketAddr::new(*address, port)])
        }
        Resolver::Holding { address, hold } => {
            std::thread::sleep(*hold);
            Ok(vec![SocketAddr::new(*address, port)])
        }
    }
}

/// A socket for a connection to `address`, bound to `source`.
fn socket(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpSocket, Fault> {
    let Some(source) = source else {
        let made = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        return made.map_err(|error| fault(&error));
    };
    let bound = source::from(source).map_err(|error| match fault(&error) {
        // Without a port asked for it is the address that there is not.
        Fault::Own(Own::Ports) => Fault::Own(Own::Source),
        fault => fault,
    });
    Ok(TcpSocket::from_std_stream(bound?.into()))
}

/// Connects as a balancer does: the client's address goes before everything else.
async fn connect_proxied(
    address: SocketAddr,
    version: ProxyVersion,
    source: Option<IpAddr>,
    tls: Option<&str>,
) -> Result<(TcpStream, Vec<u8>), Fault> {
    let mut stream = socket(address, None)?.connect(address).await.map_err(|error| fault(&error))?;
    let header_sent = async {
        let local = stream.local_addr()?;
        // The port is the connection's own, so that no two clients at one address have the same.
        let client = SocketAddr::new(source.unwrap_or(local.ip()), local.port());
        let header = proxy::header(version, client, address, tls)?;
        stream.write_all(&header).await?;
        io::Result::Ok(header)
    };
    let header = header_sent.await.map_err(|error| fault(&error))?;
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

fn fault(error: &io::Error) -> Fault {
    use nix::errno::Errno;
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        // Of a unix socket: nothing is there.
        Errno::ECONNREFUSED | Errno::ENOENT => Fault::Refused,
        Errno::ETIMEDOUT => Fault::TimedOut,
        Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED => Fault::Reset,
        Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN => Fault::Unreachable,
        Errno::EMFILE | Errno::ENFILE => Fault::Own(Own::Descriptors),
        Errno::EADDRNOTAVAIL | Errno::EADDRINUSE | Errno::EAGAIN => Fault::Own(Own::Ports),
        Errno::ENOBUFS => Fault::Own(Own::Buffers),
        Errno::ENOMEM => Fault::Own(Own::Memory),
        _ => Fault::Own(Own::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::addresses::Addresses;
    use super::*;

    #[test]
    fn our_own_failures_are_told_from_the_listeners() {
        let of = |errno: i32| fault(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(24), Fault::Own(Own::Descriptors));
        assert_eq!(of(99), Fault::Own(Own::Ports));
        assert_eq!(of(105), Fault::Own(Own::Buffers));
        assert_eq!(of(12), Fault::Own(Own::Memory));
        assert_eq!(of(111), Fault::Refused);
        assert_eq!(of(113), Fault::Unreachable);
    }

    #[test]
    fn a_reset_comes_after_the_connect_however_slow_we_were() {
        let of = |errno: i32| ended(Ok(Err(fault(&io::Error::from_raw_os_error(errno)))));
        assert_eq!(of(111).unwrap_err(), (Step::Connect, Fault::Refused));
        let (from, to) = (now(), now());
        let dialed = Dialed { dns: None, connect: Some((from, to)), header: Vec::new(), result: of(104) };
        let steps: Vec<_> = dialed.steps().collect();
        assert_eq!(steps, [(Step::Connect, from, to, None), (Step::Greeting, to, to, Some(Fault::Reset))]);
    }

    #[expect(clippy::disallowed_methods, reason = "the test's clock")]
    fn now() -> Instant {
        Instant::now()
    }

    fn endpoint(place: Place) -> Endpoint {
        Endpoint { timeout: Duration::from_secs(10), ..Endpoint::new(place) }
    }

    #[tokio::test]
    async fn a_unix_socket_is_dialled_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("smtp.sock");
        let dialed = dial(&endpoint(Place::Unix(path.clone())), 0, now).await;
        assert_eq!(dialed.result.unwrap_err(), (Step::Connect, Fault::Refused), "nothing is there");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let dialed = dial(&endpoint(Place::Unix(path.clone())), 0, now).await;
        assert!(dialed.dns.is_none() && dialed.connect.is_some());
        assert!(matches!(dialed.result, Ok(Stream::Unix(_))));
        drop(listener);
        let dialed = dial(&endpoint(Place::Unix(path)), 0, now).await;
        assert_eq!(dialed.result.unwrap_err(), (Step::Connect, Fault::Refused), "the listener has gone");
    }

    #[tokio::test]
    async fn a_full_queue_of_a_unix_socket_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("smtp.sock");
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let first = dial(&endpoint(Place::Unix(path.clone())), 0, now).await;
        assert!(first.result.is_ok());
        let place = endpoint(Place::Unix(path));
        let mut second = std::pin::pin!(dial(&place, 1, now));
        assert!(futures::poll!(&mut second).is_pending());
        socket.accept().unwrap();
        assert!(second.await.result.is_ok());
    }

    fn listener(address: &str) -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn connected(
        addresses: &[SocketAddr],
        origin: Origin,
        serial: u64,
    ) -> Result<Stream, (Step, Fault)> {
        let endpoint = Endpoint { origin, ..endpoint(Place::from(addresses[0])) };
        let first = first_of(addresses, &endpoint, serial, now() + endpoint.timeout, now).await;
        first.map(|(stream, _)| stream)
    }

    #[tokio::test]
    async fn all_addresses_of_a_name_are_tried_in_order() {
        let (first, one) = listener("127.0.0.1:0");
        let (_second, two) = listener("127.0.0.2:0");
        let reached = |stream: Stream| match stream {
            Stream::Tcp(stream) => stream.peer_addr().unwrap(),
            _ => panic!("not TCP"),
        };
        assert_eq!(reached(connected(&[one, two], Origin::Any, 0).await.unwrap()), one);
        drop(first);
        assert_eq!(reached(connected(&[one, two], Origin::Any, 0).await.unwrap()), two);
        assert_eq!(connected(&[one], Origin::Any, 0).await.unwrap_err(), (Step::Connect, Fault::Refused));
    }

    #[tokio::test]
    async fn sessions_leave_from_the_sources_in_turn_and_by_family() {
        let (listening, address) = listener("127.0.0.1:0");
        let v6: SocketAddr = "[::1]:1".parse().unwrap();
        let sources = Addresses::parse(&["127.0.0.5-127.0.0.6", "::1"]).unwrap();
        for (serial, expected) in [(0, "127.0.0.5"), (1, "127.0.0.6"), (2, "127.0.0.5"), (7, "127.0.0.6")] {
            connected(&[address], Origin::Bound(sources.clone()), serial).await.unwrap();
            assert_eq!(listening.accept().unwrap().1.ip().to_string(), expected);
        }
        // There is no source to reach the first with, and so it is passed over.
        let only_v4 = Addresses::parse(&["127.0.0.9"]).unwrap();
        connected(&[v6, address], Origin::Bound(only_v4.clone()), 0).await.unwrap();
        assert_eq!(listening.accept().unwrap().1.ip().to_string(), "127.0.0.9");
        let own = Err((Step::Connect, Fault::Own(Own::Source)));
        assert_eq!(connected(&[v6], Origin::Bound(only_v4), 0).await.map(drop), own);
        // TEST-NET-1 (RFC 5737) is nobody's, and that is not the listener's fault.
        let foreign = Origin::Bound(Addresses::parse(&["192.0.2.1"]).unwrap());
        let ended = connected(&[address], foreign, 0).await.map(drop);
        assert_eq!(ended, own);
    }

    #[tokio::test]
    async fn the_header_goes_out_before_everything() {
        use std::io::Read;
        let (listening, address) = listener("127.0.0.1:0");
        let sources = Addresses::parse(&["10.9.8.7-10.9.8.8"]).unwrap();
        for (origin, client) in [
            (Origin::Proxied(ProxyVersion::V1, sources), "10.9.8.8"),
            (Origin::Proxied(ProxyVersion::V1, Addresses::default()), "127.0.0.1"),
        ] {
            drop(connected(&[address], origin, 3).await.unwrap());
            let (mut stream, peer) = listening.accept().unwrap();
            assert_eq!(peer.ip().to_string(), "127.0.0.1");
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            assert_eq!(said, format!("PROXY TCP4 {client} 127.0.0.1 {} {}\r\n", peer.port(), address.port()));
        }
    }
}
