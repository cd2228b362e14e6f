//! Agents that this process starts, and that end with it, however it ends.
//!
//! # Decisions
//! - All that an agent needs to join comes on its standard input, in one line of JSON: no token stands on a command line. When
//!   its standard input ends, the agent ends.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::generator::clock;

/// How long an agent may take to end.
const END_WITHIN: Duration = Duration::from_secs(8);

/// What an agent needs to join: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The bus.
    pub url: String,
    /// What opens it.
    pub token: String,
    /// The agent's name.
    pub name: String,
    /// The coordinator's public key.
    pub coordinator: String,
    /// The hosts beyond loopback that may be loaded.
    pub allow_target: Vec<String>,
    /// Where its reports wait, if that is on the coordinator's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<PathBuf>,
}

/// Agents that run as processes of this one.
#[derive(Debug, Default)]
pub struct AgentProcesses {
    children: Vec<(Child, Option<ChildStdin>)>,
}

impl AgentProcesses {
    /// Starts one by this command, which reads its invitation from standard input.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, mut command: Command, invitation: &Invitation) -> io::Result<()> {
        // A group of its own: Ctrl-C is for the coordinator, which lets its agents drain.
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

    /// Takes one that was started elsewhere, and ends when its standard input does.
    pub fn adopt(&mut self, child: Child, stdin: ChildStdin) {
        self.children.push((child, Some(stdin)));
    }

    /// The program that runs now.
    ///
    /// # Errors
    /// Its file is gone.
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
