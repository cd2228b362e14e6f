//! The section of failures and expected refusals, with their meanings, the most frequent failure first.

use super::{Cell, Section, SectionPart, Tone};
use crate::condition::Condition;
use crate::report::format;
use crate::report::stored::{RunResult, StoredCondition};

/// A failure or an expected refusal.
#[derive(Clone, Debug)]
pub struct ConditionView {
    /// The number of occurrences.
    pub count: Cell,
    /// The name, with its severity.
    pub name: Cell,
    /// The step and the codes.
    pub at: String,
    /// The phase, the share, the time, and whether the profile expects it.
    pub facts: Vec<String>,
    /// The meaning and, unless the condition is expected, the remedy. Empty if this version does not know the name.
    pub advice: Vec<&'static str>,
    /// The first reply of its kind, line by line.
    pub sample: Vec<String>,
    /// The start and the length of the time in which the condition occurred, in percent of the run.
    pub seen_percent: [String; 2],
}

/// Returns the section of the conditions of a run.
pub fn section(result: &RunResult) -> Section {
    let mut rows: Vec<(usize, &StoredCondition)> =
        result.conditions.iter().enumerate().filter(|(_, row)| row.count > 0).collect();
    rows.sort_by_key(|(_, row)| rank(row));
    let title = match rows.iter().all(|(_, row)| row.expected || row.is_manner()) {
        _ if rows.iter().all(|(_, row)| row.expected) => "What was refused, as expected",
        true => "What was seen beside the messages",
        false => "What went wrong",
    };
    Section {
        id: "conditions",
        title: title.to_owned(),
        lead: "By meaning, with the first reply of its kind as it came. The strip shows when in the run it was seen.",
        blocks: rows
            .into_iter()
            .map(|(i, row)| SectionPart::Condition(Box::new(condition(result, i, row))))
            .collect(),
        ..Section::default()
    }
}

/// Returns the most frequent unexpected condition of one phase or of the run.
pub(super) fn foremost(result: &RunResult, phase: Option<&str>) -> Option<ConditionView> {
    let is_of_phase = |row: &StoredCondition| phase.is_none_or(|phase| row.phase == phase);
    let rows = result.conditions.iter().enumerate();
    let unexpected = rows.filter(|(_, row)| !row.expected && row.count > 0 && is_of_phase(row));
    unexpected.min_by_key(|(_, row)| rank(row)).map(|(i, row)| condition(result, i, row))
}

fn condition(result: &RunResult, i: usize, row: &StoredCondition) -> ConditionView {
    let started = result.phases.iter().find(|phase| phase.name == row.phase).map_or(0, |phase| phase.started);
    let mut facts = Vec::new();
    if result.phases.len() > 1 {
        facts.push(format!("in {}", row.phase));
    }
    if row.count <= started {
        facts.push(format!("{} of started", format::share(row.count, started)));
    }
    let (first, last) = (format::seconds(row.first_s), format::seconds(row.last_s));
    facts.push(if first == last { format!("at {first}") } else { format!("from {first} to {last}") });
    facts.push(effect(row));
    let code = row.code.map_or(String::new(), |code| format!(", {code:03}"));
    let enhanced = row.enhanced.as_ref().map_or(String::new(), |enhanced| format!(" {enhanced}"));
    let whole = result.took_s.max(1e-9);
    let from = (row.first_s / whole).clamp(0.0, 1.0);
    let length = ((row.last_s - row.first_s) / whole).clamp(0.0, 1.0 - from);
    let known = row.condition.parse::<Condition>();
    ConditionView {
        count: Cell::count(row.count, format!("/conditions/{i}/count")).strong(),
        name: Cell::stored_name(&row.condition, format!("/conditions/{i}/condition")).tone(
            match row.is_manner() {
                _ if row.expected => Tone::Good,
                true => Tone::Warning,
                false => Tone::Bad,
            },
        ),
        at: format::harmless(&format!("at {}{code}{enhanced}", row.step)),
        facts: facts.iter().map(|fact| format::harmless(fact)).collect(),
        advice: match known {
            Ok(own) if row.expected => vec![own.meaning()],
            Ok(own) => vec![own.meaning(), own.remedy()],
            Err(()) => Vec::new(),
        },
        sample: row.sample.lines().map(format::harmless).collect(),
        seen_percent: [from, length].map(|share| format!("{:.2}", share * 100.0)),
    }
}

/// Returns the sort key of a condition: failures come first, then conditions without a failed arrival, then expected
/// refusals. Within each group the most frequent condition comes first.
fn rank(row: &StoredCondition) -> (bool, bool, std::cmp::Reverse<u64>) {
    (row.expected, row.is_manner(), std::cmp::Reverse(row.count))
}

/// Returns whether the condition counts as a failure, in words.
fn effect(row: &StoredCondition) -> String {
    match (row.expected, row.is_manner()) {
        (true, _) => "expected by the profile".to_owned(),
        (_, true) => "no failure: what was accepted stays accepted".to_owned(),
        _ => format!("not expected: {}", row.outcome),
    }
}
