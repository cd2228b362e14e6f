//! Logins (RFC 4954): the user, the mechanism, and the client's answers to the listener's challenges.
//!
//! This module handles decoded messages: the client's opening and `listener` encode them in base64 and write the lines.
//! [`verify`] is the server's side.
//!
//! # Decisions
//! - [`Secret`] has no `Display`, and its `Debug` prints a mask: no log, result or error can print a secret by
//!   accident. A [`Redactor`] searches the listener's replies for it.
//! - Crates provide SCRAM, HMAC and SASLprep; mechanisms that only format text are here.

mod bearer;
mod cram;
mod redact;
mod scram;
#[cfg(test)]
mod vectors;
pub mod verify;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::machine::Handshake;

pub use self::redact::{LineRedactor, Redactor};

/// The supported SASL mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The listener prompts for the user name and the password. The mechanism was never standardized.
    Login,
    /// RFC 2195.
    CramMd5,
    /// RFC 7677.
    ScramSha256,
    /// SCRAM-SHA-256 bound to the TLS session by `tls-exporter` (RFC 9266).
    ScramSha256Plus,
    /// Google's mechanism, the predecessor of OAUTHBEARER.
    Xoauth2,
    /// RFC 7628.
    Oauthbearer,
}

impl Mechanism {
    /// All mechanisms.
    pub const ALL: [Mechanism; 7] = [
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::CramMd5,
        Mechanism::ScramSha256,
        Mechanism::ScramSha256Plus,
        Mechanism::Xoauth2,
        Mechanism::Oauthbearer,
    ];

    /// Returns the registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::Xoauth2 => "XOAUTH2",
            Mechanism::Oauthbearer => "OAUTHBEARER",
        }
    }

    /// Whether the secret is a token, not a password.
    pub const fn has_token(self) -> bool {
        matches!(self, Mechanism::Xoauth2 | Mechanism::Oauthbearer)
    }
}

impl FromStr for Mechanism {
    type Err = ();

    /// Parses the registered name, in upper or lower case.
    fn from_str(name: &str) -> Result<Self, ()> {
        Mechanism::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name)).ok_or(())
    }
}

/// A secret, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: &str) -> Secret {
        Secret(secret.into())
    }

    /// Returns the secret, only for mechanisms.
    fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A login. Clones share its cached computations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The name (authentication identity).
    pub user: Arc<str>,
    /// The password or token.
    pub secret: Secret,
    /// The listener's name and port, which only OAUTHBEARER sends (RFC 7628 3.1).
    endpoint: Option<(Arc<str>, u16)>,
    keys: scram::Keys,
}

impl Login {
    /// Creates a login without an endpoint.
    pub fn new(mechanism: Mechanism, user: &str, secret: Secret) -> Login {
        Login { mechanism, user: user.into(), secret, endpoint: None, keys: scram::Keys::default() }
    }

    /// Returns the login with an `endpoint`.
    #[must_use]
    pub fn to(self, endpoint: Option<(Arc<str>, u16)>) -> Login {
        Login { endpoint, ..self }
    }

    /// Starts the exchange of one session. `tls` is the session's handshake, for channel binding.
    pub fn begin(&self, tls: Option<&Handshake>) -> Box<dyn AuthExchange> {
        let (user, secret) = (self.user.as_bytes(), self.secret.reveal().as_bytes());
        match self.mechanism {
            Mechanism::Plain => {
                Box::new(Said { parts: vec![[b"\0", user, b"\0", secret].concat()], first: true })
            }
            Mechanism::Login => Box::new(Said { parts: vec![secret.to_vec(), user.to_vec()], first: false }),
            Mechanism::CramMd5 => Box::new(cram::CramClient::new(&self.user, &self.secret)),
            Mechanism::ScramSha256 => Box::new(scram::ScramClient::new(self, None)),
            Mechanism::ScramSha256Plus => {
                Box::new(scram::ScramClient::new(self, Some(tls.and_then(|tls| tls.binding.as_deref()))))
            }
            Mechanism::Xoauth2 => Box::new(bearer::BearerClient::xoauth2(&self.user, &self.secret)),
            Mechanism::Oauthbearer => {
                let endpoint = self.endpoint.as_ref().map(|(host, port)| (host.as_ref(), *port));
                Box::new(bearer::BearerClient::oauthbearer(&self.user, &self.secret, endpoint))
            }
        }
    }

    /// Returns a redactor that removes the secret from received text.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(&self.secret)
    }
}

/// An exchange in progress, which answers challenges.
pub trait AuthExchange: fmt::Debug {
    /// Returns the initial response; `None` if the listener sends the first challenge.
    fn initial(&mut self) -> Option<Vec<u8>>;

    /// Returns the answer to a decoded challenge; `None` if the challenge is wrong, which cancels the exchange (RFC
    /// 4954 4).
    fn respond(&mut self, challenge: &[u8]) -> Option<Vec<u8>>;

    /// Whether this challenge asks for the initial response once more, because the listener ignored the initial
    /// response in the command. [`AuthExchange::respond`] answers every other challenge.
    fn asks_again(&self, challenge: &[u8]) -> bool {
        challenge.is_empty()
    }

    /// Whether the answer depends on the challenge. If not, a challenge that is not base64 is answered too.
    fn reads_challenges(&self) -> bool {
        true
    }

    /// Whether a success reply (235) is valid now. A mechanism that also authenticates the listener needs the
    /// listener's proof first.
    fn is_done(&self) -> bool;
}

/// An exchange that sends its parts one after the other and ignores the challenges.
struct Said {
    /// The parts in reverse order.
    parts: Vec<Vec<u8>>,
    /// Whether the AUTH command carries the first part.
    first: bool,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Said({} parts to come)", self.parts.len())
    }
}

impl AuthExchange for Said {
    fn initial(&mut self) -> Option<Vec<u8>> {
        if self.first { self.parts.pop() } else { None }
    }

    fn respond(&mut self, _challenge: &[u8]) -> Option<Vec<u8>> {
        self.parts.pop()
    }

    /// Whether all parts are sent. Then the listener can only ask for the parts again, whatever its challenge is.
    fn asks_again(&self, _challenge: &[u8]) -> bool {
        self.parts.is_empty()
    }

    fn reads_challenges(&self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        self.parts.is_empty()
    }
}
