//! The server's side of logins: the known users, and the evaluation of a client's responses by each mechanism.
//!
//! Like the client's side, this module handles decoded messages.
//!
//! # Decisions
//! - This side shares no parser with the client's side: a test of both sides would not show a bug in a shared parser.
//!   Both sides use `rsasl` for SCRAM, so the examples of the RFCs test SCRAM independently.
//! - A user has one secret: a password or a token.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::scram::{self, StoredPassword, prepared};
use super::{Mechanism, Secret, cram};

/// The users that may log in.
#[derive(Default)]
pub struct Users {
    /// The users by name after SASLprep.
    by_name: HashMap<String, usize>,
    known: Vec<Known>,
}

struct Known {
    name: String,
    secret: Secret,
    /// Computed at the first use by SCRAM.
    stored: OnceLock<StoredPassword>,
}

impl Users {
    /// Creates users from names and secrets. If two entries have the same name, the last one is used.
    pub fn new(users: impl IntoIterator<Item = (String, Secret)>) -> Users {
        let mut all = Users::default();
        for (name, secret) in users {
            let known = Known { name: name.clone(), secret, stored: OnceLock::new() };
            match all.find(&name) {
                Some(index) => all.known[index] = known,
                None => {
                    all.by_name.insert(prepared(&name).into_owned(), all.known.len());
                    all.known.push(known);
                }
            }
        }
        all
    }

    /// Returns the number of users.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are no users.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns the names of the users, by number.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|known| known.name.as_str())
    }

    /// Returns the number of a user. Names that are equal after SASLprep are one user.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(prepared(name).as_ref()).copied()
    }

    pub(super) fn stored(&self, index: usize) -> &StoredPassword {
        let known = &self.known[index];
        known.stored.get_or_init(|| StoredPassword::new(&known.secret, self.salt(&known.name)))
    }

    /// Returns the salt of a name, known or not. It is always the same, as in a real server, so that clients can cache
    /// their keys.
    pub(super) fn salt(&self, name: &str) -> [u8; 16] {
        xxhash_rust::xxh3::xxh3_128(name.as_bytes()).to_le_bytes()
    }

    /// Checks the secret of a user. The comparison is not constant in time, because these secrets are for tests.
    fn check(&self, name: &str, secret: &str) -> AuthReply {
        match self.find(name) {
            Some(index) if prepared(self.known[index].secret.reveal()) == prepared(secret) => {
                AuthReply::Accepted(index)
            }
            _ => AuthReply::Denied,
        }
    }
}

impl PartialEq for Users {
    fn eq(&self, other: &Users) -> bool {
        let pairs = |users: &Users| -> Vec<(String, Secret)> {
            users.known.iter().map(|known| (known.name.clone(), known.secret.clone())).collect()
        };
        pairs(self) == pairs(other)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The next step after a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthReply {
    /// The next challenge.
    Challenge(Vec<u8>),
    /// Success, with the number of the user.
    Accepted(usize),
    /// The credentials are wrong.
    Denied,
    /// The response does not follow the mechanism.
    Malformed,
}

/// The server's side of one exchange.
pub struct AuthVerifier {
    users: Arc<Users>,
    state: VerifierState,
}

enum VerifierState {
    Plain,
    /// LOGIN, with the user name once it is known.
    Login(Option<String>),
    /// CRAM-MD5, with its challenge.
    CramMd5(Vec<u8>),
    Scram(Box<scram::ScramServer>),
    Bearer {
        standard: bool,
    },
    /// A token was wrong. The client got the reason and must acknowledge it.
    Refused,
}

impl fmt::Debug for AuthVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthVerifier")
    }
}

impl AuthVerifier {
    /// Creates an exchange. `binding` is the session's channel binding, and `unique` a text that makes the challenge
    /// unique.
    pub fn new(
        mechanism: Mechanism,
        users: Arc<Users>,
        binding: Option<&[u8]>,
        unique: &str,
    ) -> AuthVerifier {
        let scram =
            |plus| VerifierState::Scram(Box::new(scram::ScramServer::new(users.clone(), binding, plus)));
        let state = match mechanism {
            Mechanism::Plain => VerifierState::Plain,
            Mechanism::Login => VerifierState::Login(None),
            Mechanism::CramMd5 => VerifierState::CramMd5(format!("<{unique}>").into_bytes()),
            Mechanism::ScramSha256 => scram(false),
            Mechanism::ScramSha256Plus => scram(true),
            Mechanism::Xoauth2 => VerifierState::Bearer { standard: false },
            Mechanism::Oauthbearer => VerifierState::Bearer { standard: true },
        };
        AuthVerifier { users, state }
    }

    /// Returns the next step after the AUTH command, with its initial response if it had one.
    pub fn begin(&mut self, initial: Option<&[u8]>) -> AuthReply {
        match (&self.state, initial) {
            (VerifierState::CramMd5(challenge), None) => AuthReply::Challenge(challenge.clone()),
            // With CRAM-MD5 the server sends the first challenge (RFC 4954 4).
            (VerifierState::CramMd5(_), Some(_)) => AuthReply::Malformed,
            (VerifierState::Login(_), None) => AuthReply::Challenge(b"Username:".to_vec()),
            (_, None) => AuthReply::Challenge(Vec::new()),
            (_, Some(initial)) => self.hear(initial),
        }
    }

    /// Returns the next step after a response.
    pub fn hear(&mut self, response: &[u8]) -> AuthReply {
        if let VerifierState::Scram(server) = &mut self.state {
            return server.hear(response);
        }
        let Ok(text) = std::str::from_utf8(response) else { return AuthReply::Malformed };
        match &mut self.state {
            VerifierState::Plain => self.plain(text).unwrap_or(AuthReply::Malformed),
            VerifierState::Login(user) => match user.take() {
                None => {
                    *user = Some(text.to_owned());
                    AuthReply::Challenge(b"Password:".to_vec())
                }
                Some(user) => self.users.check(&user, text),
            },
            VerifierState::CramMd5(challenge) => {
                let Some((name, digest)) = text.rsplit_once(' ') else { return AuthReply::Malformed };
                match self.users.find(name) {
                    Some(index) if cram::digest(&self.users.known[index].secret, challenge) == digest => {
                        AuthReply::Accepted(index)
                    }
                    _ => AuthReply::Denied,
                }
            }
            VerifierState::Bearer { standard } => {
                let (status, token) = match *standard {
                    true => ("invalid_token", oauthbearer(text)),
                    false => ("401", xoauth2(text)),
                };
                let Some((user, token)) = token else { return AuthReply::Malformed };
                match self.users.check(&user, token) {
                    AuthReply::Accepted(index) => AuthReply::Accepted(index),
                    _ => {
                        self.state = VerifierState::Refused;
                        AuthReply::Challenge(format!("{{\"status\":\"{status}\"}}").into_bytes())
                    }
                }
            }
            VerifierState::Refused => AuthReply::Denied,
            VerifierState::Scram(_) => AuthReply::Malformed,
        }
    }

    /// Checks `[authzid] NUL authcid NUL passwd` (RFC 4616 2). A user may not act as another user.
    fn plain(&self, text: &str) -> Option<AuthReply> {
        let mut parts = text.split('\0');
        let (other, name, secret) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || name.is_empty() || secret.is_empty() {
            return None;
        }
        Some(if other.is_empty() || other == name {
            self.users.check(name, secret)
        } else {
            AuthReply::Denied
        })
    }
}

/// Returns user and token of `user=...^Aauth=Bearer ...^A^A`.
fn xoauth2(text: &str) -> Option<(String, &str)> {
    let (user, auth) = text.strip_suffix("\x01\x01")?.split_once('\x01')?;
    Some((user.strip_prefix("user=")?.to_owned(), bearer(auth)?))
}

/// Returns user and token of `n,a=user,^A(key=value^A)*^A` (RFC 7628 3.1).
fn oauthbearer(text: &str) -> Option<(String, &str)> {
    let (header, pairs) = text.strip_suffix("\x01\x01")?.split_once('\x01')?;
    let mut parts = header.split(',');
    let (_flag, name, end) = (parts.next()?, parts.next()?, parts.next()?);
    if !end.is_empty() || parts.next().is_some() {
        return None;
    }
    let user = name.strip_prefix("a=")?.replace("=2C", ",").replace("=3D", "=");
    Some((user, pairs.split('\x01').find_map(bearer)?))
}

/// Returns the token of `auth=Bearer token`. The scheme may be in upper or lower case (RFC 7235 2.1).
fn bearer(pair: &str) -> Option<&str> {
    let (scheme, token) = pair.strip_prefix("auth=")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start_matches(' '))
}
