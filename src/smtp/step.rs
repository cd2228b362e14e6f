//! The steps of a session. Each step is one timed wait and has the same name in all outputs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One timed wait of a session (RFC 5321 section 3). The order is that of a session with TLS from the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Resolving the target's name.
    Dns,
    /// Opening the connection, until the kernel says it is established.
    Connect,
    /// The TLS handshake.
    Tls,
    /// From the established connection to the greeting (220).
    Greeting,
    /// HELO, EHLO or LHLO.
    Hello,
    /// The STARTTLS command, without the handshake.
    Starttls,
    /// The AUTH exchange.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, until the 354.
    Data,
    /// The content, from its first byte to the reply to the final dot.
    Body,
    /// A command outside transactions: NOOP, RSET or VRFY, or a line of garbage. These waits belong to no other step,
    /// and `idle` is never timed.
    Command,
    /// QUIT.
    Quit,
    /// No command is outstanding. This step is never timed. An unasked 421, or a close of an idle session, is reported
    /// under this step.
    Idle,
}

impl Step {
    /// Every step, in session order.
    pub const ALL: [Step; 14] = [
        Step::Dns,
        Step::Connect,
        Step::Tls,
        Step::Greeting,
        Step::Hello,
        Step::Starttls,
        Step::Auth,
        Step::Mail,
        Step::Rcpt,
        Step::Data,
        Step::Body,
        Step::Command,
        Step::Quit,
        Step::Idle,
    ];

    /// Returns the step's name in profiles, JSON, CSV and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Dns => "dns",
            Step::Connect => "connect",
            Step::Tls => "tls",
            Step::Greeting => "greeting",
            Step::Hello => "hello",
            Step::Starttls => "starttls",
            Step::Auth => "auth",
            Step::Mail => "mail",
            Step::Rcpt => "rcpt",
            Step::Data => "data",
            Step::Body => "body",
            Step::Command => "command",
            Step::Quit => "quit",
            Step::Idle => "idle",
        }
    }

    /// Whether the step is one of the opening of a session, before its first transaction.
    pub fn is_of_opening(self) -> bool {
        self < Step::Mail
    }

    /// Returns a dense index, for tables by step.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Step {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Step::ALL.into_iter().find(|step| step.as_str() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_read_back_from_its_name_and_indexed_densely() {
        for (i, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step.as_str().parse(), Ok(step));
            assert_eq!(serde_json::to_value(step).unwrap(), step.as_str());
            assert_eq!(serde_json::from_value::<Step>(step.as_str().into()).unwrap(), step);
            assert_eq!(step.index(), i);
        }
        assert!("helo".parse::<Step>().is_err());
    }
}
