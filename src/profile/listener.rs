//! The `[listener]` table: its keys, and what they make of the embedded listener's [`Limits`].
//!
//! What a limit does on the wire is the business of `listener`.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::{self, Known, Mechanism};
use super::document::{Document, Key, keys};
use super::error::ProfileError;
use super::schema::{tables, words};
use super::tls::{self, Tls, TlsVersion};
use super::units::{Count, Percent, Rate, Size, Time, TimeRange};
use crate::listener::limits;
use crate::listener::limits::{Limits, Offers};
use crate::smtp::request::MAX_PATH;
use crate::smtp::{Reply, Step, script};

words! {
    /// What the embedded listener speaks.
    Protocol {
        /// SMTP.
        Smtp = "smtp",
        /// LMTP: LHLO, and one reply for each recipient after the content.
        Lmtp = "lmtp",
    }
    /// An extension that the embedded listener may offer.
    Extension {
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
    Style {
        /// Cisco's Email Security Appliance.
        Cisco = "cisco",
        /// Postfix.
        Postfix = "postfix",
        /// Exim.
        Exim = "exim",
    }
    /// What ends the content after DATA.
    EndOfData {
        /// CRLF.CRLF only.
        Strict = "strict",
        /// A dot between any line ends, bare LF and bare CR too: open to SMTP smuggling.
        Lenient = "lenient",
    }
    /// How a connection over a limit learns of it.
    ShownBy {
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
        /// What it speaks. Default smtp.
        protocol: Protocol,
        /// The extensions it offers, beside SIZE and STARTTLS. Default pipelining and 8bitmime.
        extensions: Vec<Extension>,
        /// Whose texts it speaks. Default cisco.
        style: Style,
        /// Its name in greeting and replies. Default mx.recipient.example.
        hostname: String,
        /// Where it listens: `ip:port` or `unix:path`. Default: a free port of 127.0.0.1 for a run, 127.0.0.1:2525 for
        /// `smtpress listen`.
        address: String,
        /// Peers that may speak for other clients: addresses, ranges `a-b`, blocks `a/n`. Default loopback. No limit of one
        /// host counts them before they have said for whom they speak.
        trusted: Vec<String>,
        /// Connections of trusted peers begin with a PROXY protocol header, version 1 or 2. Default false.
        proxy: bool,
        /// How long the header may take. Default 5s.
        proxy_timeout: Time,
        /// Trusted peers may say XCLIENT. Default false.
        xclient: bool,
        /// May bind an address beyond loopback. Default false.
        allow_remote: bool,
        /// The length of the kernel's accept queue. Default 4096.
        backlog: Count,
        /// Sessions at once, of the whole server.
        max_connections: Count,
        /// Sessions at once from one client address.
        max_connections_per_host: Count,
        /// Sessions at once of this address and port.
        max_connections_per_listener: Count,
        /// New connections in a time.
        connection_rate: Rate,
        /// How many of them may come at once. Default: as many as the rate's number, at least 1.
        connection_burst: Count,
        /// How a connection over a limit learns of it. Default reply.
        shown_by: ShownBy,
        /// Whether and how TLS is spoken. Default: as the clients of an embedded listener do, else none.
        tls: Tls,
        /// A file with its certificate, in PEM. Absent: one is made at the start.
        cert: String,
        /// A file with the key of it.
        key: String,
        /// A file to write its certificate to.
        cert_out: String,
        /// A file of certificates: a client must show one that these issued.
        client_ca: String,
        /// The latest version of TLS that is spoken. Default 1.3.
        max_tls_version: TlsVersion,
        /// Refuse connections over a limit in clear text, before the handshake (implicit TLS). Default false.
        refuse_before_tls: bool,
        /// How often STARTTLS meets a temporary reason. Default 0%.
        tls_error_rate: Percent,
        /// TLS sessions at once. Where no TLS is spoken, STARTTLS is offered all the same and with 0 meets this limit.
        max_tls_sessions: Count,
        /// Messages of a session.
        max_messages_per_session: Count,
        /// Octets of content accepted in a session; a message that would go beyond is refused.
        max_session_bytes: Size,
        /// Errors answered in a session; the next one ends it.
        max_bad_commands: Count,
        /// NOOP, RSET, VRFY, EXPN, HELP and another hello answered in a session without a message between them; the next
        /// one ends it.
        max_junk_commands: Count,
        /// The longest a session may last, active or not.
        max_connection_time: Time,
        /// The longest a session may be without input.
        idle_timeout: Time,
        /// The same by what comes next.
        step_timeouts: StepTimeouts,
        /// Recipients of a message.
        max_recipients: Count,
        /// Recipients that nobody knows, as patterns: `nobody*@*`. They get 550 unknown-user. Default: none.
        unknown_recipients: Vec<String>,
        /// Such recipients answered in a session; the next one ends it.
        max_invalid_recipients: Count,
        /// Octets of a message.
        max_message_size: Size,
        /// Octets of a message's header.
        max_header_size: Size,
        /// Octets of a line, with its CRLF.
        max_line_length: Size,
        /// Octets of a sender's or recipient's path, with its angle brackets; at most 256.
        max_path_length: Size,
        /// `Received:` fields of a message.
        max_hops: Count,
        /// What ends the content after DATA. Default strict.
        end_of_data: EndOfData,
        /// Refuse content with a bare CR or LF. Default false.
        reject_bare_cr_lf: bool,
        /// Messages in a time.
        message_rate: Rate,
        /// How many of them may come at once. Default: as many as the rate's number, at least 1.
        message_burst: Count,
        /// Messages accepted in all; then the queue is full.
        queue_full_after: Count,
        /// Transactions at once; above, resources are low.
        resource_low_above: Count,
        /// Contents that it serves at once, each for as long as `delays.body` says; the others wait for their turn.
        workers: Count,
        /// How often MAIL meets a temporary system error. Default 0%.
        temporary_error_rate: Percent,
        /// How often the final dot meets a temporary server error. Default 0%.
        server_deferral_rate: Percent,
        /// How often the final dot meets a permanent server error. Default 0%.
        server_error_rate: Percent,
        /// The licence has expired: nobody is served. Default false.
        licence_expired: bool,
        /// From this time after its start the service is not available.
        unavailable_after: Time,
        /// MAIL needs TLS first. Default false.
        require_starttls: bool,
        /// MAIL needs AUTH first. Default false.
        require_auth: bool,
        /// AUTH needs encryption first. Default false.
        auth_requires_encryption: bool,
        /// Who may log in. Absent: nobody, and AUTH is not offered.
        users: Known,
        /// How they may. Default: all mechanisms, scram-sha-256-plus only over TLS.
        auth_mechanisms: Vec<Mechanism>,
        /// Failed logins answered in a session; the next one ends it.
        max_auth_failures: Count,
        /// How long each reply is held back.
        delays: Delays,
        /// A tarpit: how long replies to errors, unknown recipients and failed logins are held back.
        error_delay: ErrorDelay,
        /// One window of silence.
        stall: Stall,
        /// Replies forced at steps; the first that fits is used.
        replies: Vec<Forced>,
    }
    /// How long each reply is held back: "2ms", or anything in "5ms..40ms". Default 0s.
    Delays {
        /// Before the greeting.
        greeting: TimeRange,
        /// HELO and EHLO.
        hello: TimeRange,
        /// AUTH, and each line of its exchange.
        auth: TimeRange,
        /// MAIL.
        mail: TimeRange,
        /// RCPT.
        rcpt: TimeRange,
        /// DATA.
        data: TimeRange,
        /// The final dot.
        body: TimeRange,
        /// QUIT.
        quit: TimeRange,
    }
    /// How long the listener waits for input after each step. Default: as `idle_timeout` says.
    StepTimeouts {
        /// After the greeting, for the hello.
        greeting: Time,
        /// After the hello or a message, for MAIL.
        hello: Time,
        /// After MAIL, for RCPT.
        mail: Time,
        /// After RCPT, for the next one or the content.
        rcpt: Time,
        /// After the 354, for the first of the content.
        data: Time,
        /// Within the content, and between its chunks.
        body: Time,
    }
    /// What a session's errors cost it.
    ErrorDelay {
        /// So many are answered at once; the next ones are held back. Default 0.
        after: Count,
        /// How long each is held back.
        delay: Time,
    }
    /// A window in which the listener reads, writes and accepts nothing.
    Stall {
        /// From the listener's start.
        from: Time,
        /// How long.
        #[serde(rename = "for")]
        length: Time,
    }
    /// A reply in place of the listener's own.
    Forced {
        /// Where: greeting, hello, starttls, auth, mail, rcpt, data, body or quit.
        step: String,
        /// The reply with its code: "452 4.3.1 queue full"; lines are separated by \n. A 421 also closes.
        reply: String,
        /// How often. Default 100%.
        probability: Percent,
    }
}

/// The steps at which a listener has something to say.
const SPOKEN: [Step; 9] = [
    Step::Greeting,
    Step::Hello,
    Step::Starttls,
    Step::Auth,
    Step::Mail,
    Step::Rcpt,
    Step::Data,
    Step::Body,
    Step::Quit,
];

/// What the table makes of the listener. `clients`: how its clients speak TLS, if it is the embedded one. `serves`: it will
/// be started, and needs its users' secrets.
///
/// # Errors
/// A value that no listener can have.
pub(super) fn compile(
    document: &Document,
    listener: &Listener,
    clients: script::Tls,
    serves: bool,
) -> Result<Limits, ProfileError> {
    let none = Limits::default();
    let of_tls = tls::listener(document, listener, clients)?;
    let at = |key: &'static str| keys!["listener", key];
    let count = |key: &'static str, value: Option<Count>| match value {
        None => Ok(None),
        Some(Count(n)) => u32::try_from(n).map(Some).map_err(|_| {
            document.error_at(
                &at(key),
                format!("{n} is more than a listener can count"),
                "write a number below 2^32",
            )
        }),
    };
    let share = |key: &'static str, value: Option<Percent>| match value {
        None => Ok(0.0),
        Some(Percent(percent)) if percent <= 100.0 => Ok(percent / 100.0),
        Some(percent) => {
            Err(document.error_at(&at(key), format!("{percent} is more than always"), "write at most 100%"))
        }
    };
    let rate = |key: &'static str, value: Option<Rate>, burst_key: &'static str, burst: Option<Count>| {
        let burst = count(burst_key, burst)?;
        let Some(rate) = value else {
            return match burst {
                Some(_) => Err(document.error_at(
                    &at(burst_key),
                    format!("`{burst_key}` without `{key}`"),
                    format!("add `{key} = \"60/min\"`"),
                )),
                None => Ok(None),
            };
        };
        if rate.amount <= 0.0 {
            return Err(document.error_at(
                &at(key),
                "a rate of 0 lets nothing through",
                "write a rate such as \"60/min\"",
            ));
        }
        if burst == Some(0) {
            return Err(document.error_at(
                &at(burst_key),
                "a burst of 0 lets nothing through",
                "write at least 1",
            ));
        }
        let burst = burst.unwrap_or(rate.amount.ceil().clamp(1.0, f64::from(u32::MAX)) as u32);
        Ok(Some(limits::Rate { per_second: rate.hertz(), burst }))
    };
    Ok(Limits {
        protocol: match listener.protocol.unwrap_or(Protocol::Smtp) {
            Protocol::Smtp => script::Protocol::Smtp,
            Protocol::Lmtp => script::Protocol::Lmtp,
        },
        offers: listener.extensions.as_deref().map_or(none.offers, offers),
        style: match listener.style.unwrap_or(Style::Cisco) {
            Style::Cisco => limits::Style::Cisco,
            Style::Postfix => limits::Style::Postfix,
            Style::Exim => limits::Style::Exim,
        },
        hostname: listener.hostname.clone().unwrap_or(none.hostname),
        allow_remote: listener.allow_remote.unwrap_or_default(),
        trusted: super::target::trusted(document, listener)?.unwrap_or(none.trusted),
        proxy: listener.proxy.unwrap_or_default(),
        proxy_timeout: listener.proxy_timeout.map_or(none.proxy_timeout, |time| time.0),
        xclient: listener.xclient.unwrap_or_default(),
        backlog: count("backlog", listener.backlog)?.unwrap_or(none.backlog),
        max_connections: count("max_connections", listener.max_connections)?,
        max_connections_per_host: count("max_connections_per_host", listener.max_connections_per_host)?,
        max_connections_per_listener: count(
            "max_connections_per_listener",
            listener.max_connections_per_listener,
        )?,
        connection_rate: rate(
            "connection_rate",
            listener.connection_rate,
            "connection_burst",
            listener.connection_burst,
        )?,
        shown_by: match listener.shown_by.unwrap_or(ShownBy::Reply) {
            ShownBy::Reply => limits::ShownBy::Reply,
            ShownBy::Reset => limits::ShownBy::Reset,
            ShownBy::Close => limits::ShownBy::Close,
            ShownBy::NoGreeting => limits::ShownBy::NoGreeting,
        },
        max_tls_sessions: count("max_tls_sessions", listener.max_tls_sessions)?,
        tls: of_tls.tls,
        credential: of_tls.credential,
        certificate_out: listener.cert_out.as_ref().map(PathBuf::from),
        client_authorities: of_tls.client_authorities,
        max_tls_version: of_tls.max_version,
        refuse_before_tls: listener.refuse_before_tls.unwrap_or_default(),
        tls_error_rate: of_tls.error_rate,
        max_messages_per_session: count("max_messages_per_session", listener.max_messages_per_session)?,
        max_session_bytes: listener.max_session_bytes.map(|size| size.0),
        max_bad_commands: count("max_bad_commands", listener.max_bad_commands)?,
        max_junk_commands: count("max_junk_commands", listener.max_junk_commands)?,
        max_connection_time: listener.max_connection_time.map(|time| time.0),
        idle_timeout: listener.idle_timeout.map(|time| time.0),
        step_timeouts: listener.step_timeouts.as_ref().map(step_timeouts).unwrap_or_default(),
        max_recipients: count("max_recipients", listener.max_recipients)?,
        unknown_recipients: unknown_recipients(document, listener)?,
        max_invalid_recipients: count("max_invalid_recipients", listener.max_invalid_recipients)?,
        max_message_size: listener.max_message_size.map(|size| size.0),
        max_header_size: listener.max_header_size.map(|size| size.0),
        max_line_length: count("max_line_length", listener.max_line_length.map(|size| Count(size.0)))?,
        max_path_length: max_path_length(document, listener)?,
        max_hops: count("max_hops", listener.max_hops)?,
        end_of_data: match listener.end_of_data.unwrap_or(EndOfData::Strict) {
            EndOfData::Strict => limits::EndOfData::Strict,
            EndOfData::Lenient => limits::EndOfData::Lenient,
        },
        reject_bare_cr_lf: listener.reject_bare_cr_lf.unwrap_or_default(),
        message_rate: rate("message_rate", listener.message_rate, "message_burst", listener.message_burst)?,
        queue_full_after: listener.queue_full_after.map(|count| count.0),
        resource_low_above: count("resource_low_above", listener.resource_low_above)?,
        workers: match count("workers", listener.workers)? {
            Some(0) => {
                let key = keys!["listener", "workers"];
                return Err(document.error_at(&key, "0 workers serve nothing", "write at least 1"));
            }
            workers => workers,
        },
        temporary_error_rate: share("temporary_error_rate", listener.temporary_error_rate)?,
        server_deferral_rate: share("server_deferral_rate", listener.server_deferral_rate)?,
        server_error_rate: share("server_error_rate", listener.server_error_rate)?,
        licence_expired: listener.licence_expired.unwrap_or_default(),
        unavailable_after: listener.unavailable_after.map(|time| time.0),
        require_starttls: listener.require_starttls.unwrap_or_default(),
        require_auth: listener.require_auth.unwrap_or_default(),
        auth_requires_encryption: listener.auth_requires_encryption.unwrap_or_default(),
        users: match &listener.users {
            Some(users) if serves => Some(Arc::new(auth::known(document, users)?)),
            _ => None,
        },
        mechanisms: auth::mechanisms(listener.auth_mechanisms.as_deref()),
        max_auth_failures: count("max_auth_failures", listener.max_auth_failures)?,
        delays: listener.delays.as_ref().map(delays).unwrap_or_default(),
        error_delay: error_delay(document, listener, count)?,
        stall: listener.stall.as_ref().map(|stall| limits::Stall {
            from: stall.from.unwrap_or_default().0,
            length: stall.length.unwrap_or_default().0,
        }),
        replies: listener
            .replies
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, forced)| reply(document, index, forced))
            .collect::<Result<_, _>>()?,
    })
}

/// Who nobody knows. A limit of such recipients that none can ever reach is a slip.
fn unknown_recipients(document: &Document, listener: &Listener) -> Result<limits::Patterns, ProfileError> {
    let texts = listener.unknown_recipients.as_deref().unwrap_or_default();
    let patterns = limits::Patterns::parse(texts).map_err(|index| {
        document.error_at(
            &keys!["listener", "unknown_recipients", index],
            format!("{:?} is no pattern of an address", texts[index]),
            "write local@domain, with `*` for any octets: \"nobody*@*\"",
        )
    })?;
    if patterns.is_empty() && listener.max_invalid_recipients.is_some() {
        return Err(document.error_at(
            &keys!["listener", "max_invalid_recipients"],
            "`max_invalid_recipients` without `unknown_recipients`: no recipient is invalid",
            "add `unknown_recipients = [\"nobody*@*\"]`",
        ));
    }
    Ok(patterns)
}

/// Beyond the longest path of all the limit could never be met.
fn max_path_length(document: &Document, listener: &Listener) -> Result<Option<u32>, ProfileError> {
    let Some(Size(octets)) = listener.max_path_length else { return Ok(None) };
    match u32::try_from(octets) {
        Ok(octets) if octets as usize <= MAX_PATH => Ok(Some(octets)),
        _ => Err(document.error_at(
            &keys!["listener", "max_path_length"],
            format!("{octets} octets are no limit: no path has more than {MAX_PATH} (RFC 5321 4.5.3.1.3)"),
            format!("write at most {MAX_PATH}"),
        )),
    }
}

fn offers(extensions: &[Extension]) -> Offers {
    let has = |extension| extensions.contains(&extension);
    Offers {
        pipelining: has(Extension::Pipelining),
        eight_bit_mime: has(Extension::EightBitMime),
        chunking: has(Extension::Chunking),
        binary_mime: has(Extension::BinaryMime),
        smtp_utf8: has(Extension::SmtpUtf8),
        dsn: has(Extension::Dsn),
        deliver_by: has(Extension::DeliverBy),
        require_tls: has(Extension::RequireTls),
    }
}

/// The tarpit. One that holds nothing back is a slip.
fn error_delay(
    document: &Document,
    listener: &Listener,
    count: impl Fn(&'static str, Option<Count>) -> Result<Option<u32>, ProfileError>,
) -> Result<Option<limits::ErrorDelay>, ProfileError> {
    let Some(tarpit) = &listener.error_delay else { return Ok(None) };
    let after = count("error_delay", tarpit.after)?.unwrap_or_default();
    match tarpit.delay {
        Some(Time(delay)) => Ok(Some(limits::ErrorDelay { after, delay })),
        None => Err(document.error_at(
            &keys!["listener", "error_delay"],
            "`error_delay` without its delay",
            "write `error_delay = { after = 10, delay = \"1s\" }`",
        )),
    }
}

fn step_timeouts(timeouts: &StepTimeouts) -> limits::StepTimeouts {
    let time = |time: Option<Time>| time.map(|Time(time)| time);
    limits::StepTimeouts {
        greeting: time(timeouts.greeting),
        hello: time(timeouts.hello),
        mail: time(timeouts.mail),
        rcpt: time(timeouts.rcpt),
        data: time(timeouts.data),
        body: time(timeouts.body),
    }
}

fn delays(delays: &Delays) -> limits::Delays {
    let delay = |range: Option<TimeRange>| {
        let range = range.unwrap_or_default();
        limits::Delay { min: range.min, max: range.max }
    };
    limits::Delays {
        greeting: delay(delays.greeting),
        hello: delay(delays.hello),
        auth: delay(delays.auth),
        mail: delay(delays.mail),
        rcpt: delay(delays.rcpt),
        data: delay(delays.data),
        body: delay(delays.body),
        quit: delay(delays.quit),
    }
}

fn reply(document: &Document, index: usize, forced: &Forced) -> Result<limits::Forced, ProfileError> {
    let at = |key: &'static str| -> Vec<Key> { keys!["listener", "replies", index, key].to_vec() };
    let given = forced.step.as_deref().unwrap_or_default();
    let step = SPOKEN.into_iter().find(|step| step.as_str() == given).ok_or_else(|| {
        document.error_at(
            &at("step"),
            format!("a listener does not reply at the step `{given}`"),
            super::error::choose(given, &SPOKEN.map(Step::as_str), "write one of"),
        )
    })?;
    let text = forced.reply.clone().unwrap_or_default();
    Reply::parse(&text).map_err(|error| {
        document.error_at(
            &at("reply"),
            format!("this is no reply: {error}"),
            "write a code and a text: \"452 4.3.1 queue full\"",
        )
    })?;
    let Percent(percent) = forced.probability.unwrap_or(Percent(100.0));
    if percent > 100.0 {
        return Err(document.error_at(
            &at("probability"),
            format!("{percent}% is more than always"),
            "write at most 100%",
        ));
    }
    Ok(limits::Forced { step, reply: text, probability: percent / 100.0 })
}
