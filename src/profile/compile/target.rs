//! A profile's `[target]`: where sessions go, and the addresses that they come from. Also the clients that the listener
//! trusts.

use std::net::IpAddr;

use super::Purpose;
use crate::net::address::addresses::Addresses;
use crate::net::address::bind::{Bind, BindError};
use crate::net::address::origin::{ClientAddress, ProxyVersion};
use crate::net::address::{Target, TargetError, Transport};
use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::Profile;
use crate::profile::schema::listener::Listener;
use crate::profile::schema::target::Proxy;

/// The largest number of addresses for binding. Each is tried before a run.
const MOST_BOUND: u128 = 1 << 16;
/// The largest number of addresses for PROXY and XCLIENT: as many as an IPv4 /8 has.
const MOST_CARRIED: u128 = 1 << 24;

/// Returns the target's address.
pub(super) fn address(
    document: &Document,
    profile: &Profile,
    purpose: Purpose,
) -> Result<Target, ProfileFault> {
    match profile.target().address {
        Some(address) => {
            let at = keys!["target", "address"];
            address.parse().map_err(|error: TargetError| document.error_at(&at, error.to_string(), ""))
        }
        None if !purpose.sends() => Ok(Target::embedded()),
        None => Err(ProfileFault::new(
            "there is no target",
            "add [target] with `address = \"smtp://127.0.0.1:25\"`, or \"embedded\", or give --target",
            document.place(&keys!["target"]).or(document.end()),
        )),
    }
}

/// Returns the hosts beyond loopback that may be put under load.
pub(super) fn allowed(document: &Document, profile: &Profile) -> Result<Vec<String>, ProfileFault> {
    let hosts = profile.target().allow();
    let is_host = |host: &String| {
        let named = !host.is_empty() && !host.contains([':', '/', '@', ' ', '*']);
        named || host.parse::<IpAddr>().is_ok()
    };
    match hosts.iter().position(|host| !is_host(host)) {
        None => Ok(hosts),
        Some(index) => Err(document.error_at(
            &keys!["target", "allow", index],
            format!("{:?} is no host", hosts[index]),
            "write a name or an address without a port, as in \"mx.example\"",
        )),
    }
}

/// Returns the client address of each session.
pub(super) fn origin(
    document: &Document,
    profile: &Profile,
    target: &Target,
) -> Result<ClientAddress, ProfileFault> {
    let written = profile.target();
    let at = |key: &'static str| keys!["target", key];
    let sources = addresses(document, "target", "sources", &written.sources())?;
    let proxy = match written.proxy() {
        Proxy::None => None,
        Proxy::V1 => Some(ProxyVersion::V1),
        Proxy::V2 => Some(ProxyVersion::V2),
    };
    let xclient = written.xclient();
    let listens = listen(document, profile)?;
    let unix = match &target.transport {
        Transport::Unix { .. } => true,
        Transport::Embedded => matches!(listens, Some(Bind::Unix(_))),
        Transport::Tcp { .. } => false,
    };
    if proxy.is_some() && xclient {
        return Err(document.error_at(
            &at("xclient"),
            "`proxy` and `xclient` would both carry the client address",
            "keep one of them",
        ));
    }
    if target.is_embedded() && proxy.is_some() && !profile.listener().proxy() {
        return Err(document.error_at(
            &at("proxy"),
            "the embedded listener expects no PROXY header, and would take it for a command",
            "add `proxy = true` to [listener]",
        ));
    }
    if unix && proxy.is_some() {
        return Err(document.error_at(
            &at("proxy"),
            "a PROXY header carries the address that the client connected to, and a unix socket has none",
            "give the target as smtp://host:port, or tell the client address by `xclient = true`",
        ));
    }
    if unix && !sources.is_empty() && !xclient {
        return Err(document.error_at(
            &at("sources"),
            "a session over a unix socket has no source address to bind",
            "remove the key, or tell the addresses by `xclient = true`",
        ));
    }
    if xclient && sources.is_empty() {
        return Err(document.error_at(
            &at("xclient"),
            "`xclient` tells the listener a client address, and there are none",
            "add `sources = [\"127.0.0.2-127.0.0.51\"]`",
        ));
    }
    let carried = proxy.is_some() || xclient;
    let most = if carried { MOST_CARRIED } else { MOST_BOUND };
    if sources.len() > most {
        let what = if carried { "carries" } else { "binds" };
        return Err(document.error_at(
            &at("sources"),
            format!("these are {} addresses, and a run {what} at most {most}", sources.len()),
            "write a smaller range",
        ));
    }
    if !sources.is_empty()
        && !xclient
        && let Some(v4) = family(target, listens.as_ref())
        && sources.len_of(v4) == 0
    {
        let (needed, other) = if v4 { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        return Err(document.error_at(
            &at("sources"),
            format!("the target has an {needed} address and the sources are all {other}"),
            format!("add {needed} addresses"),
        ));
    }
    Ok(match (proxy, xclient) {
        (Some(version), _) => ClientAddress::Proxied(version, sources),
        (None, true) => ClientAddress::Xclient(sources),
        (None, false) if sources.is_empty() => ClientAddress::Any,
        (None, false) => ClientAddress::Bound(sources),
    })
}

/// Whether the target's address is IPv4; `None` if that is not known yet, or if there is no address.
fn family(target: &Target, listens: Option<&Bind>) -> Option<bool> {
    match &target.transport {
        Transport::Tcp { host, .. } => Some(host.parse::<IpAddr>().ok()?.is_ipv4()),
        Transport::Unix { .. } => None,
        Transport::Embedded => match listens {
            Some(Bind::Tcp(address)) => Some(address.is_ipv4()),
            Some(Bind::Unix(_)) => None,
            None => Some(true),
        },
    }
}

/// Returns where the listener listens, if the profile sets it.
pub(super) fn listen(document: &Document, profile: &Profile) -> Result<Option<Bind>, ProfileFault> {
    let address = profile.listener().address;
    let wrong = |error: BindError| document.error_at(&keys!["listener", "address"], error.to_string(), "");
    address.map(|address| address.parse().map_err(wrong)).transpose()
}

/// Returns the peers that may announce the address of another client, if the profile sets them.
pub(super) fn trusted(document: &Document, listener: &Listener) -> Result<Option<Addresses>, ProfileFault> {
    let trusted = listener.trusted.as_deref();
    trusted.map(|texts| addresses(document, "listener", "trusted", texts)).transpose()
}

fn addresses(
    document: &Document,
    table: &'static str,
    key: &'static str,
    texts: &[String],
) -> Result<Addresses, ProfileFault> {
    Addresses::parse(texts)
        .map_err(|(index, error)| document.error_at(&keys![table, key, index], error.to_string(), ""))
}
