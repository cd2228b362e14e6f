//! `report.html`: one run as one self-contained page, for readers who do not know the tool.
//!
//! The page lays out a [`View`], and draws charts from data that it carries. Text and tables need no scripts; the data
//! can be saved from the page.
//!
//! # Decisions
//! - All text of the user or the listener is made harmless and then escaped by the template. Data is in a block that is
//!   no script, with `<` escaped. The page's policy forbids all requests, and all scripts except its own two, by their
//!   hashes.
//! - Charts are drawn by uPlot (1.6.32, MIT), which the page includes with its licence.

mod charts;
mod classes;
mod compared;
mod spectrum;
pub mod timeline;
mod trial_curve;

use askama::Template;
use base64::Engine;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::format;
use super::stored::event::StoredEvent;
use super::stored::{RunResult, StoredPhase, json};
use super::view::{
    self, Cell, Claim, ClaimState, Column, ConditionView, Head, Medium, ReportTable, Section, SectionPart,
    SummaryLine, View,
};
use charts::{Chart, Charts};

pub use compared::comparison;
pub use timeline::Timeline;

const UPLOT: &str = include_str!("html/uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("html/uplot/uPlot.min.css");
const UPLOT_LICENCE: &str = include_str!("html/uplot/LICENSE");
const SCRIPT: &str = include_str!("html/page.js");
const STYLE: &str = include_str!("html/style.css");

/// The largest number of conditions that are shown; the rest is in `failures.jsonl` and in the embedded result.
const CONDITIONS: usize = 40;
/// The largest number of lines of a sample reply that are shown, and of columns of each.
const SAMPLE_LINES: usize = 12;
const SAMPLE_COLUMNS: usize = 400;
/// The largest number of failed limits in the summary; the table has all.
const LIMITS: usize = 8;

/// The additional parts of the page of a run in progress.
#[derive(Clone, Copy, Debug)]
pub struct LivePart {
    /// The script that updates the page.
    pub script: &'static str,
    /// The style of its controls.
    pub style: &'static str,
    /// Whether the whole page is written, and not only the part that changes.
    pub whole: bool,
}

/// The input of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    /// The run.
    pub result: &'a RunResult,
    /// The resolved profile, as TOML, if available.
    pub profile: Option<&'a str>,
    /// `environment.json`, if available.
    pub environment: Option<&'a str>,
    /// The run over time with its time series, if the files are available.
    pub timeline: Option<(&'a Timeline, &'a str)>,
    /// For the page of a run in progress.
    pub live: Option<LivePart>,
    /// `conditions.csv`, if available and not too long for a page.
    pub conditions: Option<&'a str>,
}

/// Returns the page of a run.
pub fn write(input: PageInput<'_>) -> String {
    write_view(View::of(input.result), input)
}

/// Returns the page with this view of the run.
pub fn write_view(view: View, input: PageInput<'_>) -> String {
    let result = input.result;
    let data = ChartData {
        took_s: result.took_s,
        phases: result
            .phases
            .iter()
            .map(|phase| ChartPhase {
                name: format::harmless(&phase.name),
                from: phase.start_s,
                length: phase.window_s,
                warmup: phase.warmup,
            })
            .collect(),
        events: result.events.iter().filter_map(chart_event).collect(),
        timeline: input.timeline.map(|(timeline, _)| timeline),
        spectra: spectrum::spectra(result),
        curve: trial_curve::curve(result),
    };
    let charts = Charts {
        has_timeline: input.timeline.is_some(),
        has_conditions: input.timeline.is_some_and(|(timeline, _)| timeline.has_conditions()),
        has_spectra: !data.spectra.is_empty(),
        has_curve: data.curve.is_some(),
        has_retries: result.has_retries(),
        has_relay_times: view.sections.iter().any(|section| section.id == "delivery")
            && has_relay_times(result),
        has_refusals: result.phases.iter().any(|p| p.expected + p.deferred + p.rejected + p.refused > 0),
    };
    let is_over = input.live.is_none();
    let policy = format!("script-src {} {}", hash(UPLOT), hash(SCRIPT));
    // A run in progress has no result yet.
    let mut files: Vec<_> = is_over.then(|| ("result.json", json::write(result))).into_iter().collect();
    files.extend(input.timeline.map(|(_, series)| ("timeseries.csv", series.to_owned())));
    files.extend(input.conditions.map(|text| ("conditions.csv", text.to_owned())));
    files.extend(input.profile.map(|text| ("profile.toml", text.to_owned())));
    files.extend(input.environment.map(|text| ("environment.json", text.to_owned())));
    let page = ReportPage {
        policy: match input.live {
            None => policy,
            Some(live) => format!("{policy} {}; connect-src 'self'", hash(live.script)),
        },
        is_over,
        is_whole: input.live.is_none_or(|live| live.whole),
        live: input.live,
        uplot: UPLOT,
        uplot_style: UPLOT_STYLE,
        uplot_licence: UPLOT_LICENCE,
        script: SCRIPT,
        style: STYLE,
        title: format!("{}: {}", view.head.profile.text, view.head.word.text.to_lowercase()),
        claims: short(&view.claims),
        asked: view.asked,
        happened: view.happened,
        sections: sections(view.sections, view.assertions, charts),
        head: view.head,
        identity: identity(result),
        machine: machine(input.environment),
        profile: input.profile.map(|text| text.lines().map(format::harmless).collect::<Vec<_>>().join("\n")),
        data: block(&data),
        files: files.into_iter().map(|(name, text)| (name, size(&text), block(&text))).collect(),
        version: format::harmless(&result.tool.version),
    };
    page.render().expect("a template of plain values writes into memory")
}

#[derive(Template)]
#[template(path = "html/page.html")]
struct ReportPage<'a> {
    policy: String,
    is_over: bool,
    is_whole: bool,
    live: Option<LivePart>,
    uplot: &'a str,
    uplot_style: &'a str,
    uplot_licence: &'a str,
    script: &'a str,
    style: &'a str,
    title: String,
    head: Head,
    asked: Vec<SummaryLine>,
    happened: Vec<SummaryLine>,
    claims: Vec<Claim>,
    sections: Vec<PageSection>,
    identity: ReportTable,
    machine: ReportTable,
    profile: Option<String>,
    data: String,
    /// Name, size in words, text.
    files: Vec<(&'static str, String, String)>,
    version: String,
}

/// A section with its charts.
struct PageSection {
    section: Section,
    before: Vec<Chart>,
    after: Vec<Chart>,
    /// The number of conditions that are not shown.
    more_conditions: usize,
    /// Whether this is the section of the load, and the page has no timeline.
    lacks_timeline: bool,
}

/// The data of the charts, beside the time series.
#[derive(Serialize)]
struct ChartData<'a> {
    took_s: f64,
    phases: Vec<ChartPhase>,
    events: Vec<ChartEvent>,
    timeline: Option<&'a Timeline>,
    spectra: Vec<spectrum::Spectrum>,
    curve: Option<trial_curve::TrialCurve>,
}

/// The time of a phase.
#[derive(Serialize)]
struct ChartPhase {
    name: String,
    from: f64,
    length: f64,
    warmup: bool,
}

/// The time of an event.
#[derive(Serialize)]
struct ChartEvent {
    name: String,
    from: f64,
    /// The end; `null` while the event is running.
    to: Option<f64>,
}

/// Whether the times of deliveries are known: those of a receiver with an unknown clock are not, and its time series has
/// empty cells, which are no zeros. A run in progress stores no deliveries yet, and draws those of its seconds.
fn has_relay_times(result: &RunResult) -> bool {
    let is_known = |phase: &StoredPhase| phase.delivery.as_ref().is_some_and(|own| own.queued_max.is_some());
    result.delivery.is_none() || result.phases.iter().any(is_known)
}

fn chart_event(event: &StoredEvent) -> Option<ChartEvent> {
    Some(ChartEvent { name: format::harmless(&event.name), from: event.started_s?, to: event.ended_s })
}

/// Returns the sections with their charts; the assertions come before the generator.
fn sections(sections: Vec<Section>, assertions: ReportTable, charts: Charts) -> Vec<PageSection> {
    let mut sections = sections;
    if !assertions.rows.is_empty() {
        let blocks = vec![SectionPart::ReportTable(assertions)];
        let asserted =
            Section { id: "assertions", title: "Assertions".to_owned(), blocks, ..Section::default() };
        let at = sections.iter().position(|own| own.id == "generator").unwrap_or(sections.len());
        sections.insert(at, asserted);
    }
    let placed = |mut section: Section| {
        let more_conditions = cap_conditions(&mut section);
        PageSection {
            before: charts.before(section.id),
            after: charts.after(section.id),
            lacks_timeline: section.id == "load" && !charts.has_timeline,
            section,
            more_conditions,
        }
    };
    sections.into_iter().map(placed).collect()
}

/// Keeps the first [`CONDITIONS`] conditions of a section, and returns the number of the others.
fn cap_conditions(section: &mut Section) -> usize {
    let mut found = 0;
    section.blocks.retain_mut(|block| {
        let SectionPart::Condition(condition) = block else { return true };
        found += 1;
        cap_sample(condition);
        found <= CONDITIONS
    });
    found.saturating_sub(CONDITIONS)
}

fn cap_sample(condition: &mut ConditionView) {
    let more = condition.sample.len().saturating_sub(SAMPLE_LINES);
    condition.sample.truncate(SAMPLE_LINES);
    condition.sample.iter_mut().for_each(|line| *line = format::cut(line, SAMPLE_COLUMNS));
    if more > 0 {
        condition.sample.push(format!("({})", format::counted(more as u64, "more line")));
    }
}

/// Returns the claims of the summary: the assertions, the first failed limits with the number of the other limits, and
/// the goals of a capacity.
fn short(claims: &[Claim]) -> Vec<Claim> {
    let is_limit = |claim: &&Claim| claim.group == "limits";
    let failed = claims.iter().filter(is_limit).filter(|claim| claim.state == ClaimState::Failed);
    let failed: Vec<Claim> = failed.take(LIMITS).cloned().collect();
    let others = claims.iter().filter(is_limit).count() - failed.len();
    let rest = claims.iter().find(is_limit).filter(|_| others > 0).map(|one| Claim {
        word: Cell::default(),
        what: format::counted(others as u64, if failed.is_empty() { "limit" } else { "other limit" }),
        observed: "see below".to_owned(),
        ..one.clone()
    });
    let of = |group: &'static str| claims.iter().filter(move |claim| claim.group == group).cloned();
    of("assertions").chain(failed.clone()).chain(rest).chain(of("capacity")).collect()
}

/// Returns the identity of the run and its settings.
fn identity(result: &RunResult) -> ReportTable {
    let mut table = ReportTable::new(["", ""].map(Column::words));
    let mut row = |what: &str, text: &str, path: &str| {
        table.row([Cell::words(what), Cell::stored_code(text, path)]);
    };
    row("run", &result.run_id, "/run_id");
    if let Some(path) = &result.profile.path {
        row("profile", path, "/profile/path");
    }
    row("profile, SHA-256", &result.profile.sha256, "/profile/sha256");
    if !result.profile.schedule_sha256.is_empty() {
        row("schedule, SHA-256", &result.profile.schedule_sha256, "/profile/schedule_sha256");
    }
    table.row([Cell::words("seed"), Cell::code(result.profile.seed.to_string())]);
    if let Some(shard) = result.shard {
        table.row([Cell::words("shard"), Cell::code(format!("{} of {}", shard.index, shard.of))]);
    }
    table
}

/// Returns the data of the machine and the command.
fn machine(environment: Option<&str>) -> ReportTable {
    let mut table = ReportTable::new(["", ""].map(Column::words));
    if let Some(environment) = environment.and_then(|text| serde_json::from_str(text).ok()) {
        view::flatten(&environment, "", "", &mut table);
        // A path refers to `result.json`, which does not hold these figures.
        table.rows.iter_mut().flat_map(|row| &mut row.cells).for_each(|cell| cell.path.clear());
    }
    table
}

/// Writes data for a block of the page that is not a script, so that nothing in the data can end the block.
fn block(data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("plain values and text keys have a JSON form");
    format::harmless_json(json).replace('<', "\\u003c")
}

fn hash(script: &str) -> String {
    format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script)))
}

fn size(text: &str) -> String {
    format::bytes(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;
    use crate::report::stored::delivery::{StoredClock, StoredDelivery, StoredPhaseDelivery};

    #[test]
    fn deliveries_at_unknown_times_are_not_drawn_as_none() {
        let mut result = fixtures::accepted();
        result.took_s = 3.0;
        let seconds = (0..3).map(|t| Ok::<_, ()>(timeline::tests::second(t, 5)));
        let (timeline, series) = Timeline::of(&result, seconds).unwrap();
        let page = |result: &RunResult| {
            let timeline = Some((&timeline, series.as_str()));
            write(PageInput {
                result,
                profile: None,
                environment: None,
                timeline,
                live: None,
                conditions: None,
            })
        };
        let relayed = |clock: StoredClock, queued_max: Option<u64>| {
            let counts = StoredPhaseDelivery {
                accepted_recipients: 9,
                delivered: 9,
                queued_max,
                ..Default::default()
            };
            let mut result = result.clone();
            result.phases[0].delivery = Some(counts);
            result.delivery = Some(StoredDelivery { clock: Some(clock), ..StoredDelivery::default() });
            page(&result)
        };
        let unknown = relayed(StoredClock::Unknown, None);
        let known = relayed(StoredClock::Same, Some(0));
        for kind in ["queue", "deliveries", "transit"] {
            let chart = format!("data-chart=\"{kind}\"");
            assert!(!unknown.contains(&chart) && known.contains(&chart), "{kind}");
        }
        assert!(unknown.contains("data-chart=\"rates\"") && unknown.contains("id=\"delivery\""));
    }
}
