//! What was claimed and found, and how far our own side may be believed: assertions, searches, generator, ledger.

use std::io;

use crate::report::format;
use crate::report::layout::{Align, INDENT, Page, Span, Table, Tone};
use crate::report::stored::{RunResult, StoredAssertion, StoredAssertionStatus, StoredPhase};

/// Every assertion with what was observed, those that do not hold first.
pub fn assertions(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let mut assertions: Vec<&StoredAssertion> = result.assertions.iter().collect();
    assertions.sort_by_key(|assertion| assertion.status == StoredAssertionStatus::Pass);
    let mut table = Table::new([(Align::Left, 0), (Align::Left, 0), (Align::Left, 0)]);
    for assertion in &assertions {
        table.row(claim(assertion));
    }
    if assertions.is_empty() {
        return Ok(());
    }
    page.gap()?;
    if table.fits(page.width()) {
        return page.table(&table);
    }
    for assertion in assertions {
        let [word, claim, observed] = claim(assertion);
        page.flow(INDENT, 2 * INDENT, &[word, "  ".into(), claim, ": ".into(), observed])?;
    }
    Ok(())
}

/// Whether it holds, what is claimed, what was observed.
fn claim(assertion: &StoredAssertion) -> [Span; 3] {
    let (word, tone) = match assertion.status {
        StoredAssertionStatus::Pass => ("holds", Tone::Good),
        StoredAssertionStatus::Fail => ("FAILS", Tone::Bad),
        StoredAssertionStatus::NoData => ("NO DATA", Tone::Bad),
        StoredAssertionStatus::NotJudged => ("not judged", Tone::Warning),
    };
    let claim = match &assertion.phase {
        Some(phase) => format!("{} in {phase}", assertion.expr),
        None => assertion.expr.clone(),
    };
    [Span::new(word, tone), claim.into(), (&assertion.observed).into()]
}

/// Whether our own side kept up.
pub fn generator(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let own = &result.generator;
    let mut facts = Vec::new();
    if let Some(lag) = own.lag_p99_ns {
        facts.push(format!("lag p99 {}", format::duration(lag as f64)));
    }
    if let Some(delay) = own.loop_delay_p99_ns {
        facts.push(format!("loop delay p99 {}", format::duration(delay as f64)));
    }
    facts.push(format!("CPU {}", format::cpu(own)));
    if own.peak_descriptors > 0 {
        facts.push(format::counted(own.peak_descriptors, "fd"));
    }
    if own.peak_rss_bytes > 0 {
        facts.push(format::bytes(own.peak_rss_bytes));
    }
    if own.ports_used > 0 {
        facts.push(format::counted(own.ports_used, "port"));
    }
    let mut spans = vec![Span::from(facts.join(", "))];
    if own.own_failures > 0 {
        spans.push(", ".into());
        let failures = format::counted(own.own_failures, "failure");
        spans.push(Span::new(format!("{failures} of our own machine"), Tone::Bad));
    }
    if own.throttled_periods > 0 {
        spans.push(", ".into());
        let periods = format::counted(own.throttled_periods, "period");
        let held_up = format::seconds(own.throttled_s);
        spans.push(Span::new(format!("throttled in {periods} of its CPU quota ({held_up})"), Tone::Bad));
    }
    page.labelled("Generator", &spans)
}

/// What the embedded listener counted on its own side, and whether that agrees with ours.
pub fn ledger(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let Some(ledger) = &result.ledger else { return Ok(()) };
    let mut facts = Vec::new();
    facts_of(ledger, "", &mut facts);
    if facts.is_empty() {
        facts.push("nothing came".to_owned());
    }
    let mut spans = vec![Span::from(format!("the listener says: {}", facts.join(", ")))];
    // A search keeps no books of its own.
    let delivered = ledger.get("messages").and_then(serde_json::Value::as_u64);
    if let Some(delivered) = delivered.filter(|_| !result.phases.is_empty()) {
        let sum = |of: fn(&StoredPhase) -> u64| result.phases.iter().map(of).sum::<u64>();
        let accepted = sum(|phase| phase.transactions.accepted);
        // M10b; what an ended run left unread may have been delivered as well.
        let open = sum(|phase| phase.transactions.in_doubt + phase.transactions.interrupted);
        let ours = format!("{} accepted, {} in doubt", format::count(accepted), format::count(open));
        spans.push(match (accepted..=accepted + open).contains(&delivered) {
            true => Span::new(format!("; agrees with ours ({ours})"), Tone::Good),
            false => Span::new(format!("; DOES NOT AGREE with ours ({ours})"), Tone::Bad),
        });
    }
    page.labelled("Ledger", &spans)
}

/// The numbers of a ledger that are not 0, by name, messages and connections first.
fn facts_of(value: &serde_json::Value, name: &str, facts: &mut Vec<String>) {
    let words = name.replace('_', " ");
    match value {
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, field)| (field.is_object(), *key != "messages", *key != "connections"));
            for (key, field) in fields {
                let inner = if name.is_empty() { key.clone() } else { format!("{name} {key}") };
                facts_of(field, &inner, facts);
            }
        }
        serde_json::Value::Number(n) => match n.as_u64() {
            Some(0) => {}
            Some(n) => facts.push(match words.strip_suffix(" bytes") {
                Some(what) => format!("{} {what}", format::bytes(n)),
                None => format!("{} {words}", format::count(n)),
            }),
            None => facts.push(format!("{n} {words}")),
        },
        _ => {}
    }
}
