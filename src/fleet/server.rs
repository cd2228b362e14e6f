//! Runs a private nats-server on loopback that ends when this process ends, even if this process is killed.
//!
//! # Decisions
//! - A shell starts the server and waits for the end of its standard input, which also ends when this process is
//!   killed. Then the shell ends the server and removes the server's folder.
//! - The shell has a process group of its own: Ctrl-C must reach only the coordinator, which needs the server to stop
//!   its agents.
//! - The coordinator and each agent have a name and a random password of their own, in a file that only this user can
//!   read, and the permissions of a permanent fleet: an agent cannot publish under the name of another agent. No
//!   password is on a command line.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::bus::BusAccess;
use super::init;
use crate::generator::clock;

/// The folder for unsent reports of agents, below the folder of the server.
const SPOOL: &str = "spool";
/// How long the server may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Ends the server and removes its folder when standard input ends. `$1`: the server, `$2`: its folder. A server that
/// does not end is killed. The removal is tried again, because an agent may write a last report meanwhile.
const KEEPER: &str = r#"
trap '' INT HUP QUIT
"$1" -c "$2/server.conf" >"$2/server.log" 2>&1 </dev/null &
server=$!
trap 'kill "$server" 2>/dev/null' TERM
cat >/dev/null
kill "$server" 2>/dev/null
tries=0
while kill -0 "$server" 2>/dev/null && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -9 "$server" 2>/dev/null
wait "$server"
tries=0
until rm -rf "$2" 2>/dev/null || [ "$tries" = 50 ]; do sleep 0.2; tries=$((tries + 1)); done
"#;

/// Why the private server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// nats-server is not installed.
    #[error(
        "nats-server is not installed ({0}): install Debian's package nats-server, or give its path with --nats-server"
    )]
    Missing(String),
    /// The server was started and does not listen.
    #[error("nats-server did not start: {0}")]
    NotStarted(String),
    /// A file or a process could not be made.
    #[error("failed to start nats-server: {0}")]
    Io(#[from] io::Error),
}

/// A running private server.
#[derive(Debug)]
pub struct PrivateServer {
    keeper: Child,
    alive: Option<ChildStdin>,
    folder: PathBuf,
    port: u16,
    /// The name and the password of each user.
    users: Vec<(String, String)>,
}

impl PrivateServer {
    /// Starts a server on a free port of loopback. `program`: the path of nats-server; `None`: the nats-server on PATH,
    /// `/usr/sbin` or `/usr/local/sbin`. `users`: the names and passwords of the coordinator and of the agents.
    ///
    /// # Errors
    /// nats-server is not installed, or does not start.
    pub fn start(program: Option<&Path>, users: Vec<(String, String)>) -> Result<PrivateServer, ServerError> {
        let program = find(program)?;
        // The shell ([`KEEPER`]) removes the folder.
        let folder = tempfile::Builder::new()
            .prefix("smtpress-nats-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()?
            .keep();
        let started = PrivateServer::start_in(&program, &folder, users);
        if started.is_err() {
            fs::remove_dir_all(&folder).ok();
        }
        started
    }

    fn start_in(
        program: &Path,
        folder: &Path,
        users: Vec<(String, String)>,
    ) -> Result<PrivateServer, ServerError> {
        let place = folder.display();
        let config = format!(
            "listen: \"127.0.0.1:-1\"\nports_file_dir: \"{place}\"\nmax_payload: 4MB\n\
             authorization {{\nusers: [\n{}]\n}}\njetstream {{ store_dir: \"{place}/store\" }}\n",
            init::passwords(&users)
        );
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        io::Write::write_all(&mut options.open(folder.join("server.conf"))?, config.as_bytes())?;
        fs::DirBuilder::new().mode(0o700).create(folder.join(SPOOL))?;
        let mut keeper = Command::new("sh")
            .process_group(0)
            .args(["-c", KEEPER, "nats-keeper"])
            .arg(program)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let alive = keeper.stdin.take();
        let until = clock::now() + READY_WITHIN;
        loop {
            if let Some(port) = port_of(folder) {
                return Ok(PrivateServer { keeper, alive, folder: folder.to_owned(), port, users });
            }
            if keeper.try_wait()?.is_some() || clock::now() > until {
                let log = fs::read_to_string(folder.join("server.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it printed nothing").to_owned();
                drop(alive);
                keeper.wait().ok();
                return Err(ServerError::NotStarted(last));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the server's port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the folder in which agents on this machine keep unsent reports; it is removed with the server.
    pub fn spool(&self) -> PathBuf {
        self.folder.join(SPOOL)
    }

    /// Returns the address of the server, and the credentials of the user `name`.
    pub fn access(&self, name: &str) -> BusAccess {
        BusAccess {
            url: format!("nats://127.0.0.1:{}", self.port),
            password: self.users.iter().find(|(own, _)| own == name).map(|(_, password)| password.clone()),
            name: Some(name.to_owned()),
            ..BusAccess::default()
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        drop(self.alive.take());
        self.keeper.wait().ok();
    }
}

fn find(program: Option<&Path>) -> Result<PathBuf, ServerError> {
    if let Some(path) = program {
        let is_there = path.is_file();
        return if is_there {
            Ok(path.to_owned())
        } else {
            Err(ServerError::Missing(format!("{} is no file", path.display())))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs nats-server in a folder that is only on the PATH of root.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join("nats-server")).find(|path| path.is_file());
    found.ok_or_else(|| ServerError::Missing("not found on PATH".to_owned()))
}

/// Returns the port in the file that the server writes when it listens.
fn port_of(folder: &Path) -> Option<u16> {
    let file = fs::read_dir(folder)
        .ok()?
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|end| end == "ports"))?;
    let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(file.path()).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}
