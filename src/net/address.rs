//! The target's URL, and the transport and the protocol that it names.

pub mod addresses;
pub mod allowed;
pub mod bind;
pub mod origin;
pub mod tls;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A listener's address as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The transport.
    pub transport: Transport,
    /// The protocol.
    pub protocol: Protocol,
    /// Whether TLS begins with the first byte (RFC 8314 3.3).
    pub implicit_tls: bool,
}

/// The transport to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// A name or an address literal, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix {
        /// The path.
        path: PathBuf,
    },
    /// The listener is started inside the process.
    Embedded,
}

pub use crate::smtp::script::Protocol;

impl Target {
    /// Returns the embedded listener, in clear text.
    pub fn embedded() -> Target {
        Target { transport: Transport::Embedded, protocol: Protocol::Smtp, implicit_tls: false }
    }

    /// Returns a target for SMTP in clear text over TCP.
    pub fn smtp(host: &str, port: u16) -> Target {
        let transport = Transport::Tcp { host: host.to_owned(), port };
        Target { transport, protocol: Protocol::Smtp, implicit_tls: false }
    }

    /// Returns the protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether TLS begins with the first byte.
    pub fn implicit_tls(&self) -> bool {
        self.implicit_tls
    }

    /// Whether the listener is started inside the process.
    pub fn is_embedded(&self) -> bool {
        self.transport == Transport::Embedded
    }

    /// Returns the name or address literal to connect to, if the transport has one.
    pub fn host(&self) -> Option<&str> {
        match &self.transport {
            Transport::Tcp { host, .. } => Some(host),
            Transport::Unix { .. } | Transport::Embedded => None,
        }
    }

    fn scheme(&self) -> &'static str {
        match (self.protocol, self.implicit_tls) {
            (Protocol::Smtp, false) => "smtp",
            (Protocol::Smtp, true) => "smtps",
            (Protocol::Lmtp, _) => "lmtp",
        }
    }
}

/// Why a text is not a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// An unknown scheme.
    #[error(
        "\"{0}\" is no target: write host:port or smtp://host:port, smtps://host:port, lmtp://host:port, smtp+unix:path, lmtp+unix:path, or embedded"
    )]
    Scheme(String),
    /// No port.
    #[error("the target \"{0}\" has no port: write {1}://host:port, for example {0}:{2}")]
    Port(String, &'static str, u16),
    /// A port that is not a number from 1 to 65535.
    #[error("\"{0}\" is no port: a number from 1 to 65535 is needed")]
    PortNumber(String),
    /// No host.
    #[error("the target \"{0}\" has no host: write {1}://host:port")]
    Host(String, &'static str),
    /// An IPv6 address without brackets, which cannot be told apart from its port.
    #[error("the target \"{0}\" has an IPv6 address without brackets: write {1}://[address]:port")]
    Brackets(String, &'static str),
    /// A user or a password. The error does not repeat the text.
    #[error(
        "the target has a user or a password before its host (`...@`), and credentials do not belong in a URL: remove them, and log in with --auth plain --user-env U --password-env P, or in the profile with [session] auth = {{ mechanism = \"plain\", user_env = \"U\", password_env = \"P\" }}"
    )]
    Credentials,
    /// No path of a unix socket, or a path that the kernel does not accept.
    #[error("the target \"{0}\" has no path of a unix socket: {1}")]
    Path(String, &'static str),
}

/// The longest path of a unix socket: `sun_path` less its final NUL (unix(7)).
pub const MAX_UNIX_PATH: usize = 107;

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text == "embedded" {
            return Ok(Target::embedded());
        }
        // In the path of a unix socket `@` is an ordinary character.
        let is_path = |scheme: &str| text.strip_prefix(scheme).is_some_and(|path| !path.starts_with("//"));
        let has_user = text.contains('@') || text.contains("%40");
        if has_user && !is_path("smtp+unix:") && !is_path("lmtp+unix:") {
            return Err(TargetError::Credentials);
        }
        for (prefix, protocol) in [("smtp+unix:", Protocol::Smtp), ("lmtp+unix:", Protocol::Lmtp)] {
            if let Some(path) = text.strip_prefix(prefix) {
                let transport = Transport::Unix { path: unix_path(text, path)? };
                return Ok(Target { transport, protocol, implicit_tls: false });
            }
        }
        let unknown = || TargetError::Scheme(text.to_owned());
        let (scheme, rest) = match text.split_once("://") {
            Some(parts) => parts,
            None if is_authority(text) => ("smtp", text),
            None => return Err(unknown()),
        };
        let has_scheme = rest.len() < text.len();
        let (scheme, usual, protocol, implicit_tls) = match scheme {
            "smtp" => ("smtp", 25, Protocol::Smtp, false),
            "smtps" => ("smtps", 465, Protocol::Smtp, true),
            "lmtp" => ("lmtp", 24, Protocol::Lmtp, false),
            _ => return Err(unknown()),
        };
        let no_host = || TargetError::Host(text.to_owned(), scheme);
        let no_port = || TargetError::Port(text.trim_end_matches('/').to_owned(), scheme, usual);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let with_port;
        let rest = match rest.rsplit(']').next().is_some_and(|tail| tail.contains(':')) {
            false if !has_scheme => {
                with_port = format!("{rest}:{usual}");
                with_port.as_str()
            }
            _ => rest,
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed.split_once(']').ok_or_else(no_host)?;
                // Only an IPv6 address stands in brackets.
                if !matches!(host.parse(), Ok(IpAddr::V6(_))) {
                    return Err(no_host());
                }
                (host, after.strip_prefix(':').ok_or_else(no_port)?)
            }
            // An IPv6 address without brackets: its last group would be read as the port.
            None if rest.matches(':').count() > 1 => {
                return Err(TargetError::Brackets(text.to_owned(), scheme));
            }
            None => rest.rsplit_once(':').ok_or_else(no_port)?,
        };
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(no_host());
        }
        let port =
            port.parse().ok().filter(|p| *p > 0).ok_or_else(|| TargetError::PortNumber(port.to_owned()))?;
        Ok(Target { transport: Transport::Tcp { host: host.to_owned(), port }, protocol, implicit_tls })
    }
}

/// Whether a text without a scheme can be `host` or `host:port`. A scheme without its slashes, or a misspelt
/// `embedded`, can be neither.
fn is_authority(text: &str) -> bool {
    let host = text.split(':').next().unwrap_or_default();
    let is_scheme =
        host.len() < text.len() && ["smtp", "smtps", "lmtp", "unix", "http", "https"].contains(&host);
    !text.is_empty()
        && !text.contains(['/', ' '])
        && !is_scheme
        && strsim::damerau_levenshtein(text, "embedded") > 2
}

fn unix_path(text: &str, path: &str) -> Result<PathBuf, TargetError> {
    let fault = |why| Err(TargetError::Path(text.to_owned(), why));
    match path {
        // In unix:///run/x the two slashes of an empty authority come before the path, as in other URLs.
        _ if path.starts_with("//") && !path.starts_with("///") => {
            fault("write it as it is, as in lmtp+unix:/run/lmtp.sock")
        }
        "" => fault("write it as it is, as in lmtp+unix:/run/lmtp.sock"),
        _ if path.contains('\0') => fault("it holds a NUL"),
        _ if path.trim_start_matches("//").len() > MAX_UNIX_PATH => {
            fault("the kernel takes 107 bytes at the most")
        }
        _ => Ok(Path::new(path.strip_prefix("//").unwrap_or(path)).to_owned()),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme();
        match &self.transport {
            Transport::Tcp { host, port } if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}"),
            Transport::Tcp { host, port } => write!(f, "{scheme}://{host}:{port}"),
            Transport::Unix { path } => write!(f, "{scheme}+unix:{}", path.display()),
            Transport::Embedded => f.write_str("embedded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written_back() {
        for url in [
            "smtp://127.0.0.1:2525",
            "smtp://[::1]:25",
            "smtp://mx.example:587",
            "smtps://mx.example:465",
            "smtps://[::1]:465",
            "lmtp://127.0.0.1:24",
            "smtp+unix:/run/smtp.sock",
            "lmtp+unix:/run/lmtp.sock",
            "lmtp+unix:./lmtp.sock",
            "embedded",
        ] {
            assert_eq!(url.parse::<Target>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn a_host_without_a_scheme_means_smtp_and_port_25() {
        for (text, url) in [
            ("127.0.0.1:2525", "smtp://127.0.0.1:2525"),
            ("localhost", "smtp://localhost:25"),
            ("mx.example:587", "smtp://mx.example:587"),
            ("192.0.2.1", "smtp://192.0.2.1:25"),
            ("[::1]", "smtp://[::1]:25"),
            ("[::1]:2525", "smtp://[::1]:2525"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn a_target_says_its_transport_protocol_and_tls() {
        let of = |text: &str| {
            let target: Target = text.parse().unwrap();
            (target.transport.clone(), target.protocol(), target.implicit_tls())
        };
        let tcp = |host: &str, port| Transport::Tcp { host: host.into(), port };
        let unix = |path: &str| Transport::Unix { path: path.into() };
        assert_eq!(of("smtp://h:25"), (tcp("h", 25), Protocol::Smtp, false));
        assert_eq!(of("smtps://[::1]:465/"), (tcp("::1", 465), Protocol::Smtp, true));
        assert_eq!(of("lmtp://h:24"), (tcp("h", 24), Protocol::Lmtp, false));
        assert_eq!(of("smtp+unix:/a b"), (unix("/a b"), Protocol::Smtp, false));
        assert_eq!(of("lmtp+unix:///run/x"), (unix("/run/x"), Protocol::Lmtp, false));
        assert_eq!(of("embedded"), (Transport::Embedded, Protocol::Smtp, false));
    }

    #[test]
    fn credentials_in_a_target_are_refused_and_not_repeated() {
        for text in [
            "smtp://joe:s3cret@h:25",
            "smtps://joe@h:465",
            "smtp://joe:s3cret@h",
            "smtp://joe:s3/cret@[::1]:25",
            "smtp://joe:s3%40cret@h:25",
            "smtp://joe:s3cret%40h:25",
            "lmtp://:s3cret@h:24",
            "http://joe:s3cret@h:25",
            "joe:s3cret@h:25",
            "joe:s3cret@h",
            "smtp+unix://joe:s3cret@h/x",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert_eq!(error, TargetError::Credentials, "{text}");
            let said = error.to_string();
            assert!(
                !said.contains("cret") && !said.contains("joe") && said.contains("--auth plain"),
                "{said}"
            );
        }
        assert!("smtp+unix:/run/joe@h.sock".parse::<Target>().is_ok());
    }

    #[test]
    fn a_bad_target_names_what_is_missing() {
        let error = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        assert!(error("smtp://127.0.0.1").contains("no port"));
        assert!(error("smtps://mx.example/").contains("for example smtps://mx.example:465"));
        assert!(error("lmtp://[::1]").contains("for example lmtp://[::1]:24"));
        assert!(error("smtp://:25").contains("no host"));
        assert!(error("smtp://[mx.example]:25").contains("no host"));
        assert!(error("smtp://::1:25").contains("write smtp://[address]:port"));
        assert!(error("smtp://h:0").contains("no port: a number"));
        assert!(error("smtp://h:x").contains("is no port"));
        assert!(error("http://h:25").contains("no target"));
        for text in ["", "embeded", "smtp:mx.example", "unix:/run/x", "mx.example/"] {
            assert!(error(text).contains("is no target"), "{text}: {}", error(text));
        }
        assert!(error("::1").contains("write smtp://[address]:port"));
        assert!(error("mx.example:0").contains("is no port") && error(":25").contains("no host"));
        assert!(error("smtp+unix:").contains("write it as it is"));
        assert!(error("smtp+unix://host/path").contains("write it as it is"));
        assert!(error(&format!("lmtp+unix:/{}", "x".repeat(107))).contains("107 bytes"));
        assert!(format!("lmtp+unix:/{}", "x".repeat(106)).parse::<Target>().is_ok());
    }
}
