//! The metrics, and their names, which are the same in profile, JSON, CSV and text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::smtp::Step;

/// A duration that is recorded, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// From the intended start to the end of an arrival.
    Response,
    /// From MAIL to the final reply. If the arrival is a session: from the start of its connect to its end.
    Service,
    /// The lateness of the generator: the time until it notices the scheduled time of an arrival, and the time from the
    /// assignment of the arrival to a session until its start.
    Lag,
    /// How long an arrival waited after its scheduled time for a slot, because all sessions that the profile allows were busy.
    Wait,
    /// How long the opening of a session for this message took: connect, TLS, greeting, hello, STARTTLS, AUTH. 0 for an
    /// arrival that got an open session, and for one that is a session itself. response = lag + wait + setup + service.
    Setup,
    /// A session, from the start of its connect to its end.
    Session,
    /// From the intended start of the first attempt of a message to the end of the accepted attempt. Only if messages
    /// are tried again.
    TimeToAccept,
    /// One step of a session. `step.tls` holds only full TLS handshakes.
    Step(Step),
    /// TLS handshakes that resumed an earlier session. They are kept apart because they are less work than full handshakes.
    TlsResumed,
    /// From the final reply to the end of the content at the receiver behind the relay; 0 if the message came out before
    /// the reply.
    Transit,
    /// From the intended start to the end of the content at the receiver behind the relay.
    Delivery,
}

impl Metric {
    /// The number of metrics, for tables by [`Metric::index`].
    pub const COUNT: usize = 10 + Step::ALL.len();

    /// Returns every metric that can hold values, in the order of reports.
    pub fn all() -> impl Iterator<Item = Metric> {
        let of_arrivals =
            [Metric::Response, Metric::Service, Metric::Lag, Metric::Wait, Metric::Setup, Metric::Session];
        of_arrivals
            .into_iter()
            .chain([Metric::TimeToAccept])
            .chain(Step::ALL.into_iter().filter(|s| *s != Step::Idle).map(Metric::Step))
            .chain([Metric::TlsResumed, Metric::Transit, Metric::Delivery])
    }

    /// Returns the metric's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Metric::Response => "response",
            Metric::Service => "service",
            Metric::Lag => "lag",
            Metric::Wait => "wait",
            Metric::Setup => "setup",
            Metric::Session => "session",
            Metric::TimeToAccept => "time_to_accept",
            Metric::Step(step) => match step {
                Step::Dns => "step.dns",
                Step::Connect => "step.connect",
                Step::Tls => "step.tls",
                Step::Greeting => "step.greeting",
                Step::Hello => "step.hello",
                Step::Starttls => "step.starttls",
                Step::Auth => "step.auth",
                Step::Mail => "step.mail",
                Step::Rcpt => "step.rcpt",
                Step::Data => "step.data",
                Step::Body => "step.body",
                Step::Command => "step.command",
                Step::Quit => "step.quit",
                Step::Idle => "step.idle",
            },
            Metric::TlsResumed => "step.tls-resumed",
            Metric::Transit => "transit",
            Metric::Delivery => "delivery",
        }
    }

    /// Returns an index below [`Metric::COUNT`].
    pub const fn index(self) -> usize {
        match self {
            Metric::Response => 0,
            Metric::Service => 1,
            Metric::Lag => 2,
            Metric::Wait => 3,
            Metric::Setup => 4,
            Metric::Session => 5,
            Metric::TimeToAccept => 6,
            Metric::Step(step) => 7 + step.index(),
            Metric::TlsResumed => 7 + Step::ALL.len(),
            Metric::Transit => 8 + Step::ALL.len(),
            Metric::Delivery => 9 + Step::ALL.len(),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Metric {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Metric::all().find(|metric| metric.as_str() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_indices_are_unique_and_read_back() {
        let mut seen = std::collections::HashSet::new();
        for metric in Metric::all() {
            assert_eq!(metric.as_str().parse(), Ok(metric));
            assert!(metric.index() < Metric::COUNT && seen.insert(metric.index()));
        }
    }
}
