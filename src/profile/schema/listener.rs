//! `[listener]`: what the embedded listener enforces and how it behaves.

use super::auth::Users;
use crate::listener::limits::{Dialect, EndOfData, Limits, RefusalForm};
use crate::net::address::tls::Version;
use crate::profile::bounds;
use crate::profile::table::{Word, tables, words};
use crate::profile::units::{Count, Percent, Rate, Size, Time, TimeRange};
use crate::smtp::Step;
use crate::smtp::auth::Mechanism;
use crate::smtp::script::{Protocol, TlsMode};

words! {
    /// The protocol of the embedded listener.
    for Protocol {
        /// SMTP.
        Smtp = "smtp",
        /// LMTP: LHLO, and one reply for each recipient after the content.
        Lmtp = "lmtp",
    }
    /// An extension that the embedded listener may offer.
    enum Extension {
        /// RFC 2920.
        Pipelining = "pipelining",
        /// RFC 6152.
        EightBitMime = "8bitmime",
        /// BDAT (RFC 3030).
        Chunking = "chunking",
        /// RFC 3030.
        BinaryMime = "binarymime",
        /// RFC 6531.
        SmtpUtf8 = "smtputf8",
        /// RFC 3461.
        Dsn = "dsn",
        /// RFC 2852.
        DeliverBy = "deliverby",
        /// RFC 8689; in clear text too.
        RequireTls = "requiretls",
    }
    /// The product whose reply texts the embedded listener uses.
    for Dialect {
        /// Cisco's Email Security Appliance.
        Cisco = "cisco",
        /// Postfix.
        Postfix = "postfix",
        /// Exim.
        Exim = "exim",
    }
    /// What ends the content after DATA.
    for EndOfData {
        /// CRLF.CRLF only.
        Strict = "strict",
        /// A dot between any line ends, even bare LF and bare CR: vulnerable to SMTP smuggling.
        Lenient = "lenient",
    }
    /// How a connection over a limit is refused.
    for RefusalForm {
        /// A 421 in place of the greeting.
        Reply = "reply",
        /// A reset before the greeting.
        Reset = "reset",
        /// An orderly close before the greeting.
        Close = "close",
        /// A connection that is never greeted.
        NoGreeting = "no-greeting",
    }
}

tables! {
    /// The embedded listener. A limit is the largest number that is still served; absent: no limit.
    Listener {
        /// The protocol.
        protocol: Word<Protocol>, or Word(Protocol::Smtp);
        /// The extensions that it offers, in addition to SIZE and STARTTLS. Default pipelining and 8bitmime.
        extensions: Vec<Extension>;
        /// The product whose reply texts it uses.
        style: Word<Dialect>, or Word(Dialect::Cisco);
        /// Its name in greeting and replies.
        hostname: String, or Limits::default().hostname;
        /// Its address: `ip:port` or `unix:path`. Default: a free port of 127.0.0.1 for a run, 127.0.0.1:2525 for
        /// `smtpress listen`.
        address: String;
        /// Peers that may announce the address of another client: addresses, ranges `a-b`, blocks `a/n`. Default
        /// loopback. Limits of one host count such a peer only after it has announced a client.
        trusted: Vec<String>;
        /// Whether connections of trusted peers begin with a PROXY protocol header, version 1 or 2.
        proxy: bool, or false;
        /// The longest wait for the header.
        proxy_timeout: Time, or Time(Limits::default().proxy_timeout);
        /// Whether trusted peers may send XCLIENT.
        xclient: bool, or false;
        /// Whether it may bind an address beyond loopback.
        allow_remote: bool, or false;
        /// The length of the kernel's accept queue.
        backlog: Count, or Count(Limits::default().backlog.into()), if bounds::count;
        /// Sessions at once, of the whole server.
        max_connections: Count, if bounds::count;
        /// Sessions at once from one client address.
        max_connections_per_host: Count, if bounds::count;
        /// Sessions at once of this address and port.
        max_connections_per_listener: Count, if bounds::count;
        /// New connections in a time.
        connection_rate: Rate, if bounds::rate;
        /// How many of them may come at once (burst). Default: as many as the rate's number, at least 1.
        connection_burst: Count, if bounds::listener_burst;
        /// How a connection over a limit is refused.
        shown_by: Word<RefusalForm>, or Word(RefusalForm::Reply);
        /// Whether and how TLS is used. Default: as the clients of an embedded listener do, else none.
        tls: Word<TlsMode>;
        /// A file with its certificate, in PEM. Absent: one is made at the start.
        cert: String;
        /// A file with the key of the certificate.
        key: String;
        /// A file to which its certificate is written: a new or empty one, or one that holds a certificate alone, which is replaced.
        cert_out: String;
        /// A file of authorities: a client must have a certificate that one of them issued.
        client_ca: String;
        /// The highest version of TLS.
        max_tls_version: Word<Version>, or Word(Version::Tls13);
        /// Refuse connections over a limit in clear text, before the handshake (implicit TLS).
        refuse_before_tls: bool, or false;
        /// The share of STARTTLS commands that fail temporarily (454).
        tls_error_rate: Percent, or Percent(0.0), if bounds::share;
        /// TLS sessions at once. Without TLS, STARTTLS is offered, too, and with 0 it is refused by this limit.
        max_tls_sessions: Count, if bounds::count;
        /// Messages of a session.
        max_messages_per_session: Count, if bounds::count;
        /// Bytes of content accepted in a session; a message that would go beyond is refused.
        max_session_bytes: Size;
        /// Errors answered in a session; the next one ends it.
        max_bad_commands: Count, if bounds::count;
        /// NOOP, RSET, VRFY, EXPN, HELP and another hello answered in a session without a message between them; the next
        /// one ends it.
        max_junk_commands: Count, if bounds::count;
        /// The longest time of a session, active or not.
        max_connection_time: Time;
        /// The longest time without input.
        idle_timeout: Time;
        /// The longest time without input, by the expected command.
        step_timeouts: StepTimeouts, or StepTimeouts::default();
        /// Recipients of a message.
        max_recipients: Count, if bounds::count;
        /// Unknown recipients, as patterns: `nobody*@*`. They get 550 unknown-user. Default: none.
        unknown_recipients: Vec<String>, or Vec::new();
        /// Such recipients answered in a session; the next one ends it.
        max_invalid_recipients: Count, if bounds::count;
        /// Bytes of a message.
        max_message_size: Size;
        /// Bytes of a message's header.
        max_header_size: Size;
        /// Bytes of a line, with its CRLF.
        max_line_length: Size, if bounds::line;
        /// Bytes of a sender's or recipient's path, with its angle brackets; at most 256.
        max_path_length: Size, if bounds::path;
        /// `Received:` fields of a message.
        max_hops: Count, if bounds::count;
        /// What ends the content after DATA.
        end_of_data: Word<EndOfData>, or Word(EndOfData::Strict);
        /// Refuse content with a bare CR or LF.
        reject_bare_cr_lf: bool, or false;
        /// Messages in a time.
        message_rate: Rate, if bounds::rate;
        /// How many of them may come at once (burst). Default: as many as the rate's number, at least 1.
        message_burst: Count, if bounds::listener_burst;
        /// Messages accepted in all before the queue is full.
        queue_full_after: Count;
        /// Transactions at once; above this number resources are low.
        resource_low_above: Count, if bounds::count;
        /// Contents that it processes at once, each for the time of `delays.body`; others wait.
        workers: Count, if bounds::workers;
        /// The share of MAIL commands with a temporary system error.
        temporary_error_rate: Percent, or Percent(0.0), if bounds::share;
        /// The share of messages with a temporary server error at the final dot.
        server_deferral_rate: Percent, or Percent(0.0), if bounds::share;
        /// The share of messages with a permanent server error at the final dot.
        server_error_rate: Percent, or Percent(0.0), if bounds::share;
        /// Whether the licence has expired: no client is served.
        licence_expired: bool, or false;
        /// The start of an outage, since the start of the run; with `listen`, since the start of the listener.
        unavailable_after: Time;
        /// The length of the outage. Default: without end.
        unavailable_for: Time;
        /// A greylist: a recipient is deferred until this long after the first attempt from the same client address and
        /// sender.
        greylist: Time;
        /// MAIL needs TLS first.
        require_starttls: bool, or false;
        /// MAIL needs AUTH first.
        require_auth: bool, or false;
        /// AUTH needs encryption first.
        auth_requires_encryption: bool, or false;
        /// The users that may log in. Absent: none, and AUTH is not offered.
        users: Users;
        /// The mechanisms for logins. Default: all, scram-sha-256-plus only over TLS.
        auth_mechanisms: Vec<Word<Mechanism>>;
        /// Failed logins answered in a session; the next one ends it.
        max_auth_failures: Count, if bounds::count;
        /// The delay of each reply.
        delays: Delays, or Delays::default();
        /// A tarpit: the delay of replies to errors, unknown recipients and failed logins.
        error_delay: ErrorDelay;
        /// One window of silence.
        stall: Stall;
        /// Forced replies at steps; the first that matches is used.
        replies: Vec<Forced>, or Vec::new();
    }
    /// The delay of each reply: "2ms", or a random time in "5ms..40ms". Default 0s.
    Delays {
        /// Before the greeting.
        greeting: TimeRange, or TimeRange::default();
        /// HELO and EHLO.
        hello: TimeRange, or TimeRange::default();
        /// AUTH, and each line of its exchange.
        auth: TimeRange, or TimeRange::default();
        /// MAIL.
        mail: TimeRange, or TimeRange::default();
        /// RCPT.
        rcpt: TimeRange, or TimeRange::default();
        /// DATA.
        data: TimeRange, or TimeRange::default();
        /// The final dot.
        body: TimeRange, or TimeRange::default();
        /// QUIT.
        quit: TimeRange, or TimeRange::default();
    }
    /// How long the listener waits for input after each step. Default: `idle_timeout`.
    StepTimeouts {
        /// After the greeting, for the hello.
        greeting: Time;
        /// After the hello or a message, for MAIL.
        hello: Time;
        /// After MAIL, for RCPT.
        mail: Time;
        /// After RCPT, for the next one or the content.
        rcpt: Time;
        /// After the 354, for the first of the content.
        data: Time;
        /// Within the content, and between its chunks.
        body: Time;
    }
    /// The tarpit for the errors of a session.
    ErrorDelay {
        /// The number of errors that are answered without delay.
        after: Count, or Count(0), if bounds::count;
        /// The delay of each further reply.
        delay: Time;
    }
    /// A window in which the listener reads, writes and accepts nothing.
    Stall {
        /// The start, since the start of the run; with `listen`, since the start of the listener.
        from: Time, or Time::default();
        /// The length of the window.
        length as "for": Time, or Time::default();
    }
    /// A reply in place of the listener's own.
    Forced {
        /// The step: greeting, hello, starttls, auth, mail, rcpt, data, body or quit.
        step: Word<Step>, if bounds::reply_step;
        /// The reply with its code: "452 4.3.1 queue full"; lines are separated by \n. A 421 also closes.
        reply: String, if bounds::reply;
        /// The share of these steps that get the reply.
        probability: Percent, or Percent(100.0), if bounds::share;
    }
}
