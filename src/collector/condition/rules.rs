//! The rules: which concepts, said in one sentence, mean which condition. Data; the first rule that holds wins.
//!
//! # Order
//! The more specific stands before the more general (taxonomy, label rule 3): a limit with its scope, a limit, a named
//! cause, a state of the server, a bare refusal. Codes only narrow a rule where the words alone could mean two things.

use super::Condition;
use super::words::*;

/// One rule.
pub(super) struct Rule {
    /// What it concludes.
    pub(super) condition: Condition,
    /// The sentence must hold one concept of each.
    pub(super) all: &'static [Set],
    /// The sentence must hold none of these.
    pub(super) none: Set,
    /// Codes (`421`) or their classes (`4`) it is for; empty: any.
    pub(super) codes: &'static [u16],
}

/// `Condition: [A | B, C] - [D] if [4, 550];` = one of A and B, and C, and no D, for a 4yz or a 550.
macro_rules! rules {
    ($($condition:ident: [$($($all:ident)|+),+] $(- [$($none:ident)|+])? $(if [$($code:literal),+])?;)*) => {
        &[$(Rule {
            condition: Condition::$condition,
            all: &[$(Set::NONE$(.or($all))+),+],
            none: Set::NONE$($(.or($none))+)?,
            codes: &[$($($code),+)?],
        },)*]
    };
}

pub(super) const RULES: &[Rule] = rules! {
    // The peer's own words for two things that look like others.
    BareCrLf: [SMTPLF];
    TooManyInvalidRecipients: [HARVEST];
    TooManyInvalidRecipients: [MANY, BADRCPT];
    TooManyInvalidRecipients: [EXCESS, BADRCPT, ATTEMPT | LONG] - [FULL];
    // Content of lines and headers.
    TooManyHops: [LOOP, MANY | EXCESS | LOOP] - [CONNECTION];
    TooManyHops: [HOPS, MANY | EXCESS, HEADER | HOPS] - [RCPT | PERTIME | CONNECTION | SENDER | USER];
    BareCrLf: [BARE, LINEEND];
    BareCrLf: [LINEEND, MUSTCRLF | NEG] - [LONG | TIMEOUT];
    HeaderSizeExceeded: [HEADER, TOOBIG | MANY | LONG] - [SPF];
    HeaderSizeExceeded: [HEADER, EXCESS, SIZE | EXCESS] - [SPF | HOPS];
    // Sessions.
    BadCommandLimitExceeded: [MANY, BADCOMMANDS] - [AUTH | RCPT | TLS | RATE | CONCURRENT | QUEUE];
    BadCommandLimitExceeded: [EXCESS, BADCOMMANDS, COMMAND] - [AUTH | RCPT | TLS | LONG | LINE | RATE | MESSAGE];
    TooManyTlsSessions: [MANY | EXCESS, TLS, CONNECTION | RATE] - [MESSAGE];
    RateLimited: [MANY, AUTH, COMMAND, HOSTSCOPE];
    TooManyAuthFailures: [MANY | EXCESS, AUTH, FAIL | ATTEMPT | ERROR | INVALID] - [SPF | CONCURRENT];
    UserConcurrencyExceeded: [MANY | EXCESS, CONCURRENT | CONNECTION | PROCESS, USERSCOPE] - [SIZE | LIFETIME | RATE | PERTIME];
    SessionBytesExceeded: [EXCESS | MANY, SIZE, CONNECTION] - [RCPT | RATE];
    // Rates of messages and recipients before those of connections.
    SenderAuthFailed: [SPF, RATE];
    DnsPolicyRejected: [DNSCHECK, RATE];
    EncryptionRequired: [TLS | ENCRYPT, RATE];
    Greylisted: [GREYLIST];
    QuotaExceeded: [MANY | EXCESS | QUOTA, PERDAY, MESSAGE | RCPT | SENDER | USER | SERVICE] - [MAILBOX];
    QuotaExceeded: [EXCESS | QUOTA | MANY, PERDAY];
    ConnectionRateLimited: [CONNECTION, RATE | PERTIME, MANY | EXCESS | RATE | PERTIME] - [MESSAGE | RCPT | LIFETIME | TIMEOUT];
    RateLimited: [RATE, MESSAGE | RCPT | SENDER | USER | EXCESS | MANY | HOSTSCOPE | ERROR] - [DNSCHECK];
    RateLimited: [MANY | EXCESS, MESSAGE | RCPT | BADCOMMANDS, PERTIME] - [CONNECTION | LIFETIME];
    RateLimited: [MANY | EXCESS, RCPT, HOSTSCOPE | SENDER] - [CONNECTION | SIZE | FULL];
    // Messages.
    TooManyRecipients: [MULTIDOMAIN];
    TooManyRecipients: [MANY, RCPT] - [SIZE | FULL | MAILBOX];
    TooManyRecipients: [EXCESS | MANY, RCPT] - [SIZE | FULL | QUOTA | DISK];
    TooManyMessagesPerSession: [MANY | EXCESS, MESSAGE, CONNECTION] - [CONCURRENT | SIZE | PERTIME];
    TooManyMessagesPerSession: [MANY, MESSAGE] - [CONCURRENT | SIZE | QUEUE | USERSCOPE | HOSTSCOPE];
    RateLimited: [MANY, MESSAGE, HOSTSCOPE | SENDER | USERSCOPE] - [CONCURRENT | SIZE | QUEUE];
    ConnectionTimeExceeded: [LIFETIME, EXCESS | LONG | EXPIRED | CONNECTION] - [TLS | CERT];
    // Connections.
    TooManyConnectionsToListener: [MANY | EXCESS, CONNECTION, LISTENERSCOPE];
    TooManyConnectionsFromHost: [MANY | EXCESS | CONCURRENT, CONNECTION | PROCESS, HOSTSCOPE] - [TIMEOUT | TLS];
    TooManyConnectionsToHost: [MANY | EXCESS, CONNECTION, HERESCOPE] - [TIMEOUT | TLS];
    TooManyConnectionsToHost: [PROCESS, LOAD] - [NEG];
    TooManyConnections: [MANY | EXCESS | CONCURRENT, CONNECTION | CONCURRENT] - [TIMEOUT | TLS | MESSAGE | LOST];
    TooManyConnections: [MANY | EXCESS, PROCESS] - [RCPT | MESSAGE];
    LineTooLong: [LINE | COMMAND | PARAM, LONG | TOOBIG] - [HEADER];
    LineTooLong: [LINE, LONG | SIZE, EXCESS] - [HEADER];
    // Sizes and stores.
    MailboxFull: [MAILBOX, FULL | QUOTA | DISK, FULL | QUOTA | EXCESS | SHORT] - [QUEUE];
    QueueFull: [QUEUEFULL];
    QueueFull: [QUEUE, EXCESS | MANY | FULL] - [DISK];
    MessageSizeExceeded: [SIZE, TOOBIG | EXCESS | MANY];
    InsufficientStorage: [DISK, SHORT | FULL | NEG | EXCESS];
    MailboxFull: [FULL | QUOTA, QUOTA | EXCESS | FULL];
    // Server.
    LicenseExpired: [LICENSE, EXPIRED | EXCESS];
    // Authentication and encryption.
    BadSequence: [TLS | AUTH, ALREADY | MANY] - [TEMP | RETRY];
    EncryptionRequired: [STARTTLS, REQUIRED | FIRST] - [NEG];
    EncryptionRequired: [TLS | ENCRYPT, REQUIRED | NEG | DENY] - [CERT | TEMP | UNAVAILABLE | UNREC | ERROR];
    TlsFailure: [CERT];
    TlsUnavailable: [TLS, UNAVAILABLE | UNREC | TEMP | NEG | RETRY];
    TlsFailure: [TLS, FAIL | ERROR | INVALID];
    AuthRequired: [LOGIN] - [RELAYSURE | SPF];
    RelayingDenied: [RELAYSURE];
    SenderAuthFailed: [SPF] - [TEMP | ERROR];
    AuthTemporaryFailure: [AUTH, TEMP | RETRY | UNAVAILABLE | LOCAL | ERROR] if [4];
    AuthNotAvailable: [AUTH, UNREC | UNAVAILABLE] - [SYNTAX] if [500, 502, 503, 504];
    AuthFailed: [AUTH, FAIL | INVALID | DENY | NEG] - [REQUIRED];
    AuthRequired: [AUTH, REQUIRED | NEG | FIRST] if [530, 550, 553, 554, 451];
    // Lists, names, content.
    Blocklisted: [BLACK];
    DnsPolicyRejected: [DNSCHECK, NEG | INVALID | DENY | FAIL | UNKNOWN | REQUIRED] - [SYNTAX | FIRST];
    Blocklisted: [BLOCKED, YOU];
    PolicyRejected: [OWNED | WHITELIST];
    ContentRejected: [SPAMSURE] - [TEMP | ERROR];
    // Dialogue.
    NoValidRecipients: [NOVALID];
    ProtocolViolation: [PIPELINE];
    BadSequence: [ALREADY, CMDNAME | COMMAND | SENDER | RCPT];
    BadSequence: [CMDNAME | SENDER | RCPT, FIRST | REQUIRED] if [503, 502, 501, 500, 550, 554];
    UnsupportedParameter: [PARAM, UNREC | INVALID | UNKNOWN] - [SYNTAXSURE];
    SyntaxError: [SYNTAXSURE];
    SyntaxError: [SYNTAX, INVALID | NEG | REQUIRED | FAIL | ERROR] if [5];
    UnrecognizedCommand: [COMMAND, UNREC | UNKNOWN | INVALID];
    UnrecognizedCommand: [UNREC] if [500, 502];
    // Recipients.
    HostNotAcceptingMail: [NULLMX];
    MailboxUnavailable: [USER, DISABLED];
    UnknownUser: [USER, UNKNOWN | INVALID | NEG] - [SENDER];
    RelayingDenied: [RELAY, DENY | NEG];
    // Waits and losses.
    TemporarySystemError: [TIMEOUT, BACKEND];
    ConnectionDropped: [LOST];
    IdleTimeout: [TIMEOUT];
    // The server's state.
    ServiceShuttingDown: [SHUT];
    ResourceLow: [LOAD];
    ServiceUnavailable: [MAINTENANCE];
    ServerError: [INTERNALSERVER] if [5];
    ServerError: [INTERNALSERVER] - [TEMP | UNEXPECTED];
    ServiceUnavailable: [UNAVAILABLE, SERVICE | TEMP | RETRY | CONNECTION | DISCONNECT];
    TemporarySystemError: [ERROR, LOCAL | TEMP] if [4];
    ServerError: [ERROR, LOCAL] if [5];
    TemporarySystemError: [NEG | FAIL, LOCAL] if [4];
    TemporarySystemError: [TEMP, ERROR] if [4];
    ServiceUnavailable: [DISCONNECT] if [421];
    // Refusals.
    UnknownUser: [UNKNOWN, DOMAIN] - [SENDER];
    UnknownUser: [DENY, USER] - [SENDER] if [550];
    DeferredUnspecified: [RETRY | DELAY | TEMP] if [4];
    PolicyRejected: [POLICY, DENY | NEG];
    PolicyRejected: [DENY];
};
