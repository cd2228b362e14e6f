//! What was asked and how fast it was answered: schedule, response and service time, steps.

use std::io;

use super::measured;
use crate::report::addresses;
use crate::report::format;
use crate::report::layout::{Align, INDENT, Page, Span, Table, Tone};
use crate::report::stored::{Percentile, PercentileStatus, RunResult, StoredMetric, StoredPhase, StoredTls};

/// The quantiles of the table of times, and how readily each gives way.
const QUANTILES: [(f64, u8); 5] = [(0.5, 0), (0.9, 3), (0.95, 2), (0.99, 0), (0.999, 1)];

/// Offered, started, accepted: three rates, one row a phase.
pub fn schedule(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let several = match result.phases.as_slice() {
        [] => return Ok(()),
        [only] => {
            let window = format::seconds(only.window_s);
            page.heading("Load", &format!("{} for {window}, in {}s", only.model, only.unit))?;
            false
        }
        _ => {
            page.heading("Load", "")?;
            true
        }
    };
    let shed = result.phases.iter().any(|phase| phase.shed > 0);
    let mut table = Table::new([
        (Align::Left, 0),
        (Align::Right, 3),
        (Align::Right, 2),
        (Align::Right, 0),
        (Align::Right, 1),
        (Align::Right, 0),
        (Align::Right, 0),
    ]);
    let when = |shown: bool, text: &'static str| if shown { text } else { "" };
    let shed_title = when(shed, "shed");
    table.titles(["phase", when(several, "for"), "scheduled", "offered", "started", "accepted", shed_title]);
    for phase in &result.phases {
        let tone = if phase.warmup { Tone::Quiet } else { Tone::Plain };
        let name = if phase.warmup { format!("{} (warm-up)", phase.name) } else { phase.name.clone() };
        table.row([
            Span::new(name, tone),
            Span::new(if several { format::seconds(phase.window_s) } else { String::new() }, tone),
            Span::new(format::count(phase.scheduled), tone),
            Span::new(format::rate(phase.offered_per_s), tone),
            Span::new(format::rate(phase.started_per_s), tone),
            Span::new(format::rate(phase.accepted_per_s), tone),
            match shed {
                true => Span::new(format::count(phase.shed), if phase.shed > 0 { Tone::Bad } else { tone }),
                false => Span::default(),
            },
        ]);
    }
    page.table(&table)?;
    for phase in measured(result) {
        traffic(phase, several, page)?;
    }
    for warning in &result.warnings {
        page.paragraph(INDENT, warning, Tone::Warning)?;
    }
    Ok(())
}

/// What a phase opened and moved.
fn traffic(phase: &StoredPhase, several: bool, page: &mut Page<'_>) -> io::Result<()> {
    let sessions = &phase.sessions;
    if sessions.opened == 0 {
        return Ok(());
    }
    let mut facts = vec![format::counted(sessions.opened, "connection")];
    for (count, what) in [
        (sessions.refused, "refused"),
        (sessions.closed_by_peer, "closed by the listener"),
        (sessions.backoffs, "waits after a failure"),
    ] {
        if count > 0 {
            facts.push(format!("{} {what}", format::count(count)));
        }
    }
    facts.push(format!("at most {} at once", format::count(sessions.peak)));
    let transactions = &phase.transactions;
    if phase.unit == "session" && transactions.attempted > 0 {
        let attempted = format::counted(transactions.attempted, "message");
        facts.push(format!("{attempted} tried, {} accepted", format::count(transactions.accepted)));
    }
    if let Some(drained) = format::drained(phase) {
        facts.push(drained);
    }
    if phase.bytes.sent > 0 {
        facts.push(format!("{} sent", format::bytes(phase.bytes.sent)));
    }
    let name = if several { format!("{}: ", phase.name) } else { String::new() };
    page.paragraph(INDENT, &format!("{name}{}", facts.join(", ")), Tone::Quiet)?;
    if let Some(addresses) = addresses::in_words(phase) {
        page.paragraph(INDENT, &format!("{name}{addresses}"), Tone::Quiet)?;
    }
    match &phase.tls {
        Some(tls) => page.paragraph(INDENT, &format!("{name}{}", handshakes(tls)), Tone::Quiet),
        None => Ok(()),
    }
}

/// The TLS handshakes in words: full and resumed apart, with what they were made of.
fn handshakes(tls: &StoredTls) -> String {
    let mut facts = vec![format::counted(tls.full, "full TLS handshake")];
    if tls.resumed > 0 {
        facts.push(format!("{} resumed", format::count(tls.resumed)));
    }
    let names: Vec<&str> = tls.versions.keys().chain(tls.groups.keys()).map(String::as_str).collect();
    if !names.is_empty() {
        facts.push(names.join(", "));
    }
    for (count, what) in [
        (tls.untrusted, "with a certificate that nobody would trust"),
        (tls.truncated, "ended by the listener without close_notify"),
    ] {
        if count > 0 {
            facts.push(format!("{} {what}", format::count(count)));
        }
    }
    facts.join(", ")
}

/// Response time beside service time, for each outcome by itself.
pub fn times(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let mut table = Table::new(
        [(Align::Left, 0), (Align::Left, 0), (Align::Left, 0)]
            .into_iter()
            .chain(QUANTILES.map(|(_, yields)| (Align::Right, yields)))
            .chain([(Align::Right, 0)]),
    );
    let several = measured(result).count() > 1;
    let titles = QUANTILES.map(|(q, _)| format::quantile(q));
    table.titles(["", "", ""].into_iter().map(str::to_owned).chain(titles).chain(["max".to_owned()]));
    let mut lacking = Lacking::default();
    let mut shown = 0;
    for phase in measured(result) {
        let mut last_outcome = "";
        let mut first = true;
        for metric in arrivals(result, phase) {
            let new = first || metric.outcome != last_outcome;
            let phase_cell = if several && first { phase.name.as_str() } else { "" };
            let tone = if metric.outcome == "accepted" { Tone::Plain } else { Tone::Quiet };
            let outcome_cell = if new { metric.outcome.as_str() } else { "" };
            let name_tone = if metric.name == "response" { Tone::Strong } else { tone };
            table.row(
                [Span::from(phase_cell), Span::new(outcome_cell, tone), Span::new(&metric.name, name_tone)]
                    .into_iter()
                    .chain(QUANTILES.map(|(q, _)| Span::new(value(metric, q, &mut lacking), tone)))
                    .chain([Span::new(format::duration(metric.max_ns as f64), tone)]),
            );
            last_outcome = &metric.outcome;
            first = false;
            shown += 1;
        }
    }
    if shown == 0 {
        return Ok(());
    }
    page.heading("Time", "response = lag + wait for a slot + setup of a session + service")?;
    page.table(&table)?;
    lacking.note(page)?;
    if let Some(interval) = interval(result).filter(|_| !several) {
        page.paragraph(INDENT, &interval, Tone::Quiet)?;
    }
    let shed = measured(result).map(|phase| phase.shed).sum();
    if shed > 0 {
        let text = format!("of started only: {} were shed and have no time", format::count(shed));
        page.paragraph(INDENT, &text, Tone::Warning)?;
    }
    Ok(())
}

/// Response and service time of a phase, accepted first, then by the order of the result; `wait` if anything waited, `setup` if sessions were
/// opened for arrivals.
fn arrivals<'a>(result: &'a RunResult, phase: &StoredPhase) -> Vec<&'a StoredMetric> {
    let mut rows: Vec<&StoredMetric> = result
        .metrics
        .iter()
        .filter(|m| m.phase == phase.name && m.count > 0)
        .filter(|m| {
            matches!(m.name.as_str(), "response" | "service")
                || matches!(m.name.as_str(), "wait" | "setup") && m.max_ns >= 1_000_000
        })
        .collect();
    let mut outcomes: Vec<&str> = Vec::new();
    for row in &rows {
        if !outcomes.contains(&row.outcome.as_str()) {
            outcomes.push(&row.outcome);
        }
    }
    outcomes.sort_by_key(|o| *o != "accepted");
    let place = |o: &str| outcomes.iter().position(|x| *x == o);
    rows.sort_by_key(|m| place(&m.outcome));
    rows
}

/// What a quantile of a metric is, as it may be said.
fn value(metric: &StoredMetric, q: f64, lacking: &mut Lacking) -> String {
    let Some(percentile) = metric.percentiles.iter().find(|p| (p.q - q).abs() < 1e-9) else {
        return String::new();
    };
    match (percentile.status, percentile.value_ns) {
        (PercentileStatus::Exact, Some(ns)) => format::duration(ns as f64),
        (PercentileStatus::AtLeast, Some(ns)) => {
            lacking.censored = lacking.censored.max(metric.censored);
            format!(">={}", format::duration(ns as f64))
        }
        _ => {
            lacking.add(percentile);
            "n/a".to_owned()
        }
    }
}

/// Why some quantiles are not shown, or not exactly.
#[derive(Default)]
struct Lacking {
    needs: Vec<(f64, u64)>,
    /// The most values of which only a lower bound is known, where a percentile falls among them.
    censored: u64,
}

impl Lacking {
    fn add(&mut self, percentile: &Percentile) {
        if !self.needs.iter().any(|(q, _)| (q - percentile.q).abs() < 1e-9) {
            self.needs.push((percentile.q, percentile.needs));
        }
    }

    fn note(&mut self, page: &mut Page<'_>) -> io::Result<()> {
        self.needs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let needs: Vec<String> = self
            .needs
            .iter()
            .map(|(q, needs)| format!("{} n/a (needs {})", format::quantile(*q), format::count(*needs)))
            .collect();
        if !needs.is_empty() {
            page.paragraph(INDENT, &format!("too few values: {}", needs.join(", ")), Tone::Quiet)?;
        }
        if self.censored > 0 {
            let text = format!(
                ">=: {} had no answer (timed out, in doubt, interrupted), counted at what they had waited; not in max",
                format::count(self.censored)
            );
            page.paragraph(INDENT, &text, Tone::Quiet)?;
        }
        Ok(())
    }
}

/// How sure the p99 of the accepted response time is.
fn interval(result: &RunResult) -> Option<String> {
    let phase = measured(result).next()?;
    let metric = result
        .metrics
        .iter()
        .find(|m| m.phase == phase.name && m.name == "response" && m.outcome == "accepted")?;
    let p99 = metric.percentiles.iter().find(|p| (p.q - 0.99).abs() < 1e-9)?;
    let (low, high) = (p99.low_ns?, p99.high_ns?);
    (p99.status == PercentileStatus::Exact).then(|| {
        format!(
            "response p99 lies between {} and {} (99 % confidence)",
            format::duration(low as f64),
            format::duration(high as f64)
        )
    })
}

/// Where the time goes, step by step.
pub fn steps(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let phases: Vec<&StoredPhase> = measured(result).collect();
    match phases.as_slice() {
        [] => Ok(()),
        [only] => steps_of_one(result, only, page),
        several => steps_of_several(result, several, page),
    }
}

fn step_name(metric: &StoredMetric) -> Option<&str> {
    metric.name.strip_prefix("step.").filter(|_| metric.count > 0)
}

fn steps_of_one(result: &RunResult, phase: &StoredPhase, page: &mut Page<'_>) -> io::Result<()> {
    let steps: Vec<(&str, &StoredMetric)> = result
        .metrics
        .iter()
        .filter(|m| m.phase == phase.name)
        .filter_map(|m| step_name(m).map(|name| (name, m)))
        .collect();
    let whole: f64 = steps.iter().map(|(_, m)| m.mean_ns * m.count as f64).sum();
    if whole <= 0.0 {
        return Ok(());
    }
    page.heading("Where the time goes", "")?;
    let mut table = Table::new([
        (Align::Left, 0),
        (Align::Left, 0),
        (Align::Right, 2),
        (Align::Right, 0),
        (Align::Right, 3),
        (Align::Right, 0),
        (Align::Right, 0),
        (Align::Right, 1),
        (Align::Left, 4),
    ]);
    table.titles(["step", "", "count", "p50", "p90", "p99", "max", "share", ""]);
    let mut lacking = Lacking::default();
    for (name, metric) in steps {
        let share = metric.mean_ns * metric.count as f64 / whole;
        let outcome = if metric.outcome == "accepted" { "" } else { &metric.outcome };
        table.row([
            Span::from(name),
            Span::new(outcome, Tone::Warning),
            format::count(metric.count).into(),
            value(metric, 0.5, &mut lacking).into(),
            value(metric, 0.9, &mut lacking).into(),
            value(metric, 0.99, &mut lacking).into(),
            format::duration(metric.max_ns as f64).into(),
            format::percent(share).into(),
            Span::new(format::bar(share, 10), Tone::Quiet),
        ]);
    }
    page.table(&table)?;
    lacking.note(page)
}

/// The p99 of each step in each phase.
fn steps_of_several(result: &RunResult, phases: &[&StoredPhase], page: &mut Page<'_>) -> io::Result<()> {
    let mut names: Vec<&str> = Vec::new();
    let accepted = || result.metrics.iter().filter(|m| m.outcome == "accepted");
    for metric in accepted() {
        if let Some(name) = step_name(metric).filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    page.heading("Where the time goes", "p99 of each step, accepted")?;
    let columns = (0..names.len()).map(|i| (Align::Right, u8::try_from(i).unwrap_or(u8::MAX)));
    let mut table = Table::new([(Align::Left, 0)].into_iter().chain(columns));
    table.titles(["phase"].into_iter().chain(names.iter().copied()));
    let mut lacking = Lacking::default();
    for phase in phases {
        let mut cells = vec![Span::from(&phase.name)];
        for name in &names {
            let metric = accepted().find(|m| m.phase == phase.name && step_name(m) == Some(name));
            cells.push(metric.map_or_else(Span::default, |m| value(m, 0.99, &mut lacking).into()));
        }
        table.row(cells);
    }
    page.table(&table)?;
    lacking.note(page)
}
