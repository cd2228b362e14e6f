//! Starts agents on this machine that end when this process ends, even if this process is killed.
//!
//! # Decisions
//! - An agent reads its invitation from standard input, as one line of JSON, so that no password is on a command line.
//!   The agent ends when its standard input ends.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::generator::clock;

/// How long an agent may take to end.
const END_WITHIN: Duration = Duration::from_secs(8);

/// The data that an agent needs to join: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The URL of the bus.
    pub url: String,
    /// The agent's password for the bus.
    pub password: String,
    /// The agent's name.
    pub name: String,
    /// The coordinator's public key.
    pub coordinator: String,
    /// The hosts beyond loopback that may be loaded.
    pub allow_target: Vec<String>,
    /// The folder of the agent's unsent reports, if the agent runs on the coordinator's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<PathBuf>,
}

/// Agents that run as child processes.
#[derive(Debug, Default)]
pub struct AgentProcesses {
    children: Vec<(Child, Option<ChildStdin>)>,
}

impl AgentProcesses {
    /// Starts an agent by this command, and writes its invitation to its standard input.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn start(&mut self, mut command: Command, invitation: &Invitation) -> io::Result<()> {
        // A process group of its own: Ctrl-C must reach only the coordinator, which then lets its agents drain.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take();
        let line = serde_json::to_string(invitation)? + "\n";
        if let Some(stdin) = &mut stdin {
            stdin.write_all(line.as_bytes())?;
            stdin.flush()?;
        }
        self.children.push((child, stdin));
        Ok(())
    }

    /// Adds an agent process that was started elsewhere and ends when its standard input ends.
    pub fn adopt(&mut self, child: Child, stdin: ChildStdin) {
        self.children.push((child, Some(stdin)));
    }

    /// Returns the path of the running program.
    ///
    /// # Errors
    /// Its file was removed.
    pub fn own_program() -> io::Result<PathBuf> {
        std::env::current_exe()
    }
}

impl Drop for AgentProcesses {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(|(_, stdin)| drop(stdin.take()));
        let until = clock::now() + END_WITHIN;
        for (child, _) in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) {
                if clock::now() > until {
                    child.kill().ok();
                    child.wait().ok();
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
