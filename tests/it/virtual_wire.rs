//! A client machine, its owner and a kernel under a virtual clock: what `net::drive` does, without a socket.
//!
//! It also checks the rules of the interface between machine and owner, which hold in every dialogue.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use smtpress::smtp::client::{Client, Event};
use smtpress::smtp::machine::{Close, Closed, Handshake, Insecure, Machine, Need};
use smtpress::smtp::script::{Hello, Pipelining, Quit, Script, SessionIdentity};
use smtpress::smtp::transaction::{Content, Lost};

/// An upper bound of the polls that one event can cause.
const BOUND: usize = 200;
const PIECE: u64 = "piece 1\r\n".len() as u64;

/// The start of all virtual time.
#[expect(clippy::disallowed_methods, reason = "an Instant has no other source; nothing depends on its value")]
pub fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

pub fn script(hello: Hello, pipelining: Pipelining, quit: Quit) -> Rc<Script> {
    Rc::new(Script { hello, name: "client.test".into(), pipelining, quit, ..Script::default() })
}

/// Mail `number`: sender `m<number>`, recipients `r1`, `r2`, ..., content of pieces of one line each.
#[derive(Clone, Copy, Debug)]
pub struct Mail {
    pub number: u32,
    pub recipients: u32,
    /// At most 9.
    pub pieces: u64,
    /// The content cannot be read from this piece on; the first piece is 0.
    pub lost_from: Option<u64>,
}

impl Content for Mail {
    fn sender(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("m{}@client.test", self.number).as_bytes());
    }

    fn recipients(&self) -> u32 {
        self.recipients
    }

    fn recipient(&self, index: u32, out: &mut Vec<u8>) {
        assert!(index < self.recipients, "recipient {index} of {}", self.recipients);
        out.extend_from_slice(format!("r{}@mx.test", index + 1).as_bytes());
    }

    fn size(&self) -> u64 {
        self.pieces * PIECE
    }

    fn body(&self, offset: u64, out: &mut Vec<u8>) -> Result<u64, Lost> {
        assert!(offset == 0 || offset < self.size(), "the content was complete");
        let mut end = offset;
        if self.lost_from.is_some_and(|piece| offset >= piece * PIECE) {
            out.extend_from_slice(b"half of a line");
            return Err(Lost("the file is gone".into()));
        }
        if offset < self.size() {
            out.extend_from_slice(format!("piece {}\r\n", offset / PIECE + 1).as_bytes());
            end += PIECE;
        }
        if end == self.size() {
            out.extend_from_slice(b".\r\n");
        }
        Ok(end)
    }

    fn raw(&self, offset: u64, limit: u64, out: &mut Vec<u8>) -> Result<u64, Lost> {
        if let Some(from) = self.lost_from.filter(|from| offset >= from * PIECE) {
            return Err(Lost(format!("piece {from}")));
        }
        let whole: String = (1..=self.pieces).map(|piece| format!("piece {piece}\r\n")).collect();
        let end = offset.saturating_add(limit.min(PIECE)).min(self.size());
        out.extend_from_slice(&whole.as_bytes()[offset as usize..end as usize]);
        Ok(end)
    }

    fn envelope_id(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("id{}", self.number).as_bytes());
    }
}

/// What the owner does when it gets `Ready`.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// The messages that it has to send.
    pub mails: VecDeque<Mail>,
    /// It does not answer an early `Ready`.
    pub declines: bool,
    /// When it has no message left, it lets the session rest instead of finishing it.
    pub rests: bool,
    /// With the last message it announces that no other one follows.
    pub leaves: bool,
}

pub struct Wire {
    pub client: Client<Mail>,
    pub owner: Owner,
    pub now: Instant,
    /// The bytes of each `Need::Write`.
    pub writes: Vec<Vec<u8>>,
    pub events: Vec<Event>,
    pub closed: Option<Close>,
    /// The client waits for a TLS handshake.
    pub secures: bool,
    /// The kernel takes no bytes.
    pub holds: bool,
    /// The number of started transactions, and of those reported as ended.
    pub started: usize,
    pub told: usize,
    unwritten: bool,
    until: Option<Instant>,
    ended: bool,
}

impl Wire {
    pub fn new(script: Rc<Script>, owner: Owner) -> Wire {
        Wire::speaking_as(script, SessionIdentity::default(), owner)
    }

    pub fn speaking_as(script: Rc<Script>, identity: SessionIdentity, owner: Owner) -> Wire {
        let mut wire = Wire {
            client: Client::new(script, identity, base()),
            secures: false,
            owner,
            now: base(),
            writes: Vec::new(),
            events: Vec::new(),
            closed: None,
            holds: false,
            started: 0,
            told: 0,
            unwritten: false,
            until: None,
            ended: false,
        };
        wire.settle();
        wire
    }

    /// Polls until the machine waits or closes.
    pub fn settle(&mut self) {
        for _ in 0..BOUND {
            let mut out = Vec::new();
            match self.client.poll(self.now, &mut out) {
                Need::Emit(event) => {
                    assert!(self.closed.is_none() && !self.ended, "told after the end: {event:?}");
                    self.heed(&event);
                    self.events.push(event);
                }
                Need::Write => {
                    assert!(!out.is_empty(), "a write of nothing");
                    assert!(self.closed.is_none(), "a write after the end");
                    self.writes.push(out);
                    self.unwritten = true;
                    if !self.holds {
                        self.written();
                    }
                }
                Need::Secure { until } => {
                    assert!(!self.unwritten, "what was written in clear text is to go out first");
                    (self.secures, self.until) = (true, until);
                    return;
                }
                Need::EndWrite => self.writes.push(b"<end>\r\n".to_vec()),
                Need::Read { until } | Need::Wait { until } => {
                    assert!(self.closed.is_none(), "a read after the end");
                    assert!(
                        until.is_none_or(|until| until > self.now),
                        "a deadline that is past: a busy loop"
                    );
                    self.until = until;
                    return;
                }
                Need::Close(how) => {
                    assert!(self.ended, "closed without Ended");
                    assert_eq!(self.told, self.started, "one Transaction for each begin");
                    assert!(self.closed.is_none_or(|before| before == how), "closed in two ways");
                    self.closed = Some(how);
                    return;
                }
            }
        }
        panic!("polled {BOUND} times without Read or Close");
    }

    fn heed(&mut self, event: &Event) {
        match event {
            Event::Step { started, ended, .. } => {
                assert!(started <= ended && *ended <= self.now, "times of {event:?}");
            }
            Event::Transaction { .. } => {
                self.told += 1;
                assert!(self.told <= self.started, "more transactions told than started");
            }
            Event::Ended { .. } => self.ended = true,
            Event::Ready { early } => {
                if *early && self.owner.declines {
                    return;
                }
                match self.owner.mails.pop_front() {
                    Some(mail) => {
                        self.begin(mail);
                        if self.owner.leaves && self.owner.mails.is_empty() {
                            self.client.finish();
                        }
                    }
                    None if !*early && !self.owner.rests => self.client.finish(),
                    None => {}
                }
            }
            Event::Secured(_) | Event::SteppedDown { .. } | Event::Established(_) => {}
            Event::Started(_) | Event::Mixed(..) => {}
        }
    }

    pub fn begin(&mut self, mail: Mail) {
        self.started += 1;
        self.client.begin(mail);
    }

    /// The kernel takes all bytes that were written.
    pub fn written(&mut self) {
        if std::mem::take(&mut self.unwritten) {
            self.client.handle_written(self.now);
        }
    }

    /// Whether the kernel has not taken the last write yet.
    pub fn is_unread(&self) -> bool {
        self.unwritten
    }

    /// Passes these bytes to the client in one read.
    pub fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.closed.is_none() {
            let taken = self.client.handle_input(self.now, bytes);
            assert!(taken > 0, "a client takes what comes");
            bytes = &bytes[taken..];
            self.settle();
        }
    }

    pub fn close(&mut self, how: Closed) {
        self.client.handle_closed(self.now, how);
        self.settle();
    }

    /// Ends the handshake; `None`: with success.
    pub fn secured(&mut self, how: Option<Insecure>) {
        self.secures = false;
        match how {
            None => self.client.handle_secured(self.now, Handshake::default()),
            Some(why) => self.client.handle_insecure(self.now, why),
        }
        self.settle();
    }

    /// Lets this time pass, with every time-out at its deadline.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.closed.is_none()
            && let Some(due) = self.until.filter(|until| *until <= end)
        {
            self.now = due;
            self.client.handle_timeout(due);
            self.settle();
        }
        self.now = end;
    }
}
