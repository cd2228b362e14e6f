//! Reads a delivery log, even while it grows.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{LogEntry, LogError, LogHeader, VERSION};

/// The size of one read, in bytes.
const CHUNK: usize = 256 * 1024;
/// The largest length of a line, in bytes.
const LONGEST: usize = 64 * 1024 * 1024;

/// A delivery log, read line by line.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: File,
    header: LogHeader,
    /// The bytes that were read, the start of those that were not returned yet, and the offset of the buffer in the
    /// file.
    buffer: Vec<u8>,
    start: usize,
    offset: u64,
    /// The number of lines that were returned.
    lines: u64,
    /// The number of bytes after the last whole line.
    rest: usize,
}

impl LogReader {
    /// Opens a log and reads its first line.
    ///
    /// # Errors
    /// The log cannot be read, or is not a delivery log.
    pub fn open(path: &Path) -> Result<LogReader, LogError> {
        let failed = |source| LogError::Read { path: path.to_owned(), source };
        let no_log = |why: String| LogError::NoLog { path: path.to_owned(), why };
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(no_log("it is no file, and a log is read more than once".to_owned()));
        }
        let none = LogHeader {
            smtpress_delivery_log: VERSION,
            tool: String::new(),
            host: String::new(),
            pid: 0,
            clock: None,
            at: Default::default(),
            addresses: Vec::new(),
            protocol: String::new(),
        };
        let mut reader = LogReader {
            path: path.to_owned(),
            file,
            header: none,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            lines: 0,
            rest: 0,
        };
        let Some(first) = reader.line()? else {
            return Err(no_log("it has no whole line".to_owned()));
        };
        #[derive(serde::Deserialize)]
        struct FormatVersion {
            smtpress_delivery_log: u32,
        }
        let read = |error: serde_json::Error| no_log(format!("its first line: {error}"));
        let FormatVersion { smtpress_delivery_log: version } =
            serde_json::from_slice(&first).map_err(read)?;
        if version != VERSION {
            return Err(no_log(format!("it is of version {version}, this smtpress reads version {VERSION}")));
        }
        reader.header = serde_json::from_slice(&first).map_err(read)?;
        Ok(reader)
    }

    /// Returns the path of the log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of lines that were returned, the first one included.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Returns the first line of the log.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    /// Whether there are bytes after the last whole line: a line was cut off, or is being written.
    pub fn has_rest(&self) -> bool {
        self.rest > 0
    }

    /// Returns the next whole line; `None` if there is none yet.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn entry(&mut self) -> Result<Option<LogEntry>, LogError> {
        let Some(line) = self.line()? else { return Ok(None) };
        let entry = serde_json::from_slice(&line);
        entry.map(Some).map_err(|error| LogError::Line {
            path: self.path.clone(),
            line: self.lines,
            why: error.to_string(),
        })
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[self.start..]) {
                let line = self.buffer[self.start..self.start + length].to_vec();
                self.start += length + 1;
                self.lines += 1;
                self.rest = 0;
                return Ok(Some(line));
            }
            self.offset += self.start as u64;
            self.buffer.drain(..self.start);
            self.start = 0;
            let old = self.buffer.len();
            if old > LONGEST {
                return Err(self.at_line("it has no end"));
            }
            self.buffer.resize(old + CHUNK, 0);
            let read = self.file.read_at(&mut self.buffer[old..], self.offset + old as u64);
            let read = read.map_err(|source| LogError::Read { path: self.path.clone(), source })?;
            self.buffer.truncate(old + read);
            if read == 0 {
                self.rest = old;
                // The partial line is read again later, because the writer may cut it off.
                self.buffer.clear();
                let length = self.file.metadata().map_or(self.offset, |there| there.len());
                return if length < self.offset {
                    Err(self.at_line("the file became shorter"))
                } else {
                    Ok(None)
                };
            }
        }
    }

    fn at_line(&self, why: &str) -> LogError {
        LogError::Line { path: self.path.clone(), line: self.lines + 1, why: why.to_owned() }
    }
}
