//! Reads the tables of a run directory row by row. Columns are found by their titles, and errors name their line.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LONGEST, SecondsError, millis};

/// The rows of one file that this version understands.
pub(super) struct Rows<T> {
    path: PathBuf,
    records: csv::StringRecordsIntoIter<Box<dyn Read>>,
    titles: csv::StringRecord,
    phases: Vec<String>,
    read: fn(&Cells<'_>) -> Result<Option<T>, String>,
}

impl<T> Rows<T> {
    /// Opens a file; `read` converts a row, or returns `None` for a row that only a later version understands.
    ///
    /// # Errors
    /// The file cannot be opened, or its titles cannot be read.
    pub(super) fn open(
        path: PathBuf,
        phases: &[String],
        read: fn(&Cells<'_>) -> Result<Option<T>, String>,
    ) -> Result<Rows<T>, SecondsError> {
        match File::open(&path) {
            Ok(file) => Rows::of(Box::new(file), path, phases, read),
            Err(source) => Err(SecondsError::File { path, source }),
        }
    }

    /// Reads the rows of a text in place of the file.
    pub(super) fn of(
        text: Box<dyn Read>,
        path: PathBuf,
        phases: &[String],
        read: fn(&Cells<'_>) -> Result<Option<T>, String>,
    ) -> Result<Rows<T>, SecondsError> {
        let wrong = |path: &Path, source| SecondsError::File { path: path.to_owned(), source };
        let mut reader = csv::Reader::from_reader(text);
        let titles =
            reader.headers().map_err(|error| wrong(&path, io::Error::other(error.to_string())))?.clone();
        Ok(Rows { path, records: reader.into_records(), titles, phases: phases.to_vec(), read })
    }
}

impl<T> Iterator for Rows<T> {
    type Item = Result<T, SecondsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = self.records.next()?;
            let behind = self.records.reader().position().line();
            let line = match &record {
                Ok(record) => record.position().map_or(behind, csv::Position::line),
                Err(_) => behind,
            };
            let read = record.map_err(|error| format!("is no row: {error}")).and_then(|record| {
                (self.read)(&Cells { titles: &self.titles, record: &record, phases: &self.phases })
            });
            match read {
                Ok(None) => {}
                Ok(Some(row)) => return Some(Ok(row)),
                Err(what) => return Some(Err(SecondsError::Line { path: self.path.clone(), line, what })),
            }
        }
    }
}

/// The cells of one row, by the titles of their columns.
pub(super) struct Cells<'a> {
    titles: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
    phases: &'a [String],
}

impl Cells<'_> {
    pub(super) fn text(&self, title: &str) -> Result<&str, String> {
        let at = self.titles.iter().position(|known| known == title);
        at.and_then(|at| self.record.get(at)).ok_or_else(|| format!("has no {title}"))
    }

    pub(super) fn number(&self, title: &str) -> Result<u64, String> {
        let cell = self.text(title)?;
        cell.parse().map_err(|_| format!("has {cell:?} where the number {title} belongs"))
    }

    /// Returns the number in a column that older files lack; 0 if the column is missing.
    pub(super) fn number_if(&self, title: &str) -> Result<u64, String> {
        if self.titles.iter().any(|known| known == title) { self.number(title) } else { Ok(0) }
    }

    /// Returns the number in a column that older files lack; `None` if the column is missing or the cell is empty.
    pub(super) fn optional(&self, title: &str) -> Result<Option<u64>, String> {
        match self.text(title) {
            Ok(cell) if !cell.is_empty() => self.number(title).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) fn time(&self, title: &str) -> Result<Duration, String> {
        seconds(self.text(title)?).ok_or_else(|| format!("has no time in {title}"))
    }

    /// Returns the index of the phase to which the row belongs.
    pub(super) fn phase(&self) -> Result<usize, String> {
        let name = self.text("phase")?;
        let phase = self.phases.iter().position(|phase| phase == name);
        phase.ok_or_else(|| format!("is of a phase {name:?} that the run does not have"))
    }
}

/// Parses a time of the tables; `None` if it is none, or longer than any run.
fn seconds(text: &str) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    (time <= LONGEST).then(|| millis(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_longer_than_any_run_is_refused_before_it_costs_memory() {
        assert_eq!(seconds("86400.0004"), Some(Duration::from_secs(86_400)));
        for text in ["1e11", "1e300", "inf", "NaN", "-1", ""] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
