//! The run directory: created before the run, filled during the run, complete at the end.
//!
//! # Decisions
//! - `unfinished.json` exists from the start until everything is stored: a directory with this file and without
//!   `result.json` belongs to a run that is in progress or was cut off. Growing files are flushed every second.
//! - All other files appear only when they are complete: each is written under a temporary name and then renamed.
//! - At the end `result.json` is written first, and disk space for it is reserved during the run. So the result is
//!   stored even if the disk is full or another file cannot be written.
//! - `place` chooses the directory, and handles an existing one.

mod page;
mod place;
mod stream;
mod unfinished;

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::delivered_seconds;
use super::environment::Environment;
use super::seconds::{CONDITIONS, LOG, SERIES};
use super::stored::RunResult;
use super::stored::json::{self, ReadError};
use super::{failures, format};
use crate::collector::delivery::Delivered;
use place::RunPlace;

pub use page::{PAGE, page};
pub use stream::Recording;
pub use unfinished::{CUT_OFF, IN_PROGRESS, INTERRUPTED};

/// The folder of runs without a given directory.
const DEFAULT_PARENT: &str = "smtpress-runs";
/// The name of the stored result.
const RESULT: &str = "result.json";
/// The result so far of a run that has not been stored.
const UNFINISHED: &str = "unfinished.json";
/// The length to which a reply of [`UNFINISHED`] is cut, in bytes: the file is written anew each second.
const KEPT_SAMPLE: usize = 512;
/// The state of a capacity search, to continue it.
pub const SEARCH: &str = "search.json";
/// The output of the command between two trials of a search.
pub const HOOK_LOG: &str = "between_trials.log";
/// The transactions of a run, to join delivery logs afterwards.
pub const TRANSACTIONS: &str = "transactions.jsonl";
/// The start and the end of the names of the files with the output of events.
const EVENT_LOG: (&str, &str) = ("event-", ".log");
/// The folder of the transcripts.
const TRANSCRIPTS: &str = "transcripts";
/// The start of the name of a file that is not complete yet.
const TEMPORARY: &str = ".smtpress-";
/// The other files of a run, or of a search.
const FILES: [&str; 10] = [
    TRANSACTIONS,
    "profile.toml",
    "environment.json",
    "failures.jsonl",
    SERIES,
    LOG,
    CONDITIONS,
    PAGE,
    SEARCH,
    HOOK_LOG,
];
/// The number of bytes that are written before the run to check for disk space: the size of a small run.
const TRIAL: usize = 64 * 1024;
/// The number of bytes reserved for the result during a run, if there is that much space.
const RESERVE: usize = 512 * 1024;

/// Why a run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The path is in use.
    #[error("cannot write the run to {}: {why}", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
        /// The obstacle at that path, and the remedy.
        why: String,
    },
    /// The directory cannot be made.
    #[error("failed to make the run directory {}: {source}; {}", path.display(), remedy(source))]
    Create {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file in the directory cannot be written.
    #[error("failed to write {}: {source}; {}", path.display(), remedy(source))]
    Write {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A stored result cannot be opened.
    #[error("failed to read {}: {source}; give the directory of a run, or its result.json", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A stored result cannot be understood.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: ReadError,
    },
}

/// Returns what the user can do about the error.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there, or name another directory with --out"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "allow writing there, or name another directory with --out"
        }
        _ => "name another directory with --out",
    }
}

fn is_event_log(name: &str) -> bool {
    name.starts_with(EVENT_LOG.0) && name.ends_with(EVENT_LOG.1)
}

/// The parts of a run that are stored at its end.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The result.
    pub result: &'a RunResult,
    /// The resolved profile, as TOML.
    pub profile: &'a str,
    /// The machine.
    pub environment: &'a Environment,
    /// The transcripts of sessions: file stem and text.
    pub transcripts: &'a [(String, String)],
}

/// The directory of one run.
#[derive(Debug)]
pub struct RunDir {
    place: RunPlace,
    /// The path that the user gave.
    called: PathBuf,
    /// An unnamed file that reserves space for the result, and vanishes with the process.
    reserve: Option<File>,
}

impl RunDir {
    /// Creates the directory that the user names, or `smtpress-runs/<UTC time>-<name>`, and checks that files can be
    /// written there. With `overwrite` an existing run of that name stays until this run is stored. `started_at` is
    /// since the Unix epoch.
    ///
    /// # Errors
    /// [`RunDirError::Taken`] if the path is in use; other errors if the directory cannot be created or written to.
    pub fn create(
        wanted: Option<&Path>,
        overwrite: bool,
        name: &str,
        started_at: Duration,
    ) -> Result<RunDir, RunDirError> {
        let place = match wanted {
            Some(path) => RunPlace::named(path, overwrite)?,
            None => {
                let time = format::timestamp(started_at).replace(['-', ':'], "");
                RunPlace::free(&Path::new(DEFAULT_PARENT).join(format!("{time}-{}", file_stem(name))))?
            }
        };
        RunDir::taken(place, None)
    }

    /// Opens the directory of an interrupted search, to continue it.
    ///
    /// # Errors
    /// The directory cannot be written to, or another process writes to it.
    pub fn reopen(path: &Path) -> Result<RunDir, RunDirError> {
        let directory = RunDir::taken(RunPlace::at(path.to_owned(), path.to_owned())?, None)?;
        // The search has no result until it ends again.
        let file = |name: &str| path.join(name);
        if file(RESULT).is_file() {
            fs::rename(file(RESULT), file(UNFINISHED))
                .map_err(|source| RunDirError::Write { path: file(UNFINISHED), source })?;
        }
        Ok(directory)
    }

    /// Adds the relay's deliveries, which became known after the run, to the time series and the interval log. `phases`
    /// are the names of the plan's phases, in order.
    ///
    /// # Errors
    /// A file cannot be read or written; a file that cannot be written stays as it was.
    pub fn put_deliveries(&self, phases: &[String], delivered: &Delivered) -> Result<(), RunDirError> {
        let failed = |name: &str, source| RunDirError::Write { path: self.files().join(name), source };
        let filled = temporary(self.files()).and_then(|mut log| {
            let out = BufWriter::new(log.as_file_mut());
            let series = delivered_seconds::fill(self.files(), phases, delivered, delivered.ended, out)?;
            Ok((series, log))
        });
        let (series, log) = filled.map_err(|source| failed(SERIES, source))?;
        log.persist(self.files().join(LOG)).map_err(|error| failed(LOG, error.error))?;
        self.put(SERIES, &series)
    }

    /// Creates the directory of one run of a series, within the directory of the series.
    ///
    /// # Errors
    /// As of [`RunDir::create`].
    pub fn member(&self, name: &str) -> Result<RunDir, RunDirError> {
        RunDir::taken(RunPlace::named(&self.place.work.join(name), false)?, Some(self.called.join(name)))
    }

    fn taken(place: RunPlace, called: Option<PathBuf>) -> Result<RunDir, RunDirError> {
        match room(&place.work, TRIAL) {
            Ok(_) => {
                let called = called.unwrap_or_else(|| place.name.clone());
                let reserve = room(&place.work, RESERVE).ok();
                Ok(RunDir { place, called, reserve })
            }
            Err(source) => {
                place.give_back();
                Err(RunDirError::Write { path: place.name.clone(), source })
            }
        }
    }

    /// Returns the final path of the directory.
    pub fn path(&self) -> &Path {
        &self.called
    }

    /// Returns the current path of its files.
    pub fn files(&self) -> &Path {
        &self.place.work
    }

    /// Whether an earlier run stays at the path until this run is stored.
    pub fn replaces(&self) -> bool {
        self.place.work != self.place.name
    }

    /// Stores the counts so far, in case the run is cut off. Long replies are cut.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, so_far: &RunResult) -> Result<(), RunDirError> {
        let mut result = RunResult { directory: Some(self.path().display().to_string()), ..so_far.clone() };
        for row in &mut result.conditions {
            let kept = row.sample.floor_char_boundary(KEPT_SAMPLE);
            if kept < row.sample.len() {
                row.sample.truncate(kept);
                row.sample.push('…');
            }
        }
        self.put(UNFINISHED, &json::write(&result))
    }

    /// Returns the file for the output of an event.
    pub fn event_log(&self, name: &str) -> PathBuf {
        self.files().join([EVENT_LOG.0, name, EVENT_LOG.1].concat())
    }

    /// Removes the files of a run that could not start.
    pub fn abandon(self) {
        for name in FILES.iter().chain([&UNFINISHED]) {
            fs::remove_file(self.files().join(name)).ok();
        }
        fs::remove_dir_all(self.files().join(TRANSCRIPTS)).ok();
        for entry in fs::read_dir(self.files()).into_iter().flatten().flatten() {
            if is_event_log(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path()).ok();
            }
        }
        self.give_back();
    }

    /// Removes the directory of a run that could not start, if it is empty.
    pub fn give_back(self) {
        self.place.give_back();
        // The folder of all runs is removed, too, if it is empty.
        if let Some(parent) = self.files().parent().filter(|parent| parent.ends_with(DEFAULT_PARENT)) {
            fs::remove_dir(parent).ok();
        }
    }

    /// Creates the files that grow with the run: `timeseries.csv`, `metrics.hlog` and `conditions.csv`. `phases` are the
    /// names of the plan's phases; `has_retries`: messages are tried again.
    ///
    /// # Errors
    /// A file cannot be created.
    pub fn record(
        &self,
        phases: &[String],
        has_retries: bool,
        started_at: Duration,
    ) -> Result<Recording, RunDirError> {
        Recording::begin(self.files(), phases, has_retries, started_at)
    }

    /// Writes all files at the end, the result first, and moves the run to its final path. If a file cannot be written,
    /// the others are still written.
    ///
    /// # Errors
    /// The first error.
    pub fn store(&mut self, contents: Contents<'_>) -> Result<(), RunDirError> {
        drop(self.reserve.take());
        let stored = self.put(RESULT, &json::write(contents.result));
        let is_there = stored.is_ok();
        let mut first = stored;
        let mut keep = |done: Result<(), RunDirError>| {
            if first.is_ok() {
                first = done;
            }
        };
        keep(self.put("profile.toml", contents.profile));
        keep(self.put("environment.json", &contents.environment.to_json()));
        keep(self.put("failures.jsonl", &failures::write(contents.result)));
        keep(self.keep_transcripts(contents.transcripts));
        keep(self.put(PAGE, &page(self.files(), contents.result, None)));
        // `unfinished.json` is kept if the result could not be written.
        if is_there {
            fs::remove_file(self.files().join(UNFINISHED)).ok();
            keep(self.place.publish());
        }
        first
    }

    /// Moves a series of runs to its final path, after all its runs were stored.
    ///
    /// # Errors
    /// The earlier series cannot be replaced.
    pub fn publish(&mut self) -> Result<(), RunDirError> {
        drop(self.reserve.take());
        self.place.publish()
    }

    /// Reads a stored run: `path` is a run directory or a `result.json`. The files of a run that was cut off become a
    /// result that says so: [`CUT_OFF`] or [`IN_PROGRESS`] among the reasons why it is invalid.
    ///
    /// # Errors
    /// There is no run, or it has another version.
    pub fn open(path: &Path) -> Result<RunResult, RunDirError> {
        let directory = path.is_dir();
        let file = if directory { path.join(RESULT) } else { path.to_owned() };
        match fs::read_to_string(&file) {
            Ok(text) => {
                let result = json::read(&text).map_err(|source| RunDirError::Read { path: file, source })?;
                // The directory may have been moved since the run was stored.
                Ok(if directory { named(result, path) } else { result })
            }
            Err(_) if directory && path.join(UNFINISHED).is_file() => {
                Ok(named(unfinished::read(path)?, path))
            }
            Err(source) => Err(RunDirError::Open { path: file, source }),
        }
    }

    /// Returns the directory of a run that was to replace the run in `path`, and was cut off or is in progress; `None` if
    /// there is no such directory.
    pub fn newer(path: &Path) -> Option<PathBuf> {
        place::left_beside(path)
    }

    /// Writes one file, as a whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, text: &str) -> Result<(), RunDirError> {
        put(&self.files().join(name), text)
    }

    /// Writes transcripts: file stem and text.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn keep_transcripts(&self, transcripts: &[(String, String)]) -> Result<(), RunDirError> {
        if transcripts.is_empty() {
            return Ok(());
        }
        let directory = self.files().join(TRANSCRIPTS);
        fs::create_dir_all(&directory)
            .map_err(|source| RunDirError::Create { path: directory.clone(), source })?;
        let mut used = BTreeSet::new();
        for (stem, text) in transcripts {
            let stem = file_stem(stem);
            let names = (2..).map(|number| format!("{stem}-{number}"));
            let mut names = std::iter::once(stem.clone()).chain(names);
            let name = names.find(|name| !used.contains(name)).unwrap_or(stem);
            put(&directory.join(format!("{name}.txt")), text)?;
            used.insert(name);
        }
        Ok(())
    }
}

/// Returns the result with the directory that it was read from.
fn named(result: RunResult, path: &Path) -> RunResult {
    RunResult { directory: Some(path.display().to_string()), ..result }
}

/// Reserves this many bytes of disk space with an unnamed file. Closing the file releases the space.
fn room(directory: &Path, bytes: usize) -> io::Result<File> {
    let mut file = tempfile::tempfile_in(directory)?;
    file.write_all(&vec![0; bytes])?;
    file.sync_data()?;
    Ok(file)
}

/// Creates a file under a temporary name, with the permissions of the user's umask.
fn temporary(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .suffix(".part")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

fn put(path: &Path, text: &str) -> Result<(), RunDirError> {
    let written = temporary(path.parent().unwrap_or(Path::new("."))).and_then(|mut file| {
        file.as_file_mut().write_all(text.as_bytes())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    });
    written.map_err(|source| RunDirError::Write { path: path.to_owned(), source })
}

/// Returns a name that is one safe path component on any system.
fn file_stem(name: &str) -> String {
    let stem: String = name
        .chars()
        .take(80)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .collect();
    match stem.trim_matches(['.', '-']) {
        "" => "run".to_owned(),
        stem => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
