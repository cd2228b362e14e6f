//! Load, times, and where the time goes.

use super::{Cell, Table, percentile};
use crate::report::addresses;
use crate::report::format;
use crate::report::stored::{RunResult, StoredMetric, StoredPhase};

/// What was offered and what came of it, phase by phase.
pub fn load(result: &RunResult) -> Table {
    let mut table = Table::new([
        "phase",
        "for",
        "due",
        "offered",
        "started",
        "accepted",
        "accepted after it",
        "sessions opened",
        "at most at once",
        "sent",
        "received",
    ]);
    for (i, phase) in result.phases.iter().enumerate() {
        let at = |field: &str| format!("/phases/{i}/{field}");
        let name = if phase.warmup && !phase.name.contains("warm") {
            format!("{} (warm-up)", phase.name)
        } else {
            phase.name.clone()
        };
        let octets = |n: u64, field: &str| Cell {
            text: format::bytes(n),
            path: at(field),
            form: "bytes",
            class: "number",
        };
        table.rows.push(vec![
            Cell::text(name),
            Cell::seconds(phase.window_s, at("window_s")),
            Cell::count(phase.scheduled, at("scheduled")),
            Cell::rate(phase.offered_per_s, at("offered_per_s")),
            Cell::rate(phase.started_per_s, at("started_per_s")),
            Cell::rate(phase.accepted_per_s, at("accepted_per_s")),
            match &phase.drained {
                // Stored by an earlier version, which did not count it.
                None => Cell::number("unknown"),
                Some(drained) => Cell::count(drained.accepted, at("drained/accepted")),
            },
            Cell::count(phase.sessions.opened, at("sessions/opened")),
            Cell::count(phase.sessions.peak, at("sessions/peak")),
            octets(phase.bytes.sent, "bytes/sent"),
            octets(phase.bytes.received, "bytes/received"),
        ]);
    }
    table
}

/// Which address of the target got what, a line for each phase where that does not go without saying.
pub fn addresses(result: &RunResult) -> Vec<String> {
    let line = |phase: &StoredPhase| Some(format!("{}: {}", phase.name, addresses::in_words(phase)?));
    result.phases.iter().filter_map(line).map(|line| format::harmless(&line)).collect()
}

/// Response, service, wait and sessions in percentiles, by phase and outcome.
pub fn times(result: &RunResult) -> Table {
    let is_shown = |metric: &StoredMetric| {
        matches!(metric.name.as_str(), "response" | "service" | "wait" | "setup" | "session")
    };
    let measured = result.measured_phases();
    let metrics = result.metrics.iter().enumerate();
    percentiles(metrics.filter(|(_, own)| is_shown(own) && measured.contains(own.phase.as_str())).collect())
}

/// A row for each of these metrics, which stand at these places in the result.
fn percentiles(shown: Vec<(usize, &StoredMetric)>) -> Table {
    let quantiles: Vec<String> = shown
        .first()
        .map(|(_, metric)| metric.percentiles.iter().map(|own| format::quantile(own.q)).collect())
        .unwrap_or_default();
    let titles = ["phase", "outcome", "time", "values", "min"].map(str::to_owned);
    let mut table = Table::new(titles.into_iter().chain(quantiles).chain(["max".to_owned()]));
    for (at, metric) in shown {
        let mut row = vec![
            Cell::text(&metric.phase),
            Cell::text(&metric.outcome).class(if metric.outcome == "accepted" { "good" } else { "" }),
            Cell::text(&metric.name),
            Cell::count(metric.count, format!("/metrics/{at}/count")),
            Cell::duration(metric.min_ns, format!("/metrics/{at}/min_ns")),
        ];
        row.extend(metric.percentiles.iter().enumerate().map(|(k, own)| percentile(own, at, k)));
        row.push(Cell::duration(metric.max_ns, format!("/metrics/{at}/max_ns")));
        table.rows.push(row);
    }
    table
}

/// Where the time of one phase went: a bar of steps.
#[derive(Debug)]
pub struct Bar {
    /// The phase.
    pub phase: String,
    /// What one arrival is.
    pub unit: String,
    /// The mean of all steps of one arrival together.
    pub total: String,
    /// In the order of a session.
    pub parts: Vec<Part>,
    /// How much longer an arrival took than its steps, if that is much.
    pub rest: Option<String>,
    /// The steps of commands that were sent together wait for the same answer at the same time.
    pub overlaps: bool,
    /// Each step in percentiles.
    pub table: Table,
}

/// One step in a bar.
#[derive(Debug)]
pub struct Part {
    /// The step.
    pub name: String,
    /// Its part of the bar, in percent.
    pub percent: String,
    /// Its mean for each arrival.
    pub mean: String,
    /// Its share in words.
    pub share: String,
}

/// Where the time went, for each measured phase.
pub fn spent(result: &RunResult) -> Vec<Bar> {
    let metrics = result.metrics_by_phase();
    result
        .phases
        .iter()
        .filter(|phase| !phase.warmup && phase.started > 0)
        .filter_map(|phase| bar(metrics.get(phase.name.as_str())?, phase))
        .collect()
}

/// `metrics`: those of the phase, and where they stand in the result.
fn bar(metrics: &[(usize, &StoredMetric)], phase: &StoredPhase) -> Option<Bar> {
    let mut parts: Vec<(&str, f64)> = Vec::new();
    for (_, metric) in metrics {
        let Some(step) = metric.name.strip_prefix("step.") else { continue };
        let sum = metric.mean_ns * metric.count as f64;
        match parts.iter_mut().find(|(name, _)| *name == step) {
            Some((_, own)) => *own += sum,
            None => parts.push((step, sum)),
        }
    }
    let total: f64 = parts.iter().map(|(_, sum)| sum).sum();
    if total <= 0.0 {
        return None;
    }
    let started = phase.started as f64;
    let services = metrics.iter().filter(|(_, metric)| metric.name == "service");
    let service: f64 = services.map(|(_, metric)| metric.mean_ns * metric.count as f64).sum();
    let part = |(name, sum): &(&str, f64)| Part {
        name: format::harmless(name),
        percent: format!("{:.3}", sum / total * 100.0),
        mean: format::duration(sum / started),
        share: format::percent(sum / total),
    };
    Some(Bar {
        phase: format::harmless(&phase.name),
        unit: if phase.unit == "session" { "session".to_owned() } else { "message".to_owned() },
        total: format::duration(total / started),
        parts: parts.iter().map(part).collect(),
        rest: (service > total * 1.5).then(|| format::duration((service - total) / started)),
        overlaps: service > 0.0 && total > service * 1.2,
        table: percentiles(
            metrics.iter().filter(|(_, metric)| metric.name.starts_with("step.")).copied().collect(),
        ),
    })
}
