//! What the real listeners share: a process group that ends with its owner, a free port, the wait for the greeting.

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

/// Says aloud that a test is skipped; a failure where the real listeners are required.
pub fn missing<T>(why: &str) -> Option<T> {
    assert!(
        env::var_os("SMTPRESS_REAL").is_none_or(|value| value != "required"),
        "{why}, and SMTPRESS_REAL=required; run tests/real/install.sh as root"
    );
    // Not `eprintln!`: the test harness would keep it to itself.
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "skipped: {why}; run tests/real/install.sh as root").unwrap();
    None
}

/// Whether this process may change users, as every one of the listeners does.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The first of these that is there.
pub fn program(candidates: &[&str]) -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    candidates.iter().map(|path| checkout.join(path)).find(|path| path.exists())
}

/// A folder of its own that the listener's users can walk through.
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

/// The files in `folder` whose names begin so; none where there is no such folder yet.
pub fn files(folder: &Path, prefix: &str) -> u64 {
    let begins = |entry: &io::Result<fs::DirEntry>| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
    };
    fs::read_dir(folder).into_iter().flatten().filter(begins).count() as u64
}

/// The files in `folder` and all folders below it.
pub fn files_below(folder: &Path) -> u64 {
    let mut files = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // What is gone meanwhile is no file.
        let Ok(kind) = entry.file_type() else { continue };
        files += if kind.is_dir() { files_below(&entry.path()) } else { 1 };
    }
    files
}

/// A loopback port that nobody listens on, below those that the kernel gives to clients: no connection of ours takes it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side begin at different places.
    let start = u16::try_from(process::id() % 400).unwrap() * 25;
    (0..2000)
        .map(|_| 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("one of 2000 ports is free")
}

/// Waits until `reached` holds, for at most 30 seconds, and tells whether it does.
pub fn wait_until(mut reached: impl FnMut() -> bool) -> bool {
    (0..PATIENCE).any(|_| {
        let done = reached();
        if !done {
            thread::sleep(STEP);
        }
        done
    })
}

/// A listener's processes; they end when this is dropped, also by a panic.
#[derive(Debug)]
pub struct Processes {
    child: Child,
    group: u32,
}

impl Processes {
    /// Starts `command` as the leader of a process group of its own, its output in `output`.
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

    /// The group that signals go to.
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Signals go to this group from now on: the listener made one of its own.
    pub fn set_group(&mut self, group: u32) {
        self.group = group;
    }

    /// Waits for a greeting on `port`; says QUIT and waits for the end, so that the session is counted no more.
    pub fn await_greeting(&mut self, port: u16, output: &Path) {
        self.await_greeting_to("", port, output);
    }

    /// The same of a listener that is first told `header`.
    pub fn await_greeting_to(&mut self, header: &str, port: u16, output: &Path) {
        let greets = || {
            let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
            stream.write_all(header.as_bytes()).unwrap();
            // To its last line: postscreen sends the first alone, to see who cannot wait.
            let greeting =
                BufReader::new(&stream).lines().map_while(Result::ok).find(|line| !line.starts_with("220-"));
            stream.write_all(b"QUIT\r\n").unwrap();
            // It may be reset: what matters is that it has ended.
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
        // The shell's own kill: a bare Debian has no other.
        let script = r#"kill -s "$0" -- "-$1""#;
        let group = self.group.to_string();
        let status =
            Command::new("sh").args(["-c", script, signal, &group]).stderr(Stdio::null()).status().unwrap();
        // Only a group that has ended already cannot be signalled.
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
