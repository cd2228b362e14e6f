//! Limits by time: sessions, or messages, one after the other as fast as they go, so that no limit on how many there are at
//! once is met; then silence, until one more is served.
//!
//! # Decisions
//! - A round is a burst until one is refused, and silence until one more is served. It is measured from the first attempt of
//!   the burst, for that is the one that leaves a sliding window first, and with which a fixed one begins.
//! - What was opened before a burst counts too. So rounds follow each other, each after a silence as long as the recovery
//!   of the one before, until two agree.
//! - Attempts that are refused may count as well, and a search that asks again and again keeps a window shut for ever. So the
//!   first round asks after silences that double, and the next ones a few times near the end of the window only.
//! - Windows and buckets are told apart by what is served when the first is served again: as many as before, or one.
//! - Slots that are free late look like a window. They are told apart by sessions that are held for longer than it.
//! - The value is a rate a minute, so that all kinds can be compared with what was configured. It is as expected only if the
//!   bracket is narrow.

use std::time::Duration;

use super::field::{Field, Found, Halt, unreadable};
use super::finding::{Finding, Verdict};
use super::is_foreign;
use super::kind::LimitKind;
use super::looks::{MOST, bound};
use crate::generator::probe::{CloseMode, OpenOutcome, Probe, ProbeOptions, ProbeOutcome};
use crate::smtp::Step;

/// The first silence after a refusal; each is twice as long as the one before.
const FIRST_SILENCE: Duration = Duration::from_millis(250);
/// Recovery is not awaited for longer than this: common windows are a minute.
const WINDOW: Duration = Duration::from_secs(130);
/// No burst goes on for longer.
const COUNTING: Duration = Duration::from_secs(20);
/// More rounds than this are not made.
const ROUNDS: u64 = 8;
/// After so many rounds what was opened before the search no longer counts.
const SETTLED: u64 = 2;
/// No more questions than this near the end of a window.
const QUESTIONS: u64 = 16;
/// A bracket is narrow if its ends are this far apart at the most, or one a minute.
const NARROW: f64 = 1.05;
/// What two measurements of one window may differ by.
const JITTER: Duration = Duration::from_millis(10);
/// What a window that is counted in whole seconds may last longer.
const WHOLE: Duration = Duration::from_secs(1);
/// Silence beyond the recovery, before the next round.
const MARGIN: Duration = Duration::from_secs(1);
/// So many refills tell the rate of a bucket, or as many as come in this time.
const REFILLS: u64 = 24;
const FILLING: Duration = Duration::from_secs(40);

/// What is counted, one after the other.
trait Item {
    /// One more; `Err`: how it was not served.
    fn one(&mut self, field: &mut Field<'_>) -> Found<Result<(), (Step, ProbeOutcome, Probe)>>;
}

/// New connections by time.
pub(super) fn connections(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    find(field, kind, finding, &mut Connections)?;
    if finding.at_most.is_some() { held_count(field, finding) } else { Ok(()) }
}

/// Messages by time.
pub(super) fn messages(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    find(field, kind, finding, &mut Messages)
}

/// A listener may count its window in whole seconds, and look at them at most once a second: then it lasts up to one longer
/// than it is set to.
fn whole_seconds(finding: &mut Finding, served: u64, recovery: &Recovery) {
    let seconds = recovery.least.as_secs();
    // How closely its end was looked for is added.
    if seconds == 0 || recovery.most > Duration::from_secs(seconds) + WHOLE + recovery.most / 20 {
        return;
    }
    let (low, high) = (finding.at_least.unwrap_or(0), finding.at_most.unwrap_or(0));
    let rate = per_minute(served, Duration::from_secs(seconds));
    let remark =
        format!("{served} in {seconds} s are {rate} a minute, if its window is counted in whole seconds");
    match finding.expected {
        _ if rate <= high => {}
        None => {
            finding.between(low, rate, "its window may be counted in whole seconds");
            finding.remark(remark);
        }
        Some(expected) if finding.verdict == Verdict::Differs && expected.abs_diff(rate) <= 1 => {
            finding.between(low, rate.max(expected), "its window may be counted in whole seconds");
            finding.verdict = Verdict::AsExpected;
            finding.remark(remark);
        }
        Some(expected) if finding.verdict == Verdict::Differs && (low..=rate).contains(&expected) => {
            finding.between(low, rate, "its window may be counted in whole seconds");
            finding.verdict = Verdict::Unstable;
            finding.remark(remark);
        }
        Some(_) => {}
    }
}

/// How long it takes until one more is served, since a burst began: longer than `least`, and at most `most`.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    least: Duration,
    most: Duration,
}

impl Recovery {
    fn is_narrow(self) -> bool {
        self.most.as_secs_f64() <= self.least.as_secs_f64() * NARROW
    }

    /// What both say of the same window; `None`: they contradict each other, by more than a clock and a busy machine do, and
    /// than `tolerance`.
    fn and(self, other: Recovery, tolerance: Duration) -> Option<Recovery> {
        let both = Recovery { least: self.least.max(other.least), most: self.most.min(other.most) };
        if both.least < both.most {
            return Some(both);
        }
        let either = Recovery { least: self.least.min(other.least), most: self.most.max(other.most) };
        let apart = both.least - both.most;
        (apart <= JITTER.max(either.most / 40).max(tolerance)).then_some(either)
    }
}

fn find(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding, item: &mut dyn Item) -> Found<()> {
    // As many as must be served in a minute to show that more are.
    let most = bound(finding.expected, field.setting.bounds.messages, MOST);
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
    field.shown(finding, step, &met.event, session);
    field.probes.close(&[session], CloseMode::Close);
    if first.served == 0 {
        return Err(Halt::Failed(step, Box::new(met)));
    }
    let mut known: Option<(u64, Recovery)> = None;
    let mut burst = Burst { refused: None, ..first };
    let mut agreed = false;
    for round in 0..ROUNDS {
        if round > 0 {
            let window = known.map_or(Duration::ZERO, |(_, recovery)| recovery.most);
            field.probes.pause(window + MARGIN);
            finding.trials += 1;
            burst = refused_burst(field, item, most)?;
        }
        // A bucket that is not full yet gives another number each time, and takes as long for one more.
        let before = known.filter(|(served, _)| *served == burst.served || round > SETTLED);
        let Some(recovery) = recovery(field, item, &burst, before.map(|(_, recovery)| recovery))? else {
            return Err(Halt::Foreign(format!(
                "{} {} were served, and then none for {} s: its window is longer than the search waits",
                burst.served,
                unit(kind),
                WINDOW.as_secs()
            )));
        };
        if round == 0 {
            finding.release_ms = Some((recovery.most.saturating_sub(burst.took)).as_secs_f64() * 1e3);
        }
        // One that is counted in whole seconds lasts up to one longer.
        let tolerance = if round > SETTLED { WHOLE } else { Duration::ZERO };
        let both = before.and_then(|(_, before)| before.and(recovery, tolerance));
        agreed = both.is_some();
        let recovery = both.unwrap_or(recovery);
        let before = before.map_or(0, |(served, _)| served);
        known = Some((burst.served.max(before), recovery));
        if agreed && recovery.is_narrow() {
            break;
        }
    }
    let Some((served, recovery)) = known.filter(|(served, _)| agreed && *served > 0) else {
        if let Some(other) = is_foreign(kind, finding) {
            let tried = per_minute(first.served, first.took.max(Duration::from_secs(60)));
            finding.hidden(tried, format!("{other} was met first, after {} {}", first.served, unit(kind)));
            return Ok(());
        }
        return Err(Halt::Foreign(format!(
            "in {ROUNDS} rounds no two were the same: after the last burst of {} one more was served within {:.1} s",
            burst.served,
            known.map_or(0.0, |(_, recovery)| recovery.most.as_secs_f64())
        )));
    };
    // All that a window holds is served at once when all of it has left; of a bucket, what has been filled in.
    field.probes.pause(recovery.most + MARGIN);
    finding.trials += 1;
    let whole = refused_burst(field, item, most)?;
    let until = whole.begun + recovery.most.mul_f64(1.02) + whole.took;
    field.probes.pause(until.saturating_sub(field.probes.now()));
    let again = refused_burst(field, item, most)?;
    if again.served >= served && whole.took > recovery.most / 3 {
        // What is filled in during so long a burst cannot be told from what it began with.
        finding.between(
            0,
            per_minute(whole.served, recovery.least).max(1),
            "a burst takes nearly as long as the window",
        );
        finding.verdict = Verdict::Unstable;
        finding.remark(format!(
            "{} {} took {:.1} s, and one more was served {:.1} s after the first: they are too slow to show its window",
            whole.served,
            unit(kind),
            whole.took.as_secs_f64(),
            recovery.most.as_secs_f64()
        ));
        return Ok(());
    }
    if again.served >= served {
        window(finding, kind, served, &recovery);
        narrow(finding, recovery.is_narrow());
        whole_seconds(finding, served, &recovery);
    } else if again.served > 0 && again.served * 2 <= served.max(2) {
        bucket(field, finding, kind, item, first.served.max(served), &recovery)?;
        narrow(finding, false);
    } else {
        finding.between(
            0,
            per_minute(first.served.max(served), recovery.least),
            "neither a window nor a bucket",
        );
        finding.verdict = Verdict::Unstable;
        finding.remark(format!(
            "{served} {} are served at once, and {} of them {:.1} s later",
            unit(kind),
            again.served,
            recovery.most.as_secs_f64()
        ));
    }
    Ok(())
}

/// The verdict: nothing is as expected by a bracket that would hold nearly everything.
fn narrow(finding: &mut Finding, is_narrow: bool) {
    finding.judge(0);
    let (Some(low), Some(high)) = (finding.at_least, finding.at_most) else { return };
    let is_narrow = is_narrow || high <= low + 1 || high as f64 <= low as f64 * NARROW + 1.0;
    if finding.verdict == Verdict::AsExpected && !is_narrow {
        finding.verdict = Verdict::Unstable;
        finding.remark("what is expected lies within the bracket, which is too wide to confirm it");
    }
}

/// When to ask after a burst, since it began. With what is known of the window a few times near its end: as many as may be
/// refused, for what is refused may count as well. Otherwise after silences that double.
fn questions(burst: &Burst, known: Option<Recovery>) -> Vec<Duration> {
    let mut at = Vec::new();
    let mut next = burst.took + FIRST_SILENCE;
    if let Some(known) = known {
        let count = u32::try_from(burst.served.saturating_sub(1).clamp(1, QUESTIONS)).unwrap_or(1);
        let step = (known.most - known.least) / (count + 1);
        at.extend((1..=count + 1).map(|n| known.least + step * n));
        next = known.most + known.most / 8;
    }
    let mut silence = FIRST_SILENCE.max(next / 4);
    while next <= WINDOW + burst.took {
        at.push(next);
        silence *= 2;
        next += silence;
    }
    at
}

/// Asks until one is served; `None`: none was.
fn recovery(
    field: &mut Field<'_>,
    item: &mut dyn Item,
    burst: &Burst,
    known: Option<Recovery>,
) -> Found<Option<Recovery>> {
    // The last that was refused is the one that ended the burst.
    let mut least = burst.took;
    for at in questions(burst, known) {
        let until = burst.begun + at;
        field.probes.pause(until.saturating_sub(field.probes.now()));
        let asked = field.probes.now().saturating_sub(burst.begun);
        match item.one(field)? {
            Ok(()) => {
                let most = field.probes.now().saturating_sub(burst.begun);
                return Ok(Some(Recovery { least, most: most.max(least + Duration::from_millis(1)) }));
            }
            Err((_, met, session)) => {
                field.probes.close(&[session], CloseMode::Close);
                unreadable(&met)?;
                least = asked;
            }
        }
    }
    Ok(None)
}

/// What was served until one was not.
struct Burst {
    begun: Duration,
    served: u64,
    took: Duration,
    refused: Option<(Step, ProbeOutcome, Probe)>,
}

fn burst(field: &mut Field<'_>, item: &mut dyn Item, most: u64) -> Found<Burst> {
    let begun = field.probes.now();
    let mut served = 0;
    let refused = loop {
        if served >= most || field.probes.now() - begun > COUNTING {
            break None;
        }
        match item.one(field)? {
            Ok(()) => served += 1,
            Err(refused) => break Some(refused),
        }
    };
    Ok(Burst { begun, served, took: field.probes.now() - begun, refused })
}

/// A burst whose end is of no interest.
fn refused_burst(field: &mut Field<'_>, item: &mut dyn Item, most: u64) -> Found<Burst> {
    let mut burst = burst(field, item, most)?;
    if let Some((_, _, session)) = burst.refused.take() {
        field.probes.close(&[session], CloseMode::Close);
    }
    Ok(burst)
}

/// What is counted, without the minute.
fn unit(kind: LimitKind) -> &'static str {
    kind.unit().split(' ').next().unwrap_or_default()
}

fn per_minute(count: u64, time: Duration) -> u64 {
    (count as f64 * 60.0 / time.as_secs_f64().max(1e-3)) as u64
}

/// So many are served in a window, whose length is known more or less.
fn window(finding: &mut Finding, kind: LimitKind, served: u64, recovery: &Recovery) {
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
    kind: LimitKind,
    item: &mut dyn Item,
    full: u64,
    recovery: &Recovery,
) -> Found<()> {
    let step = (recovery.most / 8).max(Duration::from_millis(5));
    let begun = field.probes.now();
    // When the first and the last refill were served, and the time before each at which none was there.
    let (mut refills, mut first, mut last) = (0u64, (begun, begun), (begun, begun));
    let mut missing = begun;
    while refills < REFILLS && field.probes.now() - begun < FILLING {
        field.probes.pause(step);
        let asked = field.probes.now();
        match item.one(field)? {
            Ok(()) => {
                refills += 1;
                last = (missing, asked);
                if refills == 1 {
                    first = last;
                }
            }
            Err((_, _, session)) => {
                field.probes.close(&[session], CloseMode::Close);
                missing = asked;
            }
        }
    }
    if refills < 2 {
        return Err(Halt::Foreign(format!(
            "of {full} at once {refills} were served again while it was asked for {} s",
            FILLING.as_secs()
        )));
    }
    // Each came between two questions.
    let between = (refills - 1) as f64 * 60.0;
    let (shortest, longest) = (last.0.saturating_sub(first.1), last.1.saturating_sub(first.0));
    let (low, high) = (between / longest.as_secs_f64().max(1e-3), between / shortest.as_secs_f64().max(1e-3));
    finding.window_ms = Some(6e4 / ((low + high) / 2.0));
    finding.remark(format!(
        "about {full} {} are served at once, and then {:.2} a second",
        unit(kind),
        (low + high) / 120.0
    ));
    finding.between(low as u64, high.ceil() as u64, "one is asked for now and then");
    Ok(())
}

/// Whether sessions that are held count for as long as they are held: then what showed is a limit of sessions at once,
/// whose slots are free late, and none by time.
fn held_count(field: &mut Field<'_>, finding: &mut Finding) -> Found<()> {
    let Some(window) = finding.window_ms.map(|ms| Duration::from_secs_f64(ms / 1e3)) else { return Ok(()) };
    field.probes.pause(window + MARGIN);
    finding.trials += 1;
    let before = refused_burst(field, &mut Connections, u64::MAX)?;
    field.probes.pause(window + MARGIN);
    // Half of what is served; what a bucket gave before is given again.
    let hold = (before.served / 2).max(1);
    let mut held = Vec::new();
    for _ in 0..hold {
        field.afford()?;
        match field.probes.open(&[ProbeOptions::default()]).pop() {
            Some(OpenOutcome::Open(session)) => held.push(session),
            Some(OpenOutcome::Refused(refusal)) => field.probes.close(&[refusal.session], CloseMode::Close),
            _ => return Ok(()),
        }
    }
    field.probes.pause(window + MARGIN);
    let dead = field.dead(&held).len();
    let beside = refused_burst(field, &mut Connections, before.served.saturating_add(1))?;
    let kept = held.len() as u64;
    field.probes.close(&held, CloseMode::Quit);
    if dead > 0 {
        finding.remark("sessions that were held ended by themselves: whether sessions at once are counted cannot be told");
        finding.verdict = Verdict::Unstable;
    } else if beside.served + kept.div_ceil(2) <= before.served {
        finding.unmet(0);
        finding.at_least = None;
        finding.verdict = Verdict::Obstructed;
        finding.remark(format!(
            "beside {kept} sessions that were held only {} were served, and {} when none was: sessions at once are limited \
             first, and their slots are free late",
            beside.served, before.served
        ));
    }
    Ok(())
}

struct Connections;

impl Item for Connections {
    fn one(&mut self, field: &mut Field<'_>) -> Found<Result<(), (Step, ProbeOutcome, Probe)>> {
        field.afford()?;
        match field.probes.open(&[ProbeOptions::default()]).pop() {
            Some(OpenOutcome::Open(session)) => {
                field.leave(session);
                Ok(Ok(()))
            }
            Some(OpenOutcome::Refused(refusal)) => {
                let met = ProbeOutcome { event: refusal.event, at: field.probes.now() };
                Ok(Err((refusal.step, met, refusal.session)))
            }
            Some(OpenOutcome::OwnFailure(why)) => Err(Halt::Own(why)),
            None => Err(Halt::Own("no session was opened".to_owned())),
        }
    }
}

struct Messages;

impl Item for Messages {
    fn one(&mut self, field: &mut Field<'_>) -> Found<Result<(), (Step, ProbeOutcome, Probe)>> {
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
