//! `report.html`: one run as one page that needs nothing else, for a person who has never seen the tool.
//!
//! The words and tables are there without scripts; the charts are drawn from data that the page carries, and the same data
//! can be saved from it.
//!
//! # Decisions
//! - Everything a stranger may have said is made harmless and then escaped by the template; data stands in a block that is
//!   no script, with `<` written as an escape. Beside that the page forbids itself every request and every script but its
//!   own two, by their hashes.
//! - Charts are uPlot's (1.6.32, MIT), which the page carries whole, with its licence.
//! - Figures carry the place in `result.json` where they stand, so that a test can hold the one against the other.

mod compared;
mod spectrum;
pub mod timeline;
pub mod view;

use askama::Template;
use base64::Engine;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::format;
use super::stored::RunResult;
use super::stored::json;
use view::{Bar, Cell, Claim, ConditionView, Curve, Head, Line, Table};

pub use compared::comparison;
pub use timeline::Timeline;

const UPLOT: &str = include_str!("html/uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("html/uplot/uPlot.min.css");
const UPLOT_LICENCE: &str = include_str!("html/uplot/LICENSE");
const SCRIPT: &str = include_str!("html/page.js");
const STYLE: &str = include_str!("html/style.css");

/// What the page of a run in progress has beside the report's: it is served, and follows the run.
#[derive(Clone, Copy, Debug)]
pub struct LivePart {
    /// Keeps the page up to date.
    pub script: &'static str,
    /// How its controls look.
    pub style: &'static str,
    /// The page, and not only what changes of it.
    pub whole: bool,
}

/// What a page is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The run.
    pub result: &'a RunResult,
    /// The resolved profile, as TOML, if it is there.
    pub profile: Option<&'a str>,
    /// `environment.json`, if it is there.
    pub environment: Option<&'a str>,
    /// The run over time and the time series that belongs to it, if the files are there.
    pub timeline: Option<(&'a Timeline, &'a str)>,
    /// For the page of a run in progress.
    pub live: Option<LivePart>,
    /// `conditions.csv`, if it is there and not too long for a page.
    pub conditions: Option<&'a str>,
}

/// The page.
pub fn write(input: Input<'_>) -> String {
    Page::new(input).write()
}

impl Page<'_> {
    /// The page of this run, ready to be written.
    pub fn new(input: Input<'_>) -> Page<'_> {
        let result = input.result;
        let (conditions, more_conditions) = view::conditions(result);
        let environment: Option<serde_json::Value> =
            input.environment.and_then(|text| serde_json::from_str(text).ok());
        let mut machine = Table::new(["", ""]);
        if let Some(environment) = &environment {
            view::flat(environment, "", "", &mut machine);
            // These figures stand in another file.
            machine.rows.iter_mut().flatten().for_each(|cell| cell.path.clear());
        }
        let data = Data {
            took_s: result.took_s,
            phases: result
                .phases
                .iter()
                .map(|p| Span {
                    name: format::harmless(&p.name),
                    from: p.start_s,
                    length: p.window_s,
                    warmup: p.warmup,
                })
                .collect(),
            timeline: input.timeline.map(|(timeline, _)| timeline),
            spectra: spectrum::spectra(result),
            curve: view::curve(result),
        };
        let over = input.live.is_none();
        let policy = format!("script-src {} {}", hash(UPLOT), hash(SCRIPT));
        // What is not yet known is no result.
        let mut files: Vec<_> = over.then(|| ("result.json", json::write(result))).into_iter().collect();
        files.extend(input.timeline.map(|(_, series)| ("timeseries.csv", series.to_owned())));
        files.extend(input.conditions.map(|text| ("conditions.csv", text.to_owned())));
        files.extend(input.profile.map(|text| ("profile.toml", text.to_owned())));
        files.extend(input.environment.map(|text| ("environment.json", text.to_owned())));
        Page {
            policy: match input.live {
                None => policy,
                Some(live) => format!("{policy} {}; connect-src 'self'", hash(live.script)),
            },
            over,
            whole: input.live.is_none_or(|live| live.whole),
            live: input.live,
            uplot: UPLOT,
            uplot_style: UPLOT_STYLE,
            uplot_licence: UPLOT_LICENCE,
            script: SCRIPT,
            style: STYLE,
            title: format!("{}: {}", format::harmless(&result.profile.name), result.verdict.status),
            head: view::head(result),
            asked: view::asked(result),
            happened: view::happened(result),
            claims: view::claims(result),
            assertions: view::assertions(result),
            load: view::load(result),
            addresses: view::addresses(result),
            times: view::times(result),
            spent: view::spent(result),
            outcomes: view::outcomes(result),
            conditions,
            more_conditions,
            limits: view::limits(result),
            capacity: view::capacity(result),
            trials: view::trials(result),
            onsets: view::onsets(result),
            remarks: view::remarks(result),
            has_curve: data.curve.is_some(),
            generator: view::generator(result),
            ledger: view::ledger(result),
            identity: identity(result),
            machine,
            profile: input
                .profile
                .map(|text| text.lines().map(format::harmless).collect::<Vec<_>>().join("\n")),
            has_timeline: input.timeline.is_some(),
            has_conditions: input.timeline.is_some_and(|(timeline, _)| timeline.has_conditions()),
            has_spectra: !data.spectra.is_empty(),
            has_refusals: result.phases.iter().any(|p| p.expected + p.deferred + p.rejected + p.refused > 0),
            data: block(&data),
            files: files.into_iter().map(|(name, text)| (name, size(&text), block(&text))).collect(),
            version: format::harmless(&result.tool.version),
        }
    }

    /// The page as HTML.
    pub fn write(&self) -> String {
        self.render().expect("a template of plain values writes into memory")
    }
}

/// What the template is filled from.
#[derive(Template)]
#[template(path = "html/page.html")]
pub struct Page<'a> {
    policy: String,
    over: bool,
    whole: bool,
    live: Option<LivePart>,
    uplot: &'a str,
    uplot_style: &'a str,
    uplot_licence: &'a str,
    script: &'a str,
    style: &'a str,
    pub(crate) title: String,
    pub(crate) head: Head,
    asked: Vec<Line>,
    happened: Vec<Line>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) assertions: Table,
    load: Table,
    /// Which address of the target got what, where there are several.
    addresses: Vec<String>,
    times: Table,
    spent: Vec<Bar>,
    pub(crate) outcomes: Table,
    conditions: Vec<ConditionView>,
    more_conditions: usize,
    limits: Table,
    capacity: Table,
    trials: Table,
    onsets: Table,
    remarks: Vec<String>,
    has_curve: bool,
    pub(crate) generator: Table,
    ledger: Option<Table>,
    identity: Table,
    machine: Table,
    profile: Option<String>,
    has_timeline: bool,
    /// When conditions were met is known.
    has_conditions: bool,
    has_spectra: bool,
    has_refusals: bool,
    data: String,
    /// Name, size in words, text.
    files: Vec<(&'static str, String, String)>,
    version: String,
}

/// What the charts are drawn from, beside the time series.
#[derive(Serialize)]
struct Data<'a> {
    took_s: f64,
    phases: Vec<Span>,
    timeline: Option<&'a Timeline>,
    spectra: Vec<spectrum::Spectrum>,
    curve: Option<Curve>,
}

/// When a phase was.
#[derive(Serialize)]
struct Span {
    name: String,
    from: f64,
    length: f64,
    warmup: bool,
}

/// What identifies the run and what was asked of it.
fn identity(result: &RunResult) -> Table {
    let mut table = Table::new(["", ""]);
    let mut row = |what: &str, cell: Cell| table.rows.push(vec![Cell::text(what), cell.class("code")]);
    row("run", Cell::stored(&result.run_id, "/run_id"));
    if let Some(path) = &result.profile.path {
        row("profile", Cell::stored(path, "/profile/path"));
    }
    row("profile, SHA-256", Cell::stored(&result.profile.sha256, "/profile/sha256"));
    if !result.profile.schedule_sha256.is_empty() {
        row("schedule, SHA-256", Cell::stored(&result.profile.schedule_sha256, "/profile/schedule_sha256"));
    }
    row("seed", Cell::text(result.profile.seed.to_string()));
    if let Some(shard) = result.shard {
        row("shard", Cell::text(format!("{} of {}", shard.index, shard.of)));
    }
    table
}

/// Data for a block of the page that is no script: nothing in it can end the block.
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
