//! The peer of a session: the client's address, and whether the peer may announce another client.
//!
//! # Decisions
//! - If PROXY or XCLIENT is enabled, the limits of one host do not count a trusted peer until the peer has announced a
//!   client: otherwise a balancer could not open more connections than one client.
//! - A peer on a unix socket has no address, and is trusted: the mode of the socket admits only the listener's own
//!   user.
//! - The right to send XCLIENT belongs to the connection, not to the address that was announced last.

use std::net::IpAddr;

use super::limits::Limits;

/// The client of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    address: Option<IpAddr>,
    trusted: bool,
    /// Whether the peer may announce a client and has not done so.
    carrier: bool,
}

impl Peer {
    /// Returns the peer of a connection from `address`; `None` for a unix socket.
    pub fn new(address: Option<IpAddr>, limits: &Limits) -> Peer {
        let trusted = address.is_none_or(|address| limits.trusted.contains(address));
        Peer { address, trusted, carrier: trusted && (limits.proxy || limits.xclient) }
    }

    /// Whether a PROXY header must come first.
    pub fn sends_header(&self, limits: &Limits) -> bool {
        limits.proxy && self.trusted
    }

    /// Whether the peer may send XCLIENT.
    pub fn may_tell(&self, limits: &Limits) -> bool {
        limits.xclient && self.trusted
    }

    /// Notes the client that the peer announced.
    pub fn speaks_for(&mut self, address: IpAddr) {
        self.address = Some(address);
        self.carrier = false;
    }

    /// Returns the address that the limits of one host count; `None` if they do not count the peer.
    pub fn host(&self) -> Option<IpAddr> {
        self.address.filter(|_| !self.carrier)
    }

    /// Returns the address in the form of replies.
    pub fn shown(&self) -> String {
        self.address.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_is_no_host_until_it_speaks_for_one() {
        let balancer: IpAddr = "127.0.0.1".parse().unwrap();
        let stranger: IpAddr = "192.0.2.1".parse().unwrap();
        let limits = |proxy, xclient| Limits { proxy, xclient, ..Limits::default() };
        let host = |address, limits: &Limits| Peer::new(address, limits).host();
        assert_eq!(host(Some(balancer), &limits(false, false)), Some(balancer));
        for carries in [limits(true, false), limits(false, true)] {
            assert_eq!(host(Some(balancer), &carries), None);
            assert_eq!(host(Some(stranger), &carries), Some(stranger), "not trusted");
            let mut peer = Peer::new(Some(balancer), &carries);
            peer.speaks_for(balancer);
            assert_eq!(peer.host(), Some(balancer), "even for its own address");
            let stranger = Peer::new(Some(stranger), &carries);
            assert!(!stranger.sends_header(&carries) && !stranger.may_tell(&carries));
        }
        let unix = Peer::new(None, &limits(true, true));
        assert!(unix.sends_header(&limits(true, true)) && unix.may_tell(&limits(true, true)));
        assert_eq!((unix.host(), unix.shown().as_str()), (None, "unknown"));
    }
}
