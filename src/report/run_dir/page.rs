//! `report.html` of a run directory, from the files that are in it.

use std::fs;
use std::path::Path;

use crate::report::delivered_seconds::DeliveredSeconds;
use crate::report::html::{self, PageInput, Timeline};
use crate::report::seconds::{CONDITIONS, SERIES, Seconds};
use crate::report::stored::RunResult;

/// The name of the page in a run directory.
pub const PAGE: &str = "report.html";

/// The size of the largest `conditions.csv` that a page includes, in bytes. The chart does not need the file.
const LONGEST: usize = 500_000;

/// Returns the page of a run whose other files are in `directory`. Missing or unreadable files are left out. `joined`
/// replaces the time series and the interval log of a run that was joined with its deliveries later.
pub fn page(directory: &Path, result: &RunResult, joined: Option<&DeliveredSeconds>) -> String {
    let text = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let names: Vec<String> = result.phases.iter().map(|phase| phase.name.clone()).collect();
    let seconds = match joined {
        Some(joined) => Seconds::joined(directory, &names, &joined.series, &joined.log),
        None => Seconds::open(directory, &names),
    };
    let mut timeline = seconds.and_then(|seconds| Timeline::of(result, seconds)).ok();
    // If no rows had to be added up, the page includes the file itself.
    if let Some((timeline, series)) = &mut timeline
        && timeline.is_whole()
        && let Some(file) = joined.map_or_else(|| text(SERIES), |joined| Some(joined.series.clone()))
    {
        *series = file;
    }
    let (profile, environment) = (text("profile.toml"), text("environment.json"));
    let conditions = text(CONDITIONS).filter(|text| text.len() <= LONGEST);
    html::write(PageInput {
        result,
        profile: profile.as_deref(),
        environment: environment.as_deref(),
        conditions: conditions.as_deref(),
        timeline: timeline.as_ref().map(|(timeline, series)| (timeline, series.as_str())),
        live: None,
    })
}
