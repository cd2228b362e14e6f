//! Message files of a run: the coordinator sends them, and an agent keeps them until its shard is over.
//!
//! # Decisions
//! - An agent opens no path that the coordinator names. The coordinator sends the place of a file in the profile, and
//!   the agent gives the file a name in its own private folder.
//! - Contents are addressed by their SHA-256: a content of several files is sent once, and each content is checked on
//!   arrival.
//! - All files are announced first, with their lengths, and the sum is bounded. Bytes beyond the announced ones are not
//!   stored.
//! - Contents are sent as signed commands, which an agent answers. So no further permission on the bus is needed.
//! - Only message files are sent. Secrets (passwords, tokens, keys) and certificates come from the agent's machine.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::message::AgentOrder;
use super::subject;

/// The most bytes of all different contents of a run.
pub const MOST_BYTES: u64 = 256 << 20;
/// The most bytes of a content in one message: below the default limit of a server's messages (1 MiB).
const PART: usize = 512 * 1024;
/// The most files of a run.
pub const MOST_FILES: usize = 10_000;
/// The beginning of the name of a folder of received files. It has no dot, unlike the names of folders of unsent
/// reports.
const PREFIX: &str = "smtpress-files-";
/// The name of the lock file in a folder of received files. Its agent holds the lock while it uses the folder.
const LOCK: &str = "lock";
/// The name of this file before it is locked.
const UNLOCKED: &str = "unlocked";

/// The place in the profile that names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FilePlace {
    /// The list of senders.
    Senders,
    /// The list of recipients.
    Recipients,
    /// The text of the messages.
    Text,
    /// Whole messages; in the order in which they are announced.
    Messages,
}

impl FilePlace {
    /// All places.
    pub const ALL: [FilePlace; 4] =
        [FilePlace::Senders, FilePlace::Recipients, FilePlace::Text, FilePlace::Messages];

    /// Returns the key of `[message]` that names the file.
    pub const fn key(self) -> &'static str {
        match self {
            FilePlace::Senders => "from_file",
            FilePlace::Recipients => "to_file",
            FilePlace::Text => "text_file",
            FilePlace::Messages => "files",
        }
    }
}

/// The SHA-256 of a content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContentHash(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An announced file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedFile {
    /// The place in the profile that names it.
    pub place: FilePlace,
    /// The hash of its content.
    pub hash: ContentHash,
    /// The number of its bytes.
    pub length: u64,
}

/// A part of a content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentPart {
    /// The content.
    pub hash: ContentHash,
    /// The offset of its first byte in the content.
    pub at: u64,
    /// The bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// The message files of a run that the coordinator sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesToSend {
    announced: Vec<AnnouncedFile>,
    /// One file for each content, with its length.
    contents: BTreeMap<ContentHash, (PathBuf, u64)>,
}

impl FilesToSend {
    /// Reads these files for their lengths and hashes. The files of one place keep their order.
    ///
    /// # Errors
    /// A file cannot be read, or the files are too many or too large. The error is a sentence.
    pub fn read<'a>(files: impl Iterator<Item = (FilePlace, &'a Path)>) -> Result<FilesToSend, String> {
        let mut all = FilesToSend::default();
        let mut bytes = 0_u64;
        for (place, path) in files {
            let (hash, length) =
                hash_of(path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
            all.announced.push(AnnouncedFile { place, hash, length });
            if all.contents.insert(hash, (path.to_owned(), length)).is_none() {
                bytes += length;
            }
        }
        match refusal(all.announced.len(), bytes) {
            Some(why) => Err(format!(
                "{why}; use fewer or smaller ones, or put them on each machine and use `smtpress run --shard` there"
            )),
            None => Ok(all),
        }
    }

    /// Whether there are no files to send.
    pub fn is_empty(&self) -> bool {
        self.announced.is_empty()
    }

    /// Describes the files for a sentence: `3 files of 12345 bytes`.
    pub fn in_words(&self) -> String {
        let bytes: u64 = self.contents.values().map(|(_, length)| length).sum();
        format!("{} files of {bytes} bytes", self.announced.len())
    }

    /// Returns the commands that give the files to an agent, for the run `run`; the agent must answer each command
    /// before the next is sent. `most`: the size of the largest message that the server accepts. An item is an error (a
    /// sentence) if a file can no longer be read.
    pub(super) fn orders<'a>(
        &'a self,
        run: &str,
        most: usize,
    ) -> impl Iterator<Item = Result<AgentOrder, String>> + 'a {
        // A command has more bytes than its part.
        let part = (most / 2).clamp(1, PART);
        let first = AgentOrder::Files { run: run.to_owned(), files: self.announced.clone() };
        let is_needed = !self.is_empty();
        let parts = self.contents.iter().flat_map(move |(hash, (path, length))| {
            let places = (0..*length).step_by(part);
            places.map(move |at| {
                let bytes = read_part(path, at, part.min(usize::try_from(length - at).unwrap_or(part)));
                let failed = |error| format!("failed to read {}: {error}", path.display());
                Ok(AgentOrder::Content(ContentPart { hash: *hash, at, bytes: bytes.map_err(failed)? }))
            })
        });
        std::iter::once(Ok(first)).chain(parts).filter(move |_| is_needed)
    }
}

/// Returns the reason why this many files with this many bytes are not sent; `None`: they can be sent.
fn refusal(files: usize, bytes: u64) -> Option<String> {
    if files > MOST_FILES {
        return Some(format!(
            "the profile has {files} message files, and at most {MOST_FILES} are sent to agents"
        ));
    }
    (bytes > MOST_BYTES).then(|| {
        format!(
            "the message files of the profile have {bytes} bytes together, and at most {MOST_BYTES} ({} MiB) are sent to agents",
            MOST_BYTES >> 20
        )
    })
}

fn hash_of(path: &Path) -> io::Result<(ContentHash, u64)> {
    let (mut file, mut hasher, mut length) = (fs::File::open(path)?, Sha256::new(), 0);
    let mut block = vec![0; PART];
    loop {
        match file.read(&mut block)? {
            0 => return Ok((ContentHash(hasher.finalize().into()), length)),
            read => {
                hasher.update(&block[..read]);
                length += read as u64;
            }
        }
        if length > MOST_BYTES {
            // A larger file is refused without reading on, because some files have no end.
            return Ok((ContentHash([0; 32]), length));
        }
    }
}

fn read_part(path: &Path, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    file.seek(io::SeekFrom::Start(at))?;
    let mut bytes = Vec::with_capacity(length);
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The message files of a run on an agent, in a private folder that is removed with this value.
#[derive(Debug)]
pub struct ReceivedFiles {
    run: String,
    folder: PrivateFolder,
    announced: Vec<AnnouncedFile>,
    contents: BTreeMap<ContentHash, ArrivingContent>,
}

/// A content that is arriving.
#[derive(Debug)]
struct ArrivingContent {
    length: u64,
    hasher: Sha256,
    arrived: u64,
    file: Option<fs::File>,
}

impl ArrivingContent {
    /// Whether all bytes have arrived, and their hash is the announced one.
    fn is_whole(&self, hash: &ContentHash) -> bool {
        self.arrived == self.length && self.hasher.clone().finalize()[..] == hash.0
    }
}

impl ReceivedFiles {
    /// Makes a private folder in `root` for the files that are announced for the run `run`.
    ///
    /// # Errors
    /// The files are too many or too large, or the folder cannot be made. The error is a sentence.
    pub fn announced(root: &Path, run: &str, files: Vec<AnnouncedFile>) -> Result<ReceivedFiles, String> {
        if !subject::is_name(run) {
            return Err("the run has no proper name".to_owned());
        }
        let mut contents = BTreeMap::new();
        for AnnouncedFile { hash, length, .. } in &files {
            let new = ArrivingContent { length: *length, hasher: Sha256::new(), arrived: 0, file: None };
            if contents.insert(*hash, new).is_some_and(|other| other.length != *length) {
                return Err("two files with one content have different lengths".to_owned());
            }
        }
        let bytes = contents.values().try_fold(0_u64, |sum, own| sum.checked_add(own.length));
        if let Some(why) = refusal(files.len(), bytes.unwrap_or(u64::MAX)) {
            return Err(why);
        }
        for place in FilePlace::ALL {
            let count = files.iter().filter(|file| file.place == place).count();
            if place != FilePlace::Messages && count > 1 {
                return Err(format!("{count} files for message.{}, where one is named", place.key()));
            }
        }
        let folder = PrivateFolder::make(root)
            .map_err(|error| format!("failed to make a folder for the message files: {error}"))?;
        Ok(ReceivedFiles { run: run.to_owned(), folder, announced: files, contents })
    }

    /// Returns the run of the files.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Stores the next part of a content.
    ///
    /// # Errors
    /// The part was not announced, is not the next one, has too many bytes or another hash, or cannot be written. The
    /// error is a sentence.
    pub fn take(&mut self, part: &ContentPart) -> Result<(), String> {
        let path = self.content(&part.hash);
        let own = self.contents.get_mut(&part.hash).ok_or("this content was not announced")?;
        if own.arrived == own.length || part.at != own.arrived {
            return Err(format!(
                "bytes from {} on of a content came where {} were expected",
                part.at, own.arrived
            ));
        }
        if part.bytes.len() as u64 > own.length.saturating_sub(own.arrived) {
            return Err(format!("a content has more than the {} bytes that were announced", own.length));
        }
        let failed = |error: io::Error| format!("failed to store a message file: {error}");
        if own.file.is_none() {
            own.file = Some(create(&path).map_err(failed)?);
        }
        if let Some(file) = &mut own.file {
            file.write_all(&part.bytes).map_err(failed)?;
        }
        own.hasher.update(&part.bytes);
        own.arrived += part.bytes.len() as u64;
        if own.arrived == own.length {
            own.file = None;
            if !own.is_whole(&part.hash) {
                fs::remove_file(&path).ok();
                return Err(format!(
                    "a content is not the announced one: its SHA-256 is not {:?}",
                    part.hash
                ));
            }
        }
        Ok(())
    }

    fn content(&self, hash: &ContentHash) -> PathBuf {
        self.folder.path().join(format!("{hash:?}"))
    }

    /// Gives each file the name of its place, when all files for the run `run` have arrived. Returns the path of each
    /// place that has files: a file, or the folder of the messages.
    ///
    /// # Errors
    /// Some files have not come, or cannot be put in place. The error is a sentence.
    pub fn places(&self, run: &str) -> Result<BTreeMap<FilePlace, PathBuf>, String> {
        if self.run != run {
            return Err("the message files that came are those of another run".to_owned());
        }
        if !self.contents.iter().all(|(hash, own)| own.is_whole(hash)) {
            return Err("not all message files have come".to_owned());
        }
        let failed = |error: io::Error| format!("failed to store a message file: {error}");
        let mut places = BTreeMap::new();
        for (file, number) in self.announced.iter().zip(0_u32..) {
            let content = self.content(&file.hash);
            if file.length == 0 && !content.exists() {
                create(&content).map_err(failed)?;
            }
            let place = self.folder.path().join(file.place.key());
            let path = match file.place {
                FilePlace::Messages => {
                    match fs::create_dir(&place) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(failed(error));
                        }
                        _ => {}
                    }
                    place.join(format!("{number:08}.eml"))
                }
                _ => place.clone(),
            };
            match fs::hard_link(&content, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
            places.insert(file.place, place);
        }
        Ok(places)
    }
}

/// A folder for this user alone, which is removed with this value. The folder of an agent that was killed is removed by
/// the next agent ([`remove_abandoned`]).
#[derive(Debug)]
pub struct PrivateFolder {
    folder: TempDir,
    /// The lock, held as long as the folder is in use.
    _lock: fs::File,
}

impl PrivateFolder {
    /// Makes a folder in `root`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(root: &Path) -> io::Result<PrivateFolder> {
        let mode = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(mode).tempdir_in(root)?;
        // The file gets its name only when it is locked: `remove_abandoned` takes one without a lock for abandoned.
        let unlocked = folder.path().join(UNLOCKED);
        let lock = create(&unlocked)?;
        lock.lock()?;
        fs::rename(&unlocked, folder.path().join(LOCK))?;
        Ok(PrivateFolder { folder, _lock: lock })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Creates a new file, for this user alone.
fn create(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Removes the folders below `root` whose agents were killed.
pub fn remove_abandoned(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // A folder without a lock file is being made.
        let is_free = || fs::File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_free() {
            fs::remove_dir_all(&path).ok();
        }
    }
}

#[cfg(test)]
mod tests;
