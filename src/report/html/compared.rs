//! The page of a comparison: the verdict in words, why, and each change beside the margin that it is held against.
//!
//! It has no script at all. Figures carry the place where they stand in the JSON of the comparison.

use askama::Template;

use super::STYLE;
use super::view::{Cell, Table};
use crate::report::compared::{self, Compared};
use crate::report::format;
use crate::report::stored::RunResult;
use crate::verdict::compare::{Judgement, Measure, Row, measure_name};

/// Where the labels of an axis of ratios may stand.
const TICKS: [f64; 21] = [
    0.01, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0,
    20.0, 100.0,
];
/// The furthest that an axis of ratios shows: some thousand times, and a thousandth.
const FURTHEST: f64 = 7.0;
/// Labels stand at least so far apart, in percent of the width: four or five on a phone.
const APART: f64 = 14.0;

/// The page.
pub fn comparison(compared: Compared<'_>) -> String {
    let comparison = compared.comparison;
    let judgement = comparison.judgement;
    let phases = phases(&comparison.rows);
    let version = env!("CARGO_PKG_VERSION");
    let profile = compared.base.first().map(|(_, result)| &result.profile);
    let list = |texts: &[String], place: &str| {
        texts.iter().enumerate().map(|(i, text)| Cell::stored(text, format!("{place}/{i}"))).collect()
    };
    let word = Cell { form: "verdict", ..Cell::stored(judgement.as_str(), "/verdict") };
    let page = Page {
        style: STYLE,
        title: format!(
            "{}: {}",
            profile.map(|profile| format::harmless(&profile.name)).unwrap_or_default(),
            judgement.as_str()
        ),
        tone: tone(judgement),
        word: Cell { text: word.text.to_uppercase(), ..word },
        sentence: compared::words_of(comparison),
        exit_code: Cell::count(judgement.exit_code().number().into(), "/exit_code").class(""),
        profile: Cell::stored(profile.map_or("", |profile| &profile.name), "/profile_name"),
        seed: Cell {
            text: profile.map_or(0, |profile| profile.seed).to_string(),
            path: "/seed".to_owned(),
            form: "number",
            class: "",
        },
        bases: format::counted(comparison.runs.0 as u64, "run"),
        candidates: format::counted(comparison.runs.1 as u64, "run"),
        forced: list(compared.forced, "/forced"),
        notes: list(&comparison.notes, "/notes"),
        why: why(&comparison.rows),
        phases,
        base: runs(compared.base, "base"),
        candidate: runs(compared.candidate, "candidate"),
        json: compared::json(compared),
        version,
    };
    page.render().expect("a template of plain values writes into memory")
}

#[derive(Template)]
#[template(path = "html/compared.html")]
struct Page<'a> {
    style: &'a str,
    title: String,
    tone: &'static str,
    word: Cell,
    sentence: String,
    exit_code: Cell,
    profile: Cell,
    seed: Cell,
    bases: String,
    candidates: String,
    forced: Vec<Cell>,
    notes: Vec<Cell>,
    why: Vec<Claim>,
    phases: Vec<Phase>,
    base: Table,
    candidate: Table,
    json: String,
    version: &'a str,
}

/// A reason of the whole verdict.
struct Claim {
    verdict: Cell,
    what: String,
    seen: String,
}

/// The metrics of a phase.
struct Phase {
    name: Cell,
    rows: Vec<Metric>,
}

/// A metric, as figures and as a picture.
struct Metric {
    name: String,
    metric: Cell,
    verdict: Cell,
    tone: &'static str,
    seen: String,
    /// The picture in words.
    words: String,
    /// What lies to the left of no change, and to the right.
    less: &'static str,
    more: &'static str,
    picture: Option<Picture>,
    base: Cell,
    candidate: Cell,
    change: Cell,
    low: Cell,
    high: Cell,
    margin: Cell,
    p: Cell,
    p_holm: Cell,
}

/// Places in percent of the width; no change is at 50.
struct Picture {
    margin: String,
    margin_width: String,
    middle: String,
    interval: Option<(String, String)>,
    ticks: Vec<(String, String)>,
}

fn tone(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Regressed => "bad",
        Judgement::Improved | Judgement::Equivalent => "good",
        Judgement::Inconclusive => "warn",
    }
}

/// What made the verdict, the worst first.
fn why(rows: &[Row]) -> Vec<Claim> {
    let order = [Judgement::Regressed, Judgement::Inconclusive, Judgement::Improved, Judgement::Equivalent];
    let mut claims: Vec<(usize, Claim)> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let place = order.iter().position(|one| *one == row.judgement).unwrap_or(order.len());
            let what = format!("{}, {}", format::harmless(&row.phase), measure_name(row.measure));
            (place, Claim { verdict: verdict(row, i), what, seen: seen(row) })
        })
        .collect();
    claims.sort_by_key(|(place, _)| *place);
    claims.into_iter().map(|(_, claim)| claim).collect()
}

fn verdict(row: &Row, i: usize) -> Cell {
    Cell::stored(row.judgement.as_str(), format!("/metrics/{i}/verdict")).class(tone(row.judgement))
}

/// A change in a sentence.
fn seen(row: &Row) -> String {
    let (base, candidate) = row.medians();
    let of = |value: Option<f64>| value.map_or("n/a".to_owned(), |value| shown(row.measure, value));
    let mut text = format!("{} against {}", of(candidate), of(base));
    if let Some(change) = row.change.filter(|change| change.middle.is_finite()) {
        let (middle, low, high) = (
            changed(row.measure, change.middle),
            changed(row.measure, change.low),
            changed(row.measure, change.high),
        );
        text = match row.measure.is_ratio() {
            true => format!("{text}, {middle} times the base"),
            false => format!("{text}, {middle}"),
        };
        if change.low.is_finite() {
            text = format!("{text} ({low} to {high}; margin {})", margin(row.measure));
        }
    }
    match &row.why {
        Some(why) => format!("{text}; {}", format::harmless(why)),
        None => text,
    }
}

fn shown(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Response(_) => format::duration(value),
        Measure::AcceptedRate => format::rate(value),
        Measure::UnexpectedRate => format::percent(value),
    }
}

fn changed(measure: Measure, change: f64) -> String {
    if measure.is_ratio() { format::ratio(change) } else { format::points(change) }
}

fn margin(measure: Measure) -> String {
    match measure.is_ratio() {
        true => format::percent(measure.margin()),
        false => format::points(measure.margin()).trim_start_matches('+').to_owned(),
    }
}

fn phases(rows: &[Row]) -> Vec<Phase> {
    let mut phases: Vec<(&str, Vec<(usize, &Row)>)> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        match phases.iter_mut().find(|(name, _)| *name == row.phase) {
            Some((_, rows)) => rows.push((i, row)),
            None => phases.push((&row.phase, vec![(i, row)])),
        }
    }
    let phase = |(name, rows): (&str, Vec<(usize, &Row)>)| {
        let place = format!("/metrics/{}/phase", rows[0].0);
        let reach = rows.iter().filter(|(_, row)| row.measure.is_ratio()).map(|(_, row)| reach(row));
        let reach = reach.fold(0.0, f64::max).min(FURTHEST);
        let rows = rows.into_iter().map(|(i, row)| metric(i, row, reach)).collect();
        Phase { name: Cell::stored(name, place), rows }
    };
    phases.into_iter().map(phase).collect()
}

/// How far from no change the picture of a row must reach, on the scale of its axis.
fn reach(row: &Row) -> f64 {
    let on_axis = |change: f64| axis(row.measure, change).abs();
    let ends = row.change.map_or([f64::NAN; 3], |change| [change.low, change.middle, change.high]);
    let furthest = ends.into_iter().filter(|end| end.is_finite()).map(on_axis);
    let furthest = furthest.filter(|end| end.is_finite()).fold(0.0, f64::max);
    furthest.max(margin_on_axis(row.measure) * 2.0) * 1.15
}

/// Where a change lies on its axis: 0 is none, and twice as much is as far from it as half.
fn axis(measure: Measure, change: f64) -> f64 {
    if measure.is_ratio() { change.ln() } else { change }
}

fn margin_on_axis(measure: Measure) -> f64 {
    if measure.is_ratio() { measure.margin().ln_1p() } else { measure.margin() }
}

fn metric(i: usize, row: &Row, of_ratios: f64) -> Metric {
    let at = |field: &str| format!("/metrics/{i}/{field}");
    let (values, form) = match row.measure {
        Measure::Response(_) => ("values_ns", "duration"),
        Measure::AcceptedRate => ("values_per_s", "rate"),
        Measure::UnexpectedRate => ("values_share", "percent"),
    };
    let (change, change_form) =
        if row.measure.is_ratio() { ("ratio", "ratio") } else { ("difference_share", "points") };
    let absent = || Cell::number("n/a");
    let value = |value: Option<f64>, name: &str| match value {
        Some(value) => Cell {
            text: shown(row.measure, value),
            path: at(&format!("{values}/{name}")),
            form,
            class: "number",
        },
        None => absent(),
    };
    let part = |value: Option<f64>, name: &str| match value.filter(|value| value.is_finite()) {
        Some(value) => Cell {
            text: changed(row.measure, value),
            path: at(&format!("{change}/{name}")),
            form: change_form,
            class: "number",
        },
        None => absent(),
    };
    let chance = |p: Option<f64>, name: &str| match p {
        Some(p) => Cell { text: format::probability(p), path: at(name), form: "p", class: "number" },
        None => absent(),
    };
    let (base, candidate) = row.medians();
    let (less, more) = match row.measure {
        Measure::Response(_) => ("better", "worse"),
        Measure::AcceptedRate => ("worse", "better"),
        Measure::UnexpectedRate => ("better", "worse"),
    };
    let seen = seen(row);
    let name = measure_name(row.measure);
    Metric {
        words: format!("{name}: {}, {seen}", row.judgement.as_str()),
        metric: Cell::stored(&name, at("metric")),
        name,
        verdict: verdict(row, i),
        tone: tone(row.judgement),
        seen,
        less,
        more,
        picture: picture(row, if row.measure.is_ratio() { of_ratios } else { reach(row) }),
        base: value(base, "base_median"),
        candidate: value(candidate, "candidate_median"),
        change: part(row.change.map(|change| change.middle), "middle"),
        low: part(row.change.map(|change| change.low), "low"),
        high: part(row.change.map(|change| change.high), "high"),
        margin: Cell {
            text: margin(row.measure),
            path: at(&format!("{change}/margin")),
            form: if row.measure.is_ratio() { "percent" } else { "margin-points" },
            class: "number",
        },
        p: chance(row.p.map(|p| p.0), "p"),
        p_holm: chance(row.p.map(|p| p.1), "p_holm"),
    }
}

fn picture(row: &Row, reach: f64) -> Option<Picture> {
    let change = row.change.filter(|change| change.middle.is_finite())?;
    // What lies beyond the edge ends there.
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

/// The labels that find room: that of no change first, then those nearest to it, off the words at the edges.
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

fn runs(side: &[(String, RunResult)], name: &str) -> Table {
    let mut table = Table::new(["directory", "target", "begun", "run"]);
    for (i, (path, result)) in side.iter().enumerate() {
        let at = |field: &str| format!("/{name}/{i}/{field}");
        table.rows.push(vec![
            Cell::stored(path, at("path")).class("code"),
            Cell::stored(&result.target, at("target")).class("code"),
            Cell::stored(&result.started_at, at("started_at")).class("number"),
            Cell::stored(&result.run_id, at("run_id")).class("code"),
        ]);
    }
    table
}
