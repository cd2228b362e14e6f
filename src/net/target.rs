//! Where the load goes: the target's URL, and whether it may be sent there.

pub mod tls;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A listener's address as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `smtp://host:port`.
    Smtp {
        /// A name or an address literal.
        host: String,
        /// The port.
        port: u16,
    },
    /// `embedded`: the listener is started inside the process.
    Embedded,
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a scheme that is known.
    #[error("\"{0}\" is no target: write smtp://host:port, or embedded")]
    Scheme(String),
    /// A scheme that the contract knows and this version cannot speak yet.
    #[error("{0} is not supported yet: this version speaks smtp://host:port, or embedded")]
    Unsupported(String),
    /// No port.
    #[error("the target \"{0}\" has no port: write smtp://host:port, for example {0}:25")]
    Port(String),
    /// A port that is no number from 1 to 65535.
    #[error("\"{0}\" is no port: a number from 1 to 65535 is needed")]
    PortNumber(String),
    /// No host.
    #[error("the target \"{0}\" has no host: write smtp://host:port")]
    Host(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text == "embedded" {
            return Ok(Target::Embedded);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            if text.starts_with("lmtp+unix:") || text.starts_with("smtp+unix:") {
                return Err(TargetError::Unsupported(text.to_owned()));
            }
            return Err(TargetError::Scheme(text.to_owned()));
        };
        match scheme {
            "smtp" => {}
            "smtps" | "lmtp" => return Err(TargetError::Unsupported(format!("{scheme}://"))),
            _ => return Err(TargetError::Scheme(text.to_owned())),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) =
                    bracketed.split_once(']').ok_or_else(|| TargetError::Host(text.to_owned()))?;
                (host, after.strip_prefix(':').ok_or_else(|| TargetError::Port(text.to_owned()))?)
            }
            None => rest.rsplit_once(':').ok_or_else(|| TargetError::Port(text.to_owned()))?,
        };
        if host.is_empty() || host.contains([':', '/', '@', ' ']) && host.parse::<IpAddr>().is_err() {
            return Err(TargetError::Host(text.to_owned()));
        }
        let port =
            port.parse().ok().filter(|p| *p > 0).ok_or_else(|| TargetError::PortNumber(port.to_owned()))?;
        Ok(Target::Smtp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Smtp { host, port } if host.contains(':') => write!(f, "smtp://[{host}]:{port}"),
            Target::Smtp { host, port } => write!(f, "smtp://{host}:{port}"),
            Target::Embedded => f.write_str("embedded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written_back() {
        for url in ["smtp://127.0.0.1:2525", "smtp://[::1]:25", "smtp://mx.example:587", "embedded"] {
            assert_eq!(url.parse::<Target>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn a_bad_target_names_what_is_missing() {
        let error = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        assert!(error("smtp://127.0.0.1").contains("no port"));
        assert!(error("smtp://:25").contains("no host"));
        assert!(error("smtp://h:0").contains("no port: a number"));
        assert!(error("smtp://h:x").contains("is no port"));
        assert!(error("http://h:25").contains("no target"));
        assert!(error("127.0.0.1:25").contains("write smtp://host:port"));
        assert!(error("smtps://h:465").contains("not supported yet"));
    }
}
