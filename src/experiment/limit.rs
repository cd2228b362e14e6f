//! The search for limits: at which value each limit is enforced, with which reply, whether the open sessions stay usable,
//! and when a slot is released.
//!
//! A [`LimitKind`] is one limit. The table in `kind` has all limits, in an order in which no measurement disturbs the
//! next. A [`Selection`] of the user becomes a [`LimitRequest`]. [`search`] measures each requested limit over [`Probes`],
//! and returns one [`LimitResult`] for each.
//!
//! # Decisions
//! - Limits are measured with probes and not with a load, because the search must act between single replies: while the
//!   fifty-first session is refused, it checks whether the fifty open sessions still work.
//! - If another cause prevents a measurement, the result names the cause in a remark. It never counts as the limit.
//! - After the measurement of each limit one session must be served. The search ends if the listener does not recover.

mod bounded_probes;
mod concurrency;
mod content;
pub mod kind;
mod mistakes;
mod prober;
mod rate;
mod recipients;
mod repeats;
mod request;
pub mod result;
mod rules;
mod session;
mod size;
mod timeouts;
mod value_search;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub use kind::{LimitKind, LimitMeasure};
pub use prober::{LimitSetting, SearchBudget};
pub use request::{LimitRequest, Selection, SelectionError};
pub use result::{LimitResult, LimitVerdict, ShownBy};

use crate::condition::Condition;
use crate::generator::probe::{ProbeEvent, ProbeOptions, ProbeRefusal, Probes};
use crate::smtp::Step;
use prober::{Halt, Probed, Prober};
use timeouts::TimeWaits;

/// Observes a search.
pub trait LimitObserver {
    /// Notes that the measurement of a limit starts. `index`: its index, from 0, among `count` limits.
    fn starts(&mut self, kind: LimitKind, index: usize, count: usize) {
        let _ = (kind, index, count);
    }
    /// Notes that a limit was measured.
    fn measured(&mut self, result: &LimitResult) {
        let _ = result;
    }
    /// Whether the search has to stop.
    fn is_stopped(&self) -> bool {
        false
    }
}

impl LimitObserver for () {}

/// The results of a search.
#[derive(Clone, Debug, Default)]
pub struct SearchOutcome {
    /// The results, one for each limit up to the end of the search.
    pub results: Vec<LimitResult>,
    /// Why the search ended before the last limit; `None`: it did not.
    pub ended: Option<EndReason>,
}

/// Why a search ended before the last limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The listener did not serve the first session.
    Unserved(ProbeRefusal),
    /// The listener served no session any more after the measurement of this limit.
    Lost(LimitKind, ProbeRefusal),
    /// This machine could not continue.
    Own(String),
    /// The budget of this quantity is used up.
    Spent(&'static str),
    /// There was a fault in smtpress during the measurement of this limit.
    Fault(LimitKind, String),
    /// The user stopped the search.
    Stopped,
}

/// How long a listener may take to serve the first session of a search.
const FIRST_SESSION: Duration = Duration::from_secs(3);

/// Measures all limits of a request.
pub fn search(
    probes: &mut dyn Probes,
    setting: &LimitSetting,
    request: &LimitRequest,
    observer: &mut dyn LimitObserver,
) -> SearchOutcome {
    let mut outcome = SearchOutcome::default();
    let mut prober = Prober::new(probes, setting);
    let mut waits = TimeWaits::new(request, setting.bounds.wait);
    let first = prober.enter_within(ProbeOptions::default(), FIRST_SESSION.min(setting.bounds.recovery));
    match first {
        Ok(session) => prober.leave(session),
        Err(halt) => {
            outcome.ended = Some(end_reason(halt));
            return outcome;
        }
    }
    for (index, kind) in request.kinds.iter().copied().enumerate() {
        if observer.is_stopped() {
            outcome.ended = Some(EndReason::Stopped);
            break;
        }
        observer.starts(kind, index, request.kinds.len());
        let expected = request.expected.get(&kind).copied();
        let (result, ended) = one(&mut prober, &mut waits, kind, expected);
        observer.measured(&result);
        outcome.results.push(result);
        outcome.ended = ended.or_else(|| recovered(&mut prober, kind).err());
        if outcome.ended.is_some() {
            break;
        }
    }
    prober.probes.close_all();
    outcome
}

/// Measures one limit.
fn measure(
    prober: &mut Prober<'_>,
    waits: &mut TimeWaits,
    kind: LimitKind,
    result: &mut LimitResult,
) -> Probed<()> {
    match kind {
        LimitKind::Rule(rule) => rules::find(prober, rule, result),
        LimitKind::MessagesPerSession => session::messages(prober, kind, result),
        LimitKind::SessionBytes => session::bytes(prober, kind, result),
        LimitKind::Recipients => recipients::find(prober, kind, result),
        LimitKind::Size(part) => size::find(prober, kind, part, result),
        LimitKind::Hops => content::hops(prober, kind, result),
        LimitKind::BareLineEnd(end) => content::bare(prober, kind, end, result),
        LimitKind::Smuggling(end) => content::smuggled(prober, end, result),
        LimitKind::Concurrency(scope) => concurrency::find(prober, kind, scope, result),
        LimitKind::Mistakes(mistake) => mistakes::find(prober, kind, mistake, result),
        LimitKind::MessageRate => rate::messages(prober, kind, result),
        LimitKind::ConnectionRate => rate::connections(prober, kind, result),
        LimitKind::IdleTimeout(_) | LimitKind::SessionTime => timeouts::find(prober, waits, kind, result),
    }
}

/// Measures one limit and closes all its sessions. The second value is the reason if the whole search ends after it.
fn one(
    prober: &mut Prober<'_>,
    waits: &mut TimeWaits,
    kind: LimitKind,
    expected: Option<u64>,
) -> (LimitResult, Option<EndReason>) {
    let mut result = LimitResult::new(kind, expected);
    prober.probes.was_cut_short();
    let stalled = prober.probes.stalled();
    // A panic in one measurement must not lose the results of the others.
    let measured = catch_unwind(AssertUnwindSafe(|| measure(prober, waits, kind, &mut result)));
    let cut_short = prober.probes.was_cut_short();
    let ended = match measured {
        Ok(Ok(())) if !cut_short => None,
        // A wait that the end of the search or the user cut short shows nothing about the listener.
        Ok(_) if cut_short => {
            result = LimitResult::new(kind, expected);
            let halt = match prober.probes.own_failure() {
                Some(why) => Halt::Own(why),
                None if prober.probes.is_stopped() => Halt::Stopped,
                None => Halt::Spent("time"),
            };
            halted(prober, &mut result, halt)
        }
        Ok(halt) => halt.err().and_then(|halt| halted(prober, &mut result, halt)),
        Err(panic) => {
            let why = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            result = LimitResult::new(kind, expected);
            result.remark(format!("a fault in smtpress, please report it: {why}"));
            Some(EndReason::Fault(kind, why))
        }
    };
    prober.probes.close_all();
    let unseen = prober.probes.unseen();
    // A user who stops the search does not wait until the listener closes them.
    if unseen > 0 && !prober.probes.is_stopped() {
        result.remark(format!(
            "the listener did not close {unseen} session{} within {} s after the client ended {}",
            if unseen == 1 { "" } else { "s" },
            prober.setting.bounds.release.as_secs(),
            if unseen == 1 { "it" } else { "them" }
        ));
    }
    // All time limits are measured in one wait, during the call for the first of them. A stall in it counts for each.
    let waited = if kind.measure() == LimitMeasure::Time { waits.stalled } else { Duration::ZERO };
    hindered(kind, &mut result, prober.probes.stalled().saturating_sub(stalled).max(waited));
    prober.settle();
    (result, ended)
}

/// Withdraws a verdict that a stall of this machine may have caused (M5b): any verdict on a time or a rate, and any verdict
/// that the listener is at fault.
fn hindered(kind: LimitKind, result: &mut LimitResult, stalled: Duration) {
    if stalled.is_zero() {
        return;
    }
    result.remark(format!(
        "this machine stood still for {:.1} s during the measurement",
        stalled.as_secs_f64()
    ));
    let is_timed = matches!(kind.measure(), LimitMeasure::Time | LimitMeasure::Rate);
    let accuses =
        matches!(result.verdict, LimitVerdict::Differs | LimitVerdict::NotEnforced | LimitVerdict::Unsafe);
    if accuses || is_timed && matches!(result.verdict, LimitVerdict::AsExpected | LimitVerdict::Found) {
        result.verdict = LimitVerdict::Obstructed;
    }
}

/// Writes the reason of a halt to a result. Returns the reason if the whole search ends.
fn halted(prober: &Prober<'_>, result: &mut LimitResult, halt: Halt) -> Option<EndReason> {
    result.verdict = LimitVerdict::Obstructed;
    match halt {
        Halt::NotMeasurable(why) => result.remark(why),
        Halt::Refused(refusal) => {
            let condition = prober.condition(refusal.step, &refusal.event);
            result.remark(format!(
                "no session was served for it: {}",
                reply_text(refusal.step, &refusal.event, condition)
            ));
        }
        Halt::Failed(step, outcome) => {
            let condition = prober.condition(step, &outcome.event);
            result.remark(format!("prevented by: {}", reply_text(step, &outcome.event, condition)));
        }
        Halt::Spent(what) => {
            result.remark(format!("the budget of {what} is used up"));
            return Some(EndReason::Spent(what));
        }
        Halt::Stopped => {
            result.remark("the search was stopped before this was measured");
            return Some(EndReason::Stopped);
        }
        Halt::Own(why) => {
            result.remark(format!("this machine could not continue: {why}"));
            return Some(EndReason::Own(why));
        }
    }
    None
}

fn end_reason(halt: Halt) -> EndReason {
    match halt {
        Halt::Own(why) | Halt::NotMeasurable(why) => EndReason::Own(why),
        Halt::Spent(what) => EndReason::Spent(what),
        Halt::Stopped => EndReason::Stopped,
        Halt::Refused(refusal) => EndReason::Unserved(*refusal),
        Halt::Failed(step, outcome) => EndReason::Own(reply_text(step, &outcome.event, None)),
    }
}

/// Formats a reply at a step, or the event that came instead of it.
pub fn reply_text(step: Step, by: &ProbeEvent, condition: Option<Condition>) -> String {
    let what = match by {
        ProbeEvent::Reply(reply) => reply.to_string().replace('\n', " / "),
        ProbeEvent::Closed(crate::smtp::Closed::Eof) => "closed without a reply".to_owned(),
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

/// Waits until the listener serves a session, for at most the allowed recovery time.
fn recovered(prober: &mut Prober<'_>, kind: LimitKind) -> Result<(), EndReason> {
    match prober.enter() {
        Ok(session) => {
            prober.leave(session);
            Ok(())
        }
        Err(Halt::Refused(refusal)) => Err(EndReason::Lost(kind, *refusal)),
        Err(halt) => Err(end_reason(halt)),
    }
}
