//! Lines and tables on a terminal: spans of painted text, columns that align, and what gives way when it is narrow.
//!
//! Every text that enters a [`Span`] is made harmless first, so nothing that a listener or a stored file says can reach the
//! terminal as a control.

use std::io::{self, Write};

use super::format;

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Ordinary.
    #[default]
    Plain,
    /// A heading, or the number to look at.
    Strong,
    /// Beside the point.
    Quiet,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// To be looked at.
    Warning,
}

impl Tone {
    /// The SGR parameters (ECMA-48 8.3.117).
    const fn sgr(self) -> Option<&'static str> {
        match self {
            Tone::Plain => None,
            Tone::Strong => Some("1"),
            Tone::Quiet => Some("2"),
            Tone::Good => Some("1;32"),
            Tone::Bad => Some("1;31"),
            Tone::Warning => Some("33"),
        }
    }
}

/// A piece of harmless text in one tone.
#[derive(Clone, Debug, Default)]
pub struct Span {
    text: String,
    tone: Tone,
}

impl Span {
    /// Makes the text harmless.
    pub fn new(text: impl AsRef<str>, tone: Tone) -> Span {
        Span { text: format::harmless(text.as_ref()), tone }
    }

    /// So many blanks.
    pub fn blank(columns: usize) -> Span {
        Span { text: " ".repeat(columns), tone: Tone::Plain }
    }

    fn cut(&self, columns: usize) -> Span {
        Span { text: format::cut(&self.text, columns), tone: self.tone }
    }

    /// The columns it takes.
    pub fn columns(&self) -> usize {
        format::columns(&self.text)
    }
}

impl<T: AsRef<str>> From<T> for Span {
    fn from(text: T) -> Span {
        Span::new(text, Tone::Plain)
    }
}

/// Where lines go: how wide they may be, and whether they may be coloured.
pub struct Page<'a> {
    out: &'a mut dyn Write,
    width: usize,
    colour: bool,
}

impl<'a> Page<'a> {
    /// Lines of at most `width` columns, but never narrower than 40.
    pub fn new(out: &'a mut dyn Write, width: usize, colour: bool) -> Page<'a> {
        Page { out, width: width.clamp(40, 80), colour }
    }

    /// The columns of a line.
    pub fn width(&self) -> usize {
        self.width
    }

    /// An empty line.
    pub fn gap(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// A heading, with a remark beside it if there is room.
    pub fn heading(&mut self, title: &str, remark: &str) -> io::Result<()> {
        self.gap()?;
        let room = self.width.saturating_sub(format::columns(title) + 2);
        let mut line = vec![Span::new(title, Tone::Strong)];
        if !remark.is_empty() && format::columns(remark) <= room {
            line.push(Span::from("  "));
            line.push(Span::new(remark, Tone::Quiet));
        }
        self.line(&line)
    }

    /// One line of spans (neighbours of one tone are painted together), cut at the page's width, without trailing blanks.
    pub fn line(&mut self, spans: &[Span]) -> io::Result<()> {
        let mut pieces: Vec<Span> = Vec::new();
        for span in spans {
            match pieces.last_mut().filter(|last| last.tone == span.tone) {
                Some(last) => last.text.push_str(&span.text),
                None => pieces.push(span.clone()),
            }
        }
        trim_end(&mut pieces);
        if pieces.iter().map(Span::columns).sum::<usize>() > self.width {
            let mut room = self.width - 1;
            for piece in &mut pieces {
                piece.text = format::prefix(&piece.text, room).to_owned();
                room -= piece.columns();
            }
            trim_end(&mut pieces);
            pieces.push("…".into());
        }
        for Span { text, tone } in pieces {
            match tone.sgr().filter(|_| self.colour && !text.trim().is_empty()) {
                Some(sgr) => write!(self.out, "\x1b[{sgr}m{text}\x1b[0m")?,
                None => write!(self.out, "{text}")?,
            }
        }
        writeln!(self.out)
    }

    /// A label, and a text that is to be copied and so is never cut.
    pub fn uncut(&mut self, label: &str, text: &str) -> io::Result<()> {
        let width = std::mem::replace(&mut self.width, usize::MAX);
        let done = self.labelled(label, &[text.into()]);
        self.width = width;
        done
    }

    /// A paragraph in one tone, each line after `indent` blanks; see [`Page::flow`].
    pub fn paragraph(&mut self, indent: usize, text: &str, tone: Tone) -> io::Result<()> {
        self.flow(indent, indent, &[Span::new(text, tone)])
    }

    /// A label, and a paragraph that hangs beside it.
    pub fn labelled(&mut self, label: &str, text: &[Span]) -> io::Result<()> {
        let mut spans = vec![Span::new(format!("{label:<LABEL$}"), Tone::Strong)];
        spans.extend_from_slice(text);
        self.flow(0, LABEL, &spans)
    }

    /// Spans as one paragraph, broken between words: the first line after `indent` blanks, the others after `hang`. Blanks
    /// stay as they are within a line; a word that is too long is cut.
    pub fn flow(&mut self, indent: usize, hang: usize, spans: &[Span]) -> io::Result<()> {
        let mut line = vec![Span::blank(indent)];
        let (mut used, mut begun) = (indent, false);
        for span in spans {
            for piece in pieces(&span.text) {
                let word = format::columns(piece.trim_end());
                if begun && used + word > self.width {
                    self.line(&line)?;
                    line = vec![Span::blank(hang)];
                    (used, begun) = (hang, false);
                }
                begun |= word > 0;
                used += format::columns(piece);
                line.push(Span { text: piece.to_owned(), tone: span.tone });
            }
        }
        if begun { self.line(&line) } else { Ok(()) }
    }

    /// A table; see [`Table`].
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        let (columns, gap) = table.fit(self.width);
        for row in &table.rows {
            let mut line = vec![Span::blank(INDENT)];
            for (place, &(i, width)) in columns.iter().enumerate() {
                let empty = Span::default();
                let cell = row.get(i).unwrap_or(&empty).cut(width);
                let fill = Span::blank(width.saturating_sub(cell.columns()));
                if place > 0 {
                    line.push(Span::blank(gap));
                }
                match table.columns[i].align {
                    Align::Left => line.extend([cell, fill]),
                    Align::Right => line.extend([fill, cell]),
                }
            }
            self.line(&line)?;
        }
        Ok(())
    }
}

/// The blanks before each line below a heading.
pub const INDENT: usize = 2;
/// The columns of a label beside a paragraph.
const LABEL: usize = 11;
/// The blanks between two columns; one where the page is too narrow.
const GAP: usize = 2;

/// Takes the blanks at the end of a line away.
fn trim_end(line: &mut Vec<Span>) {
    while let Some(last) = line.last_mut() {
        last.text.truncate(last.text.trim_end().len());
        if !last.text.is_empty() {
            break;
        }
        line.pop();
    }
}

/// A text in the pieces between which a line may break: words with the blanks after them, numbers with their units.
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

/// The columns that words get at most, and at least, on a page that is too narrow.
const MOST_WORDS: usize = 32;
const LEAST_WORDS: usize = 8;

/// Where a cell's text stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    align: Align,
    /// On a narrow page the columns with the highest number go first; 0 always stays.
    yields: u8,
}

/// Rows of cells in aligned columns; a header is just the first row.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Span>>,
}

impl Table {
    /// Columns by alignment and by how readily they give way (0: never; the highest goes first).
    pub fn new(columns: impl IntoIterator<Item = (Align, u8)>) -> Table {
        let columns = columns.into_iter().map(|(align, yields)| Column { align, yields }).collect();
        Table { columns, rows: Vec::new() }
    }

    /// Adds the row of column titles.
    pub fn titles<T: AsRef<str>>(&mut self, titles: impl IntoIterator<Item = T>) {
        self.row(titles.into_iter().map(|title| Span::new(title, Tone::Quiet)));
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Span>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether a page so wide has room for this column.
    pub fn shows(&self, column: usize, width: usize) -> bool {
        self.fit(width).0.iter().any(|(i, _)| *i == column)
    }

    fn column_width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(Span::columns).max().unwrap_or(0)
    }

    /// Whether the whole table has room on a page so wide.
    pub fn fits(&self, width: usize) -> bool {
        total(&self.natural(), GAP) <= width
    }

    /// The columns that hold anything, each as wide as its widest cell.
    fn natural(&self) -> Vec<(usize, usize)> {
        (0..self.columns.len()).map(|i| (i, self.column_width(i))).filter(|(_, width)| *width > 0).collect()
    }

    /// The columns shown on a page so wide, with their widths, and the blanks between them. On a narrow page long words are
    /// cut first, then columns are left out in their order, and then words are cut further: numbers stay whole.
    fn fit(&self, width: usize) -> (Vec<(usize, usize)>, usize) {
        let is_words = |column: usize| self.columns[column].align == Align::Left;
        let mut shown = self.natural();
        if total(&shown, GAP) > width {
            shown.iter_mut().filter(|(i, _)| is_words(*i)).for_each(|(_, own)| *own = (*own).min(MOST_WORDS));
        }
        while total(&shown, GAP) > width {
            let first_to_go = shown.iter().map(|(i, _)| *i).max_by_key(|&i| self.columns[i].yields);
            match first_to_go.filter(|&i| self.columns[i].yields > 0) {
                Some(gone) => shown.retain(|(i, _)| *i != gone),
                None => break,
            }
        }
        let gap = if total(&shown, GAP) > width { 1 } else { GAP };
        while total(&shown, gap) > width {
            let widest = shown.iter_mut().filter(|(i, _)| is_words(*i)).max_by_key(|(_, own)| *own);
            match widest.filter(|(_, own)| *own > LEAST_WORDS) {
                Some((_, own)) => *own -= 1,
                None => break,
            }
        }
        // Half a number is a wrong number.
        while total(&shown, gap) > width && shown.len() > 1 {
            shown.pop();
        }
        (shown, gap)
    }
}

/// The columns of a line of cells so wide.
fn total(columns: &[(usize, usize)], gap: usize) -> usize {
    INDENT + columns.iter().map(|(_, width)| width + gap).sum::<usize>().saturating_sub(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(width: usize, colour: bool, draw: impl FnOnce(&mut Page<'_>)) -> String {
        let mut out = Vec::new();
        draw(&mut Page::new(&mut out, width, colour));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_align_and_give_way_in_order() {
        let mut table =
            Table::new([(Align::Left, 0), (Align::Right, 2), (Align::Right, 1), (Align::Right, 0)]);
        table.titles(["name", "twenty-columns-wide-", "p99", "max"]);
        table.row(["a", "1", "22", "3"].map(Span::from));
        let wide = rendered(80, false, |page| page.table(&table).unwrap());
        assert_eq!(wide, "  name  twenty-columns-wide-  p99  max\n  a                        1   22    3\n");
        let mut long = table.clone();
        long.row(["a name that is rather long".into(), "1".into(), "22".into(), Span::from("3")]);
        let narrow = rendered(40, false, |page| page.table(&long).unwrap());
        assert_eq!(narrow.lines().next().unwrap(), "  name                        p99  max");
    }

    #[test]
    fn colour_changes_nothing_but_the_escapes() {
        let draw = |page: &mut Page<'_>| page.line(&[Span::new("x\x1b[2J", Tone::Bad), "  ".into()]).unwrap();
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
