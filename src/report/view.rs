//! The report of a run, independent of a format: the text of each row, its status word, its severity, and the form of
//! its numbers.
//!
//! Every format (terminal, HTML, Markdown, JUnit) only lays out the same [`View`]. All text in the view is harmless: no
//! text of a listener or a stored file can act as a control.
//!
//! # Decisions
//! - Status words are those of `result.json`; failures are in capitals, so that they are visible without colours.
//! - A figure from `result.json` carries its place there (a JSON pointer) and its form, so that a test can compare the
//!   figure with the stored value.

mod agents;
mod amounts;
mod capacity;
pub mod claims;
mod conditions;
mod delivery;
mod events;
mod generator;
pub mod head;
mod limits;
mod load;
pub mod outcomes;
mod retries;
mod steps;
mod summary;
#[cfg(test)]
mod tests;
mod times;

use super::format;
use super::stored::{RunResult, StoredMetric, StoredPhase};

pub use claims::{Claim, ClaimState};
pub use conditions::ConditionView;
pub use generator::flatten;
pub use head::Head;
pub use steps::StepBar;
pub use summary::SummaryLine;

/// A whole report.
#[derive(Clone, Debug)]
pub struct View {
    /// The verdict and what was run.
    pub head: Head,
    /// The load that was asked for, by phase.
    pub asked: Vec<SummaryLine>,
    /// The result, by phase.
    pub happened: Vec<SummaryLine>,
    /// The claims that decide the verdict: assertions, limits, goals and events.
    pub claims: Vec<Claim>,
    /// The assertions as a table, those that do not hold first.
    pub assertions: ReportTable,
    /// The sections with the numbers, in their order.
    pub sections: Vec<Section>,
}

impl View {
    /// Returns the report of this run.
    pub fn of(result: &RunResult) -> View {
        let mut sections = vec![
            load::section(result),
            times::section(result),
            steps::section(result),
            outcomes::section(result),
            delivery::section(result),
            events::section(result),
            retries::section(result),
            conditions::section(result),
            limits::section(result),
        ];
        sections.extend(capacity::sections(result));
        sections.extend([agents::section(result), generator::section(result), generator::ledger(result)]);
        sections.retain(|section| !section.blocks.is_empty());
        View {
            head: Head::of(result),
            asked: summary::asked(result),
            happened: summary::happened(result),
            claims: claims::all(result),
            assertions: claims::assertions(result),
            sections,
        }
    }

    /// Returns the section of this name.
    pub fn section_mut(&mut self, id: &str) -> Option<&mut Section> {
        self.sections.iter_mut().find(|section| section.id == id)
    }
}

/// A part of the report under one heading.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The name, the same in every report.
    pub id: &'static str,
    /// The heading.
    pub title: String,
    /// A remark beside the heading, if there is room.
    pub remark: String,
    /// How to read the numbers, in a sentence for new readers.
    pub lead: &'static str,
    /// The content.
    pub blocks: Vec<SectionPart>,
}

/// A piece of a section.
#[derive(Clone, Debug)]
pub enum SectionPart {
    /// A table.
    ReportTable(ReportTable),
    /// A table that the page folds under this title, and other formats leave out.
    Folded(&'static str, ReportTable),
    /// A table of names and values, which narrow formats write as one paragraph.
    Facts(ReportTable),
    /// A sentence.
    Note(Note),
    /// A failure or an expected refusal.
    Condition(Box<ConditionView>),
    /// The steps of a phase, as parts of a bar.
    Steps(StepBar),
}

/// The formats that show a part of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// In every format.
    #[default]
    Everywhere,
    /// On the page, which has room for details.
    Page,
    /// On the terminal and in Markdown only: the page shows the part in another form.
    Text,
    /// On the terminal only.
    Terminal,
}

/// A format with its own layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A terminal.
    Terminal,
    /// Markdown.
    Markdown,
    /// The HTML page.
    Page,
}

impl Visibility {
    /// Whether a part with this visibility is shown in a format.
    pub fn is_on(self, medium: Medium) -> bool {
        match self {
            Visibility::Everywhere => true,
            Visibility::Page => medium == Medium::Page,
            Visibility::Text => medium != Medium::Page,
            Visibility::Terminal => medium == Medium::Terminal,
        }
    }
}

/// The severity of a text, or its emphasis if it has no severity. Later variants are more severe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Ordinary.
    #[default]
    Plain,
    /// A main figure.
    Strong,
    /// Less important than the rest.
    Quiet,
    /// A success.
    Good,
    /// A warning.
    Warning,
    /// A failure.
    Bad,
}

/// The kind of text in a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CellKind {
    /// Text of smtpress.
    #[default]
    Words,
    /// A number, or a range.
    Number,
    /// A name that the user or the listener gave.
    Name,
    /// Code or a reply, of the user or the listener.
    Code,
}

/// A cell of a table, or a figure in a sentence.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The text.
    pub text: String,
    /// The severity.
    pub tone: Tone,
    /// The content.
    pub kind: CellKind,
    /// The place of the figure in `result.json`; empty if the figure is not there.
    pub path: String,
    /// The form of the figure: `count`, `duration`, `rate`, `seconds`, `text`, `bytes`, `percent`, ...
    pub form: &'static str,
}

impl Cell {
    /// Returns a cell of words without control characters.
    pub fn words(text: impl AsRef<str>) -> Cell {
        Cell { text: format::harmless(text.as_ref()), ..Cell::default() }
    }

    /// Returns a cell with a name that was given by the user or the listener.
    pub fn name(text: impl AsRef<str>) -> Cell {
        Cell { kind: CellKind::Name, ..Cell::words(text) }
    }

    /// Returns a cell of code or a reply.
    pub fn code(text: impl AsRef<str>) -> Cell {
        Cell { kind: CellKind::Code, ..Cell::words(text) }
    }

    /// Returns a cell with a number that is not in the result.
    pub fn number(text: impl AsRef<str>) -> Cell {
        Cell { kind: CellKind::Number, ..Cell::words(text) }
    }

    /// Returns a cell with an unknown value.
    pub fn not_available() -> Cell {
        Cell::number("n/a").tone(Tone::Quiet)
    }

    /// Returns a cell with a count.
    pub fn count(n: u64, path: impl Into<String>) -> Cell {
        Cell::number(format::count(n)).stored(path, "count")
    }

    /// Returns a cell with a rate in 1/s.
    pub fn rate(per_s: f64, path: impl Into<String>) -> Cell {
        Cell::number(format::rate(per_s)).stored(path, "rate")
    }

    /// Returns a cell with a time in nanoseconds.
    pub fn duration(ns: u64, path: impl Into<String>) -> Cell {
        // The lowest bucket of a histogram holds 0 and 1 ns; 0 is shown for both.
        let shown = if ns == 1 { 0 } else { ns };
        Cell::number(format::duration(shown as f64)).stored(path, "duration")
    }

    /// Returns a cell with a time in seconds.
    pub fn seconds(s: f64, path: impl Into<String>) -> Cell {
        Cell::number(format::seconds(s)).stored(path, "seconds")
    }

    /// Returns a cell with a size in bytes.
    pub fn bytes(n: u64, path: impl Into<String>) -> Cell {
        Cell::number(format::bytes(n)).stored(path, "bytes")
    }

    /// Returns a cell with a name from the result.
    pub fn stored_name(text: &str, path: impl Into<String>) -> Cell {
        Cell::name(text).stored(path, "text")
    }

    /// Returns a cell of code or a reply from the result.
    pub fn stored_code(text: &str, path: impl Into<String>) -> Cell {
        Cell::code(text).stored(path, "text")
    }

    /// Returns the cell with its place in the result and the form in which it is written.
    pub fn stored(self, path: impl Into<String>, form: &'static str) -> Cell {
        Cell { path: path.into(), form, ..self }
    }

    /// Returns the cell with this severity.
    pub fn tone(self, tone: Tone) -> Cell {
        Cell { tone, ..self }
    }

    /// Returns the cell as a main figure.
    pub fn strong(self) -> Cell {
        self.tone(Tone::Strong)
    }
}

/// A sentence of the report.
#[derive(Clone, Debug)]
pub struct Note {
    /// The sentence.
    pub text: String,
    /// The severity.
    pub tone: Tone,
    /// The formats in which it is shown.
    pub place: Visibility,
}

impl Note {
    /// Returns a sentence without control characters.
    pub fn everywhere(text: impl AsRef<str>, tone: Tone) -> SectionPart {
        Note::at(text, tone, Visibility::Everywhere)
    }

    /// Returns a sentence that is not shown in every format.
    pub fn at(text: impl AsRef<str>, tone: Tone, place: Visibility) -> SectionPart {
        SectionPart::Note(Note { text: format::harmless(text.as_ref()), tone, place })
    }
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// The title.
    pub title: String,
    /// Whether the column holds numbers, which are aligned right.
    pub is_number: bool,
    /// The order in which columns are left out on a narrow page, the highest number first; 0: never.
    pub yields: u8,
    /// Whether a value equal to the one above is left out.
    pub is_grouped: bool,
    /// Whether the column holds sentences, which the terminal writes below the table.
    pub is_prose: bool,
    /// The formats in which it is shown.
    pub place: Visibility,
}

impl Column {
    /// Returns a column of words.
    pub fn words(title: impl AsRef<str>) -> Column {
        let title = format::harmless(title.as_ref());
        Column {
            title,
            is_number: false,
            yields: 0,
            is_grouped: false,
            is_prose: false,
            place: Visibility::Everywhere,
        }
    }

    /// Returns a column of numbers.
    pub fn number(title: impl AsRef<str>) -> Column {
        Column { is_number: true, ..Column::words(title) }
    }

    /// Returns a column of sentences.
    pub fn prose(title: impl AsRef<str>) -> Column {
        Column { is_prose: true, ..Column::words(title) }
    }

    /// Returns the column without repetition of equal values.
    pub fn grouped(self) -> Column {
        Column { is_grouped: true, ..self }
    }

    /// Returns the column with this rank for omission on a narrow terminal.
    pub fn yields(self, yields: u8) -> Column {
        Column { yields, ..self }
    }

    /// Returns the column for these formats only.
    pub fn at(self, place: Visibility) -> Column {
        Column { place, ..self }
    }
}

/// A row of a table.
#[derive(Clone, Debug, Default)]
pub struct TableRow {
    /// The cells, in the order of the columns.
    pub cells: Vec<Cell>,
    /// The formats in which it is shown.
    pub place: Visibility,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct ReportTable {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows; each has a cell for every column.
    pub rows: Vec<TableRow>,
    /// Whether a terminal leaves out the titles and may write each row as a paragraph.
    pub is_list: bool,
    /// The formats in which it is shown.
    pub place: Visibility,
}

impl ReportTable {
    /// Returns a table with these columns and no rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> ReportTable {
        ReportTable { columns: columns.into_iter().collect(), ..ReportTable::default() }
    }

    /// Returns a table of names, values and their meanings.
    pub fn of_facts() -> ReportTable {
        ReportTable::new([
            Column::words("what"),
            Column::words("value"),
            Column::words("what it means").at(Visibility::Page),
        ])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.row_at(Visibility::Everywhere, cells);
    }

    /// Adds a row that is not shown in every format.
    pub fn row_at(&mut self, place: Visibility, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(TableRow { cells: cells.into_iter().collect(), place });
    }

    /// Adds a name, its value and its meaning.
    pub fn fact(&mut self, name: &str, value: Cell, meaning: &str) {
        self.row([Cell::words(name), value, Cell::words(meaning).tone(Tone::Quiet)]);
    }

    /// Returns the indexes of the columns that a medium shows.
    pub fn columns_on(&self, medium: Medium) -> Vec<usize> {
        (0..self.columns.len()).filter(|&i| self.columns[i].place.is_on(medium)).collect()
    }

    /// Returns the rows that a medium shows.
    pub fn rows_on(&self, medium: Medium) -> impl Iterator<Item = &TableRow> {
        self.rows.iter().filter(move |row| self.place.is_on(medium) && row.place.is_on(medium))
    }

    /// Returns the table as a part of a section, if it has rows.
    fn block(self) -> Option<SectionPart> {
        (!self.rows.is_empty()).then_some(SectionPart::ReportTable(self))
    }
}

/// Returns the measured phases, with their places in the result.
fn measured(result: &RunResult) -> impl Iterator<Item = (usize, &StoredPhase)> {
    result.phases.iter().enumerate().filter(|(_, phase)| !phase.warmup)
}

/// Whether more than one phase was measured.
fn is_several(result: &RunResult) -> bool {
    measured(result).nth(1).is_some()
}

/// A quantile that is shown in text, and the order in which it is left out on a narrow page.
type ShownQuantile = (f64, u8);

/// Returns the columns of all quantiles of these metrics. Text shows only the columns of `shown`.
fn quantile_columns<'a>(
    metrics: impl IntoIterator<Item = &'a StoredMetric>,
    shown: &[ShownQuantile],
) -> Vec<Column> {
    let first = metrics.into_iter().next();
    let quantiles = first.into_iter().flat_map(|metric| &metric.percentiles).map(|own| own.q);
    let column = |q: f64| {
        let column = Column::number(format::quantile(q));
        match shown.iter().find(|(shown, _)| (shown - q).abs() < 1e-9) {
            Some((_, yields)) => column.yields(*yields),
            None => column.at(Visibility::Page),
        }
    };
    quantiles.map(column).collect()
}
