//! The safety rule: the addresses to which smtpress may connect. The rule is applied to every connection, not once for
//! a name, because the addresses of a name can change during a run.

use std::net::IpAddr;

/// The addresses to which smtpress may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// All addresses: the user allowed the target's host by its name, or the listener belongs to this process.
    Any,
    /// The loopback addresses of this machine, and these addresses, which the user allowed one by one.
    Loopback(Vec<IpAddr>),
}

impl Default for Allowed {
    /// Returns the rule that allows only loopback.
    fn default() -> Self {
        Allowed::Loopback(Vec::new())
    }
}

impl Allowed {
    /// Creates the rule for a target at `host`, a name or an address literal. `allow` holds what the user allowed.
    pub fn new(host: &str, allow: &[String]) -> Allowed {
        let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if allow.iter().any(|allowed| plain(allowed) == plain(host)) {
            return Allowed::Any;
        }
        let address = |allowed: &String| allowed.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        Allowed::Loopback(allow.iter().filter_map(address).collect())
    }

    /// Whether smtpress may connect to `address`.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Allowed::Any => true,
            Allowed::Loopback(others) => address.is_loopback() || others.contains(&address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(host: &str, allow: &[&str], address: &str) -> bool {
        let allow: Vec<String> = allow.iter().map(|&text| text.to_owned()).collect();
        Allowed::new(host, &allow).admits(address.parse().unwrap())
    }

    #[test]
    fn loopback_is_admitted_and_nothing_else_is_unless_it_is_named() {
        for loopback in ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"] {
            assert!(admits("mx.example", &[], loopback), "{loopback}");
        }
        for other in ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "128.0.0.1", "::127.0.0.1"] {
            assert!(!admits("mx.example", &[], other), "{other}");
            assert!(!admits("localhost", &[], other), "no name is trusted: {other}");
            assert!(admits("mx.example", &["MX.example."], other), "allowed by its name: {other}");
            assert!(admits("mx.example", &["mx.example", "else.example"], other), "{other}");
        }
        assert!(!admits("mx.example", &["else.example", "10.0.0.2"], "10.0.0.1"));
        assert!(admits("mx.example", &["10.0.0.1"], "10.0.0.1"), "allowed by its address");
        assert!(admits("mx.example", &["10.0.0.1"], "::ffff:10.0.0.1"));
    }
}
