//! The run directory: made before the run, filled while it goes on, complete or untouched at its end.
//!
//! # Decisions
//! - A file appears under its name only when it is whole: it is written beside it under a temporary name and then renamed.
//! - `result.json` comes last, so a directory that has one is complete.
//! - A directory that is not empty is never written to; the run takes the next free name (`-2`, `-3`, ...).

mod page;
mod stream;

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::json::{self, ReadError};
use super::result::RunResult;
use super::{failures, words};

pub use page::{PAGE, page};
pub use stream::Recording;

/// Where runs go when the user names no directory.
const DEFAULT_PARENT: &str = "smtpress-runs";
/// The name of the stored result.
const RESULT: &str = "result.json";
/// What is written before the run to see that there is room: the size of a small run.
const TRIAL_BYTES: usize = 64 * 1024;
/// So many runs may share a name.
const MOST_SUFFIXES: u32 = 10_000;

/// What can go wrong with a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// It cannot be made.
    #[error("failed to make the run directory {}: {source}; {}", path.display(), remedy(source))]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in it cannot be written.
    #[error("failed to write {}: {source}; {}", path.display(), remedy(source))]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A stored result cannot be opened.
    #[error("failed to read {}: {source}; give the directory of a run, or its result.json", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A stored result cannot be understood.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
}

/// What the user can do about it.
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

/// What is stored of a run at its end.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The result.
    pub result: &'a RunResult,
    /// The resolved profile, as TOML.
    pub profile: &'a str,
    /// The machine.
    pub environment: &'a Environment,
    /// The dialogues kept as evidence: file stem and text.
    pub transcripts: &'a [(String, String)],
}

/// A directory that takes one run.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the directory that the user names, or `smtpress-runs/<UTC time>-<name>`, and sees that files can be written
    /// there. `started_at` is since the Unix epoch.
    ///
    /// # Errors
    /// When it cannot be made or written to: nothing was sent yet (exit code 3).
    pub fn create(wanted: Option<&Path>, name: &str, started_at: Duration) -> Result<RunDir, RunDirError> {
        let path = match wanted {
            Some(path) => path.to_owned(),
            None => {
                let time = words::timestamp(started_at).replace(['-', ':'], "");
                Path::new(DEFAULT_PARENT).join(format!("{time}-{}", file_stem(name)))
            }
        };
        let directory = RunDir { path: claim(&path).map_err(|source| RunDirError::Create { path, source })? };
        if let Err(error) = directory.try_out() {
            // It was empty, or it was not there.
            fs::remove_dir(&directory.path).ok();
            return Err(error);
        }
        Ok(directory)
    }

    /// A directory that a search was broken off in, to go on there.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn reopen(path: &Path) -> Result<RunDir, RunDirError> {
        let directory = RunDir { path: path.to_owned() };
        directory.try_out().map(|()| directory)
    }

    /// Removes it with all that is in it: nothing of a run that never began is left.
    pub fn discard(self) {
        fs::remove_dir_all(&self.path).ok();
        // The folder of all runs goes too if it was made for this one.
        if let Some(parent) = self.path.parent().filter(|parent| parent.ends_with(DEFAULT_PARENT)) {
            fs::remove_dir(parent).ok();
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins the files that grow with the run: `timeseries.csv`, `metrics.hlog` and `conditions.csv`. `phases` are the
    /// plan's names.
    ///
    /// # Errors
    /// When they cannot be begun.
    pub fn record(&self, phases: &[String], started_at: Duration) -> Result<Recording, RunDirError> {
        Recording::begin(&self.path, phases, started_at)
    }

    /// Writes all that is known at the end. What can be written is written, even if something before it cannot.
    ///
    /// # Errors
    /// The first of them.
    pub fn store(&self, contents: Contents<'_>) -> Result<(), RunDirError> {
        let mut first = self.put("profile.toml", contents.profile);
        let mut keep = |done: Result<(), RunDirError>| {
            if first.is_ok() {
                first = done;
            }
        };
        keep(self.put("environment.json", &contents.environment.to_json()));
        keep(self.put("failures.jsonl", &failures::write(contents.result)));
        keep(self.transcripts(contents.transcripts));
        keep(self.put(PAGE, &page(&self.path, contents.result)));
        keep(self.put(RESULT, &json::write(contents.result)));
        first
    }

    /// Reads a stored run back: `path` is a run directory or a `result.json`.
    ///
    /// # Errors
    /// When there is none, or it is of another version.
    pub fn open(path: &Path) -> Result<RunResult, RunDirError> {
        let path = if path.is_dir() { path.join(RESULT) } else { path.to_owned() };
        match fs::read_to_string(&path) {
            Ok(text) => json::read(&text).map_err(|source| RunDirError::Read { path, source }),
            Err(source) => Err(RunDirError::Open { path, source }),
        }
    }

    /// Writes one file whole, or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, text: &str) -> Result<(), RunDirError> {
        put(&self.path.join(name), text)
    }

    fn transcripts(&self, transcripts: &[(String, String)]) -> Result<(), RunDirError> {
        if transcripts.is_empty() {
            return Ok(());
        }
        let directory = self.path.join("transcripts");
        fs::create_dir_all(&directory)
            .map_err(|source| RunDirError::Create { path: directory.clone(), source })?;
        let mut used = Vec::new();
        for (stem, text) in transcripts {
            let stem = file_stem(stem);
            let twins = used.iter().filter(|other| **other == stem).count();
            let name = if twins == 0 { format!("{stem}.txt") } else { format!("{stem}-{}.txt", twins + 1) };
            put(&directory.join(name), text)?;
            used.push(stem);
        }
        Ok(())
    }

    /// Sees before the run that a file can be written here.
    fn try_out(&self) -> Result<(), RunDirError> {
        let written = temporary(&self.path).and_then(|mut file| {
            file.as_file_mut().write_all(&[0; TRIAL_BYTES])?;
            file.as_file().sync_data()?;
            file.close()
        });
        written.map_err(|source| RunDirError::Write { path: self.path.clone(), source })
    }
}

/// Makes the directory, or the first free one of `-2`, `-3`, ...; an empty one is taken as it is.
fn claim(path: &Path) -> io::Result<PathBuf> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    for n in 1..MOST_SUFFIXES {
        let mut candidate = path.as_os_str().to_owned();
        if n > 1 {
            candidate.push(format!("-{n}"));
        }
        let candidate = PathBuf::from(candidate);
        match fs::create_dir(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !candidate.is_dir() {
                    if n == 1 {
                        return Err(io::Error::new(
                            io::ErrorKind::NotADirectory,
                            "there is a file of that name",
                        ));
                    }
                } else if fs::read_dir(&candidate)?.next().is_none() {
                    return Ok(candidate);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many runs of that name"))
}

/// A file under a temporary name, with the permissions that the user's umask gives to any new file.
fn temporary(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".smtpress-")
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

/// A name that is one harmless path component on any system.
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
