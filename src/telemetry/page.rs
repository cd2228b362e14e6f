//! The page of a run in progress: the report's page, in which nothing is judged and what is not known yet is not shown.

use crate::report::format;
use crate::report::html::view::{Cell, Claim, Head, Table, failed};
use crate::report::html::{Input, LivePart, Page};
use crate::report::stored::{RunResult, StoredPhase};

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// How long the load is to take, if that is known, in seconds.
    pub planned_s: Option<f64>,
    /// The user has asked it to stop.
    pub stopping: bool,
    /// Arrivals that are scheduled and wait.
    pub waiting: u64,
    /// Arrivals that have started and not ended.
    pub in_flight: u64,
}

/// What the page has beside the report's.
pub fn live_part(whole: bool) -> LivePart {
    LivePart { script: include_str!("page/live.js"), style: include_str!("page/live.css"), whole }
}

/// The page.
pub fn write(input: Input<'_>, progress: Progress) -> String {
    let result = input.result;
    let mut page = Page::new(input);
    page.head = head(result, page.head, progress);
    page.title = format!("{}: {}", page.head.profile.text, page.head.word.text.to_lowercase());
    open(&mut page.claims, &mut page.assertions);
    outcomes(result, &mut page.outcomes, progress);
    generator(&mut page.generator);
    page.write()
}

/// The head of the page: that the run goes on, and how far it is.
fn head(result: &RunResult, own: Head, progress: Progress) -> Head {
    let Progress { planned_s, stopping, .. } = progress;
    let took = format::seconds(result.took_s);
    let (word, sentence) = match planned_s {
        _ if stopping => ("STOPPING", "nothing more is begun; what is under way may end".to_owned()),
        Some(planned) if result.took_s > planned => {
            ("RUNNING", "all arrivals were due; what is under way may end".to_owned())
        }
        Some(planned) => ("RUNNING", format!("{took} of {} are over", format::seconds(planned))),
        None => ("RUNNING", format!("{took} are over")),
    };
    let lag = result.generator.lag_p99_ns.map(|lag| {
        let lag = format::duration(lag as f64);
        format!("99 of 100 arrivals began within {lag} of when they were due.")
    });
    let begun = lag.unwrap_or_else(|| "Nothing that is measured has begun.".to_owned());
    let warn =
        |(reason, words): &(String, String)| format!("Ended now it would be invalid, {reason}: {words}");
    Head {
        word: Cell { text: word.to_owned(), class: "open", ..Cell::default() },
        tone: "open",
        sentence,
        validity: format!("Nothing is judged before the end. {begun}"),
        warnings: own.reasons.iter().map(warn).chain(own.warnings).collect(),
        reasons: Vec::new(),
        ..own
    }
}

/// No assertion is judged: what was observed so far is all that can be said.
fn open(claims: &mut [Claim], assertions: &mut Table) {
    let words = claims.iter_mut().map(|claim| &mut claim.word);
    let cells = assertions.rows.iter_mut().filter_map(|row| row.first_mut());
    for word in words.chain(cells) {
        let (text, class) = match word.text.as_str() {
            "holds" => ("so far", "quiet"),
            "FAILS" => ("not so far", "warn"),
            _ => ("open", "quiet"),
        };
        *word = Cell { text: text.to_owned(), class, ..Cell::default() };
    }
}

/// Counts need not reconcile before the end: the last column says what has not ended.
fn outcomes(result: &RunResult, table: &mut Table, progress: Progress) {
    table.titles.pop();
    table.titles.push("not ended".to_owned());
    let measured = result.phases.iter().filter(|phase| !phase.warmup);
    for (row, phase) in table.rows.iter_mut().zip(measured) {
        row.pop();
        row.push(Cell::number(format::count(not_ended(phase))));
    }
    if let Some(first) = table.rows.first_mut().and_then(|row| row.last_mut())
        && result.phases.len() == 1
    {
        let (in_flight, waiting) = (format::count(progress.in_flight), format::count(progress.waiting));
        first.text = format!("{in_flight} in flight, {waiting} waiting");
    }
}

fn not_ended(phase: &StoredPhase) -> u64 {
    let ended = phase.accepted + phase.expected + failed(phase) + phase.shed;
    phase.scheduled.saturating_sub(ended)
}

/// What is known of our own side before the end.
fn generator(table: &mut Table) {
    let known = ["lag p99", "threads", "own failures"];
    table.rows.retain(|row| row.first().is_some_and(|what| known.contains(&what.text.as_str())));
}
