//! What a session's errors meet: their words, and how many of them are answered.

use super::{Answer, Behaviour, Fault, Request, Saying, Then};

impl Behaviour {
    /// The answer to what the client did wrong, held back as the tarpit says.
    pub(super) fn mistake(&mut self, answer: Answer) -> Answer {
        self.tally.mistakes = self.tally.mistakes.saturating_add(1);
        match self.shared.limits.error_delay {
            Some(tarpit) if self.tally.mistakes > tarpit.after => {
                Answer { delay: answer.delay + tarpit.delay, ..answer }
            }
            _ => answer,
        }
    }

    /// The answer to a recipient that nobody knows.
    pub(super) fn unknown(&mut self, path: &str) -> Answer {
        let answer = self.unknown_words(path);
        self.mistake(answer)
    }

    /// Its words, while the session may still name some.
    fn unknown_words(&mut self, path: &str) -> Answer {
        if self.shared.limits.max_invalid_recipients.is_some_and(|max| self.tally.invalid >= max) {
            return Answer { then: Then::Close, ..self.say(Saying::TooManyInvalidRecipients, "") };
        }
        self.tally.invalid += 1;
        self.say(Saying::UnknownUser, path)
    }

    /// Counts a command that brings no message nearer; the answer to one too many.
    pub(super) fn junk(&mut self, request: &Request<'_>) -> Option<Answer> {
        let junk = match request {
            Request::Noop | Request::Reset | Request::Verify | Request::Expand | Request::Help(_) => true,
            Request::Hello { .. } | Request::Lhlo { .. } => self.tally.greeted,
            _ => false,
        };
        if !junk {
            return None;
        }
        if self.shared.limits.max_junk_commands.is_some_and(|max| self.tally.junk >= max) {
            return Some(Answer { then: Then::Close, ..self.say(Saying::TooMuchJunk, "") });
        }
        self.tally.junk = self.tally.junk.saturating_add(1);
        None
    }

    /// What a path over the limit meets.
    pub(super) fn path_fault(&self, path: &str) -> Option<Fault<'static>> {
        let longest = self.shared.limits.max_path_length?;
        (path.len() + 2 > longest as usize).then_some(Fault::PathTooLong)
    }

    /// The answer to an error.
    pub(super) fn fault(&mut self, fault: Fault<'_>) -> Answer {
        let answer = self.fault_words(fault);
        self.mistake(answer)
    }

    /// Its words, while the session may still make some.
    fn fault_words(&mut self, fault: Fault<'_>) -> Answer {
        if self.shared.limits.max_bad_commands.is_some_and(|max| self.tally.errors >= max) {
            return Answer { then: Then::Close, ..self.say(Saying::TooManyErrors, "") };
        }
        self.tally.errors += 1;
        self.access.give_up();
        match fault {
            Fault::LineTooLong => self.say(Saying::LineTooLong, ""),
            Fault::PathTooLong => self.say(Saying::PathTooLong, ""),
            Fault::AuthTooLong => self.say(Saying::AuthTooLong, ""),
            Fault::LoggedIn => self.say(Saying::LoggedIn, ""),
            Fault::Unrecognized(verb) => self.say(Saying::Unrecognized, verb),
            Fault::HelloName => self.say(Saying::HelloName, ""),
            Fault::Syntax(about) => self.say(Saying::Syntax, about),
            Fault::UnknownOption(about) => self.say(Saying::UnknownOption, about),
            Fault::UnknownValue(about) => self.say(Saying::UnknownValue, about),
            Fault::UnknownParameter(about) => self.say(Saying::UnknownParameter, about),
            Fault::HelloFirst => self.say(Saying::HelloFirst, ""),
            Fault::MailFirst => self.say(Saying::MailFirst, ""),
            Fault::RcptFirst => self.say(Saying::RcptFirst, ""),
            Fault::NestedMail => self.say(Saying::NestedMail, ""),
            Fault::NoValidRecipients => self.say(Saying::NoValidRecipients, ""),
            Fault::InTransaction => self.say(Saying::InTransaction, ""),
            Fault::Secured => self.say(Saying::TlsActive, ""),
            // What stands behind it came from nobody knows whom.
            Fault::NotLast => Answer { then: Then::Close, ..self.say(Saying::TlsNotLast, "") },
            Fault::BdatOnly => self.say(Saying::BdatOnly, ""),
            Fault::NotAscii => self.say(Saying::NotAscii, ""),
        }
    }
}
