//! AUTH at the embedded listener (RFC 4954): the offer, the exchange of a session in lines of base64, and the number of
//! logins of each user. The mechanisms are in `smtp::auth`, the texts in `dialects`.
//!
//! # Decisions
//! - AUTH is offered in clear text even if encryption is required, so that a test can measure the refusal.
//! - The listener never repeats or stores the responses of a client.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::dialects::Saying;
use super::ledger::LedgerSnapshot;
use super::limits::Limits;
use crate::smtp::auth::Mechanism;
use crate::smtp::auth::verify::{AuthReply, AuthVerifier};
use crate::smtp::machine::Handshake;

/// The login of one session.
#[derive(Debug, Default)]
pub(super) struct Access {
    exchange: Option<Box<AuthVerifier>>,
    user: Option<u32>,
    failures: u32,
    secured: bool,
    binding: Option<Box<[u8]>>,
}

/// The next reply of the exchange.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LoginStep {
    /// A 334 reply with this text.
    Challenge(String),
    /// The final reply of the exchange.
    Said(Saying),
}

impl Access {
    /// Notes that the session has TLS. An earlier login is forgotten (RFC 3207 4.2).
    pub fn secured(&mut self, handshake: &Handshake) {
        *self = Access {
            failures: self.failures,
            secured: true,
            binding: handshake.binding.as_deref().map(Into::into),
            ..Access::default()
        };
    }

    /// Forgets the login, because XCLIENT started the session again. If it announced another client, the failures
    /// are forgotten too.
    pub fn anew(&mut self, is_other: bool) {
        (self.exchange, self.user) = (None, None);
        if is_other {
            self.failures = 0;
        }
    }

    /// Returns the user that is logged in.
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// Returns the line of the answer to EHLO, if a mechanism is offered.
    pub fn offer(&self, limits: &Limits) -> Option<String> {
        let names = Mechanism::ALL.into_iter().filter(|mechanism| self.offers(limits, *mechanism));
        let names: String = names.flat_map(|mechanism| [" ", mechanism.as_str()]).collect();
        (!names.is_empty()).then(|| format!("AUTH{names}"))
    }

    fn offers(&self, limits: &Limits, mechanism: Mechanism) -> bool {
        limits.users.is_some()
            && limits.mechanisms.contains(&mechanism)
            && (mechanism != Mechanism::ScramSha256Plus || self.binding.is_some())
    }

    /// Processes the AUTH command with its argument. `unique` makes the challenge unique.
    pub fn command(&mut self, limits: &Limits, argument: &str, unique: &str) -> LoginStep {
        let mut words = argument.split(' ').filter(|word| !word.is_empty());
        let (name, initial) = (words.next().unwrap_or_default(), words.next());
        let refusal = if limits.auth_requires_encryption && !self.secured {
            Saying::EncryptionRequired
        } else if limits.users.is_none() && !limits.require_auth {
            Saying::AuthNotAvailable
        } else if name.is_empty() || words.next().is_some() {
            Saying::AuthArguments
        } else {
            Saying::AuthMechanism
        };
        let mechanism = name.parse().ok().filter(|mechanism| self.offers(limits, *mechanism));
        let (Saying::AuthMechanism, Some(mechanism), Some(users)) = (refusal, mechanism, &limits.users)
        else {
            return LoginStep::Said(refusal);
        };
        let initial = match initial {
            // `=` stands for an empty response (RFC 4954 4).
            Some("=") => Some(Vec::new()),
            Some(text) => match STANDARD.decode(text) {
                Ok(bytes) => Some(bytes),
                Err(_) => return self.turn(limits, AuthReply::Malformed),
            },
            None => None,
        };
        let mut exchange =
            Box::new(AuthVerifier::new(mechanism, users.clone(), self.binding.as_deref(), unique));
        let turn = exchange.begin(initial.as_deref());
        self.exchange = Some(exchange);
        self.turn(limits, turn)
    }

    /// Processes a line of the exchange.
    pub fn response(&mut self, limits: &Limits, line: &[u8]) -> LoginStep {
        if line == b"*" {
            self.give_up();
            return LoginStep::Said(Saying::AuthCancelled);
        }
        let turn = match (&mut self.exchange, STANDARD.decode(line)) {
            (Some(exchange), Ok(response)) => exchange.hear(&response),
            _ => AuthReply::Malformed,
        };
        self.turn(limits, turn)
    }

    /// Ends the exchange in progress.
    pub fn give_up(&mut self) {
        self.exchange = None;
    }

    fn turn(&mut self, limits: &Limits, turn: AuthReply) -> LoginStep {
        let failed = match turn {
            AuthReply::Challenge(bytes) => return LoginStep::Challenge(STANDARD.encode(bytes)),
            AuthReply::Accepted(user) => {
                self.give_up();
                self.user = u32::try_from(user).ok();
                return LoginStep::Said(Saying::AuthAccepted);
            }
            AuthReply::Denied => Saying::AuthFailed,
            AuthReply::Malformed => Saying::AuthEncoding,
        };
        self.give_up();
        if limits.max_auth_failures.is_some_and(|max| self.failures >= max) {
            return LoginStep::Said(Saying::TooManyAuthFailures);
        }
        self.failures += 1;
        LoginStep::Said(failed)
    }
}

/// How often each user logged in.
#[derive(Debug)]
pub(super) struct LoginCounts {
    by_user: Vec<AtomicU64>,
    pub failed: AtomicU64,
}

impl LoginCounts {
    pub fn new(limits: &Limits) -> LoginCounts {
        let users = limits.users.as_ref().map_or(0, |users| users.len());
        LoginCounts { by_user: (0..users).map(|_| AtomicU64::new(0)).collect(), failed: AtomicU64::new(0) }
    }

    /// Counts a login of the user with this number.
    pub fn count(&self, user: u32) {
        if let Some(count) = self.by_user.get(user as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Writes the number of logins of each user to the snapshot.
    pub fn enter(&self, limits: &Limits, ledger: &mut LedgerSnapshot) {
        let names = limits.users.iter().flat_map(|users| users.names());
        let counted = names.zip(&self.by_user).map(|(name, count)| (name.to_owned(), count.load(Relaxed)));
        let by_user: BTreeMap<String, u64> = counted.filter(|(_, count)| *count > 0).collect();
        ledger.logins = by_user.values().sum();
        ledger.failed_logins = self.failed.load(Relaxed);
        ledger.logins_by_user = by_user;
    }
}

#[cfg(test)]
mod tests;
