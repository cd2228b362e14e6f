//! Writes lines and paragraphs on a terminal: coloured text, broken between words.
//!
//! Every text in a [`StyledText`] is made harmless first, so that no text of a listener or a stored file can control
//! the terminal.

use std::io::{self, Write};

use crate::report::format;
use crate::report::view::{Cell, Tone};

/// Returns the SGR parameters of a severity (ECMA-48 8.3.117).
const fn sgr(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Strong => Some("1"),
        Tone::Quiet => Some("2"),
        Tone::Good => Some("1;32"),
        Tone::Bad => Some("1;31"),
        Tone::Warning => Some("33"),
    }
}

/// A piece of harmless text in one tone.
#[derive(Clone, Debug, Default)]
pub struct StyledText {
    text: String,
    tone: Tone,
}

impl StyledText {
    /// Returns a harmless form of the text, in this tone.
    pub fn new(text: impl AsRef<str>, tone: Tone) -> StyledText {
        StyledText { text: format::harmless(text.as_ref()), tone }
    }

    /// Returns the text of a cell in its tone.
    pub fn of(cell: &Cell) -> StyledText {
        StyledText { text: cell.text.clone(), tone: cell.tone }
    }

    /// Returns the text followed by `more`, in the same tone.
    pub fn join(&self, more: &str) -> StyledText {
        StyledText { text: format!("{}{more}", self.text), tone: self.tone }
    }

    /// Returns this many blanks.
    pub fn blank(columns: usize) -> StyledText {
        StyledText { text: " ".repeat(columns), tone: Tone::Plain }
    }

    /// Returns the text, cut to this many columns.
    pub fn cut(&self, columns: usize) -> StyledText {
        StyledText { text: format::cut(&self.text, columns), tone: self.tone }
    }

    /// Returns the number of columns.
    pub fn columns(&self) -> usize {
        format::columns(&self.text)
    }
}

impl<T: AsRef<str>> From<T> for StyledText {
    fn from(text: T) -> StyledText {
        StyledText::new(text, Tone::Plain)
    }
}

/// The output for lines, with a width and optional colours.
pub struct TextPage<'a> {
    out: &'a mut dyn Write,
    width: usize,
    colour: bool,
}

impl<'a> TextPage<'a> {
    /// Creates a page with lines of at most `width` columns. A width below 40 counts as 40, a width above 80 as 80.
    pub fn new(out: &'a mut dyn Write, width: usize, colour: bool) -> TextPage<'a> {
        TextPage { out, width: width.clamp(40, 80), colour }
    }

    /// Returns the number of columns of a line.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Writes an empty line.
    pub fn gap(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// Writes a heading, with a remark beside it if there is room.
    pub fn heading(&mut self, title: &str, remark: &str) -> io::Result<()> {
        self.gap()?;
        let room = self.width.saturating_sub(format::columns(title) + 2);
        let mut line = vec![StyledText::new(title, Tone::Strong)];
        if !remark.is_empty() && format::columns(remark) <= room {
            line.push(StyledText::from("  "));
            line.push(StyledText::new(remark, Tone::Quiet));
        }
        self.line(&line)
    }

    /// Writes one line of spans, cut at the page's width, without trailing blanks. Neighbours of one tone share an escape.
    pub fn line(&mut self, spans: &[StyledText]) -> io::Result<()> {
        let mut pieces: Vec<StyledText> = Vec::new();
        for span in spans {
            match pieces.last_mut().filter(|last| last.tone == span.tone) {
                Some(last) => last.text.push_str(&span.text),
                None => pieces.push(span.clone()),
            }
        }
        trim_end(&mut pieces);
        if pieces.iter().map(StyledText::columns).sum::<usize>() > self.width {
            let mut room = self.width - 1;
            for piece in &mut pieces {
                piece.text = format::prefix(&piece.text, room).to_owned();
                room -= piece.columns();
            }
            trim_end(&mut pieces);
            pieces.push("…".into());
        }
        for StyledText { text, tone } in pieces {
            match sgr(tone).filter(|_| self.colour && !text.trim().is_empty()) {
                Some(sgr) => write!(self.out, "\x1b[{sgr}m{text}\x1b[0m")?,
                None => write!(self.out, "{text}")?,
            }
        }
        writeln!(self.out)
    }

    /// Writes a label, and a text that users copy and that is therefore never cut.
    pub fn uncut(&mut self, label: &str, text: &str) -> io::Result<()> {
        let width = std::mem::replace(&mut self.width, usize::MAX);
        let done = self.labelled(label, &[text.into()]);
        self.width = width;
        done
    }

    /// Writes a paragraph in one tone, each line after `indent` blanks. See [`TextPage::flow`].
    pub fn paragraph(&mut self, indent: usize, text: &str, tone: Tone) -> io::Result<()> {
        self.flow(indent, indent, &[StyledText::new(text, tone)])
    }

    /// Writes a label, and beside it a paragraph with a hanging indent.
    pub fn labelled(&mut self, label: &str, text: &[StyledText]) -> io::Result<()> {
        let mut spans = vec![StyledText::new(format!("{label:<LABEL$}"), Tone::Strong)];
        spans.extend_from_slice(text);
        self.flow(0, LABEL, &spans)
    }

    /// Writes styled texts as one paragraph, broken between words: the first line after `indent` blanks, the others
    /// after `hang`. Blanks within a line are kept; a word that is too long is cut.
    pub fn flow(&mut self, indent: usize, hang: usize, spans: &[StyledText]) -> io::Result<()> {
        let mut line = vec![StyledText::blank(indent)];
        let (mut used, mut started) = (indent, false);
        for span in spans {
            for piece in pieces(&span.text) {
                let word = format::columns(piece.trim_end());
                if started && used + word > self.width {
                    self.line(&line)?;
                    line = vec![StyledText::blank(hang)];
                    (used, started) = (hang, false);
                }
                started |= word > 0;
                used += format::columns(piece);
                line.push(StyledText { text: piece.to_owned(), tone: span.tone });
            }
        }
        if started { self.line(&line) } else { Ok(()) }
    }
}

/// The blanks before each line below a heading.
pub const INDENT: usize = 2;
/// The columns of a label beside a paragraph.
const LABEL: usize = 11;

/// Removes the blanks at the end of a line.
fn trim_end(line: &mut Vec<StyledText>) {
    while let Some(last) = line.last_mut() {
        last.text.truncate(last.text.trim_end().len());
        if !last.text.is_empty() {
            break;
        }
        line.pop();
    }
}

/// Returns a text in the pieces between which a line may break: words with the blanks after them, numbers with their units.
fn pieces(text: &str) -> Vec<&str> {
    const UNITS: [&str; 11] = ["ns", "us", "ms", "s", "min", "h", "%", "B", "KiB", "MiB", "GiB"];
    let mut pieces = Vec::new();
    let (mut start, mut end) = (0, 0);
    for word in text.split_inclusive(' ') {
        let is_unit = UNITS.contains(&word.trim_end_matches([' ', ',', '.', ';', ':']));
        if end > start && !is_unit {
            pieces.push(&text[start..end]);
            start = end;
        }
        end += word.len();
    }
    pieces.push(&text[start..end]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(width: usize, colour: bool, draw: impl FnOnce(&mut TextPage<'_>)) -> String {
        let mut out = Vec::new();
        draw(&mut TextPage::new(&mut out, width, colour));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn colour_changes_nothing_but_the_escapes() {
        let draw = |page: &mut TextPage<'_>| {
            page.line(&[StyledText::new("x\x1b[2J", Tone::Bad), "  ".into()]).unwrap()
        };
        assert_eq!(rendered(80, false, draw), "x\\u{1b}[2J\n");
        assert_eq!(rendered(80, true, draw), "\x1b[1;31mx\\u{1b}[2J\x1b[0m\n");
    }

    #[test]
    fn paragraphs_break_between_words() {
        let text = rendered(40, false, |page| {
            page.paragraph(4, "one two three four five six seven eight nine ten", Tone::Plain).unwrap();
        });
        assert_eq!(text, "    one two three four five six seven\n    eight nine ten\n");
    }
}
