//! TLS at the listener: what is offered, what STARTTLS meets, and the places of TLS sessions.

use super::{Behaviour, Limits, PolicyAnswer, RequestFault, Saying, Step, TlsMode};

/// Where no TLS is spoken, STARTTLS is offered for the refusals it can meet.
pub(super) fn is_offered(limits: &Limits) -> bool {
    match limits.tls {
        TlsMode::None => limits.require_starttls || limits.max_tls_sessions.is_some(),
        TlsMode::Starttls => true,
        TlsMode::Implicit => false,
    }
}

/// The answer to EHLO.
pub(super) fn extensions(limits: &Limits, starttls: bool) -> String {
    let mut lines = vec![limits.hostname.clone()];
    lines.extend(limits.offers.pipelining.then(|| "PIPELINING".to_owned()));
    lines.extend(limits.max_message_size.map(|max| format!("SIZE {max}")));
    lines.extend(starttls.then(|| "STARTTLS".to_owned()));
    lines.extend(limits.offers.keywords(limits.style).map(str::to_owned));
    let last = lines.len() - 1;
    let reply = |(i, line)| if i == last { format!("250 {line}") } else { format!("250-{line}\n") };
    lines.iter().enumerate().map(reply).collect()
}

impl Behaviour {
    pub(super) fn starttls(&mut self) -> PolicyAnswer {
        let answer = self.at(Step::Starttls, |session| {
            let limits = &session.shared.limits;
            if !is_offered(limits) {
                return session.fault(RequestFault::Unrecognized("STARTTLS"));
            }
            let spoken = limits.tls == TlsMode::Starttls;
            let saying = if spoken && session.happens(limits.tls_error_rate) {
                Saying::TlsUnavailable
            } else if limits.max_tls_sessions == Some(0) || spoken && !session.take_tls_place() {
                Saying::TooManyTlsSessions
            } else if spoken {
                Saying::TlsGoAhead
            } else {
                Saying::TlsUnavailable
            };
            session.say(saying, "")
        });
        self.shaking = answer.code() == 220;
        answer
    }

    /// Takes a place for a TLS session, if one is free.
    pub(super) fn take_tls_place(&mut self) -> bool {
        self.tls_place = self.tls_place || self.shared.counts.open_tls(self.shared.limits.max_tls_sessions);
        self.tls_place
    }

    pub(super) fn handshake_failed(&mut self) {
        if std::mem::take(&mut self.shaking) {
            self.shared.counts.handshake_failed();
        }
    }
}
