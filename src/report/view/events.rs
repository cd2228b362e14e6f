//! The section of events: their commands, how the commands ended, and the effects of the events on the arrivals.

use super::claims::{Claim, ClaimState};
use super::{Cell, Column, Note, ReportTable, Section, SectionPart, Tone, Visibility};
use crate::report::format;
use crate::report::stored::RunResult;
use crate::report::stored::event::{StoredEffect, StoredEvent, StoredEventSide, StoredEventStatus};

/// The largest number of lines of an output that are shown, and of columns of each.
const LINES: usize = 12;
const LENGTH: usize = 200;

/// Returns the events of a run.
pub fn section(result: &RunResult) -> Section {
    let mut blocks = Vec::new();
    blocks.extend(commands(result).block());
    blocks.extend(effects(result).block());
    blocks.extend(sides(result).block());
    blocks.extend(deliveries(result).block());
    blocks.extend(outputs(result));
    Section {
        id: "events",
        title: "Events".to_owned(),
        lead: "Commands that ran during the load. The outage is the time from the first to the last failed arrival. The \
               listener has recovered when, for five seconds, it accepted 99 % of what was offered and its p99 was within 1.5 \
               times the p99 before the event (or 10 ms above it).",
        blocks,
        ..Section::default()
    }
}

/// Returns the status word of an event; failures are in capitals.
fn status(event: &StoredEvent) -> Cell {
    let word = event.status.as_str();
    match event.status {
        StoredEventStatus::Done => Cell::words(word).tone(Tone::Good),
        StoredEventStatus::Waiting | StoredEventStatus::Running => Cell::words(word),
        StoredEventStatus::Stopped => Cell::words(word).tone(Tone::Warning),
        StoredEventStatus::Failed
        | StoredEventStatus::TimedOut
        | StoredEventStatus::NotStarted
        | StoredEventStatus::NotRun => Cell::words(word.to_uppercase()).tone(Tone::Bad),
    }
}

/// Returns the claim that the command of an event succeeded, with its effect.
pub(super) fn claim(event: &StoredEvent) -> Claim {
    let mut observed = format::harmless(&event.explanation);
    if let Some(effect) = &event.effect {
        let outage = effect.outage.map_or("no outage".to_owned(), |outage| {
            let over = if outage.at_most_s.is_none() { ", not over" } else { "" };
            format!("outage {}{over}", format::seconds(outage.s))
        });
        let recovery = match (effect.recovery_s, effect.not_recovered_within_s) {
            (Some(s), _) => format!("recovery {}", format::seconds(s)),
            (None, Some(s)) => format!("not recovered within {}", format::seconds(s)),
            (None, None) => "recovery unknown".to_owned(),
        };
        observed = format!("{observed}; {outage}; {recovery}");
    }
    let mut details = vec![observed.clone()];
    details.extend(event.output.lines().take(LINES).map(|line| format::cut(&format::harmless(line), LENGTH)));
    Claim {
        group: "events",
        word: status(event),
        what: format!("{}: {}", format::harmless(&event.name), format::harmless(&event.command)),
        phase: None,
        observed,
        conditions: String::new(),
        details,
        state: match event.status {
            StoredEventStatus::Done => ClaimState::Passed,
            StoredEventStatus::Waiting | StoredEventStatus::Running | StoredEventStatus::Stopped => {
                ClaimState::Skipped
            }
            // If the command failed, the run does not show the effect of the event.
            StoredEventStatus::Failed
            | StoredEventStatus::TimedOut
            | StoredEventStatus::NotStarted
            | StoredEventStatus::NotRun => ClaimState::Unknown,
        },
        failure: "event",
    }
}

fn time(s: Option<f64>, path: String) -> Cell {
    s.map_or_else(Cell::not_available, |s| Cell::seconds(s, path))
}

fn commands(result: &RunResult) -> ReportTable {
    let mut table = ReportTable::new([
        Column::words("event"),
        Column::words("command").yields(1),
        Column::number("started"),
        Column::number("ended").yields(2),
        Column::words("status"),
        Column::number("exit code"),
    ]);
    for (i, event) in result.events.iter().enumerate() {
        table.row([
            Cell::stored_name(&event.name, format!("/events/{i}/name")),
            Cell::stored_code(&event.command, format!("/events/{i}/command")),
            time(event.started_s, format!("/events/{i}/started_s")),
            time(event.ended_s, format!("/events/{i}/ended_s")),
            status(event),
            event.exit_code.map_or_else(Cell::not_available, |code| Cell::number(code.to_string())),
        ]);
    }
    table
}

/// Returns the events with an effect, and their indexes in the result.
fn with_effect(result: &RunResult) -> impl Iterator<Item = (usize, &StoredEvent, &StoredEffect)> {
    let events = result.events.iter().enumerate();
    events.filter_map(|(i, event)| event.effect.as_ref().map(|effect| (i, event, effect)))
}

fn effects(result: &RunResult) -> ReportTable {
    let mut table = ReportTable::new([
        Column::words("event"),
        Column::number("outage"),
        Column::number("at most").yields(2),
        Column::number("failed").yields(1),
        Column::number("recovery"),
        Column::prose(""),
    ]);
    for (i, event, effect) in with_effect(result) {
        let path = |field: &str| format!("/events/{i}/effect/{field}");
        let [outage, most, failed] = match &effect.outage {
            None => [Cell::words("none").tone(Tone::Good), Cell::words(""), Cell::number("0")],
            Some(outage) => [
                Cell::seconds(outage.s, path("outage/s")).strong(),
                match outage.at_most_s {
                    Some(s) => Cell::seconds(s, path("outage/at_most_s")),
                    None => Cell::number("not over").tone(Tone::Bad),
                },
                Cell::count(outage.failed, path("outage/failed")),
            ],
        };
        let recovery = match (effect.recovery_s, effect.not_recovered_within_s) {
            (Some(s), _) => Cell::seconds(s, path("recovery_s")).strong(),
            (None, Some(s)) => Cell::number(format!("> {}", format::seconds(s))).tone(Tone::Bad),
            (None, None) => Cell::words("unknown").tone(Tone::Warning),
        };
        table.row([Cell::name(&event.name), outage, most, failed, recovery, Cell::words(remark(effect))]);
    }
    table
}

/// Returns the text for a recovery without a time.
fn remark(effect: &StoredEffect) -> String {
    match (&effect.recovery_unknown, effect.not_recovered_within_s) {
        (Some(why), _) => format!("recovery: {why}"),
        (None, Some(_)) => "not recovered in this run".to_owned(),
        (None, None) => String::new(),
    }
}

type SideCount = (&'static str, &'static str, fn(&StoredEventSide) -> u64);

const COUNTS: [SideCount; 12] = [
    ("offered", "offered", |side| side.offered),
    ("accepted", "accepted", |side| side.accepted),
    ("expected", "expected", |side| side.expected),
    ("deferred", "deferred", |side| side.deferred),
    ("rejected", "rejected", |side| side.rejected),
    ("refused", "refused", |side| side.refused),
    ("dropped", "dropped", |side| side.dropped),
    ("timed-out", "timed_out", |side| side.timed_out),
    ("in-doubt", "in_doubt", |side| side.in_doubt),
    ("malformed", "malformed", |side| side.malformed),
    ("interrupted", "interrupted", |side| side.interrupted),
    ("shed", "shed", |side| side.shed),
];

/// Returns the arrivals before and after each event by outcome, without empty columns.
fn sides(result: &RunResult) -> ReportTable {
    let has = |count: &SideCount| {
        with_effect(result).any(|(_, _, effect)| (count.2)(&effect.before) + (count.2)(&effect.after) > 0)
    };
    let counts: Vec<SideCount> = COUNTS.into_iter().filter(has).collect();
    let columns =
        [Column::words("event").grouped(), Column::words("scheduled"), Column::words("from .. to").yields(3)];
    let mut table =
        ReportTable::new(columns.into_iter().chain(counts.iter().map(|(name, ..)| Column::number(name))));
    for (i, event, effect) in with_effect(result) {
        for (name, side) in [("before", &effect.before), ("after", &effect.after)] {
            let span = format!("{} .. {}", format::seconds(side.from_s), format::seconds(side.to_s));
            let head = [Cell::name(&event.name), Cell::words(name), Cell::number(span)];
            let cells = counts.iter().map(|(_, field, count)| {
                Cell::count(count(side), format!("/events/{i}/effect/{name}/{field}"))
            });
            table.row(head.into_iter().chain(cells));
        }
    }
    table
}

/// Returns the deliveries of the recipients that were accepted before and after each event.
fn deliveries(result: &RunResult) -> ReportTable {
    let columns = [Column::words("event").grouped(), Column::words("accepted")];
    let counts = ["recipients", "delivered", "bounced", "missing"].map(Column::number);
    let mut table = ReportTable::new(columns.into_iter().chain(counts));
    for (i, event, effect) in with_effect(result) {
        for (name, side) in [("before", &effect.before), ("after", &effect.after)] {
            let Some(delivery) = &side.delivery else { continue };
            let at = |field: &str| format!("/events/{i}/effect/{name}/delivery/{field}");
            let tone = if delivery.missing > 0 { Tone::Bad } else { Tone::Plain };
            table.row([
                Cell::name(&event.name),
                Cell::words(name),
                Cell::count(delivery.accepted_recipients, at("accepted_recipients")),
                Cell::count(delivery.delivered, at("delivered")),
                Cell::count(delivery.bounced, at("bounced")),
                Cell::count(delivery.missing, at("missing")).tone(tone),
            ]);
        }
    }
    table
}

/// Returns how each failed command ended, and the outputs. The page shows the outputs of all commands, other formats only
/// those of failed commands.
fn outputs(result: &RunResult) -> Vec<SectionPart> {
    let mut notes = Vec::new();
    for event in &result.events {
        let is_good = matches!(
            event.status,
            StoredEventStatus::Done | StoredEventStatus::Waiting | StoredEventStatus::Running
        );
        let (tone, place) = match event.status {
            _ if is_good => (Tone::Quiet, Visibility::Page),
            StoredEventStatus::Stopped => (Tone::Warning, Visibility::Everywhere),
            _ => (Tone::Bad, Visibility::Everywhere),
        };
        if !is_good {
            notes.push(Note::everywhere(format!("event {}: {}", event.name, event.explanation), tone));
        }
        let lines: Vec<&str> = event.output.lines().filter(|line| !line.trim().is_empty()).collect();
        let shown = lines.iter().take(LINES).map(|line| {
            let line = format::cut(&format::harmless(line), LENGTH);
            Note::at(format!("{}: {line}", event.name), Tone::Quiet, place)
        });
        notes.extend(shown);
        if let Some(more) = lines.len().checked_sub(LINES + 1) {
            let text = format!("{}: ({})", event.name, format::counted(more as u64 + 1, "more line"));
            notes.push(Note::at(text, Tone::Quiet, place));
        }
    }
    notes
}
