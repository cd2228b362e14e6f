//! Limits on time: how long a listener waits for a silent client at each point of a session, and how long a session
//! with an active client may last. All these times are measured in one wait.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kind::{IdlePoint, LimitKind, LimitMeasure};
use super::prober::{Halt, Letter, Probed, Prober, surplus, unreadable};
use super::repeats::settle;
use super::request::LimitRequest;
use super::result::LimitResult;
use crate::generator::probe::{CloseMode, Probe, ProbeEvent, ProbeOptions, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::script::TlsMode;

/// The allowed difference from the expected time, in milliseconds. Listeners count in seconds.
const SLACK: u64 = 1000;
/// If a session ends earlier than this, silence is not the reason.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long [`wait_for`] reads from one session before it reads from the next session.
const GLANCE: Duration = Duration::from_millis(4);
/// The intervals of the NOOPs in the two sessions that are not silent. If the session with more NOOPs ends earlier, the
/// listener counts commands and not time.
const TRICKLE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// Two sessions end at the same age if their ages differ by at most this time.
const SAME_AGE: Duration = Duration::from_secs(2);

/// A wait with one session.
#[derive(Clone, Copy, Debug)]
struct TimeWait {
    kind: LimitKind,
    /// The longest time of the wait.
    length: Duration,
    /// The interval of NOOPs; `None`: the client is silent.
    every: Option<Duration>,
}

/// The requested waits, and their results after the common wait.
pub(super) struct TimeWaits {
    requested: Vec<TimeWait>,
    results: Option<BTreeMap<LimitKind, TimeResult>>,
    /// How long this machine stood still during the wait.
    pub(super) stalled: Duration,
}

impl TimeWaits {
    /// Creates the waits of a request. `wait`: the length of a wait if no time is expected.
    pub(super) fn new(request: &LimitRequest, wait: Duration) -> TimeWaits {
        let times = request.kinds.iter().copied().filter(|kind| kind.measure() == LimitMeasure::Time);
        let requested = times.flat_map(|kind| {
            let expected = request.expected.get(&kind).map(|ms| Duration::from_millis(*ms));
            // The wait is long enough to see that the limit is not enforced.
            let length = expected.map_or(wait, |expected| expected + expected / 10 + Duration::from_secs(2));
            let every = if kind == LimitKind::SessionTime { &TRICKLE.map(Some)[..] } else { &[None] };
            every.iter().map(move |every| TimeWait { kind, length, every: *every }).collect::<Vec<_>>()
        });
        TimeWaits { requested: requested.collect(), results: None, stalled: Duration::ZERO }
    }
}

/// The result of a session that waited.
#[derive(Clone, Debug)]
struct TimeResult {
    /// The length of the silence; with NOOPs, the age of the session.
    after: Duration,
    /// The event that ended the silence; `None`: the wait ended first.
    by: Option<ProbeOutcome>,
    /// Whether the listener closed the connection after that reply.
    closed: Option<bool>,
    step: Step,
    /// The interval of NOOPs; `None`: the client was silent.
    every: Option<Duration>,
    /// Why the wait shows nothing: the session did not reach the point at which the wait starts, or a reply that answers
    /// nothing came.
    halted: Option<Halt>,
}

impl TimeResult {
    /// Returns the result of a wait that shows nothing, for this reason.
    fn halted(asked: &TimeWait, halt: Halt) -> TimeResult {
        let (after, step, every) = (Duration::ZERO, Step::Idle, asked.every);
        TimeResult { after, by: None, closed: None, step, every, halted: Some(halt) }
    }
}

/// A session that waits.
struct Waiting {
    asked: TimeWait,
    session: Probe,
    since: Duration,
    step: Step,
    /// The time of the last NOOP.
    spoke: Duration,
    /// The last time at which the session was known to be open, and whether a NOOP is unanswered.
    lived: (Duration, bool),
}

/// Measures one of the times. The first call makes the common wait.
pub(super) fn find(
    prober: &mut Prober<'_>,
    waits: &mut TimeWaits,
    kind: LimitKind,
    result: &mut LimitResult,
) -> Probed<()> {
    let results = match waits.results.take() {
        Some(results) => results,
        None => {
            let stalled = prober.probes.stalled();
            let results = wait(prober, &std::mem::take(&mut waits.requested))?;
            waits.stalled = prober.probes.stalled().saturating_sub(stalled);
            results
        }
    };
    let seen = waits.results.insert(results).get(&kind).cloned();
    let Some(seen) = seen else { return Err(Halt::NotMeasurable("it was not waited for".to_owned())) };
    if let Some(halt) = seen.halted {
        return Err(halt);
    }
    // A session that ended at once did not end because of a silence.
    if let Some(outcome) = seen.by.as_ref().filter(|_| seen.after < AT_ONCE) {
        return Err(Halt::Failed(seen.step, Box::new(outcome.clone())));
    }
    result.trials = 1;
    (result.looked, result.repeats) = (1, 1);
    let ms = u64::try_from(seen.after.as_millis()).unwrap_or(u64::MAX);
    match seen.by {
        Some(outcome) => {
            result.exactly(ms);
            prober.shown_with(result, seen.step, &outcome.event, seen.closed);
            if let ProbeEvent::Closed(_) = outcome.event {
                result.remark("the connection was closed without a reply");
            }
        }
        None => result.not_reached(ms),
    }
    settle(kind, result, SLACK);
    Ok(())
}

/// Brings a session to the point of each wait, and makes all waits at once.
fn wait(prober: &mut Prober<'_>, asked: &[TimeWait]) -> Probed<BTreeMap<LimitKind, TimeResult>> {
    let mut seen = BTreeMap::new();
    let mut left = asked.to_vec();
    // If the listener does not serve all sessions at once, the remaining waits are made in a further round.
    while !left.is_empty() {
        let (waiting, later) = begin_all(prober, &left, &mut seen)?;
        left = later;
        wait_for(prober, waiting, &mut seen)?;
        prober.settle();
    }
    Ok(seen)
}

/// Opens a session for each wait. Returns the open sessions, and the waits whose sessions the listener refused because
/// other sessions were open.
fn begin_all(
    prober: &mut Prober<'_>,
    asked: &[TimeWait],
    seen: &mut BTreeMap<LimitKind, TimeResult>,
) -> Probed<(Vec<Waiting>, Vec<TimeWait>)> {
    let (mut waiting, mut later) = (Vec::new(), Vec::new());
    for one in asked {
        let opened = prober.probes.now();
        let patience = if waiting.is_empty() { prober.setting.bounds.recovery } else { Duration::ZERO };
        match begin(prober, one.kind, patience) {
            Ok((session, step)) => {
                // The age of a session counts from its opening, a silence from the last command.
                let since = if one.every.is_some() { opened } else { prober.probes.now() };
                waiting.push(Waiting {
                    asked: *one,
                    session,
                    since,
                    step,
                    spoke: since,
                    lived: (since, false),
                });
            }
            Err(Halt::Own(why)) => return Err(Halt::Own(why)),
            Err(Halt::Refused(_) | Halt::Failed(Step::Greeting, _)) if !waiting.is_empty() => {
                later.push(*one)
            }
            Err(halt) => note(seen, one, TimeResult::halted(one, halt)),
        }
    }
    Ok((waiting, later))
}

/// Waits until all these sessions have ended or their times are over.
fn wait_for(
    prober: &mut Prober<'_>,
    mut waiting: Vec<Waiting>,
    seen: &mut BTreeMap<LimitKind, TimeResult>,
) -> Probed<()> {
    while !waiting.is_empty() {
        prober.afford()?;
        let mut still = Vec::new();
        for mut one in waiting {
            let outcome = prober.probes.receive(one.session, GLANCE);
            let ended = match is_end(&outcome, one.asked.every.is_some()) {
                Ok(ended) => ended,
                Err(halt) => {
                    prober.probes.close(&[one.session], CloseMode::Close);
                    note(seen, &one.asked, TimeResult::halted(&one.asked, halt));
                    continue;
                }
            };
            if outcome.reply().is_some() {
                // This is the answer to a NOOP.
                one.lived = (outcome.at, false);
            }
            let now = prober.probes.now();
            if ended || now >= one.since.saturating_add(one.asked.length) {
                // While a NOOP is unanswered, only the time of the last answer is certain.
                let last = if one.lived.1 { one.lived.0 } else { now };
                // An event from before the start of the wait counts as a wait of zero.
                let after = if ended { outcome.at } else { last }.saturating_sub(one.since);
                let closed =
                    (ended && outcome.reply().is_some()).then(|| prober.closes(one.session).unwrap_or(false));
                let by = ended.then_some(outcome);
                // QUIT would be read as content if the listener waits for content.
                prober.probes.close(&[one.session], CloseMode::Close);
                let (step, every) = (one.step, one.asked.every);
                note(seen, &one.asked, TimeResult { after, by, closed, step, every, halted: None });
                continue;
            }
            if one.asked.every.is_some_and(|every| !one.lived.1 && now - one.spoke >= every) {
                (one.spoke, one.lived.1) = (now, true);
                prober.probes.send(one.session, b"NOOP\r\n");
            }
            still.push(one);
        }
        waiting = still;
    }
    Ok(())
}

/// Whether an event ends a wait: a close, and 421; in a silent session any refusal. `speaks`: the client sends NOOPs, and this
/// may be the answer.
///
/// # Errors
/// The listener sent what is no reply, or a reply without a command that is no refusal: the session is out of step.
fn is_end(outcome: &ProbeOutcome, speaks: bool) -> Probed<bool> {
    match &outcome.event {
        ProbeEvent::Silence => Ok(false),
        ProbeEvent::Reply(reply) if speaks => Ok(reply.code == 421),
        ProbeEvent::Reply(reply) if !matches!(reply.class(), 4 | 5) => Err(surplus(reply)),
        _ => unreadable(outcome).map(|()| true),
    }
}

/// Notes the result of a session, combined with the result of the other session of the same limit.
fn note(seen: &mut BTreeMap<LimitKind, TimeResult>, asked: &TimeWait, one: TimeResult) {
    let one = match seen.remove(&asked.kind) {
        Some(other) => of_two(other, one),
        None => one,
    };
    seen.insert(asked.kind, one);
}

/// Combines the results of the two sessions with different intervals of NOOPs.
fn of_two(one: TimeResult, other: TimeResult) -> TimeResult {
    let (often, seldom) = if one.every <= other.every { (one, other) } else { (other, one) };
    if seldom.halted.is_some() {
        return seldom;
    }
    // If the session with more NOOPs ended earlier, the listener limits their number.
    if often.by.is_some() && often.after + SAME_AGE < seldom.after {
        let halt = Halt::NotMeasurable(format!(
            "two sessions with a NOOP every {} and {} s did not end at the same age, but after {:.1} and {} {:.1} s: \
             something else than time is counted",
            TRICKLE[0].as_secs_f64(),
            TRICKLE[1].as_secs_f64(),
            often.after.as_secs_f64(),
            if seldom.by.is_some() { "after" } else { "not within" },
            seldom.after.as_secs_f64()
        ));
        return TimeResult { halted: Some(halt), ..often };
    }
    // If the session with fewer NOOPs ended earlier, its silences were too long: the other session counts.
    often
}

/// Brings a new session to the point of a wait. Returns the session, and the step at which the listener waits.
fn begin(prober: &mut Prober<'_>, kind: LimitKind, patience: Duration) -> Probed<(Probe, Step)> {
    if kind == LimitKind::IdleTimeout(IdlePoint::Greeting) {
        return Ok((prober.enter_bare_within(patience)?, Step::Hello));
    }
    let session = prober.enter_within(ProbeOptions::default(), patience)?;
    // To measure the age of a session, the client only sends NOOPs after the hello.
    let LimitKind::IdleTimeout(point) = kind else { return Ok((session, Step::Idle)) };
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer).with_data();
    let failed = |(step, outcome): (Step, ProbeOutcome)| Halt::Failed(step, Box::new(outcome));
    let step = match point {
        IdlePoint::Hello | IdlePoint::Greeting => Step::Idle,
        IdlePoint::Mail => {
            let alone = Letter { recipients: Vec::new(), ..letter };
            prober.envelope(session, &alone).map_err(failed)?;
            Step::Rcpt
        }
        IdlePoint::Rcpt => {
            prober.envelope(session, &letter).map_err(failed)?;
            Step::Data
        }
        IdlePoint::Data | IdlePoint::Body => {
            prober.envelope(session, &letter).map_err(failed)?;
            let outcome = prober.ask(session, "DATA");
            if outcome.code() != 354 {
                return Err(failed((Step::Data, outcome)));
            }
            if point == IdlePoint::Body {
                prober.probes.send(session, letter.head());
            }
            Step::Body
        }
    };
    Ok((session, step))
}

impl Prober<'_> {
    /// Returns a session that has read the greeting and sent nothing.
    pub(super) fn enter_bare(&mut self) -> Probed<Probe> {
        self.enter_bare_within(self.setting.bounds.recovery)
    }

    /// Returns such a session, and tries a refused session again for `patience`.
    fn enter_bare_within(&mut self, patience: Duration) -> Probed<Probe> {
        if self.setting.script.tls == TlsMode::Implicit {
            return Err(Halt::NotMeasurable(
                "the sessions are encrypted from the first byte: none is silent before the hello".to_owned(),
            ));
        }
        let session = self.enter_within(ProbeOptions { bare: true, ..ProbeOptions::default() }, patience)?;
        let outcome = self.probes.receive(session, self.setting.patience);
        if outcome.code() == 220 {
            return Ok(session);
        }
        self.probes.close(&[session], CloseMode::Close);
        Err(Halt::Failed(Step::Greeting, Box::new(outcome)))
    }
}
