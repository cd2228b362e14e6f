//! The summary: a sentence for each phase on its load and its result.

use super::{Cell, Tone, amounts, limits, measured, outcomes, times};
use crate::report::format;
use crate::report::stored::delivery::StoredPhaseDelivery;
use crate::report::stored::{RunResult, StoredPhase};

/// A sentence about a phase or a search, with figures in it.
#[derive(Clone, Debug)]
pub struct SummaryLine {
    /// The name of the phase or the goal, `limits` or `capacity`.
    pub name: String,
    /// The parts of the sentence.
    pub parts: Vec<Cell>,
}

impl SummaryLine {
    fn new(name: &str, parts: Vec<Cell>) -> SummaryLine {
        SummaryLine { name: format::harmless(name), parts }
    }
}

/// Returns a sentence on the load of each phase, and on each search.
pub fn asked(result: &RunResult) -> Vec<SummaryLine> {
    let line = |(i, phase): (usize, &StoredPhase)| {
        let mut parts = vec![
            Cell::count(phase.scheduled, format!("/phases/{i}/scheduled")).strong(),
            Cell::words(format!(" {}s over ", phase.unit)),
            Cell::seconds(phase.window_s, format!("/phases/{i}/window_s")).strong(),
            Cell::words(" ("),
            Cell::rate(phase.offered_per_s, format!("/phases/{i}/offered_per_s")).strong(),
            Cell::words(format!(", {})", phase.model)),
        ];
        if phase.warmup {
            parts.push(Cell::words(" to warm up, not measured").tone(Tone::Quiet));
        }
        SummaryLine::new(&phase.name, parts)
    };
    let mut lines: Vec<SummaryLine> = result.phases.iter().enumerate().map(line).collect();
    if !result.limits.is_empty() {
        let configured = result.limits.iter().filter(|limit| limit.expected.is_some()).count() as u64;
        let text = format!(
            "find {}, and compare {} of them with what is configured",
            format::counted(result.limits.len() as u64, "limit"),
            format::count(configured),
        );
        lines.push(SummaryLine::new("limits", vec![Cell::words(text)]));
    }
    if let Some(capacity) = &result.capacity {
        let goals = format::counted(capacity.goals.len() as u64, "goal");
        let text = format!("find the highest load that meets {goals}, by {}", capacity.by);
        lines.push(SummaryLine::new("capacity", vec![Cell::words(text)]));
    }
    lines
}

/// Returns a sentence on the result of each measured phase, of the limits and of each goal.
pub fn happened(result: &RunResult) -> Vec<SummaryLine> {
    let line = |(i, phase): (usize, &StoredPhase)| SummaryLine::new(&phase.name, outcome(result, i, phase));
    let mut lines: Vec<SummaryLine> = measured(result).map(line).collect();
    if !result.limits.is_empty() {
        lines.push(SummaryLine::new("limits", vec![Cell::words(limits::tally(&result.limits))]));
    }
    let goals = result.capacity.iter().flat_map(|capacity| &capacity.goals);
    lines.extend(goals.map(|goal| {
        SummaryLine::new(&goal.name, vec![Cell::number(amounts::capacity_found(goal)).strong()])
    }));
    lines
}

/// Returns the part of a sentence on the deliveries of a phase.
fn came_out(i: usize, delivery: &StoredPhaseDelivery) -> Vec<Cell> {
    let mut parts = vec![
        Cell::words(", "),
        Cell::count(delivery.delivered, format!("/phases/{i}/delivery/delivered")).strong(),
        Cell::words(format!(" of {} recipients delivered", format::count(delivery.accepted_recipients))),
    ];
    let more = [
        (delivery.missing, "missing"),
        (delivery.bounced, "bounced"),
        (delivery.duplicated, "duplicated"),
        (delivery.altered, "altered"),
    ];
    for (count, what) in more.into_iter().filter(|(count, _)| *count > 0) {
        let tone = if what == "bounced" { Tone::Plain } else { Tone::Bad };
        parts.push(Cell::words(", "));
        parts.push(Cell::words(format!("{} {what}", format::count(count))).tone(tone));
    }
    parts
}

fn outcome(result: &RunResult, i: usize, phase: &StoredPhase) -> Vec<Cell> {
    let share = format::share(phase.accepted, phase.scheduled);
    let mut parts = vec![
        Cell::count(phase.accepted, format!("/phases/{i}/accepted")).strong(),
        Cell::words(format!(" of {} accepted ({share})", format::count(phase.scheduled))),
    ];
    if phase.expected > 0 {
        parts.push(Cell::words(", "));
        parts.push(Cell::count(phase.expected, format!("/phases/{i}/expected")).strong());
        parts.push(Cell::words(" refused as the profile expects"));
    }
    if let Some(retry) = &phase.retry {
        let first = retry.messages.iter().find(|row| row.attempts == 1).map_or(0, |row| row.accepted);
        let later = phase.accepted.saturating_sub(first);
        parts.push(Cell::words(format!(", {} accepted only after a retry", format::count(later))));
    }
    let pending = phase.retry.as_ref().map_or(0, |retry| retry.pending);
    let failed = outcomes::failed(phase).saturating_sub(pending);
    for (count, what) in [(failed, "failed"), (pending, "pending"), (phase.shed, "never started")] {
        if count > 0 {
            parts.push(Cell::words(", "));
            parts.push(Cell::words(format!("{} {what}", format::count(count))).tone(Tone::Bad));
        }
    }
    parts.extend(phase.delivery.iter().flat_map(|delivery| came_out(i, delivery)));
    let is_accepted = |(_, metric): &(usize, &crate::report::stored::StoredMetric)| {
        metric.phase == phase.name && metric.name == "response" && metric.outcome == "accepted"
    };
    let Some((at, metric)) = result.metrics.iter().enumerate().find(is_accepted) else { return parts };
    let half = if phase.unit == "session" { "half ended within " } else { "half were answered within " };
    let mut lead = ". Of the accepted, ";
    for (q, words) in [(0.5, half), (0.99, "99 of 100 within ")] {
        let known = metric.percentiles.iter().position(|own| own.q == q && own.value_ns.is_some());
        if let Some(k) = known {
            parts.push(Cell::words(format!("{lead}{words}")));
            parts.push(times::percentile(&metric.percentiles[k], at, k).strong());
            lead = ", ";
        }
    }
    parts.push(Cell::words(format!("{lead}the slowest took ")));
    parts.push(Cell::duration(metric.max_ns, format!("/metrics/{at}/max_ns")).strong());
    parts.push(Cell::words("."));
    parts
}
