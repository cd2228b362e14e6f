//! The limits of a session on the number of its messages and on their bytes: the search sends one message after the other
//! until one is not accepted.
//!
//! # Decisions
//! - The listener may count messages or bytes, and its reply may name one of them or neither. Messages of another size show
//!   what it counts: the quantity that stays the same. Where fewer larger messages are accepted, those of the first size must
//!   still be accepted, because a limit of their rate may be reached by then.

use super::kind::LimitKind;
use super::prober::{Halt, Probed, Prober, unreadable};
use super::repeats::{MOST, Repeat, bound, repeat, settle};
use super::result::{LimitResult, LimitVerdict};
use super::value_search::ValueSearch;
use crate::generator::probe::{Probe, ProbeOutcome};
use crate::smtp::Step;

/// The sizes of the messages that fill a session, in bytes. The largest size at which a first message is accepted is used.
const PIECES: [u64; 4] = [64 << 10, 8 << 10, 2 << 10, 0];

/// The number of messages that were accepted in a session, the refusal of the next one, and the session.
type FilledSession = (u64, Option<(Step, ProbeOutcome)>, Probe);

/// Sends messages of one size until one is not accepted, or `most` were accepted.
fn filled(prober: &mut Prober<'_>, size: u64, most: u64) -> Probed<FilledSession> {
    let mailer = prober.mailer(Some(size), 1);
    let session = prober.enter()?;
    for served in 0..most {
        prober.afford()?;
        let letter = prober.letter(&mailer);
        if let Err((step, outcome)) = prober.send(session, &letter) {
            unreadable(&outcome)?;
            return Ok((served, Some((step, outcome)), session));
        }
    }
    Ok((most, None, session))
}

/// Measures the limit on the messages of a session.
pub(super) fn messages(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    let most = bound(result.expected, prober.setting.bounds.messages, MOST);
    let least = prober.mailer(None, 1).minimum();
    repeat(prober, kind, result, |prober, result, first| {
        let (served, refused, session) = filled(prober, least, most)?;
        if let (true, Some((step, outcome))) = (first, &refused) {
            shown(prober, result, session, *step, outcome, served)?;
        }
        prober.leave(session);
        Ok(Repeat { served, refused: refused.is_some() })
    })?;
    let Some(value) = result.value.filter(|_| result.repeats == result.looked) else { return Ok(()) };
    // With larger messages a limit on bytes is reached earlier.
    let (served, refused, session) = filled(prober, least.saturating_mul(2), value.saturating_add(1))?;
    prober.leave(session);
    result.trials += 1;
    let Some((_, refusal)) = refused.filter(|_| served < value) else { return Ok(()) };
    // A rate may be reached by now. Then messages of the first size are refused earlier, too.
    let (again, refused, session) = filled(prober, least, value)?;
    prober.leave(session);
    result.trials += 1;
    if refused.is_none() {
        result.hidden(
            value,
            format!("of twice the size only {served} are accepted: the session's bytes are limited first"),
        );
        return Ok(());
    }
    result.remark(format!(
        "in a later session only {again} of the same size were accepted: messages are refused earlier by now, as by a limit of \
         their rate"
    ));
    // The repeats count only if their refusal differs from the one of the rate.
    let is_same = refusal.reply().map(ToString::to_string) == result.reply;
    if is_same || result.looked == 1 {
        result.between(again.min(served), value, "later sessions differ");
        result.verdict = LimitVerdict::Unstable;
    }
    Ok(())
}

/// Writes to the result how a message was refused, and whether a new session is served.
fn shown(
    prober: &mut Prober<'_>,
    result: &mut LimitResult,
    session: Probe,
    step: Step,
    outcome: &ProbeOutcome,
    served: u64,
) -> Probed<()> {
    if served == 0 {
        return Err(Halt::Failed(step, Box::new(outcome.clone())));
    }
    prober.shown(result, step, &outcome.event, session);
    prober.leave(session);
    let start = prober.probes.now();
    match prober.one_message() {
        Ok(()) => result.release_ms = Some((prober.probes.now() - start).as_secs_f64() * 1e3),
        Err(halt @ (Halt::Own(_) | Halt::Spent(_))) => return Err(halt),
        Err(_) => result.remark("a new session was not served either"),
    }
    Ok(())
}

/// Whether a message of this size is served in its own session.
fn is_served_alone(prober: &mut Prober<'_>, size: u64) -> Probed<bool> {
    let session = prober.enter()?;
    let mailer = prober.mailer(Some(size), 1);
    let letter = prober.letter(&mailer);
    let is_accepted = prober.is_accepted(session, &letter)?;
    prober.leave(session);
    Ok(is_accepted)
}

/// Measures the limit on the bytes of a session: sends messages of one size until one is refused, and then searches the
/// size of the last message to the byte.
pub(super) fn bytes(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    prober.one_message()?;
    let budget = prober.setting.bounds.message_bytes;
    let most = bound(result.expected, budget, prober.setting.bounds.bytes / 4);
    let least = prober.mailer(None, 1).minimum();
    let messages = if result.expected.is_some() { MOST } else { prober.setting.bounds.messages };
    // The messages are so small that eight fit into the expected limit, unless the smallest size is larger.
    let largest = result.expected.map_or(u64::MAX, |expected| (expected / 8).max(least));
    let mut filling = None;
    for piece in PIECES.map(|piece| piece.min(largest).max(least)) {
        result.trials += 1;
        // The size of the last message is searched up to twice this size, so such a message must be served alone.
        if piece > least && !is_served_alone(prober, piece.saturating_mul(2).saturating_add(least))? {
            continue;
        }
        let enough = (most / piece).saturating_add(1);
        let (count, refused, session) = filled(prober, piece, enough.min(messages))?;
        if count > 0 || piece == least {
            filling = Some((piece, count, refused, session));
            break;
        }
        prober.leave(session);
    }
    let Some((piece, count, refused, session)) = filling else { return Ok(()) };
    let served = piece.saturating_mul(count);
    let Some((step, outcome)) = refused else {
        prober.leave(session);
        result.not_reached(served);
        result.judge(0);
        return Ok(());
    };
    shown(prober, result, session, step, &outcome, count)?;
    prober.leave(session);
    // Messages of another size show whether the same number of messages or of bytes is accepted. After a single message
    // they are a quarter as large, so that two fit even if the listener counts more than their content.
    let part = if count == 1 { 4 } else { 2 };
    let another = if piece > least.saturating_mul(part) { piece / part } else { piece.saturating_mul(2) };
    let (again, refused, session) = filled(prober, another, count.saturating_mul(4).saturating_add(4))?;
    prober.leave(session);
    result.trials += 1;
    if refused.is_none() {
        result.not_reached(served);
        result.verdict = LimitVerdict::Unstable;
        result.inexact = Some("neither bytes nor messages of a session explain the refusal".to_owned());
        result.remark(format!(
            "message {} of {piece} bytes was refused, but {again} messages of {another} bytes were accepted in another session",
            count.saturating_add(1)
        ));
        return Ok(());
    }
    if again == count {
        let remark = format!(
            "of messages of {another} bytes as many are accepted: their number is limited first, at {count}"
        );
        result.hidden(served, remark);
        return Ok(());
    }
    result.between(served, served.saturating_add(piece - 1), "it was not searched more closely");
    closer(prober, result, piece, count, least)?;
    settle(kind, result, 0);
    Ok(())
}

/// Finds the largest last message of a session that is nearly full, to the byte.
fn closer(
    prober: &mut Prober<'_>,
    result: &mut LimitResult,
    piece: u64,
    count: u64,
    least: u64,
) -> Probed<()> {
    // One message is left out, so that the last one is never too small.
    let before = count.saturating_sub(1);
    let filled_up = before.saturating_mul(piece);
    let guess = result.expected.and_then(|expected| expected.checked_sub(filled_up));
    let mut search =
        ValueSearch::new(piece, piece.saturating_mul(2).saturating_add(least), guess).known(piece);
    let mut agreed = 0;
    let mut check = Vec::new();
    loop {
        let last = match search.next() {
            Some(last) => last,
            // The value that was found, and the value after it, are tried twice more.
            None => match (search.found(), check.len()) {
                (Some(found), 0 | 2) => found,
                (Some(found), 1 | 3) => found + 1,
                _ => break,
            },
        };
        let checking = search.next().is_none();
        result.trials += 1;
        let session = prober.enter()?;
        let mailer = prober.mailer(Some(piece), 1);
        let mut served = true;
        for _ in 0..before {
            prober.afford()?;
            let letter = prober.letter(&mailer);
            served = served && prober.is_accepted(session, &letter)?;
        }
        let mailer = prober.mailer(Some(last), 1);
        let letter = prober.letter(&mailer);
        served = served && prober.is_accepted(session, &letter)?;
        prober.leave(session);
        if checking {
            agreed += u64::from(served == (check.len() % 2 == 0));
            check.push(served);
        } else {
            search.tell(last, served);
        }
    }
    (result.looked, result.repeats) = (3, 1 + agreed / 2);
    match search.found().filter(|_| agreed == 4) {
        Some(last) => {
            result.inexact = None;
            result.exactly(filled_up.saturating_add(last));
            result.remark("bytes of content are counted, without commands and dots stuffed");
        }
        None if search.at_most().is_none() => {
            let largest = search.at_least();
            result.inexact = Some(format!(
                "message {} of {piece} bytes was refused, but one of {largest} bytes was accepted as message {count}",
                count.saturating_add(1)
            ));
            result.verdict = LimitVerdict::Unstable;
        }
        None => {
            result.inexact = Some("the repeats differ".to_owned());
            result.verdict = LimitVerdict::Unstable;
        }
    }
    Ok(())
}
