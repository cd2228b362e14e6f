//! Where a command writes a result: stdout, a whole file, or a device or a pipe.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::error::CommandError;
use crate::verdict::ExitCode;

/// A place for a result, checked before the work begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output: `-`, or no path at all.
    Stdout,
    /// A file that is written as a whole or not at all.
    File(PathBuf),
    /// An existing device or pipe. It is written to, never replaced.
    Special(PathBuf),
}

impl Output {
    /// Checks that a file can be written, and leaves nothing there. A device or a pipe is not opened before the write.
    ///
    /// # Errors
    /// The file cannot be written: exit code 3, because nothing was done yet.
    pub fn open(path: Option<&Path>) -> Result<Output, CommandError> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(Output::Stdout) };
        let refused = |error: io::Error| told(ExitCode::Preflight, path, &error);
        match fs::metadata(path) {
            Ok(there) if there.is_dir() => Err(refused(io::ErrorKind::IsADirectory.into())),
            Ok(there) if !there.is_file() => Ok(Output::Special(path.to_owned())),
            _ => {
                // A link is followed, not replaced.
                let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                temporary(&path).map_err(refused)?;
                Ok(Output::File(path))
            }
        }
    }

    /// Removes the file if it exists.
    pub fn clear(&self) {
        if let Output::File(path) = self {
            // A file that cannot be removed cannot be written either; the write reports it.
            fs::remove_file(path).ok();
        }
    }

    /// Writes the result.
    ///
    /// # Errors
    /// The result cannot be written. A closed stdout is [`CommandError::ReaderGone`].
    pub fn write(&self, bytes: &[u8]) -> Result<(), CommandError> {
        match self {
            Output::Stdout => Ok(Stdout::lock().write_all(bytes)?),
            Output::File(path) => {
                let written = temporary(path).and_then(|mut file| {
                    file.as_file_mut().write_all(bytes)?;
                    file.persist(path).map_err(|error| error.error)
                });
                written.map(drop).map_err(|error| told(ExitCode::Fault, path, &error))
            }
            Output::Special(path) => {
                let written =
                    OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(bytes));
                written.map_err(|error| told(ExitCode::Fault, path, &error))
            }
        }
    }
}

/// Standard output. A closed terminal counts as a closed pipe.
#[derive(Debug)]
pub struct Stdout(io::StdoutLock<'static>);

impl Stdout {
    /// Locks standard output.
    pub fn lock() -> Stdout {
        Stdout(io::stdout().lock())
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(gone)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(gone)
    }
}

fn gone(error: io::Error) -> io::Error {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EIO => io::ErrorKind::BrokenPipe.into(),
        _ => error,
    }
}

/// Makes a temporary file beside `path`, which is removed unless it is renamed.
fn temporary(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".smtpress-")
        .suffix(".part")
        // The mode that the user's umask gives to a new file.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

fn told(code: ExitCode, path: &Path, error: &io::Error) -> CommandError {
    // The error names the temporary file, so only its kind is shown.
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory".to_owned(),
        kind => kind.to_string(),
    };
    CommandError::Failed(code, format!("failed to write {}: {reason}; name another file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_a_link_are_written_to_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Output::open(Some(&link)).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let null = Path::new("/dev/null");
        assert_eq!(Output::open(Some(null)).unwrap(), Output::Special(null.to_owned()));
        Output::open(Some(null)).unwrap().write(b"gone").unwrap();
        assert!(!fs::metadata(null).unwrap().is_file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left there");
    }
}
