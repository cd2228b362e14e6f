//! A private sshd on a loopback port, with its own host key, one accepted user key and a separate home folder.
//!
//! `ssh` reads the configuration in the user's real home folder and ignores HOME. So a program named `ssh`, earlier on
//! PATH, calls it with the configuration of the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::listener::{self, Processes, wait_until};

/// A running sshd and the names by which ssh knows it.
pub struct Sshd {
    pub port: u16,
    pub folder: TempDir,
    processes: Processes,
}

impl Sshd {
    /// Starts it; `None` if it is not installed. Its host names are load1, load2 and load3. At `refused` the client has
    /// a key that it does not accept, and at `closed` nothing listens.
    pub fn start() -> Option<Sshd> {
        let program = listener::program(&["target/real-listeners/openssh/usr/sbin/sshd", "/usr/sbin/sshd"])
            .or_else(|| listener::missing("no sshd"))?;
        if !listener::is_root() {
            return listener::missing("not root: sshd changes users");
        }
        let (folder, port) = (listener::folder(), listener::free_port());
        let own = folder.path();
        // sshd changes its root to this folder before a login.
        fs::create_dir_all("/run/sshd").unwrap();
        for key in ["host", "user", "other"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(own.join(key))
                .stdin(Stdio::null())
                .status();
            assert!(made.unwrap().success());
        }
        fs::copy(own.join("user.pub"), own.join("authorized")).unwrap();
        for folder in ["home", "tmp", "bin", "local-tmp"] {
            fs::create_dir(own.join(folder)).unwrap();
        }
        let at = own.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile none\nAuthorizedKeysFile {at}/authorized\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nSetEnv HOME={at}/home TMPDIR={at}/tmp\n"
        );
        fs::write(own.join("sshd_config"), config).unwrap();
        let host = fs::read_to_string(own.join("host.pub")).unwrap();
        fs::write(own.join("known"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let all = format!(
            "HostName 127.0.0.1\n User root\n IdentitiesOnly yes\n UserKnownHostsFile {at}/known\n \
             StrictHostKeyChecking yes\n"
        );
        let config = format!(
            "Host load1 load2 load3\n Port {port}\n IdentityFile {at}/user\n {all}\
             Host refused\n Port {port}\n IdentityFile {at}/other\n {all}\
             Host closed\n Port {}\n IdentityFile {at}/user\n {all}",
            listener::free_port()
        );
        fs::write(own.join("ssh_config"), config).unwrap();
        let wrapper = own.join("bin/ssh");
        fs::write(&wrapper, format!("#!/bin/sh\nexec /usr/bin/ssh -F {at}/ssh_config \"$@\"\n")).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let output = own.join("sshd.log");
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(own.join("sshd_config"));
        let processes = Processes::start(&mut command, &output);
        let log = || fs::read_to_string(&output).unwrap_or_default();
        assert!(wait_until(|| log().contains("Server listening")), "{}", log());
        Some(Sshd { port, folder, processes })
    }

    /// Returns the command with a `PATH` whose `ssh` knows these hosts.
    pub fn with_ssh<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let own = self.folder.path();
        command
            .env("PATH", format!("{}:{path}", own.join("bin").display()))
            .env("TMPDIR", own.join("local-tmp"))
    }

    /// The programs that were copied to the host.
    pub fn copies(&self) -> Vec<PathBuf> {
        let below = self.folder.path().join("home/.cache/smtpress");
        let folders = fs::read_dir(below).into_iter().flatten().flatten();
        folders
            .flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten())
            .map(|file| file.path())
            .collect()
    }

    /// Puts this folder first on the `PATH` of a login.
    pub fn put_on_path(&self, folder: &Path) {
        let path = self.folder.path().join("sshd_config");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(
            &path,
            text.replace("SetEnv ", &format!("SetEnv PATH={}:/usr/bin:/bin ", folder.display())),
        )
        .unwrap();
        // It reads its configuration and binds its port again.
        let listens = || {
            fs::read_to_string(self.folder.path().join("sshd.log"))
                .unwrap()
                .matches("Server listening")
                .count()
        };
        let before = listens();
        self.processes.signal("HUP");
        assert!(wait_until(|| listens() > before));
    }

    /// The processes, except the sshd itself, whose own or parent's command line contains this fixture's folder.
    pub fn leftovers(&self) -> Vec<String> {
        let own = self.folder.path().display().to_string();
        command_lines()
            .into_iter()
            .map(|(_, line)| line)
            .filter(|line| line.contains(&own) && !line.contains("sshd_config"))
            .collect()
    }

    /// The files that a run left in the folders for temporary files on both sides.
    pub fn temporary(&self) -> Vec<PathBuf> {
        ["tmp", "local-tmp"].into_iter().flat_map(|name| entries(&self.folder.path().join(name))).collect()
    }

    /// The running ssh of this host, by its process id.
    pub fn ssh_of(&self, host: &str) -> Option<u32> {
        let config = self.folder.path().join("ssh_config").display().to_string();
        let is_it = |line: &str| line.contains(&config) && line.contains(&format!(" {host} "));
        command_lines().into_iter().find(|(_, line)| is_it(line)).map(|(process, _)| process)
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// All processes with their command lines, words joined by spaces.
fn command_lines() -> Vec<(u32, String)> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some((process, String::from_utf8_lossy(&line).replace('\0', " ")))
        })
        .collect()
}
