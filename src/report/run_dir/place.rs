//! Chooses and locks the place of a run directory, and publishes it as a whole.
//!
//! # Decisions
//! - A name that the user gives is used exactly, or the run is refused: a script that reads this name must never read
//!   an older run.
//! - An overwritten run stays until the new run is stored beside it (`NAME.unfinished`). Then the two directories are
//!   exchanged in one step, and the old one is removed. Only directories of runs are removed: a directory with any other
//!   file is refused.
//! - The directory is locked (`flock`) during its run; the kernel releases the lock when the process ends. So only one
//!   run at a time uses the directory, and a run in progress can be distinguished from a run that was cut off.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{FILES, RESULT, RunDirError, TEMPORARY, TRANSCRIPTS, UNFINISHED, is_event_log};

/// The largest number of runs without a given name that start in one second.
const MOST_SUFFIXES: u32 = 10_000;
/// The suffix of a run that is to replace another.
const BESIDE: &str = ".unfinished";
/// The number of attempts to get the lock: a reader of the run holds it only for a moment.
const GLANCES: u32 = 5;
const GLANCE: Duration = Duration::from_millis(20);

/// A directory that is locked for one run.
#[derive(Debug)]
pub(super) struct RunPlace {
    /// The current path of the run's files.
    pub work: PathBuf,
    /// The final path of the files, as the user named it.
    pub name: PathBuf,
    /// The lock; `None` if the file system has no locks.
    _lock: Option<File>,
}

impl RunPlace {
    /// Creates the first of `path`, `path-2`, `path-3`, ... that is free, for a run without a given directory.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub(super) fn free(path: &Path) -> Result<RunPlace, RunDirError> {
        let failed = |source| RunDirError::Create { path: path.to_owned(), source };
        make_parent(path)?;
        for n in 1..MOST_SUFFIXES {
            let mut candidate = path.as_os_str().to_owned();
            if n > 1 {
                candidate.push(format!("-{n}"));
            }
            let candidate = PathBuf::from(candidate);
            match fs::create_dir(&candidate) {
                Ok(()) => return RunPlace::at(candidate.clone(), candidate),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "too many runs of that name")))
    }

    /// Takes the directory that the user names: a new or an empty directory, or with `overwrite` the directory of a run.
    /// That run stays until [`RunPlace::publish`].
    ///
    /// # Errors
    /// [`RunDirError::Taken`] if the path is in use, [`RunDirError::Create`] if the directory cannot be created.
    pub(super) fn named(path: &Path, overwrite: bool) -> Result<RunPlace, RunDirError> {
        // `components` drops a slash at the end: with the slash, a link would be followed instead of named.
        let path: PathBuf = path.components().collect();
        make_parent(&path)?;
        match fs::create_dir(&path) {
            Ok(()) => RunPlace::at(path.clone(), path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => RunPlace::existing(path, overwrite),
            Err(source) => Err(RunDirError::Create { path, source }),
        }
    }

    fn existing(path: PathBuf, overwrite: bool) -> Result<RunPlace, RunDirError> {
        let taken = |why: String| RunDirError::Taken { path: path.clone(), why };
        let failed = |source| RunDirError::Create { path: path.clone(), source };
        let no_directory = |what| failed(io::Error::new(io::ErrorKind::NotADirectory, what));
        match fs::metadata(&path) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => return Err(no_directory("there is a file of that name")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(no_directory("it is a link that leads nowhere"));
            }
            Err(error) => return Err(failed(error)),
        }
        // A link is followed, not replaced.
        let real = fs::canonicalize(&path).map_err(failed)?;
        let lock = lock(&real, &path)?;
        if fs::read_dir(&real).map_err(failed)?.next().is_none() {
            return Ok(RunPlace { work: real, name: path, _lock: lock });
        }
        if !overwrite {
            return Err(taken(match not_of_a_run(&real) {
                None => {
                    "a run is stored there; --overwrite replaces it, or name another directory with --out"
                        .to_owned()
                }
                Some(_) => "it is there and not empty; name another directory with --out".to_owned(),
            }));
        }
        may_be_replaced(&real, &path)?;
        let work = beside(if path.is_symlink() { &real } else { &path });
        match fs::create_dir(&work) {
            Ok(()) => {}
            // A run that was killed left the directory.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let held = self::lock(&work, &path)?;
                if fs::read_dir(&work).map_err(failed)?.next().is_some() {
                    may_be_replaced(&work, &work)?;
                }
                fs::remove_dir_all(&work).and_then(|()| fs::create_dir(&work)).map_err(failed)?;
                drop(held);
            }
            Err(error) => return Err(failed(error)),
        }
        RunPlace::at(work, path)
    }

    /// Opens an existing directory, to continue in it.
    ///
    /// # Errors
    /// Another process writes there.
    pub(super) fn at(work: PathBuf, name: PathBuf) -> Result<RunPlace, RunDirError> {
        let lock = lock(&work, &name)?;
        Ok(RunPlace { work, name, _lock: lock })
    }

    /// Gives the stored run its final name, and removes an earlier run of that name.
    ///
    /// # Errors
    /// The earlier run may not be removed any more, or the file system refuses. Both runs are unchanged, unless only the
    /// removal of the earlier run failed.
    pub(super) fn publish(&mut self) -> Result<(), RunDirError> {
        let failed = |source| RunDirError::Create { path: self.name.clone(), source };
        let real = match fs::canonicalize(&self.name) {
            Ok(real) => real,
            // The earlier run was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.name.clone(),
            Err(error) => return Err(failed(error)),
        };
        if fs::canonicalize(&self.work).is_ok_and(|work| work == real) {
            self.work.clone_from(&self.name);
            return Ok(());
        }
        if real.exists() {
            let _held = lock(&real, &self.name)?;
            may_be_replaced(&real, &self.name)?;
            exchange(&self.work, &real).map_err(failed)?;
            fs::remove_dir_all(&self.work).map_err(failed)?;
        } else {
            fs::rename(&self.work, &real).map_err(failed)?;
        }
        self.work.clone_from(&self.name);
        Ok(())
    }

    /// Removes the empty directory of a run that did not start.
    pub(super) fn give_back(&self) {
        fs::remove_dir(&self.work).ok();
    }
}

fn make_parent(path: &Path) -> Result<(), RunDirError> {
    match path.parent() {
        Some(parent) => {
            fs::create_dir_all(parent).map_err(|source| RunDirError::Create { path: path.to_owned(), source })
        }
        None => Ok(()),
    }
}

/// Whether a run in this directory is in progress.
pub(super) fn is_in_progress(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|directory| matches!(directory.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Returns the directory, beside `path`, of a run that was to replace the run in `path`, and was cut off or is in
/// progress.
pub(super) fn left_beside(path: &Path) -> Option<PathBuf> {
    let clean: PathBuf = path.components().collect();
    let work = beside(&if clean.is_symlink() { fs::canonicalize(path).ok()? } else { clean });
    work.join(UNFINISHED).is_file().then_some(work)
}

fn beside(path: &Path) -> PathBuf {
    let mut work = path.as_os_str().to_owned();
    work.push(BESIDE);
    PathBuf::from(work)
}

/// Locks a directory for as long as the file is open. `name` is the user's name for it.
fn lock(path: &Path, name: &Path) -> Result<Option<File>, RunDirError> {
    let directory =
        File::open(path).map_err(|source| RunDirError::Create { path: name.to_owned(), source })?;
    for _ in 0..GLANCES {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(GLANCE),
            // Some network file systems have no such locks.
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
    Err(RunDirError::Taken {
        path: name.to_owned(),
        why: "another smtpress writes there; name another directory with --out, or wait for its end"
            .to_owned(),
    })
}

fn may_be_replaced(real: &Path, name: &Path) -> Result<(), RunDirError> {
    let taken = |why| RunDirError::Taken { path: name.to_owned(), why };
    if let Some(why) = not_of_a_run(real) {
        return Err(taken(format!("{why}, and is not overwritten; name another directory with --out")));
    }
    // A process cannot continue without its working directory.
    if std::env::current_dir().is_ok_and(|here| here.starts_with(real)) {
        return Err(taken(
            "smtpress was started in it; start it elsewhere, or name another directory with --out".to_owned(),
        ));
    }
    Ok(())
}

/// Returns why this is not the directory of a run or of a series of runs; `None` if it is.
fn not_of_a_run(path: &Path) -> Option<String> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return Some(format!("it cannot be read ({error})")),
    };
    let mut is_one = false;
    for entry in entries {
        let Ok(entry) = entry else { return Some("it cannot be read".to_owned()) };
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let kind = entry.file_type();
        let (file, directory) = kind.map_or((false, false), |kind| (kind.is_file(), kind.is_dir()));
        let series = ["base-", "candidate-"]
            .iter()
            .any(|side| name.strip_prefix(side).is_some_and(|number| number.parse::<u32>().is_ok()));
        let ours = match name.as_str() {
            RESULT | UNFINISHED => {
                is_one = file && is_ours(&path);
                is_one
            }
            TRANSCRIPTS => directory && holds_texts_only(&path),
            _ if series => {
                is_one = directory && not_of_a_run(&path).is_none();
                is_one
            }
            other => file && (FILES.contains(&other) || is_event_log(other) || other.starts_with(TEMPORARY)),
        };
        if !ours {
            return Some(format!("it holds {name}, which no run wrote"));
        }
    }
    (!is_one).then(|| "it holds no run".to_owned())
}

/// Whether a file is a result of smtpress, of any version.
fn is_ours(path: &Path) -> bool {
    let value = fs::read(path).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    value.is_some_and(|value| value["tool"]["name"] == env!("CARGO_PKG_NAME"))
}

fn holds_texts_only(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|entries| {
        entries.into_iter().all(|entry| {
            entry.is_ok_and(|entry| {
                entry.file_type().is_ok_and(|kind| kind.is_file())
                    && entry.path().extension().is_some_and(|extension| extension == "txt")
            })
        })
    })
}

/// Exchanges two directories, in one step if the file system can.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    let mut aside = new.as_os_str().to_owned();
    aside.push(".old");
    let aside = PathBuf::from(aside);
    fs::rename(old, &aside)?;
    if let Err(error) = fs::rename(new, old) {
        // Undoes the first rename.
        fs::rename(&aside, old)?;
        return Err(error);
    }
    fs::rename(&aside, new)
}
