//! The search for limits: where each bites, with which reply, what becomes of those inside, and when it lets go again.
//!
//! A [`Kind`] is one limit and how it is looked for; [`KINDS`] holds all of them in an order in which none spoils the next.
//! [`search`] leads them over [`Probes`]; each gives one [`Finding`].
//!
//! # Decisions
//! - Probes, not a load: while the fifty-first session is refused, the fifty that are open must be asked whether they still
//!   work.
//! - What stands in the way of a search is told with the finding, and is never taken for its limit.
//! - After each kind one session has to get in again; a listener that does not recover ends the search.

mod bounded_probes;
mod content;
mod errors;
mod field;
pub mod finding;
mod held;
mod looks;
mod pace;
mod recipients;
mod rules;
mod session;
mod size;
mod times;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub use field::{Bounds, Field, Halt, Setting};
pub use finding::{Finding, ShownBy, Verdict};

use crate::condition::Condition;
use crate::condition::Group;
use crate::generator::probe::{ProbeEvent, ProbeOptions, ProbeRefusal, Probes};
use crate::smtp::Step;
use field::Found;

/// In what a limit is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A number.
    Count,
    /// Octets.
    Octets,
    /// A time.
    Time,
    /// So many by time.
    Rate,
    /// Nothing: a rule is kept or not.
    Rule,
}

/// One limit, and how it is looked for.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name: a condition, and behind a dot of which kind it is.
    pub name: &'static str,
    /// In what it is counted.
    pub measure: Measure,
    /// What is counted, in a word.
    pub unit: &'static str,
    /// How it is looked for, in a few words.
    pub how: &'static str,
    /// The listener may hold it against this machine for long: only done on loopback, or when asked for by name.
    pub offends: bool,
    find: fn(&mut Field<'_>, &Kind, &mut Finding) -> Found<()>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn kind(
    name: &'static str,
    measure: Measure,
    unit: &'static str,
    how: &'static str,
    find: fn(&mut Field<'_>, &Kind, &mut Finding) -> Found<()>,
) -> Kind {
    Kind { name, measure, unit, how, offends: false, find }
}

const fn offends(kind: Kind) -> Kind {
    Kind { offends: true, ..kind }
}

use Measure::{Count, Octets, Rate, Rule, Time};

/// Every limit that is looked for, in the order in which they are: what needs one session first, what fills the listener
/// next, what it may hold against us last, and the long waits at the end.
pub const KINDS: &[Kind] = &[
    kind("rule.data-before-rcpt", Rule, "reply", "DATA before any RCPT", rules::find),
    kind("rule.rcpt-before-mail", Rule, "reply", "RCPT before MAIL", rules::find),
    kind("rule.mail-before-hello", Rule, "reply", "MAIL before HELO or EHLO", rules::find),
    kind("rule.mail-twice", Rule, "reply", "MAIL within a transaction", rules::find),
    kind("rule.hello-without-name", Rule, "reply", "EHLO without a name", rules::find),
    kind("rule.hello-too-long", Rule, "reply", "EHLO with a name of 300 octets", rules::find),
    kind("rule.auth-twice", Rule, "reply", "AUTH after a login", rules::find),
    kind("rule.starttls-twice", Rule, "reply", "STARTTLS within TLS", rules::find),
    kind("rule.unknown-command", Rule, "reply", "a command that does not exist", rules::find),
    kind("rule.pipelining", Rule, "reply", "MAIL, RCPT, DATA in one write", rules::find),
    kind(
        "too-many-messages-per-session",
        Count,
        "messages",
        "one session, message after message",
        session::messages,
    ),
    kind("session-bytes-exceeded", Octets, "bytes", "one session, message after message", session::octets),
    kind("too-many-recipients", Count, "recipients", "RCPT after RCPT", recipients::find),
    kind("message-size-exceeded", Octets, "bytes", "MAIL with SIZE=, to the octet", size::declared),
    kind("message-size-exceeded.content", Octets, "bytes", "real content, to the octet", size::content),
    kind("header-size-exceeded", Octets, "bytes", "a header made longer, to the octet", size::header),
    kind("line-too-long", Octets, "bytes", "a line of text made longer, to the octet", size::text_line),
    kind("line-too-long.command", Octets, "bytes", "a NOOP made longer, to the octet", size::command_line),
    kind("line-too-long.path", Octets, "bytes", "a recipient made longer, to the octet", size::path),
    kind("too-many-hops", Count, "hops", "one Received: field more and more", content::hops),
    kind("bare-cr-lf", Count, "lines", "a line that ends in LF alone", content::bare),
    kind("bare-cr-lf.cr", Count, "lines", "a CR alone within a line", content::bare),
    kind("bare-cr-lf.lf-dot-lf", Rule, "messages", "smuggling: LF . LF", content::smuggled),
    kind("bare-cr-lf.lf-dot-crlf", Rule, "messages", "smuggling: LF . CRLF", content::smuggled),
    kind("bare-cr-lf.cr-dot-cr", Rule, "messages", "smuggling: CR . CR", content::smuggled),
    kind("bare-cr-lf.cr-dot-crlf", Rule, "messages", "smuggling: CR . CRLF", content::smuggled),
    kind("bare-cr-lf.crlf-dot-cr", Rule, "messages", "smuggling: CRLF . CR", content::smuggled),
    kind("bare-cr-lf.crlf-dot-lf", Rule, "messages", "smuggling: CRLF . LF", content::smuggled),
    kind("bare-cr-lf.crlf-nul-dot-crlf", Rule, "messages", "smuggling: CRLF NUL . CRLF", content::smuggled),
    kind("too-many-connections-from-host", Count, "sessions", "sessions held from one address", held::find),
    kind(
        "too-many-connections-to-listener",
        Count,
        "sessions",
        "sessions held, each from its own address",
        held::find,
    ),
    kind(
        "too-many-connections-to-host",
        Count,
        "sessions",
        "sessions held, each from its own address",
        held::find,
    ),
    kind("too-many-tls-sessions", Count, "sessions", "encrypted sessions held", held::find),
    kind("bad-command-limit-exceeded", Count, "errors", "commands that do not exist", errors::find),
    kind("bad-command-limit-exceeded.syntax", Count, "errors", "commands with a wrong syntax", errors::find),
    kind("bad-command-limit-exceeded.junk", Count, "commands", "NOOP after NOOP", errors::find),
    offends(kind(
        "too-many-invalid-recipients",
        Count,
        "errors",
        "recipients that do not exist",
        errors::find,
    )),
    offends(kind("too-many-auth-failures", Count, "errors", "logins with a wrong password", errors::find)),
    offends(kind("rate-limited", Rate, "messages a minute", "messages as fast as they go", pace::messages)),
    offends(kind(
        "connection-rate-limited",
        Rate,
        "connections a minute",
        "one session after the other",
        pace::connections,
    )),
    kind("idle-timeout", Time, "ms", "silence after the hello", times::find),
    kind("idle-timeout.greeting", Time, "ms", "silence before the hello", times::find),
    kind("idle-timeout.mail", Time, "ms", "silence after MAIL", times::find),
    kind("idle-timeout.rcpt", Time, "ms", "silence after RCPT", times::find),
    kind("idle-timeout.data", Time, "ms", "silence after DATA", times::find),
    kind("idle-timeout.body", Time, "ms", "silence within the content", times::find),
    kind("connection-time-exceeded", Time, "ms", "a NOOP now and then", times::find),
];

impl Kind {
    /// The kind of this name.
    pub fn of(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The condition that shows it; none for rules.
    pub fn condition(&self) -> Option<Condition> {
        let (family, _) = self.name.split_once('.').unwrap_or((self.name, ""));
        family.parse().ok()
    }
}

/// What is looked for, and what is expected of it, in the unit of its kind.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The kinds, in the order of [`KINDS`].
    pub kinds: Vec<&'static Kind>,
    /// What the administrator configured, by name.
    pub expected: BTreeMap<String, u64>,
}

/// Hears how a search goes.
pub trait Watch {
    /// This kind is looked for next: the `index`-th of `count`.
    fn begins(&mut self, kind: &Kind, index: usize, count: usize) {
        let _ = (kind, index, count);
    }
    /// This was found.
    fn found(&mut self, finding: &Finding) {
        let _ = finding;
    }
    /// Whether the search is to be ended.
    fn is_stopped(&self) -> bool {
        false
    }
}

impl Watch for () {}

/// What came of a search.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One for each kind, as far as it came.
    pub findings: Vec<Finding>,
    /// Why it ended before its end.
    pub ended: Option<Ended>,
}

/// Why a search ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The listener does not serve a first session.
    Unserved(ProbeRefusal),
    /// It does not serve any more, after this kind.
    Lost(&'static str, ProbeRefusal),
    /// Our own side could not go on.
    Own(String),
    /// What may be spent is spent.
    Spent(&'static str),
    /// A fault in smtpress itself, while it looked for this limit.
    Fault(&'static str, String),
    /// It was told to stop.
    Stopped,
}

/// How long a listener that does not serve the very first session is waited for.
const FIRST_SESSION: Duration = Duration::from_secs(3);

/// Looks for all that is requested.
pub fn search(
    probes: &mut dyn Probes,
    setting: &Setting,
    request: &Request,
    watch: &mut dyn Watch,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut field = Field::new(probes, setting);
    field.timed(request);
    match field.enter_within(ProbeOptions::default(), FIRST_SESSION.min(setting.bounds.recovery)) {
        Ok(session) => field.leave(session),
        Err(Halt::Refused(refusal)) => {
            outcome.ended = Some(Ended::Unserved(*refusal));
            return outcome;
        }
        Err(halt) => {
            outcome.ended = Some(ended(halt));
            return outcome;
        }
    }
    for (index, kind) in request.kinds.iter().enumerate() {
        if watch.is_stopped() {
            outcome.ended = Some(Ended::Stopped);
            break;
        }
        watch.begins(kind, index, request.kinds.len());
        let expected = request.expected.get(kind.name).copied();
        let (finding, halted) = one(&mut field, kind, Finding::new(kind.name, kind.unit, expected));
        watch.found(&finding);
        outcome.findings.push(finding);
        outcome.ended = halted.or_else(|| recovered(&mut field, kind).err());
        if outcome.ended.is_some() {
            break;
        }
    }
    field.probes.close_all();
    outcome
}

/// Looks for one limit; whatever comes of it, no session of it is left open. Why everything ends with it, if it does.
fn one(field: &mut Field<'_>, kind: &Kind, mut finding: Finding) -> (Finding, Option<Ended>) {
    field.probes.was_cut_short();
    let stalled = field.probes.stalled();
    // A fault of ours in one search must not take with it what the others found.
    let found = catch_unwind(AssertUnwindSafe(|| (kind.find)(field, kind, &mut finding)));
    let cut_short = field.probes.was_cut_short();
    let halted = match found {
        Ok(Ok(())) if !cut_short => None,
        // What was heard while the time ran out says nothing.
        Ok(_) if cut_short => {
            finding = Finding::new(kind.name, kind.unit, finding.expected);
            halted(field, &mut finding, Halt::Spent("time"))
        }
        Ok(found) => found.err().and_then(|halt| halted(field, &mut finding, halt)),
        Err(panic) => {
            let why = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            finding = Finding::new(kind.name, kind.unit, finding.expected);
            finding.remark(format!("a fault in smtpress, please report it: {why}"));
            Some(Ended::Fault(kind.name, why))
        }
    };
    field.probes.close_all();
    let unseen = field.probes.unseen();
    if unseen > 0 {
        finding.remark(format!(
            "the listener did not close {unseen} of the sessions that were left within {} s",
            field.setting.bounds.release.as_secs()
        ));
    }
    // All times are waited for with the first of them.
    let waited = if kind.measure == Time { field.waits.stalled } else { Duration::ZERO };
    hindered(kind, &mut finding, field.probes.stalled().saturating_sub(stalled).max(waited));
    field.settle();
    (finding, halted)
}

/// What this machine spoilt by standing still (M5b): what was timed is not known, and nothing is held against the listener.
fn hindered(kind: &Kind, finding: &mut Finding, stalled: Duration) {
    if stalled.is_zero() {
        return;
    }
    finding.remark(format!("this machine stood still for {:.1} s meanwhile", stalled.as_secs_f64()));
    let is_timed = matches!(kind.measure, Time | Rate);
    let accuses = matches!(finding.verdict, Verdict::Differs | Verdict::NotEnforced | Verdict::Unsafe);
    if accuses || is_timed && matches!(finding.verdict, Verdict::AsExpected | Verdict::Found) {
        finding.verdict = Verdict::Obstructed;
    }
}

/// What a halt leaves of a finding; and why everything ends with it, if it does.
fn halted(field: &Field<'_>, finding: &mut Finding, halt: Halt) -> Option<Ended> {
    finding.verdict = Verdict::Obstructed;
    match halt {
        Halt::Foreign(why) => finding.remark(why),
        Halt::Refused(refusal) => {
            let condition = field.condition(refusal.step, &refusal.event);
            finding.remark(format!("no session for it: {}", told(refusal.step, &refusal.event, condition)));
        }
        Halt::Failed(step, met) => {
            let condition = field.condition(step, &met.event);
            finding.remark(format!("in the way: {}", told(step, &met.event, condition)));
        }
        Halt::Spent(what) => {
            finding.remark(format!("what may be spent in {what} is spent"));
            return Some(Ended::Spent(what));
        }
        Halt::Stopped => {
            finding.remark("the search was stopped before this was known");
            return Some(Ended::Stopped);
        }
        Halt::Own(why) => {
            finding.remark(format!("our own side could not: {why}"));
            return Some(Ended::Own(why));
        }
    }
    None
}

fn ended(halt: Halt) -> Ended {
    match halt {
        Halt::Own(why) | Halt::Foreign(why) => Ended::Own(why),
        Halt::Spent(what) => Ended::Spent(what),
        Halt::Stopped => Ended::Stopped,
        Halt::Refused(refusal) => Ended::Unserved(*refusal),
        Halt::Failed(step, met) => Ended::Own(told(step, &met.event, None)),
    }
}

/// What was met at a step, in words.
pub fn told(step: Step, by: &ProbeEvent, condition: Option<Condition>) -> String {
    let what = match by {
        ProbeEvent::Reply(reply) => reply.to_string().replace('\n', " / "),
        ProbeEvent::Closed(crate::smtp::Closed::Eof) => "closed without a word".to_owned(),
        ProbeEvent::Closed(_) => "reset".to_owned(),
        ProbeEvent::Silence => "no reply".to_owned(),
        ProbeEvent::NotConnected(_) => "no connection".to_owned(),
        ProbeEvent::Failed(_, what) => what.clone(),
    };
    match condition {
        Some(condition) => format!("{what} (at {step}: {condition})"),
        None => format!("{what} (at {step})"),
    }
}

/// Waits until the listener serves again, as long as that may take.
fn recovered(field: &mut Field<'_>, kind: &Kind) -> Result<(), Ended> {
    match field.enter() {
        Ok(session) => {
            field.leave(session);
            Ok(())
        }
        Err(Halt::Refused(refusal)) => Err(Ended::Lost(kind.name, *refusal)),
        Err(halt) => Err(ended(halt)),
    }
}

/// Whether what showed is another limit than the one that was looked for: then nothing is known but that it lies higher.
fn is_foreign(kind: &Kind, finding: &Finding) -> Option<Condition> {
    let shown: Condition = finding.condition.as_deref()?.parse().ok()?;
    let wanted = kind.condition()?;
    let general = matches!(
        shown,
        Condition::DeferredUnspecified
            | Condition::RejectedUnspecified
            | Condition::ConnectionDropped
            | Condition::TooManyConnections
    );
    let other = match shown.group() {
        // There was never more than one session: whatever the reply says, it counts by time.
        Group::ConnectionLimit if wanted == Condition::ConnectionRateLimited => false,
        Group::Transport | Group::Protocol | Group::Generator => false,
        Group::Recipient | Group::Auth | Group::Tls => wanted.group() != shown.group(),
        _ => shown != wanted && !general,
    };
    other.then_some(shown)
}
