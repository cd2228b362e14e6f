//! What a listener takes within a content: how many hops, bare CR and LF, and the ends of data of SMTP smuggling.
//!
//! # Decisions
//! - A smuggling probe is one write: the content, the doubtful end, a second transaction behind it, and a right end. More
//!   than one reply means that the listener saw more than one message in it.

use std::time::Duration;

use super::field::{Field, Found, Halt, Letter, unreadable};
use super::finding::{Finding, Verdict};
use super::kind::LimitKind;
use super::looks::{MOST, bound, settle};
use crate::experiment::search::Search;
use crate::generator::probe::{ProbeEvent, ProbeOutcome};
use crate::smtp::Step;

/// How often a finding is looked for again.
const AGAIN: u64 = 2;
/// Nobody means more hops than this.
const HOPS: u64 = 200;
/// More replies than to a whole second transaction and to the lines of its content are not waited for.
const MOST_REPLIES: usize = 40;
/// How long each further reply may take when the first two have come.
const MORE: Duration = Duration::from_millis(500);
/// A command that no listener knows: the reply to it is told from those to what was smuggled in.
const MARK: &[u8] = b"XYZZY\r\n";

/// `Received:` fields of a message.
pub(super) fn hops(field: &mut Field<'_>, kind: LimitKind, finding: &mut Finding) -> Found<()> {
    field.one_message()?;
    let mailer = field.mailer(None, 1);
    let mut search = Search::new(8, bound(finding.expected, HOPS, MOST / 10), finding.expected);
    let mut shown = None;
    while let Some(count) = search.next() {
        finding.trials += 1;
        let session = field.enter()?;
        let letter = field.letter(&mailer);
        let letter = letter.with_header(&trace(field, "Received", count));
        let sent = field.send(session, &letter);
        search.tell(count, sent.is_ok());
        if let Err((step, met)) = sent {
            unreadable(&met)?;
            field.shown(finding, step, &met.event, session);
            shown = Some(count);
        }
        field.leave(session);
    }
    (finding.looked, finding.repeats) = (1, 1);
    match (search.found(), shown) {
        (Some(hops), _) => {
            finding.exactly(hops);
            for _ in 0..AGAIN {
                finding.looked += 1;
                let mut same = true;
                for (count, served) in [(hops, true), (hops + 1, false)] {
                    let session = field.enter()?;
                    let letter = field.letter(&mailer);
                    let letter = letter.with_header(&trace(field, "Received", count));
                    same = same && field.send(session, &letter).is_ok() == served;
                    field.leave(session);
                }
                finding.repeats += u64::from(same);
            }
            if finding.repeats < finding.looked {
                finding.between(0, HOPS, "it was not the same each time");
                finding.verdict = Verdict::Unstable;
            }
        }
        (None, Some(_)) => {
            finding.between(search.at_least(), HOPS, "its answers contradict each other");
            finding.verdict = Verdict::Unstable;
        }
        (None, None) => finding.unmet(search.at_least()),
    }
    if let Some(hops) = finding.value.filter(|_| finding.verdict != Verdict::Unstable) {
        // As many lines of other fields: then it is not the hops that are limited.
        let session = field.enter()?;
        let letter = field.letter(&mailer);
        let letter = letter.with_header(&trace(field, "X-Filler", hops + 1));
        finding.trials += 1;
        if field.send(session, &letter).is_err() {
            finding.hidden(
                hops,
                "a header as long without Received: fields was refused as well: its length is limited first",
            );
        }
        field.leave(session);
    }
    settle(kind, finding, 0);
    Ok(())
}

/// So many trace fields of this name.
fn trace(field: &Field<'_>, name: &str, count: u64) -> Vec<u8> {
    let lines = (0..count).map(|n| {
        format!(
            "{name}: from relay{n}.load.example (relay{n}.load.example [192.0.2.1])\r\n\tby relay{}.load.example with ESMTP; {}\r\n",
            n + 1, field.setting.date
        )
    });
    lines.collect::<String>().into_bytes()
}

/// A bare LF, or CR, within a text.
pub(super) fn bare(field: &mut Field<'_>, kind: LimitKind, end: &[u8], finding: &mut Finding) -> Found<()> {
    field.one_message()?;
    let mailer = field.mailer(None, 1);
    let letter = field.letter(&mailer).with_data().without_size();
    let content = [letter.head(), b"one", end, b"two\r\n.\r\n"].concat();
    let mut refused = 0;
    for look in 0..=AGAIN {
        let session = field.enter()?;
        finding.trials += 1;
        finding.looked += 1;
        if let Err((step, met)) = field.send(session, &Letter { content: content.clone(), ..letter.clone() })
        {
            unreadable(&met)?;
            refused += 1;
            if refused == 1 {
                field.shown(finding, step, &met.event, session);
            }
        }
        field.leave(session);
        if look == 0 && refused == 0 {
            break;
        }
    }
    finding.repeats = refused.max(finding.looked - refused);
    match refused {
        0 => {
            finding.unmet(1);
            finding.remark("taken: whether it was repaired shows in the mailbox only");
        }
        _ if refused == finding.looked => finding.exactly(0),
        _ => {
            finding.between(0, 1, "it was not the same each time");
            finding.verdict = Verdict::Unstable;
        }
    }
    settle(kind, finding, 0);
    Ok(())
}

/// An end of data that is none (RFC 5321 4.1.1.4), with a second message behind it.
pub(super) fn smuggled(field: &mut Field<'_>, end: &[u8], finding: &mut Finding) -> Found<()> {
    field.one_message()?;
    let mailer = field.mailer(None, 1);
    let [first, second] = [(); 2].map(|()| field.letter(&mailer).with_data().without_size());
    let session = field.enter()?;
    let envelope = field.group(session, &second);
    let octets =
        [first.head(), b"the first message", end, &envelope, second.head(), b"the second\r\n.\r\n"].concat();
    finding.trials += 1;
    (finding.looked, finding.repeats) = (1, 1);
    field.envelope(session, &first).map_err(failed)?;
    let met = field.data(session, &octets).map_err(failed)?;
    let mut replies = vec![met.code()];
    let mut last = met.clone();
    field.probes.send(session, MARK);
    while replies.len() < MOST_REPLIES && last.code() > 0 {
        last = field.probes.receive(session, if replies.len() < 2 { field.setting.patience } else { MORE });
        replies.extend(Some(last.code()).filter(|code| *code > 0));
    }
    // The second message is proved by its own acceptance, and by nothing else: what other replies there are depends on how
    // the listener answers what it does not know.
    let asked = replies.iter().skip(1).position(|code| *code == 354).map(|at| at + 1);
    let second = asked.and_then(|at| replies.get(at + 1)).is_some_and(|code| code / 100 == 2);
    let closed = Some(matches!(last.event, ProbeEvent::Closed(_)));
    match met.code() / 100 {
        2 if second => {
            field.shown_with(finding, Step::Body, &met.event, closed);
            finding.unmet(1);
            finding.verdict = Verdict::Unsafe;
            finding
                .remark("accepted as a second message: mail can be smuggled in (CVE-2023-51764 and its kin)");
        }
        2 if asked.is_some() => {
            field.shown_with(finding, Step::Body, &met.event, closed);
            finding.remark(
                "what follows it was read as commands, and the second message was not accepted: not proved",
            );
        }
        // The reply to the content, and the one to the mark.
        2 if replies.len() <= 2 => {
            finding.exactly(0);
            finding.verdict = Verdict::Found;
            finding.remark("not an end: all of it was taken as one message");
        }
        2 => {
            field.shown_with(finding, Step::Body, &met.event, closed);
            finding.remark(format!(
                "{} replies came to one message and one unknown command, and no second message was accepted: not proved",
                replies.len()
            ));
        }
        0 if matches!(met.event, ProbeEvent::Silence) => {
            finding.remark("no reply came, neither to it nor to the right end behind it");
        }
        _ => {
            unreadable(&met)?;
            field.shown_with(finding, Step::Body, &met.event, closed);
            finding.exactly(0);
            finding.verdict = Verdict::Found;
            finding.remark("rejected");
        }
    }
    field.leave(session);
    Ok(())
}

fn failed((step, met): (Step, ProbeOutcome)) -> Halt {
    Halt::Failed(step, Box::new(met))
}
