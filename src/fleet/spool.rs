//! Keeps on disk the reports of an agent that the bus has not stored yet, so that they survive the end of the agent or
//! of the bus.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder of the reports of one shard, which have numbers in the order in which they were made.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    /// The lock that an agent holds while it adds reports.
    _open: fs::File,
}

/// A report that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingReport {
    /// The number of the report within the shard.
    pub number: u64,
    /// Whether this is the last report of the shard.
    pub is_last: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Spool {
    /// Opens the folder of the shard in `root`, and makes it if it does not exist. `root` itself is never made: it may
    /// have been removed with its server.
    ///
    /// # Errors
    /// The folder cannot be made, or an agent uses it.
    pub fn open(root: &Path, run: &str, shard: u32, agent: &str) -> io::Result<Spool> {
        let folder = root.join(format!("{run}.{shard}.{agent}"));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let open = fs::File::open(&folder)?;
        open.try_lock()?;
        Ok(Spool { folder, _open: open })
    }

    /// Writes a report, as a whole or not at all.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn keep(&self, number: u64, is_last: bool, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(number, is_last);
        let partial = path.with_extension("partial");
        let kept = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
        if kept.is_err() {
            fs::remove_file(partial).ok();
        }
        kept
    }

    /// Removes a report that is stored on the bus.
    pub fn forget(&self, number: u64, is_last: bool) {
        fs::remove_file(self.path(number, is_last)).ok();
    }

    /// Removes the folder, if it is empty.
    pub fn close(self) {
        fs::remove_dir(&self.folder).ok();
    }

    /// Removes the folder with all its reports.
    pub fn clear(self) {
        fs::remove_dir_all(&self.folder).ok();
    }

    fn path(&self, number: u64, is_last: bool) -> PathBuf {
        self.folder.join(format!("{number:08}.{}", if is_last { "final" } else { "second" }))
    }
}

/// A shard whose reports wait: the run, the number of the shard and the agent, then the reports in their order.
pub type SpooledShard = ((String, u32, String), Vec<WaitingReport>);

/// Returns the shards whose reports wait below `root`, without those to which an agent still adds reports.
///
/// # Errors
/// The reports cannot be read.
pub fn waiting(root: &Path) -> io::Result<Vec<SpooledShard>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let mut words = name.splitn(3, '.');
        let (Some(run), Some(Ok(shard)), Some(agent)) =
            (words.next(), words.next().map(str::parse::<u32>), words.next())
        else {
            continue;
        };
        if fs::File::open(&folder)?.try_lock().is_err() {
            continue;
        }
        let mut reports = Vec::new();
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let is_last = match path.extension().and_then(|end| end.to_str()) {
                Some("final") => true,
                Some("second") => false,
                // This file was not written to its end.
                _ => continue,
            };
            if let Some(number) = number {
                reports.push(WaitingReport { number, is_last, bytes: fs::read(&path)? });
            }
        }
        reports.sort_by_key(|report| (report.is_last, report.number));
        found.push(((run.to_owned(), shard, agent.to_owned()), reports));
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_found_again_in_order_and_what_was_cut_off_is_not() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::open(root.path(), "6a2-1", 3, "load1-7").unwrap();
        for (number, is_last) in [(1, false), (0, false), (2, true)] {
            spool.keep(number, is_last, &[number as u8]).unwrap();
        }
        fs::write(root.path().join("6a2-1.3.load1-7/00000009.partial"), "half").unwrap();
        fs::create_dir(root.path().join("other")).unwrap();
        assert_eq!(waiting(root.path()).unwrap(), [], "an agent still adds to it");
        drop(spool);
        let found = waiting(root.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, ("6a2-1".to_owned(), 3, "load1-7".to_owned()));
        let numbers: Vec<(u64, bool)> = found[0].1.iter().map(|own| (own.number, own.is_last)).collect();
        assert_eq!(numbers, [(0, false), (1, false), (2, true)]);
        let spool = Spool::open(root.path(), "6a2-1", 3, "load1-7").unwrap();
        spool.forget(0, false);
        drop(spool);
        assert_eq!(waiting(root.path()).unwrap()[0].1.len(), 2);
        assert_eq!(waiting(&root.path().join("nowhere")).unwrap(), []);
    }
}
