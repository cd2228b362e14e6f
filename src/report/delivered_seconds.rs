//! The seconds of a run with what came out of its relay, where that was learnt when the run was over.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use super::csv::with_deliveries;
use super::hdr_log::with_times;
use super::seconds::{LOG, SERIES};
use crate::collector::delivery::Delivered;

/// `timeseries.csv` and `metrics.hlog` of a run, filled.
#[derive(Clone, Debug)]
pub struct DeliveredSeconds {
    /// The time series.
    pub series: String,
    /// The interval log.
    pub log: Vec<u8>,
}

impl DeliveredSeconds {
    /// Fills the files of a run directory. `phases` are the plan's names, in its order; while something is missing, the
    /// seconds last until `waited`.
    ///
    /// # Errors
    /// The time series is not there, or is none.
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

/// Returns the filled time series, and writes the filled interval log.
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
