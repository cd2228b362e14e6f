//! The section of the load: scheduled, started and accepted arrivals, by phase.

use super::{Cell, Column, Note, ReportTable, Section, Tone, Visibility, measured};
use crate::report::format;
use crate::report::stored::{Address, RunResult, StoredPhase, StoredTls};

/// Returns the load of a run.
pub fn section(result: &RunResult) -> Section {
    let (remark, several) = match result.phases.as_slice() {
        [only] => {
            let window = format::seconds(only.window_s);
            (format!("{} for {window}, in {}s", only.model, only.unit), false)
        }
        _ => (String::new(), true),
    };
    let mut blocks: Vec<_> = table(result, several).block().into_iter().collect();
    for (_, phase) in measured(result) {
        let name = if several { format!("{}: ", phase.name) } else { String::new() };
        let mut note = |text: Option<String>, place: Visibility| {
            blocks.extend(text.map(|text| Note::at(format!("{name}{text}"), Tone::Quiet, place)));
        };
        note(traffic(phase), Visibility::Text);
        note(addresses(phase), Visibility::Everywhere);
        note(phase.tls.as_ref().map(handshakes), Visibility::Everywhere);
    }
    Section {
        id: "load",
        title: "Load".to_owned(),
        remark: format::harmless(&remark),
        lead: "Offered is what was scheduled, started what did start, accepted what the listener took: its 250 after the \
               final dot was read. Accepted later is after the window of the phase, and in no rate.",
        blocks,
    }
}

fn table(result: &RunResult, several: bool) -> ReportTable {
    let is_shed = result.phases.iter().any(|phase| phase.shed > 0);
    let mut columns = vec![
        Column::words("phase"),
        Column::number("for").yields(3).at(if several { Visibility::Everywhere } else { Visibility::Page }),
        Column::number("scheduled").yields(2),
        Column::number("offered"),
        Column::number("started").yields(1),
        Column::number("accepted"),
    ];
    columns.extend(is_shed.then(|| Column::number("shed")));
    let details = ["accepted later", "sessions opened", "open at most", "sent", "received"];
    columns.extend(details.map(|title| Column::number(title).at(Visibility::Page)));
    let mut table = ReportTable::new(columns);
    for (i, phase) in result.phases.iter().enumerate() {
        let at = |field: &str| format!("/phases/{i}/{field}");
        let name = match phase.warmup && !phase.name.contains("warm") {
            true => format!("{} (warm-up)", phase.name),
            false => phase.name.clone(),
        };
        let mut row = vec![
            Cell::name(name),
            Cell::seconds(phase.window_s, at("window_s")),
            Cell::count(phase.scheduled, at("scheduled")),
            Cell::rate(phase.offered_per_s, at("offered_per_s")),
            Cell::rate(phase.started_per_s, at("started_per_s")),
            Cell::rate(phase.accepted_per_s, at("accepted_per_s")),
        ];
        let tone = if phase.warmup { Tone::Quiet } else { Tone::Plain };
        row.iter_mut().for_each(|cell| cell.tone = tone);
        row.extend(is_shed.then(|| {
            let tone = if phase.shed > 0 { Tone::Bad } else { tone };
            Cell::count(phase.shed, at("shed")).tone(tone)
        }));
        row.extend([
            match &phase.drained {
                // A result of an earlier version does not have this count.
                None => Cell::not_available(),
                Some(drained) => Cell::count(drained.accepted, at("drained/accepted")),
            },
            Cell::count(phase.sessions.opened, at("sessions/opened")),
            Cell::count(phase.sessions.peak, at("sessions/peak")),
            Cell::bytes(phase.bytes.sent, at("bytes/sent")),
            Cell::bytes(phase.bytes.received, at("bytes/received")),
        ]);
        table.row(row);
    }
    table
}

/// Returns the connections and bytes of a phase.
fn traffic(phase: &StoredPhase) -> Option<String> {
    let sessions = &phase.sessions;
    if sessions.opened == 0 {
        return None;
    }
    let mut facts = vec![format::counted(sessions.opened, "connection")];
    facts.extend(counts([
        (sessions.refused, "refused"),
        (sessions.closed_by_peer, "closed by the listener"),
        (sessions.backoffs, "waits after a failure"),
    ]));
    facts.push(format!("at most {} at once", format::count(sessions.peak)));
    let transactions = &phase.transactions;
    if phase.unit == "session" && transactions.attempted > 0 {
        let attempted = format::counted(transactions.attempted, "message");
        facts.push(format!("{attempted} tried, {} accepted", format::count(transactions.accepted)));
    }
    facts.extend(drained(phase));
    if phase.bytes.sent > 0 {
        facts.push(format!("{} sent", format::bytes(phase.bytes.sent)));
    }
    Some(facts.join(", "))
}

/// Returns the counts above 0, with their names.
fn counts<const N: usize>(named: [(u64, &str); N]) -> impl Iterator<Item = String> {
    named.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", format::count(n)))
}

/// Returns the arrivals that started or were accepted after the window of a phase. They count in no rate.
fn drained(phase: &StoredPhase) -> Option<String> {
    let drained = phase.drained.as_ref()?;
    (drained.accepted > 0 || drained.started > 0).then(|| {
        let late = match drained.started {
            0 => String::new(),
            started => format!("{} started and ", format::count(started)),
        };
        let accepted = format::count(drained.accepted);
        format!("{late}{accepted} accepted up to {} after the window", format::seconds(drained.s))
    })
}

/// Returns the sessions of each address of the listener; `None` if all sessions connected to one address, without a
/// failure.
fn addresses(phase: &StoredPhase) -> Option<String> {
    if phase.addresses.len() < 2 && phase.addresses.iter().all(|address| address.failures == 0) {
        return None;
    }
    let row = |address: &Address| {
        let sessions = format::counted(address.sessions, "session");
        let mut words = format!("{}: {sessions}", address.address);
        if address.failures > 0 {
            words.push_str(&format!(", {} failed to connect", format::count(address.failures)));
        }
        if let Some(p50) = address.connect_p50_ns {
            words.push_str(&format!(", connect p50 {}", format::duration(p50 as f64)));
        }
        words
    };
    Some(phase.addresses.iter().map(row).collect::<Vec<_>>().join("; "))
}

/// Returns the TLS handshakes: full and resumed ones, with versions and groups.
fn handshakes(tls: &StoredTls) -> String {
    let mut facts = vec![format::counted(tls.full, "full TLS handshake")];
    facts.extend(counts([(tls.resumed, "resumed")]));
    let names: Vec<&str> = tls.versions.keys().chain(tls.groups.keys()).map(String::as_str).collect();
    if !names.is_empty() {
        facts.push(names.join(", "));
    }
    facts.extend(counts([
        (tls.untrusted, "with a certificate that would not have been trusted"),
        (tls.truncated, "ended by the listener without close_notify"),
    ]));
    facts.join(", ")
}
