//! Messages from files. All files are found and read once before the run. During the run, messages are sent from
//! memory, or, if the files are too large for that, read from the files block by block.
//!
//! # Decisions
//! - The declared size and the sent bytes are those of the content with CRLF at the end of every line, whatever line
//!   ends the file has. A CR that ends no line stays unchanged: some listeners refuse it, and this can be tested.
//! - A corpus of up to [`HELD`] bytes is held in memory. No file is opened during the run, so a removed file does not
//!   matter.
//! - A larger corpus is read during the run with blocking calls on the worker's thread, `BLOCK` bytes at a time. From
//!   the page cache this takes about as long as a copy. A slow disk delays the thread's other sessions, which shows in
//!   `lag`. A separate thread for reading would cost two wake-ups for each block.
//! - No file stays open between two blocks. For each block, the file is opened again, and checked before and after the
//!   read: device, inode, length and modification time must be those of the first read. If not, the content is lost: no
//!   message is sent whose parts come from different versions of a file.
//! - Only the file name may be a pattern, not the folders before it: a profile from another person must not search the
//!   whole disk.
//! - Only regular files are read, and files are opened with O_NONBLOCK: opening a FIFO or a device could block.
//! - In a folder or a pattern, files that are not messages are skipped, counted and named: an empty file, an mbox, a
//!   file of another name. A file that is named without a pattern must be a message.
//! - A folder with `cur` and `new` is a Maildir. All files of these two folders are messages. Files in `tmp` may be
//!   incomplete and are not read.

mod found;

use std::cell::RefCell;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memchr::memchr_iter;
use sha2::{Digest, Sha256};

pub use found::Skipped;
use found::{FoundFiles, Unfit, find};

use super::encode::Stuffer;
use super::stuffed::{ContentForm, Stuffed};
use crate::smtp::transaction::Lost;

/// The largest corpus in bytes that is held in memory.
pub const HELD: u64 = 64 << 20;
/// How many bytes of a file are read at a time.
const BLOCK: usize = 64 * 1024;
/// The most bytes of one file, and of all files.
const LARGEST_FILE: u64 = 1 << 31;
const LARGEST_CORPUS: u64 = 1 << 36;

/// Why there are no messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFiles {
    /// An error of the operating system.
    #[error("{path} cannot be read: {reason}")]
    Io {
        /// The path.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A device, a FIFO, a socket.
    #[error("{0} is no regular file")]
    NotRegular(String),
    /// An empty file.
    #[error("{0} is empty")]
    Empty(String),
    /// Too many bytes.
    #[error("{path} has {bytes} bytes: {allowed} are allowed")]
    Large {
        /// The path.
        path: String,
        /// The size.
        bytes: u64,
        /// The largest allowed size.
        allowed: u64,
    },
    /// An invalid pattern.
    #[error("{0} is no pattern of file names: {1}")]
    Pattern(String, String),
    /// A pattern in the name of a folder.
    #[error("{0} has a pattern for a folder: only the name of the files may have `*`, `?` and `[...]`")]
    Folder(String),
    /// No file was found.
    #[error("no file matches {0}")]
    None(String),
    /// Files were found, and none of them is a message.
    #[error("no file of {path} is a message that can be sent: {skipped}")]
    Skipped {
        /// The path.
        path: String,
        /// The skipped files.
        skipped: Skipped,
    },
    /// Many messages in one file.
    #[error(
        "{0} begins with a line `From ...`, as an mbox does, in which many messages stand: split it into one file a message, as with `git mailsplit -oFOLDER {0}`"
    )]
    Mbox(String),
    /// A text in an encoding that no message has.
    #[error("{0} is UTF-16, and no message is: save it in the form in which it was received")]
    Utf16(String),
    /// Too many files.
    #[error("{0} has more than {1} entries")]
    Many(String, usize),
    /// The file changed while it was read.
    #[error("{0} changed while it was read")]
    Changed(String),
}

impl Corpus {
    /// Returns the files, in their order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }
}

impl InvalidFiles {
    fn io(path: &Path, error: &io::Error) -> InvalidFiles {
        InvalidFiles::Io { path: shown(path), reason: error.to_string() }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Reads a small file whole.
///
/// # Errors
/// The file is not a regular file, is empty, has more than `most` bytes, or cannot be read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, InvalidFiles> {
    let (file, found) = open(path, most)?;
    // Reads at most as many bytes as the file had when it was opened: some files have no end.
    let mut content = Vec::new();
    file.take(found.len()).read_to_end(&mut content).map_err(|error| InvalidFiles::io(path, &error))?;
    if content.len() as u64 == found.len() { Ok(content) } else { Err(InvalidFiles::Changed(shown(path))) }
}

fn open(path: &Path, allowed: u64) -> Result<(File, Metadata), InvalidFiles> {
    let io = |error| InvalidFiles::io(path, &error);
    // O_NONBLOCK, because the open would block if the path is a FIFO.
    let nonblocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(io)?;
    let found = file.metadata().map_err(io)?;
    match found.len() {
        _ if !found.is_file() => Err(InvalidFiles::NotRegular(shown(path))),
        0 => Err(InvalidFiles::Empty(shown(path))),
        bytes if bytes > allowed => Err(InvalidFiles::Large { path: shown(path), bytes, allowed }),
        _ => Ok((file, found)),
    }
}

/// The metadata by which a later open recognizes the same, unchanged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl From<&Metadata> for FileIdentity {
    fn from(found: &Metadata) -> Self {
        FileIdentity {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            changed: (found.mtime(), found.mtime_nsec()),
        }
    }
}

/// Numbers of files with properties to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Files with bytes above 127, which need 8BITMIME (RFC 6152).
    pub eight_bit: u32,
    /// Files with a CR that ends no line.
    pub bare_cr: u32,
    /// Files with a line of more than 998 bytes (RFC 5322 2.1.1).
    pub long_lines: u32,
    /// Files with lines that end in LF. They are sent with CRLF.
    pub bare_lf: u32,
    /// Files with a byte order mark before the first field.
    pub byte_order_mark: u32,
}

/// The messages of a run, from files; at least one.
pub struct Corpus {
    files: Vec<Entry>,
    digest: [u8; 32],
    remarks: Remarks,
    skipped: Skipped,
}

struct Entry {
    path: PathBuf,
    identity: FileIdentity,
    /// The size of the content, with CRLF at the end of every line.
    size: u64,
    has_message_id: bool,
    bytes: FileBytes,
}

enum FileBytes {
    Held(Stuffed),
    /// The offset in the content at which each block of the file begins.
    Streamed(Vec<u64>),
}

impl fmt::Debug for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corpus").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl PartialEq for Corpus {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Corpus {
    /// Finds the files and reads each once. `pattern` is a file, a folder (its `*.eml`, or all files of a Maildir), or
    /// a folder with a pattern of file names.
    ///
    /// # Errors
    /// The first error, with the file's name.
    pub fn read(pattern: &Path) -> Result<Corpus, InvalidFiles> {
        Corpus::read_holding(pattern, HELD)
    }

    fn read_holding(pattern: &Path, held: u64) -> Result<Corpus, InvalidFiles> {
        let FoundFiles { paths, skipped, alone } = find(pattern)?;
        let mut corpus = Corpus { files: Vec::new(), digest: [0; 32], remarks: Remarks::default(), skipped };
        let mut bytes = 0_u64;
        let mut fit = Vec::with_capacity(paths.len());
        for path in paths {
            match open(&path, LARGEST_FILE) {
                Ok((_, found)) => {
                    bytes += found.len();
                    fit.push(path);
                }
                Err(error) => corpus.skip(&path, error, alone)?,
            }
        }
        if bytes > LARGEST_CORPUS {
            let path = shown(pattern);
            return Err(InvalidFiles::Large { path, bytes, allowed: LARGEST_CORPUS });
        }
        let mut digest = Sha256::new();
        for path in fit {
            match corpus.scan(&path, bytes <= held, &mut digest) {
                Ok(entry) => corpus.files.push(entry),
                Err(error) => corpus.skip(&path, error, alone)?,
            }
        }
        if corpus.files.is_empty() {
            return Err(InvalidFiles::Skipped { path: shown(pattern), skipped: corpus.skipped });
        }
        corpus.digest = digest.finalize().into();
        Ok(corpus)
    }

    /// Skips a file that cannot be sent, unless it was named without a pattern.
    fn skip(&mut self, path: &Path, error: InvalidFiles, alone: bool) -> Result<(), InvalidFiles> {
        match Unfit::of(&error).filter(|_| !alone) {
            Some(why) => {
                self.skipped.add(path, why);
                Ok(())
            }
            None => Err(error),
        }
    }

    /// Reads a file to its end.
    fn scan(&mut self, path: &Path, hold: bool, digest: &mut Sha256) -> Result<Entry, InvalidFiles> {
        let (mut file, found) = open(path, LARGEST_FILE)?;
        let identity = FileIdentity::from(&found);
        let mut block = vec![0; BLOCK];
        let (mut before, mut left, mut size) = (b'\n', found.len(), 0_u64);
        let (mut starts, mut content, mut seen) = (Vec::new(), Vec::new(), ScannedFile::default());
        while left > 0 {
            let bytes = &mut block[..BLOCK.min(usize::try_from(left).unwrap_or(BLOCK))];
            file.read_exact(bytes).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => InvalidFiles::Changed(shown(path)),
                _ => InvalidFiles::io(path, &error),
            })?;
            if left == found.len() {
                match &*bytes {
                    [b'F', b'r', b'o', b'm', b' ', ..] => return Err(InvalidFiles::Mbox(shown(path))),
                    [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err(InvalidFiles::Utf16(shown(path))),
                    _ => {}
                }
                digest.update(path.file_name().unwrap_or_default().as_bytes());
                digest.update(found.len().to_le_bytes());
            }
            left -= bytes.len() as u64;
            digest.update(&*bytes);
            seen.look(bytes, before, size == 0);
            starts.push(size);
            normalise(bytes, before, left == 0, |piece| {
                size += piece.len() as u64;
                if hold {
                    content.extend_from_slice(piece);
                }
            });
            before = bytes.last().copied().unwrap_or(before);
        }
        let now = file.metadata().map_err(|error| InvalidFiles::io(path, &error))?;
        if FileIdentity::from(&now) != identity {
            return Err(InvalidFiles::Changed(shown(path)));
        }
        seen.remark(before, &mut self.remarks);
        let bytes =
            if hold { FileBytes::Held(Stuffed::new(&content, true)) } else { FileBytes::Streamed(starts) };
        Ok(Entry { path: path.to_owned(), identity, size, has_message_id: seen.has_message_id, bytes })
    }

    /// Returns the number of messages.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether the messages are held in memory.
    pub fn is_held(&self) -> bool {
        matches!(self.files[0].bytes, FileBytes::Held(_))
    }

    /// Returns the sizes of the smallest and of the largest message as they are sent, in bytes.
    pub fn sizes(&self) -> (u64, u64) {
        let sizes = self.files.iter().map(|file| file.size);
        (sizes.clone().min().unwrap_or_default(), sizes.max().unwrap_or_default())
    }

    /// Returns the memory that the messages take, in bytes.
    pub fn memory(&self) -> u64 {
        let bytes = |file: &Entry| match &file.bytes {
            FileBytes::Held(text) => text.length() + 8 * text.doubled(),
            FileBytes::Streamed(starts) => 8 * starts.len() as u64,
        };
        self.files.iter().map(bytes).sum()
    }

    /// Returns the SHA-256 over the names, lengths and contents of all files.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Returns the remarks about the messages.
    pub fn remarks(&self) -> Remarks {
        self.remarks
    }

    /// Returns the skipped files.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// Returns the size of message `index`.
    pub(super) fn size(&self, index: usize) -> u64 {
        self.files[index].size
    }

    pub(super) fn has_message_id(&self, index: usize) -> bool {
        self.files[index].has_message_id
    }

    /// Appends message `index` from the offset `from` on: about `most` bytes if it is held in memory, else the rest of
    /// a block. Returns the new offset.
    pub(super) fn append(
        &self,
        index: usize,
        form: ContentForm,
        from: u64,
        most: u64,
        out: &mut Vec<u8>,
    ) -> Result<u64, Lost> {
        let file = &self.files[index];
        match &file.bytes {
            FileBytes::Held(text) => {
                let to = file.size.min(from + most);
                text.append(form, from, to, out);
                Ok(to)
            }
            FileBytes::Streamed(starts) => {
                let block = starts.partition_point(|start| *start <= from).saturating_sub(1);
                file.append(block, from - starts[block], form, out)
                    .map_err(|why| Lost(format!("{} {why}", file.path.display())))?;
                Ok(starts.get(block + 1).copied().unwrap_or(file.size))
            }
        }
    }
}

thread_local! {
    /// A block and the byte before it.
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Entry {
    /// Appends a block of the file, without its first `skip` bytes.
    fn append(&self, block: usize, skip: u64, form: ContentForm, out: &mut Vec<u8>) -> Result<(), String> {
        let (file, found) = open(&self.path, LARGEST_FILE).map_err(|error| match error {
            InvalidFiles::Io { reason, .. } => format!("cannot be read any more: {reason}"),
            _ => "is no longer what it was when the run began".to_owned(),
        })?;
        let is_same = |found: &Metadata| FileIdentity::from(found) == self.identity;
        let changed = || "changed since the run began".to_owned();
        if !is_same(&found) {
            return Err(changed());
        }
        let start = (block * BLOCK) as u64;
        let bytes = BLOCK.min(usize::try_from(self.identity.bytes - start).unwrap_or(BLOCK));
        let lead = usize::from(block > 0);
        READ.with_borrow_mut(|buffer| {
            buffer.resize(BLOCK + 1, 0);
            let read = &mut buffer[..lead + bytes];
            file.read_exact_at(read, start - lead as u64)
                .map_err(|error| format!("failed to be read: {error}"))?;
            if !file.metadata().is_ok_and(|found| is_same(&found)) {
                return Err(changed());
            }
            let (before, read) = if lead == 0 { (b'\n', &read[..]) } else { (read[0], &read[1..]) };
            let (mut skip, mut last) = (skip as usize, before);
            let mut stuffer = None;
            let ends = start + bytes as u64 == self.identity.bytes;
            normalise(read, before, ends, |piece| {
                let skipped = skip.min(piece.len());
                skip -= skipped;
                if let Some(byte) = piece[..skipped].last() {
                    last = *byte;
                }
                match form {
                    ContentForm::Plain => out.extend_from_slice(&piece[skipped..]),
                    ContentForm::Stuffed if skipped == piece.len() => {}
                    ContentForm::Stuffed => {
                        stuffer.get_or_insert_with(|| Stuffer::after(last)).stuff(&piece[skipped..], out);
                    }
                }
            });
            Ok(())
        })
    }
}

/// Passes the bytes of a block to `sink`, with CRLF at the end of each line. `before` is the byte before the block.
/// `ends` says that the file ends with this block. Its last line then ends in CRLF too.
fn normalise(block: &[u8], before: u8, ends: bool, mut sink: impl FnMut(&[u8])) {
    let mut from = 0;
    for lf in memchr_iter(b'\n', block) {
        let last = lf.checked_sub(1).map_or(before, |last| block[last]);
        if last != b'\r' {
            sink(&block[from..lf]);
            sink(b"\r");
            from = lf;
        }
    }
    sink(&block[from..]);
    match block.last() {
        Some(b'\n') => {}
        Some(b'\r') if ends => sink(b"\n"),
        Some(_) if ends => sink(b"\r\n"),
        _ => {}
    }
}

/// The properties of a file that the scan has found so far.
#[derive(Default)]
struct ScannedFile {
    has_message_id: bool,
    byte_order_mark: bool,
    eight_bit: bool,
    bare_cr: bool,
    bare_lf: bool,
    line: u64,
    longest_line: u64,
}

impl ScannedFile {
    fn look(&mut self, block: &[u8], before: u8, first: bool) {
        if first {
            self.has_message_id = has_message_id(block);
            self.byte_order_mark = block.starts_with(b"\xef\xbb\xbf");
        }
        self.eight_bit |= !block.is_ascii();
        self.bare_cr |= before == b'\r' && block.first() != Some(&b'\n');
        self.bare_cr |=
            memchr_iter(b'\r', block).any(|cr| block.get(cr + 1).is_some_and(|after| *after != b'\n'));
        let mut from = 0;
        for lf in memchr_iter(b'\n', block) {
            let last = lf.checked_sub(1).map_or(before, |last| block[last]);
            self.bare_lf |= last != b'\r';
            // The CR may be the last byte of the block before. `self.line` counts it then.
            let line = self.line + (lf - from) as u64 - u64::from(last == b'\r');
            self.longest_line = self.longest_line.max(line);
            (self.line, from) = (0, lf + 1);
        }
        self.line += (block.len() - from) as u64;
    }

    /// Adds the facts of a whole file to `remarks`. `last` is its last byte.
    fn remark(&mut self, last: u8, remarks: &mut Remarks) {
        self.longest_line = self.longest_line.max(self.line - u64::from(last == b'\r' && self.line > 0));
        remarks.eight_bit += u32::from(self.eight_bit);
        remarks.bare_cr += u32::from(self.bare_cr);
        remarks.bare_lf += u32::from(self.bare_lf);
        remarks.byte_order_mark += u32::from(self.byte_order_mark);
        remarks.long_lines += u32::from(self.longest_line > 998);
    }
}

/// Whether the header has a Message-ID, as far as the first block shows it.
fn has_message_id(block: &[u8]) -> bool {
    block
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.is_empty() && *line != b"\r")
        .any(|line| line.get(..11).is_some_and(|name| name.eq_ignore_ascii_case(b"message-id:")))
}

#[cfg(test)]
mod tests;
