//! STARTTLS and the places of TLS sessions, as the policy has them.

use super::Behaviour;
use crate::listener::limits::{Limits, Tls};
use crate::listener::styles::Saying;
use crate::smtp::Step;
use crate::smtp::request::Fault;
use crate::smtp::server::Answer;

/// Where no TLS is spoken, STARTTLS is offered for the refusals it can meet.
pub(super) fn offers_tls(limits: &Limits) -> bool {
    match limits.tls {
        Tls::None => limits.require_starttls || limits.max_tls_sessions.is_some(),
        Tls::Starttls => true,
        Tls::Implicit => false,
    }
}

impl Behaviour {
    /// Takes a place for a TLS session, if one is free.
    pub(super) fn take_tls_place(&mut self) -> bool {
        self.tls_place = self.tls_place || self.shared.books.open_tls(self.shared.limits.max_tls_sessions);
        self.tls_place
    }

    pub(super) fn starttls(&mut self) -> Answer {
        let answer = self.at(Step::Starttls, |session| {
            let limits = &session.shared.limits;
            if !offers_tls(limits) {
                return session.fault(Fault::Unrecognized("STARTTLS"));
            }
            let spoken = limits.tls == Tls::Starttls;
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

    /// The handshake that was under way, if one was, did not come about.
    pub(super) fn handshake_failed(&mut self) {
        if std::mem::take(&mut self.shaking) {
            self.shared.books.handshake_failed();
        }
    }
}
