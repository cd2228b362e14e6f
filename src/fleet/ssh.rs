//! Starts agents on other machines by the user's `ssh`. The agents reach the NATS server on the loopback of this
//! machine through a reverse forward.
//!
//! # Decisions
//! - There is one login for each host: the reverse forward, the copy of the program and the agent use the same
//!   connection, and end with it.
//! - No secret is on a command line: the agent reads its invitation from standard input.
//! - The program is copied into a folder named by its version and digest, so that the host runs exactly this program.
//! - A shared ssh connection is not used (`ControlPath=none`): its forwards would outlast the agent.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::local::{AgentProcesses, Invitation};
use crate::generator::clock;

/// How many logins run at once: by default sshd starts to refuse logins when ten are unfinished (MaxStartups).
const LOGINS_AT_ONCE: usize = 4;
/// The pause between the starts of two logins.
const APART: Duration = Duration::from_millis(200);
/// How long a host may print nothing before its agent starts.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// How long ssh may take to print its error after the host's shell has ended.
const ENDING_WITHIN: Duration = Duration::from_secs(3);
/// How many ports to try on a host.
const PORTS: usize = 6;
/// The range of these ports: below the ephemeral ports of Linux (from 32768).
const FIRST_PORT: u16 = 20_000;
const PORTS_TO_DRAW: u64 = 12_000;
/// The text that ssh prints if a port is in use.
const PORT_TAKEN: &str = "remote port forwarding failed";

/// The script for the host's shell: `$1` is the name of the folder, `$2` the size of the program, `$3` its version,
/// `$4` whether it may be copied. It has no single quote and no line end, so that every login shell accepts it.
const SCRIPT: &str = concat!(
    r#"set -e; umask 077; d="$HOME/.cache/smtpress/$1"; p="$d/smtpress"; "#,
    r#"if [ -x "$p" ] && [ "$(wc -c <"$p")" -eq "$2" ]; then :; "#,
    r#"elif [ "$4" = copy ]; then mkdir -p "$d"; t="$p.$$"; echo need; head -c "$2" >"$t" || :; "#,
    r#"if [ "$(wc -c <"$t")" -ne "$2" ]; then rm -f "$t"; echo "the copy of smtpress was cut off" >&2; exit 90; fi; "#,
    r#"chmod 700 "$t"; mv "$t" "$p"; "#,
    r#"else p=$(command -v smtpress) || { echo "smtpress is not installed there, and --no-copy forbids to copy it" >&2; exit 90; }; "#,
    r#"v=$("$p" --version); if [ "$v" != "smtpress $3" ]; then echo "$p is $v, this is smtpress $3, and --no-copy forbids to copy it" >&2; exit 90; fi; fi; "#,
    r#""$p" --version >/dev/null; echo ready; exec "$p" agent --join"#,
);

/// Why agents cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The program that runs cannot be read.
    #[error("failed to read this program, to copy it: {0}")]
    Program(io::Error),
    /// Each host that failed, with what ssh printed.
    #[error("no agent on {}", .0.iter().map(|(host, why)| format!("{host}: {why}")).collect::<Vec<_>>().join("\nno agent on "))]
    Hosts(Vec<(String, String)>),
}

/// The settings for agents on other machines.
pub struct SshStart<'a> {
    /// The hosts as `ssh` accepts them: names of its configuration, or `user@host`.
    pub hosts: &'a [String],
    /// Whether the program may be copied to the hosts.
    pub may_copy: bool,
    /// The NATS server's port on this machine's loopback.
    pub port: u16,
    /// The version of this program.
    pub version: &'a str,
    /// Makes the invitation of an agent from the agent's name and the URL by which the agent reaches the server.
    pub invite: &'a (dyn Fn(String, String) -> Invitation + Sync),
    /// Shows a line to the user.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
    /// Draws a random number that cannot be guessed.
    pub draw: fn() -> u64,
}

/// This program, to be copied to hosts.
struct Program {
    bytes: Vec<u8>,
    /// The name of the folder, from its version and digest.
    folder: String,
}

/// An ssh process whose agent has started.
struct StartedSsh {
    child: Child,
    stdin: ChildStdin,
}

impl SshStart<'_> {
    /// Starts an agent on each host. If one agent does not start, the others are ended.
    ///
    /// # Errors
    /// The hosts that cannot be reached, or whose agent does not start, each with the last line of ssh.
    pub fn start(&self) -> Result<AgentProcesses, SshError> {
        // Reads the program that is running: the file at its path may have been replaced since the start.
        let bytes = std::fs::read("/proc/self/exe").map_err(SshError::Program)?;
        let digest: String =
            Sha256::digest(&bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let program = Program { bytes, folder: format!("{}-{digest}", self.version) };
        let names = names(self.hosts);
        let waiting = Mutex::new(self.hosts.iter().zip(&names));
        let next_login = Mutex::new(clock::now());
        let agents = Mutex::new(AgentProcesses::default());
        let failed = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..LOGINS_AT_ONCE.min(self.hosts.len()) {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((host, name)) = next else { return };
                        match self.agent(host, name, &program, &next_login) {
                            Ok(StartedSsh { child, stdin }) => {
                                agents.lock().unwrap_or_else(PoisonError::into_inner).adopt(child, stdin);
                            }
                            Err(why) => {
                                failed
                                    .lock()
                                    .unwrap_or_else(PoisonError::into_inner)
                                    .insert(name.clone(), (host.clone(), why));
                            }
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if failed.is_empty() {
            Ok(agents.into_inner().unwrap_or_else(PoisonError::into_inner))
        } else {
            Err(SshError::Hosts(failed.into_values().collect()))
        }
    }

    /// Starts an agent on one host; tries another port if a port is in use.
    fn agent(
        &self,
        host: &str,
        name: &str,
        program: &Program,
        next_login: &Mutex<Instant>,
    ) -> Result<StartedSsh, String> {
        let mut why = String::new();
        for _ in 0..PORTS {
            let at = {
                let mut next = next_login.lock().unwrap_or_else(PoisonError::into_inner);
                let at = (*next).max(clock::now());
                *next = at + APART;
                at
            };
            std::thread::sleep(at.saturating_duration_since(clock::now()));
            let port = FIRST_PORT + u16::try_from((self.draw)() % PORTS_TO_DRAW).unwrap_or_default();
            match self.login(host, name, program, port) {
                Ok(started) => return Ok(started),
                Err(said) if said.contains(PORT_TAKEN) => why = said,
                Err(said) => return Err(said),
            }
        }
        Err(why)
    }

    fn login(&self, host: &str, name: &str, program: &Program, port: u16) -> Result<StartedSsh, String> {
        let script = format!(
            "exec sh -c '{SCRIPT}' sh {} {} {} {}",
            program.folder,
            program.bytes.len(),
            self.version,
            if self.may_copy { "copy" } else { "no-copy" }
        );
        let mut command = Command::new("ssh");
        command.args(["-T", "-a", "-x"]);
        for option in [
            "BatchMode=yes",
            "ExitOnForwardFailure=yes",
            "ControlMaster=no",
            "ControlPath=none",
            "RemoteCommand=none",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "LogLevel=INFO",
        ] {
            command.args(["-o", option]);
        }
        command.args(["-R", &format!("127.0.0.1:{port}:127.0.0.1:{}", self.port), "--", host, &script]);
        // A process group of its own: Ctrl-C must reach only the coordinator, which then lets its agents drain.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("failed to start ssh: {error}; install the package openssh-client"))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("ssh has no pipes".to_owned());
        };
        let words = words(stdout);
        let errors = Errors::follow(stderr, format!("agent {name} on {host}: "), self.say.clone());
        let invitation = (self.invite)(name.to_owned(), format!("nats://127.0.0.1:{port}"));
        match introduce(stdin, &words, program, &invitation) {
            // From now on each line of ssh is shown at once.
            Ok(stdin) => Ok(StartedSsh { child, stdin }),
            Err(Problem::Silent) => {
                child.kill().ok();
                child.wait().ok();
                Err(format!("it printed nothing for {} s", SILENT_FOR.as_secs()))
            }
            Err(Problem::Ended) => {
                let last = errors.last();
                child.kill().ok();
                let status = child.wait().map(|status| status.to_string());
                Err(last.unwrap_or_else(|| {
                    format!("ssh ended and printed nothing ({})", status.unwrap_or_default())
                }))
            }
        }
    }
}

/// Why an agent did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// ssh or the host's shell ended.
    Ended,
    /// No message came for too long.
    Silent,
}

/// Sends the program if the host asks for it, and the invitation when the agent is about to start.
fn introduce(
    mut stdin: ChildStdin,
    words: &mpsc::Receiver<String>,
    program: &Program,
    invitation: &Invitation,
) -> Result<ChildStdin, Problem> {
    loop {
        let word = words.recv_timeout(SILENT_FOR).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => Problem::Silent,
            mpsc::RecvTimeoutError::Disconnected => Problem::Ended,
        })?;
        match word.as_str() {
            "need" => {
                stdin.write_all(&program.bytes).and_then(|()| stdin.flush()).map_err(|_| Problem::Ended)?
            }
            "ready" => {
                let line = serde_json::to_string(invitation).map_err(|_| Problem::Ended)? + "\n";
                let sent = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
                return sent.map(|()| stdin).map_err(|_| Problem::Ended);
            }
            // The host may print other lines at a login.
            _ => {}
        }
    }
}

/// Returns the lines of a stream; a thread reads them.
fn words(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            // The thread reads to the end even without a receiver: ssh would block on a full pipe.
            sender.send(String::from_utf8_lossy(&line).trim().to_owned()).ok();
        }
    });
    receiver
}

/// The standard error of ssh and the agent.
struct Errors(mpsc::Receiver<String>);

impl Errors {
    /// Keeps the lines until this value is dropped; after that, shows each line with `before` in front.
    fn follow(
        stream: impl Read + Send + 'static,
        before: String,
        say: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Errors {
        let (keep, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = printable(&line);
                if let Some(line) = Some(line).filter(|line| !line.is_empty())
                    && let Err(mpsc::SendError(line)) = keep.send(line)
                {
                    say(&format!("{before}{line}"));
                }
            }
        });
        Errors(lines)
    }

    /// Returns the last line of ssh, when ssh has ended or has printed nothing for [`ENDING_WITHIN`].
    fn last(self) -> Option<String> {
        std::iter::from_fn(|| self.0.recv_timeout(ENDING_WITHIN).ok()).last()
    }
}

/// Returns a line of a foreign host without control characters.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim().chars().filter(|c| !c.is_control()).take(400).collect()
}

/// Returns an agent name for each host; the name of a repeated host ends in a number.
pub fn names(hosts: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for host in hosts {
        let word = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = host.chars().map(word).take(50).collect();
        let own = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}_{n}") });
        names.extend(own.take(hosts.len()).find(|own| !names.contains(own)));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_an_agent_of_its_own_name() {
        let hosts = ["load1", "root@10.0.0.1", "load1", "load1_2", "load1"].map(str::to_owned);
        assert_eq!(names(&hosts), ["load1", "root_10_0_0_1", "load1_2", "load1_2_2", "load1_3"]);
    }

    #[test]
    fn the_script_is_one_line_that_any_login_shell_takes() {
        assert!(!SCRIPT.contains(['\'', '\n']));
        let checked = Command::new("sh").args(["-n", "-c", SCRIPT]).status().unwrap();
        assert!(checked.success());
    }

    #[test]
    fn what_a_host_says_does_nothing_to_the_terminal() {
        assert_eq!(printable(b"\x1b[2Jdenied\x07\r"), "[2Jdenied");
    }

    /// Runs the script by a local shell, without ssh.
    #[test]
    fn a_program_that_is_there_is_not_asked_for_again() {
        let home = tempfile::tempdir().unwrap();
        let program = b"#!/bin/sh\necho \"ran $*\"\n";
        let shell = |mode: &str, input: &[u8]| {
            let size = program.len().to_string();
            let mut child = Command::new("sh")
                .args(["-c", SCRIPT, "sh", "1.0-ab", &size, "1.0", mode])
                .env("HOME", home.path())
                .env("PATH", "/usr/bin:/bin")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // The shell may have ended without reading its input.
            child.stdin.take().unwrap().write_all(input).ok();
            let output = child.wait_with_output().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (text(output.stdout), text(output.stderr), output.status.code())
        };
        let (_, why, code) = shell("no-copy", b"");
        assert!(why.contains("not installed there, and --no-copy") && code == Some(90), "{why}");
        let (said, why, code) = shell("copy", &program[..5]);
        assert_eq!((said.as_str(), code), ("need\n", Some(90)), "{why}");
        assert!(why.contains("cut off"), "{why}");
        assert_eq!(std::fs::read_dir(home.path().join(".cache/smtpress/1.0-ab")).unwrap().count(), 0);
        assert_eq!(shell("copy", program).0, "need\nready\nran agent --join\n");
        assert_eq!(shell("copy", b"").0, "ready\nran agent --join\n");
        assert_eq!(shell("no-copy", b"").0, "ready\nran agent --join\n");
    }
}
