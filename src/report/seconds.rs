//! A stored run, second by second: `timeseries.csv` and `metrics.hlog` read back into the intervals they were written from.
//!
//! One second is in memory at a time: a log of an hour is larger than what one wants to hold. What the files do not have
//! (transactions, conditions, recipients of a second) is 0 or absent in the intervals.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::hdr_log;
use crate::collector::histogram::Hist;
use crate::collector::snapshot::{Gauges, Interval};
use crate::collector::tally::{Counts, Tally};
use crate::collector::{Metric, Outcome};

/// The name of the time series in a run directory.
pub const SERIES: &str = "timeseries.csv";
/// The name of the interval log in a run directory.
pub const LOG: &str = "metrics.hlog";

/// Why a stored time series cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecondsError {
    /// A file cannot be opened or read.
    #[error("failed to read {}: {source}; give the whole run directory, as smtpress wrote it", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not understood.
    #[error("failed to read {}: line {line} {what}; the file was changed or cut short", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// The seconds of a stored run, in order.
pub struct Seconds {
    rows: Peekable<Rows>,
    lines: Peekable<Lines>,
    phases: usize,
}

impl Seconds {
    /// Opens the files of a run directory. `phases` are the names of the run's phases.
    ///
    /// # Errors
    /// When one is not there.
    pub fn open(directory: &Path, phases: &[String]) -> Result<Seconds, SecondsError> {
        Ok(Seconds {
            rows: Rows::open(directory.join(SERIES), phases)?.peekable(),
            lines: Lines::open(directory.join(LOG), phases)?.peekable(),
            phases: phases.len(),
        })
    }

    /// The start of the next second, if there is one and it can be read.
    pub fn next_start(&mut self) -> Option<Duration> {
        let row = self.rows.peek().and_then(|row| row.as_ref().ok()).map(|row| row.start);
        let line = self.lines.peek().and_then(|line| line.as_ref().ok()).map(|line| line.start);
        row.into_iter().chain(line).min()
    }

    /// Whether nothing is left, not even a fault.
    pub fn is_over(&mut self) -> bool {
        self.rows.peek().is_none() && self.lines.peek().is_none()
    }

    fn interval(&mut self, start: Duration) -> Result<Interval, SecondsError> {
        let mut interval = Interval {
            start,
            length: Duration::ZERO,
            tally: Tally::new(self.phases),
            gauges: Gauges::default(),
        };
        while let Some(row) = self.rows.next_if(|row| row.as_ref().is_ok_and(|row| row.start == start)) {
            let row = row?;
            interval.length = interval.length.max(row.length);
            interval.gauges = row.gauges;
            interval.tally.phases[row.phase].counts += &row.counts;
        }
        while let Some(line) = self.lines.next_if(|line| line.as_ref().is_ok_and(|line| line.start == start))
        {
            let line = line?;
            interval.length = interval.length.max(line.length);
            interval.tally.phases[line.phase]
                .hists
                .entry((line.metric, line.outcome))
                .or_default()
                .merge(&line.hist);
        }
        Ok(interval)
    }
}

impl Iterator for Seconds {
    type Item = Result<Interval, SecondsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(fault) = self.rows.next_if(Result::is_err).and_then(Result::err) {
            return Some(Err(fault));
        }
        if let Some(fault) = self.lines.next_if(Result::is_err).and_then(Result::err) {
            return Some(Err(fault));
        }
        let start = self.next_start()?;
        Some(self.interval(start))
    }
}

/// One row of the time series.
struct Row {
    start: Duration,
    length: Duration,
    phase: usize,
    counts: Counts,
    gauges: Gauges,
}

struct Rows {
    path: PathBuf,
    records: csv::StringRecordsIntoIter<File>,
    titles: csv::StringRecord,
    phases: Vec<String>,
}

impl Rows {
    fn open(path: PathBuf, phases: &[String]) -> Result<Rows, SecondsError> {
        let wrong = |path: &Path, source| SecondsError::File { path: path.to_owned(), source };
        let file = File::open(&path).map_err(|source| wrong(&path, source))?;
        let mut reader = csv::Reader::from_reader(file);
        let titles =
            reader.headers().map_err(|error| wrong(&path, io::Error::other(error.to_string())))?.clone();
        Ok(Rows { path, records: reader.into_records(), titles, phases: phases.to_vec() })
    }

    fn row(&self, record: &csv::StringRecord) -> Result<Row, String> {
        let cell = |title: &str| {
            let at = self.titles.iter().position(|known| known == title);
            at.and_then(|at| record.get(at)).ok_or_else(|| format!("has no {title}"))
        };
        let number = |title: &str| {
            let cell = cell(title)?;
            cell.parse::<u64>().map_err(|_| format!("has {cell:?} where the number {title} belongs"))
        };
        let time = |title: &str| seconds(cell(title)?).ok_or_else(|| format!("has no time in {title}"));
        let name = cell("phase")?;
        let phase = self.phases.iter().position(|phase| phase == name);
        let mut counts = Counts {
            scheduled: number("offered")?,
            started: number("started")?,
            opened: number("opened")?,
            bytes_sent: number("bytes_sent")?,
            bytes_received: number("bytes_received")?,
            ..Counts::default()
        };
        for outcome in Outcome::ALL {
            counts.arrivals.add_many(outcome, number(&outcome.as_str().replace('-', "_"))?);
        }
        Ok(Row {
            start: time("t_s")?,
            length: time("length_s")?,
            phase: phase.ok_or_else(|| format!("is of a phase {name:?} that the run does not have"))?,
            counts,
            gauges: Gauges {
                sessions: number("sessions")?,
                in_flight: number("in_flight")?,
                waiting: number("waiting")?,
                peak_sessions: 0,
            },
        })
    }
}

impl Iterator for Rows {
    type Item = Result<Row, SecondsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        let behind = self.records.reader().position().line();
        let line = match &record {
            Ok(record) => record.position().map_or(behind, csv::Position::line),
            Err(_) => behind,
        };
        let read = record.map_err(|error| format!("is no row: {error}")).and_then(|record| self.row(&record));
        Some(read.map_err(|what| SecondsError::Line { path: self.path.clone(), line, what }))
    }
}

/// One line of the interval log.
struct Line {
    start: Duration,
    length: Duration,
    phase: usize,
    metric: Metric,
    outcome: Outcome,
    hist: Hist,
}

struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    number: u64,
    /// As they stand in tags.
    phases: Vec<String>,
}

impl Lines {
    fn open(path: PathBuf, phases: &[String]) -> Result<Lines, SecondsError> {
        match File::open(&path) {
            Ok(file) => Ok(Lines {
                path,
                file: BufReader::new(file),
                number: 0,
                phases: phases.iter().map(|phase| hdr_log::word(phase)).collect(),
            }),
            Err(source) => Err(SecondsError::File { path, source }),
        }
    }

    /// What a line holds; nothing of what this version does not know or what holds no values.
    fn line(&self, text: &str) -> Result<Option<Line>, String> {
        let Some(entry) = IntervalLogIterator::new(text.as_bytes()).next() else { return Ok(None) };
        let Ok(LogEntry::Interval(entry)) = entry else {
            return match entry {
                Ok(_) => Ok(None),
                Err(error) => Err(format!("is no line of an interval log: {error:?}")),
            };
        };
        let tag = entry.tag().map(|tag| tag.as_str()).unwrap_or_default();
        let mut parts = tag.rsplitn(3, '/');
        let (outcome, metric, phase) = (parts.next(), parts.next(), parts.next());
        let (Some(outcome), Some(metric), Some(phase)) = (outcome, metric, phase) else {
            return Err(format!("has the tag {tag:?}, which is not phase/metric/outcome"));
        };
        let phase = self.phases.iter().position(|known| known == phase);
        let phase =
            phase.ok_or_else(|| format!("has the tag {tag:?} of a phase that the run does not have"))?;
        let (Ok(metric), Ok(outcome)) = (metric.parse(), outcome.parse()) else { return Ok(None) };
        let hist = Hist::decode(entry.encoded_histogram()).map_err(|error| format!("holds {error}"))?;
        let (start, length) = (millis(entry.start_timestamp()), millis(entry.duration()));
        Ok(Some(Line { start, length, phase, metric, outcome, hist }))
    }
}

impl Iterator for Lines {
    type Item = Result<Line, SecondsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut text = String::new();
            self.number += 1;
            match self.file.read_line(&mut text) {
                Ok(0) => return None,
                Ok(_) if text.starts_with('"') => {}
                Ok(_) => match self.line(&text) {
                    Ok(None) => {}
                    Ok(Some(line)) => return Some(Ok(line)),
                    Err(what) => {
                        return Some(Err(SecondsError::Line {
                            path: self.path.clone(),
                            line: self.number,
                            what,
                        }));
                    }
                },
                Err(source) => return Some(Err(SecondsError::File { path: self.path.clone(), source })),
            }
        }
    }
}

/// A time as the time series has it.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (0.0..1e12).contains(&seconds).then(|| millis(Duration::from_secs_f64(seconds)))
}

/// To the millisecond, which is as far as the files go.
fn millis(time: Duration) -> Duration {
    Duration::from_millis((time.as_secs_f64() * 1e3).round() as u64)
}
