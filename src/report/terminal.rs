//! Writes a run as text for a terminal: the verdict first, then the numbers, without empty parts.
//!
//! The module only lays out a [`View`], in at most 80 columns.

mod grid;
pub(super) mod lines;

use std::io::{self, Write};

use super::format;
use super::stored::RunResult;
use super::view::{Cell, ConditionView, Head, Medium, ReportTable, Section, SectionPart, Tone, View};
use grid::Grid;
use lines::{INDENT, StyledText, TextPage};

/// The largest number of conditions that are shown; the rest is in the files.
const CONDITIONS: usize = 10;
/// The largest number of lines of a sample reply that are shown, and of columns of each.
const SAMPLE_LINES: usize = 3;
const SAMPLE_COLUMNS: usize = 200;

/// The options of the text.
#[derive(Clone, Copy, Debug)]
pub struct TextStyle<'a> {
    /// The columns of the terminal; at most 80 are used.
    pub width: usize,
    /// Whether to use colours. The text is complete without them.
    pub colour: bool,
    /// The run directory that the text names, if there is one.
    pub files: Option<&'a str>,
}

/// Writes the run as text.
///
/// # Errors
/// Those of `out`.
pub fn write(result: &RunResult, style: TextStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    let view = View::of(result);
    let page = &mut TextPage::new(out, style.width, style.colour);
    head(&view.head, page)?;
    if !view.assertions.rows.is_empty() {
        page.gap()?;
        table(&view.assertions, page)?;
    }
    let is_facts = |section: &&Section| matches!(section.blocks.as_slice(), [SectionPart::Facts(_)]);
    for section in view.sections.iter().filter(|section| !is_facts(section)) {
        self::section(section, page)?;
    }
    page.gap()?;
    for section in view.sections.iter().filter(is_facts) {
        for block in &section.blocks {
            self::block(block, section, page)?;
        }
    }
    match style.files {
        Some(files) => page.uncut("Files", files),
        None => Ok(()),
    }
}

/// Writes the verdict in words, its reasons, and the description of the run.
fn head(head: &Head, page: &mut TextPage<'_>) -> io::Result<()> {
    let sentence = StyledText::new(head.sentence_with_code(), Tone::Strong);
    page.flow(0, 0, &[StyledText::of(&head.word), "  ".into(), sentence])?;
    for reason in head.reason_lines() {
        page.paragraph(INDENT, &reason, Tone::Bad)?;
    }
    if let Some(expr) = &head.aborted_by {
        page.paragraph(INDENT, &format!("stopped early, as the profile asks, by: {expr}"), Tone::Warning)?;
    }
    if let Some(foremost) = &head.foremost {
        page.flow(INDENT, 2 * INDENT, &headline(foremost))?;
    }
    let Head { profile, target, started_at, took, seed, .. } = head;
    let what =
        format!("{} -> {}, {}, {}, seed {seed}", profile.text, target.text, started_at.text, took.text);
    page.paragraph(0, &what, Tone::Quiet)?;
    for warning in &head.warnings {
        page.paragraph(INDENT, warning, Tone::Warning)?;
    }
    Ok(())
}

fn section(section: &Section, page: &mut TextPage<'_>) -> io::Result<()> {
    page.heading(&section.title, &section.remark)?;
    let is_condition = |block: &&SectionPart| matches!(block, SectionPart::Condition(_));
    let rest = section.blocks.iter().filter(is_condition).count().saturating_sub(CONDITIONS);
    for block in section.blocks.iter().take(section.blocks.len() - rest) {
        self::block(block, section, page)?;
    }
    match rest {
        0 => Ok(()),
        rest => {
            let rest = format::counted(rest as u64, "more condition");
            page.paragraph(INDENT, &format!("{rest}: see failures.jsonl"), Tone::Quiet)
        }
    }
}

fn block(block: &SectionPart, section: &Section, page: &mut TextPage<'_>) -> io::Result<()> {
    match block {
        SectionPart::ReportTable(table) => self::table(table, page),
        SectionPart::Facts(table) => page.labelled(&section.title, &facts(table)),
        SectionPart::Note(note) if note.place.is_on(Medium::Terminal) => {
            page.paragraph(INDENT, &note.text, note.tone)
        }
        SectionPart::Condition(condition) => self::condition(condition, page),
        // The terminal shows the steps in tables of percentiles, and leaves out what the page folds.
        SectionPart::Note(_) | SectionPart::Folded(..) | SectionPart::Steps(_) => Ok(()),
    }
}

/// Returns names and values as the spans of one paragraph.
fn facts(table: &ReportTable) -> Vec<StyledText> {
    let mut spans: Vec<StyledText> = Vec::new();
    for row in table.rows_on(Medium::Terminal) {
        let (name, value) = (&row.cells[0], &row.cells[1]);
        if let Some(last) = spans.last_mut() {
            *last = StyledText::join(last, ",");
        }
        let space = if spans.is_empty() { "" } else { " " };
        spans.extend([StyledText::from(format!("{space}{} ", name.text)), StyledText::of(value)]);
    }
    if spans.is_empty() { vec!["nothing was counted".into()] } else { spans }
}

/// Writes a table; sentences and values without room are written below it.
pub(super) fn table(table: &ReportTable, page: &mut TextPage<'_>) -> io::Result<()> {
    let rows: Vec<&[Cell]> = table.rows_on(Medium::Terminal).map(|row| row.cells.as_slice()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let columns = table.columns_on(Medium::Terminal);
    let is_used = |i: &usize| rows.iter().any(|row| !row[*i].text.is_empty());
    let (prose, columns): (Vec<usize>, Vec<usize>) =
        columns.into_iter().filter(is_used).partition(|&i| table.columns[i].is_prose);
    let mut grid = Grid::new(columns.iter().map(|&i| &table.columns[i]));
    if !table.is_list {
        grid.row(columns.iter().map(|&i| StyledText::new(&table.columns[i].title, Tone::Quiet)));
    }
    for (at, row) in rows.iter().enumerate() {
        let is_repeated = |place: usize| {
            let above = at.checked_sub(1).map(|above| rows[above]);
            let same = |&i: &usize| above.is_some_and(|above| above[i].text == row[i].text);
            table.columns[columns[place]].is_grouped && columns[..=place].iter().all(same)
        };
        let cell = |(place, &i): (usize, &usize)| match is_repeated(place) {
            true => StyledText::default(),
            false => StyledText::of(&row[i]),
        };
        grid.row(columns.iter().enumerate().map(cell).collect::<Vec<_>>());
    }
    if table.is_list && !grid.fits(page.width()) {
        return rows.iter().try_for_each(|row| as_paragraph(row, page));
    }
    grid.write(page)?;
    let hidden: Vec<usize> = columns
        .iter()
        .enumerate()
        .filter(|(at, _)| !grid.shows(*at, page.width()))
        .map(|(_, i)| *i)
        .collect();
    let mut is_first = true;
    for row in rows.iter().filter(|_| !prose.is_empty()) {
        let says_something =
            |&&i: &&usize| !row[i].text.is_empty() && row[i].text != Cell::not_available().text;
        let beside = hidden.iter().filter(says_something);
        let beside = beside.map(|&i| format!("{} {}", table.columns[i].title, row[i].text));
        let sentences = prose.iter().map(|&i| row[i].text.clone()).filter(|text| !text.is_empty());
        let text: Vec<String> = beside.chain(sentences).collect();
        if text.is_empty() {
            continue;
        }
        if std::mem::take(&mut is_first) {
            page.gap()?;
        }
        let tone = row.iter().map(|cell| cell.tone).find(|tone| *tone > Tone::Quiet).unwrap_or_default();
        let name = StyledText::new(format!("{}: ", row[0].text), tone);
        page.flow(INDENT, INDENT, &[name, text.join("; ").into()])?;
    }
    Ok(())
}

/// Writes a row as a paragraph, with the last cell after a colon.
fn as_paragraph(row: &[Cell], page: &mut TextPage<'_>) -> io::Result<()> {
    let mut spans: Vec<StyledText> = Vec::new();
    for (at, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.text.is_empty()) {
        match at {
            0 => {}
            1 => spans.push("  ".into()),
            _ if at + 1 == row.len() => spans.push(": ".into()),
            _ => spans.push(", ".into()),
        }
        spans.push(StyledText::of(cell));
    }
    page.flow(INDENT, 2 * INDENT, &spans)
}

/// Writes the count of a condition, its step and its codes.
fn headline(condition: &ConditionView) -> Vec<StyledText> {
    let ConditionView { count, name, at, .. } = condition;
    let count = StyledText::new(format!("{} x ", count.text), Tone::Strong);
    vec![count, StyledText::of(name), format!(" {at}").into()]
}

fn condition(condition: &ConditionView, page: &mut TextPage<'_>) -> io::Result<()> {
    page.flow(INDENT, 2 * INDENT, &headline(condition))?;
    for sentence in &condition.advice {
        page.paragraph(2 * INDENT, sentence, Tone::Plain)?;
    }
    page.paragraph(2 * INDENT, &condition.facts.join(", "), Tone::Quiet)?;
    for line in condition.sample.iter().take(SAMPLE_LINES) {
        let text = format::cut(line, SAMPLE_COLUMNS);
        page.flow(2 * INDENT, 3 * INDENT, &[StyledText::new("> ", Tone::Quiet), text.into()])?;
    }
    match condition.sample.len().saturating_sub(SAMPLE_LINES) {
        0 => Ok(()),
        rest => {
            let rest = format::counted(rest as u64, "more line");
            page.paragraph(2 * INDENT, &format!("> ({rest})"), Tone::Quiet)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    fn text(result: &RunResult, width: usize, colour: bool) -> String {
        let mut out = Vec::new();
        let style = TextStyle { width, colour, files: Some("smtpress-runs/20261123T123000Z-mx-rollout") };
        write(result, style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_accepted() {
        insta::assert_snapshot!(text(&fixtures::accepted(), 80, false));
    }

    #[test]
    fn encrypted() {
        insta::assert_snapshot!(text(&fixtures::encrypted(), 80, false));
    }

    #[test]
    fn a_limit_enforced() {
        insta::assert_snapshot!(text(&fixtures::limit_enforced(), 80, false));
    }

    #[test]
    fn invalid() {
        insta::assert_snapshot!(text(&fixtures::invalid(), 80, false));
    }

    #[test]
    fn no_data() {
        insta::assert_snapshot!(text(&fixtures::no_data(), 80, false));
    }

    #[test]
    fn refused() {
        insta::assert_snapshot!(text(&fixtures::refused(), 80, false));
    }

    #[test]
    fn interrupted() {
        insta::assert_snapshot!(text(&fixtures::interrupted(), 80, false));
    }

    #[test]
    fn several_phases() {
        insta::assert_snapshot!(text(&fixtures::several_phases(), 80, false));
    }

    #[test]
    fn limits_and_capacity() {
        insta::assert_snapshot!(text(&fixtures::searched(), 80, false));
    }

    #[test]
    fn nothing_at_all() {
        insta::assert_snapshot!(text(&fixtures::empty(), 80, false));
    }

    #[test]
    fn a_limit_that_showed_without_a_reply_has_a_sentence_and_nothing_is_lost_where_it_is_narrow() {
        use crate::report::stored::StoredShownBy;
        let mut result = fixtures::searched();
        for (by, step, sentence) in [
            (StoredShownBy::Close, "rcpt", "the listener closed the connection at rcpt, without a reply"),
            (StoredShownBy::Reset, "body", "the listener reset the connection at body, without a reply"),
            (StoredShownBy::NoGreeting, "greeting", "no greeting came"),
            (StoredShownBy::NoGreeting, "mail", "no reply came at mail"),
            (StoredShownBy::NoConnect, "connect", "the connection was not established"),
        ] {
            let limit = &mut result.limits[0];
            (limit.shown_by, limit.reply, limit.code) = (Some(by), None, None);
            limit.step = Some(step.to_owned());
            for width in [40, 48, 80, 200] {
                let flat = text(&result, width, false).split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(flat.contains(sentence), "{width}: {flat}");
            }
        }
        let result = fixtures::searched();
        for width in [40, 48, 60, 72, 80] {
            let flat = text(&result, width, false).split_whitespace().collect::<Vec<_>>().join(" ");
            for fact in ["shown by 421 at greeting", "configured 50 sessions", "released after 2.10 ms"] {
                assert!(flat.contains(fact), "{width}: no {fact}: {flat}");
            }
        }
    }

    #[test]
    fn narrow() {
        insta::assert_snapshot!(text(&fixtures::limit_enforced(), 48, false));
    }

    #[test]
    fn no_line_is_wider_than_the_page_and_colour_adds_nothing_else() {
        let escape = regex::Regex::new("\x1b\\[[0-9;]+m").unwrap();
        let half_a_number = regex::Regex::new(r"(^|\s)p?\d[\d.,]*…").unwrap();
        for result in fixtures::all() {
            for width in [40, 48, 60, 72, 80, 200] {
                let plain = text(&result, width, false);
                for line in plain.lines().filter(|line| !line.starts_with("Files")) {
                    assert!(format::columns(line) <= width.min(80), "{width}: {line}");
                    assert_eq!(line.trim_end(), line);
                    assert!(!half_a_number.is_match(line), "{width}: {line}");
                }
                let coloured = text(&result, width, true);
                assert!(escape.is_match(&coloured));
                assert_eq!(escape.replace_all(&coloured, ""), plain);
            }
        }
    }

    #[test]
    fn a_long_name_takes_no_room_from_the_numbers() {
        let mut result = fixtures::several_phases();
        let name = "a-phase-with-a-name-that-is-longer-than-anybody-would-ever-want-to-read".to_owned();
        result.phases[2].name.clone_from(&name);
        result.metrics.iter_mut().filter(|m| m.phase == "peak").for_each(|m| m.phase.clone_from(&name));
        let text = text(&result, 80, false);
        assert!(text.contains("930.0/s  1,200\n") && text.contains(" 384 ms "), "{text}");
    }

    #[test]
    fn a_ledger_that_does_not_reconcile_is_a_failure() {
        let mut result = fixtures::limit_enforced();
        assert!(text(&result, 200, false).contains("counts reconcile (1,4"));
        result.phases[0].transactions.accepted += 1;
        assert!(text(&result, 200, false).contains("counts DO NOT RECONCILE (1,4"));
        result.phases[0].transactions.accepted -= 2;
        assert!(text(&result, 200, false).contains("counts DO NOT RECONCILE (1,4"));
        result.phases[0].transactions.in_doubt = 1;
        assert!(text(&result, 200, false).contains("counts reconcile (1,4"));
    }

    #[test]
    fn a_hostile_reply_reaches_the_terminal_only_as_text() {
        let mut result = fixtures::limit_enforced();
        result.conditions[0].sample = "421 \u{1b}]0;owned\u{7}\u{1b}[2J \u{202e}gnihton".to_owned();
        result.profile.name = "\u{1b}[2J".to_owned();
        let text = text(&result, 80, false);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
}
