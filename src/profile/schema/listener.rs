//! `[listener]`: what the embedded listener enforces and how it behaves.

use super::auth::Users;
use crate::listener::limits::{Dialect, EndOfData, Limits, RefusalForm};
use crate::net::address::tls::Version;
use crate::profile::bounds;
use crate::profile::table::{tables, words};
use crate::profile::units::{Count, Percent, Rate, Size, Time, TimeRange};
use crate::smtp::Step;
use crate::smtp::auth::Mechanism;
use crate::smtp::script::{Protocol, TlsMode};

words! {
    /// What the embedded listener speaks.
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
    /// Whose texts the embedded listener speaks.
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
        /// A dot between any line ends, bare LF and bare CR too: open to SMTP smuggling.
        Lenient = "lenient",
    }
    /// How a connection over a limit learns of it.
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
        /// What it speaks.
        protocol: Protocol, or Protocol::Smtp;
        /// The extensions it offers, beside SIZE and STARTTLS. Default pipelining and 8bitmime.
        extensions: Vec<Extension>;
        /// Whose texts it speaks.
        style: Dialect, or Dialect::Cisco;
        /// Its name in greeting and replies.
        hostname: String, or Limits::default().hostname;
        /// Where it listens: `ip:port` or `unix:path`. Default: a free port of 127.0.0.1 for a run, 127.0.0.1:2525 for
        /// `smtpress listen`.
        address: String;
        /// Peers that may speak for other clients: addresses, ranges `a-b`, blocks `a/n`. Default loopback. No limit of one
        /// host counts them before they have said for whom they speak.
        trusted: Vec<String>;
        /// Connections of trusted peers begin with a PROXY protocol header, version 1 or 2.
        proxy: bool, or false;
        /// How long the header may take.
        proxy_timeout: Time, or Time(Limits::default().proxy_timeout);
        /// Trusted peers may say XCLIENT.
        xclient: bool, or false;
        /// May bind an address beyond loopback.
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
        /// How many of them may come at once. Default: as many as the rate's number, at least 1.
        connection_burst: Count, if bounds::listener_burst;
        /// How a connection over a limit learns of it.
        shown_by: RefusalForm, or RefusalForm::Reply;
        /// Whether and how TLS is spoken. Default: as the clients of an embedded listener do, else none.
        tls: TlsMode;
        /// A file with its certificate, in PEM. Absent: one is made at the start.
        cert: String;
        /// A file with the key of it.
        key: String;
        /// A file to write its certificate to.
        cert_out: String;
        /// A file of certificates: a client must show one that these issued.
        client_ca: String;
        /// The latest version of TLS that is spoken.
        max_tls_version: Version, or Version::Tls13;
        /// Refuse connections over a limit in clear text, before the handshake (implicit TLS).
        refuse_before_tls: bool, or false;
        /// How often STARTTLS meets a temporary reason.
        tls_error_rate: Percent, or Percent(0.0), if bounds::share;
        /// TLS sessions at once. Where no TLS is spoken, STARTTLS is offered all the same and with 0 meets this limit.
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
        /// The longest a session may last, active or not.
        max_connection_time: Time;
        /// The longest a session may be without input.
        idle_timeout: Time;
        /// The same by what comes next.
        step_timeouts: StepTimeouts, or StepTimeouts::default();
        /// Recipients of a message.
        max_recipients: Count, if bounds::count;
        /// Recipients that nobody knows, as patterns: `nobody*@*`. They get 550 unknown-user. Default: none.
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
        end_of_data: EndOfData, or EndOfData::Strict;
        /// Refuse content with a bare CR or LF.
        reject_bare_cr_lf: bool, or false;
        /// Messages in a time.
        message_rate: Rate, if bounds::rate;
        /// How many of them may come at once. Default: as many as the rate's number, at least 1.
        message_burst: Count, if bounds::listener_burst;
        /// Messages accepted in all; then the queue is full.
        queue_full_after: Count;
        /// Transactions at once; above, resources are low.
        resource_low_above: Count, if bounds::count;
        /// Contents that it serves at once, each for as long as `delays.body` says; the others wait for their turn.
        workers: Count, if bounds::workers;
        /// How often MAIL meets a temporary system error.
        temporary_error_rate: Percent, or Percent(0.0), if bounds::share;
        /// How often the final dot meets a temporary server error.
        server_deferral_rate: Percent, or Percent(0.0), if bounds::share;
        /// How often the final dot meets a permanent server error.
        server_error_rate: Percent, or Percent(0.0), if bounds::share;
        /// The licence has expired: nobody is served.
        licence_expired: bool, or false;
        /// From this time after its start the service is not available.
        unavailable_after: Time;
        /// How long it is not available then. Default: for good.
        unavailable_for: Time;
        /// A greylist: a recipient is deferred until so long after the first attempt from the same client address and sender.
        greylist: Time;
        /// MAIL needs TLS first.
        require_starttls: bool, or false;
        /// MAIL needs AUTH first.
        require_auth: bool, or false;
        /// AUTH needs encryption first.
        auth_requires_encryption: bool, or false;
        /// Who may log in. Absent: nobody, and AUTH is not offered.
        users: Users;
        /// How they may. Default: all mechanisms, scram-sha-256-plus only over TLS.
        auth_mechanisms: Vec<Mechanism>;
        /// Failed logins answered in a session; the next one ends it.
        max_auth_failures: Count, if bounds::count;
        /// How long each reply is held back.
        delays: Delays, or Delays::default();
        /// A tarpit: how long replies to errors, unknown recipients and failed logins are held back.
        error_delay: ErrorDelay;
        /// One window of silence.
        stall: Stall;
        /// Replies forced at steps; the first that fits is used.
        replies: Vec<Forced>, or Vec::new();
    }
    /// How long each reply is held back: "2ms", or anything in "5ms..40ms". Default 0s.
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
    /// How long the listener waits for input after each step. Default: as `idle_timeout` says.
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
    /// What a session's errors cost it.
    ErrorDelay {
        /// So many are answered at once; the next ones are held back.
        after: Count, or Count(0), if bounds::count;
        /// How long each is held back.
        delay: Time;
    }
    /// A window in which the listener reads, writes and accepts nothing.
    Stall {
        /// From the listener's start.
        from: Time, or Time::default();
        /// How long.
        length as "for": Time, or Time::default();
    }
    /// A reply in place of the listener's own.
    Forced {
        /// Where: greeting, hello, starttls, auth, mail, rcpt, data, body or quit.
        step: Step, if bounds::reply_step;
        /// The reply with its code: "452 4.3.1 queue full"; lines are separated by \n. A 421 also closes.
        reply: String, if bounds::reply;
        /// How often.
        probability: Percent, or Percent(100.0), if bounds::share;
    }
}
