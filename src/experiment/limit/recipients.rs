//! The limit on the recipients of a message: the search sends RCPT commands until one is refused, and checks whether the
//! message is then accepted for the other recipients. If no recipient is refused, the reply to the message decides: the
//! limit may be enforced at DATA or at the final dot. The refused recipient is also sent alone: if it is refused then, too, its
//! number is not the reason.

use super::kind::LimitKind;
use super::prober::{Halt, Probed, Prober, unreadable};
use super::repeats::{MOST, Repeat, bound, repeat};
use super::result::LimitResult;
use super::value_search::ValueSearch;
use crate::generator::probe::{Probe, ProbeOutcome};
use crate::smtp::Step;

/// Measures the limit on the recipients of a message.
pub(super) fn find(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    let mut most = bound(result.expected, prober.setting.bounds.messages, MOST);
    if let Some(listed) = prober.setting.mail.to.listed().filter(|listed| *listed < most) {
        most = listed;
        result.remark(format!("`to_file` has only {listed} recipients"));
    }
    let mut last = None;
    repeat(prober, kind, result, |prober, result, first| {
        let (session, served, refused) = envelope(prober, most)?;
        let Some((recipient, outcome)) = refused else {
            prober.leave(session);
            return later(prober, result, most, first);
        };
        if first {
            last = Some((recipient, outcome.clone()));
            if prober.shown(result, Step::Rcpt, &outcome.event, session) {
                let sent = prober.finish_message(session);
                let remark = match &sent {
                    Ok(()) => "the message was accepted for the recipients that were accepted at RCPT",
                    Err((_, outcome)) if unreadable(outcome).is_err() => {
                        "no valid reply came to the message: whether it was accepted for the recipients that were \
                         accepted at RCPT is not known"
                    }
                    Err(_) => {
                        "the message was accepted for no recipient, although some were accepted at RCPT"
                    }
                };
                result.remark(remark);
                result.inside_alive = match sent {
                    Ok(()) => prober.is_alive(session),
                    Err((_, outcome)) => unreadable(&outcome).ok().map(|()| false),
                };
            } else if result.closed == Some(false) {
                result.remark(
                    "no reply came to a NOOP: whether the message is accepted for the recipients that were accepted at RCPT is \
                     not known",
                );
            }
        }
        prober.leave(session);
        Ok(Repeat { served, refused: true })
    })?;
    match last {
        Some((recipient, outcome)) => is_of_number(prober, result, &recipient, &outcome),
        None => Ok(()),
    }
}

/// Checks that a refused recipient is not refused for its own sake: each message may begin with the same recipients, and then
/// an unknown one is refused at the same count in every repeat.
///
/// # Errors
/// The recipient is refused alone as well.
fn is_of_number(
    prober: &mut Prober<'_>,
    result: &mut LimitResult,
    recipient: &str,
    refusal: &ProbeOutcome,
) -> Probed<()> {
    let class = refusal.code() / 100;
    if !matches!(class, 4 | 5) {
        return Ok(());
    }
    result.trials += 1;
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer);
    let reply = match prober.rcpt_alone(&letter, recipient) {
        Ok(outcome) if outcome.code() / 100 == class => {
            outcome.reply().map_or(String::new(), |reply| reply.to_string().replace('\n', " / "))
        }
        Ok(outcome) if unreadable(&outcome).is_ok() => return Ok(()),
        // The measurement stands, although the listener did not serve its control.
        Ok(_) | Err(Halt::Refused(_) | Halt::Failed(..) | Halt::NotMeasurable(_)) => {
            result.remark(format!(
                "whether {recipient} is accepted alone is not known: no session for it was served"
            ));
            return Ok(());
        }
        Err(halt) => return Err(halt),
    };
    result.not_reached(result.at_least.unwrap_or(0));
    Err(Halt::NotMeasurable(format!("{recipient} is refused alone as well: {reply}")))
}

/// A refused recipient, with the refusal.
type RefusedRecipient = (String, ProbeOutcome);

/// Opens a session and sends MAIL, and RCPT until one is refused or `most` are accepted. Returns the number that was
/// accepted, and the recipient that was refused.
fn envelope(prober: &mut Prober<'_>, most: u64) -> Probed<(Probe, u64, Option<RefusedRecipient>)> {
    let session = prober.enter()?;
    let mailer = prober.mailer(None, u32::try_from(most).unwrap_or(u32::MAX));
    let letter = prober.letter(&mailer);
    prober.begin(session, &letter)?;
    for (served, recipient) in (0..most).zip(&letter.recipients) {
        prober.afford()?;
        let outcome = prober.rcpt(session, &letter, recipient);
        if outcome.accepts(Step::Rcpt) {
            continue;
        }
        unreadable(&outcome)?;
        if served == 0 {
            return Err(Halt::Failed(Step::Rcpt, Box::new(outcome)));
        }
        return Ok((session, served, Some((recipient.clone(), outcome))));
    }
    Ok((session, most, None))
}

/// Finds a limit that is enforced after RCPT: the largest number of recipients with which a message is accepted.
fn later(prober: &mut Prober<'_>, result: &mut LimitResult, most: u64, first: bool) -> Probed<Repeat> {
    let mut search = ValueSearch::new(1, most, None);
    // The largest number is tried first. If it is accepted, there is nothing to search.
    let mut next = Some(most);
    let mut shown = None;
    while let Some(count) = next {
        result.trials += 1;
        let (session, accepted, refused) = envelope(prober, count)?;
        let came = match refused {
            Some((_, outcome)) => Err((Step::Rcpt, outcome)),
            None => prober.finish_message(session),
        };
        search.tell(count, came.is_ok() && accepted == count);
        if let Err((step, outcome)) = came {
            unreadable(&outcome)?;
            if count == 1 {
                return Err(Halt::Failed(step, Box::new(outcome)));
            }
            if first {
                prober.shown(result, step, &outcome.event, session);
            }
            shown = Some(step);
        }
        prober.leave(session);
        next = search.next();
    }
    match (search.found(), shown) {
        (Some(served), Some(step)) => {
            result.remark(format!("every recipient was accepted at RCPT: the limit is enforced at {step}"));
            Ok(Repeat { served, refused: true })
        }
        (None, Some(_)) => Err(Halt::NotMeasurable("the replies contradict each other".to_owned())),
        _ => {
            if first {
                result.remark(
                    "a message to all of them was accepted; whether each of them gets it does not show in the dialogue",
                );
            }
            Ok(Repeat { served: most, refused: false })
        }
    }
}
