//! The floor: what the dialogue costs when nothing is measured. One thread, one raw epoll loop, nothing allocated after
//! the start, TCP_NODELAY, one write for each group and one read for each wake-up.
//!
//! It reads every reply and checks its code, so that it cannot be cheap by not listening. It is no load generator: it
//! reads the clock twice in all, knows no failure but its own end, and sends the same bytes always.
//!
//! With the start barrier, as smtpress has it (`--open-first`), no message is started before the last session is greeted and its EHLO
//! answered.

pub mod sink;

use std::fmt;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use socket2::{Domain, Protocol, Socket, Type};

/// How a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One command at a time.
    Single,
    /// MAIL, RCPT and DATA in one group.
    Grouped,
    /// The content and the next MAIL, RCPT and DATA in one group (RFC 2920 3.1).
    Full,
    /// One message a session, one command at a time.
    OneMessage,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no mode is hidden").get_name())
    }
}

/// Bytes of a message.
pub const MESSAGE: usize = 1024;

/// Sessions that may be opening at once: fewer than any accept queue holds.
const OPENING: usize = 256;
/// How long the listener may be silent on all sessions, in milliseconds.
const PATIENCE: u16 = 30_000;
const HELLO: &[u8] = b"EHLO client.example\r\n";
const MAIL: &[u8] = b"MAIL FROM:<load@sender.example>\r\n";
const RCPT: &[u8] = b"RCPT TO:<user@recipient.example>\r\n";
const DATA: &[u8] = b"DATA\r\n";
const QUIT: &[u8] = b"QUIT\r\n";
const HEADER: &[u8] =
    b"From: <load@sender.example>\r\nTo: <user@recipient.example>\r\nSubject: floor\r\n\r\n";
const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog and the slow load generator.\r\n";

/// What is asked of the floor.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub address: SocketAddr,
    pub mode: Mode,
    pub sessions: usize,
    pub messages: u64,
    /// All sessions are open before the first message.
    pub gate: bool,
}

/// What it did.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub accepted: u64,
    /// The most sessions open at once.
    pub peak: usize,
    /// From the opening of the gate, or else from the start, to the end.
    pub window: Duration,
}

/// Sends so many messages over so many sessions.
///
/// # Errors
/// Anything that is not as it should be: the floor is for a listener that accepts all.
pub fn run(task: Task) -> io::Result<Done> {
    let Task { address, mode, sessions, messages, gate } = task;
    let sessions = sessions.min(usize::try_from(messages).unwrap_or(usize::MAX));
    let mut floor = Floor {
        address,
        mode,
        lines: Lines::new(),
        left: messages,
        accepted: 0,
        opening: 0,
        live: 0,
        peak: 0,
        at_gate: gate.then_some(0),
        opened: now(),
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        sessions: (0..sessions).map(|_| None).collect(),
    };
    floor.work()?;
    Ok(Done { accepted: floor.accepted, peak: floor.peak, window: floor.opened.elapsed() })
}

#[expect(clippy::disallowed_methods, reason = "a bench of processes measures time")]
fn now() -> Instant {
    Instant::now()
}

/// What is sent.
struct Lines {
    group: Vec<u8>,
    content: Vec<u8>,
    content_and_group: Vec<u8>,
}

impl Lines {
    fn new() -> Lines {
        let mut content = HEADER.to_vec();
        while content.len() + LINE.len() <= MESSAGE - 2 {
            content.extend_from_slice(LINE);
        }
        content.resize(MESSAGE - 2, b'-');
        content.extend_from_slice(b"\r\n.\r\n");
        let group = [MAIL, RCPT, DATA].concat();
        let content_and_group = [content.as_slice(), &group].concat();
        Lines { group, content, content_and_group }
    }
}

/// The reply that a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Greeting,
    Hello,
    /// No reply: that the gate opens.
    Gate,
    Mail,
    Rcpt,
    Data,
    Body,
    Quit,
}

impl Awaits {
    fn code(self) -> &'static [u8; 3] {
        match self {
            Awaits::Greeting => b"220",
            Awaits::Data => b"354",
            Awaits::Quit => b"221",
            Awaits::Gate => b"...",
            Awaits::Hello | Awaits::Mail | Awaits::Rcpt | Awaits::Body => b"250",
        }
    }
}

struct Session {
    socket: Socket,
    awaits: Awaits,
    /// The next transaction went out with the content.
    follows: bool,
    reply: Reply,
}

/// The beginning of the line that is being read.
#[derive(Clone, Copy, Default)]
struct Reply {
    head: [u8; 4],
    seen: usize,
}

impl Reply {
    /// Takes a line off the front of `input`; `None`: it is not complete yet.
    fn line(&mut self, input: &mut &[u8]) -> Option<[u8; 4]> {
        while self.seen < 4 {
            let (&first, rest) = input.split_first()?;
            self.head[self.seen] = first;
            self.seen += 1;
            *input = rest;
        }
        match memchr::memchr(b'\n', input) {
            Some(end) => {
                *input = &input[end + 1..];
                self.seen = 0;
                Some(self.head)
            }
            None => {
                *input = &[];
                None
            }
        }
    }
}

struct Floor {
    address: SocketAddr,
    mode: Mode,
    lines: Lines,
    /// Messages not started.
    left: u64,
    accepted: u64,
    /// Sessions that are not greeted yet.
    opening: usize,
    live: usize,
    peak: usize,
    /// Sessions that wait at the gate; `None`: it is open.
    at_gate: Option<usize>,
    opened: Instant,
    epoll: Epoll,
    sessions: Vec<Option<Session>>,
}

impl Floor {
    fn work(&mut self) -> io::Result<()> {
        let mut input = vec![0; 64 * 1024];
        let mut events = vec![EpollEvent::empty(); 1024];
        let mut unopened = 0..self.sessions.len();
        loop {
            while self.opening < OPENING
                && let Some(slot) = unopened.next()
            {
                self.open(slot)?;
            }
            if self.live == 0 {
                return Ok(());
            }
            let ready = self.epoll.wait(&mut events, PATIENCE)?;
            if ready == 0 {
                let (opening, live, at_gate) = (self.opening, self.live, self.at_gate.unwrap_or(0));
                let what = format!(
                    "nothing came for 30 s: of {live} sessions {opening} were never greeted, {at_gate} wait for the others"
                );
                return Err(Error::new(ErrorKind::TimedOut, what));
            }
            for event in &events[..ready] {
                let slot = usize::try_from(event.data()).expect("a slot's number");
                self.read(slot, &mut input)?;
            }
            if self.at_gate == Some(self.sessions.len()) {
                self.open_gate()?;
            }
        }
    }

    /// Lets all sessions begin.
    fn open_gate(&mut self) -> io::Result<()> {
        self.at_gate = None;
        self.opened = now();
        for slot in 0..self.sessions.len() {
            let mut session = self.sessions[slot].take().expect("all are open");
            let (awaits, bytes) = self.next_message();
            session.awaits = awaits;
            write(&session.socket, bytes)?;
            self.sessions[slot] = Some(session);
        }
        Ok(())
    }

    fn open(&mut self, slot: usize) -> io::Result<()> {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(self.address), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.address.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        // The greeting says that the connection is there.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, slot as u64);
        self.epoll.add(&socket, event)?;
        let (awaits, reply) = (Awaits::Greeting, Reply::default());
        self.sessions[slot] = Some(Session { socket, awaits, follows: false, reply });
        self.opening += 1;
        self.live += 1;
        self.peak = self.peak.max(self.live);
        Ok(())
    }

    /// Reads what has come to a session. A read that does not fill the buffer has emptied the socket.
    fn read(&mut self, slot: usize, buffer: &mut [u8]) -> io::Result<()> {
        let mut session = self.sessions[slot].take().expect("only open sessions have events");
        let count = match (&session.socket).read(buffer) {
            Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "the listener closed a session")),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let mut input = &buffer[..count];
        while let Some(head) = session.reply.line(&mut input) {
            if head[..3] != session.awaits.code()[..] {
                let code = String::from_utf8_lossy(&head[..3]).into_owned();
                return Err(Error::other(format!("{code} instead of the reply to {:?}", session.awaits)));
            }
            if head[3] == b'-' {
                continue;
            }
            if session.awaits == Awaits::Quit {
                self.live -= 1;
                drop(session);
                return if self.left > 0 { self.open(slot) } else { Ok(()) };
            }
            self.answered(&mut session)?;
        }
        self.sessions[slot] = Some(session);
        Ok(())
    }

    /// The reply that a session waited for has come.
    fn answered(&mut self, session: &mut Session) -> io::Result<()> {
        let single = matches!(self.mode, Mode::Single | Mode::OneMessage);
        let (awaits, bytes): (Awaits, &[u8]) = match session.awaits {
            Awaits::Greeting => {
                self.opening -= 1;
                (Awaits::Hello, HELLO)
            }
            Awaits::Hello => match &mut self.at_gate {
                Some(waiting) => {
                    *waiting += 1;
                    (Awaits::Gate, b"")
                }
                None => self.next_message(),
            },
            Awaits::Mail => (Awaits::Rcpt, if single { RCPT } else { b"" }),
            Awaits::Rcpt => (Awaits::Data, if single { DATA } else { b"" }),
            Awaits::Data => {
                session.follows = self.mode == Mode::Full && self.left > 0;
                self.left -= u64::from(session.follows);
                (
                    Awaits::Body,
                    if session.follows { &self.lines.content_and_group } else { &self.lines.content },
                )
            }
            Awaits::Body => {
                self.accepted += 1;
                match self.mode {
                    _ if session.follows => (Awaits::Mail, b""),
                    Mode::OneMessage => (Awaits::Quit, QUIT),
                    _ => self.next_message(),
                }
            }
            Awaits::Gate | Awaits::Quit => unreachable!("neither a gate nor an end is answered"),
        };
        session.awaits = awaits;
        write(&session.socket, bytes)
    }

    /// What a session at rest says: the next message's beginning, or QUIT.
    fn next_message(&mut self) -> (Awaits, &[u8]) {
        if self.left == 0 {
            return (Awaits::Quit, QUIT);
        }
        self.left -= 1;
        match self.mode {
            Mode::Single | Mode::OneMessage => (Awaits::Mail, MAIL),
            Mode::Grouped | Mode::Full => (Awaits::Mail, &self.lines.group),
        }
    }
}

/// Writes what there is. One message at the most is on its way: the kernel takes it whole.
fn write(mut socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    if !bytes.is_empty() && socket.write(bytes)? != bytes.len() {
        return Err(Error::new(ErrorKind::WriteZero, "the kernel took part of a group"));
    }
    Ok(())
}
