//! Limits of a session on its messages and on their octets: message after message, until one is not taken.

use super::Kind;
use super::field::{Field, Found, Halt};
use super::finding::Finding;
use super::looks::{Look, bound, look, settle};
use crate::experiment::search::Search;
use crate::generator::hands::{Met, Session};
use crate::smtp::Step;

/// The size of the messages that fill a session, in octets.
const PIECE: u64 = 64 * 1024;

/// Messages of a session.
pub(super) fn messages(field: &mut Field<'_>, kind: &Kind, finding: &mut Finding) -> Found<()> {
    let most = bound(finding.expected, field.setting.bounds.messages);
    let mailer = field.mailer(None, 1);
    look(field, kind, finding, |field, finding, first| {
        let session = field.enter()?;
        for served in 0..most {
            field.afford()?;
            let letter = field.letter(&mailer);
            if let Err((step, met)) = field.send(session, &letter) {
                if first {
                    refused(field, finding, session, step, &met, served)?;
                }
                field.leave(session);
                return Ok(Look { served, bit: true });
            }
        }
        field.leave(session);
        Ok(Look { served: most, bit: false })
    })
}

/// A message was not taken: how that showed, and whether a new session works.
fn refused(
    field: &mut Field<'_>,
    finding: &mut Finding,
    session: Session,
    step: Step,
    met: &Met,
    served: u64,
) -> Found<()> {
    if served == 0 {
        return Err(Halt::Failed(step, Box::new(met.clone())));
    }
    field.shown(finding, step, &met.what, session);
    let begun = field.hands.now();
    match field.one_message() {
        Ok(()) => finding.release_ms = Some((field.hands.now() - begun).as_secs_f64() * 1e3),
        Err(Halt::Own(why)) => return Err(Halt::Own(why)),
        Err(_) => finding.remark("a new session was not served either"),
    }
    Ok(())
}

/// Octets of a session: messages of one size until one is not taken, then the size of the last is searched to the octet.
pub(super) fn octets(field: &mut Field<'_>, kind: &Kind, finding: &mut Finding) -> Found<()> {
    let budget = field.setting.bounds.message_octets;
    let most = bound(finding.expected, budget);
    // Small enough for a few, and large enough for not too many.
    let piece = finding.expected.map_or(PIECE, |expected| (expected / 8).clamp(1024, PIECE));
    let mailer = field.mailer(Some(piece), 1);
    let session = field.enter()?;
    finding.trials += 1;
    let (mut served, mut count) = (0, 0);
    let met = loop {
        field.afford()?;
        if served >= most || count >= field.setting.bounds.messages {
            break None;
        }
        let letter = field.letter(&mailer);
        match field.send(session, &letter) {
            Ok(_) => (served, count) = (served + piece, count + 1),
            Err((step, met)) => break Some((step, met)),
        }
    };
    let Some((step, met)) = met else {
        field.leave(session);
        finding.unmet(served);
        finding.judge(0);
        return Ok(());
    };
    refused(field, finding, session, step, &met, count)?;
    field.leave(session);
    finding.between(served, served + piece - 1, "it was not looked for more closely");
    if super::is_foreign(kind, finding).is_none() {
        closer(field, finding, piece, count)?;
    }
    settle(kind, finding, 0);
    Ok(())
}

/// The largest last message of a session that has taken one less than it can: to the octet, where that much is affordable.
fn closer(field: &mut Field<'_>, finding: &mut Finding, piece: u64, count: u64) -> Found<()> {
    let before = count.saturating_sub(1);
    let filling = field.mailer(Some(piece), 1);
    let guess = finding.expected.and_then(|expected| expected.checked_sub(before * piece));
    let mut search = Search::new(piece, 2 * piece - 1, guess).known(piece);
    let least = filling.minimum();
    while let Some(last) = search.next().filter(|last| *last >= least) {
        finding.trials += 1;
        let session = field.enter()?;
        let mut filled = true;
        for _ in 0..before {
            let letter = field.letter(&filling);
            filled &= field.send(session, &letter).is_ok();
        }
        let mailer = field.mailer(Some(last), 1);
        let letter = field.letter(&mailer);
        let served = filled && field.send(session, &letter).is_ok();
        field.leave(session);
        search.tell(last, served);
    }
    (finding.looked, finding.repeats) = (1, 1);
    match search.found() {
        Some(last) => {
            finding.inexact = None;
            finding.exactly(before * piece + last);
            finding.remark("octets of content are counted, without commands and dots stuffed");
        }
        None => finding.inexact = Some("it was not the same each time".to_owned()),
    }
    Ok(())
}
