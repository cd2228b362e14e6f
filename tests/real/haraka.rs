//! A Haraka of our own, which stores each message in a file.

use std::fmt::Display;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::redis::Redis;

/// Where `install.sh` puts it, and the Node.js that it runs on.
const PROGRAM: &str = "target/real-listeners/npm/node_modules/Haraka/bin/haraka";
pub const NODE: &str = "target/real-listeners/npm/node";

/// What a Haraka is to be.
#[derive(Default)]
pub struct Settings {
    /// Sections of `limit.ini`, whose plugin is loaded where there are any.
    limits: String,
    /// The message size.
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
    /// One kind of limit, as the plugin `limit` names it. Without a delay ahead of its refusals.
    pub fn limit(mut self, kind: &str, max: impl Display) -> Settings {
        self.limits.push_str(&format!("[{kind}]\nenabled=true\nmax={max}\n"));
        self
    }

    /// The sessions of one host at once; Haraka counts them in Redis.
    pub fn per_host(mut self, sessions: u64) -> Settings {
        self.redis = true;
        self.limit("concurrency", sessions)
    }

    /// The size of a message.
    pub fn size(mut self, bytes: u64) -> Settings {
        self.size = Some(bytes);
        self
    }

    /// Starts it; `None` where it is not installed.
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
        // Haraka takes this file whole or not at all.
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
    /// No limit beyond Haraka's own.
    pub fn plain() -> Settings {
        Settings::default()
    }

    /// The messages it has stored: a file each, complete before the final 250 is sent.
    pub fn stored(&self) -> u64 {
        listener::files(&self.folder.path().join("mail"), "mail_")
    }
}
