//! Limits on time: how long a listener waits for a client that is silent, at each point of a session, and how long it lets
//! one stay that is not. All of them are waited for at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::field::{Field, Found, Halt, Letter};
use super::finding::Finding;
use super::kind::{IdlePoint, LimitKind, LimitMeasure};
use super::looks::settle;
use super::request::LimitRequest;
use crate::generator::probe::{CloseMode, Probe, ProbeEvent, ProbeOptions, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::script::TlsMode;

/// What a time may miss an expectation by, in milliseconds: listeners count in seconds.
const SLACK: u64 = 1000;
/// A session that ends earlier than this was not silent for too long.
const AT_ONCE: Duration = Duration::from_millis(100);
/// One session is looked at for so long before the next is.
const GLANCE: Duration = Duration::from_millis(4);
/// Between two signs of life of the sessions that are not silent. The second gives a quarter as many: if the first ends
/// earlier its signs of life were counted, and not its time.
const TRICKLE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// A session that lasts as long as another one ends at the same age, within this.
const SAME_AGE: Duration = Duration::from_secs(2);

/// A session that is to wait.
#[derive(Clone, Copy, Debug)]
struct Asked {
    kind: LimitKind,
    /// How long.
    length: Duration,
    /// How often it gives a sign of life, if it does.
    every: Option<Duration>,
}

/// The times that are looked for, and what was seen of them once they were waited for.
#[derive(Debug, Default)]
pub(super) struct Waits {
    asked: Vec<Asked>,
    seen: Option<BTreeMap<LimitKind, Seen>>,
    /// How long this machine stood still meanwhile.
    pub(super) stalled: Duration,
}

/// What became of a session that was waited for.
#[derive(Clone, Debug)]
struct Seen {
    /// Since its last sign of life, or since its greeting if it went on giving them.
    after: Duration,
    /// What ended it; nothing if the wait ended first.
    by: Option<ProbeOutcome>,
    /// Whether the connection was closed with the reply that ended it.
    closed: Option<bool>,
    step: Step,
    /// How often it gave a sign of life, if it did.
    every: Option<Duration>,
    /// It could not be brought to where it is to wait.
    halted: Option<Halt>,
}

/// A session that waits.
struct Waiting {
    asked: Asked,
    session: Probe,
    since: Duration,
    step: Step,
    /// When it last gave a sign of life.
    spoke: Duration,
    /// When it was known to live last, and whether a sign of life is still to be answered.
    lived: (Duration, bool),
}

impl Field<'_> {
    /// Notes which times are requested: the first of them waits for all.
    pub(super) fn timed(&mut self, request: &LimitRequest) {
        let wait = self.setting.bounds.wait;
        let asked = request.kinds.iter().copied().filter(|kind| kind.measure() == LimitMeasure::Time);
        self.waits.asked = asked
            .flat_map(|kind| {
                let expected = request.expected.get(&kind).map(|ms| Duration::from_millis(*ms));
                // Long enough to see that it does not come.
                let length =
                    expected.map_or(wait, |expected| expected + expected / 10 + Duration::from_secs(2));
                let every = if kind == LimitKind::SessionTime { &TRICKLE.map(Some)[..] } else { &[None] };
                every.iter().map(move |every| Asked { kind, length, every: *every }).collect::<Vec<_>>()
            })
            .collect();
    }
}

/// One of the times.
pub(super) fn find(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    if field.waits.seen.is_none() {
        let asked = std::mem::take(&mut field.waits.asked);
        let stalled = field.probes.stalled();
        field.waits.seen = Some(wait(field, &asked)?);
        field.waits.stalled = field.probes.stalled().saturating_sub(stalled);
    }
    let Some(seen) = field.waits.seen.as_ref().and_then(|seen| seen.get(&kind)).cloned() else {
        return Err(Halt::Foreign("it was not waited for".to_owned()));
    };
    if let Some(halt) = seen.halted {
        return Err(halt);
    }
    // What ends before there was any silence is ended by something else.
    if let Some(met) = seen.by.as_ref().filter(|_| seen.after < AT_ONCE) {
        return Err(Halt::Failed(seen.step, Box::new(met.clone())));
    }
    finding.trials = 1;
    (finding.looked, finding.repeats) = (1, 1);
    let ms = u64::try_from(seen.after.as_millis()).unwrap_or(u64::MAX);
    match seen.by {
        Some(met) => {
            finding.exactly(ms);
            field.shown_with(finding, seen.step, &met.event, seen.closed);
            if let ProbeEvent::Closed(_) = met.event {
                finding.remark("the connection was closed without a word");
            }
        }
        None => finding.unmet(ms),
    }
    settle(kind, finding, SLACK);
    Ok(())
}

/// Brings a session to each point, and waits for all of them at once.
fn wait(field: &mut Field<'_>, asked: &[Asked]) -> Found<BTreeMap<LimitKind, Seen>> {
    let mut seen = BTreeMap::new();
    let mut left = asked.to_vec();
    // As many at once as the listener serves; those that it does not wait for the others to end.
    while !left.is_empty() {
        let (waiting, later) = begin_all(field, &left, &mut seen)?;
        left = later;
        wait_for(field, waiting, &mut seen)?;
        field.settle();
    }
    Ok(seen)
}

/// The sessions that wait at once, and the kinds for which there was no room beside them.
fn begin_all(
    field: &mut Field<'_>,
    asked: &[Asked],
    seen: &mut BTreeMap<LimitKind, Seen>,
) -> Found<(Vec<Waiting>, Vec<Asked>)> {
    let (mut waiting, mut later) = (Vec::new(), Vec::new());
    for one in asked {
        let opened = field.probes.now();
        let patience = if waiting.is_empty() { field.setting.bounds.recovery } else { Duration::ZERO };
        match begin(field, one.kind, patience) {
            Ok((session, step)) => {
                // A session's time is the listener's from its first octet on; silence begins when all is said.
                let since = if one.every.is_some() { opened } else { field.probes.now() };
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
            Err(halt) => {
                let halted = Some(halt);
                let (after, step) = (Duration::ZERO, Step::Idle);
                note(seen, one, Seen { after, by: None, closed: None, step, every: one.every, halted });
            }
        }
    }
    Ok((waiting, later))
}

/// Waits for all of them at once.
fn wait_for(
    field: &mut Field<'_>,
    mut waiting: Vec<Waiting>,
    seen: &mut BTreeMap<LimitKind, Seen>,
) -> Found<()> {
    while !waiting.is_empty() {
        field.afford()?;
        let mut still = Vec::new();
        for mut one in waiting {
            let met = field.probes.receive(one.session, GLANCE);
            let ended = match (&met.event, one.asked.every) {
                (ProbeEvent::Silence, _) => false,
                // The answer to a sign of life.
                (ProbeEvent::Reply(reply), Some(_)) => {
                    one.lived = (met.at, false);
                    reply.code == 421
                }
                _ => true,
            };
            let now = field.probes.now();
            if ended || now >= one.since.saturating_add(one.asked.length) {
                // Of one whose answer is still awaited, for its reply is slow, no more is known than when it lived last.
                let last = if one.lived.1 { one.lived.0 } else { now };
                // What was said before the wait began ended it at once.
                let after = if ended { met.at } else { last }.saturating_sub(one.since);
                let closed = (ended && met.reply().is_some()).then(|| field.closes(one.session));
                let by = ended.then_some(met);
                // Where content is awaited, QUIT is content.
                field.probes.close(&[one.session], CloseMode::Close);
                let (step, every) = (one.step, one.asked.every);
                note(seen, &one.asked, Seen { after, by, closed, step, every, halted: None });
                continue;
            }
            if one.asked.every.is_some_and(|every| !one.lived.1 && now - one.spoke >= every) {
                (one.spoke, one.lived.1) = (now, true);
                field.probes.send(one.session, b"NOOP\r\n");
            }
            still.push(one);
        }
        waiting = still;
    }
    Ok(())
}

/// Notes what became of a session, with what is known of the same kind.
fn note(seen: &mut BTreeMap<LimitKind, Seen>, asked: &Asked, one: Seen) {
    let one = match seen.remove(&asked.kind) {
        Some(other) => of_two(other, one),
        None => one,
    };
    seen.insert(asked.kind, one);
}

/// What two sessions that gave more and fewer signs of life say of the time that a session may last.
fn of_two(one: Seen, other: Seen) -> Seen {
    let (often, seldom) = if one.every <= other.every { (one, other) } else { (other, one) };
    if seldom.halted.is_some() {
        return seldom;
    }
    // One that gave more signs of life and ended earlier was ended by their number.
    if often.by.is_some() && often.after + SAME_AGE < seldom.after {
        let halt = Halt::Foreign(format!(
            "two sessions that gave signs of life every {} and {} s did not end at the same age, but after {:.1} and {} {:.1} s: \
             something else than time is counted",
            TRICKLE[0].as_secs_f64(),
            TRICKLE[1].as_secs_f64(),
            often.after.as_secs_f64(),
            if seldom.by.is_some() { "after" } else { "not within" },
            seldom.after.as_secs_f64()
        ));
        return Seen { halted: Some(halt), ..often };
    }
    // One that ended earlier with fewer of them was silent for too long.
    often
}

/// A session that is silent from here on, and the step at which it is.
fn begin(field: &mut Field<'_>, kind: LimitKind, patience: Duration) -> Found<(Probe, Step)> {
    if kind == LimitKind::IdleTimeout(IdlePoint::Greeting) {
        return Ok((field.enter_bare_within(patience)?, Step::Hello));
    }
    let session = field.enter_within(ProbeOptions::default(), patience)?;
    // A session whose time is measured is silent after the hello, but for its signs of life.
    let LimitKind::IdleTimeout(point) = kind else { return Ok((session, Step::Idle)) };
    let mailer = field.mailer(None, 1);
    let letter = field.letter(&mailer).with_data();
    let failed = |(step, met): (Step, ProbeOutcome)| Halt::Failed(step, Box::new(met));
    let step = match point {
        IdlePoint::Hello | IdlePoint::Greeting => Step::Idle,
        IdlePoint::Mail => {
            let alone = Letter { recipients: Vec::new(), ..letter };
            field.envelope(session, &alone).map_err(failed)?;
            Step::Rcpt
        }
        IdlePoint::Rcpt => {
            field.envelope(session, &letter).map_err(failed)?;
            Step::Data
        }
        IdlePoint::Data | IdlePoint::Body => {
            field.envelope(session, &letter).map_err(failed)?;
            let met = field.ask(session, "DATA");
            if met.code() != 354 {
                return Err(failed((Step::Data, met)));
            }
            if point == IdlePoint::Body {
                field.probes.send(session, letter.head());
            }
            Step::Body
        }
    };
    Ok((session, step))
}

impl Field<'_> {
    /// A session that was greeted and has said nothing.
    pub(super) fn enter_bare(&mut self) -> Found<Probe> {
        self.enter_bare_within(self.setting.bounds.recovery)
    }

    /// The same; a refusal is waited out for `patience`.
    fn enter_bare_within(&mut self, patience: Duration) -> Found<Probe> {
        if self.setting.script.tls == TlsMode::Implicit {
            return Err(Halt::Foreign("nothing can be said before TLS here".to_owned()));
        }
        let session = self.enter_within(ProbeOptions { bare: true, ..ProbeOptions::default() }, patience)?;
        let met = self.probes.receive(session, self.setting.patience);
        if met.code() == 220 {
            return Ok(session);
        }
        self.probes.close(&[session], CloseMode::Close);
        Err(Halt::Failed(Step::Greeting, Box::new(met)))
    }
}
