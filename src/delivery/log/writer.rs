//! Writes a delivery log, on a thread of its own.
//!
//! # Decisions
//! - The receiver's threads pass whole lines to the writer. At most `WAITING` lines are queued. If the queue is full, a
//!   thread waits, and the marks report how long threads have waited (M32), so that a slow disk is never taken for a
//!   slow relay.
//! - When a write fails, the partial line is cut off, nothing more is written, and the receiver ends at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver as LineReceiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{LogEntry, LogError, LogHeader};
use crate::delivery::clock;

/// The largest number of lines that wait to be written.
const WAITING: usize = 16 * 1024;
/// Lines are written together when they have this many bytes.
const BUFFER: usize = 64 * 1024;
/// How long a line may wait until it is written together with other lines.
const PAUSE: Duration = Duration::from_millis(100);

/// The writer of a delivery log.
#[derive(Debug)]
pub struct LogWriter {
    lines: SyncSender<Option<Vec<u8>>>,
    thread: JoinHandle<Result<(), LogError>>,
    shared: Arc<WriterState>,
}

#[derive(Debug, Default)]
struct WriterState {
    has_failed: AtomicBool,
    /// The number of lines that were passed to the writer and not written.
    lost: AtomicU64,
    /// How long the threads have waited for room, in microseconds.
    waited: AtomicU64,
}

/// The sender of lines to the writer's thread.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct LogInlet {
    lines: SyncSender<Option<Vec<u8>>>,
    shared: Arc<WriterState>,
}

impl LogWriter {
    /// Starts a log. An existing file is never written to, but an existing pipe or device is.
    ///
    /// # Errors
    /// The log cannot be created, or its first line cannot be written.
    pub fn create(path: &Path, header: &LogHeader) -> Result<LogWriter, LogError> {
        let failed = |source| LogError::Write { path: path.to_owned(), source };
        let is_special = fs::metadata(path).is_ok_and(|there| !there.is_file());
        let opened = OpenOptions::new().write(true).create_new(!is_special).open(path);
        let file = opened.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => LogError::Taken(path.to_owned()),
            _ => failed(source),
        })?;
        let mut log = OpenLog { file, whole: 0 };
        if let Err((_, error)) = log.write(&line(header)) {
            if !is_special {
                fs::remove_file(path).ok();
            }
            return Err(failed(error));
        }
        let shared = Arc::new(WriterState::default());
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let (path, state): (PathBuf, _) = (path.to_owned(), Arc::clone(&shared));
        let write = move || match copy(&waiting, &mut log) {
            Ok(()) => Ok(()),
            Err((unwritten, source)) => {
                state.lost.fetch_add(unwritten, Relaxed);
                state.has_failed.store(true, Relaxed);
                // Releases the threads that wait for room.
                state.lost.fetch_add(waiting.try_iter().flatten().count() as u64, Relaxed);
                Err(LogError::Write { path, source })
            }
        };
        let named = std::thread::Builder::new().name("delivery-log".to_owned());
        let thread = named.spawn(write).map_err(failed)?;
        Ok(LogWriter { lines, thread, shared })
    }

    pub(in crate::delivery) fn inlet(&self) -> LogInlet {
        LogInlet { lines: self.lines.clone(), shared: Arc::clone(&self.shared) }
    }

    /// Whether a write has failed. After a failure nothing more is written.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Relaxed)
    }

    /// Ends the log: takes no further lines, and waits until all lines are written.
    ///
    /// # Errors
    /// The first failure of a write, and the number of lines that are not in the log.
    pub fn finish(self) -> Result<(), (LogError, u64)> {
        // The send fails only if the thread has ended already.
        self.lines.send(None).ok();
        // A panic of the thread has been printed.
        let ended = self.thread.join().unwrap_or(Ok(()));
        ended.map_err(|error| (error, self.shared.lost.load(Relaxed)))
    }
}

impl LogInlet {
    /// Returns an inlet whose lines are read by a test and not by a writer.
    #[cfg(test)]
    pub fn to(lines: SyncSender<Option<Vec<u8>>>) -> LogInlet {
        LogInlet { lines, shared: Arc::default() }
    }

    /// Passes a line to the writer. Waits while too many lines wait already.
    pub fn add(&self, entry: &LogEntry) {
        let is_over = match self.lines.try_send(Some(line(entry))) {
            Ok(()) => false,
            Err(TrySendError::Disconnected(_)) => true,
            Err(TrySendError::Full(line)) => {
                let began = clock::now();
                let sent = self.lines.send(line);
                let waited = clock::now().saturating_duration_since(began);
                self.shared.waited.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(0), Relaxed);
                sent.is_err()
            }
        };
        if is_over {
            self.shared.lost.fetch_add(1, Relaxed);
        }
    }

    /// Passes a mark to the writer if there is room in the queue, and never waits. Returns whether there was room.
    #[must_use]
    pub fn offer(&self, entry: &LogEntry) -> bool {
        self.lines.try_send(Some(line(entry))).is_ok()
    }

    /// Returns how long the threads have waited for room so far.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.shared.waited.load(Relaxed))
    }
}

fn line(entry: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(entry).expect("an entry is plain data");
    line.push(b'\n');
    line
}

/// Writes lines until the end of the log is requested. An error carries the number of lines that are not written.
fn copy(waiting: &LineReceiver<Option<Vec<u8>>>, log: &mut OpenLog) -> Result<(), (u64, io::Error)> {
    let (mut buffer, mut ended) = (Vec::with_capacity(2 * BUFFER), false);
    while !ended {
        let due = clock::now() + PAUSE;
        while buffer.len() < BUFFER {
            match waiting.recv_timeout(due.saturating_duration_since(clock::now())) {
                Ok(Some(line)) => buffer.extend_from_slice(&line),
                Err(RecvTimeoutError::Timeout) => break,
                Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                    ended = true;
                    break;
                }
            }
        }
        log.write(&buffer)?;
        buffer.clear();
    }
    Ok(())
}

/// The file, and the length of its whole lines.
#[derive(Debug)]
struct OpenLog {
    file: File,
    whole: u64,
}

impl OpenLog {
    /// Writes whole lines. If that fails, the complete lines stay, and a partial line is cut off.
    fn write(&mut self, lines: &[u8]) -> Result<(), (u64, io::Error)> {
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(0) => return Err(self.cut(lines, written, io::ErrorKind::WriteZero.into())),
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut(lines, written, error)),
            }
        }
        self.whole += lines.len() as u64;
        Ok(())
    }

    fn cut(&mut self, lines: &[u8], written: usize, error: io::Error) -> (u64, io::Error) {
        let end = memchr::memrchr(b'\n', &lines[..written]).map_or(0, |at| at + 1);
        self.whole += end as u64;
        // A pipe cannot be cut; its reader sees that the last line is incomplete.
        self.file.set_len(self.whole).ok();
        (memchr::memchr_iter(b'\n', &lines[end..]).count() as u64, error)
    }
}
