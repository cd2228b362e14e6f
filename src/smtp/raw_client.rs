//! A client that is driven line by line: [`Client`] opens the session, then the owner chooses each line. The raw client
//! reports replies and the end of the connection. The owner decides what a reply means and how long to wait.
//!
//! # Decisions
//! - [`Client`] performs the opening: greeting, TLS, hello, XCLIENT and AUTH are implemented in one place only.
//! - What comes with the last reply of the opening is read like what comes later. A refusal there refuses the session at
//!   the step of that reply.
//! - No reply ends the session, not even 421: the owner measures whether the listener closes the connection.
//! - A reply without an outstanding command puts the session out of step ([`RawEvent::Surplus`]), and nothing more is
//!   read: the next reply would pass for the answer to the next command. There is one exception. A listener may send a
//!   refusal to an idle session before it closes the connection: that refusal is an ordinary event, and only replies
//!   after it are surplus. After bytes whose number of replies is unknown (groups, content with odd line ends) replies
//!   are no longer counted: the owner must match them with what it sent.
//! - There is no time-out after the opening: the owner limits each wait.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::auth::Redactor;
use super::client::{Client, Event, Failure};
use super::hello::Offer;
use super::machine::{Close, Closed, Handshake, Insecure, Machine, Need};
use super::reply::{Malformed, Reply, Scanner};
use super::script::{Script, SessionIdentity};
use super::step::Step;
use super::transaction::{Content, Lost};

/// An event of a raw client.
#[derive(Clone, Debug)]
pub enum RawEvent {
    /// The opening succeeded, and no command is outstanding. Carries what the listener offers.
    Established(Box<Offer>),
    /// The opening failed at this step. The connection may still be open.
    Refused(Step, Box<Failure>),
    /// A reply, to a command or unasked.
    Reply(Reply),
    /// A reply without an outstanding command. Nothing more is read.
    Surplus(Reply),
    /// The bytes received are not a reply. Nothing more is read.
    Malformed(Malformed),
    /// The connection ended.
    Closed(Closed),
}

impl RawEvent {
    /// Returns the event without the secret of a login, which the listener may have repeated.
    #[must_use]
    pub fn redacted(self, redactor: &Redactor) -> RawEvent {
        match self {
            RawEvent::Refused(step, failure) => RawEvent::Refused(step, Box::new(failure.redacted(redactor))),
            RawEvent::Reply(reply) => RawEvent::Reply(redactor.reply(&reply)),
            RawEvent::Surplus(reply) => RawEvent::Surplus(redactor.reply(&reply)),
            RawEvent::Malformed(malformed) => RawEvent::Malformed(redactor.malformed(&malformed)),
            RawEvent::Established(_) | RawEvent::Closed(_) => self,
        }
    }
}

/// The content type of a session that sends no transaction of its own.
#[derive(Debug)]
enum Nothing {}

impl Content for Nothing {
    fn sender(&self, _: &mut Vec<u8>) {
        match *self {}
    }
    fn recipients(&self) -> u32 {
        match *self {}
    }
    fn recipient(&self, _: u32, _: &mut Vec<u8>) {
        match *self {}
    }
    fn size(&self) -> u64 {
        match *self {}
    }
    fn body(&self, _: u64, _: &mut Vec<u8>) -> Result<u64, Lost> {
        match *self {}
    }
    fn raw(&self, _: u64, _: u64, _: &mut Vec<u8>) -> Result<u64, Lost> {
        match *self {}
    }
    fn envelope_id(&self, _: &mut Vec<u8>) {
        match *self {}
    }
}

/// How many replies are outstanding, as far as the sent bytes show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Nothing,
    One,
    /// 354 came, and the bytes sent are content.
    Content,
    /// The listener refused without an outstanding command. It is about to close the connection.
    Farewell,
    Unknown,
}

impl Owed {
    /// Returns the state after these bytes are sent.
    fn said(self, bytes: &[u8]) -> Owed {
        let line = bytes.ends_with(b"\r\n") && memchr::memchr_iter(b'\n', bytes).count() == 1;
        match self {
            Owed::Nothing if line || is_chunk(bytes) => Owed::One,
            Owed::Content => Owed::after_content(bytes),
            Owed::Farewell => Owed::Farewell,
            _ => Owed::Unknown,
        }
    }

    /// Returns the state after content, or a piece of it, is sent.
    fn after_content(bytes: &[u8]) -> Owed {
        let lines = || bytes.split_inclusive(|byte| *byte == b'\n');
        let plain = lines().all(|line| {
            let text = line.strip_suffix(b"\r\n").unwrap_or(line);
            // Some listeners accept other lines with a dot as the end of the content.
            let dotted =
                text.first() == Some(&b'.') && text.get(1) != Some(&b'.') || text.trim_ascii() == b".";
            (text == b"." || !dotted) && !text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
        });
        let ends = lines().filter(|line| *line == b".\r\n").count();
        match ends {
            0 if plain => Owed::Content,
            1 if plain && bytes.ends_with(b".\r\n") => Owed::One,
            _ => Owed::Unknown,
        }
    }

    /// Returns the state after a reply of this code; `None` if no reply was outstanding. `rests` says that nothing else
    /// came with the reply.
    fn answered(self, code: u16, rests: bool) -> Option<Owed> {
        match self {
            // RFC 5321 3.8: 421 may come at any time.
            _ if code == 421 => Some(self),
            Owed::One if code == 354 => Some(Owed::Content),
            Owed::One => Some(Owed::Nothing),
            Owed::Nothing if rests && code / 100 > 3 => Some(Owed::Farewell),
            Owed::Nothing | Owed::Farewell => None,
            Owed::Content | Owed::Unknown => Some(Owed::Unknown),
        }
    }
}

/// Whether these bytes are BDAT and all the content that it announces.
fn is_chunk(bytes: &[u8]) -> bool {
    let Some(command) = bytes.strip_prefix(b"BDAT ") else { return false };
    let digits = command.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let announced: Option<usize> =
        str::from_utf8(&command[..digits]).ok().and_then(|digits| digits.parse().ok());
    let content = memchr::memchr(b'\n', bytes).map(|end| bytes.len() - end - 1);
    announced.is_some() && announced == content
}

/// A session that is driven line by line.
#[derive(Debug)]
pub struct RawClient {
    /// The client of the opening, until the opening is over.
    opening: Option<Box<Client<Nothing>>>,
    scanner: Scanner,
    /// The bytes to write.
    says: Vec<u8>,
    told: VecDeque<RawEvent>,
    owed: Owed,
    closing: Option<Close>,
    /// How long the client waits for the other side to end the connection, after this side has ended its stream.
    awaits_end_until: Option<Instant>,
    /// Whether this side of the stream was ended.
    ended: bool,
    /// Whether reading has stopped.
    gone: bool,
    /// Whether the other side has ended the connection.
    closed_by_peer: bool,
}

impl RawClient {
    /// Creates a session over a connection that is established `now`.
    pub fn new(script: Rc<Script>, identity: SessionIdentity, now: Instant) -> RawClient {
        let opening = Some(Box::new(Client::new(script, identity, now)));
        RawClient { opening, owed: Owed::Nothing, ..RawClient::bare() }
    }

    /// Creates a session that sends nothing on its own, not even hello. Its greeting is the first reply.
    pub fn bare() -> RawClient {
        RawClient {
            opening: None,
            scanner: Scanner::default(),
            says: Vec::new(),
            told: VecDeque::new(),
            owed: Owed::One,
            closing: None,
            awaits_end_until: None,
            ended: false,
            gone: false,
            closed_by_peer: false,
        }
    }

    /// Sends these bytes unchanged, once the opening is over.
    pub fn send(&mut self, bytes: &[u8]) {
        self.says.extend_from_slice(bytes);
    }

    /// Closes the connection in this way, even if replies are outstanding.
    pub fn close(&mut self, how: Close) {
        match how {
            // A reset does not wait behind an orderly close.
            Close::Reset => self.closing = Some(how),
            Close::Clean | Close::Linger => {
                self.closing.get_or_insert(how);
            }
        }
    }

    /// Ends this side of the stream and reads on until the other side ends too: only then the listener has released the
    /// session's slot. At `until` the connection is reset.
    pub fn close_and_await(&mut self, until: Instant) {
        self.closing.get_or_insert(Close::Clean);
        self.awaits_end_until.get_or_insert(until);
    }

    /// Whether the other side has ended the connection.
    pub fn is_closed_by_peer(&self) -> bool {
        self.closed_by_peer
    }

    /// Ends the opening. Returns what the client has to report.
    fn opened(&mut self, told: RawEvent) -> Need<RawEvent> {
        // Over a connection that ended, or whose handshake failed, nothing more is sent.
        if let RawEvent::Refused(_, failure) = &told {
            let speaks =
                matches!(**failure, Failure::Reply(_) | Failure::Unexpected(_) | Failure::NotOffered(_));
            if !speaks {
                self.told.clear();
                self.gone = true;
                self.closing.get_or_insert(Close::Clean);
            }
        }
        self.opening = None;
        Need::Emit(told)
    }
}

impl Machine for RawClient {
    type Event = RawEvent;

    fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(opening) = self.opening.as_mut().filter(|opening| opening.is_opening()) {
            let rest = &bytes[taken..];
            // The opening gets one line after the other, because those after its last reply belong to the owner.
            let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            taken += opening.handle_input(now, &rest[..line]);
            if taken == bytes.len() || opening.is_handshake() {
                return taken;
            }
        }
        let mut input = &bytes[taken..];
        let mut rests = true;
        while !self.gone {
            match self.scanner.scan(&mut input) {
                None => break,
                Some(Ok(raw)) => match self.owed.answered(raw.code, rests) {
                    Some(owed) => {
                        self.told.push_back(RawEvent::Reply(raw.to_reply()));
                        (self.owed, rests) = (owed, false);
                    }
                    None => {
                        self.told.push_back(RawEvent::Surplus(raw.to_reply()));
                        self.gone = true;
                    }
                },
                Some(Err(malformed)) => {
                    self.told.push_back(RawEvent::Malformed(malformed));
                    self.gone = true;
                }
            }
        }
        bytes.len()
    }

    fn handle_written(&mut self, now: Instant) {
        if let Some(opening) = &mut self.opening {
            opening.handle_written(now);
        }
    }

    fn handle_progress(&mut self, now: Instant) {
        if let Some(opening) = &mut self.opening {
            opening.handle_progress(now);
        }
    }

    fn handle_secured(&mut self, now: Instant, handshake: Handshake) {
        if let Some(opening) = &mut self.opening {
            opening.handle_secured(now, handshake);
        }
    }

    fn handle_insecure(&mut self, now: Instant, why: Insecure) {
        if let Some(opening) = &mut self.opening {
            opening.handle_insecure(now, why);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(opening) = &mut self.opening {
            return opening.handle_timeout(now);
        }
        if self.awaits_end_until.is_some_and(|until| now >= until) {
            self.closing = Some(Close::Reset);
        }
    }

    fn handle_closed(&mut self, now: Instant, how: Closed) {
        self.closed_by_peer = true;
        if let Some(opening) = &mut self.opening {
            opening.handle_closed(now, how);
            // If a reply refused the opening all the same, the close is an event of its own.
            self.told.push_back(RawEvent::Closed(how));
            self.gone = true;
            self.closing.get_or_insert(Close::Clean);
            return;
        }
        if !self.gone {
            self.told.push_back(RawEvent::Closed(how));
        }
        self.gone = true;
        self.closing.get_or_insert(Close::Clean);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<RawEvent> {
        if self.closing == Some(Close::Reset) {
            return Need::Close(Close::Reset);
        }
        let mut last = Step::Hello;
        while let Some(opening) = &mut self.opening {
            let (step, failure) = match opening.poll(now, out) {
                Need::Emit(Event::Established(offer)) => match self.told.pop_front() {
                    Some(RawEvent::Reply(refusal)) => (last, Box::new(Failure::Reply(refusal))),
                    other => {
                        self.told.extend(other);
                        return self.opened(RawEvent::Established(offer));
                    }
                },
                Need::Emit(Event::Step { step, failure: Some(failure), .. }) => (step, failure),
                Need::Emit(Event::Step { step, .. }) => {
                    last = step;
                    continue;
                }
                Need::Emit(_) => continue,
                Need::Write => return Need::Write,
                Need::Secure { until } => return Need::Secure { until },
                Need::Read { until } if self.closing.is_none() => return Need::Read { until },
                Need::Wait { until } if self.closing.is_none() => return Need::Wait { until },
                Need::EndWrite => return Need::EndWrite,
                Need::Read { .. } | Need::Wait { .. } | Need::Close(_) => {
                    return Need::Close(self.closing.unwrap_or(Close::Clean));
                }
            };
            return self.opened(RawEvent::Refused(step, failure));
        }
        if let Some(told) = self.told.pop_front() {
            return Need::Emit(told);
        }
        if !self.says.is_empty() && !self.gone {
            self.owed = self.owed.said(&self.says);
            // A part of a reply came before the command, so that reply is surplus.
            if self.scanner.is_partial() && self.owed == Owed::One {
                self.owed = Owed::Farewell;
            }
            out.append(&mut self.says);
            self.says = Vec::new();
            return Need::Write;
        }
        match (self.closing, self.awaits_end_until) {
            (Some(_), Some(_)) if !self.closed_by_peer && !self.ended => {
                self.ended = true;
                Need::EndWrite
            }
            (Some(_), until @ Some(_)) if !self.closed_by_peer => Need::Read { until },
            (Some(how), _) => Need::Close(how),
            (None, _) => Need::Read { until: None },
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the origin of a virtual clock")]
mod tests {
    use super::*;

    /// Feeds `input`. Returns what the machine wrote and reported until it waits or closes.
    fn turn(client: &mut RawClient, now: Instant, input: &str) -> (String, Vec<RawEvent>, Option<Close>) {
        if !input.is_empty() {
            assert_eq!(client.handle_input(now, input.as_bytes()), input.len());
        }
        let (mut out, mut told) = (Vec::new(), Vec::new());
        loop {
            match client.poll(now, &mut out) {
                Need::Emit(heard) => told.push(heard),
                Need::Write => client.handle_written(now),
                Need::Close(how) => return (String::from_utf8(out).unwrap(), told, Some(how)),
                _ => return (String::from_utf8(out).unwrap(), told, None),
            }
        }
    }

    fn client(now: Instant) -> RawClient {
        RawClient::new(Rc::new(Script::default()), SessionIdentity::default(), now)
    }

    #[test]
    fn lines_are_sent_after_the_opening_and_every_reply_is_an_event() {
        let now = Instant::now();
        let mut client = client(now);
        client.send(b"NOOP\r\n");
        assert_eq!(turn(&mut client, now, "220 hi\r\n").0, "EHLO load.example\r\n");
        let (out, told, _) = turn(&mut client, now, "250 hi\r\n");
        assert!(matches!(told[..], [RawEvent::Established(_)]), "{told:?}");
        assert_eq!(out, "NOOP\r\n");
        let (_, told, closed) = turn(&mut client, now, "250 ok\r\n421 4.7.0 too many errors\r\n");
        let [RawEvent::Reply(first), RawEvent::Reply(second)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((first.code, second.code, closed), (250, 421, None), "421 ends nothing by itself");
        client.handle_closed(now, Closed::Eof);
        let (_, told, closed) = turn(&mut client, now, "");
        assert!(matches!(told[..], [RawEvent::Closed(Closed::Eof)]), "{told:?}");
        assert_eq!(closed, Some(Close::Clean));
    }

    /// Returns a session whose opening is over.
    fn open(now: Instant) -> RawClient {
        let mut client = client(now);
        turn(&mut client, now, "220 hi\r\n");
        turn(&mut client, now, "250 hi\r\n");
        client
    }

    #[test]
    fn a_surplus_reply_is_an_event_and_nothing_is_read_behind_it() {
        let now = Instant::now();
        // The surplus reply comes in the same read as the answer, or in another read.
        for reads in
            [&["250 ok\r\n250 more\r\n"][..], &["250 ok\r\n554 no\r\n"], &["250 ok\r\n", "250 more\r\n"]]
        {
            let mut client = open(now);
            client.send(b"MAIL FROM:<a@b>\r\n");
            turn(&mut client, now, "");
            let told: Vec<RawEvent> = reads.iter().flat_map(|read| turn(&mut client, now, read).1).collect();
            assert!(matches!(told[..], [RawEvent::Reply(_), RawEvent::Surplus(_)]), "{told:?}");
            client.send(b"RCPT TO:<a@b>\r\n");
            let (out, told, _) = turn(&mut client, now, "250 ok\r\n");
            assert!(out.is_empty() && told.is_empty(), "{out:?} {told:?}");
        }
        let mut client = open(now);
        client.send(b"NOOP\r\n");
        turn(&mut client, now, "");
        assert_eq!(turn(&mut client, now, "250 ok\r\n25").1.len(), 1);
        client.send(b"NOOP\r\n");
        turn(&mut client, now, "");
        let (_, told, _) = turn(&mut client, now, "0 late\r\n");
        assert!(matches!(told[..], [RawEvent::Surplus(_)]), "{told:?}");
        // The listener answers content once, whatever lines the content has.
        let mut client = open(now);
        client.send(b"DATA\r\n");
        turn(&mut client, now, "");
        turn(&mut client, now, "354 go\r\n");
        client.send(b"Subject: a\r\n\r\n");
        turn(&mut client, now, "");
        client.send(b"..\r\nb\r\n.\r\n");
        turn(&mut client, now, "");
        let (_, told, _) = turn(&mut client, now, "250 taken\r\n250 taken\r\n");
        assert!(matches!(told[..], [RawEvent::Reply(_), RawEvent::Surplus(_)]), "{told:?}");
    }

    #[test]
    fn a_refusal_of_a_session_at_rest_is_an_event_and_later_replies_are_not_believed() {
        let now = Instant::now();
        let mut client = open(now);
        let (_, told, _) = turn(&mut client, now, "451 4.4.2 idle for too long\r\n");
        assert!(matches!(told[..], [RawEvent::Reply(_)]), "{told:?}");
        client.send(b"NOOP\r\n");
        let (_, told, _) = turn(&mut client, now, "250 ok\r\n");
        assert!(matches!(told[..], [RawEvent::Surplus(_)]), "{told:?}");
        // A 421 is not counted as the answer to the command. The next reply is.
        let mut client = open(now);
        turn(&mut client, now, "421 soon\r\n");
        client.send(b"NOOP\r\n");
        turn(&mut client, now, "");
        let (_, told, _) = turn(&mut client, now, "250 ok\r\n");
        assert!(matches!(told[..], [RawEvent::Reply(_)]), "{told:?}");
    }

    #[test]
    fn of_groups_and_of_content_with_odd_line_ends_the_owner_knows_what_is_owed() {
        let now = Instant::now();
        for said in [&["MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n"][..], &["DATA\r\n", "a\n.\nNOOP\r\n.\r\n"]] {
            let mut client = open(now);
            for bytes in said {
                client.send(bytes.as_bytes());
                turn(&mut client, now, "");
                turn(&mut client, now, "354 go\r\n");
            }
            let (_, told, _) = turn(&mut client, now, "250 a\r\n250 b\r\n");
            assert!(matches!(told[..], [RawEvent::Reply(_), RawEvent::Reply(_)]), "{told:?}");
        }
        let mut client = RawClient::bare();
        let (_, told, _) = turn(&mut client, now, "220 hi\r\n250 more\r\n");
        assert!(
            matches!(told[..], [RawEvent::Reply(_), RawEvent::Surplus(_)]),
            "the greeting is owed: {told:?}"
        );
    }

    #[test]
    fn a_listener_that_does_not_know_ehlo_gets_helo() {
        let now = Instant::now();
        let mut client = client(now);
        assert_eq!(turn(&mut client, now, "220 hi\r\n").0, "EHLO load.example\r\n");
        assert_eq!(turn(&mut client, now, "502 no\r\n").0, "HELO load.example\r\n");
        let (_, told, closed) = turn(&mut client, now, "250-hi\r\n250 SIZE\r\n");
        let [RawEvent::Established(offer)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((offer.size, closed), (None, None), "HELO offers nothing");
    }

    #[test]
    fn what_comes_with_the_last_reply_of_the_opening_is_read_like_what_comes_later() {
        let now = Instant::now();
        let greeted = || {
            let mut client = client(now);
            turn(&mut client, now, "220 hi\r\n");
            client
        };
        // A reply that began before the command does not answer it.
        let mut client = greeted();
        let (_, told, _) = turn(&mut client, now, "250 hi\r\n42");
        assert!(matches!(told[..], [RawEvent::Established(_)]), "{told:?}");
        client.send(b"XYZZY\r\n");
        turn(&mut client, now, "");
        let (_, told, _) = turn(&mut client, now, "1 4.7.0 too many\r\n");
        assert!(matches!(&told[..], [RawEvent::Reply(reply)] if reply.code == 421), "{told:?}");
        // A 421 refuses the session, at the step whose reply it came with. The connection may stay open.
        let mut client = greeted();
        let (_, told, closed) = turn(&mut client, now, "250-hi\r\n250 SIZE\r\n421 too many\r\n");
        let [RawEvent::Refused(Step::Hello, failure)] = &told[..] else { panic!("{told:?}") };
        assert!(matches!(&**failure, Failure::Reply(reply) if reply.code == 421), "{failure:?}");
        assert_eq!(closed, None);
        client.handle_closed(now, Closed::Eof);
        assert!(matches!(turn(&mut client, now, "").1[..], [RawEvent::Closed(Closed::Eof)]));
        // Other replies, and what is no reply, put the session out of step.
        let mut client = greeted();
        let (_, told, _) = turn(&mut client, now, "250 hi\r\n250 hi\r\n");
        assert!(matches!(told[..], [RawEvent::Established(_), RawEvent::Surplus(_)]), "{told:?}");
        let mut client = greeted();
        let (_, told, _) = turn(&mut client, now, "250 hi\r\nand more\r\n");
        assert!(matches!(told[..], [RawEvent::Established(_), RawEvent::Malformed(_)]), "{told:?}");
        // A refused opening reads on, too.
        let mut client = RawClient::new(Rc::new(Script::default()), SessionIdentity::default(), now);
        let (_, told, _) = turn(&mut client, now, "554 no\r\n421 bye\r\n");
        assert!(matches!(told[..], [RawEvent::Refused(..), RawEvent::Reply(_)]), "{told:?}");
    }

    #[test]
    fn a_refused_opening_leaves_the_connection_to_be_watched() {
        let now = Instant::now();
        for (input, step) in [("421 busy\r\n", Step::Greeting), ("554 no\r\n", Step::Greeting)] {
            let mut client = client(now);
            let (out, told, closed) = turn(&mut client, now, input);
            let [RawEvent::Refused(at, failure)] = &told[..] else { panic!("{told:?}") };
            assert_eq!((*at, out.as_str(), closed), (step, "", None), "nobody says QUIT of itself");
            assert!(matches!(**failure, Failure::Reply(_)));
            client.send(b"NOOP\r\n");
            let (out, ..) = turn(&mut client, now, "");
            assert_eq!(out, "NOOP\r\n");
        }
        let mut client = client(now);
        client.handle_closed(now, Closed::Reset);
        let (_, told, closed) = turn(&mut client, now, "");
        let [RawEvent::Refused(Step::Greeting, failure)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(
            (&**failure, closed),
            (&Failure::Closed(Closed::Reset, String::new()), Some(Close::Clean))
        );
    }
}
