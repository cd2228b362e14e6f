//! Limits by time: sessions, or messages, one after the other as fast as they go, so that no limit on how many there are at
//! once is met; then how long until one more is served, and how many are then.
//!
//! # Decisions
//! - Two kinds of listeners are told apart by what is served after the wait: those that count in windows serve as many
//!   again, those that let a bucket fill up serve one.
//! - The value is a rate, so that both kinds can be compared with what was configured; it is a bracket, and says why.

use std::time::Duration;

use super::field::{Field, Found, Halt};
use super::finding::{Finding, Verdict};
use super::{Kind, is_foreign};
use crate::generator::hands::{Leave, Met, Opened, Session, Way};
use crate::smtp::Step;

/// How long a window is waited for, if the search may wait that long.
const WINDOW: Duration = Duration::from_secs(75);
/// No count goes on for longer.
const COUNTING: Duration = Duration::from_secs(20);
/// So many refills tell the rate of a bucket, or as many as come in this time.
const REFILLS: u64 = 10;
const FILLING: Duration = Duration::from_secs(8);
/// Between two questions whether one more is served.
const ASKING: Duration = Duration::from_millis(20);

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
    let most = field.setting.bounds.messages;
    finding.trials += 1;
    (finding.looked, finding.repeats) = (1, 1);
    let mut first = count(field, item, most)?;
    let Some((step, met, session)) = first.refused.take() else {
        finding.unmet(per_minute(first.served, first.took));
        finding.remark(format!(
            "{} {} in {:.1} s met no limit by time",
            first.served,
            unit(kind),
            first.took.as_secs_f64()
        ));
        finding.judge(0);
        return Ok(());
    };
    field.shown(finding, step, &met.what, session);
    field.hands.leave(&[session], Leave::Close);
    if let Some(other) = is_foreign(kind, finding) {
        finding.unmet(per_minute(first.served, first.took));
        finding.verdict = if finding.expected.is_some() { Verdict::Obstructed } else { Verdict::NotReached };
        finding.remark(format!("{other} bit first, after {} {}", first.served, unit(kind)));
        return Ok(());
    }
    let refused = field.hands.now();
    while let Err((_, _, session)) = item.one(field)? {
        field.hands.leave(&[session], Leave::Close);
        if field.hands.now() - refused > WINDOW {
            finding.between(0, per_minute(first.served, first.took), "it did not let go again");
            finding.remark(format!("release: never ({} s)", WINDOW.as_secs()));
            finding.judge(0);
            return Ok(());
        }
        field.hands.pause(ASKING);
    }
    let again = field.hands.now();
    let recovery = again - refused;
    finding.release_ms = Some(recovery.as_secs_f64() * 1e3);
    finding.trials += 1;
    let mut second = count(field, item, most)?;
    if let Some((_, _, session)) = second.refused.take() {
        field.hands.leave(&[session], Leave::Close);
    }
    // The one that ended the wait is of the second count.
    let served = second.served + 1;
    if served * 2 >= first.served && first.served > 2 {
        window(finding, kind, first.served, served, again - first.begun);
    } else {
        let (refills, took) = refills(field, item, again, second.served)?;
        bucket(finding, kind, &first, refills as f64 / took.as_secs_f64().max(1e-3));
    }
    finding.judge(0);
    Ok(())
}

/// How many more are served by a bucket that is empty, and in how long: as many as tell its rate, or as time is given.
fn refills(
    field: &mut Field<'_>,
    item: &mut dyn Item,
    since: Duration,
    served: u64,
) -> Found<(u64, Duration)> {
    let (mut refills, mut last) = (served, field.hands.now());
    let begun = last;
    while refills < REFILLS && field.hands.now() - begun < FILLING || refills == 0 {
        field.hands.pause(ASKING);
        match item.one(field)? {
            Ok(()) => (refills, last) = (refills + 1, field.hands.now()),
            Err((_, _, session)) => field.hands.leave(&[session], Leave::Close),
        }
        if field.hands.now() - begun > WINDOW {
            break;
        }
    }
    Ok((refills, last - since))
}

/// What was served until one was not.
struct Counted {
    served: u64,
    begun: Duration,
    took: Duration,
    refused: Option<(Step, Met, Session)>,
}

fn count(field: &mut Field<'_>, item: &mut dyn Item, most: u64) -> Found<Counted> {
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
    Ok(Counted { served, begun, took: field.hands.now() - begun, refused })
}

/// What is counted, without the minute.
fn unit(kind: &Kind) -> &'static str {
    kind.unit.split(' ').next().unwrap_or(kind.unit)
}

fn per_minute(count: u64, time: Duration) -> u64 {
    (count as f64 * 60.0 / time.as_secs_f64().max(1e-3)) as u64
}

/// As many are served again when the window is over.
fn window(finding: &mut Finding, kind: &Kind, served: u64, again: u64, cycle: Duration) {
    finding.window_ms = Some(cycle.as_secs_f64() * 1e3);
    finding.remark(format!(
        "{served} {} are served in a window of about {:.1} s, and then {again} again",
        unit(kind),
        cycle.as_secs_f64()
    ));
    // The first count may have begun in the midst of a window.
    let most = served.max(again);
    // Listeners count in whole seconds, and the end of a window was seen a little late.
    let shortest = cycle.saturating_sub(Duration::from_secs(1)).max(cycle / 2);
    let (low, high) = (per_minute(most, cycle) * 9 / 10, per_minute(most + 1, shortest));
    finding.between(low, high, "when a window begins, and how its seconds are counted, is not known");
}

/// What was there is served at once, and then what is filled in.
fn bucket(finding: &mut Finding, kind: &Kind, first: &Counted, refill: f64) {
    finding.window_ms = Some(1e3 / refill);
    let filled = (first.took.as_secs_f64() * refill).round() as u64;
    finding.remark(format!(
        "about {} {} are served at once, and then {refill:.2} a second",
        first.served.saturating_sub(filled),
        unit(kind)
    ));
    let rate = refill * 60.0;
    finding.between((rate * 0.85) as u64, (rate * 1.15).ceil() as u64, "one is asked for now and then");
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
