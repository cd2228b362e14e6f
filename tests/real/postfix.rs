//! A private Postfix: configuration, queue, data and log in one temporary folder. The system's Postfix is never used.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::dovecot::Dovecot;
use crate::listener::{self, Processes};

/// The services that are needed to receive, discard and deliver a message, without chroot.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
";

/// It accepts any recipient from loopback, discards the messages, makes no DNS lookups, and never repeats a queue id.
/// The list of exceptions is empty, because by default clients of `mynetworks` are exempt from the connection limits.
const SETTINGS: &str = "\
compatibility_level = 3.6
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_client_event_limit_exceptions =
smtpd_peername_lookup = no
alias_maps =
alias_database =
default_transport = discard:
relay_transport = discard:
default_process_limit = 200
enable_long_queue_ids = yes
";

/// The settings of a Postfix in addition to `SETTINGS`, by Postfix's names.
#[derive(Default)]
pub struct Settings {
    lines: String,
    tls: bool,
    postscreen: bool,
}

/// A running Postfix.
pub struct Postfix {
    pub port: u16,
    /// The port with implicit TLS, if it has TLS.
    pub implicit: u16,
    pub processes: Processes,
    certificate: Option<Certificate>,
    folder: TempDir,
}

impl Settings {
    /// Adds a line to main.cf; a later line has precedence.
    pub fn set(mut self, name: &str, value: impl Display) -> Settings {
        self.lines.push_str(&format!("{name} = {value}\n"));
        self
    }

    /// Enables STARTTLS on its port, and implicit TLS on another one.
    pub fn tls(mut self) -> Settings {
        self.tls = true;
        self.set("smtpd_tls_security_level", "may").set("smtpd_tls_loglevel", 1)
    }

    /// Enables AUTH, which Dovecot decides.
    pub fn sasl(self, dovecot: &Dovecot) -> Settings {
        self.set("smtpd_sasl_auth_enable", "yes")
            .set("smtpd_sasl_type", "dovecot")
            .set("smtpd_sasl_path", dovecot.auth().display())
    }

    /// Puts postscreen before it, which closes a session whose client sends before the greeting is complete.
    pub fn postscreen(mut self) -> Settings {
        self.postscreen = true;
        self.set("postscreen_access_list", "")
            .set("postscreen_greet_action", "drop")
            .set("postscreen_greet_wait", "2s")
    }

    /// Delivers every message to this loopback port, notifications to senders included, as fast as possible, and tries
    /// again after five seconds. It makes no DNS lookups.
    pub fn relay_to(self, next: u16) -> Settings {
        self.set("default_transport", "smtp")
            .set("relayhost", format!("[127.0.0.1]:{next}"))
            .set("disable_dns_lookups", "yes")
            .set("smtp_tls_security_level", "none")
            .set("in_flow_delay", 0)
            .set("smtpd_client_connection_count_limit", 0)
            .set("qmgr_message_active_limit", 200_000)
            .set("minimal_backoff_time", "5s")
            .set("queue_run_delay", "5s")
            .set("notify_classes", "")
    }

    /// Starts it; `None` if Postfix is not installed.
    pub fn start(self) -> Option<Postfix> {
        let Some(program) = listener::program(&["/usr/sbin/postfix"]) else {
            return listener::missing("Postfix is not installed");
        };
        if !listener::is_root() {
            return listener::missing("Postfix starts as root only");
        }
        let (folder, port, implicit) = (listener::folder(), listener::free_port(), listener::free_port());
        let root = folder.path();
        let certificate = self.tls.then(|| Certificate::make(root, "root"));
        self.write(root, (port, implicit), certificate.as_ref());
        let output = root.join("output");
        let mut command = Command::new(program);
        command.arg("-c").arg(root.join("etc")).arg("start-fg");
        let mut processes = Processes::start(&mut command, &output);
        let proxied = self.lines.contains("smtpd_upstream_proxy_protocol");
        let header = if proxied { "PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n" } else { "" };
        processes.await_greeting_to(header, port, &output);
        // The master process makes a new session and so a new process group.
        let master = fs::read_to_string(root.join("queue/pid/master.pid")).unwrap();
        processes.set_group(master.trim().parse().unwrap());
        Some(Postfix { port, implicit, processes, certificate, folder })
    }

    fn write(&self, root: &Path, (port, implicit): (u16, u16), certificate: Option<&Certificate>) {
        fs::create_dir(root.join("etc")).unwrap();
        fs::create_dir(root.join("queue")).unwrap();
        listener::folder_of("postfix", root, "data");
        // While Postfix starts after a crash, postsuper, which then runs as the user `postfix`, writes to the log itself when
        // it finds a queue file that is not complete. If it may not, Postfix does not start.
        let log = root.join("maillog");
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
        let at = root.display();
        let places = format!(
            "queue_directory = {at}/queue\ndata_directory = {at}/data\n\
             maillog_file = {at}/maillog\nmaillog_file_prefixes = {at}\n"
        );
        let keys = certificate.map_or(String::new(), |certificate| {
            let (chain, key) = (certificate.chain.display(), certificate.key.display());
            format!("smtpd_tls_cert_file = {chain}\nsmtpd_tls_key_file = {key}\n")
        });
        fs::write(root.join("etc/main.cf"), format!("{SETTINGS}{places}{keys}{}", self.lines)).unwrap();
        let mut services = if self.postscreen {
            format!("127.0.0.1:{port} inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n")
        } else {
            format!("127.0.0.1:{port} inet n - n - - smtpd\n")
        };
        if self.tls {
            let smtps = format!("127.0.0.1:{implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n");
            services.push_str(&smtps);
        }
        services.push_str(SERVICES);
        fs::write(root.join("etc/master.cf"), services).unwrap();
    }
}

impl Postfix {
    /// The default settings here, with no limit except those of Postfix.
    pub fn plain() -> Settings {
        Settings::default()
    }

    /// The certificate that its clients trust.
    pub fn certificate(&self) -> &Certificate {
        self.certificate.as_ref().expect("a Postfix that speaks TLS")
    }

    /// The number of accepted commands of this name (`bdat`, `starttls`, `auth`, ...), by the last line of each
    /// session: `disconnect from unknown[..] ehlo=1 auth=0/1 mail=2 rcpt=2 data=2 quit=1 commands=7/8`. `1/2` means one
    /// accepted of two.
    pub fn commands(&self, command: &str) -> u64 {
        let of_session = |line: &str| -> Option<u64> {
            let (_, said) = line.split_once(": disconnect from ")?;
            let count = said.split(' ').find_map(|word| word.strip_prefix(command)?.strip_prefix('='))?;
            count.split('/').next().map(|accepted| accepted.parse().unwrap())
        };
        self.log().lines().filter_map(of_session).sum()
    }

    /// The number of lines of its log that contain this.
    pub fn lines(&self, said: &str) -> usize {
        self.log().lines().filter(|line| line.contains(said)).count()
    }

    /// Its whole log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("maillog")).unwrap_or_default()
    }

    /// A script that kills all its processes at once and starts it again, with the same queue and in it a queue file whose
    /// name is not complete, as a crash may leave one.
    pub fn crash_script(&self) -> String {
        format!(
            "root={}\nkill -s KILL -- -$(tr -d ' ' <$root/queue/pid/master.pid)\n\
             touch $root/queue/incoming/1.2\n\
             for try in $(seq 100); do postfix -c $root/etc start && exit 0; sleep 0.2; done\nexit 1\n",
            self.folder.path().display()
        )
    }

    /// The queue ids of the messages that it has queued: `qmgr[..]: ID: from=<..>, size=.., nrcpt=.. (queue active)`.
    ///
    /// The lines `smtpd[..]: ID: client=` and `cleanup[..]: ID: message-id=` are not enough: a message that is found
    /// too large after DATA has both lines, and is refused with 552.
    pub fn queued(&self) -> BTreeSet<String> {
        let id = |line: &str| {
            let (_, said) = line.split_once("/qmgr[")?;
            let (_, said) = said.split_once("]: ")?;
            said.ends_with("(queue active)").then(|| said.split_once(':').map(|(id, _)| id.to_owned()))?
        };
        self.log().lines().filter_map(id).collect()
    }

    /// The messages that it has stored: those that were queued, and those with a complete file in a queue, which
    /// Postfix then makes executable. A queue manager that was ended may not have logged the last messages.
    pub fn stored(&self) -> BTreeSet<String> {
        let mut stored = self.queued();
        let queue = self.folder.path().join("queue");
        let mut folders: Vec<_> =
            ["incoming", "active", "deferred"].iter().map(|name| queue.join(name)).collect();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(about) = entry.metadata() else { continue };
                if about.is_dir() {
                    folders.push(entry.path());
                } else if about.permissions().mode() & 0o100 != 0 {
                    stored.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        stored
    }

    /// The number of files in its queue.
    pub fn waiting(&self) -> u64 {
        let queue = self.folder.path().join("queue");
        ["incoming", "active", "deferred", "maildrop"]
            .iter()
            .map(|name| listener::files_below(&queue.join(name)))
            .sum()
    }

    /// The number of queued messages, after a wait until it is at least `expected` (the queue manager logs after the
    /// reply) and no message is in progress.
    pub fn queued_in_the_end(&self, expected: u64) -> u64 {
        let removed = || self.log().lines().filter(|line| line.ends_with(": removed")).count();
        listener::wait_until(|| {
            let queued = self.queued().len();
            queued as u64 >= expected && removed() == queued
        });
        self.queued().len() as u64
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // Postfix may have been started again, with a new group.
        let master = fs::read_to_string(self.folder.path().join("queue/pid/master.pid")).unwrap_or_default();
        if let Ok(group) = master.trim().parse() {
            self.processes.set_group(group);
        }
    }
}
