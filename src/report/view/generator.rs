//! The sections of the generator's health, and of the embedded listener's counts.

use serde_json::Value;

use super::{Cell, CellKind, Column, ReportTable, Section, SectionPart, Tone, Visibility, amounts};
use crate::report::format;
use crate::report::stored::{RunResult, StoredPhase};

/// Returns the health of the generator.
pub fn section(result: &RunResult) -> Section {
    let own = &result.generator;
    let mut table = ReportTable::of_facts();
    let at = |field: &str| format!("/generator/{field}");
    let late = "how late the loops of its threads ran; a late loop measures its own delay";
    for (what, ns, field, meaning) in [
        ("lag p99", own.lag_p99_ns, "lag_p99_ns", "how late the generator started arrivals"),
        ("loop delay p99", own.loop_delay_p99_ns, "loop_delay_p99_ns", late),
    ] {
        if let Some(ns) = ns {
            table.fact(what, Cell::duration(ns, at(field)), meaning);
        }
    }
    let mut detail = |what: &str, cell: Cell, meaning: &str| {
        table.row_at(Visibility::Page, [Cell::words(what), cell, Cell::words(meaning).tone(Tone::Quiet)]);
    };
    if let Some(ns) = own.loop_delay_max_ns {
        detail("loop delay max", Cell::duration(ns, at("loop_delay_max_ns")), late);
    }
    for (what, seconds, field, meaning) in [
        ("waited for a core", own.cpu_wait_s, "cpu_wait_s", "the longest wait of a thread that had work"),
        ("stolen", own.stolen_s, "stolen_s", "taken by the hypervisor from this virtual machine"),
    ] {
        if seconds > 0.0 {
            detail(what, Cell::seconds(seconds, at(field)), meaning);
        }
    }
    if own.clock_drift_ns > 0 {
        let drift = Cell::duration(own.clock_drift_ns, at("clock_drift_ns"));
        detail("clock drift", drift, "between wall clock and monotonic clock");
    }
    let share = "the mean share of CPU that its threads used; near 100 % it measures itself";
    // Every measured load takes some; a search measures it in its trials only.
    if own.cpu_user_s + own.cpu_system_s > 0.0 {
        table.fact("CPU", Cell::number(amounts::cpu(own)), share);
    }
    for (what, cell, meaning) in [
        ("descriptors", Cell::count(own.peak_descriptors, at("peak_descriptors")), "open at once, at most"),
        ("memory", Cell::bytes(own.peak_rss_bytes, at("peak_rss_bytes")), "resident, at most"),
        ("local ports", Cell::count(own.ports_used, at("ports_used")), "used, at most"),
    ] {
        // Values that were not measured (as in a search) are 0, and have no row.
        if !cell.text.starts_with('0') {
            table.fact(what, cell, meaning);
        }
    }
    if own.throttled_periods > 0 {
        let periods = format::counted(own.throttled_periods, "period");
        let throttled = Cell::number(format!("{} in {periods}", format::seconds(own.throttled_s)));
        table.fact("throttled", throttled.tone(Tone::Bad), "held up by the CPU quota of its control group");
    }
    let (place, tone) = if own.own_failures > 0 {
        (Visibility::Everywhere, Tone::Bad)
    } else {
        (Visibility::Page, Tone::Plain)
    };
    let failures = Cell::count(own.own_failures, at("own_failures")).tone(tone);
    let meaning = Cell::words("of this machine: descriptors, ports, buffers, memory").tone(Tone::Quiet);
    table.row_at(place, [Cell::words("local failures"), failures, meaning]);
    Section {
        id: "generator",
        title: "Generator".to_owned(),
        lead: "A generator that is late or runs out of a resource measures itself and not the listener; then the run is \
               invalid.",
        blocks: vec![SectionPart::Facts(table)],
        ..Section::default()
    }
}

/// Returns the counts of the embedded listener, and whether they reconcile with the client's (M10b).
pub fn ledger(result: &RunResult) -> Section {
    let mut table = ReportTable::new(["the listener counted", ""].map(Column::words));
    if let Some(ledger) = &result.ledger {
        flatten(ledger, "/ledger", "", &mut table);
        for row in &mut table.rows {
            let value = &row.cells[1];
            if value.kind == CellKind::Words || value.text == "0" || value.text == "0 B" {
                row.place = Visibility::Page;
            }
        }
        table.rows.sort_by_key(|row| !["messages", "connections"].contains(&row.cells[0].text.as_str()));
        let delivered = ledger.get("messages").and_then(Value::as_u64);
        // A search has no phases, so there are no counts of the client.
        if let Some(delivered) = delivered.filter(|_| !result.phases.is_empty()) {
            let sum = |of: fn(&StoredPhase) -> u64| result.phases.iter().map(of).sum::<u64>();
            let accepted = sum(|phase| phase.transactions.accepted);
            // The listener may have counted messages whose final replies the client did not read.
            let open = sum(|phase| phase.transactions.in_doubt + phase.transactions.interrupted);
            let client = format!(
                "{} accepted, {} in doubt, in all phases",
                format::count(accepted),
                format::count(open)
            );
            let verdict = match (accepted..=accepted + open).contains(&delivered) {
                true => Cell::words(format!("reconcile ({client})")).tone(Tone::Good),
                false => Cell::words(format!("DO NOT RECONCILE ({client})")).tone(Tone::Bad),
            };
            table.row([Cell::words("the client's counts"), verdict]);
        }
    }
    Section {
        id: "ledger",
        title: "Ledger".to_owned(),
        lead: "What the embedded listener counted by itself.",
        blocks: if table.rows.is_empty() { Vec::new() } else { vec![SectionPart::Facts(table)] },
        ..Section::default()
    }
}

/// Adds the plain values of a JSON value to the table. The name of a value consists of the keys that lead to it.
pub fn flatten(value: &Value, path: &str, name: &str, table: &mut ReportTable) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let inner = if name.is_empty() { key.clone() } else { format!("{name} {key}") };
                let escaped = key.replace('~', "~0").replace('/', "~1");
                flatten(field, &format!("{path}/{escaped}"), &inner.replace('_', " "), table);
            }
        }
        Value::Null => {}
        value => {
            let cell = match value {
                Value::Array(items) => Cell::words(items.iter().map(plain).collect::<Vec<_>>().join(" ")),
                Value::Number(n) => match n.as_u64() {
                    Some(n) if name.ends_with(" bytes") => Cell::bytes(n, path),
                    Some(n) => Cell::count(n, path),
                    None => Cell::number(n.to_string()),
                },
                value => Cell::words(plain(value)),
            };
            table.row([Cell::words(name.trim_end_matches(" bytes")), cell]);
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
