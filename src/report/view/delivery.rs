//! The section of deliveries: counts by phase, the relay's queue, missing, altered and bounced messages.

use super::{Cell, Column, Note, ReportTable, Section, SectionPart, Tone, Visibility, is_several, measured};
use crate::report::format;
use crate::report::stored::RunResult;
use crate::report::stored::delivery::{StoredClock, StoredDelivery, StoredPhaseDelivery};
use crate::verdict::grammar::{DeliveryCount, Subject};

/// If the last delivery was less than this many seconds before the end of the wait, the relay was still delivering.
const STILL_DELIVERING: f64 = 1.0;
/// The largest number of lines under a failed assertion.
const NAMED: usize = 6;

/// Returns the deliveries of a run.
pub fn section(result: &RunResult) -> Section {
    let mut blocks = Vec::new();
    if let Some(delivery) = &result.delivery {
        blocks.extend(counts(result).block());
        blocks.extend(queue(result).block());
        blocks.extend(times(result).block());
        blocks.extend(notes(result, delivery));
        blocks.extend(missing(delivery).block());
        blocks.extend(altered(delivery).block());
        blocks.extend(bounces(delivery).block());
    }
    Section {
        id: "delivery",
        title: "Delivery".to_owned(),
        lead: "What came out of the relay, by accepted recipient: each is delivered, bounced or missing. Transit counts from the \
               final reply to the end of the content at the receiver, delivery from the intended start.",
        blocks,
        ..Section::default()
    }
}

fn of_phases(result: &RunResult) -> impl Iterator<Item = (usize, &str, &StoredPhaseDelivery)> {
    measured(result).filter_map(|(i, phase)| Some((i, phase.name.as_str(), phase.delivery.as_ref()?)))
}

fn phase_column(result: &RunResult) -> Column {
    let place = if is_several(result) { Visibility::Everywhere } else { Visibility::Page };
    Column::words("phase").at(place)
}

fn counts(result: &RunResult) -> ReportTable {
    let in_doubt = of_phases(result).any(|(.., phase)| phase.in_doubt > 0);
    let mut columns = vec![phase_column(result)];
    let titles = ["accepted", "delivered", "bounced", "missing", "duplicated", "altered", "unexpected"];
    columns.extend(titles.map(Column::number));
    columns.extend(in_doubt.then(|| Column::number("in doubt, delivered")));
    columns.extend(in_doubt.then(|| Column::number("in doubt, not seen")));
    let mut table = ReportTable::new(columns);
    for (i, name, phase) in of_phases(result) {
        let at = |field: &str| format!("/phases/{i}/delivery/{field}");
        let fault = |count: u64, field: &str| {
            Cell::count(count, at(field)).tone(if count > 0 { Tone::Bad } else { Tone::Plain })
        };
        let mut row = vec![
            Cell::name(name),
            Cell::count(phase.accepted_recipients, at("accepted_recipients")),
            Cell::count(phase.delivered, at("delivered")),
            Cell::count(phase.bounced, at("bounced")),
            fault(phase.missing, "missing"),
            fault(phase.duplicated, "duplicated"),
            fault(phase.altered, "altered"),
            fault(phase.unexpected, "unexpected"),
        ];
        if in_doubt {
            row.push(Cell::count(phase.in_doubt_delivered, at("in_doubt_delivered")));
            row.push(Cell::count(phase.in_doubt_missing, at("in_doubt_missing")));
        }
        table.row(row);
    }
    table
}

fn queue(result: &RunResult) -> ReportTable {
    let mut columns = vec![phase_column(result)];
    let titles = ["delivered a second", "most in queue", "queue growth", "drain"];
    columns.extend(titles.map(Column::number));
    let bound = clock_bound(result);
    columns.extend(bound.map(|_| Column::number("clock")));
    let mut table = ReportTable::new(columns);
    for (i, name, phase) in of_phases(result) {
        let at = |field: &str| format!("/phases/{i}/delivery/{field}");
        let growth = phase.queued_growth_per_s.map_or_else(Cell::not_available, |growth| {
            Cell::number(format!("{:+.1}/s ({:+.1} to {:+.1})", growth.value, growth.low, growth.high))
        });
        let mut row = vec![
            Cell::name(name),
            phase
                .delivered_per_s
                .map_or_else(Cell::not_available, |rate| Cell::rate(rate, at("delivered_per_s"))),
            phase.queued_max.map_or_else(Cell::not_available, |most| Cell::count(most, at("queued_max"))),
            growth,
            phase.drain_s.map_or_else(Cell::not_available, |drain| Cell::seconds(drain, at("drain_s"))),
        ];
        row.extend(bound.map(within));
        table.row(row);
    }
    table
}

fn times(result: &RunResult) -> ReportTable {
    const QUANTILES: [super::ShownQuantile; 4] = [(0.5, 0), (0.9, 3), (0.99, 0), (0.999, 1)];
    let by_phase = result.metrics_by_phase();
    let of_relay = |name: &str| matches!(name, "transit" | "delivery");
    let rows: Vec<_> = measured(result)
        .filter_map(|(_, phase)| by_phase.get(phase.name.as_str()))
        .flatten()
        .filter(|(_, metric)| of_relay(&metric.name) && metric.outcome == "accepted")
        .copied()
        .collect();
    let columns =
        vec![phase_column(result), Column::words("time"), Column::number("values").at(Visibility::Page)];
    let own = rows.iter().map(|(_, metric)| *metric);
    let columns = columns
        .into_iter()
        .chain([Column::number("min").at(Visibility::Page)])
        .chain(super::quantile_columns(own, &QUANTILES))
        .chain([Column::number("max")]);
    let bound = clock_bound(result);
    let columns = columns.chain(bound.map(|_| Column::number("clock")));
    let mut table = ReportTable::new(columns);
    for (at, metric) in rows {
        let mut row = vec![Cell::name(&metric.phase), Cell::name(&metric.name)];
        row.extend(super::times::numbers(at, metric));
        row.extend(bound.map(within));
        table.row(row);
    }
    table
}

/// Returns the bound of the error of the clock offset, in seconds, if the receiver has another clock and the offset is
/// known.
fn clock_bound(result: &RunResult) -> Option<f64> {
    match result.delivery.as_ref()?.clock? {
        StoredClock::Offset { bound_s, .. } => Some(bound_s),
        StoredClock::Same | StoredClock::Unknown => None,
    }
}

fn within(bound: f64) -> Cell {
    Cell::number(format!("+- {}", format::seconds(bound)))
}

/// Returns the first messages or bounces that made an assertion on deliveries fail, one line each.
pub(super) fn details(result: &RunResult, subject: &Subject, phase: Option<&str>) -> Vec<String> {
    let (Some(delivery), Subject::Delivery(count)) = (&result.delivery, subject) else { return Vec::new() };
    match count {
        DeliveryCount::Missing => std::iter::once(silence(delivery))
            .chain(delivery.missing.iter().filter(|own| phase.is_none_or(|phase| own.phase == phase)).map(
                |own| {
                    let at = format::seconds(own.accepted_s);
                    format!("message {}, recipient {}, accepted at {at}", own.seq, own.recipient)
                },
            ))
            .take(NAMED)
            .collect(),
        DeliveryCount::Altered => delivery
            .altered
            .iter()
            .take(NAMED)
            .map(|own| format!("message {}: {}", own.seq, format::harmless(&own.what)))
            .collect(),
        DeliveryCount::Bounced => delivery
            .bounces
            .iter()
            .take(NAMED)
            .map(|own| format!("{} x {}: {}", format::count(own.count), own.status, own.sample))
            .map(|line| format::harmless(&line))
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns a sentence on how long there had been no delivery when the wait ended. A short time means that missing messages
/// may still be queued.
fn silence(delivery: &StoredDelivery) -> String {
    match delivery.silent_s {
        Some(silent) => {
            let more = if silent < STILL_DELIVERING {
                ": the relay was still delivering, and a longer `drain` shows what is lost"
            } else {
                ""
            };
            format!("the last message came out {} before the end of the wait{more}", format::seconds(silent))
        }
        None => "no message came out of the relay".to_owned(),
    }
}

fn notes(result: &RunResult, delivery: &StoredDelivery) -> Vec<SectionPart> {
    let missing: u64 = of_phases(result).map(|(.., phase)| phase.missing).sum();
    let mut notes = Vec::new();
    let mut note = |text: String, tone: Tone| notes.push(Note::everywhere(text, tone));
    if missing > 0 {
        let silent = silence(delivery);
        note(format!("{} missing; {silent}", format::count(missing)), Tone::Bad);
    }
    match delivery.clock {
        None | Some(StoredClock::Same) => {}
        Some(StoredClock::Offset { ahead_s, bound_s }) => {
            let ahead = if ahead_s < 0.0 { "behind" } else { "ahead of" };
            let (offset, bound) = (format::seconds(ahead_s.abs()), format::seconds(bound_s));
            let text = format!(
                "the receiver's clock is {offset} {ahead} this machine's, +- {bound} as measured: each time of the relay may be off by that bound"
            );
            note(text, Tone::Quiet);
        }
        Some(StoredClock::Unknown) => note(
            "the clock of the receiver is not this machine's and its offset is unknown: there are counts and no times; --clock-probe ADDR \
             asks for it, --clock-offset 1.2ms+-0.3ms gives it"
                .to_owned(),
            Tone::Warning,
        ),
    }
    if delivery.cut_short {
        note(
            "the wait for deliveries was cut short: what is missing may still come".to_owned(),
            Tone::Warning,
        );
    }
    if delivery.foreign > 0 {
        let what = format::counted(delivery.foreign, "message");
        note(format!("{what} of other runs, or of none, came out: none of them was counted"), Tone::Warning);
    }
    if delivery.delayed > 0 {
        note(format::counted(delivery.delayed, "notification of delay"), Tone::Quiet);
    }
    notes
}

fn missing(delivery: &StoredDelivery) -> ReportTable {
    let mut table = ReportTable::new([
        Column::words("missing in"),
        Column::number("message"),
        Column::number("recipient"),
        Column::number("accepted at"),
    ]);
    for (i, missing) in delivery.missing.iter().enumerate() {
        let at = |field: &str| format!("/delivery/missing/{i}/{field}");
        table.row([
            Cell::name(&missing.phase),
            Cell::count(missing.seq, at("seq")),
            Cell::count(u64::from(missing.recipient), at("recipient")),
            Cell::seconds(missing.accepted_s, at("accepted_s")),
        ]);
    }
    table
}

fn altered(delivery: &StoredDelivery) -> ReportTable {
    let mut table = ReportTable::new([Column::number("altered message"), Column::prose("what differs")]);
    for (i, altered) in delivery.altered.iter().enumerate() {
        table.row([
            Cell::count(altered.seq, format!("/delivery/altered/{i}/seq")),
            // The names of header fields are the relay's.
            Cell::code(&altered.what),
        ]);
    }
    table
}

fn bounces(delivery: &StoredDelivery) -> ReportTable {
    let mut table = ReportTable::new([
        Column::words("bounce"),
        Column::words("meaning"),
        Column::number("recipients"),
        Column::prose("first"),
    ]);
    for (i, bounce) in delivery.bounces.iter().enumerate() {
        table.row([
            Cell::name(&bounce.status),
            bounce.condition.as_ref().map_or_else(Cell::not_available, Cell::name),
            Cell::count(bounce.count, format!("/delivery/bounces/{i}/count")),
            Cell::code(&bounce.sample),
        ]);
    }
    table
}
