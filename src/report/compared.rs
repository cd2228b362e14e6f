//! A comparison of runs as text, JSON and Markdown.
//!
//! How it comes to its verdict is the business of `verdict::compare`; which runs may be compared at all, that of the command.

use std::io::{self, Write};

use serde::Serialize;

use super::layout::{Align, Page, Span, Table, Tone};
use super::markdown::{code, table};
use super::result::RunResult;
use super::words;
use crate::verdict::compare::{self, Comparison, Judgement, Measure, Row};

/// The version of the JSON.
const SCHEMA_VERSION: u32 = 1;

/// All that is told of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The verdict and its numbers.
    pub comparison: &'a Comparison,
    /// The runs of the base, by the names that the user gave.
    pub base: &'a [(String, RunResult)],
    /// Those of the candidate.
    pub candidate: &'a [(String, RunResult)],
    /// Why they should not be compared, where the user insisted.
    pub forced: &'a [String],
}

#[derive(Serialize)]
struct Json<'a> {
    schema_version: u32,
    verdict: &'static str,
    exit_code: u8,
    base: Vec<JsonRun<'a>>,
    candidate: Vec<JsonRun<'a>>,
    run_to_run: &'static str,
    metrics: Vec<JsonRow<'a>>,
    notes: &'a [String],
    forced: &'a [String],
}

#[derive(Serialize)]
struct JsonRun<'a> {
    path: &'a str,
    run_id: &'a str,
    started_at: &'a str,
    target: &'a str,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    phase: &'a str,
    metric: String,
    unit: &'static str,
    base: &'a [Option<f64>],
    candidate: &'a [Option<f64>],
    base_median: Option<f64>,
    candidate_median: Option<f64>,
    /// `ratio` or `difference`, candidate to base.
    change_is: &'static str,
    change: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    margin: f64,
    p: Option<f64>,
    p_holm: Option<f64>,
    verdict: &'static str,
    why: Option<&'a str>,
}

/// The comparison as JSON, with a line end.
pub fn json(compared: Compared<'_>) -> String {
    let comparison = compared.comparison;
    let whole = Json {
        schema_version: SCHEMA_VERSION,
        verdict: comparison.judgement.as_str(),
        exit_code: comparison.judgement.exit_code(),
        base: compared.base.iter().map(json_run).collect(),
        candidate: compared.candidate.iter().map(json_run).collect(),
        run_to_run: if comparison.is_tested() { "tested" } else { "unknown" },
        metrics: comparison.rows.iter().map(json_row).collect(),
        notes: &comparison.notes,
        forced: compared.forced,
    };
    let text = serde_json::to_string_pretty(&whole).expect("it has only text keys and plain values");
    words::harmless_json(text) + "\n"
}

fn json_run((path, result): &(String, RunResult)) -> JsonRun<'_> {
    JsonRun { path, run_id: &result.run_id, started_at: &result.started_at, target: &result.target }
}

fn json_row(row: &Row) -> JsonRow<'_> {
    let finite = |value: f64| value.is_finite().then_some(value);
    let (base_median, candidate_median) = row.medians();
    JsonRow {
        phase: &row.phase,
        metric: compare::measure_name(row.measure),
        unit: match row.measure {
            Measure::Response(_) => "ns",
            Measure::AcceptedRate => "per_s",
            Measure::UnexpectedRate => "share",
        },
        base: &row.base,
        candidate: &row.candidate,
        base_median,
        candidate_median,
        change_is: if row.measure.is_ratio() { "ratio" } else { "difference" },
        change: row.change.and_then(|change| finite(change.middle)),
        low: row.change.and_then(|change| finite(change.low)),
        high: row.change.and_then(|change| finite(change.high)),
        margin: row.measure.margin(),
        p: row.p.map(|p| p.0),
        p_holm: row.p.map(|p| p.1),
        verdict: row.judgement.as_str(),
        why: row.why.as_deref(),
    }
}

/// The comparison for a terminal of this width.
///
/// # Errors
/// Those of `out`.
pub fn text(compared: Compared<'_>, width: usize, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let comparison = compared.comparison;
    let page = &mut Page::new(out, width, colour);
    page.flow(
        0,
        2,
        &[
            Span::new(comparison.judgement.as_str().to_uppercase(), tone(comparison.judgement)),
            Span::from(format!("  {}", sentence(comparison))),
        ],
    )?;
    page.paragraph(0, &asked(compared), Tone::Plain)?;
    page.heading("Comparison", "medians of runs, candidate to base, 95 % interval")?;
    let left = [(Align::Left, 0), (Align::Left, 0)];
    let numbers =
        [(Align::Right, 2), (Align::Right, 3), (Align::Right, 0), (Align::Right, 1), (Align::Right, 4)];
    let mut rows = Table::new(left.into_iter().chain(numbers).chain([(Align::Left, 0)]));
    rows.titles(["phase", "metric", "base", "candidate", "change", "interval", "p", ""]);
    for row in &comparison.rows {
        let mut cells: Vec<Span> = cells(row).into_iter().map(Span::from).collect();
        cells.push(Span::new(row.judgement.as_str(), tone(row.judgement)));
        rows.row(cells);
    }
    page.table(&rows)?;
    for (row, why) in comparison.rows.iter().filter_map(|row| Some((row, row.why.as_ref()?))) {
        page.paragraph(
            2,
            &format!("{}, {}: {why}", row.phase, compare::measure_name(row.measure)),
            Tone::Quiet,
        )?;
    }
    for note in &comparison.notes {
        page.paragraph(2, note, Tone::Warning)?;
    }
    for reason in compared.forced {
        page.paragraph(2, &format!("forced: {reason}"), Tone::Warning)?;
    }
    Ok(())
}

/// The comparison as GitHub's Markdown.
pub fn markdown(compared: Compared<'_>) -> String {
    let comparison = compared.comparison;
    let mut text = format!(
        "### smtpress compare: {}, {}\n\n{}\n",
        comparison.judgement.as_str().to_uppercase(),
        sentence(comparison),
        code(&asked(compared))
    );
    let row = |row: &Row| {
        let mut cells: Vec<String> = cells(row).iter().map(|cell| code(cell)).collect();
        cells.push(match row.judgement {
            Judgement::Equivalent | Judgement::Improved => row.judgement.as_str().to_owned(),
            judgement => format!("**{}**", judgement.as_str()),
        });
        cells.push(row.why.as_deref().map(code).unwrap_or_default());
        cells
    };
    let titles =
        ["phase", "metric", "base", "candidate", "change", "95 % interval", "p (Holm)", "verdict", ""];
    table(&mut text, &titles, comparison.rows.iter().map(row));
    for note in &comparison.notes {
        text.push_str(&format!("\n> {}\n", code(note)));
    }
    for reason in compared.forced {
        text.push_str(&format!("\n> **Forced**: {}\n", code(reason)));
    }
    text
}

/// What came out, in words.
fn sentence(comparison: &Comparison) -> String {
    let of = |judgement| comparison.rows.iter().filter(|row| row.judgement == judgement).count();
    let all = comparison.rows.len();
    let code = comparison.judgement.exit_code();
    let words = match comparison.judgement {
        _ if all == 0 => "there is no metric to compare".to_owned(),
        Judgement::Regressed => format!("{} of {all} metrics are worse", of(Judgement::Regressed)),
        Judgement::Improved => {
            format!("{} of {all} metrics are better, none is worse", of(Judgement::Improved))
        }
        Judgement::Equivalent => format!("all {all} metrics differ by less than matters"),
        Judgement::Inconclusive => {
            format!("{} of {all} metrics are not settled", of(Judgement::Inconclusive))
        }
    };
    format!("{words} (exit code {code})")
}

/// What was compared, in words.
fn asked(compared: Compared<'_>) -> String {
    let (base, candidate) = compared.comparison.runs;
    let profile = compared.base.first().map(|(_, result)| &result.profile);
    let profile =
        profile.map(|profile| format!(", {}, seed {}", profile.name, profile.seed)).unwrap_or_default();
    let runs = |n: usize| words::counted(n as u64, "run");
    let target = |side: &[(String, RunResult)]| side.first().map(|(_, result)| result.target.clone());
    let targets = match (target(compared.base), target(compared.candidate)) {
        (Some(base), Some(candidate)) if base != candidate => format!(", {candidate} against {base}"),
        _ => String::new(),
    };
    format!("{} of the candidate against {} of the base{targets}{profile}", runs(candidate), runs(base))
}

/// Phase, metric, base, candidate, change, interval, p.
fn cells(row: &Row) -> [String; 7] {
    let (base, candidate) = row.medians();
    let value = |value: Option<f64>| match (value, row.measure) {
        (None, _) => "n/a".to_owned(),
        (Some(value), Measure::Response(_)) => words::duration(value),
        (Some(value), Measure::AcceptedRate) => words::rate(value),
        (Some(value), Measure::UnexpectedRate) => words::percent(value),
    };
    let shown = |change: f64| match row.measure.is_ratio() {
        _ if !change.is_finite() => "n/a".to_owned(),
        true => format!("{change:.2}"),
        false => format!("{:+.2}", change * 100.0 + 0.0),
    };
    let change = row.change.map(|change| match row.measure.is_ratio() {
        true => shown(change.middle),
        false => format!("{} pp", shown(change.middle)),
    });
    let interval = row.change.filter(|change| change.low.is_finite());
    [
        row.phase.clone(),
        compare::measure_name(row.measure),
        value(base),
        value(candidate),
        change.unwrap_or_else(|| "n/a".to_owned()),
        interval
            .map_or("n/a".to_owned(), |change| format!("{} to {}", shown(change.low), shown(change.high))),
        row.p.map_or("n/a".to_owned(), |p| format!("{:.3}", p.1)),
    ]
}

fn tone(judgement: Judgement) -> Tone {
    match judgement {
        Judgement::Regressed => Tone::Bad,
        Judgement::Improved | Judgement::Equivalent => Tone::Good,
        Judgement::Inconclusive => Tone::Warning,
    }
}
