//! What was claimed and found, and how far our own side may be believed: assertions, searches, generator, ledger.

use std::io;

use crate::report::layout::{Align, INDENT, Page, Span, Table, Tone};
use crate::report::result::{Assertion, AssertionStatus, Limit, LimitVerdict, RunResult};
use crate::report::words;

/// The assertions that do not hold, below the verdict.
pub fn broken(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let broken = result.assertions.iter().filter(|a| a.status != AssertionStatus::Pass);
    let mut table = Table::new([(Align::Left, 0), (Align::Left, 0)]);
    for assertion in broken {
        table.row([Span::new(claim(assertion), Tone::Bad), observed(assertion)]);
    }
    page.table(&table)
}

/// Every assertion with what was observed.
pub fn assertions(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    if result.assertions.is_empty() {
        return Ok(());
    }
    page.heading("Assertions", "")?;
    let mut table = Table::new([(Align::Left, 0), (Align::Left, 0), (Align::Left, 0)]);
    for assertion in &result.assertions {
        let (word, tone) = match assertion.status {
            AssertionStatus::Pass => ("holds", Tone::Good),
            AssertionStatus::Fail => ("FAILS", Tone::Bad),
            AssertionStatus::NoData => ("NO DATA", Tone::Bad),
        };
        table.row([Span::new(word, tone), claim(assertion).into(), observed(assertion)]);
    }
    page.table(&table)
}

fn claim(assertion: &Assertion) -> String {
    match &assertion.phase {
        Some(phase) => format!("{} in {phase}", assertion.expr),
        None => assertion.expr.clone(),
    }
}

fn observed(assertion: &Assertion) -> Span {
    match assertion.status {
        AssertionStatus::NoData => Span::new(&assertion.observed, Tone::Quiet),
        _ => Span::from(format!("observed {}", assertion.observed)),
    }
}

/// Whether our own side kept up.
pub fn generator(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let own = &result.generator;
    let mut facts = Vec::new();
    if let Some(lag) = own.lag_p99_ns {
        facts.push(format!("lag p99 {}", words::duration(lag as f64)));
    }
    let threads = if own.threads > 0 {
        format!(" of {}", words::counted(own.threads.into(), "thread"))
    } else {
        String::new()
    };
    facts.push(format!("CPU {:.0} %{threads}", own.cpu_share * 100.0));
    if own.peak_descriptors > 0 {
        facts.push(words::counted(own.peak_descriptors, "descriptor"));
    }
    if own.peak_rss_bytes > 0 {
        facts.push(format!("{} resident", words::bytes(own.peak_rss_bytes)));
    }
    if own.ports_used > 0 {
        facts.push(words::counted(own.ports_used, "local port"));
    }
    page.heading("Generator", "our own side")?;
    page.paragraph(INDENT, &facts.join(", "), Tone::Plain)?;
    if own.own_failures > 0 {
        let text = format!("{} of our own machine", words::counted(own.own_failures, "failure"));
        page.paragraph(INDENT, &text, Tone::Bad)?;
    }
    Ok(())
}

/// What the embedded listener counted on its own side.
pub fn ledger(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let Some(ledger) = &result.ledger else { return Ok(()) };
    let mut facts = Vec::new();
    facts_of(ledger, "", &mut facts);
    if facts.is_empty() {
        return Ok(());
    }
    page.heading("Ledger", "what the listener counted on its own side")?;
    page.paragraph(INDENT, &format!("the listener says: {}", facts.join(", ")), Tone::Plain)
}

/// The numbers of a ledger that are not 0, by name.
fn facts_of(value: &serde_json::Value, name: &str, facts: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, field) in fields {
                let inner = if name.is_empty() { key.clone() } else { format!("{name} {key}") };
                facts_of(field, &inner, facts);
            }
        }
        serde_json::Value::Number(n) => match n.as_u64() {
            Some(0) => {}
            Some(n) => facts.push(format!("{} {}", words::count(n), name.replace('_', " "))),
            None => facts.push(format!("{n} {}", name.replace('_', " "))),
        },
        _ => {}
    }
}

/// The limits and the capacity that were looked for.
pub fn findings(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    if !result.limits.is_empty() {
        page.heading("Limits", "")?;
        let mut table = Table::new([
            (Align::Left, 0),
            (Align::Right, 0),
            (Align::Right, 1),
            (Align::Left, 0),
            (Align::Left, 2),
        ]);
        table.titles(["limit", "found", "configured", "finding", "reply"]);
        for limit in &result.limits {
            let tone = match limit.verdict {
                LimitVerdict::AsExpected | LimitVerdict::Found => Tone::Good,
                LimitVerdict::NotReached => Tone::Warning,
                _ => Tone::Bad,
            };
            table.row([
                Span::from(&limit.name),
                Span::new(found(limit), Tone::Strong),
                limit.expected.map(words::count).unwrap_or_default().into(),
                Span::new(limit.verdict.as_str(), tone),
                limit.code.map(|code| format!("{code:03}")).unwrap_or_default().into(),
            ]);
        }
        page.table(&table)?;
    }
    let Some(capacity) = &result.capacity else { return Ok(()) };
    page.heading("Capacity", &format!("by {}", capacity.by))?;
    let mut table = Table::new([(Align::Left, 0), (Align::Left, 0), (Align::Left, 0)]);
    for goal in &capacity.goals {
        let bounds = match (goal.lower, goal.upper) {
            (Some(lower), Some(upper)) => format!("{lower:.1} to {upper:.1} {}", goal.unit),
            (Some(lower), None) => format!(">= {lower:.1} {}", goal.unit),
            (None, Some(upper)) => format!("< {upper:.1} {}", goal.unit),
            (None, None) => "n/a".to_owned(),
        };
        table.row([Span::from(&goal.name), Span::new(bounds, Tone::Strong), goal.status.as_str().into()]);
    }
    page.table(&table)
}

fn found(limit: &Limit) -> String {
    match (limit.value, limit.at_least, limit.at_most) {
        (Some(value), _, _) => format!("{} {}", words::count(value), limit.unit),
        (None, Some(low), Some(high)) => {
            format!("{} to {} {}", words::count(low), words::count(high), limit.unit)
        }
        (None, Some(low), None) => format!(">= {} {}", words::count(low), limit.unit),
        (None, None, Some(high)) => format!("<= {} {}", words::count(high), limit.unit),
        (None, None, None) => "n/a".to_owned(),
    }
}
