//! Logging in (RFC 4954): who, with which mechanism, and the mechanism's answers to the listener's challenges.
//!
//! It knows nothing of lines and base64: the client's opening puts what is said here on the wire.
//!
//! # Decisions
//! - A secret is a type of its own that does not show itself: no log, result or error can print it by accident.

use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use super::machine::Handshake;

/// The SASL mechanisms that can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The two prompts that were never a standard.
    Login,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }
}

impl FromStr for Mechanism {
    type Err = ();

    /// The registered name, in any case.
    fn from_str(name: &str) -> Result<Self, ()> {
        Mechanism::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name)).ok_or(())
    }
}

/// What must never be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Rc<str>);

impl Secret {
    /// Keeps it.
    pub fn new(secret: &str) -> Secret {
        Secret(secret.into())
    }

    /// For the mechanisms alone.
    fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Who logs in, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The name (authentication identity).
    pub user: Rc<str>,
    /// The password or token.
    pub secret: Secret,
}

impl Login {
    /// The exchange of one session. `tls`: the handshake the session stands on, for channel binding.
    pub fn begin(&self, tls: Option<&Handshake>) -> Box<dyn Exchange> {
        let _ = tls;
        let (user, secret) = (self.user.as_bytes(), self.secret.reveal().as_bytes());
        match self.mechanism {
            Mechanism::Plain => {
                Box::new(Said { parts: vec![[b"\0", user, b"\0", secret].concat()], first: true })
            }
            Mechanism::Login => Box::new(Said { parts: vec![secret.to_vec(), user.to_vec()], first: false }),
        }
    }
}

/// One exchange under way: what is answered to each challenge.
pub trait Exchange: fmt::Debug {
    /// What goes with the AUTH command; `None`: the listener speaks first.
    fn initial(&mut self) -> Option<Vec<u8>>;

    /// The answer to a challenge (decoded); `None`: it is wrong, and the exchange is cancelled (RFC 4954 4).
    fn respond(&mut self, challenge: &[u8]) -> Option<Vec<u8>>;

    /// Whether success may be said now: a mechanism that proves the listener too is not done before that proof.
    fn is_done(&self) -> bool;
}

/// Says one part after the other, whatever the challenges are.
struct Said {
    /// In the reverse order.
    parts: Vec<Vec<u8>>,
    /// The first goes with the command.
    first: bool,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Said({} parts to come)", self.parts.len())
    }
}

impl Exchange for Said {
    fn initial(&mut self) -> Option<Vec<u8>> {
        if self.first { self.parts.pop() } else { None }
    }

    fn respond(&mut self, _challenge: &[u8]) -> Option<Vec<u8>> {
        self.parts.pop()
    }

    fn is_done(&self) -> bool {
        self.parts.is_empty()
    }
}
