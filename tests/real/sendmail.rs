//! A Sendmail of our own. It queues and never delivers.

use std::fmt::Display;
use std::fs;

use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::rooted;

/// Relays for anyone; looks nobody up; no load of this machine changes what it does.
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

/// What makes its configuration of ours.
const CONFIGURE: &str = "\
cd /usr/share/sendmail/cf
m4 m4/cf.m4 /own/sendmail.mc >/own/sendmail.cf
/usr/libexec/sendmail/makemap -C /own/sendmail.cf hash /own/access </own/access
";

/// What a Sendmail is to be: what is defined beyond ours, by Sendmail's own names.
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
    /// A `define` of its configuration.
    pub fn define(mut self, name: &str, value: impl Display) -> Settings {
        self.lines.push_str(&format!("define(`{name}', `{value}')dnl\n"));
        self
    }

    /// At most this many sessions of one host at once.
    pub fn connections_per_host(mut self, count: u64) -> Settings {
        self.lines.push_str("FEATURE(`conncontrol', `nodelay', `terminate')dnl\n");
        self.access.push_str(&format!("ClientConn:\t{count}\n"));
        self
    }

    /// Starts it; `None` where it is not installed.
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
    /// Our settings and no limit beyond Sendmail's own.
    pub fn plain() -> Settings {
        Settings::default()
    }

    /// The messages it has queued: a file `qf...` each, there before the final 250 is sent.
    pub fn queued(&self) -> u64 {
        listener::files(&self.folder.path().join("queue"), "qf")
    }
}
