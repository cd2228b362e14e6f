//! A private Haraka, which stores each message in a file.

use std::fmt::Display;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::redis::Redis;

/// The program that `install.sh` installs, and its Node.js.
const PROGRAM: &str = "target/real-listeners/npm/node_modules/Haraka/bin/haraka";
pub const NODE: &str = "target/real-listeners/npm/node";

/// The settings of a Haraka.
#[derive(Default)]
pub struct Settings {
    /// The sections of `limit.ini`. Its plugin is loaded only if there are any.
    limits: String,
    /// The largest size of a message.
    size: Option<u64>,
    redis: bool,
}

/// A running Haraka.
pub struct Haraka {
    pub port: u16,
    pub processes: Processes,
    folder: TempDir,
    _redis: Option<Redis>,
}

impl Settings {
    /// Sets one kind of limit, by the name in the plugin `limit`, without a delay before its refusals.
    pub fn limit(mut self, kind: &str, max: impl Display) -> Settings {
        self.limits.push_str(&format!("[{kind}]\nenabled=true\nmax={max}\n"));
        self
    }

    /// Sets the limit of sessions at once for one host, which Haraka counts in Redis.
    pub fn per_host(mut self, sessions: u64) -> Settings {
        self.redis = true;
        self.limit("concurrency", sessions)
    }

    /// Sets the largest size of a message.
    pub fn size(mut self, bytes: u64) -> Settings {
        self.size = Some(bytes);
        self
    }

    /// Starts it; `None` if it is not installed.
    pub fn start(self) -> Option<Haraka> {
        let (Some(node), Some(program)) = (listener::program(&[NODE]), listener::program(&[PROGRAM])) else {
            return listener::missing("Haraka is not installed");
        };
        let (folder, port) = (listener::folder(), listener::free_port());
        let own = folder.path();
        let redis = if self.redis { Some(Redis::start()?) } else { None };
        for name in ["config", "queue", "mail"] {
            fs::create_dir(own.join(name)).unwrap();
        }
        // Haraka needs this file complete, so the packaged one is changed.
        let packaged = program.with_file_name("../config/connection.ini");
        let mut connection = fs::read_to_string(packaged).unwrap();
        if let Some(size) = self.size {
            connection = connection.replace("\nbytes=26214400\n", &format!("\nbytes={size}\n"));
            assert!(connection.contains(&format!("bytes={size}")), "{connection}");
        }
        let mut limits = "tarpit_delay=0\n".to_owned();
        if let Some(redis) = &redis {
            limits.push_str(&format!("[redis]\nhost=127.0.0.1\nport={}\n", redis.port));
        }
        limits.push_str(&self.limits);
        let limit = if self.limits.is_empty() { "" } else { "limit\n" };
        let files = [
            ("me", "haraka.test".to_owned()),
            ("host_list", "recipient.example".to_owned()),
            ("loglevel", "ERROR".to_owned()),
            ("smtp.ini", format!("listen=127.0.0.1:{port}\nforce_shutdown_timeout=1\n")),
            ("connection.ini", connection),
            ("limit.ini", limits),
            ("plugins", format!("{limit}rcpt_to.in_host_list\nqueue/test\n")),
        ];
        for (name, text) in files {
            fs::write(own.join("config").join(name), text).unwrap();
        }
        let output = own.join("output");
        let mut command = Command::new(node);
        command.arg(program).arg("-c").arg(own).env("TMPDIR", own.join("mail")).current_dir(own);
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(port, &output);
        Some(Haraka { port, processes, folder, _redis: redis })
    }
}

impl Haraka {
    /// Settings with no limit except those of Haraka.
    pub fn plain() -> Settings {
        Settings::default()
    }

    /// The number of messages that it has stored. Each has a file, which is complete before the final 250.
    pub fn stored(&self) -> u64 {
        listener::files(&self.folder.path().join("mail"), "mail_")
    }
}
