//! The seconds of a run with the deliveries of its relay, if these became known only after the run.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use super::csv::with_deliveries;
use super::hdr_log::with_times;
use super::seconds::{LOG, SERIES};
use crate::collector::delivery::Delivered;

/// `timeseries.csv` and `metrics.hlog` of a run, with the deliveries.
#[derive(Clone, Debug)]
pub struct DeliveredSeconds {
    /// The time series.
    pub series: String,
    /// The interval log.
    pub log: Vec<u8>,
}

impl DeliveredSeconds {
    /// Adds the deliveries to the files of a run directory. `phases` are the names of the plan's phases, in order. If
    /// recipients are missing, the seconds last until `waited`.
    ///
    /// # Errors
    /// A file cannot be read, or the time series lacks a column.
    pub fn of(
        directory: &Path,
        phases: &[String],
        delivered: &Delivered,
        waited: Duration,
    ) -> io::Result<DeliveredSeconds> {
        let mut log = Vec::new();
        let series = fill(directory, phases, delivered, waited, &mut log)?;
        Ok(DeliveredSeconds { series, log })
    }
}

/// Returns the time series with the deliveries, and writes the interval log with them.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn fill(
    directory: &Path,
    phases: &[String],
    delivered: &Delivered,
    waited: Duration,
    log: impl Write,
) -> io::Result<String> {
    let series = fs::read_to_string(directory.join(SERIES))?;
    let (series, rows) = with_deliveries(&series, phases, delivered, waited)?;
    let known = BufReader::new(File::open(directory.join(LOG))?);
    with_times(known, log, phases, &rows, delivered)?;
    Ok(series)
}
