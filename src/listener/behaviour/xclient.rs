//! XCLIENT at the listener: trusted peers announce another client's address with it (Postfix's XCLIENT_README).

use std::net::IpAddr;

use super::{Behaviour, PolicyAnswer, RequestFault, Saying, SessionCounts, Step};
use crate::listener::state::with_extension;

impl Behaviour {
    /// Returns the reply to EHLO, with XCLIENT if the peer may use it.
    pub(super) fn offer(&self) -> String {
        let extensions = &self.shared.extensions[usize::from(self.secured)];
        if self.peer.may_tell(&self.shared.limits) {
            with_extension(extensions, "XCLIENT NAME ADDR PORT PROTO HELO")
        } else {
            extensions.clone()
        }
    }

    /// Answers XCLIENT: the session starts again at the greeting, as a session of the announced client, or of the same
    /// client if none is announced.
    pub(super) fn xclient(&mut self, told: Option<IpAddr>) -> PolicyAnswer {
        let limits = &self.shared.limits;
        if !limits.xclient {
            return self.fault(RequestFault::Unrecognized("XCLIENT"));
        }
        if !self.peer.may_tell(limits) {
            return self.say(Saying::XclientDenied, "");
        }
        if let Some(client) = told {
            if let Err(saying) = self.shared.counts.change_host(self.peer.host(), client, limits) {
                self.open = false;
                self.peer.speaks_for(client);
                return self.over(saying);
            }
            self.peer.speaks_for(client);
            // The counts belong to one client: they start again for the announced client.
            self.tally = SessionCounts::default();
        }
        let answer = self.at(Step::Greeting, |session| session.say(Saying::Greeting, ""));
        // `smtp::server` returns to the state after the greeting too, whether or not a client is announced.
        if answer.code() == 220 {
            self.tally.greeted = false;
            self.access.anew(told.is_some());
        }
        answer
    }
}
