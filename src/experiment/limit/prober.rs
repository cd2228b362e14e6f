//! What all searches for limits use: the probes, the budget, and the steps of a dialogue.

use std::sync::Arc;
use std::time::Duration;

use super::bounded_probes::BoundedProbes;
use super::result::{LimitResult, ShownBy};
use crate::condition::Classifier;
use crate::condition::Condition;
use crate::generator::probe::{
    CloseMode, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, ProbeRefusal, Probes,
};
use crate::mail::{Mailer, MessageSize, Spec};
use crate::smtp::command;
use crate::smtp::extensions::{Terms, Use, Wishes};
use crate::smtp::script::{Script, TlsMode};
use crate::smtp::{Closed, Content, Reply, Step};

/// How long a listener may take to close the connection after a refusal.
const CLOSING: Duration = Duration::from_secs(2);
/// The wait for this close before a NOOP checks whether the session still works, and the wait for a reply that answers nothing.
pub(super) const GLANCE: Duration = Duration::from_millis(50);

/// The factor by which a wait is longer where a listener may delay its replies on purpose.
pub(super) const PATIENT: u32 = 3;
/// The first wait before a refused session is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(20);
/// The additional wait after the measured release of a slot.
const SETTLE: Duration = Duration::from_millis(50);

/// The budget of a search, and the bounds of its values if no value is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchBudget {
    /// The largest number of sessions at once, if no value is expected.
    pub sessions: u64,
    /// The largest number of connections in total.
    pub connections: u64,
    /// The largest number of messages, recipients or errors of one session, if no value is expected.
    pub messages: u64,
    /// The largest number of bytes of one message, if no value is expected.
    pub message_bytes: u64,
    /// The largest number of bytes sent in total.
    pub bytes: u64,
    /// The length of a silence, if no time is expected.
    pub wait: Duration,
    /// How long the release of a slot may take.
    pub release: Duration,
    /// How long the listener may take to serve a session again after a limit. Windows of rate limits are often one minute.
    pub recovery: Duration,
    /// The longest time of the whole search.
    pub time: Duration,
}

impl Default for SearchBudget {
    fn default() -> Self {
        SearchBudget {
            sessions: 1000,
            connections: 20_000,
            messages: 1000,
            message_bytes: 64 << 20,
            bytes: 4 << 30,
            wait: Duration::from_secs(20),
            release: Duration::from_secs(30),
            recovery: Duration::from_secs(65),
            time: Duration::from_secs(20 * 60),
        }
    }
}

/// The settings of a search.
#[derive(Debug)]
pub struct LimitSetting {
    /// The messages; the search sets their size.
    pub mail: Spec,
    /// The seed of all randomness.
    pub seed: u64,
    /// The identifier of the search in its messages.
    pub run_id: String,
    /// The Date of all messages.
    pub date: String,
    /// The dialogue of the sessions.
    pub script: Script,
    /// Whether sessions log in.
    pub logged_in: bool,
    /// A recipient that the listener does not accept; `None`: the search makes one up.
    pub bad_recipient: Option<String>,
    /// The classifier of replies.
    pub classifier: Classifier,
    /// How long a reply may take.
    pub patience: Duration,
    /// The budget.
    pub bounds: SearchBudget,
}

/// Why a measurement cannot continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The listener does not serve a session that the search needs.
    Refused(Box<ProbeRefusal>),
    /// A step that the search needs failed.
    Failed(Step, Box<ProbeOutcome>),
    /// This machine could not continue.
    Own(String),
    /// The budget of this quantity is used up.
    Spent(&'static str),
    /// The limit cannot be measured on this listener, for this reason.
    NotMeasurable(String),
    /// The user stopped the search.
    Stopped,
}

/// The result of a step of a measurement.
pub type Probed<T> = Result<T, Halt>;

/// The probes of a search, with its settings and budget.
pub struct Prober<'a> {
    pub(super) probes: BoundedProbes<'a>,
    pub(super) setting: &'a LimitSetting,
    letters: u64,
    /// The longest measured time until a slot was released; zero: none was measured.
    pub(super) release: Duration,
    /// The number of sessions at once that were served to one client host; `None`: not measured.
    pub(super) per_host: Option<u64>,
    /// Whether another client address was served while one had so many sessions; `None`: not tried.
    pub(super) elsewhere: Option<bool>,
}

impl<'a> Prober<'a> {
    /// Creates a prober over these probes.
    pub fn new(probes: &'a mut dyn Probes, setting: &'a LimitSetting) -> Prober<'a> {
        let probes = BoundedProbes::new(probes, setting.bounds.time, setting.bounds.release);
        Prober { probes, setting, letters: 0, release: Duration::ZERO, per_host: None, elsewhere: None }
    }

    /// Checks the budget.
    ///
    /// # Errors
    /// The budget is used up, this machine failed, or the user stopped the search.
    pub(super) fn afford(&self) -> Probed<()> {
        let (spent, bounds) = (self.probes.spent(), &self.setting.bounds);
        if let Some(why) = self.probes.own_failure() {
            return Err(Halt::Own(why));
        }
        match () {
            () if self.probes.is_stopped() => Err(Halt::Stopped),
            () if spent.connections >= bounds.connections => Err(Halt::Spent("connections")),
            () if spent.bytes >= bounds.bytes => Err(Halt::Spent("bytes")),
            () if self.probes.now() >= bounds.time => Err(Halt::Spent("time")),
            () => Ok(()),
        }
    }

    /// Opens one session with the default options.
    pub(super) fn enter(&mut self) -> Probed<Probe> {
        self.enter_by(ProbeOptions::default())
    }

    /// Opens one session. If it is refused, it is tried again for the allowed recovery time, because the listener may still
    /// count sessions that were closed before.
    pub(super) fn enter_by(&mut self, way: ProbeOptions) -> Probed<Probe> {
        self.enter_within(way, self.setting.bounds.recovery)
    }

    /// Opens one session like [`Prober::enter_by`], but tries a refused session again only for `patience`.
    pub(super) fn enter_within(&mut self, way: ProbeOptions, patience: Duration) -> Probed<Probe> {
        let start = self.probes.now();
        let mut wait = FIRST_RETRY;
        loop {
            self.afford()?;
            let refusal = match self.probes.open(&[way]).pop() {
                Some(OpenOutcome::Open(session)) => return Ok(session),
                Some(OpenOutcome::Refused(refusal)) => refusal,
                Some(OpenOutcome::OwnFailure(_)) if self.probes.is_stopped() => return Err(Halt::Stopped),
                Some(OpenOutcome::OwnFailure(_)) if self.probes.left().is_zero() => {
                    return Err(Halt::Spent("time"));
                }
                Some(OpenOutcome::OwnFailure(why)) => return Err(Halt::Own(why)),
                None => return Err(Halt::Own("no session was opened".to_owned())),
            };
            self.probes.close(&[refusal.session], CloseMode::Close);
            let waited = self.probes.now().saturating_sub(start);
            if waited >= patience {
                return Err(Halt::Refused(Box::new(refusal)));
            }
            // There are few attempts, because the listener may count each of them and continue to refuse.
            self.probes.pause(wait.min(patience - waited));
            wait *= 4;
        }
    }

    /// Waits until closed sessions no longer count: for one and a half times the measured release, plus [`SETTLE`], after
    /// the last close.
    pub(super) fn settle(&mut self) {
        let length = self.settling();
        self.probes.pause(length);
    }

    /// Returns how long [`Prober::settle`] would wait now; zero if no release was measured.
    pub(super) fn settling(&self) -> Duration {
        let until = self.probes.left_at() + self.release.mul_f64(1.5) + SETTLE;
        if self.release.is_zero() { Duration::ZERO } else { until.saturating_sub(self.probes.now()) }
    }

    /// Sends a line and returns the next event.
    pub(super) fn ask(&mut self, session: Probe, line: &str) -> ProbeOutcome {
        let line = [line.as_bytes(), b"\r\n"].concat();
        self.probes.exchange(session, &line, self.setting.patience)
    }

    /// Sends MAIL for a letter.
    pub(super) fn mail(&mut self, session: Probe, letter: &Letter) -> ProbeOutcome {
        let line = letter.mail(&self.terms(session, letter));
        self.probes.exchange(session, &line, self.setting.patience)
    }

    /// Sends RCPT for a recipient of a letter.
    pub(super) fn rcpt(&mut self, session: Probe, letter: &Letter, recipient: &str) -> ProbeOutcome {
        let line = letter.rcpt(&self.terms(session, letter), recipient);
        self.probes.exchange(session, &line, self.setting.patience)
    }

    /// Returns MAIL, RCPT and DATA for a letter to one recipient, to be sent in one write.
    pub(super) fn group(&self, session: Probe, letter: &Letter) -> Vec<u8> {
        let terms = self.terms(session, letter);
        let recipient = letter.recipients.first().map_or("", |to| to);
        [&letter.mail(&terms)[..], &letter.rcpt(&terms, recipient), command::DATA].concat()
    }

    /// Returns the extensions that a session uses for a letter; none before the hello.
    pub(super) fn terms(&self, session: Probe, letter: &Letter) -> Terms {
        // A session without a required extension is not opened, so this cannot fail.
        letter.wishes.agree(&self.probes.offer(session)).unwrap_or_default()
    }

    /// Whether sessions are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.setting.script.tls != TlsMode::None
    }

    /// Whether a session still answers NOOP. Any reply except 421 counts, because some listeners do not know NOOP. `None`:
    /// no reply came, or none that can be read.
    pub(super) fn is_alive(&mut self, session: Probe) -> Option<bool> {
        let outcome = self.ask(session, "NOOP");
        unreadable(&outcome).ok().map(|()| outcome.code() > 0 && outcome.code() != 421)
    }

    /// Returns the sessions that have ended. A NOOP is sent in all sessions before the first reply is read, and all replies
    /// have the same time to come. A session without a reply is not returned, because its reply may only be slow.
    ///
    /// # Errors
    /// A session got a reply that cannot be read, so it is out of step.
    pub(super) fn dead(&mut self, sessions: &[Probe]) -> Probed<Vec<Probe>> {
        for session in sessions {
            self.probes.send(*session, b"NOOP\r\n");
        }
        let until = self.probes.now() + self.setting.patience;
        let mut dead = Vec::new();
        for session in sessions {
            let outcome = self.probes.receive(*session, until.saturating_sub(self.probes.now()));
            if matches!(outcome.event, ProbeEvent::Silence) {
                continue;
            }
            unreadable(&outcome)?;
            if matches!(outcome.code(), 0 | 421) {
                dead.push(*session);
            }
        }
        Ok(dead)
    }

    pub(super) fn leave(&mut self, session: Probe) {
        self.probes.close(&[session], CloseMode::Quit);
    }

    /// Returns a mailer for messages of this size (`None`: the smallest size) and this number of recipients.
    pub(super) fn mailer(&self, size: Option<u64>, recipients: u32) -> Arc<Mailer> {
        let mail =
            Spec { size: MessageSize::Fixed(size.unwrap_or(0)), recipients, ..self.setting.mail.clone() };
        Arc::new(Mailer::new(&mail, self.setting.seed, &self.setting.run_id, &self.setting.date))
    }

    /// Returns the next message of a mailer.
    pub(super) fn letter(&mut self, mailer: &Arc<Mailer>) -> Letter {
        let message = mailer.message(self.letters);
        self.letters += 1;
        let text = |append: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            append(&mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        Letter {
            sender: text(&|out| message.sender(out)),
            recipients: (0..message.recipients())
                .map(|index| text(&|out| message.recipient(index, out)))
                .collect(),
            envelope_id: text(&|out| message.envelope_id(out)),
            content: content(&message),
            wishes: self.setting.script.wishes.clone(),
        }
    }

    /// Begins a transaction, which must be accepted.
    pub(super) fn begin(&mut self, session: Probe, letter: &Letter) -> Probed<()> {
        let outcome = self.mail(session, letter);
        if outcome.accepts(Step::Mail) { Ok(()) } else { Err(Halt::Failed(Step::Mail, Box::new(outcome))) }
    }

    /// Returns the reply to RCPT for the only recipient of a message, in a new session. `letter`: the rest of the message.
    pub(super) fn rcpt_alone(&mut self, letter: &Letter, recipient: &str) -> Probed<ProbeOutcome> {
        let session = self.enter()?;
        self.begin(session, letter)?;
        let outcome = self.rcpt(session, letter, recipient);
        self.leave(session);
        Ok(outcome)
    }

    /// Sends MAIL and the RCPT commands of a letter, and waits for each reply.
    pub(super) fn envelope(&mut self, session: Probe, letter: &Letter) -> Result<(), (Step, ProbeOutcome)> {
        let outcome = self.mail(session, letter);
        expect(Step::Mail, outcome)?;
        for recipient in &letter.recipients {
            let outcome = self.rcpt(session, letter, recipient);
            expect(Step::Rcpt, outcome)?;
        }
        Ok(())
    }

    /// Sends DATA, and then these bytes, which include the final dot. Returns the reply to the final dot.
    pub(super) fn data(
        &mut self,
        session: Probe,
        bytes: &[u8],
    ) -> Result<ProbeOutcome, (Step, ProbeOutcome)> {
        expect(Step::Data, self.ask(session, "DATA"))?;
        Ok(self.deliver(session, bytes))
    }

    /// Sends bytes that may take longer to write than a reply may take, and returns the next event: the wait for the reply
    /// begins again as long as more bytes are written.
    fn deliver(&mut self, session: Probe, bytes: &[u8]) -> ProbeOutcome {
        self.probes.send(session, bytes);
        loop {
            let written = self.probes.spent().bytes;
            let outcome = self.probes.receive(session, self.setting.patience);
            let is_written = self.probes.spent().bytes == written;
            if !matches!(outcome.event, ProbeEvent::Silence) || is_written || self.afford().is_err() {
                return outcome;
            }
        }
    }

    /// Sends DATA and the smallest message, after an accepted envelope.
    pub(super) fn finish_message(&mut self, session: Probe) -> Result<(), (Step, ProbeOutcome)> {
        let mailer = self.mailer(None, 1);
        let letter = self.letter(&mailer);
        self.transfer(session, &letter).map(drop)
    }

    /// Sends a whole transaction. Returns the reply to the end of its content.
    pub(super) fn send(
        &mut self,
        session: Probe,
        letter: &Letter,
    ) -> Result<ProbeOutcome, (Step, ProbeOutcome)> {
        self.envelope(session, letter)?;
        self.transfer(session, letter)
    }

    /// Sends a whole transaction. Returns whether it was accepted.
    ///
    /// # Errors
    /// A reply cannot be read, or did not come although the connection is open.
    pub(super) fn is_accepted(&mut self, session: Probe, letter: &Letter) -> Probed<bool> {
        match self.send(session, letter) {
            Ok(_) => Ok(true),
            Err((_, outcome)) => unreadable(&outcome).map(|()| false),
        }
    }

    /// Sends the content of a letter after its envelope, with DATA or BDAT. Returns the reply to the end of the content.
    fn transfer(&mut self, session: Probe, letter: &Letter) -> Result<ProbeOutcome, (Step, ProbeOutcome)> {
        let Some(size) = self.terms(session, letter).chunk else {
            return expect(Step::Body, self.data(session, &letter.content)?);
        };
        let mut rest = letter.raw();
        loop {
            let length = usize::try_from(size.get()).unwrap_or(usize::MAX).min(rest.len());
            let (chunk, behind) = rest.split_at(length);
            let mut bytes = Vec::new();
            command::bdat(&mut bytes, length as u64, behind.is_empty());
            bytes.extend_from_slice(chunk);
            let outcome = expect(Step::Body, self.deliver(session, &bytes))?;
            if behind.is_empty() {
                return Ok(outcome);
            }
            rest = behind;
        }
    }

    /// Sends one message in a session of its own.
    ///
    /// # Errors
    /// The message is not accepted.
    pub(super) fn one_message(&mut self) -> Probed<()> {
        let session = self.enter()?;
        let mailer = self.mailer(None, 1);
        let letter = self.letter(&mailer);
        let sent =
            self.send(session, &letter).map_err(|(step, outcome)| Halt::Failed(step, Box::new(outcome)));
        self.leave(session);
        sent.map(drop)
    }

    /// Returns the condition of a reply at a step, or of the event that came instead of it.
    pub(super) fn condition(&self, step: Step, by: &ProbeEvent) -> Option<Condition> {
        Some(by.condition(&self.setting.classifier, step))
    }

    /// Writes to a result how the listener showed its limit, and whether the listener closed the connection. Returns whether
    /// the session can go on: it is open, and no reply is owed in it.
    pub(super) fn shown(
        &mut self,
        result: &mut LimitResult,
        step: Step,
        by: &ProbeEvent,
        session: Probe,
    ) -> bool {
        let closed = matches!(by, ProbeEvent::Reply(_)).then(|| self.closes(session));
        self.shown_with(result, step, by, closed.map(|closed| closed.unwrap_or(false)));
        closed == Some(Some(false))
    }

    /// Writes the same to a result. `closed`: whether the listener closed the connection; `None`: unknown.
    pub(super) fn shown_with(
        &self,
        result: &mut LimitResult,
        step: Step,
        by: &ProbeEvent,
        closed: Option<bool>,
    ) {
        result.step = Some(step.as_str().to_owned());
        result.condition = self.condition(step, by).map(|condition| condition.as_str().to_owned());
        result.shown_by = Some(match by {
            ProbeEvent::Reply(_) | ProbeEvent::Failed(..) => ShownBy::Reply,
            ProbeEvent::Closed(Closed::Eof) => ShownBy::Close,
            ProbeEvent::Closed(_) => ShownBy::Reset,
            ProbeEvent::Silence => ShownBy::NoGreeting,
            ProbeEvent::NotConnected(_) => ShownBy::NoConnect,
        });
        match by {
            ProbeEvent::Reply(reply) => {
                result.reply = Some(reply.to_string());
                result.code = Some(reply.code);
                result.enhanced = reply.enhanced.map(|code| code.to_string());
                result.closed = closed;
            }
            ProbeEvent::Failed(_, what) => result.reply = Some(what.clone()),
            ProbeEvent::Closed(_) => result.closed = Some(true),
            ProbeEvent::Silence | ProbeEvent::NotConnected(_) => {}
        }
    }

    /// Whether the listener closes the connection by itself. If it answers a NOOP instead, it does not. A 421 before the
    /// close is ignored. `None`: the connection is open, but no valid reply came, so a later one may be that to the NOOP.
    pub(super) fn closes(&mut self, session: Probe) -> Option<bool> {
        let mut outcome = self.probes.receive(session, GLANCE);
        if matches!(outcome.event, ProbeEvent::Silence) {
            self.probes.send(session, b"NOOP\r\n");
            outcome = self.probes.receive(session, CLOSING);
        }
        for _ in 0..3 {
            match &outcome.event {
                ProbeEvent::Closed(_) => return Some(true),
                ProbeEvent::Reply(reply) if reply.code == 421 => {
                    outcome = self.probes.receive(session, CLOSING)
                }
                ProbeEvent::Reply(_) => return Some(false),
                _ => return None,
            }
        }
        None
    }
}

/// The envelope and the content of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Letter {
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) envelope_id: String,
    /// The content with the final dot. No line begins with a dot.
    pub(super) content: Vec<u8>,
    /// The extensions to use.
    pub(super) wishes: Wishes,
}

impl Letter {
    /// Returns MAIL for the letter.
    pub(super) fn mail(&self, terms: &Terms) -> Vec<u8> {
        self.mail_of_size(terms, self.raw().len() as u64)
    }

    /// Returns MAIL for the letter. It declares `size` if the session uses SIZE.
    pub(super) fn mail_of_size(&self, terms: &Terms, size: u64) -> Vec<u8> {
        let mut out = Vec::new();
        command::mail(
            &mut out,
            terms,
            || size,
            |out| out.extend_from_slice(self.envelope_id.as_bytes()),
            |out| out.extend_from_slice(self.sender.as_bytes()),
        );
        out
    }

    /// Returns RCPT for a recipient of the letter.
    pub(super) fn rcpt(&self, terms: &Terms, recipient: &str) -> Vec<u8> {
        let mut out = Vec::new();
        command::rcpt(&mut out, terms, |out| out.extend_from_slice(recipient.as_bytes()));
        out
    }

    /// Returns the content without the final dot.
    pub(super) fn raw(&self) -> &[u8] {
        self.content.strip_suffix(command::EMPTY_CONTENT).unwrap_or(&self.content)
    }

    /// Returns the letter for transfer with DATA, to measure a limit that applies to DATA only.
    pub(super) fn with_data(mut self) -> Letter {
        self.wishes.chunking.wanted = Use::Off;
        self.wishes.binary = Use::Off;
        self
    }

    /// Returns the letter without a declared size, to measure a limit on the content: a refusal of MAIL would hide the
    /// limit.
    pub(super) fn without_size(mut self) -> Letter {
        self.wishes.size = Use::Off;
        self
    }

    /// Returns the letter without parameters of RCPT, to measure a limit on the path.
    pub(super) fn without_rcpt_parameters(mut self) -> Letter {
        (self.wishes.dsn.notify, self.wishes.dsn.orcpt) = (None, false);
        self
    }

    /// Returns the letter with these bytes in front of its header.
    pub(super) fn with_header(&self, fields: &[u8]) -> Letter {
        Letter { content: [fields, &self.content[..]].concat(), ..self.clone() }
    }

    /// Returns the header and the empty line after it.
    pub(super) fn head(&self) -> &[u8] {
        let end = self.content.windows(4).position(|four| four == b"\r\n\r\n");
        &self.content[..end.map_or(self.content.len(), |at| at + 4)]
    }
}

/// Returns the content of a message without lines that begin with a dot, because some listeners count stuffed dots.
fn content(message: &impl Content) -> Vec<u8> {
    let (mut out, mut offset) = (Vec::new(), 0);
    while offset < message.size() {
        // The message is not read from a file, so its body cannot fail.
        let Ok(next) = message.body(offset, &mut out) else { break };
        offset = next;
    }
    let mut kept = Vec::with_capacity(out.len());
    for line in out.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b"..") {
            // The stuffed dot goes, and the dot after it becomes a letter.
            Some(rest) => {
                kept.push(b'x');
                kept.extend_from_slice(rest);
            }
            None => kept.extend_from_slice(line),
        }
    }
    kept
}

/// Returns the outcome if it accepts the command of the step, and otherwise the step and the outcome.
fn expect(step: Step, outcome: ProbeOutcome) -> Result<ProbeOutcome, (Step, ProbeOutcome)> {
    if outcome.accepts(step) { Ok(outcome) } else { Err((step, outcome)) }
}

/// Returns the halt for a reply that answers no command, so that it is not known what later replies answer.
pub(super) fn surplus(reply: &Reply) -> Halt {
    Halt::NotMeasurable(format!("the listener sent no valid reply: a reply without a command: {reply}"))
}

/// Rejects an outcome that does not show a refusal: an unreadable reply, a positive one that fits no command (220 and 221, or
/// lines that accept and refuse), or silence on an open connection.
///
/// # Errors
/// The reply cannot be read or fits no command, or no reply came although the connection is open.
pub(super) fn unreadable(outcome: &ProbeOutcome) -> Probed<()> {
    match &outcome.event {
        ProbeEvent::Failed(_, what) => {
            Err(Halt::NotMeasurable(format!("the listener sent no valid reply: {what}")))
        }
        ProbeEvent::Silence => {
            Err(Halt::NotMeasurable("no reply came, and the connection was not closed".to_owned()))
        }
        ProbeEvent::Reply(reply) if reply.class() == 2 && !outcome.accepts(Step::Command) => {
            Err(Halt::NotMeasurable(format!("the listener sent no valid reply: {reply}")))
        }
        ProbeEvent::Reply(_) | ProbeEvent::Closed(_) | ProbeEvent::NotConnected(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replied(text: &str) -> ProbeOutcome {
        ProbeOutcome { event: ProbeEvent::Reply(Reply::parse(text).unwrap()), at: Duration::ZERO }
    }

    #[test]
    fn a_search_accepts_what_a_run_accepts() {
        for text in ["250 ok", "251 will forward", "252 maybe"] {
            assert!(expect(Step::Rcpt, replied(text)).is_ok(), "{text}");
            assert!(expect(Step::Data, replied(text)).is_err(), "{text}");
        }
        assert!(expect(Step::Data, replied("354 go")).is_ok());
        assert!(
            expect(Step::Data, replied("350 go")).is_err() && expect(Step::Body, replied("354 go")).is_err()
        );
        for text in ["220 mx", "221 bye", "550-no\n250 ok"] {
            assert!(expect(Step::Rcpt, replied(text)).is_err(), "{text}");
            assert!(unreadable(&replied(text)).is_err(), "{text} refuses nothing either");
        }
        for text in ["250 ok", "354 go", "550 no", "421 bye", "250-ok\n452 full"] {
            assert!(unreadable(&replied(text)).is_ok(), "{text}");
        }
    }
}
