//! The steps of a session: each is one timed wait with a name that is the same everywhere.

use std::fmt;
use std::str::FromStr;

/// One timed wait of a session (RFC 5321 section 3), in the order in which a session meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Resolving the target's name.
    Dns,
    /// Opening the connection, until the kernel says it is established.
    Connect,
    /// The TLS handshake.
    Tls,
    /// From the established connection to the greeting (220).
    Greeting,
    /// HELO or EHLO.
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
    /// A command outside transactions that is sent for its own sake: NOOP, RSET, VRFY. A step of its own, because its wait
    /// is none of the others', and `idle` is never timed.
    Command,
    /// QUIT.
    Quit,
    /// No command is outstanding. Never timed: an unasked 421 or a close while the session rests is filed here.
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

    /// The step's name in profiles, JSON, CSV and text.
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

    /// A dense index, for tables by step.
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
            assert_eq!(step.index(), i);
        }
        assert!("helo".parse::<Step>().is_err());
    }
}
