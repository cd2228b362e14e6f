//! A comparison, independent of a format: the text of each row, its severity, and the form of its numbers.
//!
//! Each figure carries its place in the JSON of the comparison.

use super::Compared;
use crate::report::format;
use crate::report::stored::RunResult;
use crate::report::view::{Cell, Column, ReportTable, Tone, Visibility};
use crate::verdict::compare::{Comparison, Judgement, Measure, MetricComparison, measure_name};

/// A comparison.
#[derive(Clone, Debug)]
pub struct ComparedView {
    /// The judgement, with its severity.
    pub word: Cell,
    /// The meaning of the verdict.
    pub sentence: String,
    /// The exit code of the process.
    pub exit_code: Cell,
    /// The profile's name.
    pub profile: Cell,
    /// The seed of the runs.
    pub seed: Cell,
    /// The numbers of the compared runs, and the differences between them.
    pub asked: String,
    /// The metrics, by phase.
    pub rows: Vec<ComparedRow>,
    /// Notes for the reader.
    pub notes: Vec<Cell>,
    /// The reasons against the comparison, if the user forced it.
    pub forced: Vec<Cell>,
}

/// One metric of one phase.
#[derive(Clone, Debug)]
pub struct ComparedRow {
    /// The phase.
    pub phase: Cell,
    /// The metric.
    pub metric: Cell,
    /// The judgement, with its severity.
    pub verdict: Cell,
    /// The median of the base.
    pub base: Cell,
    /// The median of the candidate.
    pub candidate: Cell,
    /// The change between them.
    pub change: Cell,
    /// The ends of the 95 % interval of the change.
    pub interval: [Cell; 2],
    /// The change that does not matter.
    pub margin: Cell,
    /// The p-value.
    pub p: Cell,
    /// The p-value after Holm's correction.
    pub p_holm: Cell,
    /// Why there is no verdict, unless the numbers show the reason.
    pub why: String,
}

impl ComparedView {
    /// Returns the view of a comparison.
    pub fn of(compared: Compared<'_>) -> ComparedView {
        let comparison = compared.comparison;
        let judgement = comparison.judgement;
        let profile = compared.base.first().map(|(_, result)| &result.profile);
        let list = |texts: &[String], place: &str| {
            let texts = texts.iter().enumerate();
            texts.map(|(i, text)| Cell::stored_code(text, format!("{place}/{i}"))).collect()
        };
        let seed = profile.map_or(0, |profile| profile.seed);
        ComparedView {
            word: Cell::words(judgement.as_str().to_uppercase())
                .tone(severity(judgement))
                .stored("/verdict", "verdict"),
            sentence: sentence(comparison),
            exit_code: Cell::count(judgement.exit_code().number().into(), "/exit_code"),
            profile: Cell::stored_name(profile.map_or("", |profile| &profile.name), "/profile_name"),
            seed: Cell::words(seed.to_string()).stored("/seed", "number"),
            asked: format::harmless(&asked(compared)),
            rows: comparison.rows.iter().enumerate().map(|(i, row)| ComparedRow::of(i, row)).collect(),
            notes: list(&comparison.notes, "/notes"),
            forced: list(compared.forced, "/forced"),
        }
    }

    /// Returns the rows as a table.
    pub fn table(&self) -> ReportTable {
        let several = self.rows.iter().any(|row| row.phase.text != self.rows[0].phase.text);
        let place = if several { Visibility::Everywhere } else { Visibility::Page };
        let is_common =
            !several && self.rows.len() > 1 && self.rows.iter().all(|row| row.why == self.rows[0].why);
        let mut table = ReportTable::new([
            Column::words("phase").at(place),
            Column::words("metric"),
            Column::number("base").yields(2),
            Column::number("candidate").yields(3),
            Column::number("change"),
            Column::number("95 % interval").yields(1),
            Column::number("p (Holm)").yields(4),
            Column::words("verdict"),
            Column::prose("why").at(Visibility::Text),
        ]);
        for (at, row) in self.rows.iter().enumerate() {
            let [low, high] = &row.interval;
            let interval = match low.text == high.text && low.path.is_empty() {
                true => low.clone(),
                false => Cell::number(format!("{} to {}", low.text, high.text)),
            };
            table.row([
                row.phase.clone(),
                row.metric.clone(),
                row.base.clone(),
                row.candidate.clone(),
                row.change.clone(),
                interval,
                row.p_holm.clone(),
                row.verdict.clone(),
                Cell::words(match row.why.as_str() {
                    "" => String::new(),
                    why if is_common && at == 0 => format!("all metrics: {why}"),
                    _ if is_common => String::new(),
                    why => format!("{}: {why}", row.metric.text),
                }),
            ]);
        }
        table
    }
}

impl ComparedRow {
    fn of(i: usize, row: &MetricComparison) -> ComparedRow {
        let at = |field: &str| format!("/metrics/{i}/{field}");
        let is_ratio = row.measure.is_ratio();
        let (values, form) = match row.measure {
            Measure::Time(..) => ("values_ns", "duration"),
            Measure::AcceptedRate => ("values_per_s", "rate"),
            Measure::UnexpectedRate => ("values_share", "exact-percent"),
        };
        let (change, change_form) =
            if is_ratio { ("ratio", "ratio") } else { ("difference_share", "points") };
        let cell = |text: Option<String>, path: String, form: &'static str| match text {
            Some(text) => Cell::number(text).stored(path, form),
            None => Cell::not_available(),
        };
        let median = |value: Option<f64>, name: &str| {
            let text = value.map(|value| match row.measure {
                Measure::Time(..) => format::duration(value),
                Measure::AcceptedRate => format::rate(value),
                Measure::UnexpectedRate => format::exact_percent(value * 100.0),
            });
            cell(text, at(&format!("{values}/{name}")), form)
        };
        let part = |value: Option<f64>, name: &str| {
            let value = value.filter(|value| value.is_finite());
            let text = value.map(|value| if is_ratio { format::ratio(value) } else { format::points(value) });
            cell(text, at(&format!("{change}/{name}")), change_form)
        };
        let chance = |p: Option<f64>, name: &str| cell(p.map(format::probability), at(name), "p");
        let (margin, margin_form) = match is_ratio {
            true => (format::percent(row.measure.margin()), "percent"),
            false => {
                (format::points(row.measure.margin()).trim_start_matches('+').to_owned(), "margin-points")
            }
        };
        let (base, candidate) = row.medians();
        ComparedRow {
            phase: Cell::stored_name(&row.phase, at("phase")),
            metric: Cell::words(measure_name(row.measure)).stored(at("metric"), "text"),
            verdict: Cell::words(row.judgement.as_str())
                .tone(severity(row.judgement))
                .stored(at("verdict"), "text"),
            base: median(base, "base_median"),
            candidate: median(candidate, "candidate_median"),
            change: part(row.change.map(|change| change.middle), "middle"),
            interval: [
                part(row.change.map(|change| change.low), "low"),
                part(row.change.map(|change| change.high), "high"),
            ],
            margin: Cell::number(margin).stored(at(&format!("{change}/margin")), margin_form),
            p: chance(row.p.map(|p| p.0), "p"),
            p_holm: chance(row.p.map(|p| p.1), "p_holm"),
            why: row.why.as_deref().map(format::harmless).unwrap_or_default(),
        }
    }

    /// Returns the change in a sentence.
    pub fn sentence(&self) -> String {
        let mut text = format!("{} against {}", self.candidate.text, self.base.text);
        if !self.change.path.is_empty() {
            let of_base = if self.change.form == "ratio" { " times the base" } else { "" };
            text.push_str(&format!(", {}{of_base}", self.change.text));
            let [low, high] = &self.interval;
            if !low.path.is_empty() {
                text.push_str(&format!(" ({} to {}; margin {})", low.text, high.text, self.margin.text));
            }
        }
        if self.why.is_empty() { text } else { format!("{text}; {}", self.why) }
    }
}

/// Returns the severity of a judgement.
fn severity(judgement: Judgement) -> Tone {
    match judgement {
        Judgement::Regressed => Tone::Bad,
        Judgement::Improved | Judgement::Equivalent => Tone::Good,
        Judgement::Inconclusive => Tone::Warning,
    }
}

/// Returns the judgement in words.
fn sentence(comparison: &Comparison) -> String {
    let of = |judgement| comparison.rows.iter().filter(|row| row.judgement == judgement).count();
    let all = comparison.rows.len();
    match comparison.judgement {
        _ if all == 0 => "there is no metric to compare".to_owned(),
        Judgement::Regressed if of(Judgement::Regressed) == 0 => {
            "messages of the candidate were lost, duplicated, altered or bounced".to_owned()
        }
        Judgement::Regressed => format!("{} of {all} metrics are worse", of(Judgement::Regressed)),
        Judgement::Improved => {
            format!("{} of {all} metrics are better, none is worse", of(Judgement::Improved))
        }
        Judgement::Equivalent => format!("all {all} metrics differ by less than the margin"),
        Judgement::Inconclusive if of(Judgement::Inconclusive) == 0 => {
            "both sides lost, duplicated or altered messages, or more of the candidate bounced".to_owned()
        }
        Judgement::Inconclusive => {
            format!("{} of {all} metrics are inconclusive", of(Judgement::Inconclusive))
        }
    }
}

/// Returns what was compared, in words.
fn asked(compared: Compared<'_>) -> String {
    let (base, candidate) = compared.comparison.runs;
    let runs = |n: usize| format::counted(n as u64, "run");
    let target = |side: &[(String, RunResult)]| side.first().map(|(_, result)| result.target.clone());
    let targets = match (target(compared.base), target(compared.candidate)) {
        (Some(base), Some(candidate)) if base != candidate => format!(", {candidate} against {base}"),
        _ => String::new(),
    };
    format!("{} of the candidate compared with {} of the base{targets}", runs(candidate), runs(base))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::compare::ChangeInterval;

    #[test]
    fn shares_that_differ_by_more_than_the_margin_are_not_written_alike() {
        let row = MetricComparison {
            phase: "steady".to_owned(),
            measure: Measure::UnexpectedRate,
            base: vec![Some(0.012)],
            candidate: vec![Some(0.014)],
            change: Some(ChangeInterval { middle: 0.002, low: 0.0015, high: 0.0025 }),
            p: None,
            judgement: Judgement::Regressed,
            why: None,
        };
        let sentence = ComparedRow::of(0, &row).sentence();
        assert!(sentence.starts_with("1.40 % against 1.20 %, +0.20 pp"), "{sentence}");
    }
}
