//! Writes a comparison of runs as text, JSON and Markdown; `html` writes its page.
//!
//! `verdict::compare` makes the verdict; the command decides which runs may be compared.

mod json;
mod view;

use std::io::{self, Write};

use super::stored::RunResult;
use super::terminal::lines::{StyledText, TextPage};
use super::view::Tone;
use super::{markdown, terminal};
use crate::verdict::compare::Comparison;

pub use json::{json, schema};
pub use view::{ComparedRow, ComparedView};

/// The input of the report of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The verdict and its numbers.
    pub comparison: &'a Comparison,
    /// The runs of the base, by the names that the user gave.
    pub base: &'a [(String, RunResult)],
    /// The runs of the candidate.
    pub candidate: &'a [(String, RunResult)],
    /// The reasons against the comparison, if the user forced it.
    pub forced: &'a [String],
}

/// Writes the comparison for a terminal of this width.
///
/// # Errors
/// Those of `out`.
pub fn text(compared: Compared<'_>, width: usize, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let view = ComparedView::of(compared);
    let page = &mut TextPage::new(out, width, colour);
    let sentence = format!("  {} (exit code {})", view.sentence, view.exit_code.text);
    page.flow(0, 2, &[StyledText::of(&view.word), sentence.into()])?;
    let ComparedView { asked, profile, seed, .. } = &view;
    page.paragraph(0, &format!("{asked}, {}, seed {}", profile.text, seed.text), Tone::Plain)?;
    page.heading("Comparison", "medians of runs, candidate to base, 95 % interval")?;
    terminal::table(&view.table(), page)?;
    for note in &view.notes {
        page.paragraph(2, &note.text, Tone::Warning)?;
    }
    for reason in &view.forced {
        page.paragraph(2, &format!("forced: {}", reason.text), Tone::Warning)?;
    }
    Ok(())
}

/// Returns the comparison as GitHub's Markdown.
pub fn markdown(compared: Compared<'_>) -> String {
    let view = ComparedView::of(compared);
    let ComparedView { word, sentence, exit_code, asked, profile, seed, .. } = &view;
    let asked = markdown::code(&format!("{asked}, {}, seed {}", profile.text, seed.text));
    let mut text = format!(
        "### smtpress compare: {}, {sentence} (exit code {})\n\n{asked}\n{}",
        word.text,
        exit_code.text,
        markdown::table(&view.table())
    );
    for note in &view.notes {
        text.push_str(&format!("\n> {}\n", markdown::code(&note.text)));
    }
    for reason in &view.forced {
        text.push_str(&format!("\n> **Forced**: {}\n", markdown::code(&reason.text)));
    }
    text
}
