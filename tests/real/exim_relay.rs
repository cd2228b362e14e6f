//! A private Exim that delivers. It executes itself by its compiled-in path, so it runs in its own root folder.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::exim::PROGRAM;
use crate::listener::{self, Processes};
use crate::rooted;

/// The folders that it needs in its root. It becomes root again by its set-user-id bit.
const ROOT: &str = r#"
set -eu
cd "$1"
chmod 4755 usr/sbin/exim4
mkdir -p etc/exim4 run var/spool/exim4 var/log/exim4
chown Debian-exim var/spool/exim4 var/log/exim4
echo 'hosts: files' >etc/nsswitch.conf
echo '127.0.0.1 localhost exim.test' >etc/hosts
"#;

/// It accepts any recipient, delivers each message at once in a separate process, and tries again after five seconds.
const SETTINGS: &str = "\
primary_hostname = exim.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = PORT
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 500
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
spool_directory = /var/spool/exim4
split_spool_directory
log_file_path = /var/log/exim4/%slog
pid_file_path = /run/exim.pid
message_logs = false
acl_smtp_rcpt = accept

begin routers
next:
  driver = manualroute
  route_list = * 127.0.0.1
  transport = next
  self = send

begin transports
next:
  driver = smtp
  port = NEXT
  allow_localhost
  hosts_avoid_tls = *

begin retry
* * F,1h,5s
";

/// A running Exim.
pub struct EximRelay {
    pub port: u16,
    _processes: Processes,
    folder: TempDir,
}

impl EximRelay {
    /// Starts one that delivers every message to this loopback port, notifications to senders included; `None` if it is
    /// not installed.
    pub fn to(next: u16) -> Option<EximRelay> {
        let Some(program) = listener::program(&[PROGRAM]) else {
            return listener::missing("Exim is not installed");
        };
        if !listener::is_root() {
            return listener::missing("Exim starts as root only");
        }
        let (folder, port) = (listener::folder(), listener::free_port());
        let root = folder.path();
        rooted::make(root, &program, ROOT);
        let settings = SETTINGS.replace("PORT", &port.to_string()).replace("NEXT", &next.to_string());
        fs::write(root.join("etc/exim4/exim4.conf"), settings).unwrap();
        let output = root.join("output");
        let mut command = Command::new("chroot");
        command.arg(root).args(["/usr/sbin/exim4", "-bdf", "-q5s"]); // a daemon in the foreground, and a queue runner
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(port, &output);
        Some(EximRelay { port, _processes: processes, folder })
    }

    /// Its main log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("var/log/exim4/mainlog")).unwrap_or_default()
    }

    /// The number of files in its spool.
    pub fn waiting(&self) -> u64 {
        listener::files_below(&self.folder.path().join("var/spool/exim4/input"))
    }
}
