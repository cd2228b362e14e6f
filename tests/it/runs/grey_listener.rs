//! A listener that defers, refuses and drops by a rule, and keeps a ledger of every attempt.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use smtpress::generator::clock;

/// A point at which the rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment<'a> {
    /// Before the greeting.
    Greeting,
    /// At RCPT: the recipient, and how often RCPT named it before.
    Recipient(&'a str, usize),
    /// After the content: the recipient, and how often content came for it before.
    Content(&'a str, usize),
}

/// The rule of a listener; the time is since the listener's start.
pub type Rule = dyn Fn(Moment<'_>, Duration, &Ledger) -> Answer + Send + Sync;

/// The decision of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The normal reply.
    Good,
    /// This reply. The session continues, except after 421 or at the greeting.
    Reply(&'static str),
    /// The connection is closed without a reply. Content that has come is delivered.
    Close,
}

/// The record of one recipient.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The times at which RCPT named it.
    pub named: Vec<Duration>,
    /// A hash of each content that came for it.
    pub contents: Vec<u64>,
    /// The times at which a message was delivered to it.
    pub delivered: Vec<Duration>,
}

/// The record of all attempts.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub connections: u64,
    /// The times at which connections were refused at the greeting.
    pub turned_away: Vec<Duration>,
    pub recipients: BTreeMap<String, Seen>,
}

impl Ledger {
    pub fn delivered(&self) -> u64 {
        self.recipients.values().map(|seen| seen.delivered.len() as u64).sum()
    }

    pub fn named(&self) -> u64 {
        self.recipients.values().map(|seen| seen.named.len() as u64).sum()
    }
}

/// The listener; it ends on request.
pub struct GreyListener {
    pub addr: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl GreyListener {
    pub fn start(
        rule: impl Fn(Moment<'_>, Duration, &Ledger) -> Answer + Send + Sync + 'static,
    ) -> GreyListener {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let (ledger, over) = (Arc::<Mutex<Ledger>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, ends) = (ledger.clone(), over.clone());
        let rule: Arc<Rule> = Arc::new(rule);
        let thread = std::thread::spawn(move || {
            let began = clock::now();
            let mut sessions = Vec::<JoinHandle<()>>::new();
            for stream in socket.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let session = Session { rule: rule.clone(), ledger: kept.clone(), began };
                // A finished thread is joined, because its stack is kept until then.
                let (ended, running): (Vec<_>, Vec<_>) =
                    sessions.into_iter().partition(JoinHandle::is_finished);
                ended.into_iter().for_each(|session| session.join().unwrap());
                sessions = running;
                sessions.push(std::thread::spawn(move || drop(session.serve(&stream))));
            }
            sessions.into_iter().for_each(|session| session.join().unwrap());
        });
        GreyListener { addr, ledger, over, thread }
    }

    /// Ends it and returns its ledger.
    pub fn stop(self) -> Ledger {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.addr));
        self.thread.join().unwrap();
        let ledger = self.ledger.lock().unwrap();
        ledger.clone()
    }
}

struct Session {
    rule: Arc<Rule>,
    ledger: Arc<Mutex<Ledger>>,
    began: Instant,
}

impl Session {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        let mut lines = BufReader::new(stream);
        let say = |line: &str| (&mut &*stream).write_all(format!("{line}\r\n").as_bytes());
        let greeting = {
            let mut ledger = self.ledger.lock().unwrap();
            ledger.connections += 1;
            let at = self.began.elapsed();
            let answer = (self.rule)(Moment::Greeting, at, &ledger);
            if answer != Answer::Good {
                ledger.turned_away.push(at);
            }
            answer
        };
        match greeting {
            Answer::Good => say("220 grey.example")?,
            Answer::Reply(reply) => return say(reply),
            Answer::Close => return Ok(()),
        }
        let mut accepted: Vec<String> = Vec::new();
        let mut is_lmtp = false;
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = text.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            match verb.as_str() {
                "MAIL" | "RSET" => {
                    accepted.clear();
                    say("250 2.0.0 ok")?;
                }
                "RCPT" => {
                    let recipient = text.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    let answer = {
                        let mut ledger = self.ledger.lock().unwrap();
                        let at = self.began.elapsed();
                        let before = ledger.recipients.get(&recipient).map_or(0, |seen| seen.named.len());
                        let answer = (self.rule)(Moment::Recipient(&recipient, before), at, &ledger);
                        ledger.recipients.entry(recipient.clone()).or_default().named.push(at);
                        answer
                    };
                    match answer {
                        Answer::Good => {
                            accepted.push(recipient);
                            say("250 2.1.5 ok")?;
                        }
                        Answer::Reply(reply) => {
                            say(reply)?;
                            if reply.starts_with("421") {
                                return Ok(());
                            }
                        }
                        Answer::Close => return Ok(()),
                    }
                }
                "DATA" => {
                    say("354 go on")?;
                    let mut content = Vec::new();
                    while !content.ends_with(b"\r\n.\r\n") {
                        if lines.read_until(b'\n', &mut content)? == 0 {
                            return Ok(());
                        }
                    }
                    let mut hash = DefaultHasher::new();
                    content.hash(&mut hash);
                    // With LMTP there is a reply for each recipient; otherwise the decision about the first one holds
                    // for all.
                    let others = if is_lmtp { Vec::new() } else { accepted.split_off(1.min(accepted.len())) };
                    for recipient in accepted.drain(..) {
                        let answer = {
                            let mut ledger = self.ledger.lock().unwrap();
                            let at = self.began.elapsed();
                            let before =
                                ledger.recipients.get(&recipient).map_or(0, |seen| seen.contents.len());
                            let answer = (self.rule)(Moment::Content(&recipient, before), at, &ledger);
                            for recipient in [&recipient].into_iter().chain(&others) {
                                let seen = ledger.recipients.entry(recipient.clone()).or_default();
                                seen.contents.push(hash.finish());
                                if !matches!(answer, Answer::Reply(_)) {
                                    seen.delivered.push(at);
                                }
                            }
                            answer
                        };
                        match answer {
                            Answer::Good => say("250 2.0.0 taken")?,
                            Answer::Reply(reply) => say(reply)?,
                            Answer::Close => return Ok(()),
                        }
                    }
                }
                "QUIT" => return say("221 2.0.0 bye"),
                "LHLO" => {
                    is_lmtp = true;
                    say("250-grey.example\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES")?;
                }
                _ => say("250 grey.example")?,
            }
        }
    }
}
