//! The replies to the errors of a client, and the limits on their number.

use super::{Behaviour, MailParameters, PolicyAnswer, Request, RequestFault, Saying, Then};

impl Behaviour {
    /// Returns the reply to an error of the client, delayed by the tarpit.
    pub(super) fn mistake(&mut self, answer: PolicyAnswer) -> PolicyAnswer {
        self.tally.mistakes = self.tally.mistakes.saturating_add(1);
        match self.shared.limits.error_delay {
            Some(tarpit) if self.tally.mistakes > tarpit.after => {
                PolicyAnswer { delay: answer.delay + tarpit.delay, ..answer }
            }
            _ => answer,
        }
    }

    /// Returns the reply to an unknown recipient.
    pub(super) fn unknown(&mut self, path: &str) -> PolicyAnswer {
        let answer = self.unknown_words(path);
        self.mistake(answer)
    }

    /// Returns the reply to an unknown recipient, or the reply that ends the session after too many.
    fn unknown_words(&mut self, path: &str) -> PolicyAnswer {
        if self.shared.limits.max_invalid_recipients.is_some_and(|max| self.tally.invalid >= max) {
            return PolicyAnswer { then: Then::Close, ..self.say(Saying::TooManyInvalidRecipients, "") };
        }
        self.tally.invalid += 1;
        self.say(Saying::UnknownUser, path)
    }

    /// Counts a junk command (NOOP, RSET, ..., a repeated hello). Returns the reply that ends the session after too
    /// many.
    pub(super) fn junk(&mut self, request: &Request<'_>) -> Option<PolicyAnswer> {
        let junk = match request {
            Request::Noop(_) | Request::Reset | Request::Verify | Request::Expand | Request::Help(_) => true,
            Request::Hello { .. } | Request::Lhlo { .. } => self.tally.greeted,
            _ => false,
        };
        if !junk {
            return None;
        }
        if self.shared.limits.max_junk_commands.is_some_and(|max| self.tally.junk >= max) {
            return Some(PolicyAnswer { then: Then::Close, ..self.say(Saying::TooMuchJunk, "") });
        }
        self.tally.junk = self.tally.junk.saturating_add(1);
        None
    }

    /// Returns the fault of a path over the limit.
    pub(super) fn path_fault(&self, path: &str) -> Option<RequestFault<'static>> {
        let longest = self.shared.limits.max_path_length?;
        (path.len() + 2 > longest as usize).then_some(RequestFault::PathTooLong)
    }

    /// Returns the fault of the first parameter of MAIL whose extension is not offered. AUTH= belongs to AUTH (RFC 4954 5).
    pub(super) fn mail_fault(&self, parameters: &MailParameters<'_>) -> Option<RequestFault<'static>> {
        let limits = &self.shared.limits;
        let is_unknown = || parameters.auth.is_some() && self.access.offer(limits).is_none();
        let of_auth = || is_unknown().then_some(RequestFault::UnknownOption("AUTH"));
        limits.offers.fault_of_mail(parameters).or_else(of_auth)
    }

    /// Returns the reply to an error.
    pub(super) fn fault(&mut self, fault: RequestFault<'_>) -> PolicyAnswer {
        let answer = self.fault_words(fault);
        self.mistake(answer)
    }

    /// Returns the reply to an error, or the reply that ends the session after too many.
    fn fault_words(&mut self, fault: RequestFault<'_>) -> PolicyAnswer {
        if self.shared.limits.max_bad_commands.is_some_and(|max| self.tally.errors >= max) {
            return PolicyAnswer { then: Then::Close, ..self.say(Saying::TooManyErrors, "") };
        }
        self.tally.errors += 1;
        self.access.give_up();
        match fault {
            RequestFault::LineTooLong => self.say(Saying::LineTooLong, ""),
            RequestFault::PathTooLong => self.say(Saying::PathTooLong, ""),
            RequestFault::AuthTooLong => self.say(Saying::AuthTooLong, ""),
            RequestFault::LoggedIn => self.say(Saying::LoggedIn, ""),
            RequestFault::Unrecognized(verb) => self.say(Saying::Unrecognized, verb),
            RequestFault::HelloName => self.say(Saying::HelloName, ""),
            RequestFault::Syntax(about) => self.say(Saying::Syntax, about),
            RequestFault::UnknownOption(about) => self.say(Saying::UnknownOption, about),
            RequestFault::UnknownValue(about) => self.say(Saying::UnknownValue, about),
            RequestFault::UnknownParameter(about) => self.say(Saying::UnknownParameter, about),
            RequestFault::HelloFirst => self.say(Saying::HelloFirst, ""),
            RequestFault::MailFirst => self.say(Saying::MailFirst, ""),
            RequestFault::RcptFirst => self.say(Saying::RcptFirst, ""),
            RequestFault::NestedMail => self.say(Saying::NestedMail, ""),
            RequestFault::NoValidRecipients => self.say(Saying::NoValidRecipients, ""),
            RequestFault::InTransaction => self.say(Saying::InTransaction, ""),
            RequestFault::Secured => self.say(Saying::TlsActive, ""),
            // An attacker may have injected the bytes after STARTTLS in clear text.
            RequestFault::NotLast => PolicyAnswer { then: Then::Close, ..self.say(Saying::TlsNotLast, "") },
            RequestFault::BdatOnly => self.say(Saying::BdatOnly, ""),
            RequestFault::NotAscii => self.say(Saying::NotAscii, ""),
        }
    }
}
