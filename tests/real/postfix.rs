//! A Postfix of our own: configuration, queue, data and log in one temporary folder; the system's own is never touched.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::listener::{self, Processes};

/// The services that receiving and discarding a message needs, none of them chrooted.
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
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

/// Takes any recipient from loopback and discards the message; looks nobody up; its queue ids never come twice.
/// Clients of `mynetworks` would be exempt from the connection limits but for the empty list of exceptions.
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

/// What a Postfix is to be: the settings beyond ours, by Postfix's own names.
#[derive(Default)]
pub struct Settings {
    lines: String,
}

/// A running Postfix.
pub struct Postfix {
    pub port: u16,
    pub processes: Processes,
    folder: TempDir,
}

impl Settings {
    /// One line of main.cf; a later one wins.
    pub fn set(mut self, name: &str, value: impl Display) -> Settings {
        self.lines.push_str(&format!("{name} = {value}\n"));
        self
    }

    /// Starts it; `None` where Postfix is not installed.
    pub fn start(self) -> Option<Postfix> {
        let Some(program) = listener::program(&["/usr/sbin/postfix"]) else {
            return listener::missing("Postfix is not installed");
        };
        if !listener::is_root() {
            return listener::missing("Postfix starts as root only");
        }
        let (folder, port) = (listener::folder(), listener::free_port());
        let root = folder.path();
        self.write(root, port);
        let output = root.join("output");
        let mut command = Command::new(program);
        command.arg("-c").arg(root.join("etc")).arg("start-fg");
        let mut processes = Processes::start(&mut command, &output);
        let proxied = self.lines.contains("smtpd_upstream_proxy_protocol");
        let header = if proxied { "PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n" } else { "" };
        processes.await_greeting_to(header, port, &output);
        // The master makes a session, and so a group, of its own.
        let master = fs::read_to_string(root.join("queue/pid/master.pid")).unwrap();
        processes.set_group(master.trim().parse().unwrap());
        Some(Postfix { port, processes, folder })
    }

    fn write(&self, root: &Path, port: u16) {
        fs::create_dir(root.join("etc")).unwrap();
        fs::create_dir(root.join("queue")).unwrap();
        listener::folder_of("postfix", root, "data");
        let at = root.display();
        let places = format!(
            "queue_directory = {at}/queue\ndata_directory = {at}/data\n\
             maillog_file = {at}/maillog\nmaillog_file_prefixes = {at}\n"
        );
        fs::write(root.join("etc/main.cf"), format!("{SETTINGS}{places}{}", self.lines)).unwrap();
        let services = format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}");
        fs::write(root.join("etc/master.cf"), services).unwrap();
    }
}

impl Postfix {
    /// Our settings and no limit beyond Postfix's own.
    pub fn plain() -> Settings {
        Settings::default()
    }

    /// Its whole log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("maillog")).unwrap_or_default()
    }

    /// The messages it has truly queued, by queue id: `qmgr[..]: ID: from=<..>, size=.., nrcpt=.. (queue active)`.
    ///
    /// Neither `smtpd[..]: ID: client=` nor `cleanup[..]: ID: message-id=` would do: a message that proves too big after
    /// DATA has both of them and is refused with 552.
    pub fn queued(&self) -> BTreeSet<String> {
        let id = |line: &str| {
            let (_, said) = line.split_once("/qmgr[")?;
            let (_, said) = said.split_once("]: ")?;
            said.ends_with("(queue active)").then(|| said.split_once(':').map(|(id, _)| id.to_owned()))?
        };
        self.log().lines().filter_map(id).collect()
    }

    /// The number of messages queued, once it is at least `expected` (its queue manager logs behind the reply) and no
    /// message is under way any more.
    pub fn queued_in_the_end(&self, expected: u64) -> u64 {
        let removed = || self.log().lines().filter(|line| line.ends_with(": removed")).count();
        listener::wait_until(|| {
            let queued = self.queued().len();
            queued as u64 >= expected && removed() == queued
        });
        self.queued().len() as u64
    }
}
