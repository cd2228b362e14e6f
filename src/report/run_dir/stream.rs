//! The files that grow with the run. Each second is handed to the kernel before the call returns, so that no second is
//! lost if the process is killed.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::RunDirError;
use crate::collector::snapshot::Interval;
use crate::report::conditions::ConditionSeries;
use crate::report::csv::TimeSeries;
use crate::report::hdr_log::IntervalLog;
use crate::report::seconds::{CONDITIONS, LOG, SERIES};

type FileWriter = BufWriter<File>;
/// The size of the buffer in bytes: large enough to write most seconds with one call.
const BUFFER: usize = 256 * 1024;

/// `timeseries.csv`, `metrics.hlog` and `conditions.csv` of a run in progress.
///
/// After a failure a file is not written any more; the other files and the run continue. [`Recording::finish`] reports
/// the failure.
pub struct Recording {
    series: GrowingFile<TimeSeries<FileWriter>>,
    log: GrowingFile<IntervalLog<FileWriter>>,
    conditions: GrowingFile<ConditionSeries<FileWriter>>,
}

/// One growing file: its writer or its failure.
struct GrowingFile<W> {
    path: PathBuf,
    writer: io::Result<W>,
}

impl Recording {
    pub(super) fn begin(
        directory: &Path,
        phases: &[String],
        has_retries: bool,
        started_at: Duration,
    ) -> Result<Recording, RunDirError> {
        let begin = |name: &str| {
            let path = directory.join(name);
            match File::create_new(&path) {
                Ok(file) => Ok((path, BufWriter::with_capacity(BUFFER, file))),
                Err(source) => Err(RunDirError::Write { path, source }),
            }
        };
        let (path, part) = begin(SERIES)?;
        let series = GrowingFile { writer: TimeSeries::new(part, phases.to_vec(), has_retries), path };
        let (path, part) = begin(LOG)?;
        let log = GrowingFile { writer: IntervalLog::new(part, phases, started_at), path };
        let (path, part) = begin(CONDITIONS)?;
        let conditions = GrowingFile { writer: ConditionSeries::new(part, phases.to_vec()), path };
        let mut recording = Recording { series, log, conditions };
        recording.flush();
        Ok(recording)
    }

    /// Adds one interval to all files.
    pub fn add(&mut self, interval: &Interval) {
        self.series.with(|series| series.add(interval));
        self.log.with(|log| log.add(interval));
        self.conditions.with(|conditions| conditions.add(interval));
        self.flush();
    }

    fn flush(&mut self) {
        self.series.with(TimeSeries::flush);
        self.log.with(IntervalLog::flush);
        self.conditions.with(ConditionSeries::flush);
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// The failure of the first file that has failed, in the order of the files.
    pub fn finish(self) -> Result<(), RunDirError> {
        self.series.finish().and(self.log.finish()).and(self.conditions.finish())
    }
}

impl<W> GrowingFile<W> {
    fn with(&mut self, act: impl FnOnce(&mut W) -> io::Result<()>) {
        if let Ok(writer) = &mut self.writer
            && let Err(error) = act(writer)
        {
            self.writer = Err(error);
        }
    }

    fn finish(self) -> Result<(), RunDirError> {
        let GrowingFile { path, writer } = self;
        match writer {
            // The contents of a removed file are lost.
            Ok(_) if path.exists() => Ok(()),
            Ok(_) => Err(RunDirError::Write { path, source: io::ErrorKind::NotFound.into() }),
            Err(source) => Err(RunDirError::Write { path, source }),
        }
    }
}
