//! Opening a connection: name, connect, and whose fault it is when it fails.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use super::stream::Stream;
use crate::smtp::Step;

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

/// Where to dial.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// A name or an address literal.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
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
    let address = match endpoint.host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, endpoint.port),
        Err(_) => {
            let found = tokio::time::timeout(endpoint.timeout, resolve(endpoint)).await;
            dialed.dns = Some((begun, now()));
            match found {
                Ok(Ok(address)) => address,
                Ok(Err(fault)) => {
                    dialed.result = Err((Step::Dns, fault));
                    return dialed;
                }
                Err(_) => return dialed,
            }
        }
    };
    let started = now();
    let left = endpoint.timeout.saturating_sub(started - begun);
    let connected = tokio::time::timeout(left, connect(address)).await;
    dialed.connect = Some((started, now()));
    dialed.result = match connected {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err((Step::Connect, fault(&error))),
        Err(_) => Err((Step::Connect, Fault::TimedOut)),
    };
    dialed
}

async fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, Fault> {
    match &endpoint.resolver {
        Resolver::System => match tokio::net::lookup_host((&*endpoint.host, endpoint.port)).await {
            Ok(mut found) => found.next().ok_or(Fault::NotResolved),
            // A look-up without a descriptor for its socket says nothing of the name.
            Err(error) => Err(match error.raw_os_error().map(|_| fault(&error)) {
                Some(own @ Fault::Own(own_kind)) if own_kind != Own::Other => own,
                _ => Fault::NotResolved,
            }),
        },
        Resolver::Table { address, delay } => {
            tokio::time::sleep(*delay).await;
            Ok(SocketAddr::new(*address, endpoint.port))
        }
        Resolver::Holding { address, hold } => {
            std::thread::sleep(*hold);
            Ok(SocketAddr::new(*address, endpoint.port))
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    Stream::tcp(socket.connect(address).await?)
}

fn fault(error: &io::Error) -> Fault {
    use nix::errno::Errno;
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::ECONNREFUSED => Fault::Refused,
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
}
