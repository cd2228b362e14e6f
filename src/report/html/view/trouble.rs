//! Outcomes, conditions, and limits.

use super::{Cell, Table};
use crate::condition::Condition;
use crate::report::format;
use crate::report::stored::{Limit, LimitVerdict, RunResult, StoredCondition, StoredPhase};
use crate::report::terminal::limits::{facts, unanswered};

/// Conditions shown; the rest is in `failures.jsonl` and in the embedded result.
const CONDITIONS: usize = 40;
/// Lines of a sample reply shown, and how much of each.
const SAMPLE_LINES: usize = 12;
const SAMPLE_COLUMNS: usize = 400;

/// An outcome: its name, its field in the result, its count.
type Outcome = (&'static str, &'static str, fn(&StoredPhase) -> u64);

/// Every outcome, in the order of the books.
const OUTCOMES: [Outcome; 11] = [
    ("accepted", "accepted", |p| p.accepted),
    ("expected", "expected", |p| p.expected),
    ("deferred", "deferred", |p| p.deferred),
    ("rejected", "rejected", |p| p.rejected),
    ("refused", "refused", |p| p.refused),
    ("dropped", "dropped", |p| p.dropped),
    ("timed-out", "timed_out", |p| p.timed_out),
    ("in-doubt", "in_doubt", |p| p.in_doubt),
    ("malformed", "malformed", |p| p.malformed),
    ("interrupted", "interrupted", |p| p.interrupted),
    ("shed", "shed", |p| p.shed),
];

/// Arrivals that ended neither well nor as expected.
pub fn failed(phase: &StoredPhase) -> u64 {
    OUTCOMES[2..10].iter().map(|(_, _, count)| count(phase)).sum()
}

/// How the arrivals of each measured phase ended: the outcomes that occurred, and the books.
pub fn outcomes(result: &RunResult) -> Table {
    let measured: Vec<(usize, &StoredPhase)> =
        result.phases.iter().enumerate().filter(|(_, phase)| !phase.warmup).collect();
    let occurred: Vec<_> =
        OUTCOMES.iter().filter(|(_, _, count)| measured.iter().any(|(_, p)| count(p) > 0)).collect();
    let titles = ["phase", "due", "begun"]
        .into_iter()
        .chain(occurred.iter().map(|(name, _, _)| *name))
        .chain(["books"]);
    let mut table = Table::new(titles);
    for (i, phase) in measured {
        let mut row = vec![
            Cell::text(&phase.name),
            Cell::count(phase.scheduled, format!("/phases/{i}/scheduled")),
            Cell::count(phase.started, format!("/phases/{i}/started")),
        ];
        for (name, field, count) in &occurred {
            let n = count(phase);
            let class = match *name {
                _ if n == 0 => "number quiet",
                "accepted" | "expected" => "number good",
                _ => "number bad",
            };
            row.push(Cell::count(n, format!("/phases/{i}/{field}")).class(class));
        }
        let ended: u64 = OUTCOMES[..10].iter().map(|(_, _, count)| count(phase)).sum();
        let closed = ended == phase.started && phase.scheduled == phase.started + phase.shed;
        row.push(if closed {
            Cell::text("close").class("good")
        } else {
            Cell::text("DO NOT CLOSE").class("bad")
        });
        table.rows.push(row);
    }
    table
}

/// What a failure or an expected refusal meant.
#[derive(Debug)]
pub struct ConditionView {
    /// How often.
    pub count: Cell,
    /// Its name.
    pub name: Cell,
    /// What the name means, if this version knows it.
    pub meaning: String,
    /// Whether the profile expects it.
    pub expected: bool,
    /// Where it showed, how it ended, with which codes, when.
    pub facts: Vec<String>,
    /// The first reply of its kind, line by line.
    pub sample: String,
    /// From and for how much of the run it was met, in percent.
    pub from_percent: String,
    /// See above.
    pub length_percent: String,
}

/// The conditions, unexpected ones first, and how many are not shown.
pub fn conditions(result: &RunResult) -> (Vec<ConditionView>, usize) {
    let mut rows: Vec<(usize, &StoredCondition)> =
        result.conditions.iter().enumerate().filter(|(_, row)| row.count > 0).collect();
    rows.sort_by_key(|(_, row)| row.rank());
    let left = rows.len().saturating_sub(CONDITIONS);
    rows.truncate(CONDITIONS);
    (rows.into_iter().map(|(i, row)| condition(result, i, row)).collect(), left)
}

fn condition(result: &RunResult, i: usize, row: &StoredCondition) -> ConditionView {
    let (first, last) = (format::seconds(row.first_s), format::seconds(row.last_s));
    let mut facts = vec![
        format!("at {}", format::harmless(&row.step)),
        format!("in phase {}", format::harmless(&row.phase)),
    ];
    if let Some(code) = row.code {
        let enhanced =
            row.enhanced.as_deref().map(|own| format!(" {}", format::harmless(own))).unwrap_or_default();
        facts.push(format!("code {code:03}{enhanced}"));
    }
    facts.push(row.effect());
    facts.push(if first == last {
        format!("at {first}")
    } else {
        format!("first after {first}, last after {last}")
    });
    let whole = result.took_s.max(1e-9);
    let from = (row.first_s / whole).clamp(0.0, 1.0);
    let length = ((row.last_s - row.first_s) / whole).clamp(0.0, 1.0 - from);
    let lines: Vec<&str> = row.sample.lines().collect();
    let mut sample: Vec<String> = lines
        .iter()
        .take(SAMPLE_LINES)
        .map(|line| format::cut(&format::harmless(line), SAMPLE_COLUMNS))
        .collect();
    if lines.len() > SAMPLE_LINES {
        sample.push(format!("({})", format::counted((lines.len() - SAMPLE_LINES) as u64, "more line")));
    }
    ConditionView {
        count: Cell::count(row.count, format!("/conditions/{i}/count")).class("figure"),
        name: Cell::stored(&row.condition, format!("/conditions/{i}/condition")),
        meaning: row.condition.parse::<Condition>().map(|own| own.meaning().to_owned()).unwrap_or_default(),
        expected: row.expected,
        facts,
        sample: sample.join("\n"),
        from_percent: format!("{:.2}", from * 100.0),
        length_percent: format!("{:.2}", length * 100.0),
    }
}

/// The limits that were looked for.
pub fn limits(result: &RunResult) -> Table {
    let mut table = Table::new([
        "limit",
        "served",
        "configured",
        "finding",
        "shown by",
        "free again after",
        "what was seen",
    ]);
    for (i, limit) in result.limits.iter().enumerate() {
        let release = limit.release_ms.filter(|ms| ms.is_finite()).map(|ms| format::duration(ms * 1e6));
        let shown = [
            limit.shown_by.map(|by| by.as_str()).unwrap_or_default(),
            limit.step.as_deref().unwrap_or_default(),
        ];
        let mut seen: Vec<String> =
            limit.reply.iter().map(|reply| format::cut(reply, SAMPLE_COLUMNS)).collect();
        seen.extend(unanswered(limit));
        seen.extend(facts(limit));
        seen.extend(limit.inexact.iter().map(|why| format!("not exact: {why}")));
        seen.extend(limit.remarks.iter().cloned());
        table.rows.push(vec![
            Cell::stored(&limit.name, format!("/limits/{i}/name")),
            Cell::text(format::limit_found(limit)).class("figure"),
            Cell::number(limit.expected.map(|own| format::limit_amount(limit, own)).unwrap_or_default()),
            Cell::stored(limit.verdict.as_str(), format!("/limits/{i}/verdict")).class(tone(limit)),
            Cell::text(shown.join(" at ").trim_end_matches(" at ")),
            release.map_or_else(Cell::default, Cell::number),
            Cell::text(seen.join("; ")),
        ]);
    }
    table
}

fn tone(limit: &Limit) -> &'static str {
    match limit.verdict {
        _ if limit.fails() => "bad",
        LimitVerdict::AsExpected | LimitVerdict::Found => "good",
        _ => "warn",
    }
}
