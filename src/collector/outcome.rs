//! How an arrival, a transaction or a step ended.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The end of an arrival, in the order of reports (M10): every scheduled arrival has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The positive reply after the final dot was read. If the arrival is a session: no step of the session failed.
    Accepted,
    /// A refusal that the profile expects.
    Expected,
    /// A 4yz reply.
    Deferred,
    /// A 5yz reply.
    Rejected,
    /// No session was established: the connection, the greeting or the hello was refused, the TLS handshake failed, or a
    /// required extension is not offered.
    Refused,
    /// The connection was lost.
    Dropped,
    /// A step or the session took longer than its time-out.
    TimedOut,
    /// No valid reply to the final dot came: the listener may have the message.
    InDoubt,
    /// The listener broke the protocol.
    Malformed,
    /// The arrival was still in flight when the run ended; its times are lower bounds.
    Interrupted,
    /// The arrival never started.
    Shed,
}

impl Outcome {
    /// Every outcome, in the order of reports.
    pub const ALL: [Outcome; 11] = [
        Outcome::Accepted,
        Outcome::Expected,
        Outcome::Deferred,
        Outcome::Rejected,
        Outcome::Refused,
        Outcome::Dropped,
        Outcome::TimedOut,
        Outcome::InDoubt,
        Outcome::Malformed,
        Outcome::Interrupted,
        Outcome::Shed,
    ];

    /// Returns the outcome's name in text, CSV, JSON values and expressions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Expected => "expected",
            Outcome::Deferred => "deferred",
            Outcome::Rejected => "rejected",
            Outcome::Refused => "refused",
            Outcome::Dropped => "dropped",
            Outcome::TimedOut => "timed-out",
            Outcome::InDoubt => "in-doubt",
            Outcome::Malformed => "malformed",
            Outcome::Interrupted => "interrupted",
            Outcome::Shed => "shed",
        }
    }

    /// Returns an index for tables by outcome.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a reply is missing, so that the times of such arrivals are lower bounds (M12). An arrival whose connection is
    /// dropped before the listener can have the message has an end: the message can no longer be accepted.
    pub const fn lacks_end(self) -> bool {
        matches!(self, Outcome::TimedOut | Outcome::InDoubt | Outcome::Interrupted)
    }

    /// Whether the outcome is neither accepted nor expected.
    pub const fn is_unexpected(self) -> bool {
        !matches!(self, Outcome::Accepted | Outcome::Expected)
    }

    /// Whether the listener or the network ended what was tried, and that was not expected: neither did the generator cut it
    /// off, nor could it not start it.
    pub const fn is_failure(self) -> bool {
        self.is_unexpected() && !matches!(self, Outcome::Interrupted | Outcome::Shed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = ();

    /// Accepts a hyphen or an underscore in a name.
    fn from_str(name: &str) -> Result<Self, ()> {
        Outcome::ALL
            .into_iter()
            .find(|o| o.as_str() == name || o.as_str().replace('-', "_") == name)
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_read_back_from_its_name() {
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
            assert_eq!(outcome.index(), i);
        }
        assert_eq!("timed_out".parse(), Ok(Outcome::TimedOut));
    }
}
