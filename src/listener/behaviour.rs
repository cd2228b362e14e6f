//! The embedded listener's policy: when each limit is enforced, and how. The reply texts are in `dialects`, the counts
//! in `ledger`. `smtp::server` checks the order of commands.
//!
//! # Decisions
//! - The place of a session is released when the reply that ends the session is queued for writing: once a client has
//!   read its 221, the place is free.
//! - Random numbers come from a counter-based generator over the seed, the session's number and the number of the draw:
//!   sessions share no state, and each session stores only 12 bytes for it.
//! - A forced reply replaces the listener's own reply at its step; connection limits are checked first.

mod auth;
mod faults;
mod session_counts;
mod starttls;
mod xclient;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::dialects::Saying;
use super::digest::Digest;
use super::greylist::Triplet;
use super::limits::{Delay, RefusalForm};
use super::login::Access;
use super::peer::Peer;
use super::sink::Kept;
use super::state::ListenerState;
use crate::smtp::Step;
use crate::smtp::content::{ContentMeasure, EndOfData};
use crate::smtp::machine::{Handshake, Insecure};
use crate::smtp::request::{MailParameters, Request, RequestFault};
use crate::smtp::script::{Protocol, TlsMode};
use crate::smtp::server::{Ask, Lapse, Policy, PolicyAnswer, Then};
use session_counts::SessionCounts;

/// The policy of one session.
pub(super) struct Behaviour {
    shared: Arc<ListenerState>,
    peer: Peer,
    /// The session's number, for its random numbers.
    number: u64,
    draws: Cell<u32>,
    /// Whether the session holds a place from [`LedgerCounts::open`].
    open: bool,
    /// Whether the session ends with the answer that is being written.
    leaving: bool,
    /// Whether the session is in a TLS handshake.
    shaking: bool,
    /// Whether the session uses TLS.
    secured: bool,
    /// Whether the session holds a place from [`LedgerCounts::open_tls`].
    tls_place: bool,
    tally: SessionCounts,
    access: Access,
    transaction: Option<Box<OpenTransaction>>,
}

/// A transaction between MAIL and its end.
struct OpenTransaction {
    recipients: u32,
    content_bytes: u64,
    digest: Digest,
    /// The sender; `None` without a greylist, which needs it.
    sender: Option<Box<str>>,
    /// Whether [`LedgerCounts::begin`] counts the transaction as in progress.
    started: bool,
    /// Whether the message holds a place from [`LedgerCounts::enqueue`].
    queued: bool,
    /// Whether its paths may contain characters beyond ASCII.
    utf8: bool,
    /// The number of answers to the content so far (`settled`), and the number of positive answers (`delivered`). With
    /// LMTP each answer is for one recipient.
    settled: u32,
    delivered: u32,
    /// The message for the sink, if there is one.
    kept: Option<Box<Kept>>,
}

impl Behaviour {
    /// Returns the policy of the session `number` with `peer`.
    pub fn new(shared: Arc<ListenerState>, peer: Peer, number: u64) -> Behaviour {
        shared.counts.arrive();
        Behaviour {
            shared,
            peer,
            number,
            draws: Cell::new(0),
            open: false,
            leaving: false,
            shaking: false,
            secured: false,
            tls_place: false,
            tally: SessionCounts::default(),
            access: Access::default(),
            transaction: None,
        }
    }

    /// Returns the next random number, in [0, 1).
    fn draw(&self) -> f64 {
        let draws = self.draws.replace(self.draws.get().wrapping_add(1));
        let mut counter = [0; 12];
        counter[..8].copy_from_slice(&self.number.to_le_bytes());
        counter[8..].copy_from_slice(&draws.to_le_bytes());
        (xxh3_64_with_seed(&counter, self.shared.seed) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns true with this probability. A probability of 0 or 1 uses no random number.
    fn happens(&self, probability: f64) -> bool {
        probability > 0.0 && (probability >= 1.0 || self.draw() < probability)
    }

    fn delay(&self, delay: Delay) -> Duration {
        if delay.max <= delay.min {
            delay.min
        } else {
            delay.min + (delay.max - delay.min).mul_f64(self.draw())
        }
    }

    /// Returns the reply in the listener's dialect, with `about` as its argument.
    fn say(&self, saying: Saying, about: &str) -> PolicyAnswer {
        let limits = &self.shared.limits;
        if saying.condition().is_some() {
            self.shared.counts.refuse(Some(saying));
        }
        let pattern = saying.pattern(limits.style);
        if !pattern.contains('{') {
            return PolicyAnswer::new(pattern);
        }
        let text = pattern
            .replace("{host}", &limits.hostname)
            .replace("{peer}", &self.peer.shown())
            .replace("{arg}", about);
        PolicyAnswer::new(text.trim_end().to_owned())
    }

    /// Returns the forced reply at this step, if one applies.
    fn forced(&self, step: Step) -> Option<PolicyAnswer> {
        let mut replies = self.shared.limits.replies.iter();
        let forced = replies.find(|f| f.step == step && self.happens(f.probability))?;
        let answer = PolicyAnswer::new(forced.reply.clone());
        if answer.code() >= 400 {
            self.shared.counts.refuse(None);
        }
        Some(answer)
    }

    /// Returns the answer of a step with its delay: the forced one, or the listener's own.
    fn at(&mut self, step: Step, own: impl FnOnce(&mut Behaviour) -> PolicyAnswer) -> PolicyAnswer {
        let answer = self.forced(step).unwrap_or_else(|| own(self));
        PolicyAnswer { delay: answer.delay + self.delay(self.shared.limits.delays.at(step)), ..answer }
    }

    fn greet(&mut self, now: Instant) -> PolicyAnswer {
        if !self.open
            && let Some(refusal) = self.refuse(now)
        {
            return refusal;
        }
        self.at(Step::Greeting, |session| session.say(Saying::Greeting, ""))
    }

    /// Takes a place for the session. Returns the refusal if there is no place.
    fn refuse(&mut self, now: Instant) -> Option<PolicyAnswer> {
        let (limits, counts) = (&self.shared.limits, &self.shared.counts);
        let turned_away = if self.shared.is_unavailable(now) {
            Some(Saying::Unavailable)
        } else {
            limits.licence_expired.then_some(Saying::LicenceExpired)
        };
        if let Some(saying) = turned_away {
            counts.turn_away();
            return Some(PolicyAnswer { then: Then::Close, ..self.say(saying, "") });
        }
        match counts.open(now, self.peer.host(), limits) {
            // `shown_by` is about the connection limits.
            Err(saying @ Saying::TooManyTlsSessions) => {
                return Some(PolicyAnswer { then: Then::Close, ..self.say(saying, "") });
            }
            Err(saying) => return Some(self.over(saying)),
            Ok(()) => {}
        }
        self.open = true;
        self.tls_place = limits.tls == TlsMode::Implicit;
        None
    }

    /// Returns how a session over a connection limit is refused.
    fn over(&self, saying: Saying) -> PolicyAnswer {
        let said = self.say(saying, "");
        match self.shared.limits.shown_by {
            RefusalForm::Reply => PolicyAnswer { then: Then::Close, ..said },
            RefusalForm::Reset => PolicyAnswer::silent(Then::Reset),
            RefusalForm::Close => PolicyAnswer::silent(Then::Close),
            RefusalForm::NoGreeting => PolicyAnswer::silent(Then::Silence),
        }
    }

    fn hello(&mut self, extended: bool, name: &str) -> PolicyAnswer {
        let answer = self.at(Step::Hello, |session| {
            if extended {
                PolicyAnswer::new(session.with_auth(session.offer()))
            } else {
                session.say(Saying::Hello, name)
            }
        });
        self.tally.greeted |= answer.code() == 250;
        answer
    }

    fn mail(&mut self, now: Instant, path: &str, parameters: &MailParameters<'_>) -> PolicyAnswer {
        let mut started = false;
        let answer = self.at(Step::Mail, |session| {
            let saying = session.judge_mail(now, parameters.size);
            if saying == Saying::Sender {
                session.tally.messages += 1;
                started = session.shared.limits.resource_low_above.is_some();
            }
            session.say(saying, path)
        });
        if answer.code() / 100 == 2 {
            self.transaction = Some(Box::new(OpenTransaction {
                recipients: 0,
                content_bytes: 0,
                digest: Digest::new(path),
                sender: self.shared.greylist.as_ref().map(|_| path.into()),
                started,
                queued: false,
                utf8: parameters.utf8,
                settled: 0,
                delivered: 0,
                kept: self
                    .shared
                    .sink
                    .clone()
                    .map(|sink| Box::new(Kept::new(sink, self.shared.limits.max_message_size))),
            }));
        }
        answer
    }

    /// Returns the reply to MAIL. With a positive reply, the transaction counts as in progress (if that number is
    /// limited) and has taken its token of the message rate.
    fn judge_mail(&self, now: Instant, size: Option<u64>) -> Saying {
        let (limits, counts) = (&self.shared.limits, &self.shared.counts);
        if self.shared.is_unavailable(now) {
            Saying::Unavailable
        } else if limits.max_messages_per_session.is_some_and(|max| self.tally.messages >= max) {
            Saying::TooManyMessages
        } else if limits.require_starttls && !self.secured {
            Saying::StarttlsFirst
        } else if limits.require_auth && self.access.user().is_none() {
            Saying::AuthRequired
        } else if size.zip(limits.max_message_size).is_some_and(|(size, max)| size > max) {
            Saying::DeclaredSize
        } else if size.is_some_and(|size| self.is_beyond_session(size)) {
            Saying::SessionBytes
        } else if limits.message_rate.is_some_and(|rate| !counts.take_message_token(now, rate)) {
            Saying::MessageRate
        } else if limits.queue_full_after.is_some_and(|max| counts.is_full(max)) {
            Saying::QueueFull
        } else if self.happens(limits.temporary_error_rate) {
            Saying::TemporaryError
        } else if limits.resource_low_above.is_some_and(|max| !counts.begin(max)) {
            Saying::ResourceLow
        } else {
            Saying::Sender
        }
    }

    fn rcpt(&mut self, now: Instant, path: &str) -> PolicyAnswer {
        let answer = self.at(Step::Rcpt, |session| {
            let recipients = session.transaction.as_ref().map_or(0, |transaction| transaction.recipients);
            if session.shared.limits.max_recipients.is_some_and(|max| recipients >= max)
                || session.kept().is_some_and(Kept::is_full)
            {
                session.say(Saying::TooManyRecipients, path)
            } else if session.shared.limits.unknown_recipients.fit(path) {
                session.unknown(path)
            } else if session.is_greylisted(now, path) {
                session.say(Saying::Greylisted, path)
            } else {
                session.say(Saying::Recipient, path)
            }
        });
        if answer.code() / 100 == 2
            && let Some(transaction) = &mut self.transaction
        {
            transaction.recipients += 1;
            transaction.digest.path(path);
            if let Some(kept) = &mut transaction.kept {
                kept.add_recipient(path);
            }
        }
        answer
    }

    /// Whether the greylist still defers the recipient.
    fn is_greylisted(&self, now: Instant, path: &str) -> bool {
        let (Some(list), Some(transaction)) = (&self.shared.greylist, &self.transaction) else {
            return false;
        };
        let sender = transaction.sender.as_deref().unwrap_or_default();
        list.defers(now, Triplet::new(self.peer.host(), sender, path))
    }

    fn body(&mut self, now: Instant, seen: &ContentMeasure) -> PolicyAnswer {
        let mut answer = self.at(Step::Body, |session| {
            let mut saying = session.judge_body(seen);
            let has_place = session.transaction.as_ref().is_some_and(|transaction| transaction.queued);
            if let (Saying::Accepted, Some(max), false) =
                (saying, session.shared.limits.queue_full_after, has_place)
            {
                let queued = session.shared.counts.enqueue(max);
                match &mut session.transaction {
                    Some(transaction) if queued => transaction.queued = true,
                    _ => saying = Saying::QueueFull,
                }
            }
            // The text of Exim names the length of the line without its CRLF.
            session.say(saying, &seen.longest_line.saturating_sub(2).to_string())
        });
        if let Some(transaction) = &mut self.transaction {
            transaction.content_bytes = seen.size;
            if let Some(kept) = &mut transaction.kept {
                kept.ended(now);
            }
        }
        if let Some(workers) = &self.shared.workers {
            answer.delay = workers.serve(now, answer.delay);
        }
        answer
    }

    /// Returns the answer to a chunk that is not the last. If the content so far is too large, the chunk is refused.
    fn chunk(&mut self, size: u64, seen: &ContentMeasure) -> PolicyAnswer {
        let saying = if self.is_too_large(seen) {
            Saying::MessageSize
        } else if self.is_beyond_session(seen.size) {
            Saying::SessionBytes
        } else {
            Saying::Chunk
        };
        self.say(saying, &size.to_string())
    }

    /// Returns the message that is kept for the sink, if there is one.
    fn kept(&self) -> Option<&Kept> {
        self.transaction.as_ref()?.kept.as_deref()
    }

    /// Whether the content is over the limit, or more than is kept for a sink.
    fn is_too_large(&self, seen: &ContentMeasure) -> bool {
        self.shared.limits.max_message_size.is_some_and(|max| seen.size > max)
            || self.kept().is_some_and(Kept::is_too_large)
    }

    /// Whether a content of this size exceeds the rest of the session's bytes.
    fn is_beyond_session(&self, size: u64) -> bool {
        let limit = self.shared.limits.max_session_bytes;
        limit.is_some_and(|max| self.tally.bytes.saturating_add(size) > max)
    }

    /// Returns the reply to the final dot, without the check for a full queue.
    fn judge_body(&self, seen: &ContentMeasure) -> Saying {
        let limits = &self.shared.limits;
        if limits.max_line_length.is_some_and(|max| seen.longest_line > u64::from(max)) {
            Saying::TextLineTooLong
        } else if limits.max_header_size.is_some_and(|max| seen.header_size > max) {
            Saying::HeaderSize
        } else if self.is_too_large(seen) {
            Saying::MessageSize
        } else if self.is_beyond_session(seen.size) {
            Saying::SessionBytes
        } else if limits.max_hops.is_some_and(|max| seen.received > max) {
            Saying::TooManyHops
        } else if limits.reject_bare_cr_lf && (seen.bare_cr || seen.bare_lf) {
            Saying::BareCrLf
        } else if self.happens(limits.server_deferral_rate) {
            Saying::ServerDeferral
        } else if self.happens(limits.server_error_rate) {
            Saying::ServerError
        } else {
            Saying::Accepted
        }
    }

    fn request(&mut self, now: Instant, request: Request<'_>) -> PolicyAnswer {
        if let Request::Noop(about) = request
            && let Some(answer) = self.shared.sink.as_ref().and_then(|sink| sink.answer(about))
        {
            return PolicyAnswer::new(answer);
        }
        if let Some(refusal) = self.junk(&request) {
            return refusal;
        }
        match request {
            Request::Hello { extended, name } => self.hello(extended, name),
            Request::Lhlo { name } => self.hello(true, name),
            Request::Mail { path, parameters } => {
                match self.path_fault(path).or(self.mail_fault(&parameters)) {
                    Some(fault) => self.fault(fault),
                    None => self.mail(now, path, &parameters),
                }
            }
            Request::Rcpt { path, parameters } => {
                let utf8 = self.transaction.as_ref().is_some_and(|transaction| transaction.utf8);
                // RFC 6533 section 3: without SMTPUTF8 an ORCPT of the type utf-8 is in ASCII too.
                let is_ascii = path.is_ascii() && parameters.orcpt.is_none_or(str::is_ascii);
                match self.path_fault(path).or(self.shared.limits.offers.fault_of_rcpt(&parameters)) {
                    Some(fault) => self.fault(fault),
                    None if !utf8 && !is_ascii => self.fault(RequestFault::NotAscii),
                    None => self.rcpt(now, path),
                }
            }
            // The machine never passes BDAT on as a request: it reads the chunk first, and then asks for the answer to
            // the chunk.
            Request::Bdat { .. } => self.fault(RequestFault::Unrecognized("BDAT")),
            Request::Data => self.at(Step::Data, |session| session.say(Saying::GoAhead, "")),
            Request::Quit => {
                let answer = self.at(Step::Quit, |session| session.say(Saying::Bye, ""));
                PolicyAnswer { then: Then::Close, ..answer }
            }
            Request::Reset => self.say(Saying::Reset, ""),
            Request::Noop(_) => self.say(Saying::Noop, ""),
            Request::Verify | Request::Expand => self.say(Saying::Verify, ""),
            Request::Help(about) => match Request::parse(about.as_bytes()) {
                Err(RequestFault::Unrecognized(_)) if !about.is_empty() => {
                    self.say(Saying::HelpUnknown, about)
                }
                _ => self.say(Saying::Help, ""),
            },
            Request::Starttls => self.starttls(),
            Request::Auth(argument) => self.auth(argument),
            Request::Xclient { address } => self.xclient(address),
        }
    }

    /// Ends the transaction, delivered or not.
    fn end_transaction(&mut self, delivered: bool) {
        let Some(transaction) = self.transaction.take() else { return };
        let counts = &self.shared.counts;
        if transaction.started {
            counts.end();
        }
        let recipients = match self.shared.limits.protocol {
            Protocol::Smtp if !delivered => 0,
            Protocol::Smtp => u64::from(transaction.recipients),
            Protocol::Lmtp => u64::from(transaction.delivered),
        };
        // With LMTP the content counts towards the session's bytes if at least one recipient has it.
        if delivered || transaction.delivered > 0 {
            self.tally.bytes += transaction.content_bytes;
            self.tally.junk = 0;
        }
        if delivered {
            counts.deliver(recipients, transaction.content_bytes, transaction.digest.finish());
        } else {
            counts.deliver_partly(recipients);
            if transaction.queued {
                counts.dequeue();
            }
        }
    }

    /// Notes a reply to the content. A message counts as delivered if the replies for all of its accepted recipients
    /// are positive.
    fn settle(&mut self, good: bool) {
        let lmtp = self.shared.limits.protocol == Protocol::Lmtp;
        let Some(transaction) = &mut self.transaction else { return };
        transaction.settled += 1;
        transaction.delivered += u32::from(good);
        if let (true, Some(kept)) = (good, &transaction.kept) {
            let all = if lmtp {
                transaction.settled as usize - 1..transaction.settled as usize
            } else {
                0..kept.recipients()
            };
            kept.hand_over(all);
        }
        if !lmtp || transaction.settled == transaction.recipients {
            let all = transaction.delivered == transaction.settled;
            self.end_transaction(all);
        }
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.open) {
            self.shared.counts.close(self.peer.host());
        }
        if std::mem::take(&mut self.tls_place) {
            self.shared.counts.close_tls();
        }
    }
}

impl Policy for Behaviour {
    fn protocol(&self) -> Protocol {
        self.shared.limits.protocol
    }

    fn takes_chunks(&self) -> bool {
        self.shared.limits.offers.chunking
    }

    fn patience(&self, after: Step) -> Option<Duration> {
        self.shared.limits.step_timeouts.after(after)
    }

    fn end_of_data(&self) -> EndOfData {
        self.shared.limits.end_of_data
    }

    fn answer(&mut self, now: Instant, ask: Ask<'_>) -> PolicyAnswer {
        let answer = match ask {
            Ask::Greeting => self.greet(now),
            Ask::Request(request) => self.request(now, request),
            Ask::Response(line) => self.auth_response(line),
            Ask::Body(seen) => self.body(now, seen),
            Ask::Chunk(size, seen) => self.chunk(size, seen),
            Ask::RequestFault(fault) => self.fault(fault),
            Ask::Lapse(lapse) => self.say(
                match lapse {
                    Lapse::Idle => Saying::Idle,
                    Lapse::Total => Saying::ConnectionTime,
                    Lapse::End => Saying::Unavailable,
                },
                "",
            ),
        };
        self.leaving = answer.then != Then::Keep;
        answer
    }

    fn content(&mut self, bytes: &[u8]) {
        if let Some(transaction) = &mut self.transaction {
            transaction.digest.content(bytes);
            if let Some(kept) = &mut transaction.kept {
                kept.add_content(bytes);
            }
        }
    }

    fn queued(&mut self, _now: Instant, step: Step, code: u16) {
        if step == Step::Body {
            self.settle(code / 100 == 2);
        }
        if let (Step::Auth, 235, Some(user)) = (step, code, self.access.user()) {
            self.shared.logins.count(user);
        }
        if self.leaving {
            self.leave();
        }
    }

    fn abandoned(&mut self) {
        self.end_transaction(false);
    }

    fn connected(&mut self, now: Instant) -> Option<PolicyAnswer> {
        let refusal = if self.shared.limits.refuse_before_tls { self.refuse(now) } else { None };
        self.shaking = refusal.is_none();
        refusal
    }

    fn secured(&mut self, _now: Instant, handshake: &Handshake) {
        self.secured = true;
        // RFC 3207 4.2: the client must send hello again.
        self.tally.greeted = false;
        self.shaking = false;
        self.access.secured(handshake);
        self.shared.counts.handshake(handshake.resumed);
    }

    fn insecure(&mut self, _why: Option<&Insecure>) {
        self.handshake_failed();
        self.leave();
    }
}

impl Drop for Behaviour {
    /// Counts the end of the connection, whatever its reason.
    fn drop(&mut self) {
        self.handshake_failed();
        self.end_transaction(false);
        self.leave();
    }
}
