//! The server as a machine: the order of commands (RFC 5321 4.1.4), the order of answers, delays and deadlines.
//!
//! The policy decides each answer, and `request` parses the lines. The machine opens no socket and reads no clock.
//!
//! # Decisions
//! - While an answer is held back, no input is taken. Answers come in the order of the commands, so a delayed answer
//!   delays all later ones, as in a real server.
//! - No input is taken either while a client leaves more than 64 KiB of replies unread: a client must not fill the
//!   memory.
//! - A reply counts as given ([`Policy::queued`]) when its bytes are queued for writing. If the session ends while the
//!   answer to a content is held back, the message was never accepted.
//! - Bytes that a client sends behind STARTTLS, before the handshake, are refused and never read as a command (RFC 3207
//!   4).
//! - A close after a reply lingers, so that unread input does not turn it into a reset.

mod policy;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use super::content::{ContentMeasure, ContentReader};
use super::machine::{Close, Closed, Handshake, Insecure, Machine, Need};
use super::request::{BodyType, CommandLines, Request, RequestFault};
use super::script::Protocol;
use super::step::Step;
pub use policy::{Ask, Lapse, Policy, PolicyAnswer, ServerBounds, Then};

/// How many bytes of replies may wait for a client that does not read.
const UNREAD: usize = 64 * 1024;

/// The state of the session.
#[derive(Debug)]
enum ServerStage {
    /// Before the greeting.
    Fresh,
    /// In the TLS handshake.
    Handshake {
        /// Whether the handshake follows STARTTLS: then there is no second greeting (RFC 3207 4.2).
        greeted: bool,
    },
    /// Greeted, without HELO.
    Greeted,
    /// Ready for MAIL.
    Ready,
    /// Between MAIL and DATA or the last chunk.
    ServerTransaction(ServerTransaction),
    Content(ContentReader, u32),
    /// Giving LMTP's answers to a content: the measures of the content, and how many answers are still due.
    Answers(ContentMeasure, u32),
    /// In the exchange of AUTH (RFC 4954 4), where lines are not commands.
    Login,
    Silent,
    Closing(Close),
}

/// The transaction since MAIL.
#[derive(Debug)]
struct ServerTransaction {
    /// The number of accepted recipients.
    accepted: u32,
    refused: u32,
    /// Whether the content is binary, and needs BDAT.
    binary: bool,
    /// The reader of the chunks so far.
    chunks: Option<Box<ContentReader>>,
}

/// A chunk that is being read.
#[derive(Debug)]
struct Chunk {
    size: u64,
    left: u64,
    last: bool,
    /// The fault for which the chunk is dropped (RFC 3030 section 2). It is answered at the end of the chunk.
    fault: Option<RequestFault<'static>>,
}

/// An answer that is held back.
#[derive(Debug)]
struct Pending {
    step: Step,
    answer: PolicyAnswer,
    due: Instant,
}

/// One session of a server.
#[derive(Debug)]
pub struct Server<P> {
    policy: P,
    bounds: ServerBounds,
    lines: CommandLines,
    stage: ServerStage,
    /// Whether the session uses TLS.
    secured: bool,
    /// Whether a client has logged in.
    logged_in: bool,
    chunk: Option<Chunk>,
    pending: Option<Pending>,
    /// Replies that the driver does not have yet.
    out: Vec<u8>,
    /// How many bytes of replies the driver has and the kernel has not.
    unread: usize,
    /// When the session began, and the time of the client's last input or of the last delayed reply.
    since: Option<(Instant, Instant)>,
}

impl ServerTransaction {
    /// Returns the fault of content without a recipient.
    fn without_recipients(&self) -> RequestFault<'static> {
        if self.refused == 0 { RequestFault::RcptFirst } else { RequestFault::NoValidRecipients }
    }
}

impl<P: Policy> Server<P> {
    /// Creates a session that begins with its greeting.
    pub fn new(policy: P, bounds: ServerBounds) -> Server<P> {
        Server {
            policy,
            bounds,
            lines: CommandLines::new(bounds.max_line),
            stage: ServerStage::Fresh,
            secured: false,
            logged_in: false,
            chunk: None,
            pending: None,
            out: Vec::new(),
            unread: 0,
            since: None,
        }
    }

    /// Returns the policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// Returns a mutable reference to the policy.
    pub fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// Processes a line of the client, or its fault. `last` says that no input came behind the line.
    fn line(&mut self, now: Instant, line: Result<&[u8], RequestFault<'_>>, last: bool) {
        let request = line.and_then(Request::parse).and_then(|request| self.in_order(request, last));
        let request = match request {
            Ok(Request::Bdat { size, last }) => return self.chunk(now, size, last),
            Ok(request) => request,
            Err(fault) => return self.ask(now, Step::Idle, Ask::RequestFault(fault)),
        };
        let step = match request {
            Request::Hello { .. } | Request::Lhlo { .. } => Step::Hello,
            Request::Mail { .. } => Step::Mail,
            Request::Rcpt { .. } => Step::Rcpt,
            Request::Data => Step::Data,
            Request::Quit => Step::Quit,
            Request::Starttls => Step::Starttls,
            Request::Auth(_) => Step::Auth,
            _ => Step::Idle,
        };
        let answer = self.policy.answer(now, Ask::Request(request));
        self.take_effect(request, answer.code());
        self.reply(now, step, answer);
    }

    /// Checks the order of commands.
    fn in_order<'a>(&self, request: Request<'a>, last: bool) -> Result<Request<'a>, RequestFault<'a>> {
        match (&request, &self.stage) {
            (Request::Starttls, _) if self.secured => Err(RequestFault::Secured),
            (Request::Starttls, _) if !last => Err(RequestFault::NotLast),
            // RFC 2033 4.1: LMTP has LHLO instead of HELO and EHLO.
            (Request::Hello { .. }, _) if self.policy.protocol() == Protocol::Lmtp => {
                Err(RequestFault::Unrecognized("HELO"))
            }
            (Request::Lhlo { .. }, _) if self.policy.protocol() == Protocol::Smtp => {
                Err(RequestFault::Unrecognized("LHLO"))
            }
            (Request::Bdat { .. }, _) if !self.policy.takes_chunks() => {
                Err(RequestFault::Unrecognized("BDAT"))
            }
            (Request::Bdat { .. }, _) => Ok(request),
            (Request::Mail { .. }, ServerStage::Greeted) => Err(RequestFault::HelloFirst),
            (Request::Mail { .. } | Request::Xclient { .. }, ServerStage::ServerTransaction(_)) => {
                Err(RequestFault::NestedMail)
            }
            (
                Request::Data | Request::Rcpt { .. },
                ServerStage::ServerTransaction(ServerTransaction { chunks: Some(_), .. }),
            ) => Err(RequestFault::BdatOnly),
            (Request::Data, ServerStage::ServerTransaction(ServerTransaction { binary: true, .. })) => {
                Err(RequestFault::BdatOnly)
            }
            (Request::Data, ServerStage::ServerTransaction(transaction)) if transaction.accepted == 0 => {
                Err(transaction.without_recipients())
            }
            (Request::Auth(_), ServerStage::ServerTransaction(_)) => Err(RequestFault::InTransaction),
            (Request::Auth(_), ServerStage::Greeted) => Err(RequestFault::HelloFirst),
            (Request::Auth(_), _) if self.logged_in => Err(RequestFault::LoggedIn),
            (_, ServerStage::ServerTransaction(_)) => Ok(request),
            (Request::Rcpt { .. } | Request::Data, _) => Err(RequestFault::MailFirst),
            _ => Ok(request),
        }
    }

    fn take_effect(&mut self, request: Request<'_>, code: u16) {
        let well = code / 100 == 2;
        match (request, &mut self.stage) {
            (
                Request::Hello { .. } | Request::Lhlo { .. } | Request::Reset,
                ServerStage::ServerTransaction(_),
            ) if well => {
                self.policy.abandoned();
                self.stage = ServerStage::Ready;
            }
            (Request::Hello { .. } | Request::Lhlo { .. }, ServerStage::Greeted) if well => {
                self.stage = ServerStage::Ready;
            }
            // The session returns to the state after the greeting, because it now serves another client.
            (Request::Xclient { .. }, _) if code == 220 => {
                self.stage = ServerStage::Greeted;
                self.logged_in = false;
            }
            (Request::Mail { parameters, .. }, _) if well => {
                let binary = parameters.body == Some(BodyType::Binary);
                self.stage = ServerStage::ServerTransaction(ServerTransaction {
                    accepted: 0,
                    refused: 0,
                    binary,
                    chunks: None,
                });
            }
            (Request::Rcpt { .. }, ServerStage::ServerTransaction(transaction)) => {
                *if well { &mut transaction.accepted } else { &mut transaction.refused } += 1;
            }
            (Request::Data, ServerStage::ServerTransaction(transaction)) if code == 354 => {
                self.stage =
                    ServerStage::Content(ContentReader::new(self.policy.end_of_data()), transaction.accepted);
            }
            (Request::Starttls, stage) if code == 220 => {
                // RFC 3207 4.2: everything before the handshake is forgotten.
                let stage = std::mem::replace(stage, ServerStage::Handshake { greeted: true });
                if matches!(stage, ServerStage::ServerTransaction { .. }) {
                    self.policy.abandoned();
                }
            }
            (Request::Auth(_), stage) if code == 334 => *stage = ServerStage::Login,
            (Request::Auth(_), _) if code == 235 => self.logged_in = true,
            _ => {}
        }
    }

    /// Processes a line of the exchange of AUTH, or its fault.
    fn response(&mut self, now: Instant, line: Result<&[u8], RequestFault<'_>>) {
        let answer = self.policy.answer(now, line.map_or_else(Ask::RequestFault, Ask::Response));
        if answer.code() != 334 {
            self.stage = ServerStage::Ready;
            self.logged_in = answer.code() == 235;
        }
        self.reply(now, Step::Auth, answer);
    }

    /// Processes BDAT. The client sends the chunk whatever the answer will be.
    fn chunk(&mut self, now: Instant, size: u64, last: bool) {
        let fault = match &mut self.stage {
            ServerStage::ServerTransaction(transaction) if transaction.accepted == 0 => {
                Some(transaction.without_recipients())
            }
            ServerStage::ServerTransaction(transaction) => {
                transaction.chunks.get_or_insert_default();
                None
            }
            ServerStage::Greeted => Some(RequestFault::HelloFirst),
            _ => Some(RequestFault::MailFirst),
        };
        self.chunk = Some(Chunk { size, left: size, last, fault });
        self.read_chunk(now, &mut &[][..]);
    }

    /// Reads the available part of the chunk, and answers at its end.
    fn read_chunk(&mut self, now: Instant, input: &mut &[u8]) {
        let Some(chunk) = &mut self.chunk else { return };
        let here = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at(here);
        *input = rest;
        chunk.left -= here as u64;
        if let (None, ServerStage::ServerTransaction(ServerTransaction { chunks: Some(reader), .. })) =
            (chunk.fault, &mut self.stage)
        {
            reader.raw(bytes);
            self.policy.content(bytes);
        }
        if chunk.left > 0 {
            return;
        }
        let Some(Chunk { size, last, fault, .. }) = self.chunk.take() else { return };
        if let Some(fault) = fault {
            return self.ask(now, Step::Idle, Ask::RequestFault(fault));
        }
        let ServerStage::ServerTransaction(ServerTransaction { chunks: Some(reader), accepted, .. }) =
            &self.stage
        else {
            return;
        };
        let (seen, accepted) = (reader.measure(), *accepted);
        if last {
            return self.complete(now, seen, accepted);
        }
        let answer = self.policy.answer(now, Ask::Chunk(size, &seen));
        if answer.code() / 100 != 2 {
            // RFC 3030 section 2: the transaction has failed. Its further commands are out of order.
            self.policy.abandoned();
            self.stage = ServerStage::Ready;
        }
        self.reply(now, Step::Idle, answer);
    }

    /// Ends the content.
    fn complete(&mut self, now: Instant, seen: ContentMeasure, accepted: u32) {
        match self.policy.protocol() {
            Protocol::Smtp => {
                self.stage = ServerStage::Ready;
                self.ask(now, Step::Body, Ask::Body(&seen));
            }
            Protocol::Lmtp => {
                self.stage = ServerStage::Answers(seen, accepted);
                self.answer_each(now);
            }
        }
    }

    /// Gives LMTP's answers until one is held back.
    fn answer_each(&mut self, now: Instant) {
        while let (ServerStage::Answers(seen, due), None) = (&mut self.stage, &self.pending) {
            let seen = *seen;
            *due -= 1;
            if *due == 0 {
                self.stage = ServerStage::Ready;
            }
            self.ask(now, Step::Body, Ask::Body(&seen));
        }
    }

    fn ask(&mut self, now: Instant, step: Step, ask: Ask<'_>) {
        let answer = self.policy.answer(now, ask);
        self.reply(now, step, answer);
    }

    /// Gives the answer now, or holds it back.
    fn reply(&mut self, now: Instant, step: Step, answer: PolicyAnswer) {
        if answer.delay.is_zero() {
            self.give(now, step, &answer);
        } else {
            self.pending = Some(Pending { step, due: now + answer.delay, answer });
        }
    }

    fn give(&mut self, now: Instant, step: Step, answer: &PolicyAnswer) {
        for line in answer.reply.split('\n').filter(|line| !line.is_empty()) {
            self.out.extend_from_slice(line.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
        self.policy.queued(now, step, answer.code());
        match answer.then {
            Then::Keep => {}
            Then::Close if answer.reply.is_empty() => self.stage = ServerStage::Closing(Close::Clean),
            Then::Close => self.stage = ServerStage::Closing(Close::Linger),
            Then::Reset => self.stage = ServerStage::Closing(Close::Reset),
            Then::Silence => self.stage = ServerStage::Silent,
        }
    }

    /// Returns how long the client may be silent now.
    fn patience(&self) -> Option<Duration> {
        let after = match &self.stage {
            ServerStage::Greeted => Some(Step::Greeting),
            ServerStage::Ready => Some(Step::Hello),
            ServerStage::ServerTransaction(ServerTransaction { chunks: Some(_), .. }) => Some(Step::Body),
            ServerStage::ServerTransaction(ServerTransaction { accepted: 0, refused: 0, .. }) => {
                Some(Step::Mail)
            }
            ServerStage::ServerTransaction(_) => Some(Step::Rcpt),
            ServerStage::Content(reader, _) if reader.is_untouched() => Some(Step::Data),
            ServerStage::Content(..) => Some(Step::Body),
            _ => None,
        };
        after.and_then(|step| self.policy.patience(step)).or(self.bounds.idle)
    }

    /// Returns the next deadline and its kind.
    fn deadline(&self) -> Option<(Instant, Lapse)> {
        let (greeted, heard) = self.since?;
        let at = |since: Instant, length: Option<Duration>, lapse| Some((since + length?, lapse));
        [
            at(greeted, self.bounds.total, Lapse::Total),
            self.bounds.end.map(|end| (end, Lapse::End)),
            at(heard, self.patience(), Lapse::Idle),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// Ends the session after a failed handshake. No reply can be sent without TLS.
    fn handshake_failed(&mut self, why: Option<&Insecure>, how: Close) {
        self.policy.insecure(why);
        self.pending = None;
        self.out = Vec::new();
        self.stage = ServerStage::Closing(how);
    }

    fn heard(&mut self, now: Instant) {
        if let Some((_, heard)) = &mut self.since {
            *heard = now;
        }
    }
}

impl<P: Policy> Machine for Server<P> {
    type Event = Infallible;

    fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> usize {
        self.heard(now);
        let mut input = bytes;
        // Taken out of `self` for the loop, because a line may borrow this buffer while the machine changes.
        let mut lines = std::mem::take(&mut self.lines);
        while !input.is_empty() && self.pending.is_none() && self.out.len() + self.unread < UNREAD {
            match &mut self.stage {
                ServerStage::Fresh | ServerStage::Answers(..) => break,
                ServerStage::Handshake { .. } => {
                    let injected = Insecure::ClearText(input[..input.len().min(200)].to_vec());
                    self.handshake_failed(Some(&injected), Close::Linger);
                    input = &[];
                }
                ServerStage::Silent | ServerStage::Closing(_) => input = &[],
                _ if self.chunk.is_some() => self.read_chunk(now, &mut input),
                ServerStage::Content(reader, accepted) => {
                    let policy = &mut self.policy;
                    let accepted = *accepted;
                    if let Some(seen) = reader.read(&mut input, |bytes| policy.content(bytes)) {
                        if reader.ended_at_cr() {
                            lines.after_cr();
                        }
                        self.complete(now, seen, accepted);
                    }
                }
                ServerStage::Login => {
                    if let Some(line) = lines.next_response(&mut input) {
                        self.response(now, line);
                    }
                }
                ServerStage::Greeted | ServerStage::Ready | ServerStage::ServerTransaction(_) => {
                    if let Some(line) = lines.next(&mut input) {
                        self.line(now, line, input.is_empty());
                    }
                }
            }
        }
        lines.release();
        self.lines = lines;
        bytes.len() - input.len()
    }

    fn handle_written(&mut self, _now: Instant) {
        self.unread = 0;
    }

    fn handle_secured(&mut self, now: Instant, handshake: Handshake) {
        let ServerStage::Handshake { greeted } = self.stage else { return };
        self.heard(now);
        self.secured = true;
        self.logged_in = false;
        self.stage = ServerStage::Greeted;
        self.policy.secured(now, &handshake);
        if !greeted {
            self.ask(now, Step::Greeting, Ask::Greeting);
        }
    }

    fn handle_insecure(&mut self, _now: Instant, why: Insecure) {
        // The close lingers: after a reset the client might not read this side's alert.
        self.handshake_failed(Some(&why), Close::Linger);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.pending.is_some() || matches!(self.stage, ServerStage::Silent | ServerStage::Closing(_)) {
            return;
        }
        if let Some((at, lapse)) = self.deadline()
            && at <= now
        {
            if matches!(self.stage, ServerStage::Handshake { .. }) {
                return self.handshake_failed(None, Close::Clean);
            }
            self.ask(now, Step::Idle, Ask::Lapse(lapse));
        }
    }

    fn handle_closed(&mut self, _now: Instant, _how: Closed) {
        if matches!(self.stage, ServerStage::Handshake { .. }) {
            self.policy.insecure(None);
        }
        self.pending = None;
        self.out = Vec::new();
        self.stage = ServerStage::Closing(Close::Clean);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Need<Infallible> {
        if matches!(self.stage, ServerStage::Fresh) {
            self.stage = ServerStage::Greeted;
            self.since = Some((now, now));
            let refusal = if self.bounds.implicit_tls { self.policy.connected(now) } else { None };
            match refusal {
                Some(refusal) => self.reply(now, Step::Greeting, refusal),
                None if self.bounds.implicit_tls => self.stage = ServerStage::Handshake { greeted: false },
                None => self.ask(now, Step::Greeting, Ask::Greeting),
            }
        }
        if let Some(pending) = self.pending.take_if(|pending| pending.due <= now) {
            self.give(now, pending.step, &pending.answer);
            self.heard(now);
            self.answer_each(now);
        }
        if !self.out.is_empty() {
            self.unread += self.out.len();
            // The buffer is freed, so that an idle session holds none.
            out.append(&mut std::mem::take(&mut self.out));
            return Need::Write;
        }
        match (&self.stage, &self.pending) {
            (ServerStage::Closing(how), None) => Need::Close(*how),
            (_, Some(pending)) => Need::Read { until: Some(pending.due) },
            (ServerStage::Handshake { .. }, None) => {
                Need::Secure { until: self.deadline().map(|(at, _)| at) }
            }
            (ServerStage::Silent, None) => Need::Read { until: None },
            (_, None) => Need::Read { until: self.deadline().map(|(at, _)| at) },
        }
    }
}

#[cfg(test)]
mod tests;
