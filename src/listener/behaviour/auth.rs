//! The policy's answers to AUTH: `login` runs the exchange, and this module adds delays, forced replies and the count
//! of failures.

use std::sync::atomic::Ordering::Relaxed;

use super::Behaviour;
use crate::listener::dialects::Saying;
use crate::listener::login::LoginStep;
use crate::listener::state::with_extension;
use crate::smtp::Step;
use crate::smtp::server::PolicyAnswer;

impl Behaviour {
    /// Returns the answer to EHLO, with the line of AUTH if a mechanism is offered.
    pub(super) fn with_auth(&self, offer: String) -> String {
        match self.access.offer(&self.shared.limits) {
            Some(auth) => with_extension(&offer, &auth),
            None => offer,
        }
    }

    pub(super) fn auth(&mut self, argument: &str) -> PolicyAnswer {
        self.at(Step::Auth, |session| {
            let shared = session.shared.clone();
            let unique = session.draw().to_bits() ^ session.number.rotate_left(40);
            let unique = format!("{unique:x}@{}", shared.limits.hostname);
            let next = session.access.command(&shared.limits, argument, &unique);
            let mechanism = argument.split(' ').next().unwrap_or_default();
            session.access_answer(next, &mechanism[..mechanism.len().min(32)])
        })
    }

    pub(super) fn auth_response(&mut self, line: &[u8]) -> PolicyAnswer {
        let shared = self.shared.clone();
        let next = self.access.response(&shared.limits, line);
        let answer = self.access_answer(next, "");
        PolicyAnswer { delay: answer.delay + self.delay(shared.limits.delays.auth), ..answer }
    }

    fn access_answer(&mut self, next: LoginStep, mechanism: &str) -> PolicyAnswer {
        match next {
            LoginStep::Challenge(text) => PolicyAnswer::new(format!("334 {text}")),
            LoginStep::Said(saying) => {
                let answer = self.say(saying, mechanism);
                if matches!(saying, Saying::AuthFailed | Saying::AuthEncoding | Saying::TooManyAuthFailures) {
                    self.shared.logins.failed.fetch_add(1, Relaxed);
                    self.mistake(answer)
                } else {
                    answer
                }
            }
        }
    }
}
