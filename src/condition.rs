//! The conditions: one name for each kind of failure, however the listener words its reply.
//!
//! The groups `transport` and `generator` hold failures without a usable reply. `classify` finds the condition of a
//! reply. `meaning` holds the meaning and the remedy of each condition.

pub mod cisco;
mod classify;
pub mod expect;
mod lexicon;
mod meaning;
mod rules;
mod tokenizer;
pub mod triage;
mod weights;

#[cfg(test)]
mod accuracy;
#[cfg(test)]
mod learning;

use std::fmt;
use std::str::FromStr;

pub use classify::{Classifier, classify, prepare};
use serde::{Deserialize, Serialize};

/// The families of conditions. A classifier that finds the wrong name may still find the right group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The listener refuses or delays a new connection.
    ConnectionLimit,
    /// A limit of one session.
    SessionLimit,
    /// A limit of one message.
    MessageLimit,
    /// A rate or a quota is exceeded, or the client is deferred for a time.
    Rate,
    /// The state of the server: its load, its resources, a shutdown, an unspecified error.
    ServerState,
    /// TLS is missing, required or fails.
    Tls,
    /// Authentication is missing, required or fails.
    Auth,
    /// A command that the listener does not accept in this form or at this point.
    Protocol,
    /// The recipient is refused.
    Recipient,
    /// The sender, the client or the content is refused by a policy.
    Policy,
    /// The connection fails, or a reply is missing or unusable.
    Transport,
    /// A failure of the generator or its machine, which never counts against the listener.
    Generator,
}

impl Group {
    /// Returns the name of the group.
    pub const fn as_str(self) -> &'static str {
        match self {
            Group::ConnectionLimit => "connection-limit",
            Group::SessionLimit => "session-limit",
            Group::MessageLimit => "message-limit",
            Group::Rate => "rate",
            Group::ServerState => "server-state",
            Group::Tls => "tls",
            Group::Auth => "auth",
            Group::Protocol => "protocol",
            Group::Recipient => "recipient",
            Group::Policy => "policy",
            Group::Transport => "transport",
            Group::Generator => "generator",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Defines the enum, its names and its groups from one table.
macro_rules! conditions {
    ($($variant:ident, $name:literal, $group:ident, $limit:literal;)*) => {
        /// The kind of a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Condition {
            $(#[doc = concat!("`", $name, "`: see [`Condition::meaning`].")] #[serde(rename = $name)] $variant,)*
        }

        impl Condition {
            /// Every condition, by group.
            pub const ALL: &'static [Condition] = &[$(Condition::$variant),*];

            /// Returns the condition's name in profiles, JSON, CSV and text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Condition::$variant => $name,)* }
            }

            /// Returns the group of the condition.
            pub const fn group(self) -> Group {
                match self { $(Condition::$variant => Group::$group,)* }
            }

            /// Whether the condition shows a limit that a test can reach and verify.
            pub const fn is_verifiable_limit(self) -> bool {
                match self { $(Condition::$variant => $limit,)* }
            }
        }
    };
}

conditions! {
    TooManyConnections, "too-many-connections", ConnectionLimit, true;
    TooManyConnectionsFromHost, "too-many-connections-from-host", ConnectionLimit, true;
    TooManyConnectionsToHost, "too-many-connections-to-host", ConnectionLimit, true;
    TooManyConnectionsToListener, "too-many-connections-to-listener", ConnectionLimit, true;
    ConnectionRateLimited, "connection-rate-limited", ConnectionLimit, true;
    UserConcurrencyExceeded, "user-concurrency-exceeded", ConnectionLimit, true;
    TooManyTlsSessions, "too-many-tls-sessions", ConnectionLimit, true;
    TooManyMessagesPerSession, "too-many-messages-per-session", SessionLimit, true;
    ConnectionTimeExceeded, "connection-time-exceeded", SessionLimit, true;
    IdleTimeout, "idle-timeout", SessionLimit, true;
    SessionBytesExceeded, "session-bytes-exceeded", SessionLimit, true;
    BadCommandLimitExceeded, "bad-command-limit-exceeded", SessionLimit, true;
    TooManyInvalidRecipients, "too-many-invalid-recipients", SessionLimit, true;
    TooManyAuthFailures, "too-many-auth-failures", SessionLimit, true;
    TooManyRecipients, "too-many-recipients", MessageLimit, true;
    MessageSizeExceeded, "message-size-exceeded", MessageLimit, true;
    HeaderSizeExceeded, "header-size-exceeded", MessageLimit, true;
    LineTooLong, "line-too-long", MessageLimit, true;
    TooManyHops, "too-many-hops", MessageLimit, true;
    BareCrLf, "bare-cr-lf", MessageLimit, true;
    RateLimited, "rate-limited", Rate, true;
    QuotaExceeded, "quota-exceeded", Rate, false;
    Greylisted, "greylisted", Rate, false;
    ResourceLow, "resource-low", ServerState, false;
    QueueFull, "queue-full", ServerState, false;
    InsufficientStorage, "insufficient-storage", ServerState, false;
    TemporarySystemError, "temporary-system-error", ServerState, false;
    ServerError, "server-error", ServerState, false;
    ServiceUnavailable, "service-unavailable", ServerState, false;
    ServiceShuttingDown, "service-shutting-down", ServerState, false;
    LicenseExpired, "license-expired", ServerState, false;
    DeferredUnspecified, "deferred-unspecified", ServerState, false;
    RejectedUnspecified, "rejected-unspecified", ServerState, false;
    ConnectionDropped, "connection-dropped", ServerState, false;
    TlsUnavailable, "tls-unavailable", Tls, false;
    TlsFailure, "tls-failure", Tls, false;
    EncryptionRequired, "encryption-required", Tls, false;
    AuthRequired, "auth-required", Auth, false;
    AuthFailed, "auth-failed", Auth, false;
    AuthTemporaryFailure, "auth-temporary-failure", Auth, false;
    AuthChallengeNotUnderstood, "auth-challenge-not-understood", Auth, false;
    AuthNotAvailable, "auth-not-available", Auth, false;
    SyntaxError, "syntax-error", Protocol, false;
    UnrecognizedCommand, "unrecognized-command", Protocol, false;
    UnsupportedParameter, "unsupported-parameter", Protocol, false;
    BadSequence, "bad-sequence", Protocol, false;
    NoValidRecipients, "no-valid-recipients", Protocol, false;
    ProtocolViolation, "protocol-violation", Protocol, false;
    MailMergeError, "mail-merge-error", Protocol, false;
    UnknownUser, "unknown-user", Recipient, false;
    MailboxFull, "mailbox-full", Recipient, false;
    MailboxUnavailable, "mailbox-unavailable", Recipient, false;
    HostNotAcceptingMail, "host-not-accepting-mail", Recipient, false;
    RelayingDenied, "relaying-denied", Recipient, false;
    PolicyRejected, "policy-rejected", Policy, false;
    Blocklisted, "blocklisted", Policy, false;
    ContentRejected, "content-rejected", Policy, false;
    SenderAuthFailed, "sender-auth-failed", Policy, false;
    DnsPolicyRejected, "dns-policy-rejected", Policy, false;
    ConnectRefused, "connect-refused", Transport, false;
    ConnectTimeout, "connect-timeout", Transport, false;
    HostUnreachable, "host-unreachable", Transport, false;
    NameNotResolved, "name-not-resolved", Transport, false;
    NoGreeting, "no-greeting", Transport, true;
    ClosedBeforeGreeting, "closed-before-greeting", Transport, true;
    ResetBeforeGreeting, "reset-before-greeting", Transport, true;
    ConnectionClosed, "connection-closed", Transport, false;
    ConnectionReset, "connection-reset", Transport, false;
    ReplyTimeout, "reply-timeout", Transport, false;
    SessionTimeout, "session-timeout", Transport, false;
    LostAfterDot, "lost-after-dot", Transport, false;
    MalformedReply, "malformed-reply", Transport, false;
    UnexpectedReply, "unexpected-reply", Transport, false;
    SurplusReply, "surplus-reply", Transport, false;
    MixedReply, "mixed-reply", Transport, false;
    RepliesMissing, "replies-missing", Transport, false;
    Aborted, "aborted", Transport, false;
    RunEnded, "run-ended", Transport, false;
    OutOfDescriptors, "out-of-descriptors", Generator, false;
    OutOfPorts, "out-of-ports", Generator, false;
    OutOfBuffers, "out-of-buffers", Generator, false;
    OutOfMemory, "out-of-memory", Generator, false;
    ContentLost, "content-lost", Generator, false;
    NoSourceAddress, "no-source-address", Generator, false;
    TargetNotAllowed, "target-not-allowed", Generator, false;
    OwnError, "own-error", Generator, false;
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Condition {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Condition::ALL.iter().copied().find(|condition| condition.as_str() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_read_back_from_its_name() {
        for &condition in Condition::ALL {
            assert_eq!(condition.as_str().parse(), Ok(condition));
            assert_eq!(serde_json::to_value(condition).unwrap(), condition.as_str());
            assert_eq!(serde_json::from_value::<Condition>(condition.as_str().into()).unwrap(), condition);
            assert!(!condition.meaning().is_empty());
        }
    }
}
