//! The section of times: response and service time, separately for each outcome.
//!
//! # Decisions
//! - Response time is always shown with service time: the difference is the time that an arrival waited for its start.
//! - There are no averages, and times of different outcomes are never mixed.

use super::{
    Cell, Column, Note, ReportTable, Section, SectionPart, ShownQuantile, Tone, Visibility, is_several,
    measured, quantile_columns,
};
use crate::report::format;
use crate::report::stored::{Percentile, PercentileStatus, RunResult, StoredMetric};

/// The quantiles that text shows.
const QUANTILES: [ShownQuantile; 5] = [(0.5, 0), (0.9, 3), (0.95, 2), (0.99, 0), (0.999, 1)];

/// A metric with its place in the result.
pub(super) type Placed<'a> = (usize, &'a StoredMetric);

/// Returns the times of a run.
pub fn section(result: &RunResult) -> Section {
    let by_phase = result.metrics_by_phase();
    let rows: Vec<(&str, Vec<Placed<'_>>)> = measured(result)
        .filter_map(|(_, phase)| Some((phase.name.as_str(), shown(by_phase.get(phase.name.as_str())?))))
        .collect();
    let all = || rows.iter().flat_map(|(_, metrics)| metrics).map(|(_, metric)| *metric);
    let place = if is_several(result) { Visibility::Everywhere } else { Visibility::Page };
    let columns = vec![
        Column::words("phase").grouped().at(place),
        Column::words("outcome").grouped(),
        Column::words("time"),
        Column::number("values").at(Visibility::Page),
        Column::number("min").at(Visibility::Page),
    ];
    let columns =
        columns.into_iter().chain(quantile_columns(all(), &QUANTILES)).chain([Column::number("max")]);
    let mut table = ReportTable::new(columns);
    for (at, metric) in rows.iter().flat_map(|(_, metrics)| metrics) {
        let is_accepted = metric.outcome == "accepted";
        let mut row = vec![
            Cell::name(&metric.phase),
            Cell::name(&metric.outcome).tone(if is_accepted { Tone::Plain } else { Tone::Quiet }),
            Cell::name(&metric.name),
        ];
        if metric.name == "response" {
            row[2].tone = Tone::Strong;
        }
        row.extend(numbers(*at, metric));
        table.row_at(place_of(metric), row);
    }
    let mut blocks: Vec<SectionPart> = table.block().into_iter().collect();
    if !blocks.is_empty() {
        blocks.extend(missing(all().filter(|metric| place_of(metric) == Visibility::Everywhere), &QUANTILES));
        blocks.extend(interval(all()).filter(|_| !is_several(result)));
        let shed: u64 = measured(result).map(|(_, phase)| phase.shed).sum();
        if shed > 0 {
            let text =
                format!("{} arrivals were shed: they never started and have no times", format::count(shed));
            blocks.push(Note::everywhere(text, Tone::Warning));
        }
    }
    Section {
        id: "times",
        title: "Response times".to_owned(),
        remark: "response = lag + wait for a slot + session setup + service".to_owned(),
        lead: "Response counts from the scheduled time of an arrival, as a client that comes on time sees it; service \
               counts from its start. Where they differ, arrivals waited.",
        blocks,
    }
}

/// Returns the metrics of a phase that are shown: the accepted ones first, the others in the order of the result.
fn shown<'a>(metrics: &[Placed<'a>]) -> Vec<Placed<'a>> {
    let is_shown = |name: &str| matches!(name, "response" | "service" | "wait" | "setup" | "session");
    let own = metrics.iter().copied().filter(|(_, own)| own.count > 0 && is_shown(&own.name));
    let own: Vec<Placed<'a>> = own.collect();
    let mut outcomes: Vec<&str> = vec!["accepted"];
    for (_, metric) in &own {
        if !outcomes.contains(&metric.outcome.as_str()) {
            outcomes.push(&metric.outcome);
        }
    }
    let of = |outcome: &&str| {
        let outcome = (*outcome).to_owned();
        own.clone().into_iter().filter(move |(_, metric)| metric.outcome == outcome)
    };
    outcomes.iter().flat_map(of).collect()
}

/// Returns the formats that show a metric. Whole sessions, and waits and setups below 1 ms, are only on the page.
fn place_of(metric: &StoredMetric) -> Visibility {
    match metric.name.as_str() {
        "session" => Visibility::Page,
        "wait" | "setup" if metric.max_ns < 1_000_000 => Visibility::Page,
        _ => Visibility::Everywhere,
    }
}

/// Returns the values of a metric: the count, the least value, the quantiles, and the greatest value.
pub(super) fn numbers(at: usize, metric: &StoredMetric) -> Vec<Cell> {
    let mut row = vec![
        Cell::count(metric.count, format!("/metrics/{at}/count")),
        Cell::duration(metric.min_ns, format!("/metrics/{at}/min_ns")),
    ];
    row.extend(metric.percentiles.iter().enumerate().map(|(k, own)| percentile(own, at, k)));
    row.push(Cell::duration(metric.max_ns, format!("/metrics/{at}/max_ns")));
    row
}

/// Returns the percentile `k` of the metric `at`; `n/a` if there are too few values.
pub(super) fn percentile(own: &Percentile, at: usize, k: usize) -> Cell {
    let path = format!("/metrics/{at}/percentiles/{k}/value_ns");
    match (own.status, own.value_ns) {
        (PercentileStatus::NotAvailable, _) | (_, None) => Cell::not_available(),
        (PercentileStatus::AtLeast, Some(ns)) => {
            Cell::number(format!(">= {}", format::duration(ns as f64))).stored(path, "at-least")
        }
        (PercentileStatus::Exact, Some(ns)) => Cell::duration(ns, path),
    }
}

/// Returns notes on percentiles that are not available, and on percentiles that are lower bounds.
pub(super) fn missing<'a>(
    metrics: impl Iterator<Item = &'a StoredMetric>,
    shown: &[ShownQuantile],
) -> Vec<SectionPart> {
    let without_end = "had no answer (timed out, in doubt, interrupted); they count with the time that they waited, but not in max";
    percentile_notes(metrics, shown, without_end)
}

/// Returns these notes. `without_end` is the end of the sentence about the arrivals whose times are lower bounds.
pub(super) fn percentile_notes<'a>(
    metrics: impl Iterator<Item = &'a StoredMetric>,
    shown: &[ShownQuantile],
    without_end: &str,
) -> Vec<SectionPart> {
    let mut needs: Vec<(f64, u64)> = Vec::new();
    let mut censored = 0;
    for metric in metrics {
        let is_shown = |own: &&Percentile| shown.iter().any(|(q, _)| (q - own.q).abs() < 1e-9);
        for own in metric.percentiles.iter().filter(is_shown) {
            match own.status {
                PercentileStatus::Exact => {}
                PercentileStatus::AtLeast => censored = censored.max(metric.censored),
                PercentileStatus::NotAvailable if needs.iter().any(|(q, _)| *q == own.q) => {}
                PercentileStatus::NotAvailable => needs.push((own.q, own.needs)),
            }
        }
    }
    needs.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut notes = Vec::new();
    if !needs.is_empty() {
        let needs: Vec<String> = needs
            .iter()
            .map(|(q, needs)| format!("{} (needs {})", format::quantile(*q), format::count(*needs)))
            .collect();
        notes.push(Note::everywhere(format!("n/a: too few values for {}", needs.join(", ")), Tone::Quiet));
    }
    if censored > 0 {
        let text = format!(">=: {} {without_end}", format::count(censored));
        notes.push(Note::everywhere(text, Tone::Quiet));
    }
    notes
}

/// Returns the confidence interval of the p99 of the accepted response time.
fn interval<'a>(mut metrics: impl Iterator<Item = &'a StoredMetric>) -> Option<SectionPart> {
    let metric = metrics.find(|own| own.name == "response" && own.outcome == "accepted")?;
    let p99 = metric.percentiles.iter().find(|own| (own.q - 0.99).abs() < 1e-9)?;
    let (low, high) = (format::duration(p99.low_ns? as f64), format::duration(p99.high_ns? as f64));
    let text = format!("response p99 lies between {low} and {high} (99 % confidence)");
    (p99.status == PercentileStatus::Exact).then(|| Note::everywhere(text, Tone::Quiet))
}
