//! The client machine: one session from the greeting to QUIT, over any number of transactions.
//!
//! It sends commands, times each step and reports how each step ended. The owner of the machine decides what a reply
//! means and what follows.
//!
//! # Decisions
//! - A reply is not an error: 4yz and 5yz end a step, and the owner gets the event. Only a dialogue that is out of step
//!   ends the session (malformed replies, unasked replies, 421, time-outs).
//! - The time of a step begins when its group of pipelined commands is written, so all steps of a group begin at the
//!   same moment. Its time-out counts from the last progress: a reply, a write, or the time at which the kernel has
//!   taken more bytes of a write. Otherwise slow replies to the first commands of a group would time out the last one
//!   (RFC 5321 4.5.3.2 has no groups), and so would content that the listener reads slowly (4.5.3.2.5 has a time-out
//!   for each call that writes).
//! - Data that was read before a command was written cannot be its reply. All complete replies of a read are processed
//!   before anything is written. A reply without an outstanding command puts the session out of step, and so does a
//!   reply whose first part was read before the command was written. A session out of step accepts no further message.
//!   Only 421 may come at any time.
//! - A surplus reply that comes after the next command looks like the reply to that command. `proof` describes what the
//!   client can know in this case, and what proves an acceptance.
//! - Before the machine writes, the driver passes on all data that it has read, but does not read again: that would
//!   cost a system call for each command. Data that arrives between the last read and the write counts as read after
//!   the write.
//! - 220 opens and 221 closes a session. Neither counts as the success of another command, although its first digit is
//!   2.
//! - Once the kernel may have the final dot, a loss of the session leaves the message in doubt (RFC 5321 4.2.5),
//!   because the listener may have the message. That includes a dot that an orderly close still flushes. A session that
//!   times out before the kernel has taken all bytes is reset, so that the rest, and the dot in it, is never sent.
//! - Content is rendered piece by piece as the kernel takes it, so that a slow listener costs no memory.

mod client_transaction;
mod event;
mod extra_commands;
mod fallback;
mod lmtp;
mod machine;
mod misbehave;
mod opening;
mod proof;
mod reply_check;
mod reply_wording;
mod time_outs;
mod transactions;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use self::extra_commands::ExtraCommand;
use self::lmtp::MissingReplyCheck;
use self::misbehave::HalfClose;
use self::opening::{Opening, OpeningProgress};
use self::proof::{ReplyOrder, UnprovenMessage};
use self::reply_check::{failure, is_refusal, is_time_out, surplus, unexpected};
use self::reply_wording::ReplyWordings;
use self::transactions::Transactions;
use super::command;
use super::extensions::Use;
use super::machine::Close;
use super::reply::{RawReply, Scanner};
use super::script::{Quit, Script, SessionIdentity};
use super::step::Step;
use super::transaction::{Content, Lost};

pub use self::event::{Event, Failure, Lacking};
pub use self::reply_check::is_positive;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientState {
    /// Greeting, TLS, hello, XCLIENT and AUTH: `opening` is set.
    Opening,
    /// No command is outstanding.
    Rest,
    /// A transaction is in progress: `current` is set.
    Mail,
    /// RSET must be written, or is written.
    Reset,
    /// An extra command must be written, or is written.
    Extra(ExtraCommand),
    /// NOOP is sent again and again, and no reply is read (misbehaviour of the script).
    Deaf,
    /// QUIT must be written, or is written.
    Quit,
    /// QUIT was answered, but not by 221. The client waits for a surplus reply.
    Drained,
    Over(Close),
}

/// The client side of a session.
#[derive(Debug)]
pub struct Client<C> {
    script: Rc<Script>,
    state: ClientState,
    opening: Option<Box<Opening>>,
    scanner: Scanner,
    transactions: Transactions<C>,
    /// When the session times out. It is computed once, because every wait needs it.
    expires: Option<Instant>,
    /// Whether the session ends after its transactions when its time is up, and does not fail.
    retires: bool,
    /// When the command of a state outside transactions was written.
    since: Instant,
    /// The last progress, from which time-outs count.
    alive: Instant,
    /// Whether the command of the state is written.
    written: bool,
    /// Whether the kernel has not yet taken all written bytes.
    backlog: bool,
    /// Whether part of a reply was there before the outstanding command was written.
    early: bool,
    /// Whether part of the next reply was there before the end of the content that it would answer.
    began_early: bool,
    /// A message whose last reply was read and that is not reported yet.
    held: Option<UnprovenMessage>,
    wordings: ReplyWordings,
    /// Whether the session was ready for mail.
    is_established: bool,
    /// Whether the listener's reply to hello offered what no other reply has (see `proof`).
    hello_is_unmistakable: bool,
    /// Whether the client asked for missing replies of LMTP.
    asked: MissingReplyCheck,
    finishing: bool,
    /// Nothing is sent before this time (misbehaviour of the script).
    silent_until: Option<Instant>,
    half_closed: HalfClose,
    /// Whether the owner got an [`Event::Ready`] since the session last became ready.
    offered: bool,
    events: VecDeque<Event>,
}

impl<C: Content> Client<C> {
    /// Creates a session over a connection that is established `now`.
    pub fn new(script: Rc<Script>, identity: SessionIdentity, now: Instant) -> Self {
        let expires = now.checked_add(script.timeouts.session);
        Client {
            opening: Some(Box::new(Opening::new(&script, identity))),
            script,
            state: ClientState::Opening,
            scanner: Scanner::default(),
            transactions: Transactions::new(),
            expires,
            retires: false,
            since: now,
            alive: now,
            written: false,
            backlog: false,
            early: false,
            began_early: false,
            held: None,
            wordings: ReplyWordings::default(),
            is_established: false,
            hello_is_unmistakable: false,
            asked: MissingReplyCheck::No,
            finishing: false,
            silent_until: None,
            half_closed: HalfClose::Open,
            offered: false,
            events: VecDeque::new(),
        }
    }

    /// Begins a transaction. Call it only after an [`Event::Ready`] that was not used yet, or while the session is
    /// idle.
    pub fn begin(&mut self, content: C) {
        debug_assert!(
            self.is_resting() || self.state == ClientState::Mail && self.offered && !self.finishing,
            "begin without Ready"
        );
        if self.transactions.begin(content, &self.script, self.alive) {
            self.state = ClientState::Mail;
            self.offered = false;
        }
    }

    /// Ends the session as the script says, after the transactions in progress.
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// Ends the session at once. An outstanding step fails as [`Failure::Aborted`].
    pub fn abort(&mut self, now: Instant) {
        self.fail(now, Failure::Aborted, false);
    }

    /// Whether the session is idle: it is established, and no command is outstanding.
    pub fn is_resting(&self) -> bool {
        self.state == ClientState::Rest && !self.finishing
    }

    /// Whether the bytes that are written now hold a secret, which no transcript may show.
    pub fn is_secret(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| opening.is_secret())
    }

    fn is_over(&self) -> bool {
        matches!(self.state, ClientState::Over(_))
    }

    /// Whether the next reply belongs to the opening of the session.
    pub(super) fn is_opening(&self) -> bool {
        self.state == ClientState::Opening
    }

    /// Whether a TLS handshake has to follow before anything else is read.
    pub(super) fn is_handshake(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| opening.is_handshake())
    }

    /// Returns the outstanding step, if [`is_waiting`](Self::is_waiting).
    fn step(&self) -> Step {
        match self.state {
            _ if self.silent_until.is_some() && !self.is_waiting() => Step::Idle,
            ClientState::Opening => self.opening.as_ref().map_or(Step::Idle, |opening| opening.step()),
            ClientState::Mail => self.transactions.step(),
            ClientState::Extra(ExtraCommand::Again) => Step::Body,
            ClientState::Extra(_) => Step::Command,
            ClientState::Quit | ClientState::Drained => Step::Quit,
            ClientState::Rest | ClientState::Reset | ClientState::Deaf | ClientState::Over(_) => Step::Idle,
        }
    }

    /// Whether a reply of the listener is outstanding.
    fn is_waiting(&self) -> bool {
        match self.state {
            // While the client is silent on purpose, the handshake does not begin.
            ClientState::Opening if self.silent_until.is_some() && self.is_handshake() => false,
            ClientState::Opening => {
                self.written || self.opening.as_ref().is_some_and(|opening| opening.waits_unasked())
            }
            ClientState::Reset | ClientState::Extra(_) | ClientState::Quit => self.written,
            ClientState::Mail => self.transactions.is_waiting(),
            ClientState::Rest | ClientState::Deaf | ClientState::Drained | ClientState::Over(_) => false,
        }
    }

    /// Returns when the outstanding wait began.
    fn since(&self) -> Instant {
        self.transactions.current.as_ref().map_or(self.since, |exchange| exchange.since())
    }

    /// Reports the end of a step, with the code of the reply that ended it (0 without a reply).
    fn report(&mut self, now: Instant, step: Step, code: u16, failure: Option<Box<Failure>>) {
        let started = if self.is_waiting() { self.since() } else { now };
        let in_doubt = match failure.as_deref() {
            None => false,
            Some(_) if self.is_doubted() => true,
            Some(Failure::Reply(_) | Failure::Challenged { .. }) => false,
            Some(failure) => self.transactions.in_doubt(failure),
        };
        self.report_since(now, step, started, code, failure, in_doubt);
    }

    fn report_since(
        &mut self,
        ended: Instant,
        step: Step,
        started: Instant,
        code: u16,
        failure: Option<Box<Failure>>,
        in_doubt: bool,
    ) {
        if let Some((after, length)) = self.script.manners.stall
            && after == step
            && failure.is_none()
        {
            self.silent_until = ended.checked_add(length);
        }
        self.events.push_back(Event::Step { step, started, ended, code, failure, in_doubt });
    }

    /// Ends a session that cannot go on. The outstanding step fails, and with it every transaction.
    fn fail(&mut self, now: Instant, failure: Failure, by_peer: bool) {
        if self.is_over() {
            return;
        }
        let failure = self.named(failure);
        self.suspect(&failure);
        // An acceptance that no later reply contradicts stays as it is.
        if !self.is_doubted() {
            self.release_held(true);
        }
        let leaving = matches!(self.state, ClientState::Quit | ClientState::Drained);
        let code = match &failure {
            Failure::Reply(reply)
            | Failure::Challenged { reply, .. }
            | Failure::Unexpected(reply)
            | Failure::Surplus(reply) => reply.code,
            _ => 0,
        };
        // If the owner aborts a session without an outstanding step, or a session that is ending, that is not a
        // failure.
        let leaving_or_idle = self.step() == Step::Idle || leaving || self.state == ClientState::Reset;
        let silent = matches!(failure, Failure::Aborted) && leaving_or_idle && !self.is_doubted();
        let why = failure.clone();
        if !silent {
            self.report(now, self.step(), code, Some(Box::new(failure)));
        }
        let how = if self.backlog && is_time_out(&why) { Close::Reset } else { Close::Clean };
        self.lose(now, &why, how, by_peer && !leaving);
    }

    fn end(&mut self, now: Instant, how: Close, by_peer: bool) {
        self.lose(now, &Failure::Aborted, how, by_peer);
    }

    /// Ends the session and the transactions in progress.
    fn lose(&mut self, now: Instant, why: &Failure, how: Close, by_peer: bool) {
        // The owner can no longer use a `Ready` that it has not taken yet.
        self.events.retain(|event| !matches!(event, Event::Ready { .. }));
        self.lose_held();
        self.transactions.lose(now, why, &mut self.events);
        self.events.push_back(Event::Ended { by_peer });
        self.state = ClientState::Over(how);
        self.opening = None;
    }

    /// Ends the session as the script says. QUIT is written at the next poll.
    fn leave(&mut self, now: Instant) {
        match self.script.quit {
            Quit::Clean | Quit::Hold => self.command(ClientState::Quit),
            Quit::Close => self.end(now, Close::Clean, false),
            Quit::Reset => self.end(now, Close::Reset, false),
        }
    }

    /// Enters a state whose command is written at the next poll.
    fn command(&mut self, state: ClientState) {
        // A `Ready` that the owner has not taken yet has to wait.
        self.events.retain(|event| !matches!(event, Event::Ready { .. }));
        self.opening = None;
        self.state = state;
        self.written = false;
    }

    /// Continues with an extra command, or becomes idle.
    fn extra(&mut self, turn: Option<ExtraCommand>) {
        match turn {
            Some(turn) => self.command(ClientState::Extra(turn)),
            None => self.rest(),
        }
    }

    fn rest(&mut self) {
        self.state = ClientState::Rest;
        self.offered = false;
    }

    /// Processes one complete reply.
    fn reply(&mut self, now: Instant, raw: RawReply<'_>) {
        let step = self.step();
        if raw.is_mixed() {
            self.events.push_back(Event::Mixed(step, Box::new(raw.to_reply())));
        }
        match self.state {
            ClientState::Drained => return self.doubt(now, raw),
            ClientState::Quit if self.written && self.held.is_some() && !self.early => {
                return self.farewell(now, raw);
            }
            _ => {}
        }
        let failure = match &self.opening {
            Some(opening) => {
                let fits = opening.fits(raw.code) && !raw.is_contradictory();
                opening.refusal(raw).or_else(|| (!fits).then(|| unexpected(raw)))
            }
            None => failure(step, raw),
        };
        // RFC 5321 3.8: 421 may answer any command, may come unasked, and always ends the session.
        if raw.code == 421 {
            return self.fail(now, *failure.unwrap_or_else(|| unexpected(raw)), true);
        }
        if let Some(missing) = self.has_no_more(raw) {
            return self.fail(now, missing, false);
        }
        if self.early || !self.is_waiting() {
            if self.is_disproved(now, raw) {
                return;
            }
            // A listener may announce to an idle session that it ends it.
            let rests = self.state == ClientState::Rest && !self.early;
            let failure = failure.filter(|failure| rests && is_refusal(failure));
            let strange = || if rests { unexpected(raw) } else { surplus(raw) };
            return self.fail(now, *failure.unwrap_or_else(strange), true);
        }
        self.alive = now;
        let several = step == Step::Body && self.transactions.order() == ReplyOrder::Several;
        // Wordings are compared only if the content is sent in chunks, or if LMTP answers it several times.
        let opens = self.opening.is_some() && self.script.wishes.chunking.wanted != Use::Off;
        let notes = opens || self.transactions.goes_in_chunks() || several;
        let again = self.state == ClientState::Extra(ExtraCommand::Again);
        if notes && !again && (failure.is_none() || self.transactions.is_last_chunk()) {
            self.wordings.note(step, self.transactions.is_midway(), raw);
        }
        match (self.state, failure) {
            (ClientState::Mail, failure) => self.transaction_reply(now, step, raw, failure),
            (ClientState::Extra(ExtraCommand::Again), _) => self.said_again(now, raw),
            (ClientState::Quit, failure) => {
                self.report(now, step, raw.code, failure);
                self.end(now, Close::Clean, false);
            }
            (ClientState::Opening, None) => self.opened(now, raw, None),
            (ClientState::Opening, Some(failure)) if is_refusal(&failure) && self.steps_down(raw) => {}
            (ClientState::Opening, Some(failure)) if is_refusal(&failure) && step == Step::Command => {
                self.opened(now, raw, Some(failure));
            }
            (ClientState::Reset, None) => self.extra(ExtraCommand::after_transaction(&self.script)),
            (ClientState::Extra(turn), failure) if failure.as_deref().is_none_or(is_refusal) => {
                self.report(now, step, raw.code, failure);
                self.extra(turn.next(&self.script));
            }
            (_, Some(failure)) if is_refusal(&failure) => {
                // RFC 5321 3.1: after a refusing greeting the client sends QUIT. The client does the same after a
                // refused hello or RSET.
                self.report(now, step, raw.code, Some(failure));
                self.leave(now);
            }
            (_, Some(failure)) => self.fail(now, *failure, true),
            (
                ClientState::Extra(_)
                | ClientState::Rest
                | ClientState::Deaf
                | ClientState::Drained
                | ClientState::Over(_),
                None,
            ) => {}
        }
    }

    /// Processes a reply that fits the outstanding step of the opening.
    fn opened(&mut self, now: Instant, raw: RawReply<'_>, refused: Option<Box<Failure>>) {
        let (step, since) = (self.step(), self.since);
        if step == Step::Hello {
            self.wordings.note_hello(raw);
        }
        let Some(opening) = &mut self.opening else { return };
        let next = opening.reply(&self.script, raw);
        self.written = opening.was_said_early();
        match next {
            OpeningProgress::Goes { complete: false } => return,
            // A feature that the script asks for and the listener does not offer fails the hello that showed it, or a
            // step of its own.
            OpeningProgress::Fails(failed, failure) if failed == step => {
                self.report_since(now, step, since, raw.code, Some(Box::new(failure)), false);
                return self.leave(now);
            }
            _ => self.report_since(now, step, since, raw.code, refused, false),
        }
        self.since = now;
        match next {
            OpeningProgress::Goes { .. } => {}
            OpeningProgress::Fails(failed, failure) => {
                self.report_since(now, failed, now, 0, Some(Box::new(failure)), false);
                self.leave(now);
            }
            OpeningProgress::Established { pipelining, terms } => self.established(pipelining, terms),
        }
    }

    /// Processes a reply to the oldest outstanding command of the current transaction.
    fn transaction_reply(
        &mut self,
        now: Instant,
        step: Step,
        raw: RawReply<'_>,
        failure: Option<Box<Failure>>,
    ) {
        let Some(exchange) = &self.transactions.current else { return };
        let early = exchange.is_early() || self.began_early;
        self.began_early = false;
        let ahead = exchange.is_chunked() && !self.transactions.is_single();
        // No listener accepts a message that it refused before.
        let revived = failure.is_none() && exchange.is_consequence() && exchange.is_chunk_awaited();
        let failure = match failure {
            None if early || revived => Some(unexpected(raw)),
            None if ahead && self.wordings.are_misplaced() => Some(surplus(raw)),
            failure => failure,
        };
        let good = failure.is_none();
        // After an early reply the rest of the content could be read as commands, unless its length was announced.
        let out_of_step = early && !exchange.is_chunked()
            || matches!(failure.as_deref(), Some(Failure::Unexpected(_) | Failure::Surplus(_)));
        let silent = exchange.is_consequence() || good && exchange.is_midway();
        if out_of_step || !silent {
            self.report(now, step, raw.code, failure);
        }
        if out_of_step {
            return self.end(now, Close::Clean, true);
        }
        if let Some(accepted) = self.transactions.current.as_mut().and_then(|exchange| exchange.answer(good))
        {
            self.transaction_over(now, accepted);
        }
    }

    /// Ends the current transaction. The next one, if it has started already, takes its place.
    fn transaction_over(&mut self, now: Instant, accepted: bool) {
        let order = self.transactions.order();
        let answered = accepted || self.transactions.is_answered();
        if let MissingReplyCheck::Asked(question) = self.asked {
            return self.was_only_slow(now, accepted, question);
        }
        let needs_reset = self.transactions.over();
        self.offered = false;
        if !answered || self.transactions.current.is_some() {
            self.wordings.settle(answered && !self.wordings.are_unusual());
            self.events.push_back(Event::Transaction { accepted, ended: now });
        } else if self.hold(now, accepted, order) {
            return;
        }
        if self.transactions.current.is_some() {
            self.state = ClientState::Mail;
        } else if needs_reset {
            self.command(ClientState::Reset);
        } else {
            self.extra(ExtraCommand::after_transaction(&self.script));
        }
    }

    /// Returns an [`Event::Ready`], once each time the session becomes ready for a transaction.
    fn offer(&mut self) -> Option<Event> {
        let early = match self.state {
            ClientState::Rest => false,
            ClientState::Mail if self.transactions.has_room(self.wordings.tell_apart()) => true,
            _ => return None,
        };
        let may =
            !self.finishing && self.half_closed == HalfClose::Open && self.asked == MissingReplyCheck::No;
        if self.offered || !may {
            return None;
        }
        self.offered = true;
        Some(Event::Ready { early })
    }

    /// Appends the bytes that are due. Returns false if there are none.
    fn write(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        match self.state {
            _ if self.silent_until.is_some() => return false,
            ClientState::Mail => return self.write_question(out) || self.write_mail(now, out),
            _ if self.written => return false,
            ClientState::Opening => return self.write_opening(now, out),
            ClientState::Reset => out.extend_from_slice(command::RSET),
            ClientState::Extra(turn) => turn.write(&self.script, out),
            ClientState::Deaf if self.backlog => return false,
            ClientState::Deaf => {
                self.silent_until = misbehave::chatter(now, out);
                return true;
            }
            ClientState::Quit => out.extend_from_slice(command::QUIT),
            ClientState::Rest | ClientState::Drained | ClientState::Over(_) => return false,
        }
        self.written = true;
        self.since = now;
        true
    }

    fn write_opening(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(opening) = &mut self.opening else { return false };
        if opening.waits_unasked() && !opening.talks_early(&self.script) {
            return false;
        }
        if !opening.continues() {
            self.since = now;
        }
        opening.write(&self.script, out);
        self.written = true;
        true
    }

    fn write_mail(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if let Err(Lost(why)) = self.transactions.write(now, self.backlog, &mut self.events, out) {
            // Content without its end is no message (RFC 5321 4.1.1.4). So the session ends, and the end of the content
            // is never written.
            out.truncate(before);
            self.fail(now, Failure::Lost(why), false);
            return false;
        }
        if self.transactions.is_spent() {
            self.transaction_over(now, false);
        }
        out.len() > before
    }
}
