//! The files that grow with the run: written under temporary names, given their own at the end.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::{RunDirError, temporary};
use crate::collector::snapshot::Interval;
use crate::report::conditions::ConditionSeries;
use crate::report::csv::TimeSeries;
use crate::report::hdr_log::IntervalLog;
use crate::report::seconds::{CONDITIONS, LOG, SERIES};

type Part = BufWriter<NamedTempFile>;

/// `timeseries.csv`, `metrics.hlog` and `conditions.csv` of a run that is under way.
///
/// A file that fails is given up, the others go on, and so does the run: the failure is reported by
/// [`Recording::finish`].
pub struct Recording {
    series: File<TimeSeries<Part>>,
    log: File<IntervalLog<Part>>,
    conditions: File<ConditionSeries<Part>>,
}

/// One growing file: its writer or its failure.
struct File<W> {
    path: PathBuf,
    writer: io::Result<W>,
}

impl Recording {
    pub(super) fn begin(
        directory: &Path,
        phases: &[String],
        started_at: Duration,
    ) -> Result<Recording, RunDirError> {
        let begin = |name: &str| {
            let path = directory.join(name);
            match temporary(directory) {
                Ok(file) => Ok((path, BufWriter::new(file))),
                Err(source) => Err(RunDirError::Write { path, source }),
            }
        };
        let (path, part) = begin(SERIES)?;
        let series = File { writer: TimeSeries::new(part, phases.to_vec()), path };
        let (path, part) = begin(LOG)?;
        let log = File { writer: IntervalLog::new(part, phases, started_at), path };
        let (path, part) = begin(CONDITIONS)?;
        let conditions = File { writer: ConditionSeries::new(part, phases.to_vec()), path };
        Ok(Recording { series, log, conditions })
    }

    /// Adds one interval to all.
    pub fn add(&mut self, interval: &Interval) {
        self.series.add(|series| series.add(interval));
        self.log.add(|log| log.add(interval));
        self.conditions.add(|conditions| conditions.add(interval));
    }

    /// Gives all their names.
    ///
    /// # Errors
    /// The first failure of any since the run began; the others are stored all the same.
    pub fn finish(self) -> Result<(), RunDirError> {
        let series = self.series.finish(TimeSeries::into_inner);
        let log = self.log.finish(|log| Ok(log.into_inner()));
        let conditions = self.conditions.finish(ConditionSeries::into_inner);
        series.and(log).and(conditions)
    }
}

impl<W> File<W> {
    fn add(&mut self, add: impl FnOnce(&mut W) -> io::Result<()>) {
        if let Ok(writer) = &mut self.writer
            && let Err(error) = add(writer)
        {
            self.writer = Err(error);
        }
    }

    fn finish(self, into_inner: impl FnOnce(W) -> io::Result<Part>) -> Result<(), RunDirError> {
        let File { path, writer } = self;
        let stored = writer.and_then(into_inner).and_then(|mut part| {
            part.flush()?;
            let file = part.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        });
        stored.map_err(|source| RunDirError::Write { path, source })
    }
}
