//! The files that grow with the run: written under temporary names, given their own at the end.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::{RunDirError, temporary};
use crate::collector::snapshot::Interval;
use crate::report::csv::TimeSeries;
use crate::report::hdr_log::IntervalLog;

type Part = BufWriter<NamedTempFile>;

/// `timeseries.csv` and `metrics.hlog` of a run that is under way.
///
/// A file that fails is given up, the other goes on, and so does the run: the failure is reported by
/// [`Recording::finish`].
pub struct Recording {
    series: File<TimeSeries<Part>>,
    log: File<IntervalLog<Part>>,
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
        let (path, part) = begin("timeseries.csv")?;
        let series = File { writer: TimeSeries::new(part, phases.to_vec()), path };
        let (path, part) = begin("metrics.hlog")?;
        let log = File { writer: IntervalLog::new(part, phases, started_at), path };
        Ok(Recording { series, log })
    }

    /// Adds one interval to both.
    pub fn add(&mut self, interval: &Interval) {
        self.series.add(|series| series.add(interval));
        self.log.add(|log| log.add(interval));
    }

    /// Gives both their names.
    ///
    /// # Errors
    /// The first failure of either since the run began; the other is stored all the same.
    pub fn finish(self) -> Result<(), RunDirError> {
        let series = self.series.finish(TimeSeries::into_inner);
        let log = self.log.finish(|log| Ok(log.into_inner()));
        series.and(log)
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
