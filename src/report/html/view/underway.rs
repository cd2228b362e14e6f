//! What the page says otherwise as long as the run goes on: nothing is judged, and what is not known is not shown.

use super::{Cell, Claim, Head, Table};
use crate::report::format;
use crate::report::stored::{RunResult, StoredPhase};

/// The head of the page: that the run goes on, and how far it is.
pub fn head(result: &RunResult, planned_s: Option<f64>, stopping: bool) -> Head {
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
    let own = super::head(result);
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
pub fn open(claims: &mut [Claim], assertions: &mut Table) {
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

/// Books do not close before the end: instead of that, what has not ended.
pub fn outcomes(result: &RunResult, table: &mut Table, waiting: u64, under_way: u64) {
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
        let (under_way, waiting) = (format::count(under_way), format::count(waiting));
        first.text = format!("{under_way} under way, {waiting} waiting");
    }
}

fn not_ended(phase: &StoredPhase) -> u64 {
    let ended = phase.accepted + phase.expected + super::trouble::failed(phase) + phase.shed;
    phase.scheduled.saturating_sub(ended)
}

/// What is known of our own side before the end.
pub fn generator(table: &mut Table) {
    let known = ["lag p99", "threads", "own failures"];
    table.rows.retain(|row| row.first().is_some_and(|what| known.contains(&what.text.as_str())));
}
