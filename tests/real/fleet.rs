//! A fleet on this machine: `smtpress fleet run --local`, its processes, and the files that they leave.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::fleet_access::nats_server;
use crate::listener::wait_until;
use crate::smtpress::OUTCOMES;

/// The counts of a phase that are equal for a fleet and for one process, besides its outcomes.
const COUNTS: [&str; 3] = ["scheduled", "started", "shed"];

/// A process of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    Coordinator,
    Agent,
    Server,
    Keeper,
}

/// A run in progress, with all its processes.
pub struct Fleet {
    child: Child,
    folder: TempDir,
}

/// The end of a run.
pub struct Ended {
    pub code: i32,
    /// Its standard error.
    pub said: String,
    /// The result on standard output; `None`: it printed none.
    pub result: Option<Value>,
    /// `result.json` of the run directory.
    pub stored: Option<Value>,
}

impl Fleet {
    /// Starts `smtpress fleet run` with this number of agents on this machine; `None` without a nats-server.
    pub fn local(agents: usize, flags: &str) -> Option<Fleet> {
        nats_server()?;
        Some(Fleet::start(&format!("fleet run {flags} --local {agents}"), |_| {}))
    }

    /// Starts smtpress with these arguments in a new folder, with the result on standard output.
    pub fn start(words: &str, more: impl FnOnce(&mut Command)) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let output = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
        command
            .args(words.split_whitespace())
            .args(["--out", "run", "--json", "-", "--progress", "none"])
            .current_dir(folder.path())
            .env("TMPDIR", folder.path().join("tmp"))
            // This variable is for the tests, and smtpress warns of variables that it does not know.
            .env_remove("SMTPRESS_REAL")
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"));
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        more(&mut command);
        let child = command.spawn().unwrap();
        Fleet { child, folder }
    }

    /// The folder of its temporary files.
    pub fn tmp(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// All its running processes. They are recognized by the inherited variable with the folder of temporary files.
    pub fn members(&self) -> Vec<(Member, i32)> {
        let mark = format!("TMPDIR={}\0", self.tmp().display());
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let path = entry.path();
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that has just ended has no environment.
            let environment = fs::read(path.join("environ")).unwrap_or_default();
            if !environment.windows(mark.len()).any(|part| part == mark.as_bytes()) {
                continue;
            }
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
            let member = match &words[..] {
                [_, b"agent", ..] => Member::Agent,
                [_, b"fleet" | b"run", ..] => Member::Coordinator,
                [program, ..] if program.ends_with(b"nats-server") => Member::Server,
                [b"sh", ..] => Member::Keeper,
                _ => continue,
            };
            members.push((member, pid));
        }
        members.sort_by_key(|(_, pid)| *pid);
        members
    }

    /// Its processes of one kind, in the order of their start.
    pub fn pids(&self, member: Member) -> Vec<i32> {
        self.members().into_iter().filter(|(own, _)| *own == member).map(|(_, pid)| pid).collect()
    }

    /// Waits until there is this number of processes of a kind, and returns them.
    pub fn await_pids(&self, member: Member, count: usize) -> Vec<i32> {
        let mut pids = Vec::new();
        assert!(
            wait_until(|| {
                pids = self.pids(member);
                pids.len() == count
            }),
            "{count} of {member:?} among {:?}: {}",
            self.members(),
            self.said()
        );
        pids
    }

    /// Waits until the load has run for about this many seconds, by the lines of its files, which grow by one each
    /// second.
    pub fn await_seconds(&self, seconds: usize) {
        let lines = || {
            let entries = fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
            let text = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("timeseries.csv")).ok();
            entries.filter_map(text).map(|text| text.lines().count().saturating_sub(1)).max().unwrap_or(0)
        };
        assert!(wait_until(|| lines() >= seconds), "{} of {seconds} s: {}", lines(), self.said());
    }

    /// Sends a signal to the coordinator only.
    pub fn signal(&self, signal: Signal) {
        signal_to(self.child.id().cast_signed(), signal);
    }

    /// Sends a signal to the coordinator's process group, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        killpg(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end of the coordinator, at most four minutes, and of all its processes. They must leave nothing but
    /// the run directory.
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        let mut status = None;
        for _ in 0..12_000 {
            status = self.child.try_wait().unwrap();
            if status.is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let said = self.said();
        let status = status.unwrap_or_else(|| panic!("it does not end: {said}"));
        self.assert_nothing_is_left();
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).ok();
        let json = |text: String| serde_json::from_str(&text).ok();
        let code = status.code().unwrap_or(-1);
        Ended {
            code,
            result: read("stdout").and_then(json),
            stored: read("run/result.json").and_then(json),
            said,
        }
    }

    /// Waits until no process is left, and checks that no file is left.
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        let said = self.said();
        assert!(wait_until(|| self.members().is_empty()), "{:?} are left: {said}", self.members());
        let left =
            || fs::read_dir(self.tmp()).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
        assert!(wait_until(|| left().is_empty()), "{:?} are left: {said}", left());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // After a panic, too, no process keeps running.
        for (_, pid) in self.members() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends a signal to a running process.
#[track_caller]
pub fn signal_to(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

impl Ended {
    /// The result. A run without a result fails the test.
    #[track_caller]
    pub fn result(&self) -> &Value {
        self.result.as_ref().unwrap_or_else(|| panic!("no result, exit code {}: {}", self.code, self.said))
    }

    /// A count, over all phases.
    #[track_caller]
    pub fn count(&self, field: &str) -> u64 {
        self.phases().iter().map(|phase| number(phase, field)).sum()
    }

    #[track_caller]
    pub fn phases(&self) -> &[Value] {
        self.result()["phases"].as_array().unwrap()
    }

    /// The states of the agents by their names.
    #[track_caller]
    pub fn agents(&self) -> Vec<(String, String)> {
        let text = |agent: &Value, field: &str| agent[field].as_str().unwrap().to_owned();
        // A run of one process has no agents.
        let agents = self.result()["agents"].as_array().into_iter().flatten();
        agents.map(|agent| (text(agent, "name"), text(agent, "state"))).collect()
    }

    /// The agents that did not end as planned.
    #[track_caller]
    pub fn lost(&self) -> Vec<String> {
        self.agents().into_iter().filter(|(_, state)| state != "done").map(|(name, _)| name).collect()
    }

    /// The codes of the reasons for which it is invalid.
    #[track_caller]
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.result()["validity"]["reasons"].as_array().unwrap();
        reasons.iter().map(|reason| reason.as_str().unwrap().to_owned()).collect()
    }

    /// The counts of each phase.
    #[track_caller]
    pub fn counts(&self) -> Vec<(String, Vec<u64>)> {
        let of = |phase: &Value| COUNTS.iter().chain(&OUTCOMES).map(|field| number(phase, field)).collect();
        self.phases().iter().map(|phase| (phase["name"].as_str().unwrap().to_owned(), of(phase))).collect()
    }

    /// Checks that the sums over the agents are the counts of the run, and that the stored result is the printed one.
    #[track_caller]
    pub fn assert_adds_up(&self) {
        assert_eq!(self.stored.as_ref(), self.result.as_ref(), "result.json of the run directory");
        let agents = self.result()["agents"].as_array().unwrap();
        for field in ["scheduled", "started", "accepted"] {
            let of_agents: u64 = agents.iter().map(|agent| number(agent, field)).sum();
            assert_eq!(of_agents, self.count(field), "{field}: {agents:#?}");
        }
        for phase in self.phases() {
            let counted: u64 = self.response_counts(&phase["name"]);
            // Each attempt has its own time.
            let retries = phase["retry"]["retries"].as_u64().unwrap_or(0);
            let ended: u64 = OUTCOMES.iter().map(|field| number(phase, field)).sum::<u64>() + retries;
            // An interrupted arrival may have no time.
            assert!(counted <= ended, "{counted} response times of {ended} arrivals");
            assert!(counted >= number(phase, "accepted"), "{counted} response times: {phase:#}");
        }
    }

    /// The number of response times in the histograms of a phase.
    fn response_counts(&self, phase: &Value) -> u64 {
        let metrics = self.result()["metrics"].as_array().unwrap();
        let own = metrics.iter().filter(|metric| metric["phase"] == *phase && metric["name"] == "response");
        own.map(|metric| number(metric, "count")).sum()
    }

    /// Checks that a run with lost agents is invalid (exit code 98), names them, and has complete counts of the others.
    #[track_caller]
    pub fn assert_invalid_by(&self, lost: usize) {
        assert_eq!(self.code, 98, "{}", self.said);
        assert_eq!(self.lost().len(), lost, "{:?}: {}", self.agents(), self.said);
        assert!(self.reasons().contains(&"agent-lost".to_owned()), "{:?}", self.reasons());
        for name in self.lost() {
            assert!(self.said.contains(&format!("agent {name} ")), "{name} is not named: {}", self.said);
        }
        self.assert_adds_up();
    }
}

#[track_caller]
pub fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {value:#}"))
}
