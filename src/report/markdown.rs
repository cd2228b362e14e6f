//! A run as Markdown, for a pull request: the judgement, what was asserted, and the numbers one looks at first.
//!
//! # Decisions
//! - Whatever was written by others (names, expressions, replies) stands in code spans: there nothing is a link, a mention
//!   of a person, or HTML.

use super::stored::{
    PercentileStatus, RunResult, StoredAssertion, StoredAssertionStatus, StoredCondition, StoredMetric,
    StoredPhase, ValidityStatus,
};
use super::{addresses, format, terminal};

/// The quantiles shown.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];
/// Rows of conditions shown.
const CONDITIONS: usize = 10;
/// How much of a reply is shown.
const SAMPLE: usize = 200;

/// The run as GitHub's Markdown.
pub fn write(result: &RunResult) -> String {
    let mut text = String::new();
    verdict(result, &mut text);
    assertions(result, &mut text);
    load(result, &mut text);
    times(result, &mut text);
    conditions(result, &mut text);
    findings(result, &mut text);
    own(result, &mut text);
    text
}

fn verdict(result: &RunResult, text: &mut String) {
    let word = result.verdict.status.as_str().to_uppercase();
    text.push_str(&format!(
        "### smtpress: {word}, {} (exit code {})\n\n",
        terminal::sentence(result),
        result.verdict.exit_code
    ));
    for (i, reason) in result.validity.reasons.iter().enumerate() {
        let words = result.validity.explanations.get(i).map(String::as_str).unwrap_or_default();
        text.push_str(&format!("> **Invalid**: {} {}\n\n", code(reason), code(words)));
    }
    for warning in &result.warnings {
        text.push_str(&format!("> **Warning**: {}\n\n", code(warning)));
    }
    let profile = &result.profile;
    text.push_str(&format!(
        "{} against {}, {}, {}, seed {}\n",
        code(&profile.name),
        code(&result.target),
        code(&result.started_at),
        format::seconds(result.took_s),
        profile.seed
    ));
}

fn assertions(result: &RunResult, text: &mut String) {
    let mut all: Vec<&StoredAssertion> = result.assertions.iter().collect();
    all.sort_by_key(|assertion| assertion.status == StoredAssertionStatus::Pass);
    let row = |assertion: &&StoredAssertion| {
        let word = match assertion.status {
            StoredAssertionStatus::Pass => "holds",
            StoredAssertionStatus::Fail => "**FAILS**",
            StoredAssertionStatus::NoData => "**NO DATA**",
            StoredAssertionStatus::NotJudged => "not judged",
        };
        let phase = assertion.phase.as_deref().map(code).unwrap_or_default();
        vec![word.to_owned(), code(&assertion.expr), phase, code(&assertion.observed)]
    };
    table(text, &["", "asserted", "phase", "observed"], all.iter().map(row));
}

fn load(result: &RunResult, text: &mut String) {
    let row = |phase: &StoredPhase| {
        vec![
            code(&phase.name) + if phase.warmup { " (warm-up)" } else { "" },
            format::seconds(phase.window_s),
            format::count(phase.scheduled),
            format::rate(phase.offered_per_s),
            format::rate(phase.started_per_s),
            format::rate(phase.accepted_per_s),
            share(phase.accepted + phase.expected, phase),
            format::count(phase.shed),
            format::count(phase.sessions.peak),
        ]
    };
    let titles = [
        "phase",
        "for",
        "scheduled",
        "offered",
        "started",
        "accepted",
        "as it should",
        "shed",
        "sessions at most",
    ];
    table(text, &titles, result.phases.iter().map(row));
    for phase in &result.phases {
        if let Some(addresses) = addresses::in_words(phase) {
            text.push_str(&format!("\n{} went to {}\n", code(&phase.name), code(&addresses)));
        }
    }
}

fn share(count: u64, phase: &StoredPhase) -> String {
    if phase.scheduled == 0 { "n/a".to_owned() } else { format::share(count, phase.scheduled) }
}

fn times(result: &RunResult, text: &mut String) {
    let phases = result.measured_phases();
    let measured = |metric: &&StoredMetric| phases.contains(metric.phase.as_str());
    let shown = |metric: &&StoredMetric| {
        metric.outcome == "accepted" && matches!(metric.name.as_str(), "response" | "service")
    };
    let row = |metric: &StoredMetric| {
        let mut row = vec![code(&metric.phase), code(&metric.name), format::count(metric.count)];
        row.extend(QUANTILES.map(|q| quantile(metric, q)));
        row.push(format::duration(metric.max_ns as f64));
        row
    };
    let names = QUANTILES.map(format::quantile);
    let mut titles = vec!["phase", "time of accepted", "values"];
    titles.extend(names.iter().map(String::as_str));
    titles.push("max");
    table(text, &titles, result.metrics.iter().filter(measured).filter(shown).map(row));
}

/// A quantile as text; `n/a` where too few values can say it.
fn quantile(metric: &StoredMetric, q: f64) -> String {
    let found = metric.percentiles.iter().find(|percentile| percentile.q == q);
    match found.and_then(|found| Some((found.status, found.value_ns?))) {
        None | Some((PercentileStatus::NotAvailable, _)) => "n/a".to_owned(),
        Some((PercentileStatus::AtLeast, ns)) => format!("\\>= {}", format::duration(ns as f64)),
        Some((PercentileStatus::Exact, ns)) => format::duration(ns as f64),
    }
}

fn conditions(result: &RunResult, text: &mut String) {
    let mut rows: Vec<&StoredCondition> = result.conditions.iter().filter(|row| row.count > 0).collect();
    rows.sort_by_key(|row| row.rank());
    let row = |row: &&StoredCondition| {
        let (first, last) = (format::seconds(row.first_s), format::seconds(row.last_s));
        vec![
            format::count(row.count),
            code(&row.condition),
            code(&row.step),
            code(&row.phase),
            match (row.expected, row.is_manner()) {
                (true, _) => "expected".to_owned(),
                (_, true) => "no failure".to_owned(),
                _ => code(&row.outcome),
            },
            if first == last { first } else { format!("{first} to {last}") },
            code(&format::cut(row.sample.lines().next().unwrap_or_default(), SAMPLE)),
        ]
    };
    table(
        text,
        &["count", "condition", "step", "phase", "outcome", "when", "reply"],
        rows.iter().take(CONDITIONS).map(row),
    );
    if rows.len() > CONDITIONS {
        text.push_str(&format!(
            "\n{} more: see failures.jsonl\n",
            format::counted((rows.len() - CONDITIONS) as u64, "condition")
        ));
    }
}

fn findings(result: &RunResult, text: &mut String) {
    let row = |limit: &super::stored::Limit| {
        let word = if limit.fails() { format!("**{}**", limit.verdict) } else { limit.verdict.to_string() };
        let configured =
            limit.expected.map(|own| code(&format::limit_amount(limit, own))).unwrap_or_default();
        let reply = limit.reply.as_deref().map(|reply| code(&format::cut(reply, SAMPLE))).unwrap_or_default();
        vec![code(&limit.name), code(&format::limit_found(limit)), configured, word, reply]
    };
    table(text, &["limit", "found", "configured", "finding", "reply"], result.limits.iter().map(row));
    let goals = result.capacity.iter().flat_map(|capacity| &capacity.goals);
    let row = |goal: &super::stored::CapacityGoal| {
        vec![code(&goal.name), code(&format::capacity_found(goal)), goal.status.to_string()]
    };
    table(text, &["goal", "capacity", "search"], goals.map(row));
}

fn own(result: &RunResult, text: &mut String) {
    let generator = &result.generator;
    let valid = match result.validity.status {
        ValidityStatus::Valid => "valid",
        ValidityStatus::Invalid => "INVALID",
    };
    let lag = generator
        .lag_p99_ns
        .map(|lag| format!(", lag p99 {}", format::duration(lag as f64)))
        .unwrap_or_default();
    text.push_str(&format!(
        "\nMeasurement {valid}{lag}, generator CPU {}, run {}\n",
        format::percent(generator.cpu_share),
        code(&result.run_id)
    ));
}

/// A table, unless it has no rows.
pub(super) fn table(text: &mut String, titles: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    text.push_str(&format!("\n| {} |\n|{}\n", titles.join(" | "), " --- |".repeat(titles.len())));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
}

/// Foreign text as a code span that also stands in a table: nothing in it is Markdown.
pub(super) fn code(text: &str) -> String {
    let text = format::harmless(text);
    if text.trim().is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    // A bar ends a cell, in code too, unless a backslash stands before it; and there may stand one already.
    if text.contains("\\|") {
        let entity = |c: char| match c.is_ascii_punctuation() {
            true => format!("&#{};", u32::from(c)),
            false => c.to_string(),
        };
        return format!("<code>{}</code>", text.chars().map(entity).collect::<String>());
    }
    let text = text.replace('|', "\\|");
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn a_run_that_fails_tells_why_in_tables() {
        insta::assert_snapshot!(write(&fixtures::limit_bites()));
    }

    #[test]
    fn an_invalid_run_and_a_search() {
        insta::assert_snapshot!(write(&fixtures::invalid()));
        insta::assert_snapshot!(write(&fixtures::searched()));
    }

    #[test]
    fn every_row_has_the_cells_of_its_titles_whatever_strangers_say() {
        for mut result in fixtures::all() {
            for row in &mut result.conditions {
                row.sample = "421 | ``x`` \\| <img src=x> @someone `|\u{1b}[31m\nsecond".into();
            }
            result.profile.name = "`<b>|".into();
            let text = write(&result);
            // As a reader of tables sees it: a backslash takes the next character with it.
            let bars = |line: &str| {
                let mut rest = line.chars();
                let mut bars = 0;
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        '|' => bars += 1,
                        _ => {}
                    }
                }
                bars
            };
            for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
                let mut lines = table.lines();
                let titles = bars(lines.next().unwrap());
                for line in lines.take_while(|line| line.starts_with('|')) {
                    assert_eq!(bars(line), titles, "{line}");
                }
            }
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
