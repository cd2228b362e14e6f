//! The search for limits: where each bites, with which reply, what becomes of those inside, and when it lets go again.
//!
//! A [`LimitKind`] is one limit; its table holds all of them in an order in which none spoils the next. A [`Selection`]
//! makes a [`LimitRequest`] of what the user asks for.
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
pub mod kind;
mod looks;
mod pace;
mod recipients;
mod request;
mod rules;
mod session;
mod size;
mod times;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub use field::{Bounds, Field, Halt, Setting};
pub use finding::{Finding, ShownBy, Verdict};
pub use kind::{LimitKind, LimitMeasure};
pub use request::{LimitRequest, Selection, SelectionError};

use crate::condition::Condition;
use crate::condition::Group;
use crate::generator::probe::{ProbeEvent, ProbeOptions, ProbeRefusal, Probes};
use crate::smtp::Step;
use field::Found;

/// Hears how a search goes.
pub trait Watch {
    /// This kind is looked for next: the `index`-th of `count`.
    fn begins(&mut self, kind: LimitKind, index: usize, count: usize) {
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
    Lost(LimitKind, ProbeRefusal),
    /// Our own side could not go on.
    Own(String),
    /// What may be spent is spent.
    Spent(&'static str),
    /// A fault in smtpress itself, while it looked for this limit.
    Fault(LimitKind, String),
    /// It was told to stop.
    Stopped,
}

/// How long a listener that does not serve the very first session is waited for.
const FIRST_SESSION: Duration = Duration::from_secs(3);

/// Looks for all that is requested.
pub fn search(
    probes: &mut dyn Probes,
    setting: &Setting,
    request: &LimitRequest,
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
    for (index, kind) in request.kinds.iter().copied().enumerate() {
        if watch.is_stopped() {
            outcome.ended = Some(Ended::Stopped);
            break;
        }
        watch.begins(kind, index, request.kinds.len());
        let expected = request.expected.get(&kind).copied();
        let (finding, halted) = one(&mut field, kind, Finding::new(kind, expected));
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

/// Measures one limit.
fn measure(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    match kind {
        LimitKind::Rule(rule) => rules::find(field, rule, finding),
        LimitKind::MessagesPerSession => session::messages(field, kind, finding),
        LimitKind::SessionBytes => session::octets(field, kind, finding),
        LimitKind::Recipients => recipients::find(field, kind, finding),
        LimitKind::Size(part) => size::find(field, kind, part, finding),
        LimitKind::Hops => content::hops(field, kind, finding),
        LimitKind::BareLineEnd(end) => content::bare(field, kind, end, finding),
        LimitKind::Smuggling(end) => content::smuggled(field, end, finding),
        LimitKind::Concurrency(scope) => held::find(field, kind, scope, finding),
        LimitKind::Mistakes(mistake) => errors::find(field, kind, mistake, finding),
        LimitKind::MessageRate => pace::messages(field, kind, finding),
        LimitKind::ConnectionRate => pace::connections(field, kind, finding),
        LimitKind::IdleTimeout(_) | LimitKind::SessionTime => times::find(field, kind, finding),
    }
}

/// Looks for one limit; whatever comes of it, no session of it is left open. Why everything ends with it, if it does.
fn one(field: &mut Field<'_>, kind: LimitKind, mut finding: Finding) -> (Finding, Option<Ended>) {
    field.probes.was_cut_short();
    let stalled = field.probes.stalled();
    // A fault of ours in one search must not take with it what the others found.
    let found = catch_unwind(AssertUnwindSafe(|| measure(field, kind, &mut finding)));
    let cut_short = field.probes.was_cut_short();
    let halted = match found {
        Ok(Ok(())) if !cut_short => None,
        // What was heard while the time ran out says nothing.
        Ok(_) if cut_short => {
            finding = Finding::new(kind, finding.expected);
            halted(field, &mut finding, Halt::Spent("time"))
        }
        Ok(found) => found.err().and_then(|halt| halted(field, &mut finding, halt)),
        Err(panic) => {
            let why = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            finding = Finding::new(kind, finding.expected);
            finding.remark(format!("a fault in smtpress, please report it: {why}"));
            Some(Ended::Fault(kind, why))
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
    let waited = if kind.measure() == LimitMeasure::Time { field.waits.stalled } else { Duration::ZERO };
    hindered(kind, &mut finding, field.probes.stalled().saturating_sub(stalled).max(waited));
    field.settle();
    (finding, halted)
}

/// What this machine spoilt by standing still (M5b): what was timed is not known, and nothing is held against the listener.
fn hindered(kind: LimitKind, finding: &mut Finding, stalled: Duration) {
    if stalled.is_zero() {
        return;
    }
    finding.remark(format!("this machine stood still for {:.1} s meanwhile", stalled.as_secs_f64()));
    let is_timed = matches!(kind.measure(), LimitMeasure::Time | LimitMeasure::Rate);
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
fn recovered(field: &mut Field<'_>, kind: LimitKind) -> Result<(), Ended> {
    match field.enter() {
        Ok(session) => {
            field.leave(session);
            Ok(())
        }
        Err(Halt::Refused(refusal)) => Err(Ended::Lost(kind, *refusal)),
        Err(halt) => Err(ended(halt)),
    }
}

/// Whether what showed is another limit than the one that was looked for: then nothing is known but that it lies higher.
fn is_foreign(kind: LimitKind, finding: &Finding) -> Option<Condition> {
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
