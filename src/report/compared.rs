//! A comparison of runs as text, JSON and Markdown; as a page it is told by `html`.
//!
//! How it comes to its verdict is the business of `verdict::compare`; which runs may be compared at all, that of the command.

use std::io::{self, Write};

mod json;

use super::format;
use super::layout::{Align, Page, Span, Table, Tone};
use super::markdown::{code, table};
use super::stored::RunResult;
use crate::verdict::compare::{self, Comparison, Judgement, Measure, Row};

pub use json::{json, schema};

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
pub(super) fn words_of(comparison: &Comparison) -> String {
    let of = |judgement| comparison.rows.iter().filter(|row| row.judgement == judgement).count();
    let all = comparison.rows.len();
    match comparison.judgement {
        _ if all == 0 => "there is no metric to compare".to_owned(),
        Judgement::Regressed => format!("{} of {all} metrics are worse", of(Judgement::Regressed)),
        Judgement::Improved => {
            format!("{} of {all} metrics are better, none is worse", of(Judgement::Improved))
        }
        Judgement::Equivalent => format!("all {all} metrics differ by less than matters"),
        Judgement::Inconclusive => {
            format!("{} of {all} metrics are not settled", of(Judgement::Inconclusive))
        }
    }
}

/// The same with the exit code.
fn sentence(comparison: &Comparison) -> String {
    format!("{} (exit code {})", words_of(comparison), comparison.judgement.exit_code().number())
}

/// What was compared, in words.
fn asked(compared: Compared<'_>) -> String {
    let (base, candidate) = compared.comparison.runs;
    let profile = compared.base.first().map(|(_, result)| &result.profile);
    let profile =
        profile.map(|profile| format!(", {}, seed {}", profile.name, profile.seed)).unwrap_or_default();
    let runs = |n: usize| format::counted(n as u64, "run");
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
        (Some(value), Measure::Response(_)) => format::duration(value),
        (Some(value), Measure::AcceptedRate) => format::rate(value),
        (Some(value), Measure::UnexpectedRate) => format::percent(value),
    };
    let shown = |change: f64| match row.measure.is_ratio() {
        _ if !change.is_finite() => "n/a".to_owned(),
        true => format::ratio(change),
        false => format::points(change),
    };
    let change = row.change.map(|change| shown(change.middle));
    let interval = row.change.filter(|change| change.low.is_finite());
    [
        row.phase.clone(),
        compare::measure_name(row.measure),
        value(base),
        value(candidate),
        change.unwrap_or_else(|| "n/a".to_owned()),
        interval
            .map_or("n/a".to_owned(), |change| format!("{} to {}", shown(change.low), shown(change.high))),
        row.p.map_or("n/a".to_owned(), |p| format::probability(p.1)),
    ]
}

fn tone(judgement: Judgement) -> Tone {
    match judgement {
        Judgement::Regressed => Tone::Bad,
        Judgement::Improved | Judgement::Equivalent => Tone::Good,
        Judgement::Inconclusive => Tone::Warning,
    }
}
