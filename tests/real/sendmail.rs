//! A private Sendmail. It queues and never delivers.

use std::fmt::Display;
use std::fs;

use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::rooted;

/// It relays for any client, makes no DNS lookups, and ignores the load average of the machine.
const SETTINGS: &str = "\
divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `sendmail.test')dnl
define(`confPID_FILE', `/own/pid')dnl
define(`QUEUE_DIR', `/own/queue')dnl
define(`ALIAS_FILE', `')dnl
define(`HELP_FILE', `')dnl
define(`STATUS_FILE', `')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confDELIVERY_MODE', `queueonly')dnl
define(`confTO_IDENT', `0s')dnl
define(`confQUEUE_LA', `10000')dnl
define(`confREFUSE_LA', `10000')dnl
define(`confDELAY_LA', `0')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`delay_checks')dnl
FEATURE(`access_db', `hash -T<TMPF> -o /own/access')dnl
";

/// The script that makes its configuration.
const CONFIGURE: &str = "\
cd /usr/share/sendmail/cf
m4 m4/cf.m4 /own/sendmail.mc >/own/sendmail.cf
/usr/libexec/sendmail/makemap -C /own/sendmail.cf hash /own/access </own/access
";

/// The settings of a Sendmail in addition to `SETTINGS`, by Sendmail's names.
#[derive(Default)]
pub struct Settings {
    lines: String,
    access: String,
}

/// A running Sendmail.
pub struct Sendmail {
    pub port: u16,
    pub processes: Processes,
    folder: TempDir,
}

impl Settings {
    /// Adds a `define` to its configuration.
    pub fn define(mut self, name: &str, value: impl Display) -> Settings {
        self.lines.push_str(&format!("define(`{name}', `{value}')dnl\n"));
        self
    }

    /// Sets the limit of sessions at once for one host.
    pub fn connections_per_host(mut self, count: u64) -> Settings {
        self.lines.push_str("FEATURE(`conncontrol', `nodelay', `terminate')dnl\n");
        self.access.push_str(&format!("ClientConn:\t{count}\n"));
        self
    }

    /// Starts it; `None` if it is not installed.
    pub fn start(self) -> Option<Sendmail> {
        let root = rooted::root("sendmail")?;
        let (folder, port) = (listener::folder(), listener::free_port());
        let own = folder.path();
        fs::create_dir(own.join("queue")).unwrap();
        let settings = format!(
            "{SETTINGS}{}DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port={port}')dnl\n\
             MAILER(`local')dnl\nMAILER(`smtp')dnl\n",
            self.lines
        );
        fs::write(own.join("sendmail.mc"), settings).unwrap();
        fs::write(own.join("access"), self.access).unwrap();
        rooted::run(&root, own, &["sh", "-ec", CONFIGURE]);
        let output = own.join("output");
        let mut command = rooted::command(&root, own);
        command.args(["/usr/libexec/sendmail/sendmail", "-C", "/own/sendmail.cf", "-bD"]); // in the foreground
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(port, &output);
        Some(Sendmail { port, processes, folder })
    }
}

impl Sendmail {
    /// The default settings here, with no limit except those of Sendmail.
    pub fn plain() -> Settings {
        Settings::default()
    }

    /// The number of messages that it has queued. Each has a file `qf...`, written before the final 250.
    pub fn queued(&self) -> u64 {
        listener::files(&self.folder.path().join("queue"), "qf")
    }
}
