//! A testbed for the binary: its own folder, a clean environment, and its output.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use smtpress::generator::clock;

/// A profile of fifty messages in one second against the embedded listener.
pub const SMALL: &str = r#"schema = 1
name = "small"
seed = 7
[target]
address = "embedded"
[[phase]]
name = "steady"
load = "constant-rate"
rate = "50/s"
for = "1s"
"#;

/// A profile of fifty messages over two sessions, without a schedule for which a busy machine could be late.
pub const FEW: &str = r#"schema = 1
name = "few"
seed = 7
[target]
address = "embedded"
[[phase]]
name = "few"
load = "shared-messages"
messages = 50
sessions = 2
"#;

/// How often a run is started if it was invalid because the machine is busy.
const ATTEMPTS: usize = 4;

/// A folder to work in.
pub struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// Creates a folder with [`SMALL`] as `small.toml` and [`FEW`] as `few.toml`.
    pub fn new() -> Stage {
        let stage = Stage { folder: tempfile::tempdir().unwrap() };
        stage.put("small.toml", SMALL);
        stage.put("few.toml", FEW);
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// The names in a folder, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        list(&self.path(name))
    }

    /// The binary, ready to start in the folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        for name in ["NO_COLOR", "COLUMNS", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SMTPRESS_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(&[], arguments)
    }

    /// Runs the binary to its end with variables. If a run against the embedded listener is invalid, because the
    /// machine is busy, its files are removed and it is started again. No other listener has counted it.
    pub fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
        let paths = || fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let before: Vec<PathBuf> = paths().collect();
        for _ in 1..ATTEMPTS {
            let said = Said::of(self.command(arguments).envs(variables.iter().copied()).output().unwrap());
            if said.code != Some(98) || !self.is_repeatable(arguments) {
                return said;
            }
            for path in paths().filter(|path| !before.contains(path)) {
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            }
        }
        Said::of(self.command(arguments).envs(variables.iter().copied()).output().unwrap())
    }

    /// Whether the command is `run` with a profile of this folder whose target is the embedded listener.
    fn is_repeatable(&self, arguments: &[&str]) -> bool {
        let profile = arguments.iter().find(|name| name.ends_with(".toml"));
        arguments[0] == "run"
            && profile.is_some_and(|name| self.read(name).contains("address = \"embedded\""))
    }

    /// Runs the binary to its end with an input.
    pub fn feed(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Said::of(child.wait_with_output().unwrap())
    }

    /// Starts the binary.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::new(self.command(arguments))
    }
}

/// The names in a folder, sorted.
pub fn list(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The exit code and the output of a finished command.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said = Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert!(!said.err.contains("panicked"), "{}", said.err);
        said
    }

    /// Checks that the exit code is `code`.
    #[track_caller]
    pub fn ended(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.out, self.err);
        self
    }

    /// Checks that the exit code is that of a measured run; on a busy machine it may be invalid.
    #[track_caller]
    pub fn measured(self) -> Said {
        assert!(matches!(self.code, Some(0 | 98)), "\n{}\n{}", self.out, self.err);
        self
    }

    /// Returns stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// A command in progress, which is killed when this is dropped.
pub struct Running {
    child: Child,
    err: BufReader<std::process::ChildStderr>,
    heard: String,
    said: Arc<Mutex<String>>,
    out: Option<thread::JoinHandle<()>>,
}

impl Running {
    pub fn new(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let err = BufReader::new(child.stderr.take().unwrap());
        let mut pipe = child.stdout.take().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let all = said.clone();
        let out = thread::spawn(move || {
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..read]);
                *all.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
            }
            *all.lock().unwrap() = String::from_utf8(bytes).unwrap();
        });
        Running { child, err, heard: String::new(), said, out: Some(out) }
    }

    /// Waits for a line on stderr that contains this text, and returns it.
    pub fn hear(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.err.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended without {text:?}: {}", self.heard);
            self.heard.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits until stdout contains this text.
    pub fn wait_for_out(&self, text: &str) {
        let end = clock::now() + Duration::from_secs(60);
        while !self.said.lock().unwrap().contains(text) {
            assert!(clock::now() < end, "no {text:?} on stdout: {}", self.said.lock().unwrap());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits until it ends.
    pub fn end(mut self) -> Said {
        self.err.read_to_string(&mut self.heard).unwrap();
        let code = self.child.wait().unwrap().code();
        self.out.take().unwrap().join().unwrap();
        let out = std::mem::take(&mut *self.said.lock().unwrap());
        assert!(!self.heard.contains("panicked"), "{}", self.heard);
        Said { code, out, err: std::mem::take(&mut self.heard) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has already ended if `end` was called.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `smtpress listen` on a free port.
pub struct Listening {
    pub running: Running,
    pub address: SocketAddr,
}

impl Listening {
    /// Listens until [`Listening::ledger`] is called or this is dropped, two minutes at most.
    pub fn with(stage: &Stage, settings: &[&str]) -> Listening {
        Listening::of(stage, &[], settings)
    }

    /// Listens with further arguments, such as a profile.
    pub fn of(stage: &Stage, arguments: &[&str], settings: &[&str]) -> Listening {
        let mut arguments = [&["listen"], arguments, &["--bind", "127.0.0.1:0", "-z", "2m"]].concat();
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let mut running = stage.start(&arguments);
        let line = running.hear("listening on");
        let address = line.split("listening on ").nth(1).unwrap().split(';').next().unwrap();
        Listening { running, address: address.parse().unwrap() }
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Ends it with Ctrl-C and reads its ledger.
    pub fn ledger(self) -> Value {
        self.running.signal(Signal::SIGINT);
        self.running.end().ended(0).json()
    }
}
