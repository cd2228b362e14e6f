//! Reads the files of a run that was not stored: its counts from `unfinished.json`, its distributions from the interval
//! log.
//!
//! # Decisions
//! - Such a run has no verdict: the measurement is invalid, and the exit code is that of an interruption.
//! - `unfinished.json` is written after the other files of its second. Distributions are added up only to this second,
//!   so that counts and distributions cover the same time.

use std::path::Path;
use std::time::Duration;

use super::{RunDirError, UNFINISHED, place};
use crate::collector::snapshot::{Gauges, Health, Measured};
use crate::collector::summary::{PhaseInfo, Summary};
use crate::collector::tally::Tally;
use crate::report::format;
use crate::report::merge::info;
use crate::report::seconds::Seconds;
use crate::report::stored::{
    RunResult, StoredAssertionStatus, StoredStatus, StoredValidity, StoredVerdict, ValidityStatus,
};
use crate::report::stored::{convert, json};
use crate::verdict::ExitCode;

/// The run was killed, or its machine went down.
pub const CUT_OFF: &str = "cut-off";
/// The run has not ended.
pub const IN_PROGRESS: &str = "in-progress";
/// The exit code of a run that did not end.
pub const INTERRUPTED: u8 = ExitCode::Interrupted.number();

impl RunResult {
    /// Whether the run is in progress or was cut off.
    pub fn is_unfinished(&self) -> bool {
        self.validity.reasons.iter().any(|reason| reason == CUT_OFF || reason == IN_PROGRESS)
    }
}

/// Returns the result of a run that was not stored, as far as it is known.
///
/// # Errors
/// `unfinished.json` cannot be read.
pub(super) fn read(directory: &Path) -> Result<RunResult, RunDirError> {
    let path = directory.join(UNFINISHED);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(RunDirError::Open { path, source }),
    };
    let mut result = json::read(&text).map_err(|source| RunDirError::Read { path, source })?;
    let took = format::seconds(result.took_s);
    let (code, what) = match place::is_in_progress(directory) {
        true => (IN_PROGRESS, format!("the run has not ended; this is what was counted in its first {took}")),
        false => (
            CUT_OFF,
            format!("the run was cut off (killed, or its machine went down) after {took}: it has no verdict"),
        ),
    };
    result.validity = StoredValidity {
        status: ValidityStatus::Invalid,
        reasons: vec![code.to_owned()],
        explanations: vec![what],
    };
    result.verdict =
        StoredVerdict { status: StoredStatus::Invalid, exit_code: INTERRUPTED, aborted_by: None };
    for assertion in &mut result.assertions {
        assertion.status = StoredAssertionStatus::NotJudged;
        assertion.observed = "the run did not come to its end".to_owned();
    }
    if let Err(why) = distributions(directory, &mut result) {
        result.warnings.push(format!("the times are not complete: {why}"));
    }
    Ok(result)
}

/// Sets the distributions of a result to the sums of the interval log.
fn distributions(directory: &Path, result: &mut RunResult) -> Result<(), String> {
    if result.phases.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = result.phases.iter().map(|phase| phase.name.clone()).collect();
    let counted = Duration::try_from_secs_f64(result.took_s).unwrap_or_default();
    let mut tally = Tally::new(names.len());
    let mut fault = None;
    let seconds = Seconds::open(directory, &names).map_err(|error| error.to_string())?;
    for second in seconds {
        match second {
            Ok(second) if second.start < counted => {
                for (own, other) in tally.phases.iter_mut().zip(second.tally.phases) {
                    for (key, hist) in other.hists {
                        own.hists.entry(key).or_default().merge(&hist);
                    }
                }
            }
            Ok(_) => break,
            Err(error) => {
                fault = Some(error.to_string());
                break;
            }
        }
    }
    let count = names.len();
    let measured = Measured {
        tally,
        windows: vec![Duration::ZERO; count],
        starts: vec![Duration::ZERO; count],
        held_back: vec![false; count],
        drained_for: Vec::new(),
        began_at: Duration::ZERO,
        work: Vec::new(),
        gauges: Gauges::default(),
        peak_sessions: vec![0; count],
        health: Health::default(),
        interrupted: false,
        aborted_by: None,
        took: counted,
        ..Measured::default()
    };
    let infos: Vec<PhaseInfo> = result.phases.iter().map(info).collect();
    let summary = Summary::new(&measured, &infos);
    let rows = |(index, phase): (usize, _)| convert::metrics(&measured, index, phase);
    result.metrics = summary.phases.iter().enumerate().flat_map(rows).collect();
    result.generator.lag_p99_ns = (!result.metrics.is_empty()).then_some(summary.lag_p99_ns);
    fault.map_or(Ok(()), Err)
}
