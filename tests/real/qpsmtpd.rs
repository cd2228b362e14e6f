//! A private qpsmtpd (its forking server), which delivers to a Maildir.

use std::fmt::Display;
use std::fs;

use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::rooted;

/// The settings of a qpsmtpd.
pub struct Settings {
    sessions: u64,
    per_host: u64,
    /// The lines of `plugins` before the default ones here.
    plugins: String,
    /// Its other configuration files, by name.
    files: Vec<(&'static str, String)>,
}

/// A running qpsmtpd.
pub struct Qpsmtpd {
    pub port: u16,
    pub processes: Processes,
    folder: TempDir,
}

impl Settings {
    /// Sets the limit of sessions at once for one host.
    pub fn per_host(mut self, sessions: u64) -> Settings {
        self.per_host = sessions;
        self
    }

    /// Adds a plugin with its arguments.
    pub fn plugin(mut self, line: &str) -> Settings {
        self.plugins.push_str(&format!("{line}\n"));
        self
    }

    /// Adds a file to its configuration.
    pub fn file(mut self, name: &'static str, value: impl Display) -> Settings {
        self.files.push((name, value.to_string()));
        self
    }

    /// Starts it; `None` if it is not installed.
    pub fn start(self) -> Option<Qpsmtpd> {
        let root = rooted::root("qpsmtpd")?;
        let (folder, port) = (listener::folder(), listener::free_port());
        let own = folder.path();
        listener::folder_of("504", own, "spool");
        listener::folder_of("504", own, "mail");
        fs::create_dir(own.join("config")).unwrap();
        let ours = [
            ("me", "qpsmtpd.test".to_owned()),
            ("rcpthosts", "recipient.example".to_owned()),
            ("spool_dir", "/own/spool".to_owned()),
            ("plugin_dirs", "/usr/share/qpsmtpd/plugins".to_owned()),
            ("logging", "logging/warn LOGWARN".to_owned()),
            ("plugins", format!("hosts_allow\n{}rcpt_ok\nqueue/maildir /own/mail", self.plugins)),
        ];
        for (name, value) in ours.into_iter().chain(self.files) {
            fs::write(own.join("config").join(name), value + "\n").unwrap();
        }
        let output = own.join("output");
        let mut command = rooted::command(&root, own);
        command
            .args(["env", "QPSMTPD_CONFIG=/own/config"])
            .arg("RES_NAMESERVERS=") // or it waits for one at each connection, also with --no-rdns
            .args(["qpsmtpd-forkserver", "-l", "127.0.0.1", "-u", "qpsmtpd"])
            .args(["-p", &port.to_string()])
            .args(["-c", &self.sessions.to_string(), "-m", &self.per_host.to_string()]);
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(port, &output);
        Some(Qpsmtpd { port, processes, folder })
    }
}

impl Qpsmtpd {
    /// The default limits of qpsmtpd.
    pub fn packaged() -> Settings {
        Settings { sessions: 15, per_host: 5, plugins: String::new(), files: Vec::new() }
    }

    /// Settings with enough sessions for a load.
    pub fn plain() -> Settings {
        Settings { sessions: 400, per_host: 400, ..Qpsmtpd::packaged() }
    }

    /// The number of messages that it has delivered. Each has a file in the Maildir, written before the final 250.
    pub fn delivered(&self) -> u64 {
        listener::files(&self.folder.path().join("mail/new"), "")
    }
}
