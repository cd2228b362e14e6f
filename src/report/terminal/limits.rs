//! The limits that were looked for: a line each, and under the table how each showed and what else is to be known.

use std::io;

use crate::report::format;
use crate::report::layout::{Align, INDENT, Page, Span, Table, Tone};
use crate::report::stored::{Limit, LimitVerdict, RunResult, ShownBy};

/// Columns of the table that give way on a narrow page.
const CONFIGURED: usize = 2;
const SHOWN_BY: usize = 4;
const RELEASED: usize = 5;

/// The limits, if any were looked for.
pub fn limits(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    if result.limits.is_empty() {
        return Ok(());
    }
    page.heading("Limits", &tally(&result.limits))?;
    let mut table = Table::new([
        (Align::Left, 0),
        (Align::Right, 0),
        (Align::Right, 2),
        (Align::Left, 0),
        (Align::Left, 1),
        (Align::Right, 3),
    ]);
    table.titles(["limit", "served", "configured", "finding", "shown by", "let go"]);
    for limit in &result.limits {
        table.row([
            Span::from(&limit.name),
            Span::new(format::limit_found(limit), Tone::Strong),
            limit.expected.map(|value| format::limit_amount(limit, value)).unwrap_or_default().into(),
            Span::new(limit.verdict.as_str(), tone(limit)),
            shown(limit).into(),
            limit.release_ms.map(|ms| format::duration(ms * 1e6)).unwrap_or_default().into(),
        ]);
    }
    page.table(&table)?;
    let hidden = |column: usize| !table.shows(column, page.width());
    let [configured, shown_by, released] = [CONFIGURED, SHOWN_BY, RELEASED].map(hidden);
    let mut first = true;
    for limit in &result.limits {
        // What the table had no room for is said below it.
        let mut beside: Vec<String> = Vec::new();
        beside.extend(
            limit
                .expected
                .filter(|_| configured)
                .map(|value| format!("configured {}", format::limit_amount(limit, value))),
        );
        beside.extend(
            Some(shown(limit))
                .filter(|text| shown_by && limit.reply.is_some() && !text.is_empty())
                .map(|text| format!("shown by {text}")),
        );
        beside.extend(
            limit
                .release_ms
                .filter(|_| released)
                .map(|ms| format!("released after {}", format::duration(ms * 1e6))),
        );
        if !is_told(limit) && beside.is_empty() {
            continue;
        }
        if std::mem::take(&mut first) {
            page.gap()?;
        }
        let mut text: Vec<String> = Vec::new();
        match &limit.reply {
            Some(reply) => text.push(format::harmless(&reply.replace('\n', " / "))),
            None => text.extend(unanswered(limit)),
        }
        text.extend(beside);
        text.extend(facts(limit));
        text.extend(limit.inexact.iter().map(|why| format!("not exact: {why}")));
        text.extend(limit.remarks.iter().map(|remark| format::harmless(remark)));
        page.flow(
            INDENT,
            INDENT,
            &[Span::new(format!("{}: ", limit.name), tone(limit)), Span::from(text.join("; "))],
        )?;
    }
    Ok(())
}

/// How many of each verdict.
pub fn tally(limits: &[Limit]) -> String {
    let mut counts: Vec<(LimitVerdict, usize)> = Vec::new();
    for limit in limits {
        match counts.iter_mut().find(|(verdict, _)| *verdict == limit.verdict) {
            Some((_, count)) => *count += 1,
            None => counts.push((limit.verdict, 1)),
        }
    }
    counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect::<Vec<_>>().join(", ")
}

fn tone(limit: &Limit) -> Tone {
    match limit.verdict {
        LimitVerdict::AsExpected | LimitVerdict::Found => Tone::Good,
        LimitVerdict::NotReached => Tone::Warning,
        LimitVerdict::Obstructed if limit.expected.is_none() => Tone::Warning,
        _ => Tone::Bad,
    }
}

/// Rules that are kept need no words; the rest is told as it was seen.
fn is_told(limit: &Limit) -> bool {
    let plain = limit.verdict == LimitVerdict::Found && limit.unit == "reply";
    let unmet = limit.verdict == LimitVerdict::NotReached && limit.remarks.is_empty();
    !plain
        && !unmet
        && (limit.reply.is_some()
            || unanswered(limit).is_some()
            || !limit.remarks.is_empty()
            || limit.inexact.is_some())
}

/// What else was seen of a limit, in words.
pub fn facts(limit: &Limit) -> Vec<String> {
    let mut facts = Vec::new();
    match (limit.closed, limit.code) {
        (Some(true), Some(_)) => facts.push("the connection was closed with it".to_owned()),
        (Some(false), Some(421)) => facts.push("the connection was NOT closed with it".to_owned()),
        _ => {}
    }
    match limit.inside_alive {
        Some(true) if limit.unit == "sessions" => facts.push("those inside lived on".to_owned()),
        Some(true) => facts.push("the session lived on".to_owned()),
        Some(false) if limit.unit == "sessions" => facts.push("NOT all inside lived on".to_owned()),
        _ => {}
    }
    if let Some(ms) = limit.window_ms {
        facts.push(format!("window {}", format::duration(ms * 1e6)));
    }
    if limit.looked > 1 {
        facts.push(format!("{} of {} looks agree", limit.repeats, limit.looked));
    }
    facts
}

/// How a limit showed that was met without a reply, as a sentence.
pub fn unanswered(limit: &Limit) -> Option<String> {
    let at = limit.step.as_deref().unwrap_or("its end");
    Some(match limit.shown_by? {
        ShownBy::Reply => return None,
        ShownBy::Reset => format!("the listener reset the connection at {at}, without a reply"),
        ShownBy::Close => format!("the listener closed the connection at {at}, without a reply"),
        ShownBy::NoGreeting if at == "greeting" => "no greeting came".to_owned(),
        ShownBy::NoGreeting => format!("no reply came at {at}"),
        ShownBy::NoConnect => "the connection was not established".to_owned(),
    })
}

/// By what it showed, and where.
fn shown(limit: &Limit) -> String {
    let at = limit.step.as_deref().unwrap_or_default();
    match (limit.shown_by, limit.code) {
        (None, _) => String::new(),
        (Some(ShownBy::Reply), Some(code)) => format!("{code:03} at {at}"),
        (Some(by), _) => format!("{by} at {at}"),
    }
}
