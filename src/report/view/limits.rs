//! The section of limits: the values that were served, the configured values, and how the listener enforced the limits.

use super::claims::status_of_limit;
use super::{Cell, Column, ReportTable, Section, amounts};
use crate::report::format;
use crate::report::stored::{RunResult, StoredLimit, StoredLimitVerdict, StoredShownBy};

/// The largest length of a reply that is shown, in columns.
const LONGEST_REPLY: usize = 400;

/// Returns the limits of a run.
pub fn section(result: &RunResult) -> Section {
    let mut table = ReportTable::new([
        Column::words("limit"),
        Column::number("served"),
        Column::number("configured").yields(2),
        Column::words("result"),
        Column::words("shown by").yields(1),
        Column::number("released after").yields(3),
        Column::prose("details"),
    ]);
    for (i, limit) in result.limits.iter().enumerate() {
        let amount = |value| Cell::number(amounts::limit_amount(limit, value));
        let released = limit.release_ms.filter(|ms| ms.is_finite());
        table.row([
            Cell::stored_name(&limit.name, format!("/limits/{i}/name")),
            Cell::number(amounts::limit_found(limit)).strong(),
            limit.expected.map(amount).unwrap_or_default(),
            status_of_limit(limit).stored(format!("/limits/{i}/verdict"), "text"),
            Cell::words(shown_by(limit)),
            released.map(|ms| Cell::number(format::duration(ms * 1e6))).unwrap_or_default(),
            Cell::code(details(limit).join("; ")),
        ]);
    }
    Section {
        id: "limits",
        title: "Limits".to_owned(),
        remark: tally(&result.limits),
        lead: "Served is the largest number that was still served; one more was refused.",
        blocks: table.block().into_iter().collect(),
    }
}

/// Returns the number of limits with each result, as text.
pub(super) fn tally(limits: &[StoredLimit]) -> String {
    let mut counts: Vec<(StoredLimitVerdict, usize)> = Vec::new();
    for limit in limits {
        match counts.iter_mut().find(|(verdict, _)| *verdict == limit.verdict) {
            Some((_, count)) => *count += 1,
            None => counts.push((limit.verdict, 1)),
        }
    }
    counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect::<Vec<_>>().join(", ")
}

/// Returns the reply or the event that showed a limit, and its step.
fn shown_by(limit: &StoredLimit) -> String {
    let at = limit.step.as_deref().map_or(String::new(), |step| format!(" at {step}"));
    match (limit.shown_by, limit.code) {
        (None, _) => String::new(),
        (Some(StoredShownBy::Reply), Some(code)) => format!("{code:03}{at}"),
        (Some(by), _) => format!("{by}{at}"),
    }
}

/// Returns how a limit showed; empty for a rule that the listener follows, or for a limit that was not reached.
fn details(limit: &StoredLimit) -> Vec<String> {
    let is_rule_kept = limit.verdict == StoredLimitVerdict::Found && limit.unit == "reply";
    let is_not_reached = limit.verdict == StoredLimitVerdict::NotReached && limit.remarks.is_empty();
    if is_rule_kept || is_not_reached {
        return Vec::new();
    }
    let mut details = match &limit.reply {
        Some(reply) => vec![format::cut(&reply.replace('\n', " / "), LONGEST_REPLY)],
        None => without_reply(limit).into_iter().collect(),
    };
    details.extend(
        match (limit.closed, limit.code) {
            (Some(true), Some(_)) => Some("the connection was closed after this reply"),
            (Some(false), Some(421)) => Some("the connection was NOT closed after this reply"),
            _ => None,
        }
        .map(str::to_owned),
    );
    details.extend(
        match limit.inside_alive {
            Some(true) if limit.unit == "sessions" => Some("the open sessions stayed usable"),
            Some(true) => Some("the session stayed usable"),
            Some(false) if limit.unit == "sessions" => Some("NOT all open sessions stayed usable"),
            _ => None,
        }
        .map(str::to_owned),
    );
    details.extend(limit.window_ms.map(|ms| format!("window {}", format::duration(ms * 1e6))));
    if limit.looked > 1 {
        details.push(format!("{} of {} repeats agree", limit.repeats, limit.looked));
    }
    details.extend(limit.inexact.iter().map(|why| format!("not exact: {why}")));
    details.extend(limit.remarks.iter().cloned());
    details
}

/// Returns a sentence on how a limit showed without a reply.
fn without_reply(limit: &StoredLimit) -> Option<String> {
    let at = limit.step.as_deref().unwrap_or("its end");
    Some(match limit.shown_by? {
        StoredShownBy::Reply => return None,
        StoredShownBy::Reset => format!("the listener reset the connection at {at}, without a reply"),
        StoredShownBy::Close => format!("the listener closed the connection at {at}, without a reply"),
        StoredShownBy::NoGreeting if at == "greeting" => "no greeting came".to_owned(),
        StoredShownBy::NoGreeting => format!("no reply came at {at}"),
        StoredShownBy::NoConnect => "the connection was not established".to_owned(),
    })
}
