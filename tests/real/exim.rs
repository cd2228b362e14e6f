//! A private Exim: configuration, spool and log in one temporary folder.
//!
//! It queues and never delivers. For a delivery Exim executes itself by its compiled-in path, where it is not
//! installed.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::listener::{self, Processes};
use crate::smtpress::{PASSWORD, USER};

/// The program that `install.sh` unpacks. An installed `exim4-daemon-light` of Debian cannot be used, because it has no
/// PROXY protocol.
pub const PROGRAM: &str = "target/real-listeners/exim/usr/sbin/exim4";

/// It accepts any recipient, makes no DNS lookups and offers no TLS. Exim allows a limit for a host only if
/// `smtp_accept_max` is set.
const SETTINGS: &str = "\
primary_hostname = exim.test
local_interfaces = 127.0.0.1
tls_advertise_hosts =
auth_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 500
smtp_accept_queue_per_connection = 0
log_selector = +pipelining
smtp_accept_max_per_connection = 0
queue_only
acl_smtp_rcpt = acl_rcpt
";

/// The sections after the main settings. AUTH is offered only to `auth_advertise_hosts`, which is empty by default
/// here.
const SECTIONS: &str = "
begin acl
acl_rcpt:
  accept

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${if and {{eq{$auth2}{USER}}{eq{$auth3}{PASSWORD}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and {{eq{$auth1}{USER}}{eq{$auth2}{PASSWORD}}}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${if eq{$auth1}{USER}{PASSWORD}fail}
  server_set_id = $auth1

begin routers
discard:
  driver = redirect
  data = :blackhole:
";

/// The settings of an Exim in addition to `SETTINGS`, by Exim's names.
#[derive(Default)]
pub struct Settings {
    lines: String,
    tls: bool,
}

/// A running Exim.
pub struct Exim {
    pub port: u16,
    /// The port with implicit TLS, if it has TLS.
    pub implicit: u16,
    pub processes: Processes,
    certificate: Option<Certificate>,
    folder: TempDir,
}

impl Settings {
    /// Adds a line to the main section. Unlike Postfix, Exim refuses a name that is set twice.
    pub fn set(mut self, name: &str, value: impl Display) -> Settings {
        self.lines.push_str(&format!("{name} = {value}\n"));
        self
    }

    /// Enables STARTTLS on its port, and implicit TLS on another one.
    pub fn tls(mut self) -> Settings {
        self.tls = true;
        self.set("tls_advertise_hosts", "*")
    }

    /// Enables AUTH, for one user.
    pub fn auth(self) -> Settings {
        self.set("auth_advertise_hosts", "*")
    }

    /// Starts it; `None` if Exim is not installed.
    pub fn start(self) -> Option<Exim> {
        let Some(program) = listener::program(&[PROGRAM]) else {
            return listener::missing("Exim is not installed");
        };
        if !listener::is_root() {
            return listener::missing("Exim starts as root only");
        }
        let (folder, port, implicit) = (listener::folder(), listener::free_port(), listener::free_port());
        let root = folder.path();
        let certificate = self.tls.then(|| Certificate::make(root, "Debian-exim"));
        self.write(root, (port, implicit), certificate.as_ref());
        let output = root.join("output");
        let mut command = Command::new(program);
        command.arg("-C").arg(root.join("exim.conf")).arg("-bdf"); // a daemon in the foreground
        let mut processes = Processes::start(&mut command, &output);
        let proxied = self.lines.contains("hosts_proxy");
        let header = if proxied { "PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n" } else { "" };
        processes.await_greeting_to(header, port, &output);
        Some(Exim { port, implicit, processes, certificate, folder })
    }

    fn write(&self, root: &Path, (port, implicit): (u16, u16), certificate: Option<&Certificate>) {
        listener::folder_of("Debian-exim", root, "spool");
        listener::folder_of("Debian-exim", root, "log");
        let at = root.display();
        let ports = match certificate {
            None => port.to_string(),
            Some(certificate) => {
                let (chain, key) = (certificate.chain.display(), certificate.key.display());
                format!(
                    "{port} : {implicit}\ntls_on_connect_ports = {implicit}\n\
                     tls_certificate = {chain}\ntls_privatekey = {key}"
                )
            }
        };
        let sections = SECTIONS.replace("USER", USER).replace("PASSWORD", PASSWORD);
        let places = format!(
            "daemon_smtp_ports = {ports}\nspool_directory = {at}/spool\n\
             log_file_path = {at}/log/%slog\npid_file_path = {at}/log/exim.pid\n"
        );
        let ours = SETTINGS.lines().filter(|line| !self.names(line)).collect::<Vec<_>>().join("\n");
        fs::write(root.join("exim.conf"), format!("{ours}\n{places}{}{sections}", self.lines)).unwrap();
    }

    /// Whether the test's settings replace this default line.
    fn names(&self, line: &str) -> bool {
        let name = |line: &str| line.split_once(" =").map(|(name, _)| name.to_owned());
        self.lines.lines().any(|set| name(set).is_some() && name(set) == name(line))
    }
}

impl Exim {
    /// The default settings here, with no limit except those of Exim.
    pub fn plain() -> Settings {
        Settings::default()
    }

    /// Its main log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log/mainlog")).unwrap_or_default()
    }

    /// The certificate that its clients trust.
    pub fn certificate(&self) -> &Certificate {
        self.certificate.as_ref().expect("an Exim that speaks TLS")
    }

    /// The number of messages that it has taken. Each has a line `ID <= SENDER ...`, written before the final 250.
    pub fn taken(&self) -> u64 {
        self.taken_with("")
    }

    /// Those whose line has this word, or a word that begins so: `K` came with BDAT, `L.` pipelined (not from the first byte on), `A=plain:load` after AUTH,
    /// `X=` encrypted, `[127.0.3.` from there.
    pub fn taken_with(&self, word: &str) -> u64 {
        let is_it =
            |found: &&str| if word.contains(['=', '[']) { found.starts_with(word) } else { *found == word };
        let counts = |line: &&str| {
            let words: Vec<&str> = line.split(' ').skip(3).collect();
            words.first() == Some(&"<=") && (word.is_empty() || words.iter().any(is_it))
        };
        self.log().lines().filter(counts).count() as u64
    }
}
