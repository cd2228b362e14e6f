//! The limits and the behaviour of the embedded listener: plain data, compiled from the profile's `[listener]` table.
//! `behaviour` and `dialects` decide how a limit shows on the wire.
//!
//! # Decisions
//! - A limit is always the largest number that is still served: `max_connections_per_host = 50` serves 50 and refuses
//!   the 51st. `None` is no limit, and `Limits::default()` has none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

pub use super::offers::Offers;
pub use super::patterns::Patterns;
use crate::net::address::addresses::Addresses;
use crate::net::address::tls::{Credential, Version};
use crate::smtp::Step;
use crate::smtp::auth::Mechanism;
use crate::smtp::auth::verify::Users;
pub use crate::smtp::content::EndOfData;
use crate::smtp::script::Protocol;
pub use crate::smtp::script::TlsMode;

/// The server whose reply texts the listener uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Cisco's Email Security Appliance, with `#4.4.5` before the text.
    #[default]
    Cisco,
    /// Postfix.
    Postfix,
    /// Exim.
    Exim,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 3] = [Dialect::Cisco, Dialect::Postfix, Dialect::Exim];

    /// Returns its name in profiles.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dialect::Cisco => "cisco",
            Dialect::Postfix => "postfix",
            Dialect::Exim => "exim",
        }
    }
}

/// How a connection over a limit is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefusalForm {
    /// A 421 in place of the greeting, then a close.
    #[default]
    Reply,
    /// A reset before the greeting.
    Reset,
    /// An orderly close before the greeting.
    Close,
    /// A connection that is taken and never greeted.
    NoGreeting,
}

impl RefusalForm {
    /// Every way.
    pub const ALL: [RefusalForm; 4] =
        [RefusalForm::Reply, RefusalForm::Reset, RefusalForm::Close, RefusalForm::NoGreeting];

    /// Returns the name in profiles and results.
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalForm::Reply => "reply",
            RefusalForm::Reset => "reset",
            RefusalForm::Close => "close",
            RefusalForm::NoGreeting => "no-greeting",
        }
    }
}

/// The delay of a reply: uniform between both ends, drawn by seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// At least.
    pub min: Duration,
    /// At most; never below `min`.
    pub max: Duration,
}

impl Delay {
    /// Returns a constant delay.
    pub const fn fixed(delay: Duration) -> Delay {
        Delay { min: delay, max: delay }
    }
}

/// The delay of the reply at each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyDelays {
    /// Before the greeting.
    pub greeting: Delay,
    /// HELO and EHLO.
    pub hello: Delay,
    /// MAIL.
    pub mail: Delay,
    /// RCPT.
    pub rcpt: Delay,
    /// Each reply to AUTH and within its exchange.
    pub auth: Delay,
    /// DATA, before the 354.
    pub data: Delay,
    /// The final dot.
    pub body: Delay,
    /// QUIT.
    pub quit: Delay,
}

impl ReplyDelays {
    /// Returns the delay at `step`; none at steps that have no reply of their own here.
    pub const fn at(&self, step: Step) -> Delay {
        match step {
            Step::Greeting => self.greeting,
            Step::Hello => self.hello,
            Step::Mail => self.mail,
            Step::Rcpt => self.rcpt,
            Step::Auth => self.auth,
            Step::Data => self.data,
            Step::Body => self.body,
            Step::Quit => self.quit,
            Step::Dns | Step::Connect | Step::Tls | Step::Starttls | Step::Command | Step::Idle => {
                Delay::fixed(Duration::ZERO)
            }
        }
    }
}

/// How long the listener waits for input after each step, in place of the idle time-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimeouts {
    /// After the greeting or a handshake after STARTTLS, for the hello.
    pub greeting: Option<Duration>,
    /// After the hello or a message, for MAIL.
    pub hello: Option<Duration>,
    /// After MAIL, for RCPT.
    pub mail: Option<Duration>,
    /// After RCPT, for the next one or the content.
    pub rcpt: Option<Duration>,
    /// After the 354, for the first of the content.
    pub data: Option<Duration>,
    /// Within the content, and between its chunks.
    pub body: Option<Duration>,
}

impl StepTimeouts {
    /// Returns the time-out after `step`, if there is one.
    pub const fn after(&self, step: Step) -> Option<Duration> {
        match step {
            Step::Greeting => self.greeting,
            Step::Hello => self.hello,
            Step::Mail => self.mail,
            Step::Rcpt => self.rcpt,
            Step::Data => self.data,
            Step::Body => self.body,
            _ => None,
        }
    }
}

/// A tarpit for the errors of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorDelay {
    /// The number of errors that are answered without delay.
    pub after: u32,
    /// The delay of the reply to each further error.
    pub delay: Duration,
}

/// A token bucket: `per_second` are let through for good, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Refilled a second; positive and finite.
    pub per_second: f64,
    /// The most that may come at once; at least 1.
    pub burst: u32,
}

/// A window in which the listener reads, writes and accepts nothing, like a process under SIGSTOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// From the listener's start.
    pub from: Duration,
    /// How long.
    pub length: Duration,
}

/// A reply forced at a step, in place of what the listener would say there.
#[derive(Clone, Debug, PartialEq)]
pub struct Forced {
    /// The step: greeting, hello, starttls, auth, mail, rcpt, data, body or quit.
    pub step: Step,
    /// The whole reply with its code, `452 4.3.1 queue full`; several lines are separated by `\n`. A 421 also closes.
    pub reply: String,
    /// How often, 0 to 1, drawn by seed.
    pub probability: f64,
}

/// The limits and the behaviour of the listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The protocol.
    pub protocol: Protocol,
    /// The extensions that it offers.
    pub offers: Offers,
    /// The server whose reply texts it uses.
    pub style: Dialect,
    /// The name in its greeting and replies.
    pub hostname: String,
    /// May bind an address beyond loopback.
    pub allow_remote: bool,
    /// Peers that may speak for other clients, by PROXY header or XCLIENT.
    pub trusted: Addresses,
    /// Connections of trusted peers begin with a PROXY header.
    pub proxy: bool,
    /// How long that header may take.
    pub proxy_timeout: Duration,
    /// Trusted peers may say XCLIENT.
    pub xclient: bool,
    /// The length of the kernel's accept queue.
    pub backlog: u32,

    /// Sessions at once, of the whole server ("to this host").
    pub max_connections: Option<u32>,
    /// Sessions at once from one client address.
    pub max_connections_per_host: Option<u32>,
    /// Sessions at once of this address and port ("to this listener").
    pub max_connections_per_listener: Option<u32>,
    /// New connections by time.
    pub connection_rate: Option<RateLimit>,
    /// How a connection over one of the four limits above is refused.
    pub shown_by: RefusalForm,
    /// TLS sessions at once. Where no TLS is spoken, STARTTLS is offered all the same and with 0 meets this limit.
    pub max_tls_sessions: Option<u32>,

    /// Whether and how TLS is spoken.
    pub tls: TlsMode,
    /// The certificate and its key; `None` if a certificate is made at the start.
    pub credential: Option<Credential>,
    /// Where that certificate is written to, in PEM.
    pub certificate_out: Option<PathBuf>,
    /// A client must show a certificate of one of these.
    pub client_authorities: Option<Vec<CertificateDer<'static>>>,
    /// The latest version of TLS that is spoken.
    pub max_tls_version: Version,
    /// With TLS from the first byte: connections over a limit are refused in clear text, before the handshake, as Exim does.
    pub refuse_before_tls: bool,
    /// How often, 0 to 1, STARTTLS meets a temporary reason (454).
    pub tls_error_rate: f64,

    /// MAIL commands of a session.
    pub max_messages_per_session: Option<u32>,
    /// Bytes of content accepted in a session, dots unstuffed; what would go beyond is refused at its end, and at MAIL by
    /// its SIZE.
    pub max_session_bytes: Option<u64>,
    /// Errors (500 to 504) answered in a session; the next one ends it.
    pub max_bad_commands: Option<u32>,
    /// NOOP, RSET, VRFY, EXPN, HELP and another hello answered in a session without a message between them; the next one
    /// ends it.
    pub max_junk_commands: Option<u32>,
    /// From the greeting to the end of a session, active or not.
    pub max_connection_time: Option<Duration>,
    /// Without input.
    pub idle_timeout: Option<Duration>,
    /// The longest time without input, by the expected command.
    pub step_timeouts: StepTimeouts,

    /// Recipients of a message.
    pub max_recipients: Option<u32>,
    /// The unknown recipients.
    pub unknown_recipients: Patterns,
    /// Such recipients answered in a session; the next one ends it.
    pub max_invalid_recipients: Option<u32>,
    /// Bytes of a message, dots unstuffed (RFC 1870); also advertised with SIZE.
    pub max_message_size: Option<u64>,
    /// Bytes of a message's header, without the empty line.
    pub max_header_size: Option<u64>,
    /// Bytes of a command or text line, with its CRLF (RFC 5321 4.5.3.1.4 and .6).
    pub max_line_length: Option<u32>,
    /// Bytes of a path, with its angle brackets; never more than [`MAX_PATH`](crate::smtp::request::MAX_PATH).
    pub max_path_length: Option<u32>,
    /// `Received:` fields of a message.
    pub max_hops: Option<u32>,
    /// The sequence that ends the content after DATA.
    pub end_of_data: EndOfData,
    /// Refuse content with a bare CR or LF.
    pub reject_bare_cr_lf: bool,
    /// Messages (MAIL commands) by time.
    pub message_rate: Option<RateLimit>,

    /// Messages accepted in all; then the queue is full.
    pub queue_full_after: Option<u64>,
    /// Transactions in progress at once; above it, resources are low.
    pub resource_low_above: Option<u32>,
    /// Contents that are served at once; the others wait for their turn, and then for as long as a content takes.
    pub workers: Option<u32>,
    /// How often, 0 to 1, MAIL meets a temporary system error (452).
    pub temporary_error_rate: f64,
    /// How often, 0 to 1, the final dot meets a temporary server error (451).
    pub server_deferral_rate: f64,
    /// How often, 0 to 1, the final dot meets a permanent server error (554).
    pub server_error_rate: f64,
    /// The licence has expired: no session is served.
    pub licence_expired: bool,
    /// From this time after the start the service is not available (421); zero: from the beginning.
    pub unavailable_after: Option<Duration>,
    /// For how long; `None`: for good.
    pub unavailable_for: Option<Duration>,
    /// How long a client's first attempt to send to a recipient from a sender must lie back for it to be accepted (450).
    pub greylist: Option<Duration>,

    /// MAIL needs TLS first (530). Where no TLS is spoken, STARTTLS is then offered, and not available (454).
    pub require_starttls: bool,
    /// MAIL needs AUTH first (530).
    pub require_auth: bool,
    /// AUTH needs encryption first (538).
    pub auth_requires_encryption: bool,
    /// The users that may log in; `None` if AUTH is not offered.
    pub users: Option<Arc<Users>>,
    /// How they may; -PLUS only where there is a channel binding.
    pub mechanisms: Vec<Mechanism>,
    /// Failed logins answered in a session; the next one ends it.
    pub max_auth_failures: Option<u32>,

    /// How long each reply is held back.
    pub delays: ReplyDelays,
    /// How long replies to errors are held back besides.
    pub error_delay: Option<ErrorDelay>,
    /// A window of silence.
    pub stall: Option<Stall>,
    /// Replies forced at steps; the first that fits is used.
    pub replies: Vec<Forced>,
}

impl Default for Limits {
    /// Returns settings without any limits.
    fn default() -> Self {
        Limits {
            protocol: Protocol::Smtp,
            offers: Offers::default(),
            style: Dialect::default(),
            hostname: "mx.recipient.example".to_owned(),
            allow_remote: false,
            backlog: 4096,
            trusted: Addresses::loopback(),
            proxy: false,
            proxy_timeout: Duration::from_secs(5),
            xclient: false,
            max_connections: None,
            max_connections_per_host: None,
            max_connections_per_listener: None,
            connection_rate: None,
            shown_by: RefusalForm::default(),
            max_tls_sessions: None,
            tls: TlsMode::None,
            credential: None,
            certificate_out: None,
            client_authorities: None,
            max_tls_version: Version::Tls13,
            refuse_before_tls: false,
            tls_error_rate: 0.0,
            max_messages_per_session: None,
            max_session_bytes: None,
            max_bad_commands: None,
            max_junk_commands: None,
            max_connection_time: None,
            idle_timeout: None,
            step_timeouts: StepTimeouts::default(),
            max_recipients: None,
            unknown_recipients: Patterns::default(),
            max_invalid_recipients: None,
            max_message_size: None,
            max_header_size: None,
            max_line_length: None,
            max_path_length: None,
            max_hops: None,
            end_of_data: EndOfData::Strict,
            reject_bare_cr_lf: false,
            message_rate: None,
            queue_full_after: None,
            resource_low_above: None,
            workers: None,
            temporary_error_rate: 0.0,
            server_deferral_rate: 0.0,
            server_error_rate: 0.0,
            licence_expired: false,
            unavailable_after: None,
            unavailable_for: None,
            greylist: None,
            require_starttls: false,
            require_auth: false,
            auth_requires_encryption: false,
            users: None,
            mechanisms: Mechanism::ALL.to_vec(),
            max_auth_failures: None,
            delays: ReplyDelays::default(),
            error_delay: None,
            stall: None,
            replies: Vec::new(),
        }
    }
}
