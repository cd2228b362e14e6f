//! Finds the files that a pattern names, and notes the skipped ones. `files` reads their content.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use memchr::memchr;

use super::{InvalidFiles, shown};

/// The largest number of files.
const MOST_FILES: usize = 100_000;
/// The most entries of a folder that are examined.
const MOST_ENTRIES: usize = 1_000_000;
/// The files that are taken from a folder without a pattern.
const IN_FOLDER: &str = "*.eml";

/// Why a file is not a message that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unfit {
    Hidden,
    OtherName,
    Folder,
    Empty,
    Mbox,
    Utf16,
    Large,
    NotRegular,
    Unreadable,
}

impl Unfit {
    const fn as_str(self) -> &'static str {
        match self {
            Unfit::Hidden => "hidden (the name begins with a dot)",
            Unfit::OtherName => "of another name than *.eml (a pattern such as FOLDER/* takes them)",
            Unfit::Folder => "folders, which are not entered",
            Unfit::Empty => "empty",
            Unfit::Mbox => {
                "mboxes (they begin with a line `From ...`; `git mailsplit -oFOLDER FILE` splits one)"
            }
            Unfit::Utf16 => "UTF-16, which no message is",
            Unfit::Large => "larger than 2 GiB",
            Unfit::NotRegular => "neither files nor folders",
            Unfit::Unreadable => "not readable",
        }
    }

    /// Returns why a file with this error is skipped in a folder or a pattern; `None` if the error is fatal.
    pub(super) fn of(error: &InvalidFiles) -> Option<Unfit> {
        match error {
            InvalidFiles::Empty(_) => Some(Unfit::Empty),
            InvalidFiles::Mbox(_) => Some(Unfit::Mbox),
            InvalidFiles::Utf16(_) => Some(Unfit::Utf16),
            InvalidFiles::Large { .. } => Some(Unfit::Large),
            InvalidFiles::NotRegular(_) => Some(Unfit::NotRegular),
            InvalidFiles::Io { .. } => Some(Unfit::Unreadable),
            _ => None,
        }
    }
}

/// The skipped files: for each reason the number of files and the name of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<Unfit, (u64, String)>);

impl Skipped {
    /// Whether no file was skipped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of skipped files.
    pub fn count(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }

    pub(super) fn add(&mut self, path: &Path, why: Unfit) {
        let name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.0.entry(why).or_insert_with(|| (0, name())).0 += 1;
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (why, (count, first))) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            let such_as = if *count == 1 { "" } else { "such as " };
            write!(f, "{between}{count} {}: {such_as}{first}", why.as_str())?;
        }
        Ok(())
    }
}

/// The files that a pattern names.
#[derive(Default)]
pub(super) struct FoundFiles {
    /// The paths, sorted by name.
    pub(super) paths: Vec<PathBuf>,
    pub(super) skipped: Skipped,
    /// Whether the pattern names a single file, without wildcards.
    pub(super) alone: bool,
}

/// Which files of a folder are messages.
enum Names {
    Pattern(glob::Pattern),
    /// `*.eml`, in upper or lower case.
    Eml,
    /// All files, as in a Maildir.
    All,
}

impl Names {
    /// Returns why a name is skipped; `Some(None)` if the pattern excludes it, which is not reported.
    fn refuse(&self, name: &str) -> Option<Option<Unfit>> {
        match self {
            // As in a shell, a pattern takes hidden files only if it begins with a dot.
            Names::Pattern(pattern) if !pattern.matches(name) => Some(None),
            Names::Pattern(pattern) if pattern.as_str().starts_with('.') => None,
            _ if name.starts_with('.') => Some(Some(Unfit::Hidden)),
            Names::Eml => {
                let is_eml = name.to_ascii_lowercase().ends_with(".eml");
                (!is_eml).then_some(Some(Unfit::OtherName))
            }
            Names::Pattern(_) | Names::All => None,
        }
    }
}

/// Returns the files that a pattern names.
pub(super) fn find(pattern: &Path) -> Result<FoundFiles, InvalidFiles> {
    let is_pattern = |part: &OsStr| part.as_bytes().iter().any(|byte| memchr(*byte, b"*?[").is_some());
    let name = pattern.file_name().unwrap_or_default();
    if pattern.parent().is_some_and(|folder| is_pattern(folder.as_os_str())) {
        return Err(InvalidFiles::Folder(shown(pattern)));
    }
    let mut found = FoundFiles::default();
    if is_pattern(name) {
        let names = glob::Pattern::new(&name.to_string_lossy())
            .map_err(|error| InvalidFiles::Pattern(shown(pattern), error.to_string()))?;
        found.add(pattern.parent().unwrap_or(Path::new("")), &Names::Pattern(names))?;
    } else if std::fs::metadata(pattern).map_err(|error| InvalidFiles::io(pattern, &error))?.is_dir() {
        let parts = ["cur", "new"].map(|part| pattern.join(part));
        if parts.iter().all(|part| part.is_dir()) {
            parts.iter().try_for_each(|part| found.add(part, &Names::All))?;
        } else if matches!(name.to_str(), Some("cur" | "new")) {
            found.add(pattern, &Names::All)?;
        } else {
            found.add(pattern, &Names::Eml)?;
        }
    } else {
        return Ok(FoundFiles { paths: vec![pattern.to_owned()], alone: true, ..FoundFiles::default() });
    }
    found.paths.sort();
    match (found.paths.is_empty(), found.skipped.is_empty()) {
        (true, true) if is_pattern(name) => Err(InvalidFiles::None(shown(pattern))),
        (true, true) => Err(InvalidFiles::None(shown(&pattern.join(IN_FOLDER)))),
        (true, false) => Err(InvalidFiles::Skipped { path: shown(pattern), skipped: found.skipped }),
        (false, _) => Ok(found),
    }
}

impl FoundFiles {
    /// Adds the regular files of a folder with matching names. The others are skipped.
    fn add(&mut self, folder: &Path, names: &Names) -> Result<(), InvalidFiles> {
        let io = |error: io::Error| InvalidFiles::io(folder, &error);
        let folder_or_here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        for (index, entry) in std::fs::read_dir(folder_or_here).map_err(io)?.enumerate() {
            if index >= MOST_ENTRIES {
                return Err(InvalidFiles::Many(shown(folder), MOST_ENTRIES));
            }
            let name = entry.map_err(io)?.file_name();
            let path = folder.join(&name);
            let refused = names.refuse(&name.to_string_lossy());
            match (refused, std::fs::metadata(&path)) {
                (Some(None), _) => {}
                (_, Ok(found)) if found.is_dir() => self.skipped.add(&path, Unfit::Folder),
                (Some(Some(why)), _) => self.skipped.add(&path, why),
                (None, Err(_)) => self.skipped.add(&path, Unfit::Unreadable),
                (None, Ok(found)) if !found.is_file() => self.skipped.add(&path, Unfit::NotRegular),
                (None, Ok(_)) if self.paths.len() >= MOST_FILES => {
                    return Err(InvalidFiles::Many(shown(folder), MOST_FILES));
                }
                (None, Ok(_)) => self.paths.push(path),
            }
        }
        Ok(())
    }
}
