//! `tests/relays/relay.py`: a relay with faults, and its exact ledger of them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::listener::{self, Processes};

/// A running relay with faults.
pub struct FaultyRelay {
    pub port: u16,
    processes: Processes,
    folder: TempDir,
    command: Vec<String>,
}

impl FaultyRelay {
    /// Starts one that delivers to this loopback port, with these flags; `None` without Python.
    pub fn start(next: u16, flags: &str) -> Option<FaultyRelay> {
        let python = ["python3", "--version"];
        let version =
            Command::new(python[0]).arg(python[1]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            return listener::missing("Python is not installed");
        }
        let (folder, port) = (listener::folder(), listener::free_port());
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/relays/relay.py");
        let mut command: Vec<String> = vec![python[0].to_owned(), program.display().to_string()];
        command.extend(["--listen".to_owned(), format!("127.0.0.1:{port}")]);
        command.extend(["--next".to_owned(), format!("127.0.0.1:{next}")]);
        command.extend(["--ledger".to_owned(), folder.path().join("ledger").display().to_string()]);
        command.extend(flags.split_whitespace().map(str::to_owned));
        let output = folder.path().join("output");
        let mut processes = Processes::start(Command::new(&command[0]).args(&command[1..]), &output);
        processes.await_greeting(port, &output);
        fs::write(folder.path().join("group"), processes.group().to_string()).unwrap();
        Some(FaultyRelay { port, processes, folder, command })
    }

    /// A script that ends it, so that the messages in its memory are lost, and starts it again.
    pub fn crash_script(&self) -> String {
        format!(
            "cd {}\nold=$(cat group)\nkill -s TERM -- -$old\n\
             until grep -qs \"\\\"pid\\\": $old,\" ledger; do sleep 0.05; done\n\
             setsid {} >>output 2>&1 </dev/null &\necho $! >group\n",
            self.folder.path().display(),
            self.command.join(" ")
        )
    }

    /// A script that makes it lose the messages in its memory, and nothing else.
    pub fn loss_script(&self) -> String {
        format!("kill -s USR1 -- -$(cat {}/group)\n", self.folder.path().display())
    }

    /// Ends it and returns its ledgers, one for each process.
    #[track_caller]
    pub fn ledgers(mut self) -> Vec<Value> {
        let group = fs::read_to_string(self.folder.path().join("group")).unwrap();
        self.processes.set_group(group.trim().parse().unwrap());
        self.processes.signal("TERM");
        let pid = format!("\"pid\": {},", group.trim());
        // A long line is written in several writes.
        let is_whole = |ledger: String| ledger.contains(&pid) && ledger.ends_with('\n');
        let written = listener::wait_until(|| is_whole(self.file("ledger")));
        assert!(written, "no ledger: {}", self.file("output"));
        self.file("ledger").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The value of this count that the receiver must have, by the sum of all ledgers.
#[track_caller]
pub fn expected(ledgers: &[Value], count: &str) -> u64 {
    let of =
        |ledger: &Value| ledger["expect"][count].as_u64().unwrap_or_else(|| panic!("no {count}: {ledger:#}"));
    ledgers.iter().map(of).sum()
}
