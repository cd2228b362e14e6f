//! The place where a listener listens, as the user writes it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::MAX_UNIX_PATH;

/// The place where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// TCP. Port 0 takes a free port.
    Tcp(SocketAddr),
    /// A unix socket, created at the start and removed at the end.
    Unix(PathBuf),
}

/// Why a text is not a place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Neither an address with its port nor a path.
    #[error("{0:?} is no address to listen on: write 127.0.0.1:2525, [::1]:2525 or unix:/path/of/a.sock")]
    Address(String),
    /// A path that the kernel does not accept.
    #[error("{0:?} is no path of a unix socket: the kernel takes 1 to 107 bytes without a NUL")]
    Path(String),
}

impl FromStr for Bind {
    type Err = BindError;

    fn from_str(text: &str) -> Result<Bind, BindError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.len() > MAX_UNIX_PATH || path.contains('\0') {
                return Err(BindError::Path(path.to_owned()));
            }
            return Ok(Bind::Unix(path.into()));
        }
        text.parse().map(Bind::Tcp).map_err(|_| BindError::Address(text.to_owned()))
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Bind {
        Bind::Tcp(address)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => write!(f, "{address}"),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written_back() {
        for text in ["127.0.0.1:2525", "[::1]:0", "unix:/run/x.sock", "unix:x.sock"] {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
        }
        for text in ["", "localhost:25", "127.0.0.1", ":25", "/run/x.sock"] {
            assert!(text.parse::<Bind>().unwrap_err().to_string().contains("write 127.0.0.1:2525"), "{text}");
        }
        for path in ["", "\0", &"x".repeat(108)] {
            let error = format!("unix:{path}").parse::<Bind>().unwrap_err();
            assert!(error.to_string().contains("1 to 107 bytes"), "{error}");
        }
    }
}
