//! A listener that records every byte of every session, and accepts every message.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The recording listener, which runs until it is stopped.
pub struct Scribe {
    pub addr: SocketAddr,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Scribe {
    pub fn start() -> Scribe {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, over) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            let mut sessions = Vec::new();
            for stream in socket.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let stream = stream.unwrap();
                sessions.push(std::thread::spawn(move || serve(&stream).unwrap()));
            }
            sessions.into_iter().map(|session| session.join().unwrap()).collect()
        });
        Scribe { addr, over, thread }
    }

    /// Ends it. Returns the bytes of each session, in the order of their opening.
    pub fn stop(self) -> Vec<Vec<u8>> {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.addr));
        self.thread.join().unwrap()
    }
}

/// Serves one session to its end. Returns its bytes.
pub fn serve(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    // A client that is silent for this long is regarded as lost.
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut lines = BufReader::new(stream);
    let (mut taken, mut at, mut content) = (Vec::new(), 0, false);
    stream.write_all(b"220 scribe.example\r\n")?;
    loop {
        if lines.read_until(b'\n', &mut taken)? == 0 {
            return Ok(taken);
        }
        let line = &taken[at..];
        let reply: &[u8] = match (content, line.first()) {
            (true, _) if line != b".\r\n" => b"",
            (false, Some(b'D')) => b"354 go on\r\n",
            (false, Some(b'Q')) => b"221 bye\r\n",
            _ => b"250 fine\r\n",
        };
        content = if content { line != b".\r\n" } else { line.starts_with(b"D") };
        let over = !content && line.starts_with(b"QUIT");
        at = taken.len();
        stream.write_all(reply)?;
        if over {
            return Ok(taken);
        }
    }
}
