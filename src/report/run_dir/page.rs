//! `report.html` of a run directory, from the files that are in it.

use std::fs;
use std::path::Path;

use crate::report::html::{self, Course};
use crate::report::seconds::{CONDITIONS, SERIES, Seconds};
use crate::report::stored::RunResult;

/// The name of the page in a run directory.
pub const PAGE: &str = "report.html";

/// The longest `conditions.csv` that a page carries whole, in octets: its chart needs less.
const LONGEST: usize = 500_000;

/// The page of a run whose other files are in `directory`. What is not there or cannot be read is not on it.
pub fn page(directory: &Path, result: &RunResult) -> String {
    let text = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let names: Vec<String> = result.phases.iter().map(|phase| phase.name.clone()).collect();
    let mut course = Seconds::open(directory, &names).and_then(|seconds| Course::of(result, seconds)).ok();
    // As long as nothing had to be added up, the page carries the file itself.
    if let Some((course, series)) = &mut course
        && course.is_whole()
        && let Some(file) = text(SERIES)
    {
        *series = file;
    }
    let (profile, environment) = (text("profile.toml"), text("environment.json"));
    let conditions = text(CONDITIONS).filter(|text| text.len() <= LONGEST);
    html::write(html::Input {
        result,
        profile: profile.as_deref(),
        environment: environment.as_deref(),
        conditions: conditions.as_deref(),
        course: course.as_ref().map(|(course, series)| (course, series.as_str())),
        stage: html::Stage::Over,
    })
}
