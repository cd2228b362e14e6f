//! A listener that misbehaves: at a given step it resets, closes, is silent or sends nonsense. It counts the messages
//! that it took.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use smtpress::smtp::Step;

/// What it does instead of sending its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rudeness {
    Reset,
    Close,
    Silence,
    Nonsense,
    /// 250 to every command, even where 250 is wrong.
    Yes,
}

/// A listener that misbehaves, until it is stopped.
pub struct Rude {
    pub addr: SocketAddr,
    delivered: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Rude {
    /// Starts one that misbehaves at `step` in every third session that reaches the step. At the final dot it has taken
    /// the message.
    pub fn start(step: Step, rudeness: Rudeness) -> Rude {
        Rude::every(3, step, rudeness)
    }

    /// Starts one that misbehaves in every session.
    pub fn always(step: Step, rudeness: Rudeness) -> Rude {
        Rude::every(1, step, rudeness)
    }

    fn every(nth: usize, step: Step, rudeness: Rudeness) -> Rude {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let (delivered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counts, ends) = (delivered.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut sessions = Vec::new();
            for (number, stream) in socket.incoming().enumerate() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let counts = counts.clone();
                let rude = (number % nth == 0).then_some((step, rudeness));
                sessions.push(std::thread::spawn(move || drop(serve(&stream, rude, &counts))));
            }
            for session in sessions {
                session.join().unwrap();
            }
        });
        Rude { addr, delivered, over, thread }
    }

    /// Ends it. Returns the number of messages that it took.
    pub fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.addr));
        self.thread.join().unwrap();
        self.delivered.load(Ordering::Relaxed)
    }
}

fn serve(stream: &TcpStream, rude: Option<(Step, Rudeness)>, delivered: &AtomicU64) -> std::io::Result<()> {
    // A client that is silent for this long is regarded as lost.
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    let mut step = Step::Greeting;
    loop {
        if step == Step::Body {
            loop {
                line.clear();
                if lines.read_until(b'\n', &mut line)? == 0 {
                    return Ok(());
                }
                if line == b".\r\n" {
                    break;
                }
            }
        }
        if let Some((_, rudeness)) = rude.filter(|(at, _)| *at == step) {
            if step == Step::Body {
                delivered.fetch_add(1, Ordering::Relaxed);
            }
            return be_rude(stream, rudeness);
        }
        let reply = match step {
            Step::Greeting => "220 rude.example\r\n",
            Step::Data => "354 go on\r\n",
            Step::Quit => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        if step == Step::Body {
            delivered.fetch_add(1, Ordering::Relaxed);
        }
        (&mut &*stream).write_all(reply.as_bytes())?;
        match step {
            Step::Quit => return Ok(()),
            Step::Data => {
                step = Step::Body;
                continue;
            }
            _ => {}
        }
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        step = match &line.to_ascii_uppercase()[..4] {
            b"EHLO" | b"HELO" => Step::Hello,
            b"MAIL" => Step::Mail,
            b"RCPT" => Step::Rcpt,
            b"DATA" => Step::Data,
            b"QUIT" => Step::Quit,
            _ => Step::Idle,
        };
    }
}

fn be_rude(mut stream: &TcpStream, rudeness: Rudeness) -> std::io::Result<()> {
    match rudeness {
        Rudeness::Reset => socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)),
        Rudeness::Close => Ok(()),
        Rudeness::Silence => {
            // The listener is silent until the client gives up.
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut stream, &mut rest).map(drop)
        }
        Rudeness::Nonsense => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Rudeness::Yes => stream.write_all(b"250 yes\r\n"),
    }
}
