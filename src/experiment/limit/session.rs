//! Limits of a session on its messages and on their bytes: message after message, until one is not taken.
//!
//! # Decisions
//! - A session that takes so many messages and no more may count messages or bytes, and its reply may name either or
//!   nothing. Which one it is is shown by messages of another size: the quantity that stays the same is the limit.

use super::field::{Field, Found, Halt, unreadable};
use super::finding::{Finding, Verdict};
use super::kind::LimitKind;
use super::looks::{Look, MOST, bound, look, settle};
use crate::experiment::search::Search;
use crate::generator::probe::{Probe, ProbeOutcome};
use crate::smtp::Step;

/// The sizes of the messages that fill a session, in bytes: the largest of which the first is taken.
const PIECES: [u64; 4] = [64 << 10, 8 << 10, 2 << 10, 0];

/// Messages that were taken in a session, how the next one was not, and the session.
type Filled = (u64, Option<(Step, ProbeOutcome)>, Probe);

/// Sends messages of one size until one is not taken, or so many were.
fn filled(field: &mut Field<'_>, size: u64, most: u64) -> Found<Filled> {
    let mailer = field.mailer(Some(size), 1);
    let session = field.enter()?;
    for served in 0..most {
        field.afford()?;
        let letter = field.letter(&mailer);
        if let Err((step, met)) = field.send(session, &letter) {
            unreadable(&met)?;
            return Ok((served, Some((step, met)), session));
        }
    }
    Ok((most, None, session))
}

/// Messages of a session.
pub(super) fn messages(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    let most = bound(finding.expected, field.setting.bounds.messages, MOST);
    let least = field.mailer(None, 1).minimum();
    look(field, kind, finding, |field, finding, first| {
        let (served, refused, session) = filled(field, least, most)?;
        if let (true, Some((step, met))) = (first, &refused) {
            shown(field, finding, session, *step, met, served)?;
        }
        field.leave(session);
        Ok(Look { served, bit: refused.is_some() })
    })?;
    let Some(value) = finding.value.filter(|_| finding.repeats == finding.looked) else { return Ok(()) };
    // Larger messages: a limit on bytes is met earlier.
    let (served, refused, session) = filled(field, least.saturating_mul(2), value.saturating_add(1))?;
    field.leave(session);
    finding.trials += 1;
    if refused.is_some() && served < value {
        finding.hidden(
            value,
            format!("of twice the size only {served} are taken: the session's bytes are limited first"),
        );
    }
    Ok(())
}

/// A message was not taken: how that showed, and whether a new session works.
fn shown(
    field: &mut Field<'_>,
    finding: &mut Finding,
    session: Probe,
    step: Step,
    met: &ProbeOutcome,
    served: u64,
) -> Found<()> {
    if served == 0 {
        return Err(Halt::Failed(step, Box::new(met.clone())));
    }
    field.shown(finding, step, &met.event, session);
    field.leave(session);
    let begun = field.probes.now();
    match field.one_message() {
        Ok(()) => finding.release_ms = Some((field.probes.now() - begun).as_secs_f64() * 1e3),
        Err(halt @ (Halt::Own(_) | Halt::Spent(_))) => return Err(halt),
        Err(_) => finding.remark("a new session was not served either"),
    }
    Ok(())
}

/// Whether a message of this size is served in a session of its own.
fn is_served_alone(field: &mut Field<'_>, size: u64) -> Found<bool> {
    let session = field.enter()?;
    let mailer = field.mailer(Some(size), 1);
    let letter = field.letter(&mailer);
    let sent = field.send(session, &letter);
    field.leave(session);
    Ok(sent.is_ok())
}

/// Bytes of a session: messages of one size until one is not taken, then the size of the last is searched to the byte.
pub(super) fn octets(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    field.one_message()?;
    let budget = field.setting.bounds.message_octets;
    let most = bound(finding.expected, budget, field.setting.bounds.octets / 4);
    let least = field.mailer(None, 1).minimum();
    // Small enough for a few, and large enough for not too many.
    let largest = finding.expected.map_or(u64::MAX, |expected| (expected / 8).max(least));
    let mut filling = None;
    for piece in PIECES.map(|piece| piece.min(largest).max(least)) {
        finding.trials += 1;
        // The last message of a session is searched up to twice this size: it has to be served alone.
        if piece > least && !is_served_alone(field, piece.saturating_mul(2).saturating_add(least))? {
            continue;
        }
        let messages = (most / piece).saturating_add(1).min(field.setting.bounds.messages);
        let (count, refused, session) = filled(field, piece, messages)?;
        if count > 0 || piece == least {
            filling = Some((piece, count, refused, session));
            break;
        }
        field.leave(session);
    }
    let Some((piece, count, refused, session)) = filling else { return Ok(()) };
    let served = piece.saturating_mul(count);
    let Some((step, met)) = refused else {
        field.leave(session);
        finding.unmet(served);
        finding.judge(0);
        return Ok(());
    };
    shown(field, finding, session, step, &met, count)?;
    field.leave(session);
    // Of another size: as many messages again, or as many bytes?
    let another = if piece > least.saturating_mul(2) { piece / 2 } else { piece.saturating_mul(2) };
    let (again, refused, session) = filled(field, another, count.saturating_mul(4).saturating_add(4))?;
    field.leave(session);
    finding.trials += 1;
    if refused.is_none() || again == count && count > 1 {
        let remark = format!(
            "of messages of {another} bytes as many are taken: their number is limited first, at {count}"
        );
        finding.hidden(served, remark);
        return Ok(());
    }
    finding.between(served, served.saturating_add(piece - 1), "it was not looked for more closely");
    closer(field, finding, piece, count, least)?;
    settle(kind, finding, 0);
    Ok(())
}

/// The largest last message of a session that is nearly full: to the byte.
fn closer(field: &mut Field<'_>, finding: &mut Finding, piece: u64, count: u64, least: u64) -> Found<()> {
    // One message is left out, so that the last is never too small to be one.
    let before = count.saturating_sub(1);
    let filled_up = before.saturating_mul(piece);
    let guess = finding.expected.and_then(|expected| expected.checked_sub(filled_up));
    let mut search = Search::new(piece, piece.saturating_mul(2).saturating_add(least), guess).known(piece);
    let mut agreed = 0;
    let mut check = Vec::new();
    loop {
        let last = match search.next() {
            Some(last) => last,
            // Both ends of the answer twice more.
            None => match (search.found(), check.len()) {
                (Some(found), 0 | 2) => found,
                (Some(found), 1 | 3) => found + 1,
                _ => break,
            },
        };
        let checking = search.next().is_none();
        finding.trials += 1;
        let session = field.enter()?;
        let mailer = field.mailer(Some(piece), 1);
        let mut served = true;
        for _ in 0..before {
            field.afford()?;
            let letter = field.letter(&mailer);
            served = served && field.send(session, &letter).is_ok();
        }
        let mailer = field.mailer(Some(last), 1);
        let letter = field.letter(&mailer);
        served = served && field.send(session, &letter).is_ok();
        field.leave(session);
        if checking {
            agreed += u64::from(served == (check.len() % 2 == 0));
            check.push(served);
        } else {
            search.tell(last, served);
        }
    }
    (finding.looked, finding.repeats) = (3, 1 + agreed / 2);
    match search.found().filter(|_| agreed == 4) {
        Some(last) => {
            finding.inexact = None;
            finding.exactly(filled_up.saturating_add(last));
            finding.remark("bytes of content are counted, without commands and dots stuffed");
        }
        None => {
            finding.inexact = Some("it was not the same each time".to_owned());
            finding.verdict = Verdict::Unstable;
        }
    }
    Ok(())
}
