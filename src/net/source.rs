//! Sockets that are bound to a chosen source address.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::address::addresses::Addresses;

/// A socket that is bound to its source.
#[derive(Debug)]
pub struct Bound {
    /// The socket, neither blocking nor connected.
    pub socket: Socket,
    /// Whether the kernel chooses the port only when the socket connects. If the kernel cannot (before Linux 4.2, and
    /// in some sandboxes), each connection takes its port for all targets, and the ports are used up after about 28,000
    /// connections.
    pub late_port: bool,
}

/// Returns a socket, neither blocking nor connected, that will connect from `source`. If possible, the kernel chooses
/// the port when the socket connects.
///
/// # Errors
/// The kernel's error; EADDRNOTAVAIL if `source` is not an address of this machine.
pub fn from(source: IpAddr) -> io::Result<Bound> {
    let address = SocketAddr::new(source, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    let late_port =
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true).is_ok();
    #[cfg(not(target_os = "linux"))]
    let late_port = false;
    socket.bind(&address.into())?;
    Ok(Bound { socket, late_port })
}

/// Returns how many local ports the kernel has for one address; `None` if that is unknown.
pub fn ports() -> Option<u64> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_ascii_whitespace().map(|end| end.parse::<u64>().ok());
    let (low, high) = (ends.next()??, ends.next()??);
    Some(high.saturating_sub(low) + 1)
}

/// Returns the largest number of local ports that this many connections can have used. The kernel uses a port again
/// once it is released.
pub fn ports_used(opened: u64, addresses: u64, ports: Option<u64>) -> u64 {
    ports.map_or(opened, |ports| opened.min(ports.saturating_mul(addresses.max(1))))
}

/// Binds each address once, to check that it belongs to this machine.
///
/// # Errors
/// The first address that cannot be bound, and the kernel's error.
pub fn check(sources: &Addresses) -> Result<(), (IpAddr, io::Error)> {
    sources.iter().try_for_each(|source| from(source).map(drop).map_err(|error| (source, error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Addresses {
        Addresses::parse(texts).unwrap()
    }

    #[test]
    fn a_socket_leaves_from_the_address_it_was_given() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let Bound { socket, late_port } = from("127.0.0.77".parse().unwrap()).unwrap();
        assert!(late_port);
        let local = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(local(&socket).port(), 0, "no port is taken before it connects");
        socket.set_nonblocking(false).unwrap();
        socket.connect(&listener.local_addr().unwrap().into()).unwrap();
        let seen = listener.accept().unwrap().1;
        assert_eq!((seen.ip().to_string().as_str(), seen), ("127.0.0.77", local(&socket)));
    }

    #[test]
    fn an_address_of_another_machine_is_an_error() {
        assert!(check(&addresses(&["127.0.0.2-127.0.0.201"])).is_ok());
        // TEST-NET-1 (RFC 5737) belongs to no machine.
        let (address, error) = check(&addresses(&["127.0.0.2", "192.0.2.1"])).unwrap_err();
        assert_eq!(address.to_string(), "192.0.2.1");
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::EADDRNOTAVAIL as i32));
    }

    #[test]
    fn no_more_ports_are_used_than_there_are() {
        assert_eq!(ports_used(300, 1, Some(100)), 100);
        assert_eq!(ports_used(300, 2, Some(100)), 200);
        assert_eq!((ports_used(30, 1, Some(100)), ports_used(300, 0, None)), (30, 300));
        assert!(ports().is_none_or(|ports| ports > 0));
    }
}
