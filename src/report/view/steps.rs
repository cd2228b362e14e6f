//! The section of the steps: how much of the time each step takes.

use super::times::{self, Placed, missing, numbers};
use super::{
    Cell, Column, ReportTable, Section, SectionPart, ShownQuantile, Tone, Visibility, is_several, measured,
    quantile_columns,
};
use crate::report::format;
use crate::report::stored::{RunResult, StoredMetric, StoredPhase};

/// The quantiles that text shows.
const QUANTILES: [ShownQuantile; 3] = [(0.5, 0), (0.9, 3), (0.99, 0)];

/// The steps of a whole phase, as parts of a bar.
#[derive(Clone, Debug)]
pub struct StepBar {
    /// The phase.
    pub phase: String,
    /// The unit of an arrival.
    pub unit: String,
    /// The mean of all steps of one arrival together.
    pub total: String,
    /// The steps, in the order of the result.
    pub parts: Vec<StepShare>,
    /// The mean service time of an arrival beyond its steps, if it is more than half the time of the steps.
    pub rest: Option<String>,
    /// Whether commands were sent together, so that their steps overlap.
    pub overlaps: bool,
}

/// One step in a bar.
#[derive(Clone, Debug)]
pub struct StepShare {
    /// The step.
    pub name: String,
    /// The part of the bar, in percent.
    pub percent: String,
    /// The mean time for each arrival.
    pub mean: String,
    /// The share, as text.
    pub share: String,
}

/// Returns the section of the steps of a run.
pub fn section(result: &RunResult) -> Section {
    let by_phase = result.metrics_by_phase();
    let several = is_several(result);
    let mut blocks = Vec::new();
    let mut metrics: Vec<(&StoredPhase, Vec<Placed<'_>>)> = Vec::new();
    for (_, phase) in measured(result) {
        let Some(own) = by_phase.get(phase.name.as_str()) else { continue };
        let steps: Vec<Placed<'_>> = own.iter().copied().filter(|(_, own)| step(own).is_some()).collect();
        if let Some(bar) = bar(phase, own, &steps) {
            blocks.push(SectionPart::Steps(bar));
            let mut table = percentiles(&steps);
            match several {
                true => blocks.push(SectionPart::Folded("Percentiles of each step", table)),
                false => {
                    blocks.extend(missing(steps.iter().map(|(_, metric)| *metric), &QUANTILES));
                    table.place = Visibility::Everywhere;
                    blocks.insert(1, SectionPart::ReportTable(table));
                }
            }
            metrics.push((phase, steps));
        }
    }
    if several {
        blocks.extend(overview(&metrics));
    }
    Section {
        id: "steps",
        title: "Where the time goes".to_owned(),
        remark: if several { "p99 of each step, accepted".to_owned() } else { String::new() },
        lead: "The mean time of every step of the dialogue, spread over all arrivals.",
        blocks,
    }
}

fn step(metric: &StoredMetric) -> Option<&str> {
    metric.name.strip_prefix("step.").filter(|_| metric.count > 0)
}

fn sum(metric: &StoredMetric) -> f64 {
    metric.mean_ns * metric.count as f64
}

/// Returns the bar of a phase. `all` are the metrics of the phase, including its steps.
fn bar(phase: &StoredPhase, all: &[Placed<'_>], steps: &[Placed<'_>]) -> Option<StepBar> {
    let mut parts: Vec<(&str, f64)> = Vec::new();
    for (_, metric) in steps {
        let Some(name) = step(metric) else { continue };
        match parts.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own += sum(metric),
            None => parts.push((name, sum(metric))),
        }
    }
    let total: f64 = parts.iter().map(|(_, sum)| sum).sum();
    if total <= 0.0 || phase.started == 0 {
        return None;
    }
    let started = phase.started as f64;
    let service: f64 = all.iter().filter(|(_, own)| own.name == "service").map(|(_, own)| sum(own)).sum();
    let part = |(name, sum): &(&str, f64)| StepShare {
        name: format::harmless(name),
        percent: format!("{:.3}", sum / total * 100.0),
        mean: format::duration(sum / started),
        share: format::percent(sum / total),
    };
    Some(StepBar {
        phase: format::harmless(&phase.name),
        unit: format::harmless(&phase.unit),
        total: format::duration(total / started),
        parts: parts.iter().map(part).collect(),
        rest: (service > total * 1.5).then(|| format::duration((service - total) / started)),
        overlaps: service > 0.0 && total > service * 1.2,
    })
}

/// Returns the percentiles of each step of a phase, and its share of the time of all steps.
fn percentiles(steps: &[Placed<'_>]) -> ReportTable {
    let mut columns = vec![
        Column::words("step"),
        Column::words("outcome"),
        Column::number("count").yields(2),
        Column::number("min").at(Visibility::Page),
    ];
    columns.extend(quantile_columns(steps.iter().map(|(_, metric)| *metric), &QUANTILES));
    columns.extend([
        Column::number("max"),
        Column::number("share").yields(1),
        Column::words("").yields(4).at(Visibility::Terminal),
    ]);
    let whole: f64 = steps.iter().map(|(_, metric)| sum(metric)).sum();
    let mut table = ReportTable::new(columns);
    for (at, metric) in steps {
        let share = sum(metric) / whole;
        let outcome = if metric.outcome == "accepted" { "" } else { &metric.outcome };
        let mut row =
            vec![Cell::name(step(metric).unwrap_or_default()), Cell::name(outcome).tone(Tone::Warning)];
        row.extend(numbers(*at, metric));
        row.extend([
            Cell::number(format::percent(share)),
            Cell::words(format::bar(share, 10)).tone(Tone::Quiet),
        ]);
        table.row(row);
    }
    table
}

fn accepted<'a>(steps: &[Placed<'a>]) -> Vec<Placed<'a>> {
    steps.iter().copied().filter(|(_, own)| own.outcome == "accepted").collect()
}

/// Returns the p99 of each accepted step in each phase.
fn overview(phases: &[(&StoredPhase, Vec<Placed<'_>>)]) -> Vec<SectionPart> {
    let mut names: Vec<&str> = Vec::new();
    for (_, metric) in phases.iter().flat_map(|(_, steps)| accepted(steps)) {
        names.extend(step(metric).filter(|name| !names.contains(name)));
    }
    let yields = |i: usize| u8::try_from(i).unwrap_or(u8::MAX);
    let columns = names.iter().enumerate().map(|(i, name)| Column::number(name).yields(yields(i)));
    let mut table = ReportTable::new([Column::words("phase")].into_iter().chain(columns));
    table.place = Visibility::Text;
    let mut is_missing = None;
    for (phase, steps) in phases {
        let mut cells = vec![Cell::name(&phase.name)];
        for name in &names {
            let found = accepted(steps).into_iter().find(|(_, own)| step(own) == Some(name));
            let p99 = found.and_then(|(at, metric)| {
                let k = metric.percentiles.iter().position(|own| (own.q - 0.99).abs() < 1e-9)?;
                let own = &metric.percentiles[k];
                if own.value_ns.is_none() {
                    is_missing = Some(own.needs);
                }
                Some(times::percentile(own, at, k))
            });
            cells.push(p99.unwrap_or_default());
        }
        table.row(cells);
    }
    let note = is_missing.map(|needs| {
        let text = format!("n/a: too few values for p99 (needs {})", format::count(needs));
        super::Note::at(text, Tone::Quiet, Visibility::Text)
    });
    table.block().into_iter().filter(|_| !names.is_empty()).chain(note).collect()
}
