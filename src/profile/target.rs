//! What a profile's `[target]` means: where sessions go and where they come from. And whom the listener trusts.

use std::net::IpAddr;

use super::document::{Document, keys};
use super::error::ProfileError;
use super::listener::Listener;
use super::schema::{Profile, Proxy};
use crate::net::address::addresses::Addresses;
use crate::net::address::bind::{Bind, BindError};
use crate::net::address::origin::{Origin, ProxyVersion};
use crate::net::address::{Target, Transport};

/// The most addresses that are bound: each is tried before a run.
const MOST_BOUND: u128 = 1 << 16;
/// The most addresses that are carried: as many as an IPv4 /8 has.
const MOST_CARRIED: u128 = 1 << 24;

/// The client address of each session.
pub(super) fn origin(
    document: &Document,
    profile: &Profile,
    target: &Target,
) -> Result<Origin, ProfileError> {
    let written = profile.target.clone().unwrap_or_default();
    let at = |key: &'static str| keys!["target", key];
    let sources = addresses(document, "target", "sources", written.sources.as_deref().unwrap_or_default())?;
    let proxy = match written.proxy.unwrap_or(Proxy::None) {
        Proxy::None => None,
        Proxy::V1 => Some(ProxyVersion::V1),
        Proxy::V2 => Some(ProxyVersion::V2),
    };
    let xclient = written.xclient.unwrap_or_default();
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
    let expected = profile.listener.as_ref().and_then(|listener| listener.proxy).unwrap_or_default();
    if target.is_embedded() && proxy.is_some() && !expected {
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
        (Some(version), _) => Origin::Proxied(version, sources),
        (None, true) => Origin::Xclient(sources),
        (None, false) if sources.is_empty() => Origin::Any,
        (None, false) => Origin::Bound(sources),
    })
}

/// Whether the target's address is IPv4; `None` where that is not known yet, or there is none.
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

/// Where the listener listens, if the profile says so.
pub(super) fn listen(document: &Document, profile: &Profile) -> Result<Option<Bind>, ProfileError> {
    let address = profile.listener.as_ref().and_then(|listener| listener.address.as_deref());
    let wrong = |error: BindError| document.error_at(&keys!["listener", "address"], error.to_string(), "");
    address.map(|address| address.parse().map_err(wrong)).transpose()
}

/// Whom the listener lets speak for others, if the profile says so.
pub(super) fn trusted(document: &Document, listener: &Listener) -> Result<Option<Addresses>, ProfileError> {
    let trusted = listener.trusted.as_deref();
    trusted.map(|texts| addresses(document, "listener", "trusted", texts)).transpose()
}

fn addresses(
    document: &Document,
    table: &'static str,
    key: &'static str,
    texts: &[String],
) -> Result<Addresses, ProfileError> {
    Addresses::parse(texts)
        .map_err(|(index, error)| document.error_at(&keys![table, key, index], error.to_string(), ""))
}
