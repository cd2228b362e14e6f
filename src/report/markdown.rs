//! A run as GitHub's Markdown, for a pull request: the verdict, the assertions, and the most important numbers.
//!
//! The module only lays out a [`View`].
//!
//! # Decisions
//! - Foreign text (names, expressions, replies) is put into code spans, where nothing is a link, a mention of a person,
//!   or HTML.

use super::format;
use super::stored::RunResult;
use super::view::{Cell, CellKind, ConditionView, Head, Medium, ReportTable, SectionPart, Tone, View};

/// The largest number of conditions that are shown.
const CONDITIONS: usize = 10;
/// The largest length of a reply that is shown, in columns.
const SAMPLE: usize = 200;

/// Returns the run as Markdown.
pub fn write(result: &RunResult) -> String {
    let view = View::of(result);
    let mut text = head(&view.head);
    text.push_str(&table(&view.assertions));
    for section in &view.sections {
        let remark =
            if section.remark.is_empty() { String::new() } else { format!(": {}", code(&section.remark)) };
        let mut conditions = 0;
        let mut blocks = String::new();
        for block in &section.blocks {
            match block {
                SectionPart::ReportTable(table) => blocks.push_str(&self::table(table)),
                SectionPart::Facts(table) => blocks.push_str(&facts(table)),
                SectionPart::Note(note) if note.place.is_on(Medium::Markdown) => {
                    blocks.push_str(&format!("\n{}\n", styled(code(&note.text), note.tone)));
                }
                SectionPart::Condition(condition) => {
                    conditions += 1;
                    if conditions <= CONDITIONS {
                        blocks.push_str(&self::condition(condition));
                    }
                }
                SectionPart::Note(_) | SectionPart::Folded(..) | SectionPart::Steps(_) => {}
            }
        }
        if conditions > CONDITIONS {
            let more = format::counted((conditions - CONDITIONS) as u64, "more condition");
            blocks.push_str(&format!("\n{more}: see failures.jsonl\n"));
        }
        if !blocks.is_empty() {
            text.push_str(&format!("\n**{}**{remark}\n{blocks}", section.title));
        }
    }
    text
}

fn head(head: &Head) -> String {
    let mut text = format!("### smtpress: {}, {}\n\n", head.word.text, head.sentence_with_code());
    for reason in head.reason_lines() {
        text.push_str(&format!("> **Invalid**: {}\n\n", code(&reason)));
    }
    for warning in &head.warnings {
        text.push_str(&format!("> **Warning**: {}\n\n", code(warning)));
    }
    text.push_str(&format!(
        "{} against {}, {}, {}, seed {}, run {}\n",
        code(&head.profile.text),
        code(&head.target.text),
        code(&head.started_at.text),
        head.took.text,
        head.seed,
        code(&head.run_id.text)
    ));
    text
}

/// Writes a failure in bold, because Markdown has no colours.
fn styled(text: String, tone: Tone) -> String {
    if tone == Tone::Bad && !text.is_empty() { format!("**{text}**") } else { text }
}

fn cell(cell: &Cell) -> String {
    let text = match cell.kind {
        CellKind::Name | CellKind::Code => code(&cell.text),
        CellKind::Number | CellKind::Words => escaped(&cell.text),
    };
    styled(text, cell.tone)
}

/// Escapes what would end a cell, begin HTML or make a quotation; and the backslash, which would take its escape from the
/// character after it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '|' | '<' | '>') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Writes a table with its non-empty columns; nothing if it has no rows.
pub(super) fn table(table: &ReportTable) -> String {
    let rows: Vec<&[Cell]> = table.rows_on(Medium::Markdown).map(|row| row.cells.as_slice()).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut columns = table.columns_on(Medium::Markdown);
    columns.retain(|&i| rows.iter().any(|row| !row[i].text.is_empty()));
    let titles: Vec<String> = columns.iter().map(|&i| title(&table.columns[i].title)).collect();
    let mut text = format!("\n| {} |\n|{}\n", titles.join(" | "), " --- |".repeat(columns.len()));
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|&i| cell(&row[i])).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// Returns the title of a column: plain text, or code if a character needs an escape.
fn title(text: &str) -> String {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || " .-%()'".contains(c));
    if is_plain { text.to_owned() } else { code(text) }
}

/// Writes names and values in one line.
fn facts(table: &ReportTable) -> String {
    let fact = |row: &[Cell]| format!("{} {}", title(&row[0].text), cell(&row[1]));
    let facts: Vec<String> = table.rows_on(Medium::Markdown).map(|row| fact(&row.cells)).collect();
    format!("\n{}\n", facts.join(", "))
}

fn condition(condition: &ConditionView) -> String {
    let ConditionView { count, name, at, facts, advice, sample, .. } = condition;
    let advice = if advice.is_empty() { String::new() } else { format!(": {}", advice.join(" ")) };
    let reply = format::cut(sample.first().map_or("", String::as_str), SAMPLE);
    format!(
        "\n- {} x {} {}{advice} ({})\n  {}\n",
        count.text,
        cell(name),
        code(at),
        code(&facts.join(", ")),
        code(&reply)
    )
}

/// Writes foreign text as a code span that is valid in a table, too.
pub(super) fn code(text: &str) -> String {
    let text = format::harmless(text);
    if text.trim().is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    // A bar ends a cell, even in code, unless a backslash is before it; the text may have backslashes already.
    if text.contains("\\|") {
        let entity = |c: char| match c.is_ascii_punctuation() {
            true => format!("&#{};", u32::from(c)),
            false => c.to_string(),
        };
        return format!("<code>{}</code>", text.chars().map(entity).collect::<String>());
    }
    let text = text.replace('|', "\\|");
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;
    use crate::report::stored::delivery::{StoredAltered, StoredBounce, StoredDelivery};

    #[test]
    fn words_with_a_backslash_stay_in_their_cell() {
        let own = Cell::words("a \\| b <i> | c");
        assert_eq!(cell(&own), r"a \\\| b \<i\> \| c");
    }

    #[test]
    fn a_run_that_fails_tells_why_in_tables() {
        insta::assert_snapshot!(write(&fixtures::limit_enforced()));
    }

    #[test]
    fn an_invalid_run_and_a_search() {
        insta::assert_snapshot!(write(&fixtures::invalid()));
        insta::assert_snapshot!(write(&fixtures::searched()));
    }

    #[test]
    fn every_row_has_the_cells_of_its_titles_whatever_strangers_say() {
        let hostile = "421 | ``x`` \\| <img src=x> @someone `|\u{1b}[31m\nsecond";
        for mut result in fixtures::all() {
            for row in &mut result.conditions {
                row.sample = hostile.into();
            }
            result.profile.name = "`<b>|".into();
            let bounce = StoredBounce {
                status: hostile.into(),
                condition: Some(hostile.into()),
                count: 2,
                sample: hostile.into(),
            };
            result.delivery = Some(StoredDelivery {
                altered: vec![StoredAltered { seq: 7, what: hostile.into() }],
                bounces: vec![bounce],
                ..StoredDelivery::default()
            });
            let text = write(&result);
            // In code, as entities: live text would call a person or load an image.
            assert!(text.contains("&#64;someone") && !text.contains("@someone"), "{text}");
            assert!(!text.contains("<img"), "{text}");
            // Reads the row as a reader of tables does: a backslash belongs to the next character.
            let bars = |line: &str| {
                let mut rest = line.chars();
                let mut bars = 0;
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        '|' => bars += 1,
                        _ => {}
                    }
                }
                bars
            };
            for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
                let mut lines = table.lines();
                let titles = bars(lines.next().unwrap());
                for line in lines.take_while(|line| line.starts_with('|')) {
                    assert_eq!(bars(line), titles, "{line}");
                }
            }
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
