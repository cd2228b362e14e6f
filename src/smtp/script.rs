//! What a session is to say, decided before it begins: shared by all sessions of a run.

use std::time::Duration;

use super::auth::Login;
use super::extensions::Wishes;
use super::step::Step;

/// The first command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// EHLO (RFC 5321 4.1.1.1), and HELO on the same connection where the listener does not know it (3.2).
    Ehlo,
    /// EHLO; a listener that does not know it is a finding.
    EhloOnly,
    /// HELO, the document's flow.
    Helo,
}

/// How commands are grouped (RFC 2920).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelining {
    /// One command at a time.
    Off,
    /// MAIL, RCPT and DATA in one group when the listener offers PIPELINING.
    Auto,
    /// The content and the next MAIL, RCPT and DATA in one group too, when offered (RFC 2920 3.1).
    Full,
    /// As `Full`; a listener that does not offer it is a finding.
    Require,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quit {
    /// QUIT, its reply, close.
    Clean,
    /// Close without QUIT.
    Close,
    /// Reset without QUIT.
    Reset,
    /// As `Clean`, but only when the owner says so: the session stays open when it has nothing more to send.
    Hold,
}

/// How a client behaves badly on purpose, so that a listener's time-outs and rules can be tested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    /// It says hello before it was greeted (RFC 5321 3.1 has it wait).
    pub early_talk: bool,
    /// Whenever this step is accepted, it says nothing for so long.
    pub stall: Option<(Step, Duration)>,
    /// Lines of nonsense after the greeting, each of which is answered before the next: the step `command`.
    pub garbage: u32,
    /// It ends its sending side once the command of this step is out (for the body: the final dot), and reads what is owed.
    pub half_close: Option<Step>,
    /// Once it can send mail it says NOOP without end and reads no reply, until it is ended.
    pub deaf: bool,
    /// Bytes a second that it writes; `None`: as fast as they go. The driver's business, not the machine's.
    pub trickle: Option<u32>,
}

/// How long each step may take (RFC 5321 4.5.3.2). All count from the moment the wait begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution and connect.
    pub connect: Duration,
    /// The greeting.
    pub greeting: Duration,
    /// HELO, EHLO, MAIL, RCPT, and QUIT where it has no time of its own.
    pub command: Duration,
    /// DATA, until the 354.
    pub data: Duration,
    /// The content, until the reply to the final dot.
    pub body: Duration,
    /// QUIT; `None`: as `command`.
    pub quit: Option<Duration>,
    /// The whole session.
    pub session: Duration,
}

impl Timeouts {
    /// Lets a reply take at most so long.
    pub fn bound(&mut self, patience: Duration) {
        for timeout in [&mut self.connect, &mut self.greeting, &mut self.command] {
            *timeout = patience.min(*timeout);
        }
    }
}

impl Default for Timeouts {
    /// The minima of RFC 5321 4.5.3.2, and an hour for the session.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Timeouts {
            connect: Duration::from_secs(30),
            greeting: minutes(5),
            command: minutes(5),
            data: minutes(2),
            body: minutes(10),
            quit: None,
            session: minutes(60),
        }
    }
}

/// A command that is sent for its own sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// NOOP.
    Noop,
    /// RSET.
    Reset,
}

/// VRFY commands at the beginning of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verify {
    /// How many.
    pub times: u32,
    /// About whom: the number of the command, from 0, stands between each two parts.
    pub whom: Vec<String>,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP (RFC 5321).
    #[default]
    Smtp,
    /// LMTP (RFC 2033): LHLO, and one reply for each accepted recipient after the content.
    Lmtp,
}

/// Whether and how the session is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Clear text.
    None,
    /// STARTTLS (RFC 3207); a listener that does not offer it is a finding.
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
}

/// As whom one session speaks; what is absent is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionIdentity {
    /// Who logs in.
    pub login: Option<Login>,
    /// The attributes of XCLIENT, as in `ADDR=192.0.2.1 NAME=client.example`.
    pub xclient: Option<String>,
}

/// The dialogue of a session, but for its transactions and what differs from session to session ([`SessionIdentity`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What is spoken; LMTP says LHLO, whatever `hello` is.
    pub protocol: Protocol,
    /// HELO or EHLO.
    pub hello: Hello,
    /// The name given with it.
    pub name: String,
    /// How commands are grouped.
    pub pipelining: Pipelining,
    /// What is wanted of the other extensions.
    pub wishes: Wishes,
    /// VRFY before the first transaction.
    pub verify: Verify,
    /// What follows each transaction, before the next or the end.
    pub between: Vec<Aside>,
    /// How the session ends.
    pub quit: Quit,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// Whether and how it is encrypted.
    pub tls: TlsMode,
    /// A login may go out in clear text.
    pub clear_text_login: bool,
    /// How it misbehaves.
    pub manners: Manners,
}

impl Default for Script {
    /// EHLO in clear text, grouped where that is offered, and a clean end.
    fn default() -> Self {
        Script {
            protocol: Protocol::Smtp,
            hello: Hello::Ehlo,
            name: "load.example".to_owned(),
            pipelining: Pipelining::Auto,
            wishes: Wishes::default(),
            verify: Verify::default(),
            between: Vec::new(),
            quit: Quit::Clean,
            timeouts: Timeouts::default(),
            tls: TlsMode::None,
            clear_text_login: false,
            manners: Manners::default(),
        }
    }
}
