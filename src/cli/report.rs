//! `smtpress report`: prints a stored run in any format, merges shards, and joins a run with delivery logs.

use std::path::PathBuf;

use super::args::{Format, ReportArgs};
use super::overrides::{list, quoted};
use super::screen::Screen;
use super::show::in_text;
use crate::collector::snapshot::Interval;
use crate::command::joined::JoinedLogs;
use crate::command::output::Output;
use crate::command::{CommandError, copies, joined};
use crate::report::csv::TimeSeries;
use crate::report::delivered_seconds::DeliveredSeconds;
use crate::report::hdr_log::IntervalLog;
use crate::report::merge::{MergeError, MergedSeconds, Shards};
use crate::report::run_dir::{self, RunDir};
use crate::report::seconds::{LOG, SERIES, Seconds, SecondsError};
use crate::report::stored::RunResult;
use crate::report::{self, hgrm, html, markdown};
use crate::verdict::ExitCode;

/// Runs `smtpress report`.
pub fn report(args: &ReportArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let mut stored = Stored::open(args)?;
    if !args.deliveries.is_empty() {
        let ([directory], [_]) = (stored.directories.as_slice(), args.runs.as_slice()) else {
            return Err(CommandError::usage(
                "--deliveries joins one run: give its directory, not its result.json, and no shards",
            ));
        };
        let told = JoinedLogs {
            deliveries: list(&args.deliveries),
            clock_offset: args.clock_offset.as_deref().map(quoted),
            clock_probe: args.clock_probe.as_deref().map(quoted),
            allow: (!args.allow_target.is_empty()).then(|| list(&args.allow_target)),
        };
        let seconds = joined::join(directory, &mut stored.result, &told)?;
        stored.joined = Some(seconds);
    }
    let stored = stored;
    let output = Output::open(args.out.as_deref())?;
    let result = &stored.result;
    let text = match args.format {
        Format::Text => {
            let colour = output == Output::Stdout && screen.colour_out();
            let files = stored.directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            let files = (!files.is_empty()).then(|| files.join(", "));
            in_text(result, screen.width(), colour, files.as_deref())?
        }
        Format::Csv => stored.time_series()?,
        Format::Hlog => stored.interval_log()?,
        Format::Hgrm => {
            let hist = hgrm::pick(result, &args.of).map_err(|error| {
                CommandError::usage(format!(
                    "{error}; name one with --of, as in --of steady/response/accepted"
                ))
            })?;
            hgrm::write(&hist).into_bytes()
        }
        Format::Html => stored.page()?.into_bytes(),
        Format::Json | Format::Junit | Format::Markdown => plain(args.format, result),
    };
    output.write(&text)?;
    for (path, newer) in args.runs.iter().filter_map(|path| Some((path, RunDir::newer(path)?))) {
        screen.note(&format!(
            "warning: {} holds an older run: the one that was to replace it did not come to its end, and is in {}",
            path.display(),
            newer.display()
        ));
    }
    // The verdict of a merged or joined run is new, so it sets the exit code.
    let is_judged_anew = !args.deliveries.is_empty() || stored.is_merged();
    Ok(if is_judged_anew || result.is_unfinished() {
        ExitCode::of(result.verdict.exit_code)
    } else {
        ExitCode::Success
    })
}

/// Returns the report in one of the formats that need only the result.
fn plain(format: Format, result: &RunResult) -> Vec<u8> {
    match format {
        Format::Junit => report::junit(result).into_bytes(),
        Format::Markdown => markdown::write(result).into_bytes(),
        _ => copies::json_text(result),
    }
}

/// A stored run, or its shards.
struct Stored {
    result: RunResult,
    /// The run directories, by shard; empty if a run has only its result, or if a shard did not end.
    directories: Vec<PathBuf>,
    /// For each shard, how many seconds later than in the first shard each phase started; empty for a run without
    /// shards.
    shifts: Vec<Vec<i64>>,
    /// The seconds of a run that was joined with its deliveries.
    joined: Option<Result<DeliveredSeconds, SecondsError>>,
}

impl Stored {
    fn open(args: &ReportArgs) -> Result<Stored, CommandError> {
        let paths = &args.runs;
        let mut runs = Vec::new();
        for path in paths {
            runs.push((path.display().to_string(), RunDir::open(path)?));
        }
        let mut directories: Vec<PathBuf> = paths.iter().filter(|path| path.is_dir()).cloned().collect();
        if let [(_, result)] = runs.as_slice()
            && args.expect_shards.is_none_or(|expected| expected == 1 && result.shard.is_none())
        {
            return Ok(Stored { result: result.clone(), directories, shifts: Vec::new(), joined: None });
        }
        if let Some(expected) = args.expect_shards {
            Shards::expect(&runs, expected)?;
        }
        let unfinished = runs.iter().any(|(_, result)| result.is_unfinished());
        let shards = Shards::of(runs)?.with_max_skew(args.max_skew);
        // If a shard has no files or did not end, the seconds of the whole are unknown.
        let complete = directories.len() == paths.len() && !unfinished;
        directories =
            if complete { shards.given().iter().map(|at| paths[*at].clone()).collect() } else { Vec::new() };
        let mut stored =
            Stored { result: shards.merge(None)?, directories, shifts: shards.shifts(), joined: None };
        if complete {
            let mut fault = None;
            let mut seconds =
                stored.seconds()?.map_while(|second| second.map_err(|error| fault = Some(error)).ok());
            let result = shards.merge(Some(&mut seconds))?;
            drop(seconds);
            stored.result = result;
            if let Some(fault) = fault {
                return Err(fault.into());
            }
        }
        Ok(stored)
    }

    fn is_merged(&self) -> bool {
        !self.shifts.is_empty()
    }

    fn phases(&self) -> Vec<String> {
        self.result.phases.iter().map(|phase| phase.name.clone()).collect()
    }

    /// Reads the seconds of the run.
    fn seconds(&self) -> Result<Box<dyn Iterator<Item = Result<Interval, SecondsError>>>, CommandError> {
        let phases = self.phases();
        let opened: Result<Vec<Seconds>, SecondsError> =
            self.directories.iter().map(|directory| Seconds::open(directory, &phases)).collect();
        let mut opened = opened?;
        if opened.is_empty() {
            return Err(CommandError::usage(
                "a result alone has no time series: give the run directory, with timeseries.csv and metrics.hlog",
            ));
        }
        Ok(match self.is_merged() {
            false => Box::new(opened.remove(0)),
            true => Box::new(MergedSeconds::new(opened, self.shifts.clone())),
        })
    }

    /// Returns a file of the run directory unchanged; `None` if there is not exactly one directory.
    fn file(&self, name: &str) -> Option<Result<Vec<u8>, CommandError>> {
        let [directory] = self.directories.as_slice() else { return None };
        let path = directory.join(name);
        let read = std::fs::read(&path);
        Some(read.map_err(|source| SecondsError::File { path, source }.into()))
    }

    /// Returns the seconds of a joined run; `None` if the run was not joined.
    fn joined(&self) -> Result<Option<&DeliveredSeconds>, CommandError> {
        match &self.joined {
            None => Ok(None),
            Some(Ok(joined)) => Ok(Some(joined)),
            Some(Err(error)) => Err(CommandError::usage(error.to_string())),
        }
    }

    fn page(&self) -> Result<String, CommandError> {
        if let [directory] = self.directories.as_slice() {
            return Ok(run_dir::page(
                directory,
                &self.result,
                self.joined.as_ref().and_then(|joined| joined.as_ref().ok()),
            ));
        }
        let timeline = match self.directories.is_empty() {
            true => None,
            false => Some(html::Timeline::of(&self.result, self.seconds()?)?),
        };
        // All shards have one profile, but each has its own machine.
        let profile =
            self.directories.first().and_then(|path| std::fs::read_to_string(path.join("profile.toml")).ok());
        Ok(html::write(html::PageInput {
            result: &self.result,
            profile: profile.as_deref(),
            environment: None,
            timeline: timeline.as_ref().map(|(timeline, series)| (timeline, series.as_str())),
            live: None,
            conditions: None,
        }))
    }

    fn time_series(&self) -> Result<Vec<u8>, CommandError> {
        if let Some(joined) = self.joined()? {
            return Ok(joined.series.clone().into_bytes());
        }
        if let Some(file) = self.file(SERIES) {
            return file;
        }
        let mut series = TimeSeries::new(Vec::new(), self.phases(), self.result.has_retries())?;
        for second in self.seconds()? {
            series.add(&second?)?;
        }
        Ok(series.into_inner()?)
    }

    fn interval_log(&self) -> Result<Vec<u8>, CommandError> {
        if let Some(joined) = self.joined()? {
            return Ok(joined.log.clone());
        }
        if let Some(file) = self.file(LOG) {
            return file;
        }
        let started_at = humantime::parse_rfc3339(&self.result.started_at).ok();
        let started_at =
            started_at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
        let mut log = IntervalLog::new(Vec::new(), &self.phases(), started_at)?;
        for second in self.seconds()? {
            log.add(&second?)?;
        }
        Ok(log.into_inner())
    }
}

impl From<SecondsError> for CommandError {
    fn from(error: SecondsError) -> Self {
        CommandError::Failed(ExitCode::Usage, error.to_string())
    }
}

impl From<MergeError> for CommandError {
    fn from(error: MergeError) -> Self {
        CommandError::Failed(ExitCode::Usage, error.to_string())
    }
}
