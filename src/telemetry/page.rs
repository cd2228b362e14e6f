//! The page of a run in progress: the page of the report, without judgements and without values that are not known yet.

use crate::report::format;
use crate::report::html::{self, LivePart, PageInput};
use crate::report::stored::{RunResult, StoredPhase};
use crate::report::view::outcomes::{COUNTS, failed};
use crate::report::view::{Cell, Column, Head, ReportTable, Section, SectionPart, Tone, View};

/// The progress of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunProgress {
    /// The planned duration of the load, in seconds; `None` if it is not known.
    pub planned_s: Option<f64>,
    /// Whether the user has asked the run to stop.
    pub stopping: bool,
    /// Arrivals that were scheduled and wait for their start.
    pub waiting: u64,
    /// Arrivals that have started and not ended.
    pub in_flight: u64,
    /// The deliveries so far; `None` without a receiver behind the relay.
    pub relay: Option<RelayProgress>,
}

/// The deliveries of the relay so far, in recipients.
#[derive(Clone, Copy, Debug)]
pub struct RelayProgress {
    /// The number of accepted recipients.
    pub accepted: u64,
    /// How many of them were delivered.
    pub delivered: u64,
    /// How many of them were neither delivered nor bounced.
    pub queued: u64,
}

/// Returns the parts that the live page has in addition to the report. `whole` asks for the whole page, not only for
/// the parts that change.
pub fn live_part(whole: bool) -> LivePart {
    LivePart { script: include_str!("page/live.js"), style: include_str!("page/live.css"), whole }
}

/// Renders the page as HTML.
pub fn write(input: PageInput<'_>, progress: RunProgress) -> String {
    let result = input.result;
    let mut view = View::of(result);
    view.head = head(result, view.head, progress);
    let words = view.claims.iter_mut().map(|claim| &mut claim.word);
    let cells = view.assertions.rows.iter_mut().filter_map(|row| row.cells.first_mut());
    words.chain(cells).for_each(open);
    if let Some(section) = view.section_mut("outcomes") {
        outcomes(result, section, progress);
    }
    if let Some(relay) = progress.relay {
        let at = view.sections.iter().position(|section| section.id == "outcomes").map_or(0, |at| at + 1);
        view.sections.insert(at, delivery(relay));
    }
    if let Some(section) = view.section_mut("generator") {
        section.blocks.iter_mut().for_each(generator);
    }
    html::write_view(view, input)
}

/// Returns the head of the page: that the run is in progress, and how much of its time has passed.
fn head(result: &RunResult, own: Head, progress: RunProgress) -> Head {
    let RunProgress { planned_s, stopping, .. } = progress;
    let took = format::seconds(result.took_s);
    let is_sent = planned_s.is_some_and(|planned| result.took_s > planned);
    let queued = progress.relay.filter(|_| is_sent).map_or(0, |relay| relay.queued);
    let (word, sentence) = match planned_s {
        _ if stopping => ("STOPPING", "no more arrivals start; those in flight may end".to_owned()),
        _ if progress.waiting == 0 && progress.in_flight == 0 && queued > 0 => {
            ("RUNNING", format!("{} may still come out of the relay", format::counted(queued, "recipient")))
        }
        Some(planned) if result.took_s > planned => {
            ("RUNNING", "all arrivals were scheduled; those in flight may end".to_owned())
        }
        Some(planned) => ("RUNNING", format!("{took} of {} have passed", format::seconds(planned))),
        None => ("RUNNING", format!("{took} have passed")),
    };
    let started = match result.generator.lag_p99_ns {
        Some(lag) => {
            let lag = format::duration(lag as f64);
            format!("99 of 100 arrivals started within {lag} of their scheduled time.")
        }
        None => "No measured arrival has started.".to_owned(),
    };
    let warn = |(reason, words): &(String, String)| {
        format!("If it ended now, the run would be invalid, {reason}: {words}")
    };
    Head {
        word: Cell::words(word),
        sentence,
        validity: Cell::words(format!("Nothing is judged before the end. {started}")),
        warnings: own.reasons.iter().map(warn).chain(own.warnings).collect(),
        reasons: Vec::new(),
        ..own
    }
}

/// Replaces a verdict by a word that claims only what was observed so far, because nothing is judged before the end.
fn open(word: &mut Cell) {
    *word = match word.tone {
        Tone::Good => Cell::words("so far").tone(Tone::Quiet),
        Tone::Bad if word.text == "FAIL" => Cell::words("not so far").tone(Tone::Warning),
        _ => Cell::words("open").tone(Tone::Quiet),
    };
}

/// Replaces the column that shows whether the counts reconcile by the arrivals that have not ended. Before the end of the
/// run the counts need not reconcile.
fn outcomes(result: &RunResult, section: &mut Section, progress: RunProgress) {
    section.lead = "So far: what waits or is in flight has not ended.";
    section.blocks.retain(|block| !matches!(block, SectionPart::Note(_)));
    let measured: Vec<&StoredPhase> = result.phases.iter().filter(|phase| !phase.warmup).collect();
    for block in &mut section.blocks {
        let SectionPart::ReportTable(ReportTable { columns, rows, .. }) = block else { continue };
        let Some(column) = columns.last_mut().filter(|column| column.title == COUNTS) else { continue };
        column.title = "not ended".to_owned();
        for (row, phase) in rows.iter_mut().zip(&measured) {
            let text = match result.phases.len() {
                1 => format!(
                    "{} in flight, {} waiting",
                    format::count(progress.in_flight),
                    format::count(progress.waiting)
                ),
                _ => format::count(not_ended(phase)),
            };
            if let Some(cell) = row.cells.last_mut() {
                *cell = Cell::number(text);
            }
        }
    }
}

/// Returns the section on the relay. Before the end of the run a lost message cannot be distinguished from a late one.
fn delivery(relay: RelayProgress) -> Section {
    let mut table = ReportTable::new(["accepted", "delivered", "in the relay"].map(Column::number));
    table.row([relay.accepted, relay.delivered, relay.queued].map(|n| Cell::number(format::count(n))));
    Section {
        id: "delivery",
        title: "Delivery".to_owned(),
        lead: "Recipients, so far.",
        blocks: vec![SectionPart::ReportTable(table)],
        ..Section::default()
    }
}

fn not_ended(phase: &StoredPhase) -> u64 {
    let ended = phase.accepted + phase.expected + failed(phase) + phase.shed;
    phase.scheduled.saturating_sub(ended)
}

/// Keeps the rows about the generator whose values are known before the end.
fn generator(block: &mut SectionPart) {
    if let SectionPart::Facts(table) = block {
        let known = ["lag p99", "local failures"];
        table.rows.retain(|row| row.cells.first().is_some_and(|what| known.contains(&what.text.as_str())));
    }
}
