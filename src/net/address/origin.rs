//! The client addresses of sessions, as the listener sees them: many clients on one machine.

use std::net::IpAddr;

use super::addresses::Addresses;

/// The client address of each session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAddress {
    /// The kernel's choice.
    #[default]
    Any,
    /// The socket is bound to these addresses in turn.
    Bound(Addresses),
    /// A PROXY protocol header before the first byte of the session carries these addresses in turn. If there are no
    /// addresses, the header carries the socket's own address.
    Proxied(ProxyVersion, Addresses),
    /// XCLIENT carries these addresses in turn.
    Xclient(Addresses),
}

/// The version of the PROXY protocol's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary. It can also say that the client uses TLS.
    V2,
}

impl ClientAddress {
    /// Returns the addresses that this machine must own, if sessions are bound to them.
    pub fn bound(&self) -> Option<&Addresses> {
        match self {
            ClientAddress::Bound(addresses) => Some(addresses),
            ClientAddress::Any | ClientAddress::Proxied(..) | ClientAddress::Xclient(_) => None,
        }
    }

    /// Returns the address that session `serial` sends with XCLIENT.
    pub fn told(&self, serial: u64) -> Option<IpAddr> {
        match self {
            ClientAddress::Xclient(addresses) => addresses.in_turn(serial),
            ClientAddress::Any | ClientAddress::Bound(_) | ClientAddress::Proxied(..) => None,
        }
    }
}
