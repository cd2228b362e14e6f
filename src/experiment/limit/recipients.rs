//! The limit on recipients of a message: RCPT after RCPT, until one is refused, and what becomes of the others. Where none
//! is refused the whole message decides: the limit may be enforced at DATA, or at the final dot.

use super::field::{Field, Found, Halt, unreadable};
use super::finding::Finding;
use super::kind::LimitKind;
use super::looks::{Look, MOST, bound, look};
use crate::experiment::search::Search;
use crate::generator::probe::{Probe, ProbeOutcome};
use crate::smtp::Step;

/// Recipients of a message.
pub(super) fn find(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    let most = bound(finding.expected, field.setting.bounds.messages, MOST);
    look(field, kind, finding, |field, finding, first| {
        let (session, served, refused) = envelope(field, most)?;
        let Some(met) = refused else {
            field.leave(session);
            return later(field, finding, most, first);
        };
        if first {
            field.shown(finding, Step::Rcpt, &met.event, session);
            if finding.closed == Some(false) {
                let sent = field.finish_message(session).is_ok();
                finding.remark(match sent {
                    true => "the message went to those that were accepted",
                    false => "the message went to nobody, although some were accepted",
                });
                finding.inside_alive = Some(sent && field.is_alive(session));
            }
        }
        field.leave(session);
        Ok(Look { served, bit: true })
    })
}

/// A session with MAIL and as many RCPT as are accepted, at most `most`; how the next was refused.
fn envelope(field: &mut Field<'_>, most: u64) -> Found<(Probe, u64, Option<ProbeOutcome>)> {
    let session = field.enter()?;
    let mailer = field.mailer(None, u32::try_from(most).unwrap_or(u32::MAX));
    let letter = field.letter(&mailer);
    let met = field.mail(session, &letter);
    if met.code() / 100 != 2 {
        return Err(Halt::Failed(Step::Mail, Box::new(met)));
    }
    for (served, recipient) in (0..most).zip(&letter.recipients) {
        field.afford()?;
        let met = field.rcpt(session, &letter, recipient);
        if met.code() / 100 == 2 {
            continue;
        }
        unreadable(&met)?;
        if served == 0 {
            return Err(Halt::Failed(Step::Rcpt, Box::new(met)));
        }
        return Ok((session, served, Some(met)));
    }
    Ok((session, most, None))
}

/// The limit as it shows after RCPT: the largest number of recipients with which a message is accepted.
fn later(field: &mut Field<'_>, finding: &mut Finding, most: u64, first: bool) -> Found<Look> {
    let mut search = Search::new(1, most, None);
    // The largest first: where it is accepted nothing is to be searched.
    let mut next = Some(most);
    let mut shown = None;
    while let Some(count) = next {
        finding.trials += 1;
        let (session, accepted, refused) = envelope(field, count)?;
        let came = match refused {
            Some(met) => Err((Step::Rcpt, met)),
            None => field.finish_message(session),
        };
        search.tell(count, came.is_ok() && accepted == count);
        if let Err((step, met)) = came {
            unreadable(&met)?;
            if count == 1 {
                return Err(Halt::Failed(step, Box::new(met)));
            }
            if first {
                field.shown(finding, step, &met.event, session);
            }
            shown = Some(step);
        }
        field.leave(session);
        next = search.next();
    }
    match (search.found(), shown) {
        (Some(served), Some(step)) => {
            finding.remark(format!("every recipient was accepted at RCPT: the limit is enforced at {step}"));
            Ok(Look { served, bit: true })
        }
        (None, Some(_)) => Err(Halt::Foreign("its answers contradict each other".to_owned())),
        _ => {
            if first {
                finding.remark(
                    "a message to all of them was accepted; whether each of them gets it does not show in the dialogue",
                );
            }
            Ok(Look { served: most, bit: false })
        }
    }
}
