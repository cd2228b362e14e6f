//! The style classes of cells and sentences on the page.

use crate::report::view::{Cell, CellKind, Medium, ReportTable, Tone};

impl Tone {
    /// Returns the class of this severity.
    pub(in crate::report) fn class(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Strong => "figure",
            Tone::Quiet => "quiet",
            Tone::Good => "good",
            Tone::Warning => "warn",
            Tone::Bad => "bad",
        }
    }
}

impl Cell {
    /// Returns the classes of this cell.
    pub(in crate::report) fn class(&self) -> String {
        let kind = match self.kind {
            CellKind::Words | CellKind::Name => "",
            CellKind::Number => "number",
            CellKind::Code => "code",
        };
        [kind, self.tone.class()].join(" ").trim().to_owned()
    }

    /// Returns the class of the severity.
    pub(in crate::report) fn severity(&self) -> &'static str {
        self.tone.class()
    }
}

impl ReportTable {
    /// Returns the titles of the columns on the page.
    pub(in crate::report) fn titles(&self) -> Vec<&str> {
        self.columns_on(Medium::Page).into_iter().map(|i| self.columns[i].title.as_str()).collect()
    }

    /// Returns the rows on the page, with the cells of its columns.
    pub(in crate::report) fn page_rows(&self) -> Vec<Vec<&Cell>> {
        let columns = self.columns_on(Medium::Page);
        self.rows_on(Medium::Page).map(|row| columns.iter().map(|&i| &row.cells[i]).collect()).collect()
    }
}
