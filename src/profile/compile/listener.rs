//! The `[listener]` table: its keys, and the [`Limits`] of the embedded listener that follow from them.
//!
//! `listener` enforces the limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{auth, target, tls};
use crate::listener::limits::{self, Delay, Limits, Offers};
use crate::profile::document::{Document, Key, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::listener::{Delays, Extension, Forced, Listener, StepTimeouts};
use crate::profile::table::Word;
use crate::profile::units::{Count, Percent, Rate, Time, TimeRange};
use crate::smtp::auth::Mechanism;
use crate::smtp::script::TlsMode;

/// Compiles the table. `clients` is the TLS of the clients, if this is the embedded listener. `serves` says whether the
/// listener will be started and needs the secrets of its users.
///
/// # Errors
/// A value that is impossible for any listener.
pub(super) fn compile(
    document: &Document,
    listener: &Listener,
    clients: Option<TlsMode>,
    serves: bool,
) -> Result<Limits, ProfileFault> {
    let none = Limits::default();
    let of_tls = tls::listener(document, listener, clients)?;
    let count = |count: Option<Count>| count.map(Count::small);
    let share = |Percent(percent): Percent| percent / 100.0;
    let time = |time: Option<Time>| time.map(|Time(time)| time);
    Ok(Limits {
        protocol: listener.protocol().0,
        offers: listener.extensions.as_deref().map_or(none.offers, offers),
        style: listener.style().0,
        hostname: listener.hostname(),
        allow_remote: listener.allow_remote(),
        trusted: target::trusted(document, listener)?.unwrap_or(none.trusted),
        proxy: listener.proxy(),
        proxy_timeout: listener.proxy_timeout().0,
        xclient: listener.xclient(),
        backlog: listener.backlog().small(),
        max_connections: count(listener.max_connections),
        max_connections_per_host: count(listener.max_connections_per_host),
        max_connections_per_listener: count(listener.max_connections_per_listener),
        connection_rate: rate(
            document,
            ["connection_rate", "connection_burst"],
            listener.connection_rate,
            listener.connection_burst,
        )?,
        shown_by: listener.shown_by().0,
        max_tls_sessions: count(listener.max_tls_sessions),
        tls: of_tls.tls,
        credential: of_tls.credential,
        certificate_out: listener.cert_out.as_ref().map(PathBuf::from),
        client_authorities: of_tls.client_authorities,
        max_tls_version: listener.max_tls_version().0,
        refuse_before_tls: listener.refuse_before_tls(),
        tls_error_rate: share(listener.tls_error_rate()),
        max_messages_per_session: count(listener.max_messages_per_session),
        max_session_bytes: listener.max_session_bytes.map(|size| size.0),
        max_bad_commands: count(listener.max_bad_commands),
        max_junk_commands: count(listener.max_junk_commands),
        max_connection_time: time(listener.max_connection_time),
        idle_timeout: time(listener.idle_timeout),
        step_timeouts: step_timeouts(&listener.step_timeouts()),
        max_recipients: count(listener.max_recipients),
        unknown_recipients: unknown_recipients(document, listener)?,
        max_invalid_recipients: count(listener.max_invalid_recipients),
        max_message_size: listener.max_message_size.map(|size| size.0),
        max_header_size: listener.max_header_size.map(|size| size.0),
        max_line_length: count(listener.max_line_length.map(|size| Count(size.0))),
        max_path_length: count(listener.max_path_length.map(|size| Count(size.0))),
        max_hops: count(listener.max_hops),
        end_of_data: listener.end_of_data().0,
        reject_bare_cr_lf: listener.reject_bare_cr_lf(),
        message_rate: rate(
            document,
            ["message_rate", "message_burst"],
            listener.message_rate,
            listener.message_burst,
        )?,
        queue_full_after: listener.queue_full_after.map(|count| count.0),
        resource_low_above: count(listener.resource_low_above),
        workers: count(listener.workers),
        temporary_error_rate: share(listener.temporary_error_rate()),
        server_deferral_rate: share(listener.server_deferral_rate()),
        server_error_rate: share(listener.server_error_rate()),
        licence_expired: listener.licence_expired(),
        unavailable_after: time(listener.unavailable_after),
        unavailable_for: unavailable_for(document, listener)?,
        greylist: time(listener.greylist),
        require_starttls: listener.require_starttls(),
        require_auth: listener.require_auth(),
        auth_requires_encryption: listener.auth_requires_encryption(),
        users: match &listener.users {
            Some(users) if serves => Some(Arc::new(auth::known(document, users)?)),
            _ => None,
        },
        mechanisms: match &listener.auth_mechanisms {
            Some(mechanisms) => mechanisms.iter().map(|&Word(mechanism)| mechanism).collect(),
            None => Mechanism::ALL.to_vec(),
        },
        max_auth_failures: count(listener.max_auth_failures),
        delays: delays(&listener.delays()),
        error_delay: error_delay(document, listener)?,
        stall: listener
            .stall
            .as_ref()
            .map(|stall| limits::Stall { from: stall.from().0, length: stall.length().0 }),
        replies: listener
            .replies()
            .iter()
            .enumerate()
            .map(|(index, forced)| reply(document, index, forced))
            .collect::<Result<_, _>>()?,
    })
}

/// Returns a rate with its burst.
fn rate(
    document: &Document,
    [key, burst_key]: [&'static str; 2],
    rate: Option<Rate>,
    burst: Option<Count>,
) -> Result<Option<limits::RateLimit>, ProfileFault> {
    match (rate, burst) {
        (None, Some(_)) => Err(document.error_at(
            &keys!["listener", burst_key],
            format!("`{burst_key}` without `{key}`"),
            format!("add `{key} = \"60/min\"`"),
        )),
        (rate, burst) => Ok(rate.map(|rate| limits::RateLimit {
            per_second: rate.hertz(),
            burst: burst.map_or(rate.amount.ceil().clamp(1.0, f64::from(u32::MAX)) as u32, Count::small),
        })),
    }
}

/// Returns the patterns of unknown recipients. A limit of such recipients without any pattern is a mistake.
fn unknown_recipients(document: &Document, listener: &Listener) -> Result<limits::Patterns, ProfileFault> {
    let texts = listener.unknown_recipients();
    let patterns = limits::Patterns::parse(&texts).map_err(|index| {
        document.error_at(
            &keys!["listener", "unknown_recipients", index],
            format!("{:?} is no pattern of an address", texts[index]),
            "write local@domain, with `*` for any characters: \"nobody*@*\"",
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

/// Returns the end of an outage. An outage without a beginning is a mistake.
fn unavailable_for(document: &Document, listener: &Listener) -> Result<Option<Duration>, ProfileFault> {
    if listener.unavailable_for.is_some() && listener.unavailable_after.is_none() {
        return Err(document.error_at(
            &keys!["listener", "unavailable_for"],
            "`unavailable_for` without `unavailable_after`: the outage has no beginning",
            "add `unavailable_after = \"10s\"`",
        ));
    }
    Ok(listener.unavailable_for.map(|Time(length)| length))
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

/// Returns the tarpit. A tarpit without a delay is a mistake.
fn error_delay(document: &Document, listener: &Listener) -> Result<Option<limits::ErrorDelay>, ProfileFault> {
    let Some(tarpit) = &listener.error_delay else { return Ok(None) };
    let Some(Time(delay)) = tarpit.delay else {
        return Err(document.error_at(
            &keys!["listener", "error_delay"],
            "`error_delay` without its delay",
            "write `error_delay = { after = 10, delay = \"1s\" }`",
        ));
    };
    Ok(Some(limits::ErrorDelay { after: tarpit.after().small(), delay }))
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

fn delays(delays: &Delays) -> limits::ReplyDelays {
    let delay = |TimeRange { min, max }: TimeRange| Delay { min, max };
    limits::ReplyDelays {
        greeting: delay(delays.greeting()),
        hello: delay(delays.hello()),
        auth: delay(delays.auth()),
        mail: delay(delays.mail()),
        rcpt: delay(delays.rcpt()),
        data: delay(delays.data()),
        body: delay(delays.body()),
        quit: delay(delays.quit()),
    }
}

fn reply(document: &Document, index: usize, forced: &Forced) -> Result<limits::Forced, ProfileFault> {
    let (Some(Word(step)), Some(reply)) = (forced.step, &forced.reply) else {
        let at: Vec<Key> = keys!["listener", "replies", index].to_vec();
        let message = "a forced reply needs `step` and `reply`";
        let remedy = "write { step = \"mail\", reply = \"452 4.3.1 queue full\" }";
        return Err(document.error_at(&at, message, remedy));
    };
    Ok(limits::Forced { step, reply: reply.clone(), probability: forced.probability().0 / 100.0 })
}
