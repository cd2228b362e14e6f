//! Limits on the content of a message: the number of hops, bare CR and LF, and the invalid ends of data that SMTP smuggling
//! uses.
//!
//! # Decisions
//! - A smuggling probe is one write: the content, the invalid end, a second transaction, and a valid end. The listener can
//!   be smuggled through if it accepts the second message: 354 to its DATA, and 2yz to its content.

use std::time::Duration;

use super::kind::LimitKind;
use super::prober::{Halt, Letter, Probed, Prober, unreadable};
use super::repeats::{MOST, bound, settle};
use super::result::{LimitResult, LimitVerdict};
use super::value_search::ValueSearch;
use crate::generator::probe::{ProbeEvent, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::client::is_positive;

/// How often a limit is measured again after the first time.
const AGAIN: u64 = 2;
/// The largest number of hops that is tried if no value is expected. No listener allows more on purpose.
const HOPS: u64 = 200;
/// The largest number of replies that are read: to a second transaction, and to each line of its content.
const MOST_REPLIES: usize = 40;
/// The longest wait for each reply after the first two.
const MORE: Duration = Duration::from_millis(500);
/// A command that no listener knows, sent after the content. Its reply is the last one.
const MARK: &[u8] = b"XYZZY\r\n";

/// Searches the limit on the number of `Received:` fields of a message.
pub(super) fn hops(prober: &mut Prober<'_>, kind: LimitKind, result: &mut LimitResult) -> Probed<()> {
    prober.one_message()?;
    let mailer = prober.mailer(None, 1);
    let most = bound(result.expected, HOPS, MOST / 10);
    let mut search = ValueSearch::new(8, most, result.expected);
    let mut shown = None;
    while let Some(count) = search.next() {
        result.trials += 1;
        let session = prober.enter()?;
        let letter = prober.letter(&mailer);
        let letter = letter.with_header(&trace(prober, "Received", count));
        let sent = prober.send(session, &letter);
        search.tell(count, sent.is_ok());
        if let Err((step, outcome)) = sent {
            unreadable(&outcome)?;
            prober.shown(result, step, &outcome.event, session);
            shown = Some(count);
        }
        prober.leave(session);
    }
    (result.looked, result.repeats) = (1, 1);
    match (search.found(), shown) {
        (Some(hops), _) => {
            result.exactly(hops);
            for _ in 0..AGAIN {
                result.looked += 1;
                let mut same = true;
                for (count, served) in [(hops, true), (hops + 1, false)] {
                    let session = prober.enter()?;
                    let letter = prober.letter(&mailer);
                    let letter = letter.with_header(&trace(prober, "Received", count));
                    same = same && prober.is_accepted(session, &letter)? == served;
                    prober.leave(session);
                }
                result.repeats += u64::from(same);
            }
            if result.repeats < result.looked {
                result.between(0, most, "the repeats differ");
                result.verdict = LimitVerdict::Unstable;
            }
        }
        (None, Some(_)) => {
            result.between(search.at_least(), most, "the replies contradict each other");
            result.verdict = LimitVerdict::Unstable;
        }
        (None, None) => result.not_reached(search.at_least()),
    }
    if let Some(hops) = result.value.filter(|_| result.verdict != LimitVerdict::Unstable) {
        // The control has as many fields with another name. If it is refused, too, hops are not the reason.
        let session = prober.enter()?;
        let letter = prober.letter(&mailer);
        let letter = letter.with_header(&trace(prober, "X-Filler", hops + 1));
        result.trials += 1;
        if !prober.is_accepted(session, &letter)? {
            result.hidden(
                hops,
                "a header as long without Received: fields was refused as well: its length is limited first",
            );
        }
        prober.leave(session);
    }
    settle(kind, result, 0);
    Ok(())
}

/// Returns this many header fields with this name and the value of a trace field.
fn trace(prober: &Prober<'_>, name: &str, count: u64) -> Vec<u8> {
    let lines = (0..count).map(|n| {
        format!(
            "{name}: from relay{n}.load.example (relay{n}.load.example [192.0.2.1])\r\n\tby relay{}.load.example with ESMTP; {}\r\n",
            n + 1, prober.setting.date
        )
    });
    lines.collect::<String>().into_bytes()
}

/// Tests a bare LF or CR within the text of a message.
pub(super) fn bare(
    prober: &mut Prober<'_>,
    kind: LimitKind,
    end: &[u8],
    result: &mut LimitResult,
) -> Probed<()> {
    prober.one_message()?;
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer).with_data().without_size();
    let content = [letter.head(), b"one", end, b"two\r\n.\r\n"].concat();
    let mut refused = 0;
    for look in 0..=AGAIN {
        let session = prober.enter()?;
        result.trials += 1;
        result.looked += 1;
        if let Err((step, outcome)) =
            prober.send(session, &Letter { content: content.clone(), ..letter.clone() })
        {
            unreadable(&outcome)?;
            if step != Step::Body {
                return Err(failed((step, outcome)));
            }
            refused += 1;
            if refused == 1 {
                prober.shown(result, step, &outcome.event, session);
            }
        }
        prober.leave(session);
        if look == 0 && refused == 0 {
            break;
        }
    }
    result.repeats = refused.max(result.looked - refused);
    if refused > 0 {
        // The control has no bare line end. If it is refused, too, the line end is not the reason.
        result.trials += 1;
        prober.one_message()?;
    }
    match refused {
        0 => {
            result.not_reached(1);
            result.remark("accepted: only the delivered message shows whether the listener repaired it");
        }
        _ if refused == result.looked => result.exactly(0),
        _ => {
            result.between(0, 1, "the repeats differ");
            result.verdict = LimitVerdict::Unstable;
        }
    }
    settle(kind, result, 0);
    Ok(())
}

/// Tests an invalid end of data (RFC 5321 4.1.1.4), with a second message after it.
pub(super) fn smuggled(prober: &mut Prober<'_>, end: &[u8], result: &mut LimitResult) -> Probed<()> {
    prober.one_message()?;
    let mailer = prober.mailer(None, 1);
    let [first, second] = [(); 2].map(|()| prober.letter(&mailer).with_data().without_size());
    let session = prober.enter()?;
    let envelope = prober.group(session, &second);
    let bytes =
        [first.head(), b"the first message", end, &envelope, second.head(), b"the second\r\n.\r\n"].concat();
    result.trials += 1;
    (result.looked, result.repeats) = (1, 1);
    prober.envelope(session, &first).map_err(failed)?;
    let outcome = prober.data(session, &bytes).map_err(failed)?;
    let mut replies = vec![outcome.code()];
    let mut last = outcome.clone();
    prober.probes.send(session, MARK);
    while replies.len() < MOST_REPLIES && last.code() > 0 {
        last = prober.probes.receive(session, if replies.len() < 2 { prober.setting.patience } else { MORE });
        replies.extend(Some(last.code()).filter(|code| *code > 0));
    }
    // Only the acceptance of the second message proves that mail can be smuggled: the number of other replies depends on
    // how the listener answers unknown commands.
    let asked = replies.iter().skip(1).position(|code| *code == 354).map(|at| at + 1);
    let second = asked.and_then(|at| replies.get(at + 1)).is_some_and(|code| is_positive(Step::Body, *code));
    let closed = Some(matches!(last.event, ProbeEvent::Closed(_)));
    match outcome.code() / 100 {
        // Whatever the listener answered to the first one.
        _ if second => {
            prober.shown_with(result, Step::Body, &outcome.event, closed);
            result.not_reached(1);
            result.verdict = LimitVerdict::Unsafe;
            result
                .remark("accepted as a second message: mail can be smuggled in (CVE-2023-51764 and similar)");
        }
        2 | 4 | 5 if asked.is_some() => {
            prober.shown_with(result, Step::Body, &outcome.event, closed);
            result.remark(
                "what follows it was read as commands, but the second message was not accepted: not proved",
            );
        }
        // The two replies are those to the content and to the mark.
        2 if replies.len() <= 2 => {
            result.exactly(0);
            result.verdict = LimitVerdict::Found;
            result.remark(
                "not an end of the content: all of it was accepted as one message, and none was smuggled in",
            );
        }
        2 => {
            prober.shown_with(result, Step::Body, &outcome.event, closed);
            result.remark(format!(
                "{} replies came to one message and one unknown command, and no second message was accepted: not proved",
                replies.len()
            ));
        }
        0 if matches!(outcome.event, ProbeEvent::Silence) => {
            result.remark("no reply came, neither to it nor to the valid end after it");
        }
        _ => {
            unreadable(&outcome)?;
            prober.shown_with(result, Step::Body, &outcome.event, closed);
            result.exactly(0);
            result.verdict = LimitVerdict::Found;
            result.remark("rejected");
        }
    }
    prober.leave(session);
    Ok(())
}

fn failed((step, outcome): (Step, ProbeOutcome)) -> Halt {
    Halt::Failed(step, Box::new(outcome))
}
