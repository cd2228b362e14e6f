//! A listener that follows a script, move by move, over a plain socket. It can do everything that a socket can do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use smtpress::net::address::tls::Credential;
use socket2::{Domain, SockRef, Socket, Type};

use crate::tls::{ALWAYS, credential, server_config};

/// The certificate it shows.
pub static CREDENTIAL: LazyLock<Credential> = LazyLock::new(|| credential(&["127.0.0.1"], ALWAYS));

static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| server_config(&CREDENTIAL));

/// One move.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these bytes in one write.
    Say(Vec<u8>),
    /// Sends these bytes one at a time, with this pause between them.
    Drip(&'static str, Duration),
    /// Sends these bytes again and again, until the client is gone.
    Flood(&'static str),
    /// Reads lines up to one that begins with this.
    Hear(&'static str),
    /// Reads content up to its final dot.
    Dot,
    /// Counts the message as taken, whatever reply follows.
    Take,
    /// Waits until there is something to read, and leaves it unread.
    Peek,
    Pause(Duration),
    /// Performs the TLS handshake. The moves after it use TLS.
    Secure,
    /// Performs the TLS handshake with another certificate.
    SecureWith(Arc<ServerConfig>),
    /// Sends this many bytes of the right answer to the ClientHello; at most all bytes but the last.
    PartOfHandshake(usize),
    /// Asks for new TLS keys again and again, until the client is gone.
    Rekey,
    /// Sends these bytes on the socket without TLS, in the middle of a TLS session.
    Beneath(Vec<u8>),
    /// Sends the first bytes of the client back.
    Echo,
    /// Sends the TLS alert close_notify.
    Goodbye,
    /// Closes only its own direction of the connection.
    HalfClose,
    /// Ends with a reset.
    Reset,
    /// Reads and sends nothing until the client is gone, and then ends the script.
    Silence,
    /// Reads and sends nothing until the client is gone, and then continues the script.
    Drain,
    /// Neither reads nor sends until the run is over.
    Deaf,
    /// Behaves well from now on.
    Polite,
}

/// The moves of a correct listener in a session without extensions, up to its reply to `step`.
pub fn until(step: smtpress::smtp::Step) -> Vec<Act> {
    use smtpress::smtp::Step;
    let order = [Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body, Step::Quit];
    let at = order.iter().position(|other| *other == step).unwrap_or(2);
    let moves = [
        vec![say("220 mx.test\r\n"), Act::Hear("EHLO")],
        vec![say("250 mx.test\r\n"), Act::Hear("MAIL")],
        vec![say("250 ok\r\n"), Act::Hear("RCPT")],
        vec![say("250 ok\r\n"), Act::Hear("DATA")],
        vec![say("354 go\r\n"), Act::Dot],
        vec![Act::Take, say("250 taken\r\n"), Act::Hear("QUIT")],
    ];
    let mut script = moves[..at].concat();
    // A session that only rests sends no command after its hello.
    if step == Step::Idle {
        script.pop();
    }
    script
}

pub fn say(text: &str) -> Act {
    Act::Say(text.as_bytes().to_vec())
}

/// The counts of the scripted sessions.
#[derive(Debug, Default)]
struct Counts {
    /// Messages taken.
    taken: AtomicU64,
    /// Bytes sent.
    sent: AtomicU64,
    over: AtomicBool,
}

/// A scripted listener; it ends on request.
pub struct Server {
    pub addr: SocketAddr,
    counts: Arc<Counts>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves one session after the other by `script`. With `narrow` the receive buffer is as small as the kernel
    /// allows.
    pub fn start(script: Vec<Act>, narrow: bool) -> Server {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if narrow {
            socket.set_recv_buffer_size(1).unwrap();
        }
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).unwrap();
        socket.listen(16).unwrap();
        let socket = std::net::TcpListener::from(socket);
        let addr = socket.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let kept = counts.clone();
        let thread = std::thread::spawn(move || {
            for stream in socket.incoming() {
                if kept.over.load(Ordering::Relaxed) {
                    return;
                }
                // In most scripts the client leaves in the middle, so the error is ignored.
                drop(stream.and_then(|stream| Session::new(stream, &kept)?.play(&script)));
            }
        });
        Server { addr, counts, thread }
    }

    /// Ends it. Returns the number of messages that it took, and of bytes that it sent.
    pub fn stop(self) -> (u64, u64) {
        self.counts.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.addr));
        self.thread.join().unwrap();
        (self.counts.taken.load(Ordering::Relaxed), self.counts.sent.load(Ordering::Relaxed))
    }
}

/// The channel of a session.
enum Channel {
    Clear(TcpStream),
    Secure(Box<StreamOwned<ServerConnection, TcpStream>>),
    Gone,
}

impl Channel {
    fn socket(&self) -> io::Result<&TcpStream> {
        match self {
            Channel::Clear(socket) => Ok(socket),
            Channel::Secure(stream) => Ok(&stream.sock),
            Channel::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Read for Channel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Clear(socket) => socket.read(into),
            Channel::Secure(stream) => stream.read(into),
            Channel::Gone => Ok(0),
        }
    }
}

struct Session<'a> {
    stream: BufReader<Channel>,
    counts: &'a Counts,
}

impl Session<'_> {
    fn new(stream: TcpStream, counts: &Counts) -> io::Result<Session<'_>> {
        stream.set_nodelay(true)?;
        // A client that neither sends nor reads must not block the test forever.
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        stream.set_write_timeout(Some(Duration::from_secs(90)))?;
        Ok(Session { stream: BufReader::new(Channel::Clear(stream)), counts })
    }

    fn play(mut self, script: &[Act]) -> io::Result<()> {
        script.iter().try_for_each(|act| self.act(act))
    }

    fn act(&mut self, act: &Act) -> io::Result<()> {
        match act {
            Act::Say(bytes) => self.send(bytes),
            Act::Drip(text, apart) => text.bytes().try_for_each(|byte| {
                std::thread::sleep(*apart);
                self.send(&[byte])
            }),
            Act::Flood(text) => {
                let bytes = text.repeat((64 * 1024 / text.len()).max(1));
                loop {
                    self.send(bytes.as_bytes())?;
                }
            }
            Act::Hear(start) => self.read_to(|line| line.starts_with(start.as_bytes())),
            Act::Dot => self.read_to(|line| line == b".\r\n"),
            Act::Take => self.take(),
            Act::Peek => self.stream.get_ref().socket()?.peek(&mut [0]).map(drop),
            Act::Pause(length) => {
                std::thread::sleep(*length);
                Ok(())
            }
            Act::Echo => {
                let bytes = self.stream.fill_buf()?.to_vec();
                self.send(&bytes)
            }
            Act::Secure => self.secure(&CONFIG),
            Act::SecureWith(config) => self.secure(config),
            Act::PartOfHandshake(most) => self.begin_handshake(*most),
            Act::Rekey => loop {
                let Channel::Secure(stream) = self.stream.get_mut() else { return Ok(()) };
                stream.conn.refresh_traffic_keys().unwrap();
                stream.flush()?;
            },
            Act::Beneath(bytes) => self.stream.get_ref().socket()?.write_all(bytes),
            Act::Goodbye => match self.stream.get_mut() {
                Channel::Secure(stream) => {
                    stream.conn.send_close_notify();
                    stream.flush()
                }
                _ => Ok(()),
            },
            Act::HalfClose => self.stream.get_ref().socket()?.shutdown(Shutdown::Write),
            Act::Reset => SockRef::from(self.stream.get_ref().socket()?).set_linger(Some(Duration::ZERO)),
            Act::Silence => loop {
                self.line()?;
            },
            Act::Drain => {
                self.act(&Act::Silence).ok();
                Ok(())
            }
            Act::Deaf => {
                while !self.counts.over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            }
            Act::Polite => self.be_polite(),
        }
    }

    fn secure(&mut self, config: &Arc<ServerConfig>) -> io::Result<()> {
        let Channel::Clear(mut socket) = std::mem::replace(self.stream.get_mut(), Channel::Gone) else {
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        let mut connection = ServerConnection::new(config.clone()).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        *self.stream.get_mut() = Channel::Secure(Box::new(StreamOwned::new(connection, socket)));
        Ok(())
    }

    fn begin_handshake(&mut self, most: usize) -> io::Result<()> {
        let mut connection = ServerConnection::new(CONFIG.clone()).unwrap();
        while !connection.wants_write() {
            if connection.read_tls(&mut self.stream)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            connection.process_new_packets().map_err(io::Error::other)?;
        }
        let mut answer = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut answer)?;
        }
        self.send(&answer[..most.min(answer.len() - 1)])
    }

    fn read_to(&mut self, last: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        while !last(&self.line()?) {}
        Ok(())
    }

    fn take(&self) -> io::Result<()> {
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.get_mut() {
            Channel::Clear(socket) => socket.write_all(bytes)?,
            Channel::Secure(stream) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
            Channel::Gone => {}
        }
        self.counts.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Reads a line with its line end. The end of the stream is an error.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }

    fn be_polite(&mut self) -> io::Result<()> {
        loop {
            match self.line()?.get(..4).unwrap_or_default() {
                b"QUIT" => return self.send(b"221 bye\r\n"),
                b"DATA" => {
                    self.send(b"354 go\r\n")?;
                    self.act(&Act::Dot)?;
                    self.take()?;
                    self.send(b"250 taken\r\n")?;
                }
                _ => self.send(b"250 ok\r\n")?,
            }
        }
    }
}
