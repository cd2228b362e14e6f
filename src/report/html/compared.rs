//! The page of a comparison: the verdict, its reasons, and each change beside its margin.
//!
//! The page has no script. Each figure carries its place in the JSON of the comparison.

use askama::Template;

use super::STYLE;
use crate::report::compared::{self, Compared, ComparedRow, ComparedView};
use crate::report::format;
use crate::report::stored::RunResult;
use crate::report::view::{Cell, Column, ReportTable};
use crate::verdict::compare::{Judgement, Measure, MetricComparison};

/// The possible labels of an axis of ratios.
const TICKS: [f64; 21] = [
    0.01, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0,
    20.0, 100.0,
];
/// The largest natural logarithm of a ratio on an axis: the axis ends at about 1/1000 and 1000.
const FURTHEST: f64 = 7.0;
/// The least distance of labels, in percent of the width, so that they do not overlap on a phone.
const APART: f64 = 14.0;

/// Returns the page.
pub fn comparison(compared: Compared<'_>) -> String {
    let comparison = compared.comparison;
    let view = ComparedView::of(compared);
    let page = ComparedPage {
        style: STYLE,
        title: format!("{}: {}", view.profile.text, comparison.judgement.as_str()),
        why: why(&view, &comparison.rows),
        phases: phases(&view, &comparison.rows),
        base: runs(compared.base, "base"),
        candidate: runs(compared.candidate, "candidate"),
        json: compared::json(compared),
        version: env!("CARGO_PKG_VERSION"),
        view,
    };
    page.render().expect("a template of plain values writes into memory")
}

#[derive(Template)]
#[template(path = "html/compared.html")]
struct ComparedPage<'a> {
    style: &'a str,
    title: String,
    view: ComparedView,
    why: Vec<ComparedRow>,
    phases: Vec<ComparedPhase>,
    base: ReportTable,
    candidate: ReportTable,
    json: String,
    version: &'a str,
}

/// The metrics of a phase.
struct ComparedPhase {
    name: Cell,
    rows: Vec<PicturedRow>,
}

/// A metric with its picture.
struct PicturedRow {
    row: ComparedRow,
    /// The words for the left and the right of the axis.
    sides: [&'static str; 2],
    picture: Option<Picture>,
}

/// The positions of a row's picture in percent of the width; 50 is no change.
struct Picture {
    margin: String,
    margin_width: String,
    middle: String,
    interval: Option<(String, String)>,
    ticks: Vec<(String, String)>,
}

/// Returns the reasons of the verdict, the worst first.
fn why(view: &ComparedView, rows: &[MetricComparison]) -> Vec<ComparedRow> {
    let order = [Judgement::Regressed, Judgement::Inconclusive, Judgement::Improved, Judgement::Equivalent];
    let place =
        |(_, row): &(&ComparedRow, &MetricComparison)| order.iter().position(|one| *one == row.judgement);
    let mut all: Vec<(&ComparedRow, &MetricComparison)> = view.rows.iter().zip(rows).collect();
    all.sort_by_key(place);
    all.into_iter().map(|(row, _)| row.clone()).collect()
}

fn phases(view: &ComparedView, rows: &[MetricComparison]) -> Vec<ComparedPhase> {
    let mut phases: Vec<(&str, Vec<(&ComparedRow, &MetricComparison)>)> = Vec::new();
    for (shown, row) in view.rows.iter().zip(rows) {
        match phases.iter_mut().find(|(name, _)| *name == row.phase) {
            Some((_, rows)) => rows.push((shown, row)),
            None => phases.push((&row.phase, vec![(shown, row)])),
        }
    }
    let phase = |(_, rows): (&str, Vec<(&ComparedRow, &MetricComparison)>)| {
        let ratios = rows.iter().filter(|(_, row)| row.measure.is_ratio()).map(|(_, row)| reach(row));
        let of_ratios = ratios.fold(0.0, f64::max).min(FURTHEST);
        ComparedPhase {
            name: rows[0].0.phase.clone(),
            rows: rows.into_iter().map(|(shown, row)| pictured(shown, row, of_ratios)).collect(),
        }
    };
    phases.into_iter().map(phase).collect()
}

fn pictured(shown: &ComparedRow, row: &MetricComparison, of_ratios: f64) -> PicturedRow {
    PicturedRow {
        row: shown.clone(),
        sides: match row.measure {
            Measure::Time(..) | Measure::UnexpectedRate => ["better", "worse"],
            Measure::AcceptedRate => ["worse", "better"],
        },
        picture: picture(row, if row.measure.is_ratio() { of_ratios } else { reach(row) }),
    }
}

/// Returns the range that the picture of a row must show, on the scale of its axis.
fn reach(row: &MetricComparison) -> f64 {
    let on_axis = |change: f64| axis(row.measure, change).abs();
    let ends = row.change.map_or([f64::NAN; 3], |change| [change.low, change.middle, change.high]);
    let furthest = ends.into_iter().filter(|end| end.is_finite()).map(on_axis);
    let furthest = furthest.filter(|end| end.is_finite()).fold(0.0, f64::max);
    furthest.max(margin_on_axis(row.measure) * 2.0) * 1.15
}

/// Returns the position of a change on its axis: 0 is no change. The ratios 2 and 1/2 are at the same distance from 0.
fn axis(measure: Measure, change: f64) -> f64 {
    if measure.is_ratio() { change.ln() } else { change }
}

fn margin_on_axis(measure: Measure) -> f64 {
    if measure.is_ratio() { measure.margin().ln_1p() } else { measure.margin() }
}

fn picture(row: &MetricComparison, reach: f64) -> Option<Picture> {
    let change = row.change.filter(|change| change.middle.is_finite())?;
    // Values beyond the edge are drawn at the edge.
    let place = |on_axis: f64| (50.0 + on_axis / reach * 50.0).clamp(0.0, 100.0);
    let percent = |place: f64| format!("{place:.2}");
    let on_axis = |change: f64| place(axis(row.measure, change));
    let margin = margin_on_axis(row.measure);
    let ticks: Vec<(f64, String)> = match row.measure.is_ratio() {
        true => TICKS.map(|ratio| (on_axis(ratio), format!("{ratio}x"))).to_vec(),
        false => [-margin, 0.0, margin].map(|share| (place(share), format::points(share))).to_vec(),
    };
    Some(Picture {
        margin: percent(place(-margin)),
        margin_width: percent(place(margin) - place(-margin)),
        middle: percent(on_axis(change.middle)),
        interval: (change.low.is_finite() && change.high.is_finite())
            .then(|| (percent(on_axis(change.low)), percent(on_axis(change.high)))),
        ticks: apart(ticks).into_iter().map(|(at, text)| (percent(at), text)).collect(),
    })
}

/// Returns the labels that fit: first the label of no change, then those nearest to it, without touching the words at
/// the edges.
fn apart(mut ticks: Vec<(f64, String)>) -> Vec<(f64, String)> {
    ticks.sort_by(|a, b| (a.0 - 50.0).abs().total_cmp(&(b.0 - 50.0).abs()));
    let mut kept: Vec<(f64, String)> = Vec::new();
    for (at, text) in ticks {
        if (24.0..=76.0).contains(&at) && kept.iter().all(|(other, _)| (other - at).abs() >= APART) {
            kept.push((at, text));
        }
    }
    kept
}

fn runs(side: &[(String, RunResult)], name: &str) -> ReportTable {
    let mut table = ReportTable::new(["directory", "target", "started", "run"].map(Column::words));
    for (i, (path, result)) in side.iter().enumerate() {
        let at = |field: &str| format!("/{name}/{i}/{field}");
        table.row([
            Cell::stored_code(path, at("path")),
            Cell::stored_code(&result.target, at("target")),
            Cell::stored_name(&result.started_at, at("started_at")),
            Cell::stored_code(&result.run_id, at("run_id")),
        ]);
    }
    table
}
