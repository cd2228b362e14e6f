//! A listener with its own parser and ledger, and with drawn oddities.

use std::collections::VecDeque;

use proptest::sample::Index;
use smtpress::smtp::machine::Closed;

/// Real replies and odd ones.
pub const POOL: &[&str] = &[
    "250 ok\r\n",
    "250 2.0.0 Ok: queued as 4X7\r\n",
    "250 2.1.5 Ok\r\n",
    "251 will forward\r\n",
    "252 cannot verify\r\n",
    "220 mx.test ESMTP\r\n",
    "221 bye\r\n",
    "235 welcome\r\n",
    "334 \r\n",
    "354 go\r\n",
    "421 4.3.2 busy\r\n",
    "450 4.2.0 greylisted\r\n",
    "452 4.3.1 full\r\n",
    "500 5.5.1 unrecognized command\r\n",
    "503 bad sequence\r\n",
    "550 5.1.1 unknown\r\n",
    "554 5.7.1 refused\r\n",
    "250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
    "250-almost\r\n452 4.3.1 full\r\n",
    "452-full\r\n250 after all\r\n",
    "220-mx.test\r\n421 too many\r\n",
    "999 what\r\n",
    "250\r\n",
    "250-\r\n250 ok\r\n",
    "hello there\r\n",
    "\r\n",
    "25",
    "250 no end",
    "250_ok\r\n",
    "250 bare line feed\n",
];

/// Whether the text is one whole reply.
pub fn is_whole(text: &str) -> bool {
    code(text).is_some()
}

/// Whether the text is one whole and positive reply.
pub fn is_answer(text: &str) -> bool {
    code(text).is_some_and(|code| matches!(code, 250..300))
}

/// Whether the text offers extensions, like a reply to hello.
pub fn offers(text: &str) -> bool {
    text.contains("CHUNKING")
}

/// Whether the session continues after the reply: it is not 421 (RFC 5321 3.8).
pub fn goes_on(text: &str) -> bool {
    code(text) != Some(421)
}

/// The code of the last line of a whole reply.
fn code(text: &str) -> Option<u16> {
    let mut last = None;
    for line in text.split_inclusive('\n') {
        let whole = line.ends_with('\n');
        let line = line.trim_end();
        let code: u16 = line.get(..3).filter(|_| whole)?.parse().ok()?;
        match line.as_bytes().get(3) {
            None | Some(b' ') => {
                last = Some(code);
                break;
            }
            Some(b'-') => {}
            Some(_) => return None,
        }
    }
    last
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Greeting,
    Hello,
    Starttls,
    Auth,
    Verify,
    Mail,
    Rcpt,
    Data,
    Chunk,
    Content,
    Noop,
    Reset,
    Quit,
}

impl Kind {
    pub const ALL: [Kind; 13] = [
        Kind::Greeting,
        Kind::Hello,
        Kind::Starttls,
        Kind::Auth,
        Kind::Verify,
        Kind::Mail,
        Kind::Rcpt,
        Kind::Data,
        Kind::Chunk,
        Kind::Content,
        Kind::Noop,
        Kind::Reset,
        Kind::Quit,
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// The same reply again.
    Twice,
    /// This reply of the pool.
    Pool(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In the same read as the reply.
    Joined,
    /// In a separate read.
    Apart,
    /// After the next write of the client.
    Late,
}

#[derive(Clone, Debug)]
pub struct Oddity {
    /// The reply of the pool that is sent instead of the right one.
    pub reply: Option<usize>,
    /// Whether no reply is sent.
    pub silent: bool,
    pub extra: Option<(Extra, When)>,
    /// The place at which the reply is cut into two reads.
    pub cut: Option<Index>,
    pub ends: Option<Closed>,
    /// The oddity applies to each n-th command of the kind.
    pub each: u32,
    /// Whether it takes a message although its reply does not accept it.
    pub keeps: bool,
}

/// The code that was sent, and whether the listener takes a message that its reply neither accepts nor refuses.
#[derive(Clone, Copy, Debug)]
struct Said {
    code: Option<u16>,
    keeps: bool,
}

impl Said {
    fn yes(self) -> bool {
        matches!(self.code, Some(200..300))
    }

    fn takes(self) -> bool {
        self.yes() || self.keeps && !matches!(self.code, Some(400..600))
    }
}

pub enum Sent {
    Bytes(Vec<u8>),
    End(Closed),
}

#[derive(Debug)]
struct Segment {
    bytes: Vec<u8>,
    /// The number of writes of the client before which it is not sent.
    after: usize,
    /// Whether it comes in a separate read.
    apart: bool,
    ends: Option<Closed>,
}

#[derive(Debug)]
enum Reads {
    Commands,
    Content,
    Chunk { left: usize, last: bool },
}

pub struct Listener {
    lmtp: bool,
    plain: bool,
    chunks: bool,
    starttls: bool,
    odd: Vec<(Kind, Oddity)>,
    uses: Vec<(Kind, u32)>,
    greeted: bool,
    secure: bool,
    /// The number of the client's writes that were read.
    writes: usize,
    rest: Vec<u8>,
    reads: Reads,
    mail: bool,
    recipients: u32,
    /// Whether a chunk was refused.
    spoiled: bool,
    outbox: VecDeque<Segment>,
    ended: bool,
    pub taken: usize,
}

impl Listener {
    pub fn new(lmtp: bool, plain: bool, chunks: bool, starttls: bool, odd: Vec<(Kind, Oddity)>) -> Listener {
        Listener {
            lmtp,
            plain,
            chunks,
            starttls,
            odd,
            uses: Vec::new(),
            greeted: false,
            secure: false,
            writes: 0,
            rest: Vec::new(),
            reads: Reads::Commands,
            mail: false,
            recipients: 0,
            spoiled: false,
            outbox: VecDeque::new(),
            ended: false,
            taken: 0,
        }
    }

    pub fn greet(&mut self, writes: usize) {
        if !std::mem::replace(&mut self.greeted, true) {
            self.writes = writes;
            self.answer(Kind::Greeting, "220 mx.test ESMTP\r\n");
        }
    }

    pub fn says_more(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Returns what is sent next. `waited`: the client sends nothing more by itself.
    pub fn next(&mut self, writes: usize, waited: bool, joined: bool) -> Option<Sent> {
        let first = self.outbox.front()?;
        if first.after > writes && !waited {
            return None;
        }
        if let Some(how) = first.ends {
            self.outbox.clear();
            return Some(Sent::End(how));
        }
        let mut bytes = self.outbox.pop_front()?.bytes;
        while joined
            && let Some(next) = self.outbox.front()
            && !next.apart
            && next.ends.is_none()
        {
            bytes.extend(self.outbox.pop_front()?.bytes);
        }
        Some(Sent::Bytes(bytes))
    }

    /// Sends the right reply, or an odd one.
    fn answer(&mut self, kind: Kind, right: &str) -> Said {
        if self.ended {
            return Said { code: Some(421), keeps: false };
        }
        let at = match self.uses.iter().position(|(known, _)| *known == kind) {
            Some(at) => at,
            None => {
                self.uses.push((kind, 0));
                self.uses.len() - 1
            }
        };
        self.uses[at].1 += 1;
        let uses = self.uses[at].1;
        let odd = self.odd.iter().find(|(own, odd)| *own == kind && uses.is_multiple_of(odd.each));
        let Some((_, odd)) = odd.cloned() else {
            self.say(right.as_bytes().to_vec(), 0, false);
            return Said { code: code(right), keeps: false };
        };
        let text = match odd.reply {
            _ if odd.silent => "",
            Some(at) => POOL[at],
            None => right,
        };
        match odd.cut.map(|cut| cut.index(text.len().max(1))).filter(|cut| *cut > 0) {
            Some(cut) => {
                self.say(text.as_bytes()[..cut].to_vec(), 0, false);
                self.say(text.as_bytes()[cut..].to_vec(), 0, true);
            }
            None => self.say(text.as_bytes().to_vec(), 0, false),
        }
        // A reply without an end is ended by what follows it.
        let mut whole = text.to_owned();
        let mut closes = !goes_on(text);
        if let Some((extra, when)) = odd.extra {
            let more = match extra {
                Extra::Twice => text,
                Extra::Pool(at) => POOL[at],
            };
            whole.push_str(more);
            closes |= !goes_on(more);
            let after = if when == When::Late { self.writes + 1 } else { 0 };
            match self.outbox.back_mut().filter(|_| when == When::Joined) {
                Some(last) => last.bytes.extend_from_slice(more.as_bytes()),
                None => self.say(more.as_bytes().to_vec(), after, true),
            }
        }
        if let Some(how) = odd.ends.or(closes.then_some(Closed::Eof)) {
            self.outbox.push_back(Segment { bytes: Vec::new(), after: 0, apart: true, ends: Some(how) });
            self.ended = true;
        }
        Said { code: code(&whole), keeps: odd.keeps }
    }

    fn say(&mut self, bytes: Vec<u8>, after: usize, apart: bool) {
        if !bytes.is_empty() {
            self.outbox.push_back(Segment { bytes, after, apart, ends: None });
        }
    }

    /// Reads the writes of the client.
    pub fn read(&mut self, writes: &[Vec<u8>]) {
        while self.writes < writes.len() {
            self.rest.extend_from_slice(&writes[self.writes]);
            self.writes += 1;
            self.digest();
        }
    }

    fn digest(&mut self) {
        loop {
            if let Reads::Chunk { left, last } = self.reads {
                let here = left.min(self.rest.len());
                self.rest.drain(..here);
                if here < left {
                    self.reads = Reads::Chunk { left: left - here, last };
                    return;
                }
                self.reads = Reads::Commands;
                self.chunk(last);
            }
            let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else { return };
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            match self.reads {
                Reads::Content if line == "." => {
                    self.reads = Reads::Commands;
                    self.content("250 2.0.0 taken as 1\r\n");
                }
                Reads::Content => {}
                _ => self.command(&line),
            }
        }
    }

    /// A positive reply with these words, or with the same words as always.
    fn yes(&self, words: &'static str) -> &'static str {
        if self.plain { "250 ok\r\n" } else { words }
    }

    fn command(&mut self, line: &str) {
        let verb = line.split(' ').next().unwrap_or_default();
        match verb {
            "EHLO" | "LHLO" => {
                (self.mail, self.recipients) = (false, 0);
                let mut offers = vec!["mx.test", "PIPELINING"];
                offers.extend(self.chunks.then_some("CHUNKING"));
                offers.extend((self.starttls && !self.secure).then_some("STARTTLS"));
                offers.push("AUTH PLAIN");
                let lines: Vec<String> = offers
                    .iter()
                    .enumerate()
                    .map(|(at, offer)| {
                        format!("250{}{offer}\r\n", if at + 1 < offers.len() { '-' } else { ' ' })
                    })
                    .collect();
                self.answer(Kind::Hello, &lines.concat());
            }
            "STARTTLS" => {
                self.secure = true;
                self.answer(Kind::Starttls, "220 go\r\n");
            }
            "AUTH" => {
                self.answer(Kind::Auth, "235 welcome\r\n");
            }
            "VRFY" => {
                self.answer(Kind::Verify, "252 perhaps\r\n");
            }
            "NOOP" => {
                let right = self.yes("250 alive\r\n");
                self.answer(Kind::Noop, right);
            }
            "RSET" => {
                (self.mail, self.recipients) = (false, 0);
                let right = self.yes("250 reset\r\n");
                self.answer(Kind::Reset, right);
            }
            "MAIL" => {
                let right = self.yes("250 2.1.0 sender ok\r\n");
                let says = self.answer(Kind::Mail, right);
                (self.mail, self.recipients, self.spoiled) = (says.yes(), 0, false);
            }
            "RCPT" => {
                let right =
                    if self.mail { self.yes("250 2.1.5 recipient ok\r\n") } else { "503 no mail\r\n" };
                let says = self.answer(Kind::Rcpt, right);
                self.recipients += u32::from(self.mail && says.yes());
            }
            "DATA" => {
                let right = if self.recipients > 0 { "354 go\r\n" } else { "503 no recipients\r\n" };
                if self.answer(Kind::Data, right).code == Some(354) {
                    self.reads = Reads::Content;
                }
            }
            "BDAT" => {
                let mut words = line.split(' ').skip(1);
                let left = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                self.reads = Reads::Chunk { left, last: words.next() == Some("LAST") };
            }
            "QUIT" => {
                self.answer(Kind::Quit, "221 bye\r\n");
                if !self.ended {
                    let bye = Segment { bytes: Vec::new(), after: 0, apart: true, ends: Some(Closed::Eof) };
                    self.outbox.push_back(bye);
                    self.ended = true;
                }
            }
            _ => self.say(b"500 5.5.2 unrecognized command\r\n".to_vec(), 0, false),
        }
    }

    fn chunk(&mut self, last: bool) {
        if last {
            return self.content("250 2.6.0 taken as 1\r\n");
        }
        let valid = self.mail && self.recipients > 0 && !self.spoiled;
        let right = if valid { self.yes("250 2.0.0 chunk taken\r\n") } else { "503 no\r\n" };
        let says = self.answer(Kind::Chunk, right);
        self.spoiled |= !says.yes();
    }

    /// Answers the complete content.
    fn content(&mut self, words: &'static str) {
        let valid = self.mail && self.recipients > 0 && !self.spoiled;
        let replies = if self.lmtp && valid { self.recipients } else { 1 };
        (self.mail, self.recipients, self.spoiled) = (false, 0, false);
        let right = if valid { self.yes(words).to_owned() } else { "503 nothing to take\r\n".to_owned() };
        let says: Vec<Said> = (0..replies).map(|_| self.answer(Kind::Content, &right)).collect();
        self.taken += usize::from(valid && says.iter().all(|said| said.takes()));
    }
}
