//! Where sessions come from, as the listener sees it: many clients on one machine.

use std::net::IpAddr;

use super::addresses::Addresses;

/// The client address of each session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAddress {
    /// The kernel's choice.
    #[default]
    Any,
    /// Bound by the socket, in turn.
    Bound(Addresses),
    /// Carried by a PROXY protocol header before the first byte of the session, in turn; without addresses the
    /// socket's own is carried.
    Proxied(ProxyVersion, Addresses),
    /// Told by XCLIENT, in turn.
    Xclient(Addresses),
}

/// The PROXY protocol's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary, with room for facts about TLS.
    V2,
}

impl ClientAddress {
    /// The addresses that this machine must own, if sessions are to be bound.
    pub fn bound(&self) -> Option<&Addresses> {
        match self {
            ClientAddress::Bound(addresses) => Some(addresses),
            ClientAddress::Any | ClientAddress::Proxied(..) | ClientAddress::Xclient(_) => None,
        }
    }

    /// The address that session `serial` tells by XCLIENT.
    pub fn told(&self, serial: u64) -> Option<IpAddr> {
        match self {
            ClientAddress::Xclient(addresses) => addresses.in_turn(serial),
            ClientAddress::Any | ClientAddress::Bound(_) | ClientAddress::Proxied(..) => None,
        }
    }
}
