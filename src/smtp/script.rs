//! The script of a session. It is decided before the run, and all sessions share it.

use std::time::Duration;

use super::auth::Login;
use super::extensions::Wishes;
use super::step::Step;

/// The first command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// EHLO (RFC 5321 4.1.1.1), and HELO on the same connection if the listener does not know EHLO (3.2).
    Ehlo,
    /// EHLO. A listener that does not know it fails the session.
    EhloOnly,
    /// HELO only.
    Helo,
}

/// How commands are grouped (RFC 2920).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelining {
    /// One command at a time.
    Off,
    /// MAIL, RCPT and DATA in one group when the listener offers PIPELINING.
    Auto,
    /// As `Auto`, and the content and the next MAIL, RCPT and DATA in one group too (RFC 2920 3.1).
    Full,
    /// As `Full`. A listener that does not offer PIPELINING fails the session.
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
    /// As `Clean`, but only when the owner ends the session. A session without further messages stays open until then.
    Hold,
}

/// How a client behaves badly on purpose, so that a listener's time-outs and rules can be tested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    /// Whether the client sends hello before the greeting (RFC 5321 3.1: the client must wait).
    pub early_talk: bool,
    /// Each time this step succeeds, the client sends nothing for this long.
    pub stall: Option<(Step, Duration)>,
    /// How many lines of garbage the client sends after the greeting. Each line is a step `command`: the client waits
    /// for the reply.
    pub garbage: u32,
    /// The client ends its sending side once the command of this step is written (for the body: the final dot), and
    /// reads the outstanding replies.
    pub half_close: Option<Step>,
    /// Whether the client, once the session can send mail, sends NOOP without end and reads no reply until the owner
    /// ends the session.
    pub deaf: bool,
    /// How many bytes the client writes each second; `None` for no limit. The driver enforces this limit, not the
    /// machine.
    pub trickle: Option<u32>,
}

/// How long each step may take (RFC 5321 4.5.3.2). The time of a step counts from its last progress: a reply, a write,
/// or the time at which the kernel has taken all bytes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution and connect.
    pub connect: Duration,
    /// The greeting.
    pub greeting: Duration,
    /// All steps without a time of their own: TLS, hello, AUTH, MAIL, RCPT and commands outside transactions, and QUIT
    /// if `quit` is `None`.
    pub command: Duration,
    /// DATA, until the 354.
    pub data: Duration,
    /// The content, until the reply to the final dot.
    pub body: Duration,
    /// QUIT; `None` for the time of `command`.
    pub quit: Option<Duration>,
    /// The whole session.
    pub session: Duration,
}

impl Timeouts {
    /// Limits the times of `connect`, `greeting` and `command` to `patience`, for a search for limits. Its sessions have
    /// no other step of a script: once they can send mail, the search waits for each reply itself.
    pub fn bound(&mut self, patience: Duration) {
        for timeout in [&mut self.connect, &mut self.greeting, &mut self.command] {
            *timeout = patience.min(*timeout);
        }
    }
}

impl Default for Timeouts {
    /// Returns the minima of RFC 5321 4.5.3.2, 30 seconds for the connect, and an hour for the session.
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

/// A command outside transactions.
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
    /// The number of commands.
    pub times: u32,
    /// The names to verify, in turn. Without names no command is sent.
    pub whom: Vec<String>,
}

/// The protocol of a session.
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
    /// STARTTLS (RFC 3207). A listener that does not offer it fails the session.
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
}

/// The identity of one session. A field that is `None` is not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionIdentity {
    /// The login.
    pub login: Option<Login>,
    /// The attributes of XCLIENT, as in `ADDR=192.0.2.1 NAME=client.example`.
    pub xclient: Option<String>,
}

/// The dialogue of a session, except its transactions and its [`SessionIdentity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The protocol. LMTP uses LHLO, whatever `hello` is.
    pub protocol: Protocol,
    /// HELO or EHLO.
    pub hello: Hello,
    /// The client's name, sent with hello.
    pub name: String,
    /// How commands are grouped.
    pub pipelining: Pipelining,
    /// Which other extensions the session asks for.
    pub wishes: Wishes,
    /// VRFY before the first transaction.
    pub verify: Verify,
    /// The commands after each transaction, before the next one or the end.
    pub between: Vec<Aside>,
    /// How the session ends.
    pub quit: Quit,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// Whether and how the session is encrypted.
    pub tls: TlsMode,
    /// Whether a login may be sent in clear text.
    pub clear_text_login: bool,
    /// How the client misbehaves.
    pub manners: Manners,
}

impl Default for Script {
    /// Returns a script of EHLO in clear text, grouped commands if offered, and a clean end.
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
