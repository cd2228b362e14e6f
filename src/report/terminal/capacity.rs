//! The capacity that was looked for: the bounds of each goal and what set them, the curve of the trials by load, and where
//! conditions set in.

use std::io;

use crate::experiment::capacity::record::TrialRecord;
use crate::report::format;
use crate::report::layout::{Align, INDENT, Page, Span, Table, Tone};
use crate::report::stored::{Capacity, CapacityGoal, CapacityStatus, RunResult, StoredStatus};

/// The capacity, if it was looked for.
pub fn capacity(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let Some(capacity) = &result.capacity else { return Ok(()) };
    let trials = format::counted(capacity.trials.len() as u64, "trial");
    page.heading("Capacity", &format!("by {}, {trials} (RFC 9971)", capacity.by))?;
    let mut table = Table::new([(Align::Left, 0), (Align::Left, 0), (Align::Left, 0), (Align::Left, 1)]);
    for goal in &capacity.goals {
        table.row([
            Span::from(&goal.name),
            Span::new(format::capacity_found(goal), Tone::Strong),
            Span::new(goal.status.as_str(), tone(goal)),
            Span::from(&goal.objective),
        ]);
    }
    page.table(&table)?;
    for goal in &capacity.goals {
        let facts = facts(capacity, goal);
        if !facts.is_empty() {
            let name = Span::new(format!("{}: ", goal.name), tone(goal));
            page.flow(INDENT, INDENT, &[name, Span::from(facts.join("; "))])?;
        }
    }
    if let Some(why) = &capacity.ended_by {
        page.paragraph(INDENT, why, Tone::Warning)?;
    }
    curve(capacity, page)?;
    onsets(capacity, page)
}

/// The judgement of a search for a capacity.
pub fn sentence(result: &RunResult, capacity: &Capacity) -> String {
    let goals = |status: CapacityStatus| capacity.goals.iter().filter(|goal| goal.status == status).count();
    let settled = goals(CapacityStatus::Found);
    match result.verdict.status {
        StoredStatus::Pass if result.assertions.is_empty() => "the capacity is found".to_owned(),
        StoredStatus::Pass => "the capacity is as expected".to_owned(),
        StoredStatus::Fail => "the capacity is not as expected".to_owned(),
        StoredStatus::Interrupted => {
            format!("stopped by the user after {}", format::seconds(result.took_s))
        }
        StoredStatus::Invalid => "no trial can be trusted".to_owned(),
        StoredStatus::NoData if settled == capacity.goals.len() => "the search did not go on".to_owned(),
        StoredStatus::NoData => {
            let limits = [
                (CapacityStatus::GeneratorLimited, "the generator could do no more"),
                (CapacityStatus::MaxReached, "the greatest load allowed meets the goal"),
                (CapacityStatus::Inconclusive, "the search did not settle"),
            ];
            let first = limits.into_iter().find(|(status, _)| goals(*status) > 0);
            first.map_or("nothing was measured", |(_, why)| why).to_owned()
        }
    }
}

fn tone(goal: &CapacityGoal) -> Tone {
    match goal.status {
        CapacityStatus::Found => Tone::Good,
        CapacityStatus::GeneratorLimited | CapacityStatus::MaxReached => Tone::Warning,
        CapacityStatus::Inconclusive => Tone::Bad,
    }
}

/// What is to be known of a goal's bounds.
pub fn facts(capacity: &Capacity, goal: &CapacityGoal) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(throughput) = goal.throughput.filter(|throughput| Some(*throughput) != goal.lower) {
        facts.push(format!("at the lower bound {throughput:.1} {} of it were good", goal.unit));
    }
    facts.extend(goal.bound_by.iter().map(|why| format::harmless(why)));
    for at in &goal.latency {
        let time = |ns: Option<u64>| ns.map_or("n/a".to_owned(), |ns| format::duration(ns as f64));
        let share = goal.lower.map_or(at.share, |lower| at.load / lower);
        facts.push(format!(
            "at {} of it ({}) p50 {}, p99 {}",
            format::percent(share),
            load(capacity, at.load),
            time(at.p50_ns),
            time(at.p99_ns)
        ));
    }
    facts.extend(goal.notes.iter().map(|note| format::harmless(note)));
    facts
}

/// A load with as much of its unit as the curve needs.
pub fn load(capacity: &Capacity, load: f64) -> String {
    match capacity.by.as_str() {
        "rate" => format!("{load}/s"),
        "size" => format::bytes(load as u64),
        _ => format!("{load}"),
    }
}

/// A line a trial, by load.
fn curve(capacity: &Capacity, page: &mut Page<'_>) -> io::Result<()> {
    if capacity.trials.is_empty() {
        return Ok(());
    }
    page.heading("Trials", "by load; response times of accepted arrivals")?;
    let fixed = [
        (Align::Right, 0),
        (Align::Right, 4),
        (Align::Right, 0),
        (Align::Right, 0),
        (Align::Right, 3),
        (Align::Right, 1),
        (Align::Right, 0),
    ];
    let goals = capacity.goals.iter().map(|_| (Align::Left, 0));
    let mut table = Table::new(fixed.into_iter().chain(goals).chain([(Align::Left, 2)]));
    let titles = [capacity.by.as_str(), "trial", "p50", "p99", "max", "accepted", "not acc."];
    let names = capacity.goals.iter().map(|goal| goal.name.as_str());
    table.titles(titles.into_iter().chain(names).chain(["for"]));
    let mut trials: Vec<&TrialRecord> = capacity.trials.iter().collect();
    trials.sort_by(|one, other| one.load.total_cmp(&other.load).then(one.number.cmp(&other.number)));
    for trial in trials {
        let time = |ns: Option<u64>| ns.map_or("n/a".to_owned(), |ns| format::duration(ns as f64));
        let missed = trial.scheduled.saturating_sub(trial.accepted);
        let cells = [
            load(capacity, trial.load),
            trial.number.to_string(),
            time(trial.p50_ns),
            time(trial.p99_ns),
            time(trial.max_ns),
            format::rate(trial.accepted_per_s),
            format::share(missed, trial.scheduled),
        ];
        let classes = (0..capacity.goals.len()).map(|goal| match trial.goals.get(goal) {
            Some(verdict) if verdict.good => Span::new("good", Tone::Good),
            Some(_) => Span::new("BAD", Tone::Bad),
            None => Span::new("invalid", Tone::Warning),
        });
        let why = if trial.ended_early { format!("{}, cut short", trial.why) } else { trial.why.clone() };
        table.row(cells.into_iter().map(Span::from).chain(classes).chain([Span::from(why)]));
    }
    page.table(&table)?;
    let mut told: Vec<&str> = Vec::new();
    for reason in capacity.trials.iter().flat_map(|trial| &trial.invalid) {
        if !told.contains(&reason.code.as_str()) {
            told.push(&reason.code);
            page.paragraph(INDENT, &format!("invalid, {}: {}", reason.code, reason.sentence), Tone::Warning)?;
        }
    }
    Ok(())
}

/// Where each condition set in.
fn onsets(capacity: &Capacity, page: &mut Page<'_>) -> io::Result<()> {
    if capacity.onsets.is_empty() {
        return Ok(());
    }
    page.heading("Where it sets in", "")?;
    let mut table = Table::new([(Align::Left, 0), (Align::Left, 0), (Align::Left, 1), (Align::Left, 2)]);
    for onset in &capacity.onsets {
        let code = onset.met.code.map_or(String::new(), |code| format!("{code:03} "));
        let expected = if onset.met.expected { " (expected)" } else { "" };
        let below = onset.not_at.map_or(String::new(), |below| format!("not at {}", load(capacity, below)));
        table.row([
            Span::from(format!("{code}{}{expected}", onset.met.condition)),
            Span::new(format!("from {}", load(capacity, onset.from)), Tone::Strong),
            below.into(),
            format!("at {}, {} times there", onset.met.step, format::count(onset.met.count)).into(),
        ]);
    }
    page.table(&table)
}
