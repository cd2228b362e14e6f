//! Runs a command of the user, with bounds on its output and its time.
//!
//! # Decisions
//! - The output goes to a file and not through a pipe. A server that the command leaves running can still write to it,
//!   and no open end of a pipe keeps smtpress waiting.
//! - When the command ends by itself, the processes that it started keep running: the command may have restarted a
//!   listener. At a time-out or a stop the whole process group gets SIGTERM and, half a second later, SIGKILL.
//! - The output is discarded from the file when it exceeds one mebibyte, so that no command fills the disk. The caller
//!   keeps the log bounded after the end of the command, too: processes that it left running may write to it. Reports
//!   show the first and the last part of the output.
//! - A program that was started with SIGCHLD ignored learns no exit codes. Then the end of a command is known, but not
//!   whether it succeeded.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The interval at which the end of the command and the reasons to end it are checked.
const GLANCE: Duration = Duration::from_millis(10);
/// How long a process group may take to end after TERM.
const GRACE: Duration = Duration::from_millis(500);
/// The size in bytes above which the output of the command is discarded from the file.
const MOST_LOGGED: u64 = 1 << 20;
/// How many bytes of the beginning and of the end of a long output are shown.
const SHOWN: u64 = 8 << 10;

/// A shell command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellCommand {
    /// The text, as the user wrote it.
    pub text: String,
    /// The folder in which the command runs.
    pub folder: PathBuf,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal that smtpress did not send.
    Signalled(i32),
    /// By smtpress, at its time-out.
    TimedOut(Duration),
    /// By smtpress, because the run was stopped.
    Stopped,
    /// In an unknown way, because the kernel gave this error instead of the exit code.
    Unknown(String),
    /// The command could not be started, for this reason.
    NotStarted(String),
    /// The command was not run: the run ended before its scheduled time.
    NotRun,
}

impl CommandEnd {
    /// Whether the command ended by itself with exit code 0.
    pub fn is_success(&self) -> bool {
        *self == CommandEnd::Exited(0)
    }
}

impl fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandEnd::Exited(0) => f.write_str("ended well"),
            CommandEnd::Exited(126) => f.write_str("failed with exit code 126: the shell may not execute it"),
            CommandEnd::Exited(127) => f.write_str("failed with exit code 127: the shell does not find it"),
            CommandEnd::Exited(code) => write!(f, "failed with exit code {code}"),
            CommandEnd::Signalled(signal) => write!(f, "was ended by signal {signal}"),
            CommandEnd::TimedOut(timeout) => write!(f, "was still running after {timeout:?}, and was killed"),
            CommandEnd::Stopped => f.write_str("was still running when the run was stopped, and was killed"),
            CommandEnd::Unknown(why) => {
                write!(
                    f,
                    "ended, but its exit code is unknown: {why}; smtpress may have been started with SIGCHLD ignored"
                )
            }
            CommandEnd::NotStarted(why) => write!(f, "could not be started: {why}"),
            CommandEnd::NotRun => f.write_str("was not run: the run was over before its time came"),
        }
    }
}

/// What a command needs to run, besides its text and its folder.
pub struct Surroundings<'a> {
    /// The file to which the output of the command is appended.
    pub log: &'a Path,
    /// A line that is written before the output.
    pub title: &'a str,
    /// A variable of the command's environment.
    pub variable: (&'a str, &'a str),
    /// Returns how long the command has run so far.
    pub took: &'a dyn Fn() -> Duration,
    /// Returns the reason to end the command now, if there is one.
    pub halt: &'a dyn Fn() -> Option<CommandEnd>,
}

impl ShellCommand {
    /// Runs the command until it ends, or until there is a reason to end it. Returns how it ended, and its log; `None`: the
    /// log could not be written.
    pub fn run(&self, around: &Surroundings<'_>) -> (CommandEnd, Option<CommandLog>) {
        let unwritable = |error: io::Error| {
            CommandEnd::NotStarted(format!("failed to write {}: {error}", around.log.display()))
        };
        let mut log = match CommandLog::open(around.log, around.title) {
            Ok(log) => log,
            Err(error) => return (unwritable(error), None),
        };
        let spawned = log.streams().map_err(unwritable).and_then(|streams| self.spawn(around, streams));
        let end = match spawned {
            Ok(child) => watch(child, &mut log, around),
            Err(end) => end,
        };
        (end, Some(log))
    }

    fn spawn(&self, around: &Surroundings<'_>, [out, err]: [File; 2]) -> Result<Child, CommandEnd> {
        if !self.folder.is_dir() {
            return Err(CommandEnd::NotStarted(format!("there is no folder {}", self.folder.display())));
        }
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.text).current_dir(&self.folder);
        command.env(around.variable.0, around.variable.1);
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&folders).chain([self.folder.clone()]);
        // PATH stays unchanged if a folder has a colon in its name, which PATH cannot hold.
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        command.spawn().map_err(|error| CommandEnd::NotStarted(format!("/bin/sh: {error}")))
    }
}

/// Waits until the command ends, or ends it if there is a reason.
fn watch(mut child: Child, log: &mut CommandLog, around: &Surroundings<'_>) -> CommandEnd {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return ended(status),
            Ok(None) => {}
            Err(error) => return CommandEnd::Unknown(error.to_string()),
        }
        if let Some(end) = (around.halt)() {
            end_group(&mut child, around);
            return end;
        }
        log.bound();
        std::thread::sleep(GLANCE);
    }
}

fn ended(status: ExitStatus) -> CommandEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => CommandEnd::Exited(code),
        (None, signal) => CommandEnd::Signalled(signal.unwrap_or_default()),
    }
}

/// Ends the process group of a command.
fn end_group(child: &mut Child, around: &Surroundings<'_>) {
    let Ok(id) = i32::try_from(child.id()) else { return };
    let group = Pid::from_raw(id);
    let until = (around.took)() + GRACE;
    // The error means that the process group has already ended.
    killpg(group, Signal::SIGTERM).ok();
    while (around.took)() < until && killpg(group, None).is_ok() {
        child.try_wait().ok();
        std::thread::sleep(GLANCE);
    }
    killpg(group, Signal::SIGKILL).ok();
    child.wait().ok();
}

/// The file for the output of a command.
#[derive(Debug)]
pub struct CommandLog {
    file: File,
    /// The offset at which the output of this command begins.
    from: u64,
    /// The beginning and the end of the discarded output, and the number of discarded bytes.
    head: Vec<u8>,
    tail: Vec<u8>,
    cut: u64,
}

impl CommandLog {
    fn open(path: &Path, title: &str) -> io::Result<CommandLog> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        writeln!(file, "== {title}")?;
        let from = file.metadata()?.len();
        Ok(CommandLog { file, from, head: Vec::new(), tail: Vec::new(), cut: 0 })
    }

    /// Returns two handles, for stdout and stderr, which both append to the file.
    fn streams(&self) -> io::Result<[File; 2]> {
        Ok([self.file.try_clone()?, self.file.try_clone()?])
    }

    fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |data| data.len()).saturating_sub(self.from)
    }

    /// Keeps the file bounded while processes that the command left running may write to it, until `is_over`. Returns
    /// whether output was discarded.
    pub fn bound_until(&mut self, is_over: impl Fn() -> bool) -> bool {
        let before = self.cut;
        while !is_over() {
            self.bound();
            std::thread::sleep(GLANCE);
        }
        self.bound();
        self.cut > before
    }

    /// Discards the output from the file if it is too long.
    fn bound(&mut self) {
        let length = self.length();
        if length > MOST_LOGGED {
            if self.head.is_empty() {
                self.head = self.read(0, SHOWN);
            }
            self.tail = self.read(length - SHOWN, SHOWN);
            // A failed truncation is tried again at the next check.
            if self.file.set_len(self.from).is_ok() {
                self.cut += length;
            }
        }
    }

    /// Reads up to `most` bytes of the output from offset `at`.
    fn read(&self, at: u64, most: u64) -> Vec<u8> {
        let mut read = vec![0; usize::try_from(most).expect("little is shown")];
        let mut filled = 0;
        // `read_at` does not depend on the file's own offset, which the command moves. An error ends the reading.
        while let Ok(more @ 1..) = self.file.read_at(&mut read[filled..], self.from + at + filled as u64) {
            filled += more;
        }
        read.truncate(filled);
        read
    }

    /// Returns the output as reports show it.
    pub fn shown(&self) -> String {
        let length = self.length();
        let (head, left_out, tail) = match self.cut {
            0 if length <= 2 * SHOWN => (self.read(0, length), 0, Vec::new()),
            0 => (self.read(0, SHOWN), length - 2 * SHOWN, self.read(length - SHOWN, SHOWN)),
            cut => {
                let mut tail = self.tail.clone();
                tail.extend(self.read(length.saturating_sub(SHOWN), SHOWN));
                tail.drain(..tail.len().saturating_sub(SHOWN as usize));
                let shown = (self.head.len() + tail.len()) as u64;
                (self.head.clone(), (cut + length).saturating_sub(shown), tail)
            }
        };
        let mut text = String::from_utf8_lossy(&head).into_owned();
        if left_out > 0 {
            let why = if self.cut > 0 { ": the log holds at most 1 MiB" } else { "" };
            text.push_str(&format!("\n[{left_out} bytes left out{why}]\n"));
        }
        text.push_str(&String::from_utf8_lossy(&tail));
        text
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    /// Runs a command in a new folder that has a script `beside.sh`. After `halt_after` checks for a reason to end it, the
    /// command is ended with `end`.
    fn run(text: &str, halt_after: u32, end: CommandEnd) -> (CommandEnd, String, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("beside.sh"), "#!/bin/sh\necho beside $1 in $(pwd)\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path().join("beside.sh"), executable).unwrap();
        let (looks, ticks) = (Cell::new(0), Cell::new(0));
        let command = ShellCommand { text: text.to_owned(), folder: folder.path().to_owned() };
        let (end, log) = command.run(&Surroundings {
            log: &folder.path().join("log"),
            title: "a title",
            variable: ("SMTPRESS_EVENT", "crash"),
            // Each reading advances the clock.
            took: &|| {
                ticks.set(ticks.get() + 1);
                GLANCE * ticks.get()
            },
            halt: &|| {
                looks.set(looks.get() + 1);
                (looks.get() > halt_after).then(|| end.clone())
            },
        });
        (end, log.unwrap().shown(), folder)
    }

    fn to_its_end(text: &str) -> (CommandEnd, String) {
        let (end, shown, _) = run(text, u32::MAX, CommandEnd::Stopped);
        (end, shown)
    }

    #[test]
    fn a_script_beside_the_profile_is_found_with_and_without_its_path() {
        for text in ["beside.sh one", "./beside.sh one"] {
            let (end, shown, folder) = run(text, u32::MAX, CommandEnd::Stopped);
            let place = folder.path().canonicalize().unwrap();
            assert_eq!((end, shown), (CommandEnd::Exited(0), format!("beside one in {}\n", place.display())));
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(log.starts_with("== a title\nbeside one"), "{log}");
        }
    }

    #[test]
    fn how_it_ended_is_said() {
        assert_eq!(to_its_end("echo $SMTPRESS_EVENT; exit 7"), (CommandEnd::Exited(7), "crash\n".to_owned()));
        assert_eq!(to_its_end("kill -9 $$").0, CommandEnd::Signalled(9));
        let (end, shown) = to_its_end("no-such-command-at-all");
        assert_eq!(end, CommandEnd::Exited(127));
        assert!(shown.contains("no-such-command-at-all"), "{shown}");
        let nowhere = ShellCommand { text: "true".to_owned(), folder: "/no/such/folder".into() };
        let folder = tempfile::tempdir().unwrap();
        let (end, _) = nowhere.run(&Surroundings {
            log: &folder.path().join("log"),
            title: "",
            variable: ("A", "B"),
            took: &|| Duration::ZERO,
            halt: &|| None,
        });
        assert!(matches!(&end, CommandEnd::NotStarted(why) if why.contains("/no/such/folder")), "{end}");
    }

    #[test]
    fn what_was_left_running_stays_and_does_not_hold_the_command_up() {
        let (end, shown, folder) =
            run("(while :; do echo still; sleep 0.02; done) & echo $! > pid", u32::MAX, CommandEnd::Stopped);
        assert_eq!(end, CommandEnd::Exited(0), "{shown}");
        let id: i32 = fs::read_to_string(folder.path().join("pid")).unwrap().trim().parse().unwrap();
        let own = Pid::from_raw(id);
        let before = fs::metadata(folder.path().join("log")).unwrap().len();
        // The process that was left running still writes to the file.
        while fs::metadata(folder.path().join("log")).unwrap().len() < before + 20 {
            assert!(nix::sys::signal::kill(own, None).is_ok(), "it is gone");
            std::thread::sleep(GLANCE);
        }
        nix::sys::signal::kill(own, Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_halt_ends_all_that_it_started_even_what_does_not_want_to() {
        let hold = "trap '' TERM; (trap '' TERM; echo $$ >> pids; sh -c 'echo $$ >> pids; exec sleep 1000') & \
                    echo $! >> pids; echo ready; wait; sleep 1000";
        let end = CommandEnd::TimedOut(Duration::from_secs(1));
        let (found, shown, folder) = run(hold, 60, end.clone());
        assert_eq!((found, shown.as_str()), (end, "ready\n"));
        let ids = fs::read_to_string(folder.path().join("pids")).unwrap();
        assert!(ids.lines().count() >= 3, "{ids}");
        for id in ids.lines() {
            // A killed process may wait for a core, and for its parent to reap it.
            let state = || fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let is_gone = |state: &str| state.is_empty() || state.contains(") Z ");
            let gone = (0..1000).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                is_gone(&state())
            });
            assert!(gone, "{id} still runs: {}", state());
        }
    }

    #[test]
    fn an_endless_output_fills_neither_disk_nor_report() {
        let (end, shown, folder) = run(
            "echo first; head -c 9000000 /dev/zero | tr '\\0' x; sleep 0.2; echo; echo last",
            u32::MAX,
            CommandEnd::Stopped,
        );
        assert_eq!(end, CommandEnd::Exited(0));
        assert!(shown.starts_with("first\nxxx") && shown.ends_with("last\n"), "{:.20}", shown);
        let left_out = " bytes left out: the log holds at most 1 MiB]";
        assert!(shown.contains(left_out) && shown.len() < 17 << 10, "{}", shown.len());
        assert!(fs::metadata(folder.path().join("log")).unwrap().len() < 2 * MOST_LOGGED);
        let (_, shown) = to_its_end("printf 'a\\033[2Jb\\377'");
        assert_eq!(shown, "a\u{1b}[2Jb\u{fffd}", "it is kept as it is; reports make it harmless");
    }
}
