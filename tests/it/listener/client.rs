//! A plain client that sends the lines of a test: blocking, with a time-out, and without code of the crate's client.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use smtpress::listener::Listener;

/// One transaction, line by line; the last is the content.
pub const TRANSACTION: [&str; 4] = [
    "MAIL FROM:<load@sender.example>",
    "RCPT TO:<user@recipient.example>",
    "DATA",
    "Subject: x\r\n\r\nbody\r\n.",
];

pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(listener: &Listener) -> Client {
        Client::over(TcpStream::connect(listener.addr()).unwrap())
    }

    /// Connects from another loopback address.
    pub fn connect_from(address: &str, listener: &Listener) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let from: std::net::SocketAddr = format!("{address}:0").parse().unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&listener.addr().into()).unwrap();
        Client::over(socket.into())
    }

    pub fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// Connects, reads the greeting and sends EHLO.
    pub fn greeted(listener: &Listener) -> Client {
        let mut client = Client::connect(listener);
        assert_eq!(client.reply()[..3], *"220");
        assert_eq!(client.say("EHLO client.example")[..3], *"250");
        client
    }

    /// Returns the connection. All bytes that came must have been read.
    pub fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }

    pub fn send(&mut self, text: &str) {
        // If the listener has already closed, the next read shows it.
        drop(self.stream.get_mut().write_all(text.as_bytes()));
    }

    /// Sends one line (or a content) and returns the reply to it.
    pub fn say(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n"));
        self.reply()
    }

    /// Reads one reply. Its lines are separated by `\n`.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let text = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("no CRLF after {reply:?}{line:?}"));
            reply.push_str(text);
            if text.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    /// Reads everything until the end of the stream.
    pub fn end(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Whether the listener has closed in an orderly way, and sent nothing more.
    pub fn is_closed(&mut self) -> bool {
        self.end().is_ok_and(|rest| rest.is_empty())
    }

    /// Whether nothing comes for this long, not even the end of the stream.
    pub fn is_silent_for(&mut self, length: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(length)).unwrap();
        let silent = self
            .stream
            .read(&mut [0])
            .is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.stream.get_ref().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        silent
    }
}
