//! Who takes the messages: `smtp-sink`, and the frugal listener of the floor as a process of its own.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Uid;

use super::{LOOK, end};

/// What `smtp-sink` holds at once, and how many connections may wait to be accepted.
const SINK: [&str; 2] = ["20000", "4096"];
/// How often a listener is asked whether it is done with what a run left behind.
const SETTLING: u32 = 60;

/// The listener of the contest; it is stopped when this is dropped.
pub struct Sink {
    child: Child,
    pub address: SocketAddr,
}

impl Sink {
    /// Starts `smtp-sink` on a free port of loopback.
    ///
    /// # Errors
    /// It is not there, or does not listen.
    pub fn start() -> io::Result<Sink> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut command = Command::new("smtp-sink");
        // It wants to be nobody of importance.
        command.args(Uid::effective().is_root().then_some(["-u", "postfix"]).into_iter().flatten());
        command.args(["-m", SINK[0], &address.to_string(), SINK[1]]).stdin(Stdio::null());
        let mut sink = Sink { child: command.spawn()?, address };
        for _ in 0..500 {
            if TcpStream::connect(address).is_ok() {
                return Ok(sink);
            }
            if let Some(status) = sink.child.try_wait()? {
                return Err(io::Error::other(format!("smtp-sink ended with {status}")));
            }
            std::thread::sleep(LOOK);
        }
        Err(io::Error::other("smtp-sink does not listen"))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        end(self.child.id(), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// The frugal listener as a process of its own; it is stopped when this is dropped.
pub struct Frugal {
    child: Child,
    pub address: SocketAddr,
}

impl Frugal {
    /// Starts this program again, as the listener.
    ///
    /// # Errors
    /// It could not be started, or does not say where it is.
    pub fn start(threads: usize) -> io::Result<Frugal> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(format!("--sink={threads}")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut said)?;
        match said.trim().parse() {
            Ok(address) => Ok(Frugal { child, address }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(io::Error::other(format!("the frugal listener says {said:?} instead of its address")))
            }
        }
    }

    /// Its CPU time so far.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu(&self) -> io::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may hold spaces and brackets; the fields after it do not.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        // USER_HZ is 100 on every Linux that matters to a user process.
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Frugal {
    fn drop(&mut self) {
        end(self.child.id(), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Waits until a listener has accepted all that a run left in its queue: who comes next must not find that full, where a
/// connection looks established and is never greeted.
///
/// # Errors
/// It greets nobody for a minute.
pub fn settle(listener: SocketAddr) -> io::Result<()> {
    let greets = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&listener, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut greeting = String::new();
        BufReader::new(&stream).read_line(&mut greeting)?;
        stream.write_all(b"QUIT\r\n")?;
        Ok(greeting.starts_with("220"))
    };
    // At once when it is idle; else some seconds for each try.
    if (0..SETTLING).any(|_| greets().unwrap_or(false)) {
        Ok(())
    } else {
        Err(io::Error::other("the listener greets nobody any more"))
    }
}
