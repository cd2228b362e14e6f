//! TLS at the listener: the reply to STARTTLS, and the places of TLS sessions.

use super::{Behaviour, PolicyAnswer, RequestFault, Saying, Step, TlsMode};
use crate::listener::state::is_starttls_offered;

impl Behaviour {
    pub(super) fn starttls(&mut self) -> PolicyAnswer {
        let answer = self.at(Step::Starttls, |session| {
            let limits = &session.shared.limits;
            if !is_starttls_offered(limits) {
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
    fn take_tls_place(&mut self) -> bool {
        self.tls_place = self.tls_place || self.shared.counts.open_tls(self.shared.limits.max_tls_sessions);
        self.tls_place
    }

    pub(super) fn handshake_failed(&mut self) {
        if std::mem::take(&mut self.shaking) {
            self.shared.counts.handshake_failed();
        }
    }
}
