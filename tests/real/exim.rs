//! An Exim of our own: configuration, spool and log in one temporary folder.
//!
//! It queues and never delivers: a delivery would execute Exim again by the path it was compiled with, where it is not.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::listener::{self, Processes};

/// Takes any recipient; looks nobody up; offers no TLS. `smtp_accept_max` must be set for a limit per host to be allowed.
const SETTINGS: &str = "\
primary_hostname = exim.test
local_interfaces = 127.0.0.1
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 500
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
queue_only
acl_smtp_rcpt = acl_rcpt
";

/// The parts behind the settings.
const SECTIONS: &str = "
begin acl
acl_rcpt:
  accept

begin routers
discard:
  driver = redirect
  data = :blackhole:
";

/// What an Exim is to be: the settings beyond ours, by Exim's own names.
#[derive(Default)]
pub struct Settings {
    lines: String,
}

/// A running Exim.
pub struct Exim {
    pub port: u16,
    pub processes: Processes,
    folder: TempDir,
}

impl Settings {
    /// One line of the main section; unlike Postfix, Exim does not take a name twice.
    pub fn set(mut self, name: &str, value: impl Display) -> Settings {
        self.lines.push_str(&format!("{name} = {value}\n"));
        self
    }

    /// Starts it; `None` where Exim is not installed.
    pub fn start(self) -> Option<Exim> {
        let Some(program) = listener::program(&["target/real-listeners/usr/sbin/exim4", "/usr/sbin/exim4"])
        else {
            return listener::missing("Exim is not installed");
        };
        if !listener::is_root() {
            return listener::missing("Exim starts as root only");
        }
        let (folder, port) = (listener::folder(), listener::free_port());
        let root = folder.path();
        self.write(root, port);
        let output = root.join("output");
        let mut command = Command::new(program);
        command.arg("-C").arg(root.join("exim.conf")).arg("-bdf"); // a daemon in the foreground
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(port, &output);
        Some(Exim { port, processes, folder })
    }

    fn write(&self, root: &Path, port: u16) {
        listener::folder_of("Debian-exim", root, "spool");
        listener::folder_of("Debian-exim", root, "log");
        let at = root.display();
        let places = format!(
            "daemon_smtp_ports = {port}\nspool_directory = {at}/spool\n\
             log_file_path = {at}/log/%slog\npid_file_path = {at}/log/exim.pid\n"
        );
        let ours = SETTINGS.lines().filter(|line| !self.names(line)).collect::<Vec<_>>().join("\n");
        fs::write(root.join("exim.conf"), format!("{ours}\n{places}{}{SECTIONS}", self.lines)).unwrap();
    }

    /// Whether a line of ours gives way to one of the test's.
    fn names(&self, line: &str) -> bool {
        let name = |line: &str| line.split_once(" =").map(|(name, _)| name.to_owned());
        self.lines.lines().any(|set| name(set).is_some() && name(set) == name(line))
    }
}

impl Exim {
    /// Our settings and no limit beyond Exim's own.
    pub fn plain() -> Settings {
        Settings::default()
    }

    /// Its main log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log/mainlog")).unwrap_or_default()
    }

    /// The messages it has taken: a line `ID <= SENDER ...` each, written before the final 250 is sent.
    pub fn taken(&self) -> u64 {
        self.log().lines().filter(|line| line.split(' ').nth(3) == Some("<=")).count() as u64
    }
}
