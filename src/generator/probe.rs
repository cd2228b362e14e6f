//! The seam of sessions that are led by hand: a search says what each is to do next, and hears what came of it. They are
//! the same sessions over the same wire as those of a run; what anything means is the search's business.
//!
//! # Decisions
//! - One thread, and it only moves while its owner waits: a search asks one question after the other, and nothing happens
//!   behind its back but in the kernel.
//! - Every wait is bounded by its caller. Silence is an answer.

mod live;
mod stalls;

use std::net::IpAddr;
use std::time::Duration;

use crate::smtp::hello::Offer;
use crate::smtp::{Closed, Reply, Step};

pub use live::Live;

/// One session, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session(pub usize);

/// How a session is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Which of the client's addresses it comes from, from 0.
    pub host: u64,
    /// Without TLS, although the script has it, and without a login.
    pub clear: bool,
    /// Nothing is said of our own accord: it is open when it is connected, and the greeting is still to be heard.
    pub bare: bool,
}

/// What came of an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is open, and nothing is outstanding.
    In(Session),
    /// The listener does not serve it.
    Out(Refusal),
    /// Our own side could not, and why: no finding about the listener.
    Own(String),
}

impl Opened {
    /// The session, if it is served.
    pub fn session(&self) -> Option<Session> {
        match self {
            Opened::In(session) => Some(*session),
            Opened::Out(_) | Opened::Own(_) => None,
        }
    }
}

/// How a listener does not serve a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where its opening ended.
    pub step: Step,
    /// By what.
    pub by: By,
    /// The connection, which may still be there.
    pub session: Session,
    /// From the first octet that we sent, the SYN, to its end.
    pub took: Duration,
}

/// What ended something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A reply.
    Reply(Reply),
    /// A close without a word.
    Closed(Closed),
    /// Nothing: no reply came in time.
    Silence,
    /// No connection came about: refused, or no answer in time.
    NoConnect(Unconnected),
    /// Something else, in words: what came is no reply, or the handshake failed.
    Other(String),
}

/// Why no connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconnected {
    /// RST to our SYN.
    Refused,
    /// No answer in time.
    TimedOut,
    /// No name, or no route.
    Unreachable,
}

/// Something that a session met, and when: since the hands began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// What.
    pub what: By,
    /// When.
    pub at: Duration,
}

impl Met {
    /// The reply, if it was one.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.what {
            By::Reply(reply) => Some(reply),
            _ => None,
        }
    }

    /// The reply's code; 0 if it was none.
    pub fn code(&self) -> u16 {
        self.reply().map_or(0, |reply| reply.code)
    }
}

/// How we end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// QUIT, its reply, and the close.
    Quit,
    /// The close alone.
    Close,
    /// A reset.
    Reset,
}

/// What was spent on a search so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Connections that were tried.
    pub connections: u64,
    /// Octets handed to the kernel.
    pub octets: u64,
}

/// Openings under way at once: fewer than any listener's accept queue holds (OpenSMTPD 5, Sendmail 10, Exim 20). A connection
/// that the kernel never handed to the listener is neither greeted nor closed by it for many seconds.
pub const AT_ONCE: usize = 4;

/// Sessions that are led by hand.
pub trait Hands {
    /// Opens a session for each of `ways`, `at_once` of them at a time, and waits until each is in or out, at most `within`:
    /// what is not decided then is [`Opened::Own`]. In their order.
    fn open(&mut self, ways: &[Way], at_once: usize, within: Duration) -> Vec<Opened>;

    /// What the listener offers to a session that is open; nothing to one that said no hello.
    fn offer(&self, session: Session) -> Offer;

    /// Says these octets, line ends included, as they are.
    fn tell(&mut self, session: Session, octets: &[u8]);

    /// The next thing that the session meets, asked for or not; [`By::Silence`] if nothing is met `within` the time.
    /// After the end of the connection it meets nothing but silence, at once.
    fn hear(&mut self, session: Session, within: Duration) -> Met;

    /// Ends sessions, and waits at most `within` until the listener has closed each of them as well; then they are reset.
    /// Returns how many closes were not seen: the listener may still count those sessions.
    fn leave(&mut self, sessions: &[Session], how: Leave, within: Duration) -> u64;

    /// Waits.
    fn pause(&mut self, length: Duration);

    /// The time since the hands began.
    fn now(&self) -> Duration;

    /// How many client addresses there are; 1: all sessions come from one.
    fn hosts(&self) -> u64;

    /// Whether the search is to be ended.
    fn is_stopped(&self) -> bool {
        false
    }

    /// How long this machine has stood still so far: what was timed meanwhile is not the listener's.
    fn stalled(&self) -> Duration {
        Duration::ZERO
    }

    /// The network of a client address: the first 24 bits of an IPv4 address, the first 64 of an IPv6 one; `None`: not known.
    fn network(&self, host: u64) -> Option<IpAddr> {
        let _ = host;
        None
    }

    /// What was spent so far.
    fn spent(&self) -> Spent;

    /// Says `octets` and hears what is met next.
    fn say(&mut self, session: Session, octets: &[u8], within: Duration) -> Met {
        self.tell(session, octets);
        self.hear(session, within)
    }
}
