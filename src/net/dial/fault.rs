//! Why there is no connection: a failure of the listener, of the network or of this machine. This module also decides
//! which of several failures is reported.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use nix::errno::Errno;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// The name does not resolve.
    NotResolved,
    /// The SYN was answered by RST, or nothing listens on the unix socket.
    Refused,
    /// No answer in time.
    TimedOut,
    /// No route, or an ICMP unreachable.
    Unreachable,
    /// The connection was established, and reset before the client knew of it.
    Reset,
    /// The safety rule does not allow this address, to which the name resolves now. Nothing was sent to any address.
    NotAllowed(IpAddr),
    /// This machine failed.
    Own(LocalFault),
}

/// The resource that this machine lacks. Such a failure is never counted against the listener (M24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalFault {
    /// EMFILE, ENFILE.
    Descriptors,
    /// EADDRNOTAVAIL or EADDRINUSE, although this machine has an address to connect from.
    Ports,
    /// ENOBUFS.
    Buffers,
    /// ENOMEM.
    Memory,
    /// A source address: this machine has no address of the target's family, or not the source address that the profile
    /// asks for.
    Source,
    /// Any other error, by its errno.
    Other(i32),
}

impl ConnectFault {
    /// Returns the meaning of a socket's error.
    pub(super) fn of(error: &io::Error) -> ConnectFault {
        let errno = error.raw_os_error().unwrap_or(0);
        match Errno::from_raw(errno) {
            // For a unix socket ENOENT means that there is no file.
            Errno::ECONNREFUSED | Errno::ENOENT => ConnectFault::Refused,
            Errno::ETIMEDOUT => ConnectFault::TimedOut,
            Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED => ConnectFault::Reset,
            // The last three are ICMP errors about protocols, routes and hosts (icmp(7)).
            Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETDOWN
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::ENONET => ConnectFault::Unreachable,
            Errno::EMFILE | Errno::ENFILE => ConnectFault::Own(LocalFault::Descriptors),
            Errno::EADDRNOTAVAIL | Errno::EADDRINUSE | Errno::EAGAIN => ConnectFault::Own(LocalFault::Ports),
            Errno::ENOBUFS => ConnectFault::Own(LocalFault::Buffers),
            Errno::ENOMEM => ConnectFault::Own(LocalFault::Memory),
            Errno::EAFNOSUPPORT => ConnectFault::Own(LocalFault::Source),
            _ => ConnectFault::Own(LocalFault::Other(errno)),
        }
    }

    /// Returns the meaning of an error of a connect to `address` without a chosen source. The kernel returns
    /// EADDRNOTAVAIL in two cases: the ports are used up, or no address of this machine can reach the target. A
    /// datagram socket has ports of its own, so it shows which case applies, without sending a datagram.
    pub(super) fn of_connect(error: &io::Error, address: SocketAddr) -> ConnectFault {
        let fault = ConnectFault::of(error);
        let is_ambiguous = error.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32);
        if is_ambiguous && !has_source_for(address) { ConnectFault::Own(LocalFault::Source) } else { fault }
    }

    /// Returns how much the failure says about the target, compared with a failure at another of its addresses. An
    /// answer of the listener says most. A lack of resources of this machine ranks above silence and missing routes,
    /// because with more resources the address might have answered. A missing source address of one family ranks below
    /// these: it says nothing about the other addresses.
    fn tells(self) -> u8 {
        match self {
            ConnectFault::Reset => 6,
            ConnectFault::Refused => 5,
            ConnectFault::Own(
                LocalFault::Descriptors
                | LocalFault::Ports
                | LocalFault::Buffers
                | LocalFault::Memory
                | LocalFault::Other(_),
            ) => 4,
            ConnectFault::TimedOut => 3,
            ConnectFault::Unreachable => 2,
            ConnectFault::Own(LocalFault::Source) => 1,
            ConnectFault::NotResolved | ConnectFault::NotAllowed(_) => 0,
        }
    }

    /// Compares the failures at two addresses. Returns the failure that says more about the target, or the earlier
    /// failure if both say as much.
    pub(super) fn or_more_telling(self, later: ConnectFault) -> ConnectFault {
        if later.tells() > self.tells() { later } else { self }
    }
}

/// Whether this machine has an address from which `address` can be reached. Returns true if that is unknown.
fn has_source_for(address: SocketAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let connected = UdpSocket::bind(any).and_then(|socket| socket.connect(address));
    let errno = connected.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw);
    !matches!(
        errno,
        Some(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT | Errno::ENETUNREACH | Errno::EHOSTUNREACH)
    )
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectFault::NotResolved => f.write_str("the name does not resolve"),
            ConnectFault::Refused => f.write_str("the connection was refused"),
            ConnectFault::TimedOut => f.write_str("nothing answered in time"),
            ConnectFault::Unreachable => f.write_str("there is no route to the address"),
            ConnectFault::Reset => f.write_str("the connection was reset as soon as it was established"),
            ConnectFault::NotAllowed(address) => write!(
                f,
                "the name resolves to {address} now, which is not on this machine's loopback and was not allowed (--allow-target); nothing was sent there"
            ),
            ConnectFault::Own(own) => own.fmt(f),
        }
    }
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LocalFault::Descriptors => "this machine has no file descriptor left: raise `ulimit -n`",
            LocalFault::Ports => {
                "this machine has no local port left: use fewer connections, or more source addresses"
            }
            LocalFault::Buffers => "the kernel of this machine has no buffers left",
            LocalFault::Memory => "this machine has no memory left",
            LocalFault::Source => "this machine has no source address for the target",
            LocalFault::Other(errno) => {
                return write!(f, "this machine failed: {}", Errno::from_raw(*errno).desc());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ConnectFault; 11] = [
        ConnectFault::Reset,
        ConnectFault::Refused,
        ConnectFault::Own(LocalFault::Descriptors),
        ConnectFault::Own(LocalFault::Ports),
        ConnectFault::Own(LocalFault::Buffers),
        ConnectFault::Own(LocalFault::Memory),
        ConnectFault::Own(LocalFault::Other(1)),
        ConnectFault::TimedOut,
        ConnectFault::Unreachable,
        ConnectFault::Own(LocalFault::Source),
        ConnectFault::NotResolved,
    ];

    #[test]
    fn failures_of_this_machine_differ_from_those_of_the_listener() {
        let of = |errno: i32| ConnectFault::of(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(24), ConnectFault::Own(LocalFault::Descriptors));
        assert_eq!(of(99), ConnectFault::Own(LocalFault::Ports));
        assert_eq!(of(105), ConnectFault::Own(LocalFault::Buffers));
        assert_eq!(of(12), ConnectFault::Own(LocalFault::Memory));
        assert_eq!(of(97), ConnectFault::Own(LocalFault::Source));
        assert_eq!(of(1), ConnectFault::Own(LocalFault::Other(1)));
        assert_eq!(of(111), ConnectFault::Refused);
        for unreachable in [113, 101, 100, 92, 64] {
            assert_eq!(of(unreachable), ConnectFault::Unreachable, "{unreachable}");
        }
    }

    #[test]
    fn the_order_of_the_addresses_does_not_decide_what_is_reported() {
        for (at, one) in ALL.into_iter().enumerate() {
            for other in ALL {
                let (first, second) = (one.or_more_telling(other), other.or_more_telling(one));
                assert_eq!(first.tells(), second.tells(), "{one:?} {other:?}");
            }
            for below in &ALL[at..] {
                assert!(one.tells() >= below.tells(), "{one:?} {below:?}");
            }
        }
    }

    #[test]
    fn an_answer_of_the_listener_is_never_hidden_by_a_failure_of_ours() {
        for own in ALL.into_iter().filter(|fault| matches!(fault, ConnectFault::Own(_))) {
            for answer in [ConnectFault::Refused, ConnectFault::Reset] {
                assert_eq!(own.or_more_telling(answer), answer);
                assert_eq!(answer.or_more_telling(own), answer);
            }
        }
    }

    #[test]
    fn a_failure_is_shown_in_words() {
        for fault in ALL {
            let words = fault.to_string();
            assert!(!words.contains(['(', '{', '_']), "{words}");
        }
    }

    /// EADDRNOTAVAIL for a family that this machine has is a lack of ports.
    #[test]
    fn a_lack_of_ports_differs_from_a_lack_of_addresses() {
        let error = io::Error::from_raw_os_error(99);
        assert_eq!(
            ConnectFault::of_connect(&error, ([127, 0, 0, 1], 25).into()),
            ConnectFault::Own(LocalFault::Ports)
        );
        assert!(has_source_for(([127, 0, 0, 1], 25).into()));
    }
}
