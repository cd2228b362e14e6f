//! XCLIENT at the listener: offered to trusted peers, who speak for other clients with it (Postfix's XCLIENT_README).

use std::net::IpAddr;

use super::{Behaviour, PolicyAnswer, RequestFault, Saying, SessionCounts, Step};

impl Behaviour {
    /// The answer to EHLO.
    pub(super) fn offer(&self) -> String {
        let extensions = &self.shared.extensions[usize::from(self.secured)];
        if self.peer.may_tell(&self.shared.limits) {
            // After the first line, which is the name and no extension.
            extensions.replacen('\n', "\n250-XCLIENT NAME ADDR PORT PROTO HELO\n", 1)
        } else {
            extensions.clone()
        }
    }

    /// XCLIENT: the session begins anew, as that of another client.
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
            // The counts are those of a client's session.
            self.tally = SessionCounts::default();
            self.access.anew();
        }
        self.at(Step::Greeting, |session| session.say(Saying::Greeting, ""))
    }
}
