//! The state that all sessions of a listener share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::sync::SetOnce;

use super::greylist::Greylist;
use super::ledger::LedgerCounts;
use super::limits::Limits;
use super::login::LoginCounts;
use super::service_queue::ServiceQueue;
use super::sink::Sink;
use crate::net::tls::Security;
use crate::smtp::request::MAX_LINE;
use crate::smtp::script::TlsMode;
use crate::smtp::server::ServerBounds;

/// A time in which the service is not available.
#[derive(Clone, Copy, Debug)]
struct Unavailability {
    from: Instant,
    /// The end; `None`: it never ends.
    until: Option<Instant>,
}

impl Unavailability {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// The state that all sessions of a listener share.
#[derive(Debug)]
pub(super) struct ListenerState {
    pub limits: Limits,
    pub counts: LedgerCounts,
    pub logins: LoginCounts,
    pub seed: u64,
    sessions: AtomicU64,
    /// The time from which outage and stall are counted. Not set until that time is known.
    pub begin: SetOnce<Instant>,
    pub greylist: Option<Greylist>,
    /// The answer to EHLO, in clear text and with TLS.
    pub extensions: [String; 2],
    pub workers: Option<ServiceQueue>,
    /// The receiver of delivered messages; without one they are discarded.
    pub sink: Option<Arc<dyn Sink>>,
    /// The TLS settings of a stream, if the listener uses TLS.
    pub security: Option<Security>,
}

impl ListenerState {
    /// Creates the state of a listener whose workers are free from `start` on. `security` is set if the listener uses
    /// TLS.
    pub fn new(
        limits: Limits,
        seed: u64,
        start: Instant,
        security: Option<Security>,
        sink: Option<Arc<dyn Sink>>,
    ) -> ListenerState {
        let extensions = [is_starttls_offered(&limits), false].map(|starttls| extensions(&limits, starttls));
        let greylist = limits.greylist.map(Greylist::new);
        let logins = LoginCounts::new(&limits);
        let workers = limits.workers.map(|count| ServiceQueue::new(count, start));
        let (counts, sessions) = (LedgerCounts::new(), AtomicU64::new(0));
        ListenerState {
            limits,
            counts,
            logins,
            seed,
            sessions,
            begin: SetOnce::new(),
            greylist,
            extensions,
            workers,
            sink,
            security,
        }
    }

    /// Returns the number of the next session.
    pub fn number(&self) -> u64 {
        self.sessions.fetch_add(1, Relaxed)
    }

    /// Returns the time in which the service is not available, once it is known.
    fn outage(&self) -> Option<Unavailability> {
        let after = self.limits.unavailable_after?;
        let from = *self.begin.get()? + after;
        Some(Unavailability { from, until: self.limits.unavailable_for.map(|length| from + length) })
    }

    /// Whether the service is not available at `now`.
    pub fn is_unavailable(&self, now: Instant) -> bool {
        self.outage().is_some_and(|outage| outage.from <= now && !outage.is_over(now))
    }

    /// Returns the bounds of a session that begins at `now`.
    pub fn bounds(&self, now: Instant) -> ServerBounds {
        ServerBounds {
            max_line: self.limits.max_line_length.map_or(MAX_LINE, |max| max as usize),
            idle: self.limits.idle_timeout,
            total: self.limits.max_connection_time,
            end: self.outage().filter(|outage| !outage.is_over(now)).map(|outage| outage.from),
            implicit_tls: self.limits.tls == TlsMode::Implicit,
        }
    }
}

/// Whether STARTTLS is offered. A listener without TLS offers STARTTLS, and then refuses the command, if it requires
/// STARTTLS or limits TLS sessions.
pub(super) fn is_starttls_offered(limits: &Limits) -> bool {
    match limits.tls {
        TlsMode::None => limits.require_starttls || limits.max_tls_sessions.is_some(),
        TlsMode::Starttls => true,
        TlsMode::Implicit => false,
    }
}

/// Returns the answer to EHLO.
fn extensions(limits: &Limits, starttls: bool) -> String {
    let mut lines = vec![limits.hostname.clone()];
    lines.extend(limits.offers.pipelining.then(|| "PIPELINING".to_owned()));
    lines.extend(limits.max_message_size.map(|max| format!("SIZE {max}")));
    lines.extend(starttls.then(|| "STARTTLS".to_owned()));
    lines.extend(limits.offers.keywords(limits.style).map(str::to_owned));
    let last = lines.len() - 1;
    let reply = |(i, line)| if i == last { format!("250 {line}") } else { format!("250-{line}\n") };
    lines.iter().enumerate().map(reply).collect()
}

/// Returns the answer to EHLO with the line of one more extension. It follows the first line, which carries the
/// listener's name and not an extension.
pub(super) fn with_extension(answer: &str, line: &str) -> String {
    match answer.split_once('\n') {
        Some((name, others)) => format!("{name}\n250-{line}\n{others}"),
        None => format!("{}\n250 {line}", answer.replacen(' ', "-", 1)),
    }
}
