//! Where limits are looked for: the probes, what they may spend, and the few moves that all searches are made of.

use std::sync::Arc;
use std::time::Duration;

use super::bounded_probes::BoundedProbes;
use super::finding::{Finding, ShownBy};
use super::times::Waits;
use crate::condition::Classifier;
use crate::condition::Condition;
use crate::generator::probe::{
    CloseMode, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, ProbeRefusal, Probes,
};
use crate::mail::{Mailer, Size, Spec};
use crate::smtp::command;
use crate::smtp::extensions::{Terms, Use, Wishes};
use crate::smtp::script::{Script, TlsMode};
use crate::smtp::{Closed, Content, Step};

/// How long a listener that has refused may take to close the connection, to be seen closing it.
const CLOSING: Duration = Duration::from_secs(2);
/// How long it may take before it is asked whether it lives.
const GLANCE: Duration = Duration::from_millis(50);

/// So many times as long as usual is waited where a listener may delay its replies on purpose.
pub(super) const PATIENT: u32 = 3;
/// The first wait before a session that was refused is asked for again.
const FIRST_RETRY: Duration = Duration::from_millis(20);
/// What is waited beyond the time that a slot was seen to take.
const SETTLE: Duration = Duration::from_millis(50);

/// What a search may spend, and how far it goes where nothing is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Sessions held at once.
    pub sessions: u64,
    /// Connections in all.
    pub connections: u64,
    /// Messages, recipients or errors of one session.
    pub messages: u64,
    /// Octets of one message.
    pub message_octets: u64,
    /// Octets sent in all.
    pub octets: u64,
    /// How long silence is waited for where no time is expected.
    pub wait: Duration,
    /// How long a place is waited for.
    pub release: Duration,
    /// How long the listener is given after each kind to serve again: common windows are a minute.
    pub recovery: Duration,
    /// All of it.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            sessions: 1000,
            connections: 20_000,
            messages: 1000,
            message_octets: 64 << 20,
            octets: 4 << 30,
            wait: Duration::from_secs(20),
            release: Duration::from_secs(30),
            recovery: Duration::from_secs(65),
            time: Duration::from_secs(20 * 60),
        }
    }
}

/// What the searches work with.
#[derive(Debug)]
pub struct Setting {
    /// What the messages are; their size is the search's.
    pub mail: Spec,
    /// All randomness.
    pub seed: u64,
    /// Identifies the search in its messages.
    pub run_id: String,
    /// The Date of all messages.
    pub date: String,
    /// The dialogue of the sessions.
    pub script: Script,
    /// Somebody logs in.
    pub logged_in: bool,
    /// A recipient that the listener does not accept; `None`: one of ours.
    pub bad_recipient: Option<String>,
    /// Names what replies mean.
    pub classifier: Classifier,
    /// How long a reply may take.
    pub patience: Duration,
    /// What may be spent.
    pub bounds: Bounds,
}

/// Why a search cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The listener does not let in whom the search needs.
    Refused(Box<ProbeRefusal>),
    /// A step that the search needs failed, and how.
    Failed(Step, Box<ProbeOutcome>),
    /// Our own side could not, and why.
    Own(String),
    /// What may be spent is spent.
    Spent(&'static str),
    /// It does not apply to this listener, and why.
    Foreign(String),
    /// The search was told to stop.
    Stopped,
}

/// What a search does, and gives.
pub type Found<T> = Result<T, Halt>;

/// The probes and the rules by which they move.
pub struct Field<'a> {
    pub(super) probes: BoundedProbes<'a>,
    pub(super) setting: &'a Setting,
    letters: u64,
    pub(super) waits: Waits,
    /// The longest time after which a slot was seen to be free again, as far as it is known.
    pub(super) release: Duration,
}

impl<'a> Field<'a> {
    /// A field for these probes.
    pub fn new(probes: &'a mut dyn Probes, setting: &'a Setting) -> Field<'a> {
        let probes = BoundedProbes::new(probes, setting.bounds.time, setting.bounds.release);
        Field { probes, setting, letters: 0, waits: Waits::default(), release: Duration::ZERO }
    }

    /// What may be spent is not spent yet.
    pub(super) fn afford(&self) -> Found<()> {
        let (spent, bounds) = (self.probes.spent(), &self.setting.bounds);
        match () {
            () if self.probes.is_stopped() => Err(Halt::Stopped),
            () if spent.connections >= bounds.connections => Err(Halt::Spent("connections")),
            () if spent.bytes >= bounds.octets => Err(Halt::Spent("octets")),
            () if self.probes.now() >= bounds.time => Err(Halt::Spent("time")),
            () => Ok(()),
        }
    }

    /// Opens one session, as any client would.
    pub(super) fn enter(&mut self) -> Found<Probe> {
        self.enter_by(ProbeOptions::default())
    }

    /// Opens one session. A refusal is waited out for as long as a listener may take to serve again: what was opened before
    /// may still count, and only what lasts is in the way.
    pub(super) fn enter_by(&mut self, way: ProbeOptions) -> Found<Probe> {
        self.enter_within(way, self.setting.bounds.recovery)
    }

    /// The same; a refusal is waited out for `patience`.
    pub(super) fn enter_within(&mut self, way: ProbeOptions, patience: Duration) -> Found<Probe> {
        let begun = self.probes.now();
        let mut wait = FIRST_RETRY;
        loop {
            self.afford()?;
            let refusal = match self.probes.open(&[way]).pop() {
                Some(OpenOutcome::Open(session)) => return Ok(session),
                Some(OpenOutcome::Refused(refusal)) => refusal,
                Some(OpenOutcome::OwnFailure(_)) if self.probes.left().is_zero() => {
                    return Err(Halt::Spent("time"));
                }
                Some(OpenOutcome::OwnFailure(why)) => return Err(Halt::Own(why)),
                None => return Err(Halt::Own("no session was opened".to_owned())),
            };
            self.probes.close(&[refusal.session], CloseMode::Close);
            let waited = self.probes.now().saturating_sub(begun);
            if waited >= patience {
                return Err(Halt::Refused(Box::new(refusal)));
            }
            // Few attempts: a listener may count them, and go on refusing because of them.
            self.probes.pause(wait.min(patience - waited));
            wait *= 4;
        }
    }

    /// Waits until what was left no longer counts: as long as a slot was seen to take, and some more.
    pub(super) fn settle(&mut self) {
        let length = self.settling();
        self.probes.pause(length);
    }

    /// How long that is from now on.
    pub(super) fn settling(&self) -> Duration {
        let until = self.probes.left_at() + self.release.mul_f64(1.5) + SETTLE;
        if self.release.is_zero() { Duration::ZERO } else { until.saturating_sub(self.probes.now()) }
    }

    /// Says a line and hears what it meets.
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

    /// MAIL, RCPT and DATA for a letter to one recipient, in one piece.
    pub(super) fn group(&self, session: Probe, letter: &Letter) -> Vec<u8> {
        let terms = self.terms(session, letter);
        let recipient = letter.recipients.first().map_or("", |to| to);
        [&letter.mail(&terms)[..], &letter.rcpt(&terms, recipient), command::DATA].concat()
    }

    /// What a session does of what a letter wants; nothing before the hello.
    pub(super) fn terms(&self, session: Probe, letter: &Letter) -> Terms {
        // What is required and not offered fails the opening of the session.
        letter.wishes.agree(&self.probes.offer(session)).unwrap_or_default()
    }

    /// Whether sessions are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.setting.script.tls != TlsMode::None
    }

    /// Whether a session still answers. Some listeners do not know NOOP: any reply is one but 421, which ends the session.
    pub(super) fn is_alive(&mut self, session: Probe) -> bool {
        let met = self.ask(session, "NOOP");
        met.code() > 0 && met.code() != 421
    }

    /// What the sessions that have ended met; all are asked before any is heard. One that gives no reply may be slow.
    pub(super) fn dead(&mut self, sessions: &[Probe]) -> Vec<(Probe, ProbeOutcome)> {
        for session in sessions {
            self.probes.send(*session, b"NOOP\r\n");
        }
        let mut dead = Vec::new();
        for session in sessions {
            let met = self.probes.receive(*session, self.setting.patience);
            if met.code() == 421 || met.code() == 0 && !matches!(met.event, ProbeEvent::Silence) {
                dead.push((*session, met));
            }
        }
        dead
    }

    pub(super) fn leave(&mut self, session: Probe) {
        self.probes.close(&[session], CloseMode::Quit);
    }

    /// Messages of this size, with this many recipients each; `None`: of the least size.
    pub(super) fn mailer(&self, size: Option<u64>, recipients: u32) -> Arc<Mailer> {
        let mail = Spec { size: Size::Fixed(size.unwrap_or(0)), recipients, ..self.setting.mail.clone() };
        Arc::new(Mailer::new(&mail, self.setting.seed, &self.setting.run_id, &self.setting.date))
    }

    /// The next message of a mailer.
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

    /// MAIL and RCPT, one at a time.
    pub(super) fn envelope(&mut self, session: Probe, letter: &Letter) -> Result<(), (Step, ProbeOutcome)> {
        let met = self.mail(session, letter);
        expect(Step::Mail, met, 2)?;
        for recipient in &letter.recipients {
            let met = self.rcpt(session, letter, recipient);
            expect(Step::Rcpt, met, 2)?;
        }
        Ok(())
    }

    /// DATA and these octets, which end as they are to end.
    pub(super) fn data(
        &mut self,
        session: Probe,
        octets: &[u8],
    ) -> Result<ProbeOutcome, (Step, ProbeOutcome)> {
        expect(Step::Data, self.ask(session, "DATA"), 3)?;
        Ok(self.probes.exchange(session, octets, self.setting.patience))
    }

    /// DATA and a least message for an envelope that stands.
    pub(super) fn finish_message(&mut self, session: Probe) -> Result<(), (Step, ProbeOutcome)> {
        let mailer = self.mailer(None, 1);
        let letter = self.letter(&mailer);
        self.transfer(session, &letter).map(drop)
    }

    /// A whole transaction; the reply to its end.
    pub(super) fn send(
        &mut self,
        session: Probe,
        letter: &Letter,
    ) -> Result<ProbeOutcome, (Step, ProbeOutcome)> {
        self.envelope(session, letter)?;
        self.transfer(session, letter)
    }

    /// The content of a letter whose envelope stands, with DATA or in chunks; the reply to its end.
    fn transfer(&mut self, session: Probe, letter: &Letter) -> Result<ProbeOutcome, (Step, ProbeOutcome)> {
        let Some(size) = self.terms(session, letter).chunk else {
            return expect(Step::Body, self.data(session, &letter.content)?, 2);
        };
        let mut rest = letter.raw();
        loop {
            let length = usize::try_from(size.get()).unwrap_or(usize::MAX).min(rest.len());
            let (chunk, behind) = rest.split_at(length);
            let mut bytes = Vec::new();
            command::bdat(&mut bytes, length as u64, behind.is_empty());
            bytes.extend_from_slice(chunk);
            let met = expect(Step::Body, self.probes.exchange(session, &bytes, self.setting.patience), 2)?;
            if behind.is_empty() {
                return Ok(met);
            }
            rest = behind;
        }
    }

    /// One message in a session of its own.
    ///
    /// # Errors
    /// It is not accepted.
    pub(super) fn one_message(&mut self) -> Found<()> {
        let session = self.enter()?;
        let mailer = self.mailer(None, 1);
        let letter = self.letter(&mailer);
        let sent = self.send(session, &letter).map_err(|(step, met)| Halt::Failed(step, Box::new(met)));
        self.leave(session);
        sent.map(drop)
    }

    /// What a reply, or what came in its place, means at a step.
    pub(super) fn condition(&self, step: Step, by: &ProbeEvent) -> Option<Condition> {
        Some(by.condition(&self.setting.classifier, step))
    }

    /// Enters into a finding how its limit showed, and whether the connection was closed with it.
    pub(super) fn shown(&mut self, finding: &mut Finding, step: Step, by: &ProbeEvent, session: Probe) {
        let closed = matches!(by, ProbeEvent::Reply(_)).then(|| self.closes(session));
        self.shown_with(finding, step, by, closed);
    }

    /// The same, where it is known whether the connection was closed with the reply.
    pub(super) fn shown_with(
        &self,
        finding: &mut Finding,
        step: Step,
        by: &ProbeEvent,
        closed: Option<bool>,
    ) {
        finding.step = Some(step.as_str().to_owned());
        finding.condition = self.condition(step, by).map(|condition| condition.as_str().to_owned());
        finding.shown_by = Some(match by {
            ProbeEvent::Reply(_) | ProbeEvent::Failed(..) => ShownBy::Reply,
            ProbeEvent::Closed(Closed::Eof) => ShownBy::Close,
            ProbeEvent::Closed(_) => ShownBy::Reset,
            ProbeEvent::Silence => ShownBy::NoGreeting,
            ProbeEvent::NotConnected(_) => ShownBy::NoConnect,
        });
        match by {
            ProbeEvent::Reply(reply) => {
                finding.reply = Some(reply.to_string());
                finding.code = Some(reply.code);
                finding.enhanced = reply.enhanced.map(|code| code.to_string());
                finding.closed = closed;
            }
            ProbeEvent::Failed(_, what) => finding.reply = Some(what.clone()),
            ProbeEvent::Closed(_) => finding.closed = Some(true),
            ProbeEvent::Silence | ProbeEvent::NotConnected(_) => {}
        }
    }

    /// Whether the listener closes the connection now, of itself; one that answers a NOOP does not. A reply that explains
    /// the close is let pass.
    pub(super) fn closes(&mut self, session: Probe) -> bool {
        let mut met = self.probes.receive(session, GLANCE);
        if matches!(met.event, ProbeEvent::Silence) {
            self.probes.send(session, b"NOOP\r\n");
            met = self.probes.receive(session, CLOSING);
        }
        for _ in 0..3 {
            match &met.event {
                ProbeEvent::Closed(_) => return true,
                ProbeEvent::Reply(reply) if reply.code == 421 => met = self.probes.receive(session, CLOSING),
                _ => return false,
            }
        }
        false
    }
}

/// Envelope and content of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Letter {
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) envelope_id: String,
    /// With its dots stuffed, and its end.
    pub(super) content: Vec<u8>,
    /// What is wanted of the listener's extensions.
    pub(super) wishes: Wishes,
}

impl Letter {
    /// MAIL for it.
    pub(super) fn mail(&self, terms: &Terms) -> Vec<u8> {
        self.mail_of_size(terms, self.raw().len() as u64)
    }

    /// The same; `size` is declared, if a size is.
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

    /// RCPT for one of its recipients.
    pub(super) fn rcpt(&self, terms: &Terms, recipient: &str) -> Vec<u8> {
        let mut out = Vec::new();
        command::rcpt(&mut out, terms, |out| out.extend_from_slice(recipient.as_bytes()));
        out
    }

    /// Its content without the final dot.
    fn raw(&self) -> &[u8] {
        self.content.strip_suffix(command::EMPTY_CONTENT).unwrap_or(&self.content)
    }

    /// The letter goes with DATA, for a limit that is about DATA.
    pub(super) fn with_data(mut self) -> Letter {
        self.wishes.chunking.wanted = Use::Off;
        self.wishes.binary = Use::Off;
        self
    }

    /// Its size is not declared, for a limit that is about the content: a refusal of MAIL would hide it.
    pub(super) fn without_size(mut self) -> Letter {
        self.wishes.size = Use::Off;
        self
    }

    /// RCPT has no parameters, for a limit that is about the path.
    pub(super) fn without_rcpt_parameters(mut self) -> Letter {
        (self.wishes.dsn.notify, self.wishes.dsn.orcpt) = (None, false);
        self
    }

    /// The content with these octets in front of its header.
    pub(super) fn with_header(&self, fields: &[u8]) -> Letter {
        Letter { content: [fields, &self.content[..]].concat(), ..self.clone() }
    }

    /// Header and empty line, without the rest.
    pub(super) fn head(&self) -> &[u8] {
        let end = self.content.windows(4).position(|four| four == b"\r\n\r\n");
        &self.content[..end.map_or(self.content.len(), |at| at + 4)]
    }
}

/// The content of a message without a line that begins with a dot: some listeners count the dots that are stuffed.
fn content(message: &impl Content) -> Vec<u8> {
    let (mut out, mut offset) = (Vec::new(), 0);
    while offset < message.size() {
        // Messages of words have no file to lose.
        let Ok(next) = message.body(offset, &mut out) else { break };
        offset = next;
    }
    let (mut kept, mut line) = (0, 0);
    for at in 0..out.len() {
        // The dot that was stuffed goes, and the one behind it becomes a letter.
        let is_stuffed = line == 0 && out[at..].starts_with(b"..");
        line = if out[at] == b'\n' { 0 } else { line + 1 };
        if is_stuffed {
            out[at + 1] = b'x';
            line = 0;
        } else {
            out[kept] = out[at];
            kept += 1;
        }
    }
    out.truncate(kept);
    out
}

/// What was met, if it is a reply of this class.
fn expect(step: Step, met: ProbeOutcome, class: u16) -> Result<ProbeOutcome, (Step, ProbeOutcome)> {
    if met.code() / 100 == class { Ok(met) } else { Err((step, met)) }
}

/// What came is no reply, or nothing came although the connection lives: no refusal, and nothing to learn from.
pub(super) fn unreadable(met: &ProbeOutcome) -> Found<()> {
    match &met.event {
        ProbeEvent::Failed(_, what) => {
            Err(Halt::Foreign(format!("what came is no reply that can be read: {what}")))
        }
        ProbeEvent::Silence => {
            Err(Halt::Foreign("no reply came, and the connection was not closed".to_owned()))
        }
        ProbeEvent::Reply(_) | ProbeEvent::Closed(_) | ProbeEvent::NotConnected(_) => Ok(()),
    }
}
