//! The section of retries: the number of attempts, and the time to acceptance.

use super::times::{numbers, percentile_notes};
use super::{
    Cell, Column, Note, ReportTable, Section, SectionPart, ShownQuantile, Tone, Visibility, is_several,
    measured, quantile_columns,
};
use crate::report::format;
use crate::report::stored::{RunResult, StoredPhase, StoredRetry};

/// The quantiles that text shows.
const QUANTILES: [ShownQuantile; 4] = [(0.5, 0), (0.9, 2), (0.95, 3), (0.99, 0)];

/// The stored name of the metric.
const TIME_TO_ACCEPT: &str = "time_to_accept";

/// Returns the section of retries; empty if nothing was tried again.
pub fn section(result: &RunResult) -> Section {
    let phases: Vec<(usize, &StoredPhase, &StoredRetry)> =
        measured(result).filter_map(|(i, phase)| Some((i, phase, phase.retry.as_ref()?))).collect();
    let mut blocks: Vec<SectionPart> = Vec::new();
    blocks.extend(counts(&phases).block());
    blocks.extend(times(result));
    for (_, phase, retry) in &phases {
        blocks.extend(notes(phase, retry));
    }
    blocks.extend(by_attempts(&phases, is_several(result)).block().map(|block| match block {
        SectionPart::ReportTable(table) if table.rows.len() > 12 => {
            SectionPart::Folded("Messages by the number of their attempts", table)
        }
        block => block,
    }));
    Section {
        id: "retries",
        title: "Retries".to_owned(),
        lead: "A message that is not accepted is tried again, as an MTA does. Attempts are counted beside messages; a message \
               ends once: accepted, given up, or pending when the run ends.",
        blocks,
        ..Section::default()
    }
}

fn counts(phases: &[(usize, &StoredPhase, &StoredRetry)]) -> ReportTable {
    let mut table = ReportTable::new([
        Column::words("phase"),
        Column::number("messages"),
        Column::number("attempts"),
        Column::number("retries").yields(2),
        Column::number("amplification"),
        Column::number("given up"),
        Column::number("pending"),
        Column::number("possibly twice").yields(1),
    ]);
    for (i, phase, retry) in phases {
        let at = |field: &str| format!("/phases/{i}/retry/{field}");
        let bad = |count: u64, field: &str, tone: Tone| {
            Cell::count(count, at(field)).tone(if count > 0 { tone } else { Tone::Quiet })
        };
        table.row([
            Cell::name(&phase.name),
            Cell::count(phase.started, format!("/phases/{i}/started")),
            Cell::count(retry.attempts, at("attempts")),
            Cell::count(retry.retries, at("retries")),
            Cell::number(format!("{:.2}", retry.amplification)).strong(),
            bad(retry.gave_up, "gave_up", Tone::Bad),
            bad(retry.pending, "pending", Tone::Warning),
            bad(retry.possibly_doubled, "possibly_doubled", Tone::Warning),
        ]);
    }
    table
}

/// Returns the time to acceptance, by phase.
fn times(result: &RunResult) -> Vec<SectionPart> {
    let of_phase = |phase: &str| measured(result).any(|(_, own)| own.name == phase && own.retry.is_some());
    let rows: Vec<_> = result
        .metrics
        .iter()
        .enumerate()
        .filter(|(_, own)| own.name == TIME_TO_ACCEPT && own.outcome == "accepted" && of_phase(&own.phase))
        .collect();
    let all = || rows.iter().map(|(_, metric)| *metric);
    let columns = [
        Column::words("phase"),
        Column::words("time"),
        Column::number("values").at(Visibility::Page),
        Column::number("min").at(Visibility::Page),
    ];
    let columns =
        columns.into_iter().chain(quantile_columns(all(), &QUANTILES)).chain([Column::number("max")]);
    let mut table = ReportTable::new(columns);
    for (at, metric) in &rows {
        let mut row = vec![Cell::name(&metric.phase), Cell::words("time to acceptance").strong()];
        row.extend(numbers(*at, metric));
        table.row(row);
    }
    let without_end = "were given up or pending: they count with the time until then, but not in max";
    let mut blocks: Vec<SectionPart> = table.block().into_iter().collect();
    if !blocks.is_empty() {
        blocks.extend(percentile_notes(all(), &QUANTILES, without_end));
    }
    blocks
}

/// Returns whether the attempts of a phase reconcile, and how they ended.
fn notes(phase: &StoredPhase, retry: &StoredRetry) -> Vec<SectionPart> {
    let outcomes = &retry.outcomes;
    let named = [
        ("accepted", outcomes.accepted),
        ("expected", outcomes.expected),
        ("deferred", outcomes.deferred),
        ("rejected", outcomes.rejected),
        ("refused", outcomes.refused),
        ("dropped", outcomes.dropped),
        ("timed-out", outcomes.timed_out),
        ("in-doubt", outcomes.in_doubt),
        ("malformed", outcomes.malformed),
        ("interrupted", outcomes.interrupted),
    ];
    let ended: u64 = named.iter().map(|(_, count)| count).sum();
    let words: Vec<String> = named
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{} {name}", format::count(*count)))
        .collect();
    let (name, attempts) = (&phase.name, format::count(retry.attempts));
    let messages: u64 =
        retry.messages.iter().map(|row| row.accepted + row.expected + row.gave_up + row.pending).sum();
    let reconciles = retry.attempts == phase.started + retry.retries
        && ended == retry.attempts
        && messages == phase.started;
    vec![match reconciles {
        true => {
            let (started, retries) = (format::count(phase.started), format::count(retry.retries));
            let text = format!(
                "{name}: {attempts} attempts = {started} first attempts + {retries} retries; outcomes: {}",
                words.join(", ")
            );
            Note::everywhere(text, Tone::Quiet)
        }
        false => {
            let text = format!(
                "the attempts of {name} DO NOT RECONCILE: {attempts} attempts, {} messages started, {} retries; {} attempts and \
                 {} messages ended",
                format::count(phase.started),
                format::count(retry.retries),
                format::count(ended),
                format::count(messages),
            );
            Note::everywhere(text, Tone::Bad)
        }
    }]
}

/// Returns the messages by the number of their attempts.
fn by_attempts(phases: &[(usize, &StoredPhase, &StoredRetry)], several: bool) -> ReportTable {
    let place = if several { Visibility::Everywhere } else { Visibility::Page };
    let mut table = ReportTable::new([
        Column::words("phase").grouped().at(place),
        Column::number("attempts"),
        Column::number("accepted"),
        Column::number("given up"),
        Column::number("pending"),
    ]);
    for (i, phase, retry) in phases {
        for (k, row) in retry.messages.iter().enumerate() {
            let at = |field: &str| format!("/phases/{i}/retry/messages/{k}/{field}");
            table.row([
                Cell::name(&phase.name),
                Cell::count(row.attempts.into(), at("attempts")),
                Cell::count(row.accepted, at("accepted")),
                Cell::count(row.gave_up, at("gave_up")),
                Cell::count(row.pending, at("pending")),
            ]);
        }
    }
    table
}
