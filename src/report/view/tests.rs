//! Tests that all four formats use the same word, severity and number format for one fact.

use super::*;
use crate::report::fixtures;
use crate::report::html::{self, PageInput};
use crate::report::stored::retry::StoredRetry;
use crate::report::stored::{
    CapacityStatus, Generator, StoredAssertionStatus, StoredLimitVerdict, StoredStatus, StoredTrialFault,
};
use crate::report::{junit, markdown, terminal};

/// A run in the four formats.
struct Formats {
    /// The text for a terminal, with colours.
    terminal: String,
    markdown: String,
    /// The HTML page, without the data that it carries.
    page: String,
    junit: String,
}

impl Formats {
    fn of(result: &RunResult) -> Formats {
        let mut terminal = Vec::new();
        let style = terminal::TextStyle { width: 80, colour: true, files: None };
        terminal::write(result, style, &mut terminal).unwrap();
        let input = PageInput {
            result,
            profile: None,
            environment: None,
            timeline: None,
            live: None,
            conditions: None,
        };
        let page = html::write(input).replace("&#60;", "<").replace("&#62;", ">");
        let (words, _data) = page.split_once("<script type=\"application/json\"").unwrap();
        let words = words.split_once("</head>").unwrap().1;
        Formats {
            terminal: String::from_utf8(terminal).unwrap(),
            markdown: markdown::write(result),
            page: words.to_owned(),
            junit: junit(result).replace("&#60;", "<").replace("&#62;", ">"),
        }
    }

    fn all(&self) -> [(&str, &str); 4] {
        [
            ("terminal", &self.terminal),
            ("markdown", &self.markdown),
            ("page", &self.page),
            ("junit", &self.junit),
        ]
    }

    /// Checks that each format holds its text of `parts`, in the order of [`Formats::all`].
    #[track_caller]
    fn hold(&self, parts: [&str; 4]) {
        for ((name, text), part) in self.all().into_iter().zip(parts) {
            assert!(text.contains(part), "{name} lacks {part:?}:\n{text}");
        }
    }

    /// Checks that no format holds a text of `parts`.
    #[track_caller]
    fn lack(&self, parts: &[&str]) {
        for (name, text) in self.all() {
            for part in parts {
                assert!(!text.contains(part), "{name} has {part:?}:\n{text}");
            }
        }
    }
}

#[test]
fn a_limit_that_was_not_reached_is_a_failure_everywhere_if_it_was_configured() {
    let mut result = fixtures::searched();
    result.limits.truncate(1);
    let limit = &mut result.limits[0];
    limit.verdict = StoredLimitVerdict::NotReached;
    Formats::of(&result).hold([
        "\u{1b}[1;31mnot-reached\u{1b}[0m",
        "| **not-reached** |",
        "class=\"bad\" data-path=\"/limits/0/verdict\" data-as=\"text\">not-reached<",
        "<failure type=\"not-reached\"",
    ]);
    result.limits[0].expected = None;
    Formats::of(&result).hold([
        "\u{1b}[33mnot-reached\u{1b}[0m",
        "| not-reached |",
        "class=\"warn\" data-path=\"/limits/0/verdict\" data-as=\"text\">not-reached<",
        "<skipped message=\"not-reached: 50 sessions served\"/>",
    ]);
}

#[test]
fn no_data_is_one_word_of_one_severity() {
    let nothing = Formats::of(&fixtures::no_data());
    nothing.hold([
        "\u{1b}[1;31mNO-DATA\u{1b}[0m",
        "| **NO-DATA** |",
        "<header class=\"bad\">",
        "<failure type=\"no-data\" message=\"NO-DATA: ",
    ]);
    let mut search = fixtures::searched();
    search.limits.clear();
    search.assertions.clear();
    search.verdict.status = StoredStatus::NoData;
    search.capacity.as_mut().unwrap().goals[0].status = CapacityStatus::Inconclusive;
    let search = Formats::of(&search);
    search.hold([
        "\u{1b}[1;31mNO-DATA\u{1b}[0m",
        "### smtpress: NO-DATA, inconclusive: the search did not settle",
        ">NO-DATA</span>",
        "<error type=\"inconclusive\"",
    ]);
    for formats in [nothing, search] {
        formats.lack(&["NO DATA", "INCONCLUSIVE", "UNKNOWN"]);
    }
}

#[test]
fn an_assertion_has_one_word() {
    let mut result = fixtures::accepted();
    result.assertions[0].status = StoredAssertionStatus::Fail;
    let formats = Formats::of(&result);
    formats.hold([
        "\u{1b}[1;31mFAIL\u{1b}[0m",
        "| **FAIL** |",
        "class=\"bad\">FAIL<",
        "<failure type=\"assertion\" message=\"FAIL: ",
    ]);
    formats.lack(&["FAILS", "holds<", "holds |"]);
}

#[test]
fn arrivals_are_scheduled_and_started() {
    for result in fixtures::all() {
        let formats = Formats::of(&result);
        formats.lack(&["due<", ">due", " due "]);
    }
    let formats = Formats::of(&fixtures::several_phases());
    for text in [&formats.terminal, &formats.markdown, &formats.page] {
        assert!(text.contains("scheduled") && text.contains("started"), "{text}");
    }
}

#[test]
fn a_percentile_is_written_in_one_form() {
    let formats = Formats::of(&fixtures::limit_enforced());
    assert!(formats.terminal.contains(">= 61.2 ms"), "{}", formats.terminal);
    assert!(formats.markdown.contains("\\>= 61.2 ms"), "{}", formats.markdown);
    assert!(formats.page.contains(">>= 61.2 ms<"), "{}", formats.page);
    formats.lack(&[">=61.2"]);
}

#[test]
fn what_an_assertion_observed_is_written_as_in_the_table() {
    let mut result = fixtures::accepted();
    result.assertions[0].observed = "9.658 ms".to_owned();
    let formats = Formats::of(&result);
    formats.hold(["9.66 ms"; 4]);
    formats.lack(&["9.658"]);
    // A bound of 0 is not near a number that ends with it.
    result.assertions[0].expr = "accepted > 0".to_owned();
    result.assertions[0].observed = "24000".to_owned();
    Formats::of(&result).lack(&["24000"]);
    result.assertions[0].observed = "9.658 ms".to_owned();
    // If the rounded number would look equal to the bound, the stored number is kept.
    result.assertions[0].expr = "response p99 < 9.66ms".to_owned();
    Formats::of(&result).hold(["9.658 ms"; 4]);
}

#[test]
fn what_was_not_accepted_has_failed() {
    let formats = Formats::of(&fixtures::searched());
    formats.lack(&["not acc.", "BAD"]);
    for text in [&formats.terminal, &formats.markdown, &formats.page] {
        assert!(text.contains("failed") && text.contains("MISSED"), "{text}");
    }
}

#[test]
fn counts_that_do_not_reconcile_are_a_failure_everywhere_they_stand() {
    let mut result = fixtures::accepted();
    result.phases[0].started += 1;
    let formats = Formats::of(&result);
    for text in [&formats.terminal, &formats.markdown, &formats.page] {
        assert!(text.contains("DO NOT RECONCILE"), "{text}");
    }
}

#[test]
fn every_row_has_a_cell_for_each_column() {
    fn check(table: &ReportTable) {
        for row in &table.rows {
            assert_eq!(row.cells.len(), table.columns.len(), "{table:?}");
        }
    }
    for result in fixtures::all() {
        let view = View::of(&result);
        check(&view.assertions);
        for block in view.sections.iter().flat_map(|section| &section.blocks) {
            match block {
                SectionPart::ReportTable(table) | SectionPart::Folded(_, table) => check(table),
                SectionPart::Facts(_)
                | SectionPart::Note(_)
                | SectionPart::Condition(_)
                | SectionPart::Steps(_) => {}
            }
        }
    }
}

#[test]
fn a_limit_that_could_not_be_measured_says_why_everywhere() {
    let mut result = fixtures::searched();
    result.limits.truncate(1);
    let limit = &mut result.limits[0];
    (limit.verdict, limit.expected) = (StoredLimitVerdict::Obstructed, None);
    limit.remarks = vec!["the machine ran out of ports".to_owned()];
    Formats::of(&result).hold(["ran out of ports"; 4]);
    let junit = junit(&result);
    assert!(
        junit.contains("<skipped message=\"obstructed: 50 sessions served: the machine ran out of ports\"/>"),
        "{junit}"
    );
}

#[test]
fn each_trial_that_is_not_counted_is_named() {
    let mut result = fixtures::searched();
    let capacity = result.capacity.as_mut().unwrap();
    let lag = StoredTrialFault { code: "generator-lag".to_owned(), sentence: "it was late".to_owned() };
    for trial in capacity.trials.iter_mut().take(3) {
        trial.invalid = vec![lag.clone()];
    }
    let named: Vec<String> = capacity.trials.iter().map(|trial| trial.number.to_string()).collect();
    assert!(named.len() > 2, "three trials");
    let note = format!(
        "trial {} (and trials {}, {}) is not counted, generator-lag: it was late",
        named[0], named[1], named[2]
    );
    let markdown = markdown::write(&result);
    assert!(markdown.contains(&note), "{markdown}");
}

#[test]
fn cpu_that_was_not_measured_has_no_number() {
    let mut result = fixtures::searched();
    result.generator = Generator { threads: 1, ..Generator::default() };
    Formats::of(&result).lack(&["0 % of 1 thread", "0 % of its CPU"]);
    result.generator = Generator { cpu_user_s: 0.4, cpu_share: 0.31, ..result.generator };
    let markdown = markdown::write(&result);
    assert!(markdown.contains("31 % of 1 thread"), "{markdown}");
}

#[test]
fn more_pending_than_failed_in_a_changed_result_is_shown_as_it_stands() {
    let mut result = fixtures::accepted();
    result.phases[0].retry = Some(StoredRetry { pending: 7, ..StoredRetry::default() });
    let happened = View::of(&result).happened;
    let parts: Vec<&str> = happened[0].parts.iter().map(|part| part.text.as_str()).collect();
    assert!(parts.contains(&"7 pending") && !parts.iter().any(|part| part.ends_with("failed")), "{parts:?}");
}
