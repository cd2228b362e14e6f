//! The rules: which concepts in one sentence mean which condition. The rules are data, and the first rule that matches
//! wins.
//!
//! # Order
//! The more specific rule stands before the more general one: a limit with its scope, a limit, a named cause, a state
//! of the server, a bare refusal. Codes only narrow a rule if the words alone could mean two things.

use super::Condition;
use super::lexicon::*;

/// One rule.
pub(super) struct ReplyRule {
    /// The condition that the rule concludes.
    pub(super) condition: Condition,
    /// The sentence must hold at least one concept of each of these sets.
    pub(super) all: &'static [ConceptSet],
    /// The sentence must hold no concept of this set.
    pub(super) none: ConceptSet,
    /// The codes (`421`) or code classes (`4`) of the rule; empty for all.
    pub(super) codes: &'static [u16],
    /// The subjects of the enhanced code (the 7 of 5.7.1); empty for all, including no enhanced code.
    pub(super) subjects: &'static [u16],
}

/// `Condition: [A | B, C] - [D] if [4, 550] at [7];` means: the sentence holds A or B, holds C, and does not hold D;
/// the code of the reply is a 4yz or 550, and its enhanced code is x.7.z.
macro_rules! rules {
    ($($condition:ident: [$($($all:ident)|+),+] $(- [$($none:ident)|+])? $(if [$($code:literal),+])? $(at [$($subject:literal),+])?;)*) => {
        &[$(ReplyRule {
            condition: Condition::$condition,
            all: &[$(ConceptSet::NONE$(.or($all))+),+],
            none: ConceptSet::NONE$($(.or($none))+)?,
            codes: &[$($($code),+)?],
            subjects: &[$($($subject),+)?],
        },)*]
    };
}

pub(super) const RULES: &[ReplyRule] = rules! {
    // Words without ambiguity.
    BareCrLf: [SMTPLF];
    TemporarySystemError: [GREYLIST | CONTENT, BACKEND, UNAVAILABLE | FAIL | ERROR] - [PERTIME | DELAY | FIRST] if [4];
    Greylisted: [GREYLIST];
    TooManyInvalidRecipients: [HARVEST];
    TooManyInvalidRecipients: [MANY, BADRCPT];
    UnsupportedParameter: [EAI];
    ProtocolViolation: [GROUPED, COMMAND | CMDNAME | CMDERR | BODY] - [TIMEOUT];

    // The shape of the message and its lines.
    TooManyHops: [LOOP] - [CONNECTION];
    TooManyHops: [RECEIVED, HEADER, MANY | EXCESS];
    BareCrLf: [BARE, LINEEND];
    BareCrLf: [LINEEND, MUSTCRLF | NEG] - [LONG | TIMEOUT | SYNTAXSURE];
    HeaderSizeExceeded: [HEADER, TOOBIG | MANY | LONG | SIZE | EXCESS] - [SPF | PERTIME | CONTENT];

    // Limits that count errors, logins and TLS sessions.
    QuotaExceeded: [EXCESS | QUOTA | MANY, PERDAY] - [MAILBOX | DISABLED];
    QuotaExceeded: [EXCESS | MANY, PERDAY] - [FULL | DISABLED];
    QuotaExceeded: [FULL | SHORT | NEG, PERDAY, SUBMIT | MESSAGE] - [MAILBOX];
    BadCommandLimitExceeded: [CMDLIMIT] - [TIMEOUT | AUTH];
    BadCommandLimitExceeded: [MANY, CMDERR] - [AUTH | RCPT | TLS | CONCURRENT | QUEUE | PERTIME | RATESURE];
    TooManyTlsSessions: [MANY | EXCESS, TLS, CONNECTION | RATE] - [MESSAGE];
    TooManyTlsSessions: [CONCURRENT, TLS, NEG | MANY | EXCESS] - [MESSAGE];
    RateLimited: [MANY, AUTH, CMDERR, HOSTSCOPE] - [FAIL | INVALID];
    RateLimited: [MANY, AUTH, COMMAND] - [FAIL | INVALID | UNREC];
    TooManyAuthFailures: [MANY, FAIL, ATTEMPT] - [RCPT | CMDERR | CONNECTION | MESSAGE];
    TooManyAuthFailures: [MANY | EXCESS, AUTH, FAIL | ATTEMPT | ERROR | INVALID] - [SPF | CONCURRENT];
    BadCommandLimitExceeded: [MANY, LOGIN, CMDERR];

    // A rate limit with a named reason: the reason decides.
    SenderAuthFailed: [SPF, RATE | RATESURE];
    DnsPolicyRejected: [DNSCHECK, RATE | RATESURE];
    EncryptionRequired: [TLS | ENCRYPT, RATE | RATESURE];

    // Per user, per session.
    UserConcurrencyExceeded: [MANY | EXCESS, CONCURRENT | PROCESS, USERSCOPE] - [SIZE | LIFETIME | RATESURE | PERTIME];
    UserConcurrencyExceeded: [MANY, CONNECTION, USERSCOPE] - [HOSTSCOPE | PERTIME | RATESURE | MESSAGE | RCPT];
    SessionBytesExceeded: [EXCESS | MANY, SIZE, CONNECTION] - [RCPT | RATESURE | CONCURRENT | MESSAGE];
    SessionBytesExceeded: [EXCESS, QUOTA, CONNECTION];
    TooManyMessagesPerSession: [MANYMSG, CONNECTION] - [CONCURRENT | SIZE | PERTIME | HOSTSCOPE];
    TooManyMessagesPerSession: [MANY | EXCESS, MESSAGE, CONNECTION] - [CONCURRENT | SIZE | PERTIME | RCPT | RATE | LIFETIME | HOSTSCOPE];

    // Rates.
    ConnectionRateLimited: [CONNECTION, RATE, HOSTSCOPE | EXCESS | MANY | RATESURE | DENY] - [MESSAGE | RCPT | LIFETIME | TIMEOUT];
    ConnectionRateLimited: [CONNECTION, PERTIME, MANY | EXCESS | DENY] - [MESSAGE | RCPT | LIFETIME | TIMEOUT | CONCURRENT];
    TooManyRecipients: [COUNTED, RCPT, EXCESS | MANY | SHORT | SIZE] - [PERTIME | PERDAY | FULL | DISK | CONNECTION];
    ContentRejected: [MANY | EXCESS, BODY] - [SIZE | LONG | TOOBIG | PERTIME | RCPT | CONNECTION | ACTION] if [5];
    RateLimited: [RATESURE, MESSAGE | RCPT | SENDER | HOSTSCOPE | USER | DOMAIN] - [CONNECTION | SIZE];
    RateLimited: [RATE, MESSAGE | RCPT | SENDER | USER, EXCESS | MANY | DENY | TEMP | RETRY] - [CONNECTION];
    RateLimited: [MANY | EXCESS, MESSAGE | RCPT | CMDERR, PERTIME] - [CONNECTION | LIFETIME];
    RateLimited: [MANY | EXCESS, PERTIME] - [CONNECTION | LIFETIME | TIMEOUT];
    RateLimited: [MANY | EXCESS, RCPT, FROMSCOPE] - [CONNECTION | SIZE | FULL | BADRCPT];
    RateLimited: [MANY, MESSAGE, FROMSCOPE | HOSTSCOPE | SENDER] - [CONCURRENT | CONNECTION | SIZE | QUEUE];

    // Recipients and messages.
    RateLimited: [EXCESS | MANY, SUBMIT, MESSAGE] - [RCPT | SIZE | QUOTA | FULL | CONNECTION];
    TooManyRecipients: [MULTIDOMAIN] - [MANY];
    MailboxFull: [MANYMSG, USERSCOPE, HERESCOPE];
    TooManyMessagesPerSession: [MANYMSG, MANY, RCPT] - [PERTIME | SIZE | HEADER | FULL];
    TooManyRecipients: [MANY | EXCESS | MULTIDOMAIN, RCPT] - [SIZE | FULL | QUOTA | DISK | CONCURRENT];
    TooManyMessagesPerSession: [MANYMSG, MANY | EXCESS] - [CONCURRENT | SIZE | QUEUE | DISK | TOOBIG] if [421, 450, 451, 452];
    RateLimited: [MANY, MESSAGE] - [CONCURRENT | CONNECTION | SIZE | QUEUE | RCPT | DISK | TOOBIG];
    ConnectionTimeExceeded: [LIFETIME] - [TLS | CERT | TIMEOUT];
    ConnectionTimeExceeded: [CONNECTION, LONG] - [LINE | MESSAGE | HEADER | SIZE | TIMEOUT | MANY | UNKNOWN];

    // Connections.
    TooManyConnectionsToListener: [MANY | EXCESS, CONNECTION | CONCURRENT, LISTENERSCOPE];
    TooManyConnectionsFromHost: [MANY | EXCESS | CONCURRENT, CONNECTION | PROCESS, HOSTSCOPE] - [TIMEOUT | LOST | AUTH];
    TooManyConnectionsToHost: [MANY | EXCESS, CONNECTION | CONCURRENT, HERESCOPE] - [TIMEOUT | LOST | MESSAGE];
    TooManyConnectionsToHost: [PORTSBUSY, LOAD | MANY | EXCESS];
    TooManyConnections: [MANY | EXCESS, CONNECTION | CONCURRENT] - [TIMEOUT | LOST | MESSAGE | SIZE | LICENSE];
    TooManyConnections: [MANY | EXCESS, PROCESS] - [RCPT | MESSAGE | TIMEOUT];
    TooManyConnections: [CONCURRENT, CONNECTION, NEG | DENY] - [TIMEOUT | LOST | MESSAGE | SIZE];

    // Sizes and stores.
    LineTooLong: [TOOBIG] at [1];
    LineTooLong: [LINESURE, LONG | EXCESS | SIZE];
    LineTooLong: [CMDERR | LINE, LONG] - [HEADER | MESSAGE | SIZE];
    MessageSizeExceeded: [BODY | MESSAGE, LONG, EXCESS] - [HEADER];
    LineTooLong: [LINE, LONG] - [HEADER | MESSAGE];
    LineTooLong: [USER, LONG] - [HEADER | MESSAGE | QUEUE | UNKNOWN] if [5];
    LineTooLong: [LINE, EXCESS] - [HEADER | MESSAGE | DOMAIN | CMDERR | SIZE | QUOTA];
    QuotaExceeded: [QUOTA, SUBMIT];
    MailboxFull: [QUOTA | FULL | DISK] at [2];
    MailboxFull: [MAILBOX, FULL | QUOTA] - [QUEUE | SENDER];
    MailboxFull: [MAILBOX, SIZE | DISK, EXCESS] - [MESSAGE];
    MailboxFull: [MAILBOX, DISK, SHORT | NEG];
    QueueFull: [QUEUEFULL];
    QueueFull: [QUEUE, TOOBIG | LONG] - [MESSAGE];
    MessageSizeExceeded: [MESSAGE, SIZE, EXCESS | TOOBIG | MANY] - [STORAGEALLOC];
    InsufficientStorage: [DISK, SHORT | FULL | NEG] - [STORAGEALLOC | QUOTA];
    QueueFull: [QUEUE, EXCESS | MANY | FULL];
    MessageSizeExceeded: [SIZE, TOOBIG | EXCESS | MANY] - [STORAGEALLOC | MAILBOX | TIMEOUT];
    MessageSizeExceeded: [MESSAGE | BODY, TOOBIG];
    MessageSizeExceeded: [EXCESS | TOOBIG] - [HEADER | RCPT | QUOTA | CONNECTION] if [552] at [3];
    QuotaExceeded: [QUOTA, EXCESS | FULL] at [7];
    QuotaExceeded: [QUOTA, SENDER | SENDERREJ];
    MailboxFull: [FULL, QUOTA | EXCESS | STORAGEALLOC];
    MailboxFull: [QUOTA, EXCESS | FULL];
    MessageSizeExceeded: [STORAGEALLOC] at [3];
    MailboxFull: [STORAGEALLOC];
    MailboxFull: [MAILBOX, EXCESS] - [MESSAGE | SIZE | PERTIME | RATE | CONNECTION | AUTH | SENDER | MANY] if [552, 452, 422];
    LicenseExpired: [LICENSE, EXPIRED | EXCESS];

    // Encryption and authentication.
    ProtocolViolation: [PIPELINE] - [TIMEOUT];
    BadSequence: [TLS | AUTH | ENCRYPT, ALREADY] - [REQUIRED];
    BadSequence: [TLS | AUTH, ALREADY] if [503];
    SyntaxError: [AUTH | TLS, SYNTAXSURE] - [CERT];
    BadSequence: [CMDNAME, STARTTLS, FIRST] - [LOGIN | ENCRYPT] if [503];
    BadSequence: [AUTH | TLS, SEQUENCE] if [503];
    BadSequence: [CMDNAME, FIRST] - [LOGIN | STARTTLS | UNREC | SYNTAXSURE] if [503];
    AuthNotAvailable: [AUTH, MECH, UNREC | UNKNOWN] if [504, 534];
    EncryptionRequired: [STARTTLS, REQUIRED | FIRST] - [CERT | UNAVAILABLE | ERROR];
    TlsUnavailable: [TLS, UNAVAILABLE] - [REQUIRED];
    TlsUnavailable: [TLS, NEG | UNRECSURE | TEMP | UNREC] - [REQUIRED | CERT | MESSAGE];
    EncryptionRequired: [TLS | ENCRYPT, REQUIRED | NEG | DENY] - [CERT | ERROR];
    EncryptionRequired: [ENCRYPT];
    TlsFailure: [CERT] - [FIRST];
    TlsFailure: [CERT, TLS];
    TlsUnavailable: [TLS, ERROR, TEMP | LOCAL] if [4];
    TlsFailure: [TLS, FAIL | ERROR | INVALID];
    TlsUnavailable: [TLS, LOCAL | SERVICE] if [454, 554];
    AuthNotAvailable: [AUTH, MECH, UNREC | UNKNOWN | NEG];
    AuthNotAvailable: [AUTH, MECH] if [504, 534];
    AuthNotAvailable: [AUTH, NEG] - [LOGIN | SENDER | AUTHSURE | REQUIRED] if [502, 504];
    AuthNotAvailable: [AUTH, UNREC] - [OWNED | SENDER] if [500, 502, 503, 504];
    SyntaxError: [USER | RCPT | SENDER, INVALID] - [UNKNOWN | POLICY | AUTH | DNSCHECK | DOMAIN] if [501];
    SyntaxError: [CMDNAME | SENDER | RCPT, SYNTAXSURE, INVALID | ERROR] if [5];
    SyntaxError: [CMDNAME, REQUIRED | FIRST | SYNTAX, DOMAIN | DNSCHECK] - [DENY | UNKNOWN | MISMATCH | UNREC | HELOREJ] if [501];
    DnsPolicyRejected: [MISMATCH, NAMES | DNSCHECK] - [SPF | AUTH];
    DnsPolicyRejected: [OWNED, DNSCHECK] - [SPF | AUTH];
    PolicyRejected: [OWNED] - [SPF];
    AuthRequired: [LOGIN] - [RELAYSURE | SPF | DNSCHECK];
    Blocklisted: [BLACK, RELAYSURE];
    RateLimited: [RATESURE, RELAYSURE];
    TemporarySystemError: [RELAYSURE, FAIL, TEMP] - [DENY] if [4];
    QuotaExceeded: [QUOTA, RELAYSURE];
    RelayingDenied: [RELAYSURE, DENY] - [UNAVAILABLE | TIMEOUT | NAMES | BLACK];
    RelayingDenied: [RELAYSURE] - [UNAVAILABLE | TIMEOUT | DNSCHECK];
    ContentRejected: [HEADER, ALREADY] if [5];
    SenderAuthFailed: [SPF] - [TEMP | ERROR];
    SenderAuthFailed: [SPF] - [TEMP | RETRY] if [5];
    AuthTemporaryFailure: [AUTH, TEMP | RETRY | UNAVAILABLE | LOCAL | ERROR | FAIL | NEG] if [4];
    EncryptionRequired: [AUTH, NEG | DENY | REQUIRED] if [523, 538];
    AuthFailed: [AUTHSURE] - [SPF];
    AuthFailed: [AUTH, FAIL | INVALID | DENY | UNKNOWN] if [535, 534];
    AuthRequired: [AUTH, REQUIRED | FIRST | NEG] - [POLICY] if [530, 550, 553, 554, 451, 503, 535];
    AuthFailed: [AUTH, FAIL | INVALID] - [SENDER | ACTION];

    // Names, lists, content.
    PolicyRejected: [DENY, SENDER, DOMAIN] - [UNKNOWN | INVALID | BLACK | SPF | NAMES | REQUIRED | HELOREJ | SENDERREJ] if [5];
    DnsPolicyRejected: [DNSCHECK, NEG | INVALID | DENY | FAIL | UNKNOWN | ERROR | HELOREJ | SENDERREJ | CLIENTREJ] - [SYNTAXSURE | BLACK];
    DnsPolicyRejected: [DNSCHECK] - [SYNTAXSURE | BLACK | CMDERR] if [421, 450, 550, 553, 554];
    DnsPolicyRejected: [HELOREJ];
    DnsPolicyRejected: [DNSCHECK, REQUIRED] - [SYNTAXSURE | LOGIN | BLACK] if [5];
    DnsPolicyRejected: [NAMES, DENY | INVALID | BARE | UNKNOWN | ERROR] - [SYNTAX | CERT | AUTH | BLACK | UNREC] if [421, 450, 451, 550, 553, 554, 555];
    DnsPolicyRejected: [NAMES, INVALID] - [SYNTAX | CMDERR | CERT | AUTH | BLACK] if [421, 450, 451, 550, 554];
    DnsPolicyRejected: [SENDERREJ | SENDER, UNKNOWN, DOMAIN];
    PolicyRejected: [VERIFY, FAIL] if [5];
    PolicyRejected: [MEMBERS];
    ContentRejected: [URLBLACK, BLACK | CONTENT];
    Blocklisted: [BLACK] - [ACTION];
    Blocklisted: [BLOCKED, HOSTSCOPE, CONTENT];
    Blocklisted: [BLACK];
    ContentRejected: [CONTENT] - [TEMP | RETRY | ERROR | CMDERR];
    PolicyRejected: [SENDER, POLICY, NEG | DENY] if [5];
    ContentRejected: [CONTENT] - [TEMP | RETRY | COMMAND] if [5];
    ContentRejected: [BODY, DENY | BLOCKED] - [YOU] if [5];
    ContentRejected: [HEADER, FIRST] - [COMMAND | CMDERR] if [5];
    ContentRejected: [HEADER, ERROR | INVALID | DENY] if [5];
    Blocklisted: [BLOCKED, YOU] - [MESSAGE | USER];
    DnsPolicyRejected: [DNSCHECK, TEMP | RETRY];
    NoValidRecipients: [NOVALID];

    // Dialogue.
    BadSequence: [ALREADY, CMDNAME | COMMAND | SENDER | RCPT | CMDERR] - [USER | INTERNALSERVER] if [5];
    BadSequence: [ALREADY] if [503, 504];
    BadSequence: [SEQUENCE] - [PIPELINE | SYNTAXSURE] if [500, 501, 503];
    BadSequence: [ALREADY, SENDER] if [500, 501, 502];
    BadSequence: [COMMAND, INVALID] - [SYNTAXSURE | AUTH | PARAM] if [503];
    BadSequence: [CMDNAME | SENDER | RCPT, FIRST | REQUIRED] - [SYNTAXSURE] if [503, 502];
    BadSequence: [CMDNAME, FIRST] - [SYNTAXSURE | SENDER] if [500, 501, 550, 554];
    BadSequence: [CMDNAME, FIRST] - [SYNTAXSURE | SYNTAX | PARAM] at [5];
    UnrecognizedCommand: [COMMAND | CMDERR, UNRECSURE] - [PARAM];
    SyntaxError: [INVALID, CMDNAME] - [CMDERR] if [501, 553];
    UnsupportedParameter: [PARAM, UNREC | INVALID | UNKNOWN | UNRECSURE | DENY] - [SYNTAXSURE];
    SyntaxError: [SYNTAXSURE] if [5];
    UnrecognizedCommand: [COMMAND | CMDERR, UNREC | UNKNOWN | INVALID] if [500, 501, 502, 503, 504, 421, 554];
    UnrecognizedCommand: [UNRECSURE] if [451, 500, 502, 504];
    UnrecognizedCommand: [COMMAND | CMDERR, UNRECSURE, DISCONNECT] if [550];
    UnrecognizedCommand: [UNAVAILABLE] - [SERVICE | USER | TLS | AUTH] if [500, 502];
    UnrecognizedCommand: [COMMAND | CMDERR, ERROR] - [INTERNALSERVER | LOAD | TIMEOUT] if [500, 502];
    SyntaxError: [USER | RCPT | SENDER, INVALID | FIRST | REQUIRED] - [UNKNOWN | POLICY | AUTH | DNSCHECK] if [500, 501];
    SyntaxError: [COMMAND, PARAM, FIRST | REQUIRED] if [5];
    BadSequence: [CMDNAME] - [SYNTAXSURE] if [503];
    SyntaxError: [SYNTAX, INVALID | NEG | REQUIRED | FIRST | FAIL | ERROR | SYNTAX] if [500, 501, 502, 504, 553, 555];

    // Recipients.
    ConnectionDropped: [LOST, CONNECTION] - [BACKEND] if [4];
    PolicyRejected: [DENY, SENDER, FROMSCOPE] if [5];
    DnsPolicyRejected: [NULLMX, SENDER, DOMAIN] - [UNAVAILABLE | DENY];
    HostNotAcceptingMail: [NULLMX] - [FROMSCOPE | SENDER | RELAY];
    TemporarySystemError: [UNVERIFIED, UNAVAILABLE] if [4];
    TemporarySystemError: [POLICY, UNAVAILABLE, TEMP | RETRY] - [DENY] if [4];
    PolicyRejected: [SUBMIT, DISABLED] if [5];
    PolicyRejected: [SENDER, BLOCKED] - [BLACK | CONTENT | HOSTSCOPE] if [5];
    MailboxUnavailable: [USER, DISABLED] - [SERVICE | ACTION];
    RelayingDenied: [RELAY] - [SENDER];
    PolicyRejected: [SENDERREJ | CLIENTREJ | CMDREJ, DENY | POLICY];
    DeferredUnspecified: [UNVERIFIED, ALREADY] if [4];
    TemporarySystemError: [UNVERIFIED] if [4];
    UnknownUser: [USER | RCPTREJ, UNKNOWN | INVALID | BADRCPT] - [SENDER | TEMP];
    UnknownUser: [BADRCPT] if [5];
    MailboxUnavailable: [USER, DISABLED] if [450, 451, 452];
    UnknownUser: [USER, DISABLED];

    // Waits and losses.
    TemporarySystemError: [TIMEOUT, BACKEND];
    TemporarySystemError: [BACKEND, LOST | DISCONNECT] if [4];
    TemporarySystemError: [BACKEND, CONNECTION, DENY | FAIL | ERROR] if [4];
    ConnectionDropped: [LOST];
    IdleTimeout: [TIMEOUT];

    PolicyRejected: [POLICYSURE, NEG | DENY];

    // The server's state.
    ServiceShuttingDown: [SHUT];
    TemporarySystemError: [LOAD, UNVERIFIED];
    ResourceLow: [LOAD];
    ServiceUnavailable: [MAINTENANCE];
    ServerError: [INTERNALSERVER] if [5];
    ServerError: [INTERNALSERVER] - [TEMP | BACKEND];
    TemporarySystemError: [UNAVAILABLE, BACKEND] if [4];
    PolicyRejected: [UNAVAILABLE, FROMSCOPE] if [5];
    DeferredUnspecified: [UNAVAILABLE, MESSAGE] - [SERVICE] if [4];
    ServiceUnavailable: [UNAVAILABLE] - [USER];
    ServiceUnavailable: [UNAVAILABLE | DISABLED, SERVICE] - [COMMAND | BLOCKED];
    ServiceUnavailable: [FAIL, SERVICE] - [TEMP | LOCAL] if [421];
    TemporarySystemError: [ERROR | FAIL, LOCAL | TEMP] if [4];
    TemporarySystemError: [NEG, LOCAL] - [DENY | RCPTREJ | SENDERREJ | CLIENTREJ] if [4];
    RateLimited: [RATESURE];
    ServiceUnavailable: [DISCONNECT, ERROR] - [LOCAL | TEMP] if [421];
    TemporarySystemError: [ERROR] - [DENY] if [4];
    ServiceUnavailable: [DISCONNECT] - [RETRY | DENY] if [421];
    ServiceUnavailable: [UNAVAILABLE | DISCONNECT, ERROR] if [421];
    PolicyRejected: [DENY | BLOCKED, HOSTSCOPE | FROMSCOPE | POLICYSURE | SENDER] if [4];
    PolicyRejected: [BLOCKED] if [4];
    DeferredUnspecified: [RETRY | DELAY] - [POLICYSURE] if [4];
    ServerError: [BACKEND, NEG | FAIL] - [DENY | VERIFY | POLICY | USER] if [5];
    ServerError: [ERROR, LOCAL] - [DENY | VERIFY | POLICY] if [5];

    // Refusals.
    PolicyRejected: [POLICYSURE | POLICY, DENY | NEG | POLICYSURE | ERROR | FAIL];
    PolicyRejected: [DENY | BLOCKED, SENDER | SENDERREJ | CLIENTREJ];
    UnknownUser: [RCPTREJ] at [1];
    UnknownUser: [USER, DENY] - [MESSAGE] at [1];
    UnknownUser: [USER, NEG] - [DENY | SENDER | MESSAGE | POLICY] if [550, 551];
    PolicyRejected: [SENDER, NEG | INVALID | REQUIRED] if [5];
    DeferredUnspecified: [RETRY | DELAY | TEMP] if [4];
    DeferredUnspecified: [DENY | NEG | FAIL, MESSAGE] if [4];
    RejectedUnspecified: [PERMANENT, DENY];
    RateLimited: [EXCESS | MANY, HOSTSCOPE | FROMSCOPE] if [4];
    SyntaxError: [AUTH] if [500, 501];
    UnknownUser: [RCPTREJ] if [550];
    UnknownUser: [DOMAIN | SERVICE, UNKNOWN] - [SENDER | PROCESS | HOSTSCOPE | DENY] if [550, 551, 553];
    UnknownUser: [MAILBOX] - [DENY | BLOCKED | SENDER | MESSAGE | POLICY | HOSTSCOPE | CONTENT | BLACK] if [550];
    PolicyRejected: [DENY | BLOCKED];
    PolicyRejected: [POLICY] if [550, 553, 554];
};
