//! Common code of the real listeners: a process group that is killed on drop, a free port, the wait for the greeting.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// How long a listener may take to greet, or a log to be complete, in steps of `STEP`.
const PATIENCE: usize = 600;
const STEP: Duration = Duration::from_millis(50);

/// Prints that a test is skipped. If the real listeners are required, the test fails.
pub fn missing<T>(why: &str) -> Option<T> {
    assert!(
        env::var_os("SMTPRESS_REAL").is_none_or(|value| value != "required"),
        "{why}, and SMTPRESS_REAL=required; run tests/real/install.sh as root"
    );
    // `eprintln!` is not used, because the test harness captures it.
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "skipped: {why}; run tests/real/install.sh as root").unwrap();
    None
}

/// Whether this process may change users, which every listener does.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The first of these programs that exists.
pub fn program(candidates: &[&str]) -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    candidates.iter().map(|path| checkout.join(path)).find(|path| path.exists())
}

/// A new folder that the listener's users can enter.
pub fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("smtpress-real-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Makes `folder` in `root`, owned by one of the listener's users.
pub fn folder_of(owner: &str, root: &Path, folder: &str) {
    let path = root.join(folder);
    fs::create_dir(&path).unwrap();
    assert!(Command::new("chown").arg(owner).arg(&path).status().unwrap().success(), "no user {owner}");
}

/// The number of files in `folder` with this prefix; 0 if the folder does not exist yet.
pub fn files(folder: &Path, prefix: &str) -> u64 {
    let begins = |entry: &io::Result<fs::DirEntry>| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
    };
    fs::read_dir(folder).into_iter().flatten().filter(begins).count() as u64
}

/// The number of files in `folder` and all folders below it.
pub fn files_below(folder: &Path) -> u64 {
    let mut files = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // A file that has just been removed does not count.
        let Ok(kind) = entry.file_type() else { continue };
        files += if kind.is_dir() { files_below(&entry.path()) } else { 1 };
    }
    files
}

/// A free loopback port, below the range that the kernel uses for clients, so that no connection of a test takes it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run in parallel start at different ports.
    let start = u16::try_from(process::id() % 400).unwrap() * 25;
    (0..2000)
        .map(|_| 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("one of 2000 ports is free")
}

/// Waits until `reached` is true, for at most 30 seconds, and returns whether it is.
pub fn wait_until(mut reached: impl FnMut() -> bool) -> bool {
    (0..PATIENCE).any(|_| {
        let done = reached();
        if !done {
            thread::sleep(STEP);
        }
        done
    })
}

/// A listener's processes, which are killed when this is dropped, also after a panic.
#[derive(Debug)]
pub struct Processes {
    child: Child,
    group: u32,
}

impl Processes {
    /// Starts `command` as the leader of a new process group, with its output in `output`.
    pub fn start(command: &mut Command, output: &Path) -> Processes {
        let file = fs::File::create(output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Processes { group: child.id(), child }
    }

    /// The process group that gets signals.
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Sets the process group that gets signals, for a listener that makes its own group.
    pub fn set_group(&mut self, group: u32) {
        self.group = group;
    }

    /// Waits for a greeting on `port`. Then sends QUIT and waits for the end, so that the session no longer counts.
    pub fn await_greeting(&mut self, port: u16, output: &Path) {
        self.await_greeting_to("", port, output);
    }

    /// Waits for the greeting of a listener that first needs `header`.
    pub fn await_greeting_to(&mut self, header: &str, port: u16, output: &Path) {
        let greets = || {
            let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
            stream.write_all(header.as_bytes()).unwrap();
            // The greeting is read to its last line, because postscreen sends the first line early, to detect clients
            // that do not wait.
            let greeting =
                BufReader::new(&stream).lines().map_while(Result::ok).find(|line| !line.starts_with("220-"));
            stream.write_all(b"QUIT\r\n").unwrap();
            // A reset is an end of the session too.
            stream.read_to_end(&mut Vec::new()).ok();
            greeting.is_some_and(|greeting| greeting.starts_with("220 "))
        };
        let child = &mut self.child;
        let (mut ended, mut greeted) = (None, false);
        wait_until(|| {
            ended = child.try_wait().unwrap();
            greeted = ended.is_none() && greets();
            greeted || ended.is_some()
        });
        assert!(
            greeted,
            "no greeting on port {port}, {ended:?}: {}",
            fs::read_to_string(output).unwrap_or_default()
        );
    }

    /// Sends a signal (`STOP`, `CONT`, `KILL`, ...) to the whole group.
    pub fn signal(&self, signal: &str) {
        // The shell's built-in `kill` is used, because a minimal Debian has no other.
        let script = r#"kill -s "$0" -- "-$1""#;
        let group = self.group.to_string();
        let status =
            Command::new("sh").args(["-c", script, signal, &group]).stderr(Stdio::null()).status().unwrap();
        // A signal fails only if the group has already ended.
        assert!(
            status.success() || matches!(signal, "TERM" | "KILL" | "CONT"),
            "{signal} to {group}: {status}"
        );
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.signal("CONT");
        self.signal("TERM");
        let child = &mut self.child;
        let ended = (0..100).any(|_| {
            thread::sleep(STEP);
            !matches!(child.try_wait(), Ok(None))
        });
        self.signal("KILL");
        if !ended {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
