//! SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677), both sides. `rsasl` ("the crate" below) runs the exchange. This module
//! supplies the credentials and limits the cost.
//!
//! # Decisions
//! - A salted password costs thousands of hashes. Each login caches its first salted password (RFC 5802 5.1). Otherwise
//!   the generator would measure its own work. If a listener gives a user another salt in each session, each session
//!   computes the hashes again.
//! - A listener that asks for more than [`MOST_ITERATIONS`] rounds is refused, because the computation would delay all
//!   sessions of the thread.
//! - Without -PLUS the client sends `n`: no channel binding.
//! - The crate's parser panics if an attribute lacks its letter or its `=`. Input from the network is checked first.
//! - The server's side answers an unknown user like a known one with a wrong password.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::{Iterations, Salt, SaltedPassword, ScramStoredPassword};
use rsasl::mechanisms::scram::tools::{derive_keys, hash_password};
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::prelude::{
    ChannelBindingCallback, Mechanism, Registry, SASLClient, SASLConfig, SASLServer, Session, SessionError,
    Validation,
};
use rsasl::property::{AuthId, AuthzId};
use rsasl::validate::{NoValidation, Validate, ValidationError};
use sha2::{Digest, Sha256};

use super::verify::{AuthReply, Users};
use super::{AuthExchange, Login, Secret};

/// The largest number of hash rounds that a listener may ask for.
pub(super) const MOST_ITERATIONS: u32 = 1_000_000;
/// The number of rounds that the server's side asks for (RFC 7677 4).
pub(super) const ITERATIONS: u32 = 4096;

static PLAIN: &[Mechanism] = &[SCRAM_SHA256];
static PLUS: &[Mechanism] = &[SCRAM_SHA256_PLUS];
/// The mechanisms of a server that offers -PLUS. With both registered, the crate refuses a client that supports channel
/// binding and did not use it: the client was downgraded (RFC 5802 6).
static BOTH: &[Mechanism] = &[SCRAM_SHA256, SCRAM_SHA256_PLUS];

/// A salted password, with its salt and rounds.
#[derive(Clone, Default)]
pub(super) struct Keys(Arc<OnceLock<Salted>>);

struct Salted {
    salt: Vec<u8>,
    iterations: u32,
    password: [u8; 32],
}

impl PartialEq for Keys {
    /// Always true: the cached value does not count for equality.
    fn eq(&self, _other: &Keys) -> bool {
        true
    }
}

impl Eq for Keys {}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Keys {
    pub fn salted(&self, secret: &Secret, salt: &[u8], iterations: u32) -> [u8; 32] {
        let password = || salted(secret, salt, iterations);
        let kept = self.0.get_or_init(|| Salted { salt: salt.to_vec(), iterations, password: password() });
        let same = (kept.salt.as_slice(), kept.iterations) == (salt, iterations);
        if same { kept.password } else { password() }
    }
}

/// Returns the salted password. A password that SASLprep forbids is used unchanged.
fn salted(secret: &Secret, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut salted = Default::default();
    hash_password::<Sha256>(prepared(secret.reveal()).as_bytes(), iterations, salt, &mut salted);
    salted.into()
}

/// Returns a name or password after SASLprep (RFC 4013).
pub(super) fn prepared(text: &str) -> std::borrow::Cow<'_, str> {
    stringprep::saslprep(text).unwrap_or(text.into())
}

/// The channel binding of a session: `tls-exporter`, if there is one.
struct ChannelBinding(Option<Box<[u8]>>);

impl ChannelBindingCallback for ChannelBinding {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        self.0.as_deref().filter(|_| name == "tls-exporter")
    }
}

/// The client's data that the crate asks for.
struct Credentials {
    user: String,
    secret: Secret,
    keys: Keys,
    plus: bool,
}

impl SessionCallback for Credentials {
    fn callback(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request.satisfy::<AuthId>(&self.user)?;
        if request.is::<SaltedPassword>()
            && let (Some(salt), Some(iterations)) =
                (context.get_ref::<Salt>(), context.get_ref::<Iterations>())
            && *iterations <= MOST_ITERATIONS
        {
            request.satisfy::<SaltedPassword>(&self.keys.salted(&self.secret, salt, *iterations))?;
        }
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.plus
    }
}

/// The client's side of one exchange.
pub(super) struct ScramClient {
    /// `None` once the exchange is over or has failed, because the crate's machine must not be called again.
    session: Option<Session<NoValidation, ChannelBinding>>,
    proved: bool,
}

impl ScramClient {
    /// Creates an exchange. `binding` is `Some` for -PLUS, and holds the channel binding if there is one.
    pub fn new(login: &Login, binding: Option<Option<&[u8]>>) -> ScramClient {
        let credentials = Credentials {
            user: prepared(&login.user).into_owned(),
            secret: login.secret.clone(),
            keys: login.keys.clone(),
            plus: binding.is_some(),
        };
        let mechanisms = if credentials.plus { PLUS } else { PLAIN };
        let binding = ChannelBinding(binding.flatten().map(Into::into));
        let config = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(mechanisms))
            .with_callback(credentials);
        let session = config.ok().and_then(|config| {
            let names = mechanisms.iter().map(|mechanism| mechanism.mechanism);
            SASLClient::with_cb(config, binding).start_suggested_iter(names).ok()
        });
        ScramClient { session, proved: false }
    }

    fn step(&mut self, input: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut session = self.session.take()?;
        if input.is_some_and(|input| !are_attributes(input.split(is_comma))) {
            return None;
        }
        let mut out = Vec::new();
        let state = session.step(input, &mut out).ok()?;
        if state.is_running() {
            self.session = Some(session);
        } else {
            self.proved = true;
        }
        Some(out)
    }
}

impl fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scram {{ proved: {} }}", self.proved)
    }
}

impl AuthExchange for ScramClient {
    fn initial(&mut self) -> Option<Vec<u8>> {
        self.step(None)
    }

    fn respond(&mut self, challenge: &[u8]) -> Option<Vec<u8>> {
        self.step(Some(challenge))
    }

    fn is_done(&self) -> bool {
        self.proved
    }
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

/// Whether the part is a letter, `=`, and a value (RFC 5802 5.1).
fn is_attribute(part: &[u8]) -> bool {
    part.len() >= 2 && part[1] == b'='
}

fn are_attributes<'a>(mut parts: impl Iterator<Item = &'a [u8]>) -> bool {
    parts.all(is_attribute)
}

/// What the server's side stores for a password (RFC 5802 3).
pub(super) struct StoredPassword {
    salt: [u8; 16],
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl StoredPassword {
    pub fn new(secret: &Secret, salt: [u8; 16]) -> StoredPassword {
        let (client_key, server_key) = derive_keys::<Sha256>(&salted(secret, &salt, ITERATIONS));
        StoredPassword { salt, stored_key: Sha256::digest(client_key).into(), server_key: server_key.into() }
    }
}

/// The key under which the crate returns the user of a session.
struct User;

impl Validation for User {
    type Value = Option<usize>;
}

/// The server's data that the crate asks for.
struct Directory(Arc<Users>);

impl Directory {
    /// Returns the user that a client names. The crate leaves the name encoded as a saslname.
    fn named(&self, context: &Context<'_>) -> (String, Option<usize>) {
        let name = context.get_ref::<AuthId>().unwrap_or_default().replace("=2C", ",").replace("=3D", "=");
        let found = self.0.find(&name);
        (name, found)
    }
}

impl SessionCallback for Directory {
    fn callback(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        if !request.is::<ScramStoredPassword<'_>>() {
            return Ok(());
        }
        let (name, found) = self.named(context);
        let satisfy = |request: &mut Request<'_>, salt: &[u8], stored: &[u8], server: &[u8]| {
            let answer = ScramStoredPassword::new(ITERATIONS, salt, stored, server);
            request.satisfy::<ScramStoredPassword<'_>>(&answer).map(drop)
        };
        match found {
            Some(index) => {
                let StoredPassword { salt, stored_key, server_key } = self.0.stored(index);
                satisfy(request, salt, stored_key, server_key)
            }
            // No password has these keys.
            None => satisfy(request, &self.0.salt(&name), &[0; 32], &[0; 32]),
        }
    }

    fn validate(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let (name, found) = self.named(context);
        // A user may not act as another user.
        let itself = context.get_ref::<AuthzId>().is_none_or(|other| other.is_empty() || other == name);
        validate.finalize::<User>(found.filter(|_| itself));
        Ok(())
    }
}

/// The server's side of one exchange.
pub(super) struct ScramServer {
    session: Option<Session<User, ChannelBinding>>,
    /// Whether the client's first message came.
    started: bool,
    /// The user, once the client has proved its identity and is to get the server's proof.
    user: Option<usize>,
}

impl ScramServer {
    /// Creates an exchange. `binding` is the session's channel binding, if the session has one. `plus` selects -PLUS,
    /// with which the client must use it.
    pub fn new(users: Arc<Users>, binding: Option<&[u8]>, plus: bool) -> ScramServer {
        let registry = if binding.is_some() { BOTH } else { PLAIN };
        let config = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(registry))
            .with_callback(Directory(users));
        let name = if plus { SCRAM_SHA256_PLUS.mechanism } else { SCRAM_SHA256.mechanism };
        let session = config.ok().and_then(|config| {
            SASLServer::<User, ChannelBinding>::with_cb(config, ChannelBinding(binding.map(Into::into)))
                .start_suggested(name)
                .ok()
        });
        ScramServer { session, started: false, user: None }
    }

    pub fn hear(&mut self, response: &[u8]) -> AuthReply {
        if let Some(user) = self.user.take() {
            // The answer to the server's proof is empty.
            return if response.is_empty() { AuthReply::Accepted(user) } else { AuthReply::Malformed };
        }
        let Some(mut session) = self.session.take() else { return AuthReply::Denied };
        let mut parts = response.split(is_comma);
        if !std::mem::replace(&mut self.started, true) {
            // The first message begins with two header parts: a flag, and the identity to act as, which may be empty.
            if parts.next().is_none()
                || !parts.next().is_some_and(|other| other.is_empty() || is_attribute(other))
            {
                return AuthReply::Malformed;
            }
        }
        if !are_attributes(parts) {
            return AuthReply::Malformed;
        }
        let mut out = Vec::new();
        match session.step(Some(response), &mut out) {
            Err(_) => AuthReply::Malformed,
            Ok(state) if state.is_running() => {
                self.session = Some(session);
                AuthReply::Challenge(out)
            }
            Ok(_) => match session.validation().flatten() {
                Some(user) => {
                    self.user = Some(user);
                    AuthReply::Challenge(out)
                }
                None => AuthReply::Denied,
            },
        }
    }
}
