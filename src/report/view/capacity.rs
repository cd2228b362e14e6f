//! The section of the capacity: the bounds of each goal, the trials by load, and the first load of each condition.

use super::claims::status_of_goal;
use super::{Cell, Column, Note, ReportTable, Section, SectionPart, Tone, Visibility, amounts};
use crate::report::format;
use crate::report::stored::{
    Capacity, CapacityGoal, RunResult, StoredBacklogGrowth, StoredTrialDelivery, StoredTrialFault,
};

/// Returns the sections of the capacity; empty if it was not searched.
pub fn sections(result: &RunResult) -> Vec<Section> {
    let Some(capacity) = &result.capacity else { return Vec::new() };
    let trials = format::counted(capacity.trials.len() as u64, "trial");
    let mut goals: Vec<SectionPart> = goals(capacity).block().into_iter().collect();
    goals.extend(capacity.ended_by.iter().map(|why| Note::everywhere(why, Tone::Warning)));
    let mut by_load: Vec<SectionPart> = by_load(capacity).block().into_iter().collect();
    by_load.extend(invalid(capacity));
    vec![
        Section {
            id: "capacity",
            title: "Capacity".to_owned(),
            remark: format::harmless(&format!("by {}, {trials} (RFC 9971)", capacity.by)),
            lead: "The capacity lies between the two bounds: the highest load that is known to meet the goal, and the lowest \
                   that is known to miss it.",
            blocks: goals,
        },
        Section {
            id: "trials",
            title: "Trials".to_owned(),
            remark: "by load; response times of accepted arrivals".to_owned(),
            lead: "Needs, after a growth, is how long a trial must be to decide whether the backlog or the queue grows.",
            blocks: by_load,
        },
        Section {
            id: "onsets",
            title: "Where conditions set in".to_owned(),
            remark: String::new(),
            lead: "The lowest load at which each was seen.",
            blocks: onsets(capacity).block().into_iter().collect(),
        },
    ]
}

fn goals(capacity: &Capacity) -> ReportTable {
    let mut table = ReportTable::new([
        Column::words("goal"),
        Column::number("capacity"),
        Column::words("search"),
        Column::words("objective").yields(1),
        Column::prose("details"),
    ]);
    for (i, goal) in capacity.goals.iter().enumerate() {
        let at = |field: &str| format!("/capacity/goals/{i}/{field}");
        let failures = match goal.failures {
            0.0 => String::new(),
            failures => format!(", at most {} failed", format::exact_percent(failures * 100.0)),
        };
        table.row([
            Cell::stored_name(&goal.name, at("name")),
            Cell::number(amounts::capacity_found(goal)).strong(),
            status_of_goal(goal).stored(at("status"), "text"),
            Cell::code(format!("{}{failures}", goal.objective)),
            Cell::code(details(capacity, goal).join("; ")),
        ]);
    }
    table
}

/// Returns the details of a goal: its throughput, the cause of its bound, its latencies and its notes.
fn details(capacity: &Capacity, goal: &CapacityGoal) -> Vec<String> {
    let mut details = Vec::new();
    if let Some(throughput) = goal.throughput.filter(|throughput| Some(*throughput) != goal.lower) {
        details.push(format!("at the lower bound, {throughput:.1} {} met the goal", goal.unit));
    }
    details.extend(goal.bound_by.clone());
    for at in &goal.latency {
        let time = |ns: Option<u64>| ns.map_or("n/a".to_owned(), |ns| format::duration(ns as f64));
        let share = goal.lower.map_or(at.share, |lower| at.load / lower);
        details.push(format!(
            "at {} of the lower bound ({}) p50 {}, p99 {}",
            format::percent(share),
            load(capacity, at.load),
            time(at.p50_ns),
            time(at.p99_ns)
        ));
    }
    details.extend(goal.notes.iter().cloned());
    details
}

/// Returns a load with a short unit, for a table.
fn load(capacity: &Capacity, load: f64) -> String {
    match capacity.by.as_str() {
        "rate" => format!("{load}/s"),
        "size" => format::bytes(load as u64),
        _ => format!("{load}"),
    }
}

fn by_load(capacity: &Capacity) -> ReportTable {
    let mut columns = vec![
        Column::number(&capacity.by),
        Column::number("trial").yields(4),
        Column::number("scheduled").at(Visibility::Page),
        Column::number("p50"),
        Column::number("p90").at(Visibility::Page),
        Column::number("p99"),
        Column::number("max").yields(3),
        Column::number("accepted").yields(1),
        Column::number("failed"),
        Column::number("backlog growth").at(Visibility::Page),
    ];
    let has_relay = capacity.trials.iter().any(|trial| trial.delivery.is_some());
    if has_relay {
        columns.extend([
            Column::number("queue growth").yields(1),
            Column::number("queued at end"),
            Column::number("drain").yields(3),
            Column::number("delivered").at(Visibility::Page),
            Column::words("deliveries").yields(2),
        ]);
    }
    columns.extend(capacity.goals.iter().map(|goal| Column::words(&goal.name)));
    columns.extend([Column::words("why").yields(2), Column::number("sessions at most").at(Visibility::Page)]);
    let mut table = ReportTable::new(columns);
    let mut trials: Vec<_> = capacity.trials.iter().enumerate().collect();
    trials
        .sort_by(|(_, one), (_, other)| one.load.total_cmp(&other.load).then(one.number.cmp(&other.number)));
    for (i, trial) in trials {
        let at = |field: &str| format!("/capacity/trials/{i}/{field}");
        let time = |ns: Option<u64>, field: &str| match ns {
            Some(ns) => Cell::duration(ns, at(field)),
            None => Cell::not_available(),
        };
        let mut row = vec![
            Cell::number(load(capacity, trial.load)).strong(),
            Cell::number(trial.number.to_string()),
            Cell::count(trial.scheduled, at("scheduled")),
            time(trial.p50_ns, "p50_ns"),
            time(trial.p90_ns, "p90_ns"),
            time(trial.p99_ns, "p99_ns"),
            time(trial.max_ns, "max_ns"),
            Cell::rate(trial.accepted_per_s, at("accepted_per_s")),
            Cell::number(format::share(trial.scheduled.saturating_sub(trial.accepted), trial.scheduled)),
            backlog_growth(trial.backlog.as_ref()),
        ];
        if has_relay {
            row.extend(behind_relay(trial.delivery.as_ref()));
        }
        row.extend((0..capacity.goals.len()).map(|goal| match trial.goals.get(goal) {
            Some(verdict) if verdict.good => Cell::words("met").tone(Tone::Good),
            Some(verdict) if verdict.unsustained => Cell::words("UNSUSTAINED").tone(Tone::Bad),
            Some(verdict) if verdict.undelivered => Cell::words("UNDELIVERED").tone(Tone::Bad),
            Some(_) => Cell::words("MISSED").tone(Tone::Bad),
            None => Cell::words("invalid").tone(Tone::Warning),
        }));
        let early = if trial.ended_early { ", cut short" } else { "" };
        row.push(Cell::name(format!("{}{early}", trial.why)));
        row.push(Cell::count(trial.peak_sessions, at("peak_sessions")));
        table.row(row);
    }
    table
}

/// Returns the deliveries of a trial: the growth of the queue, its length at the end, the time to empty it, and the
/// faults.
fn behind_relay(delivery: Option<&StoredTrialDelivery>) -> [Cell; 5] {
    let Some(delivery) = delivery else { return [(); 5].map(|()| Cell::not_available()) };
    let drain = delivery.drain_s.map_or("n/a".to_owned(), format::seconds);
    let drain = if delivery.is_queue_left { "not empty".to_owned() } else { drain };
    let found = match delivery.failed.as_slice() {
        [] if delivery.is_queue_left => Cell::words("not known").tone(Tone::Warning),
        [] => Cell::words("all"),
        failed => Cell::name(failed.join(", ")).tone(Tone::Bad),
    };
    [
        backlog_growth(delivery.queue_growth.as_ref()),
        Cell::number(format::count(delivery.queued_at_end)),
        Cell::number(drain),
        Cell::number(format::count(delivery.delivered)),
        found,
    ]
}

/// Returns how a backlog grew, with its interval.
fn backlog_growth(growth: Option<&StoredBacklogGrowth>) -> Cell {
    let Some(growth) = growth else { return Cell::not_available() };
    let text = format!("{:.1}/s ({:.1} to {:.1})", growth.per_s, growth.low_per_s, growth.high_per_s);
    Cell::number(match growth.needed_s {
        Some(needed_s) => format!("{text}, needs {}", format::seconds(needed_s)),
        None => text,
    })
}

/// Returns notes on the trials that are not counted, one for each reason, with the sentence of its first trial.
fn invalid(capacity: &Capacity) -> Vec<SectionPart> {
    let mut reasons: Vec<(&StoredTrialFault, Vec<usize>)> = Vec::new();
    for trial in &capacity.trials {
        for reason in &trial.invalid {
            match reasons.iter_mut().find(|(known, _)| known.code == reason.code) {
                Some((_, trials)) => trials.push(trial.number),
                None => reasons.push((reason, vec![trial.number])),
            }
        }
    }
    let note = |(reason, trials): (&StoredTrialFault, Vec<usize>)| {
        let others = match trials.as_slice() {
            [] | [_] => String::new(),
            [_, other] => format!(" (and trial {other})"),
            [_, others @ ..] => {
                let others: Vec<String> = others.iter().map(usize::to_string).collect();
                format!(" (and trials {})", others.join(", "))
            }
        };
        let text =
            format!("trial {}{others} is not counted, {}: {}", trials[0], reason.code, reason.sentence);
        Note::everywhere(text, Tone::Warning)
    };
    reasons.into_iter().map(note).collect()
}

fn onsets(capacity: &Capacity) -> ReportTable {
    let mut table = ReportTable::new([
        Column::words("condition"),
        Column::number("from"),
        Column::number("not at").yields(1),
        Column::words("at step").yields(2),
        Column::number("times there").yields(2),
        Column::words("reply").at(Visibility::Page),
    ]);
    for onset in &capacity.onsets {
        let code = onset.met.code.map_or(String::new(), |code| format!("{code:03} "));
        let (expected, tone) = if onset.met.expected { (" (expected)", Tone::Good) } else { ("", Tone::Bad) };
        table.row([
            Cell::name(format!("{code}{}{expected}", onset.met.condition)).tone(tone),
            Cell::number(load(capacity, onset.from)).strong(),
            Cell::number(onset.not_at.map(|below| load(capacity, below)).unwrap_or_default()),
            Cell::name(&onset.met.step),
            Cell::number(format::count(onset.met.count)),
            Cell::code(format::cut(&onset.met.sample, 200)),
        ]);
    }
    table
}
