//! The section of outcomes, and whether the counts reconcile (M10).

use super::{Cell, Column, Note, ReportTable, Section, SectionPart, Tone, Visibility, measured};
use crate::report::format;
use crate::report::stored::{RunResult, StoredPhase};

/// The title of the column that shows whether the counts of a phase reconcile.
pub const COUNTS: &str = "counts";

/// One outcome: its name, its field in the result, its severity, its count.
struct Ending {
    name: &'static str,
    field: &'static str,
    tone: Tone,
    count: fn(&StoredPhase) -> u64,
}

/// All outcomes, in the order of the result; `shed` last.
const ENDINGS: [Ending; 11] = {
    const fn ending(
        name: &'static str,
        field: &'static str,
        tone: Tone,
        count: fn(&StoredPhase) -> u64,
    ) -> Ending {
        Ending { name, field, tone, count }
    }
    [
        ending("accepted", "accepted", Tone::Good, |phase| phase.accepted),
        ending("expected", "expected", Tone::Good, |phase| phase.expected),
        ending("deferred", "deferred", Tone::Bad, |phase| phase.deferred),
        ending("rejected", "rejected", Tone::Bad, |phase| phase.rejected),
        ending("refused", "refused", Tone::Bad, |phase| phase.refused),
        ending("dropped", "dropped", Tone::Bad, |phase| phase.dropped),
        ending("timed-out", "timed_out", Tone::Bad, |phase| phase.timed_out),
        ending("in-doubt", "in_doubt", Tone::Bad, |phase| phase.in_doubt),
        ending("malformed", "malformed", Tone::Bad, |phase| phase.malformed),
        ending("interrupted", "interrupted", Tone::Warning, |phase| phase.interrupted),
        ending("shed", "shed", Tone::Bad, |phase| phase.shed),
    ]
};

/// Returns the number of started arrivals that were neither accepted nor expected.
pub fn failed(phase: &StoredPhase) -> u64 {
    ended(phase) - phase.accepted - phase.expected
}

fn ended(phase: &StoredPhase) -> u64 {
    ENDINGS.iter().filter(|ending| ending.name != "shed").map(|ending| (ending.count)(phase)).sum()
}

fn reconciles(phase: &StoredPhase) -> bool {
    ended(phase) == phase.started && phase.scheduled == phase.started + phase.shed
}

/// Returns how the arrivals of a run ended.
pub fn section(result: &RunResult) -> Section {
    let phases: Vec<_> = measured(result).collect();
    let mut blocks = Vec::new();
    if phases.iter().any(|(_, phase)| phase.scheduled > 0) {
        blocks.extend([
            SectionPart::ReportTable(by_outcome(&phases)),
            SectionPart::ReportTable(by_phase(&phases)),
        ]);
        blocks.extend(counts(&phases));
    }
    Section {
        id: "outcomes",
        title: "Outcomes".to_owned(),
        lead: "Every scheduled arrival has exactly one outcome.",
        blocks,
        ..Section::default()
    }
}

/// Returns the count of an outcome in the phase with this index.
fn cell(i: usize, phase: &StoredPhase, ending: &Ending) -> Cell {
    Cell::count((ending.count)(phase), format!("/phases/{i}/{}", ending.field))
}

fn by_outcome(phases: &[(usize, &StoredPhase)]) -> ReportTable {
    let place = if phases.len() > 1 { Visibility::Text } else { Visibility::Page };
    let mut table = ReportTable::new([
        Column::words("phase").grouped().at(place),
        Column::words("outcome"),
        Column::number("count"),
        Column::number("share"),
        Column::words("").yields(1).at(Visibility::Terminal),
    ]);
    table.place = Visibility::Text;
    for (i, phase) in phases {
        for ending in ENDINGS.iter().filter(|ending| (ending.count)(phase) > 0) {
            let count = (ending.count)(phase);
            table.row([
                Cell::name(&phase.name),
                Cell::words(ending.name).tone(ending.tone),
                cell(*i, phase, ending),
                Cell::number(format::share(count, phase.scheduled)),
                Cell::words(format::bar(count as f64 / phase.scheduled as f64, 24)).tone(Tone::Quiet),
            ]);
        }
    }
    table
}

fn by_phase(phases: &[(usize, &StoredPhase)]) -> ReportTable {
    let occurred: Vec<&Ending> =
        ENDINGS.iter().filter(|ending| phases.iter().any(|(_, phase)| (ending.count)(phase) > 0)).collect();
    let columns = [Column::words("phase"), Column::number("scheduled"), Column::number("started")];
    let columns = columns.into_iter().chain(occurred.iter().map(|ending| Column::number(ending.name)));
    let mut table = ReportTable::new(columns.chain([Column::words(COUNTS)]));
    table.place = Visibility::Page;
    for (i, phase) in phases {
        let mut row = vec![
            Cell::name(&phase.name),
            Cell::count(phase.scheduled, format!("/phases/{i}/scheduled")),
            Cell::count(phase.started, format!("/phases/{i}/started")),
        ];
        row.extend(occurred.iter().map(|ending| {
            let tone = if (ending.count)(phase) == 0 { Tone::Quiet } else { ending.tone };
            cell(*i, phase, ending).tone(tone)
        }));
        row.push(match reconciles(phase) {
            true => Cell::words("reconcile").tone(Tone::Good),
            false => Cell::words("DO NOT RECONCILE").tone(Tone::Bad),
        });
        table.row(row);
    }
    table
}

/// Returns whether the counts reconcile: one line if they do, a line for each phase if not.
fn counts(phases: &[(usize, &StoredPhase)]) -> Vec<SectionPart> {
    let broken = phases.iter().filter(|(_, phase)| !reconciles(phase)).map(|(_, phase)| {
        let [scheduled, started, shed, ended] =
            [phase.scheduled, phase.started, phase.shed, ended(phase)].map(format::count);
        let text = format!(
            "the counts of {} DO NOT RECONCILE: {scheduled} scheduled, {started} started, {shed} shed, {ended} ended",
            phase.name
        );
        Note::everywhere(text, Tone::Bad)
    });
    let broken: Vec<SectionPart> = broken.collect();
    if !broken.is_empty() {
        return broken;
    }
    let total = |of: fn(&StoredPhase) -> u64| format::count(phases.iter().map(|(_, phase)| of(phase)).sum());
    let text = format!(
        "the counts reconcile: {} scheduled = {} started + {} shed; each started arrival has one outcome",
        total(|phase| phase.scheduled),
        total(|phase| phase.started),
        total(|phase| phase.shed),
    );
    vec![Note::at(text, Tone::Quiet, Visibility::Text)]
}
