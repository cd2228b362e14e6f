//! How arrivals ended, and what the failures and expected refusals meant.

use std::io;

use super::measured;
use crate::report::format;
use crate::report::layout::{Align, INDENT, Page, Span, Table, Tone};
use crate::report::stored::{RunResult, StoredCondition, StoredPhase};

/// Rows of the conditions shown; the rest is in the files.
const CONDITIONS: usize = 10;
/// Lines of a sample reply shown, and how much of each.
const SAMPLE_LINES: usize = 3;
const SAMPLE_COLUMNS: usize = 200;

/// The outcomes that occurred, with the books.
pub fn outcomes(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let phases: Vec<&StoredPhase> = measured(result).filter(|p| p.scheduled > 0).collect();
    if phases.is_empty() {
        return Ok(());
    }
    page.heading("Outcomes", "")?;
    let several = phases.len() > 1;
    let mut table = Table::new([
        (Align::Left, 0),
        (Align::Left, 0),
        (Align::Right, 0),
        (Align::Right, 0),
        (Align::Left, 1),
    ]);
    for phase in &phases {
        let mut first = true;
        for (name, count, tone) in ended(phase).into_iter().chain([("shed", phase.shed, Tone::Bad)]) {
            if count == 0 {
                continue;
            }
            table.row([
                Span::from(if several && first { phase.name.as_str() } else { "" }),
                Span::new(name, tone),
                format::count(count).into(),
                format::share(count, phase.scheduled).into(),
                Span::new(format::bar(count as f64 / phase.scheduled as f64, 24), Tone::Quiet),
            ]);
            first = false;
        }
    }
    page.table(&table)?;
    books(&phases, page)
}

/// How started arrivals ended, in the order of the books.
fn ended(phase: &StoredPhase) -> [(&'static str, u64, Tone); 10] {
    [
        ("accepted", phase.accepted, Tone::Good),
        ("expected", phase.expected, Tone::Good),
        ("deferred", phase.deferred, Tone::Bad),
        ("rejected", phase.rejected, Tone::Bad),
        ("refused", phase.refused, Tone::Bad),
        ("dropped", phase.dropped, Tone::Bad),
        ("timed-out", phase.timed_out, Tone::Bad),
        ("in-doubt", phase.in_doubt, Tone::Bad),
        ("malformed", phase.malformed, Tone::Bad),
        ("interrupted", phase.interrupted, Tone::Warning),
    ]
}

/// Whether the books close (M10): in one line if they do, phase by phase if not.
fn books(phases: &[&StoredPhase], page: &mut Page<'_>) -> io::Result<()> {
    let sum = |phase: &StoredPhase| ended(phase).iter().map(|(_, count, _)| count).sum::<u64>();
    let broken: Vec<&&StoredPhase> =
        phases.iter().filter(|p| sum(p) != p.started || p.scheduled != p.started + p.shed).collect();
    for phase in &broken {
        let text = format!(
            "the books of {} do not close: {} scheduled, {} started, {} shed, {} ended",
            phase.name,
            format::count(phase.scheduled),
            format::count(phase.started),
            format::count(phase.shed),
            format::count(sum(phase)),
        );
        page.paragraph(INDENT, &text, Tone::Bad)?;
    }
    if !broken.is_empty() {
        return Ok(());
    }
    let total = |of: fn(&StoredPhase) -> u64| format::count(phases.iter().map(|p| of(p)).sum());
    let text = format!(
        "books: {} scheduled = {} started + {} shed; each ended as above",
        total(|p| p.scheduled),
        total(|p| p.started),
        total(|p| p.shed),
    );
    page.paragraph(INDENT, &text, Tone::Quiet)
}

/// What each failure and expected refusal meant, the most frequent first.
pub fn conditions(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let mut rows: Vec<&StoredCondition> = result.conditions.iter().filter(|c| c.count > 0).collect();
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by_key(|row| row.rank());
    let several = result.phases.len() > 1;
    let title = match rows.iter().all(|row| row.expected || row.is_manner()) {
        _ if rows.iter().all(|row| row.expected) => "What was refused, as expected",
        true => "What was seen beside the messages",
        false => "What went wrong",
    };
    page.heading(title, "")?;
    for row in rows.iter().take(CONDITIONS) {
        condition(result, row, several, page)?;
    }
    if rows.len() > CONDITIONS {
        let rest = format::counted((rows.len() - CONDITIONS) as u64, "more condition");
        page.paragraph(INDENT, &format!("{rest}: see failures.jsonl"), Tone::Quiet)?;
    }
    Ok(())
}

/// The most frequent unexpected condition, in a line.
pub fn foremost(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let unexpected = result.conditions.iter().filter(|row| !row.expected && row.count > 0);
    match unexpected.min_by_key(|row| row.rank()) {
        Some(row) => page.flow(INDENT, 2 * INDENT, &headline(row)),
        None => Ok(()),
    }
}

/// How often what happened where, and with which codes.
fn headline(row: &StoredCondition) -> Vec<Span> {
    let tone = match row.is_manner() {
        _ if row.expected => Tone::Good,
        true => Tone::Quiet,
        false => Tone::Bad,
    };
    let mut line = vec![
        Span::new(format!("{} x ", format::count(row.count)), Tone::Strong),
        Span::new(&row.condition, tone),
        format!(" at {}", row.step).into(),
    ];
    line.extend(row.code.map(|code| Span::from(format!(", {code:03}"))));
    line.extend(row.enhanced.as_ref().map(|enhanced| Span::from(format!(" {enhanced}"))));
    line
}

fn condition(
    result: &RunResult,
    row: &StoredCondition,
    several: bool,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let started = result.phases.iter().find(|p| p.name == row.phase).map_or(0, |p| p.started);
    page.flow(INDENT, 2 * INDENT, &headline(row))?;
    let (first, last) = (format::seconds(row.first_s), format::seconds(row.last_s));
    let mut remarks = Vec::new();
    if several {
        remarks.push(format!("in {}", row.phase));
    }
    if row.count <= started {
        remarks.push(format!("{} of started", format::share(row.count, started)));
    }
    remarks.push(if first == last { format!("at {first}") } else { format!("from {first} to {last}") });
    remarks.push(row.effect());
    page.paragraph(2 * INDENT, &remarks.join(", "), Tone::Quiet)?;
    let lines: Vec<&str> = row.sample.lines().collect();
    for text in lines.iter().take(SAMPLE_LINES) {
        let text = format::cut(text, SAMPLE_COLUMNS);
        page.flow(2 * INDENT, 3 * INDENT, &[Span::new("> ", Tone::Quiet), text.into()])?;
    }
    if lines.len() > SAMPLE_LINES {
        let rest = format::counted((lines.len() - SAMPLE_LINES) as u64, "more line");
        page.paragraph(2 * INDENT, &format!("> ({rest})"), Tone::Quiet)?;
    }
    Ok(())
}
