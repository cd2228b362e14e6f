//! Reads a stored run second by second: `timeseries.csv`, `metrics.hlog` and `conditions.csv` become intervals again.
//!
//! Only one second is in memory at a time, because logs can be large. Values that the files do not hold (transactions
//! and recipients of a second, the replies of its conditions) are 0 or absent in the intervals. Runs of smtpress 0.1
//! may have no `conditions.csv`; then their seconds have no conditions.

mod rows;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::hdr_log;
use crate::collector::histogram::Hist;
use crate::collector::snapshot::{Gauges, Interval};
use crate::collector::tally::{ConditionCount, ConditionKey, Counts, PhaseTally, RetryCounts, Tally};
use crate::collector::{Metric, Outcome};
use rows::{Cells, Rows};

/// The name of the time series in a run directory.
pub const SERIES: &str = "timeseries.csv";
/// The name of the interval log in a run directory.
pub const LOG: &str = "metrics.hlog";
/// The name of the conditions over time in a run directory.
pub const CONDITIONS: &str = "conditions.csv";

/// No run is longer: a phase lasts a year at most. A longer time is of a changed file, and could cost all memory.
pub const LONGEST: Duration = Duration::from_secs(2 * 366 * 24 * 3600);

/// Why a stored time series cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecondsError {
    /// A file cannot be opened or read.
    #[error(
        "failed to read {}: {source}; give the whole directory that `smtpress run` wrote; a search has no time series",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line is invalid.
    #[error("failed to read {}: line {line} {what}; the file was changed or cut short", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: u64,
        /// The fault.
        what: String,
    },
}

/// The seconds of a stored run, in order.
pub struct Seconds {
    rows: Peekable<Rows<SeriesRow>>,
    lines: Peekable<Lines>,
    met: Option<Peekable<Rows<ConditionSecond>>>,
    phases: usize,
}

impl Seconds {
    /// Opens the files of a run directory. `phases` are the names of the run's phases.
    ///
    /// # Errors
    /// A file cannot be opened. A missing `conditions.csv` is no error.
    pub fn open(directory: &Path, phases: &[String]) -> Result<Seconds, SecondsError> {
        Ok(Seconds {
            rows: Rows::open(directory.join(SERIES), phases, row)?.peekable(),
            lines: Lines::open(directory.join(LOG), phases)?.peekable(),
            met: conditions(directory, phases)?,
            phases: phases.len(),
        })
    }

    /// Opens a run that was joined with its deliveries later: `series` and `log` replace the time series and the interval
    /// log of the directory.
    ///
    /// # Errors
    /// The titles of the time series cannot be read, or the conditions cannot be opened.
    pub fn joined(
        directory: &Path,
        phases: &[String],
        series: &str,
        log: &[u8],
    ) -> Result<Seconds, SecondsError> {
        let text = |bytes: &[u8]| -> Box<dyn Read> { Box::new(Cursor::new(bytes.to_vec())) };
        let rows = Rows::of(text(series.as_bytes()), directory.join(SERIES), phases, row)?;
        Ok(Seconds {
            rows: rows.peekable(),
            lines: Lines::of(text(log), directory.join(LOG), phases).peekable(),
            met: conditions(directory, phases)?,
            phases: phases.len(),
        })
    }

    /// Returns the start of the next second, if there is one and it can be read.
    pub fn next_start(&mut self) -> Option<Duration> {
        let row = self.rows.peek().and_then(|row| row.as_ref().ok()).map(|row| row.start);
        let line = self.lines.peek().and_then(|line| line.as_ref().ok()).map(|line| line.start);
        let met = self.met.as_mut().and_then(|met| met.peek()?.as_ref().ok()).map(|met| met.start);
        row.into_iter().chain(line).chain(met).min()
    }

    /// Whether nothing is left to read or to report.
    pub fn is_over(&mut self) -> bool {
        self.rows.peek().is_none()
            && self.lines.peek().is_none()
            && self.met.as_mut().is_none_or(|met| met.peek().is_none())
    }

    fn interval(&mut self, start: Duration) -> Result<Interval, SecondsError> {
        let mut interval = Interval {
            start,
            length: Duration::ZERO,
            tally: Tally::new(self.phases),
            transactions: Vec::new(),
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
        let own = |met: &Result<ConditionSecond, _>| met.as_ref().is_ok_and(|met| met.start == start);
        while let Some(met) = self.met.as_mut().and_then(|met| met.next_if(own)) {
            let met = met?;
            interval.length = interval.length.max(met.length);
            met.count_in(&mut interval.tally.phases[met.phase]);
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
        if let Some(fault) = self.met.as_mut().and_then(|met| met.next_if(Result::is_err)?.err()) {
            return Some(Err(fault));
        }
        let start = self.next_start()?;
        Some(self.interval(start))
    }
}

/// Opens the conditions over time; `None` if there is no such file.
fn conditions(
    directory: &Path,
    phases: &[String],
) -> Result<Option<Peekable<Rows<ConditionSecond>>>, SecondsError> {
    match Rows::open(directory.join(CONDITIONS), phases, met) {
        Ok(met) => Ok(Some(met.peekable())),
        Err(SecondsError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// One row of the time series.
struct SeriesRow {
    start: Duration,
    length: Duration,
    phase: usize,
    counts: Counts,
    gauges: Gauges,
}

fn row(cells: &Cells<'_>) -> Result<Option<SeriesRow>, String> {
    let mut counts = Counts {
        scheduled: cells.number("offered")?,
        started: cells.number("started")?,
        opened: cells.number("opened")?,
        bytes_sent: cells.number("bytes_sent")?,
        bytes_received: cells.number("bytes_received")?,
        retry: RetryCounts { retries: cells.number_if("retries")?, ..RetryCounts::default() },
        awaited: cells.optional("accepted_recipients")?.unwrap_or_default(),
        delivered: cells.optional("delivered")?.unwrap_or_default(),
        ..Counts::default()
    };
    for outcome in Outcome::ALL {
        counts.arrivals.add_many(outcome, cells.number(&outcome.as_str().replace('-', "_"))?);
    }
    // The file has only the number of failed attempts, not their outcomes, so all count as deferred.
    counts.retry.attempts.add_many(Outcome::Deferred, cells.number_if("attempts_failed")?);
    let gauges = Gauges {
        queued: cells.optional("queued")?,
        sessions: cells.number("sessions")?,
        in_flight: cells.number("in_flight")?,
        waiting: cells.number("waiting")?,
        retrying: cells.number_if("retrying")?,
        peak_sessions: 0,
    };
    let (start, length) = (cells.time("t_s")?, cells.time("length_s")?);
    Ok(Some(SeriesRow { start, length, phase: cells.phase()?, counts, gauges }))
}

/// One row of the conditions over time.
struct ConditionSecond {
    start: Duration,
    length: Duration,
    phase: usize,
    key: ConditionKey,
    count: u64,
}

impl ConditionSecond {
    fn count_in(&self, tally: &mut PhaseTally) {
        let unknown = || ConditionCount {
            count: 0,
            drained: 0,
            first: self.start,
            last: self.start,
            sample: String::new(),
        };
        tally.conditions.entry(self.key.clone()).or_insert_with(unknown).count += self.count;
    }
}

fn met(cells: &Cells<'_>) -> Result<Option<ConditionSecond>, String> {
    let (start, length, count) = (cells.time("t_s")?, cells.time("length_s")?, cells.number("count")?);
    let phase = cells.phase()?;
    let code = match cells.text("code")? {
        "" => None,
        _ => u16::try_from(cells.number("code")?).ok(),
    };
    let names = [cells.text("step")?, cells.text("condition")?, cells.text("outcome")?];
    let key = ConditionKey::named(names, code, Some(cells.text("enhanced")?));
    // An unknown name belongs to a later version.
    let Some(key) = key else { return Ok(None) };
    Ok(Some(ConditionSecond { start, length, phase, key, count }))
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
    file: BufReader<Box<dyn Read>>,
    number: u64,
    /// The names of the phases as in tags.
    phases: Vec<String>,
}

impl Lines {
    fn open(path: PathBuf, phases: &[String]) -> Result<Lines, SecondsError> {
        match File::open(&path) {
            Ok(file) => Ok(Lines::of(Box::new(file), path, phases)),
            Err(source) => Err(SecondsError::File { path, source }),
        }
    }

    /// Reads the lines of a text in place of the file.
    fn of(text: Box<dyn Read>, path: PathBuf, phases: &[String]) -> Lines {
        let phases = phases.iter().map(|phase| hdr_log::word(phase)).collect();
        Lines { path, file: BufReader::new(text), number: 0, phases }
    }

    /// Returns the content of a line; `None` if the line has no values, or if this version does not know its metric.
    fn line(&self, text: &str) -> Result<Option<Line>, String> {
        let Some(entry) = IntervalLogIterator::new(text.as_bytes()).next() else { return Ok(None) };
        let Ok(LogEntry::Interval(entry)) = entry else {
            return match entry {
                Ok(_) => Ok(None),
                Err(_) => Err("is no line of an interval log".to_owned()),
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
        if start.max(length) > LONGEST {
            return Err("has a time that is longer than any run".to_owned());
        }
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

/// Returns a time rounded to milliseconds, the precision of the files.
fn millis(time: Duration) -> Duration {
    Duration::from_millis((time.as_secs_f64() * 1e3).round() as u64)
}
