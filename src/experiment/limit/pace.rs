//! Limits by time: sessions, or messages, one after the other as fast as they go, so that no limit on how many there are at
//! once is met; then silence, until one more is served.
//!
//! # Decisions
//! - Attempts that are refused may count as well, and a search that asks again and again keeps a window shut for ever. So it
//!   asks after silences that double, and when it knows about how long the window is, a few times near its end only.
//! - What was opened before the search counts too. The number that is served is therefore taken from a burst that comes
//!   after a silence as long as the recovery took.
//! - Windows and buckets are told apart by what is served when the first is served again: as many as before, or one.
//! - The value is a rate a minute, so that both kinds can be compared with what was configured. It is as expected only if
//!   the bracket is narrow.

use std::time::Duration;

use super::field::{Field, Found, Halt, unreadable};
use super::finding::{Finding, Verdict};
use super::{Kind, is_foreign};
use crate::generator::hands::{Leave, Met, Opened, Session, Way};
use crate::smtp::Step;

/// The first silence after a refusal; each is twice as long as the one before.
const FIRST_SILENCE: Duration = Duration::from_millis(250);
/// Recovery is not awaited for longer than this: common windows are a minute.
const WINDOW: Duration = Duration::from_secs(130);
/// No burst goes on for longer.
const COUNTING: Duration = Duration::from_secs(20);
/// How often the end of the window is looked for more closely.
const CLOSER: u64 = 3;
/// No more questions than this near the end of a window.
const QUESTIONS: u64 = 16;
/// A bracket is narrow if its ends are this far apart at the most, or one a minute.
const NARROW: f64 = 1.05;
/// So many refills tell the rate of a bucket, or as many as come in this time.
const REFILLS: u64 = 24;
const FILLING: Duration = Duration::from_secs(40);

/// What is counted, one after the other.
trait Item {
    /// One more; `Err`: how it was not served.
    fn one(&mut self, field: &mut Field<'_>) -> Found<Result<(), (Step, Met, Session)>>;
}

/// New connections by time.
pub(super) fn connections(field: &mut Field<'_>, kind: &Kind, finding: &mut Finding) -> Found<()> {
    find(field, kind, finding, &mut Connections)
}

/// Messages by time.
pub(super) fn messages(field: &mut Field<'_>, kind: &Kind, finding: &mut Finding) -> Found<()> {
    find(field, kind, finding, &mut Messages)
}

fn find(field: &mut Field<'_>, kind: &Kind, finding: &mut Finding, item: &mut dyn Item) -> Found<()> {
    // As many as must be served in a minute to show that more are.
    let most = super::looks::bound(finding.expected, field.setting.bounds.messages);
    finding.trials += 1;
    (finding.looked, finding.repeats) = (1, 1);
    let first = burst(field, item, most)?;
    let Some((step, met, session)) = first.refused else {
        // Of a minute: as many as were served in it are allowed in one.
        let longer = first.took.max(Duration::from_secs(60));
        finding.unmet(per_minute(first.served, longer));
        let seconds = first.took.as_secs_f64();
        finding.remark(format!("{} {} in {seconds:.1} s met no limit by time", first.served, unit(kind)));
        finding.judge(0);
        return Ok(());
    };
    unreadable(&met)?;
    field.shown(finding, step, &met.what, session);
    field.hands.leave(&[session], Leave::Close);
    if first.served == 0 {
        return Err(Halt::Failed(step, Box::new(met)));
    }
    let Some(mut recovery) = recovery(field, item, silences())? else {
        return Err(Halt::Foreign(format!(
            "{} {} were served, and then none for {} s: its window is longer than the search waits",
            first.served,
            unit(kind),
            WINDOW.as_secs()
        )));
    };
    finding.release_ms = Some(recovery.most.as_secs_f64() * 1e3);
    finding.trials += 1;
    let at_once = 1 + served(field, item, most)?;
    // All that was asked before is out of any window when as long as it took has passed in silence, and a bucket is full.
    field.hands.pause(recovery.most + Duration::from_secs(1));
    finding.trials += 1;
    let full = served(field, item, most)?;
    if let Some(other) = is_foreign(kind, finding).filter(|_| full == 0) {
        finding.unmet(per_minute(first.served, first.took));
        finding.verdict = if finding.expected.is_some() { Verdict::Obstructed } else { Verdict::NotReached };
        finding.remark(format!("{other} was met first, after {} {}", first.served, unit(kind)));
        return Ok(());
    }
    // What was refused may have counted with what was served: as many are missing then as were asked in vain.
    if at_once + recovery.asked + 1 >= full.max(2) {
        for _ in 0..CLOSER {
            if recovery.is_narrow() {
                break;
            }
            // Counted refusals must not fill the window by themselves.
            let questions = (full / 2).clamp(1, QUESTIONS);
            let Some(closer) = self::recovery(field, item, recovery.questions(questions))? else { break };
            let counts_refused = at_once < full;
            recovery = closer.within(recovery);
            served(field, item, most)?;
            if counts_refused {
                field.hands.pause(recovery.most + Duration::from_secs(1));
                served(field, item, most)?;
            }
        }
        window(finding, kind, full, &recovery);
    } else {
        bucket(field, finding, kind, item, full, &recovery)?;
    }
    narrow(finding);
    Ok(())
}

/// The verdict: nothing is as expected by a bracket that would hold nearly everything.
fn narrow(finding: &mut Finding) {
    finding.judge(0);
    let (Some(low), Some(high)) = (finding.at_least, finding.at_most) else { return };
    let is_narrow = high <= low + 1 || high as f64 <= low as f64 * NARROW + 1.0;
    if finding.verdict == Verdict::AsExpected && !is_narrow {
        finding.verdict = Verdict::Unstable;
        finding.remark("what is expected lies within the bracket, which is too wide to confirm it");
    }
}

/// How long it takes until one more is served, as far as it is known: longer than `least`, and at most `most`.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    least: Duration,
    most: Duration,
    /// Attempts that were refused meanwhile.
    asked: u64,
}

impl Recovery {
    fn is_narrow(&self) -> bool {
        self.most.as_secs_f64() <= self.least.as_secs_f64() * NARROW
    }

    /// Silences from now on, so that so many questions fall between the two ends.
    fn questions(&self, count: u64) -> Vec<Duration> {
        let step = (self.most - self.least) / u32::try_from(count + 1).unwrap_or(u32::MAX);
        let first = self.least + step;
        std::iter::once(first)
            .chain(std::iter::repeat_n(step, usize::try_from(count).unwrap_or(0) + 2))
            .collect()
    }

    /// Both say something of the same window. One that began before the burst looks shorter: the longer one is right.
    fn within(self, other: Recovery) -> Recovery {
        if self.least >= other.least && self.most <= other.most + other.most / 8 {
            self
        } else {
            Recovery { most: self.most.max(other.most), ..other }
        }
    }
}

/// Silences that double, as far as a window is waited for.
fn silences() -> Vec<Duration> {
    let mut total = Duration::ZERO;
    let mut next = FIRST_SILENCE;
    let mut silences = Vec::new();
    while total + next <= WINDOW {
        silences.push(next);
        total += next;
        next *= 2;
    }
    silences
}

/// Asks after each of the silences until one is served; `None`: none was.
fn recovery(field: &mut Field<'_>, item: &mut dyn Item, silences: Vec<Duration>) -> Found<Option<Recovery>> {
    let begun = field.hands.now();
    let (mut least, mut asked) = (Duration::ZERO, 0);
    for silence in silences {
        field.hands.pause(silence);
        let at = field.hands.now().saturating_sub(begun);
        match item.one(field)? {
            Ok(()) => {
                let most = field.hands.now().saturating_sub(begun);
                return Ok(Some(Recovery { least, most, asked }));
            }
            Err((_, met, session)) => {
                field.hands.leave(&[session], Leave::Close);
                unreadable(&met)?;
                (least, asked) = (at, asked + 1);
            }
        }
    }
    Ok(None)
}

/// What was served until one was not.
struct Burst {
    served: u64,
    took: Duration,
    refused: Option<(Step, Met, Session)>,
}

fn burst(field: &mut Field<'_>, item: &mut dyn Item, most: u64) -> Found<Burst> {
    let begun = field.hands.now();
    let mut served = 0;
    let refused = loop {
        if served >= most || field.hands.now() - begun > COUNTING {
            break None;
        }
        match item.one(field)? {
            Ok(()) => served += 1,
            Err(refused) => break Some(refused),
        }
    };
    Ok(Burst { served, took: field.hands.now() - begun, refused })
}

/// How many are served in a burst.
fn served(field: &mut Field<'_>, item: &mut dyn Item, most: u64) -> Found<u64> {
    let burst = burst(field, item, most)?;
    if let Some((_, _, session)) = burst.refused {
        field.hands.leave(&[session], Leave::Close);
    }
    Ok(burst.served)
}

/// What is counted, without the minute.
fn unit(kind: &Kind) -> &'static str {
    kind.unit.split(' ').next().unwrap_or(kind.unit)
}

fn per_minute(count: u64, time: Duration) -> u64 {
    (count as f64 * 60.0 / time.as_secs_f64().max(1e-3)) as u64
}

/// So many are served in a window, whose length is known more or less.
fn window(finding: &mut Finding, kind: &Kind, served: u64, recovery: &Recovery) {
    finding.window_ms = Some(recovery.most.as_secs_f64() * 1e3);
    finding.remark(format!(
        "{served} {} are served in a window of {:.1} to {:.1} s",
        unit(kind),
        recovery.least.as_secs_f64(),
        recovery.most.as_secs_f64()
    ));
    let (low, high) = (
        per_minute(served, recovery.most),
        (served as f64 * 60.0 / recovery.least.as_secs_f64().max(1e-3)).ceil(),
    );
    finding.between(low, high as u64, "the length of its window is known so far");
}

/// What was there is served at once, and then what is filled in: asked for at intervals, so that few are refused.
fn bucket(
    field: &mut Field<'_>,
    finding: &mut Finding,
    kind: &Kind,
    item: &mut dyn Item,
    full: u64,
    recovery: &Recovery,
) -> Found<()> {
    let step = (recovery.most / 8).max(Duration::from_millis(5));
    let begun = field.hands.now();
    let (mut refills, mut last) = (0u64, begun);
    while refills < REFILLS && field.hands.now() - begun < FILLING {
        field.hands.pause(step);
        match item.one(field)? {
            Ok(()) => (refills, last) = (refills + 1, field.hands.now()),
            Err((_, _, session)) => field.hands.leave(&[session], Leave::Close),
        }
    }
    if refills == 0 {
        return Err(Halt::Foreign(
            "it served one more after a silence, and none while it was asked".to_owned(),
        ));
    }
    let took = (last - begun).as_secs_f64().max(1e-3);
    let rate = refills as f64 * 60.0 / took;
    // One more or less, and as much later as it may have been asked for.
    let (low, high) = (
        refills.saturating_sub(1) as f64 * 60.0 / (took + step.as_secs_f64()),
        (refills + 1) as f64 * 60.0 / (took - step.as_secs_f64()).max(1e-3),
    );
    finding.window_ms = Some(6e4 / rate);
    finding.remark(format!(
        "about {full} {} are served at once, and then {:.2} a second",
        unit(kind),
        rate / 60.0
    ));
    finding.between(low as u64, high.ceil() as u64, "one is asked for now and then");
    Ok(())
}

struct Connections;

impl Item for Connections {
    fn one(&mut self, field: &mut Field<'_>) -> Found<Result<(), (Step, Met, Session)>> {
        field.afford()?;
        match field.hands.open(&[Way::default()]).pop() {
            Some(Opened::In(session)) => {
                field.leave(session);
                Ok(Ok(()))
            }
            Some(Opened::Out(refusal)) => {
                let met = Met { what: refusal.by, at: field.hands.now() };
                Ok(Err((refusal.step, met, refusal.session)))
            }
            Some(Opened::Own(why)) => Err(Halt::Own(why)),
            None => Err(Halt::Own("no session was opened".to_owned())),
        }
    }
}

struct Messages;

impl Item for Messages {
    fn one(&mut self, field: &mut Field<'_>) -> Found<Result<(), (Step, Met, Session)>> {
        // A session for each: a limit of messages of a session is another one.
        let session = field.enter()?;
        let mailer = field.mailer(None, 1);
        let letter = field.letter(&mailer);
        match field.send(session, &letter) {
            Ok(_) => {
                field.leave(session);
                Ok(Ok(()))
            }
            Err((step, met)) => Ok(Err((step, met, session))),
        }
    }
}
