//! Opening a connection: name, connect, and whose fault it is when it fails.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, UnixStream};

use super::stream::Stream;
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
    /// Reset while connecting.
    Reset,
    /// Our own side could not: the errno.
    Own(Own),
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
    /// Anything else.
    Other,
}

/// The timed waits of a dial, and how it ended.
#[derive(Debug)]
pub struct Dialed {
    /// When the look-up began and ended; `None` for an address literal.
    pub dns: Option<(Instant, Instant)>,
    /// When the connect began and ended; `None` if it never came to it.
    pub connect: Option<(Instant, Instant)>,
    /// The stream, or the step that failed and why.
    pub result: Result<Stream, (Step, Fault)>,
}

/// Resolves and connects; `now` reads the clock.
pub async fn dial(endpoint: &Endpoint, now: fn() -> Instant) -> Dialed {
    let begun = now();
    let mut dialed = Dialed { dns: None, connect: None, result: Err((Step::Dns, Fault::TimedOut)) };
    let addresses = match &endpoint.place {
        Place::Unix(path) => {
            let connected = tokio::time::timeout(endpoint.timeout, connect_unix(path)).await;
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
    let started = now();
    let end = begun + endpoint.timeout;
    for (tried, address) in addresses.iter().enumerate() {
        // Each has its share of the time that is left: one that swallows our SYN must not hide those after it.
        let shares = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = end.saturating_duration_since(now()) / shares;
        dialed.result = ended(tokio::time::timeout(share, connect(*address)).await);
        // What our own side lacks it lacks for the next address too.
        if matches!(dialed.result, Ok(_) | Err((_, Fault::Own(_)))) {
            break;
        }
    }
    dialed.connect = Some((started, now()));
    dialed
}

/// How a connect ended.
fn ended(
    connected: Result<io::Result<Stream>, tokio::time::error::Elapsed>,
) -> Result<Stream, (Step, Fault)> {
    match connected {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err((Step::Connect, fault(&error))),
        Err(_) => Err((Step::Connect, Fault::TimedOut)),
    }
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

async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    Stream::tcp(socket.connect(address).await?)
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

    #[expect(clippy::disallowed_methods, reason = "the test's clock")]
    fn now() -> Instant {
        Instant::now()
    }

    fn endpoint(place: Place) -> Endpoint {
        Endpoint { place, resolver: Resolver::System, timeout: Duration::from_secs(10) }
    }

    #[tokio::test]
    async fn a_unix_socket_is_dialled_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("smtp.sock");
        let dialed = dial(&endpoint(Place::Unix(path.clone())), now).await;
        assert_eq!(dialed.result.unwrap_err(), (Step::Connect, Fault::Refused), "nothing is there");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let dialed = dial(&endpoint(Place::Unix(path.clone())), now).await;
        assert!(dialed.dns.is_none() && dialed.connect.is_some());
        assert!(matches!(dialed.result, Ok(Stream::Unix(_))));
        drop(listener);
        let dialed = dial(&endpoint(Place::Unix(path)), now).await;
        assert_eq!(dialed.result.unwrap_err(), (Step::Connect, Fault::Refused), "the listener has gone");
    }

    #[tokio::test]
    async fn a_full_queue_of_a_unix_socket_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("smtp.sock");
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let first = dial(&endpoint(Place::Unix(path.clone())), now).await;
        assert!(first.result.is_ok());
        let place = endpoint(Place::Unix(path));
        let mut second = std::pin::pin!(dial(&place, now));
        assert!(futures::poll!(&mut second).is_pending());
        socket.accept().unwrap();
        assert!(second.await.result.is_ok());
    }

    #[tokio::test]
    async fn all_addresses_of_a_name_are_tried() {
        // Of localhost at least one address has this listener, whatever the order.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let of = |host: &str| endpoint(Place::Tcp { host: host.into(), port });
        assert!(matches!(dial(&of("localhost"), now).await.result, Ok(Stream::Tcp(_))));
        drop(listener);
        let dialed = dial(&of("localhost"), now).await;
        assert_eq!(dialed.result.unwrap_err(), (Step::Connect, Fault::Refused));
    }
}
