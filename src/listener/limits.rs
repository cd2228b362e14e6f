//! The limits and the behaviour of the embedded listener: plain data, compiled from the profile's `[listener]` table.
//! `behaviour` and `dialects` decide how a limit is enforced on the wire.
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
    /// A 421 in place of the greeting, after which the connection is closed.
    #[default]
    Reply,
    /// A reset before the greeting.
    Reset,
    /// An orderly close before the greeting.
    Close,
    /// The connection stays open, but gets no greeting.
    NoGreeting,
}

impl RefusalForm {
    /// Every form.
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

/// The delay of a reply, drawn uniformly between `min` and `max` from the seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// The shortest delay.
    pub min: Duration,
    /// The longest delay; never below `min`.
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
    /// Returns the delay at `step`; none for a step at which the listener sends no reply.
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
    /// After the greeting, or after the handshake of STARTTLS, for the hello.
    pub greeting: Option<Duration>,
    /// After the hello or a message, for MAIL.
    pub hello: Option<Duration>,
    /// After MAIL, for RCPT.
    pub mail: Option<Duration>,
    /// After RCPT, for the next one or the content.
    pub rcpt: Option<Duration>,
    /// After the 354, for the first bytes of the content.
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
    /// The number of errors that are answered without this delay.
    pub after: u32,
    /// The delay of the reply to each further error.
    pub delay: Duration,
}

/// A token bucket: `per_second` limits the sustained rate, and `burst` the number at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// The tokens that are added each second; positive and finite.
    pub per_second: f64,
    /// The largest number at once; at least 1.
    pub burst: u32,
}

/// A window in which the listener reads, writes and accepts nothing, like a process that SIGSTOP has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The start of the window, counted from the start of the load, or from the start of the listener if there is no
    /// load.
    pub from: Duration,
    /// The length.
    pub length: Duration,
}

/// A reply that replaces the listener's own reply at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Forced {
    /// The step: greeting, hello, starttls, auth, mail, rcpt, data, body or quit.
    pub step: Step,
    /// The whole reply with its code, `452 4.3.1 queue full`; several lines are separated by `\n`. A 421 also closes
    /// the session.
    pub reply: String,
    /// The probability of the reply, 0 to 1, drawn from the seed.
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
    /// The listener's name in its greeting and replies.
    pub hostname: String,
    /// Whether an address beyond loopback may be bound.
    pub allow_remote: bool,
    /// The peers that may announce other clients, by PROXY header or XCLIENT.
    pub trusted: Addresses,
    /// Whether connections of trusted peers begin with a PROXY header.
    pub proxy: bool,
    /// The longest time for that header.
    pub proxy_timeout: Duration,
    /// Whether trusted peers may send XCLIENT.
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
    /// TLS sessions at once. If this is set, a listener without TLS offers STARTTLS too. It refuses the command with
    /// 454, or with the reply of this limit if the limit is 0.
    pub max_tls_sessions: Option<u32>,

    /// Whether and how TLS is used.
    pub tls: TlsMode,
    /// The certificate and its key. If `None`, a certificate is made at the start.
    pub credential: Option<Credential>,
    /// The file to which that certificate is written, in PEM.
    pub certificate_out: Option<PathBuf>,
    /// The authorities of client certificates. If they are set, a client must show a certificate that one of them
    /// issued.
    pub client_authorities: Option<Vec<CertificateDer<'static>>>,
    /// The latest version of TLS that is accepted.
    pub max_tls_version: Version,
    /// With TLS from the first byte: whether connections over a limit are refused in clear text before the handshake,
    /// as Exim does.
    pub refuse_before_tls: bool,
    /// The probability, 0 to 1, that STARTTLS fails for a temporary reason (454).
    pub tls_error_rate: f64,

    /// Accepted MAIL commands of a session.
    pub max_messages_per_session: Option<u32>,
    /// Bytes of content accepted in a session, without dot stuffing. A message that would exceed the limit is refused
    /// at its end, after a chunk, or at MAIL if its SIZE exceeds the rest.
    pub max_session_bytes: Option<u64>,
    /// Protocol errors (`RequestFault`) answered in a session; the next one ends the session.
    pub max_bad_commands: Option<u32>,
    /// NOOP, RSET, VRFY, EXPN, HELP and repeated hellos answered in a session without a message between them; the next
    /// one ends it.
    pub max_junk_commands: Option<u32>,
    /// The longest session from its greeting to its end, active or not.
    pub max_connection_time: Option<Duration>,
    /// The longest time without input.
    pub idle_timeout: Option<Duration>,
    /// The longest time without input, by the expected command.
    pub step_timeouts: StepTimeouts,

    /// Recipients of a message.
    pub max_recipients: Option<u32>,
    /// The recipients that are refused as unknown.
    pub unknown_recipients: Patterns,
    /// Unknown recipients answered in a session; the next one ends it.
    pub max_invalid_recipients: Option<u32>,
    /// Bytes of a message, without dot stuffing (RFC 1870); also advertised with SIZE.
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
    /// Whether content with a bare CR or LF is refused.
    pub reject_bare_cr_lf: bool,
    /// MAIL commands by time.
    pub message_rate: Option<RateLimit>,

    /// Messages accepted in total. After that number the queue is full.
    pub queue_full_after: Option<u64>,
    /// The number of transactions in progress above which resources are low.
    pub resource_low_above: Option<u32>,
    /// Contents that are processed at once. Further contents wait until a worker is free. Then their own processing
    /// time begins.
    pub workers: Option<u32>,
    /// The probability, 0 to 1, that MAIL fails for a temporary system error (452).
    pub temporary_error_rate: f64,
    /// The probability, 0 to 1, that the final dot fails for a temporary server error (451).
    pub server_deferral_rate: f64,
    /// The probability, 0 to 1, that the final dot fails for a permanent server error (554).
    pub server_error_rate: f64,
    /// Whether the licence has expired. Then no session is served.
    pub licence_expired: bool,
    /// The time after the start of the load, or of the listener if there is no load, from which the service is not
    /// available (421); zero: from the beginning.
    pub unavailable_after: Option<Duration>,
    /// How long the service is not available; `None` for ever.
    pub unavailable_for: Option<Duration>,
    /// How long a recipient is deferred (450) after the first attempt of the same client, sender and recipient.
    pub greylist: Option<Duration>,

    /// Whether MAIL needs TLS first (530). A listener without TLS then offers STARTTLS, and answers it with 454.
    pub require_starttls: bool,
    /// Whether MAIL needs AUTH first (530).
    pub require_auth: bool,
    /// Whether AUTH needs encryption first (538).
    pub auth_requires_encryption: bool,
    /// The users that may log in; `None` if AUTH is not offered.
    pub users: Option<Arc<Users>>,
    /// The mechanisms that users may use. -PLUS is offered only in sessions with a channel binding.
    pub mechanisms: Vec<Mechanism>,
    /// Failed logins answered in a session; the next one ends it.
    pub max_auth_failures: Option<u32>,

    /// The delay of each reply.
    pub delays: ReplyDelays,
    /// The additional delay of replies to errors.
    pub error_delay: Option<ErrorDelay>,
    /// A window in which the listener does nothing.
    pub stall: Option<Stall>,
    /// Replies forced at steps; the first one that applies is used.
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
