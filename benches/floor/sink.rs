//! The frugal listener: a raw epoll loop a thread that takes every message, for runs in which the listener must not be the
//! bottleneck. `SO_REUSEPORT` shares the sessions out among the threads.
//!
//! It looks for ends of lines and for the final dot, and for the first letter of a command; it keeps nothing and refuses
//! nothing. It is no listener for tests: a client that does not speak as smtpress does is not understood.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread::JoinHandle;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};

const GREETING: &[u8] = b"220 sink.example\r\n";
const HELLO: &[u8] = b"250-sink.example\r\n250 PIPELINING\r\n";
const OK: &[u8] = b"250 ok\r\n";
const GO_ON: &[u8] = b"354 go on\r\n";
const BYE: &[u8] = b"221 bye\r\n";
const END: &[u8] = b"\r\n.\r\n";
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The listening socket's number among the events; the others are slots.
const LISTENER: u64 = u64::MAX;

/// Starts so many threads of the listener on a free port of loopback; they end with the process.
///
/// # Errors
/// No port or no descriptor is free.
pub fn start(threads: usize) -> io::Result<(SocketAddr, Vec<JoinHandle<io::Result<()>>>)> {
    let first = listener(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = first.local_addr()?.as_socket().ok_or(ErrorKind::AddrNotAvailable)?;
    let mut listeners = vec![first];
    for _ in 1..threads {
        listeners.push(listener(address)?);
    }
    let serve = |listener| std::thread::spawn(move || Sink::new(listener)?.serve());
    Ok((address, listeners.into_iter().map(serve).collect()))
}

fn listener(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

struct Session {
    socket: Socket,
    /// How much of the final dot has been seen, while content is read.
    content: Option<usize>,
    /// The first letter of the command that is being read.
    verb: Option<u8>,
}

struct Sink {
    listener: Socket,
    epoll: Epoll,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    replies: Vec<u8>,
}

impl Sink {
    fn new(listener: Socket) -> io::Result<Sink> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Sink { listener, epoll, sessions: Vec::new(), free: Vec::new(), replies: Vec::new() })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut events = vec![EpollEvent::empty(); 1024];
        loop {
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            for event in &events[..ready] {
                match event.data() {
                    LISTENER => self.accept()?,
                    slot => self.read(usize::try_from(slot).expect("a slot's number"), &mut buffer),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.sessions.push(None);
                self.sessions.len() - 1
            });
            self.epoll
                .add(&socket, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, slot as u64))?;
            (&socket).write_all(GREETING)?;
            self.sessions[slot] = Some(Session { socket, content: None, verb: None });
        }
    }

    /// Reads and answers what has come to a session; one that is over or fails is closed.
    fn read(&mut self, slot: usize, buffer: &mut [u8]) {
        let Some(mut session) = self.sessions[slot].take() else { return };
        loop {
            let count = match (&session.socket).read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(count) if count > 0 => count,
                _ => return self.free.push(slot),
            };
            self.replies.clear();
            let stays = session.take(&buffer[..count], &mut self.replies);
            // A few short lines: the kernel takes them whole.
            let written = (&session.socket).write_all(&self.replies).is_ok();
            if !stays || !written {
                return self.free.push(slot);
            }
            if count < buffer.len() {
                break;
            }
        }
        self.sessions[slot] = Some(session);
    }
}

impl Session {
    /// Answers input; false: the session is over.
    fn take(&mut self, mut input: &[u8], replies: &mut Vec<u8>) -> bool {
        while !input.is_empty() {
            let rest = match &mut self.content {
                Some(seen) => match after_content(seen, input) {
                    Some(rest) => {
                        self.content = None;
                        replies.extend_from_slice(OK);
                        rest
                    }
                    None => return true,
                },
                None => {
                    let verb = *self.verb.get_or_insert(input[0]);
                    let Some(end) = memchr::memchr(b'\n', input) else { return true };
                    self.verb = None;
                    match verb {
                        b'D' => {
                            // The dot may stand on the first line.
                            self.content = Some(2);
                            replies.extend_from_slice(GO_ON);
                        }
                        b'Q' => {
                            replies.extend_from_slice(BYE);
                            return false;
                        }
                        b'E' => replies.extend_from_slice(HELLO),
                        _ => replies.extend_from_slice(OK),
                    }
                    &input[end + 1..]
                }
            };
            input = rest;
        }
        true
    }
}

/// What follows the final dot; `None`: it has not come. `seen`: how much of it was at the end of what came before.
fn after_content<'a>(seen: &mut usize, mut input: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        if *seen == 0 {
            let at = memchr::memchr(b'\r', input)?;
            input = &input[at + 1..];
            *seen = 1;
        }
        let (&byte, rest) = input.split_first()?;
        if byte == END[*seen] {
            *seen += 1;
            input = rest;
            if *seen == END.len() {
                return Some(rest);
            }
        } else {
            *seen = 0;
        }
    }
}
