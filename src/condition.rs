//! The conditions: what a failure means, one name each.
//!
//! The names of reply conditions are those of the shared taxonomy; `transport` and `generator` hold what is no reply.
//! How a reply is read into one of them is the business of `condition::classify`.

pub mod cisco;
mod classify;
mod evidence;
pub mod expect;
mod rules;
mod text;
pub mod triage;
mod words;

#[cfg(test)]
mod accuracy;
#[cfg(test)]
mod learn;

use std::fmt;
use std::str::FromStr;

pub use classify::{Classifier, classify, prepare};

/// The families of conditions; a classifier that misses the name may still hit the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The listener refuses or delays a new connection.
    ConnectionLimit,
    /// A limit of one session.
    SessionLimit,
    /// A limit of one message.
    MessageLimit,
    /// Too much per time.
    Rate,
    /// The state of the server.
    ServerState,
    /// TLS.
    Tls,
    /// Authentication.
    Auth,
    /// The dialogue is wrong.
    Protocol,
    /// The recipient.
    Recipient,
    /// Policy.
    Policy,
    /// Not a reply: the connection itself.
    Transport,
    /// Our own side; never charged to the listener.
    Generator,
}

impl Group {
    /// The group's name.
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

/// Writes the enum, its names, groups and meanings from one table, so that a condition stands in one place.
macro_rules! conditions {
    ($($variant:ident, $name:literal, $group:ident, $limit:literal, $meaning:literal;)*) => {
        /// What a failure means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Condition {
            $(#[doc = $meaning] $variant,)*
        }

        impl Condition {
            /// Every condition, by group.
            pub const ALL: &'static [Condition] = &[$(Condition::$variant),*];

            /// The condition's name in profiles, JSON, CSV and text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Condition::$variant => $name,)* }
            }

            /// The family it belongs to.
            pub const fn group(self) -> Group {
                match self { $(Condition::$variant => Group::$group,)* }
            }

            /// What it means, in one sentence fragment.
            pub const fn meaning(self) -> &'static str {
                match self { $(Condition::$variant => $meaning,)* }
            }

            /// Whether it shows a limit whose threshold a tester can drive to and verify.
            pub const fn is_verifiable_limit(self) -> bool {
                match self { $(Condition::$variant => $limit,)* }
            }
        }
    };
}

conditions! {
    TooManyConnections, "too-many-connections", ConnectionLimit, true, "concurrent connections exceeded, scope not stated";
    TooManyConnectionsFromHost, "too-many-connections-from-host", ConnectionLimit, true, "per client IP / net / host";
    TooManyConnectionsToHost, "too-many-connections-to-host", ConnectionLimit, true, "whole server / all processes / all ports busy";
    TooManyConnectionsToListener, "too-many-connections-to-listener", ConnectionLimit, true, "one listener (address:port)";
    ConnectionRateLimited, "connection-rate-limited", ConnectionLimit, true, "new connections per unit of time";
    UserConcurrencyExceeded, "user-concurrency-exceeded", ConnectionLimit, true, "parallel sessions/deliveries per account or mailbox";
    TooManyTlsSessions, "too-many-tls-sessions", ConnectionLimit, true, "concurrent or new TLS sessions";
    TooManyMessagesPerSession, "too-many-messages-per-session", SessionLimit, true, "messages (transactions) per connection";
    ConnectionTimeExceeded, "connection-time-exceeded", SessionLimit, true, "absolute lifetime of the connection, activity or not";
    IdleTimeout, "idle-timeout", SessionLimit, true, "no command/data for too long";
    SessionBytesExceeded, "session-bytes-exceeded", SessionLimit, true, "bytes per connection";
    BadCommandLimitExceeded, "bad-command-limit-exceeded", SessionLimit, true, "too many errors / unknown / junk / nonmail commands";
    TooManyInvalidRecipients, "too-many-invalid-recipients", SessionLimit, true, "bad RCPTs, directory-harvest protection";
    TooManyAuthFailures, "too-many-auth-failures", SessionLimit, true, "failed logins";
    TooManyRecipients, "too-many-recipients", MessageLimit, true, "recipients per message (recipients per connection is folded in, alt too-many-messages-per-session)";
    MessageSizeExceeded, "message-size-exceeded", MessageLimit, true, "SIZE= or body too large";
    HeaderSizeExceeded, "header-size-exceeded", MessageLimit, true, "header block or header count too large";
    LineTooLong, "line-too-long", MessageLimit, true, "command or text line";
    TooManyHops, "too-many-hops", MessageLimit, true, "Received: count or loop";
    BareCrLf, "bare-cr-lf", MessageLimit, true, "bare CR or LF, not CRLF";
    RateLimited, "rate-limited", Rate, true, "messages, recipients, AUTHs or bytes per short time, per IP/sender/user";
    QuotaExceeded, "quota-exceeded", Rate, false, "daily/credit quota; retry only after the period";
    Greylisted, "greylisted", Rate, false, "first-contact deferral, explicit";
    ResourceLow, "resource-low", ServerState, false, "load, memory, processes, 'too busy'";
    QueueFull, "queue-full", ServerState, false, "the *queue* / mail system is full";
    InsufficientStorage, "insufficient-storage", ServerState, false, "disk space of the server";
    TemporarySystemError, "temporary-system-error", ServerState, false, "4xx, local/internal/dependency problem";
    ServerError, "server-error", ServerState, false, "text says 'server error'/'internal server error', or an internal failure with 5xx";
    ServiceUnavailable, "service-unavailable", ServerState, false, "text says the service/system is unavailable, not accepting";
    ServiceShuttingDown, "service-shutting-down", ServerState, false, "shutdown, stop, restart";
    LicenseExpired, "license-expired", ServerState, false, "licence/subscription/evaluation ended";
    DeferredUnspecified, "deferred-unspecified", ServerState, false, "'try again later' and nothing more";
    RejectedUnspecified, "rejected-unspecified", ServerState, false, "permanent refusal and nothing more";
    ConnectionDropped, "connection-dropped", ServerState, false, "reply that reports a lost connection";
    TlsUnavailable, "tls-unavailable", Tls, false, "STARTTLS offered or not, cannot be done now/at all";
    TlsFailure, "tls-failure", Tls, false, "handshake, certificate or version failure";
    EncryptionRequired, "encryption-required", Tls, false, "STARTTLS first / AUTH needs TLS";
    AuthRequired, "auth-required", Auth, false, "must authenticate";
    AuthFailed, "auth-failed", Auth, false, "bad credentials";
    AuthTemporaryFailure, "auth-temporary-failure", Auth, false, "backend unavailable";
    AuthChallengeNotUnderstood, "auth-challenge-not-understood", Auth, false, "the listener's challenge is none that the mechanism knows";
    AuthNotAvailable, "auth-not-available", Auth, false, "AUTH or the mechanism is not offered";
    SyntaxError, "syntax-error", Protocol, false, "malformed command, argument or address";
    UnrecognizedCommand, "unrecognized-command", Protocol, false, "unknown, not implemented or disabled command";
    UnsupportedParameter, "unsupported-parameter", Protocol, false, "unknown ESMTP parameter/value/option";
    BadSequence, "bad-sequence", Protocol, false, "command out of order";
    NoValidRecipients, "no-valid-recipients", Protocol, false, "DATA after every RCPT failed";
    ProtocolViolation, "protocol-violation", Protocol, false, "early talk, illegal pipelining, HTTP/TLS bytes, sync error";
    MailMergeError, "mail-merge-error", Protocol, false, "Cisco XMRG/XDFN/XPRT (alt only; primary is bad-sequence or syntax-error)";
    UnknownUser, "unknown-user", Recipient, false, "no such mailbox";
    MailboxFull, "mailbox-full", Recipient, false, "the *recipient's* quota";
    MailboxUnavailable, "mailbox-unavailable", Recipient, false, "disabled, suspended, inactive";
    HostNotAcceptingMail, "host-not-accepting-mail", Recipient, false, "null MX / domain takes no mail";
    RelayingDenied, "relaying-denied", Recipient, false, "not a domain we accept for";
    PolicyRejected, "policy-rejected", Policy, false, "access rule, sender not allowed, other policy";
    Blocklisted, "blocklisted", Policy, false, "DNSBL, reputation, banned IP";
    ContentRejected, "content-rejected", Policy, false, "spam, virus, body structure";
    SenderAuthFailed, "sender-auth-failed", Policy, false, "SPF, DKIM, DMARC";
    DnsPolicyRejected, "dns-policy-rejected", Policy, false, "rDNS/PTR, HELO name, sender domain in DNS";
    ConnectRefused, "connect-refused", Transport, false, "the connection was refused (RST to SYN)";
    ConnectTimeout, "connect-timeout", Transport, false, "no answer to the connection attempt: SYN lost or dropped";
    HostUnreachable, "host-unreachable", Transport, false, "no route to the target, or its host no longer acknowledges anything";
    NameNotResolved, "name-not-resolved", Transport, false, "the target's name does not resolve";
    NoGreeting, "no-greeting", Transport, true, "connected, but no greeting within the time-out";
    ClosedBeforeGreeting, "closed-before-greeting", Transport, true, "connected, then closed without a greeting";
    ResetBeforeGreeting, "reset-before-greeting", Transport, true, "connected, then reset without a greeting";
    ConnectionClosed, "connection-closed", Transport, false, "the listener closed the connection without a reply";
    ConnectionReset, "connection-reset", Transport, false, "the listener reset the connection; a reply may be lost";
    ReplyTimeout, "reply-timeout", Transport, false, "no reply within the step's time-out";
    SessionTimeout, "session-timeout", Transport, false, "the session took longer than its time-out";
    LostAfterDot, "lost-after-dot", Transport, false, "the connection was lost between the final dot and its reply";
    MalformedReply, "malformed-reply", Transport, false, "the listener sent something that is no reply";
    UnexpectedReply, "unexpected-reply", Transport, false, "a reply that does not fit the step, such as 250 to DATA";
    SurplusReply, "surplus-reply", Transport, false, "a reply too many: the listener answered what was not asked yet, and what follows cannot be matched to a command";
    MixedReply, "mixed-reply", Transport, false, "one reply whose lines have different codes; the last line's code counts";
    RepliesMissing, "replies-missing", Transport, false, "LMTP: fewer replies to the content than recipients, such as one for all of them";
    Aborted, "aborted", Transport, false, "not answered: an earlier command of the group ended the session";
    RunEnded, "run-ended", Transport, false, "still under way when the run ended";
    OutOfDescriptors, "out-of-descriptors", Generator, false, "our own process or system ran out of file descriptors (EMFILE, ENFILE)";
    OutOfPorts, "out-of-ports", Generator, false, "our own machine ran out of local ports (EADDRNOTAVAIL)";
    OutOfBuffers, "out-of-buffers", Generator, false, "our own kernel ran out of buffers (ENOBUFS)";
    OutOfMemory, "out-of-memory", Generator, false, "our own machine ran out of memory (ENOMEM)";
    ContentLost, "content-lost", Generator, false, "the file of a message vanished or changed while it was to be sent";
    NoSourceAddress, "no-source-address", Generator, false, "our own machine has no address from which the target's can be reached";
    TargetNotAllowed, "target-not-allowed", Generator, false, "the target's name resolves to an address that was not allowed; nothing was sent there";
    OwnError, "own-error", Generator, false, "another failure on our own side";
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
            assert!(!condition.meaning().is_empty());
        }
    }
}
