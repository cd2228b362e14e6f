//! Checks whether a request names this machine's loopback, as every request from this machine does.
//!
//! The domain of a foreign page can resolve to this machine (DNS rebinding), and the browser then sends this domain. The
//! port does not matter: behind `ssh -L` the browser uses another port.

use std::net::IpAddr;

use axum::http::uri::Authority;

/// Whether a header `Host` (RFC 9110 7.2) names loopback, at any port.
pub fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    // There must be no user before the name, and only a port may follow the name.
    let whole = match host.strip_prefix(name) {
        Some("") => true,
        Some(_) => authority.port_u16().is_some(),
        None => false,
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let named = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    whole
        && match inner.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            // Names that are never resolved by DNS (RFC 6761 6.3).
            Err(_) => named == "localhost" || named.ends_with(".localhost"),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_loopback_at_every_port_and_nothing_else() {
        for host in [
            "localhost",
            "LocalHost:8025",
            "localhost.",
            "localhost.:80",
            "press.localhost:9000",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.45.6.7:65535",
            "[::1]",
            "[::1]:9000",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "evil.example:8025",
            "localhost.evil.example",
            "localhost:8025.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "user@127.0.0.1",
            "192.0.2.1:8025",
            "0.0.0.0",
            "[2001:db8::1]",
            "::1",
            "[::1",
            "localhost:",
            "localhost:99999",
            "localhost:80:80",
            "http://localhost",
            "localhost/x",
            "local host",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
