//! A Postgrey of our own: the greylist that a Postfix asks at RCPT.

use std::fs;

use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::rooted;

/// A running Postgrey.
pub struct Postgrey {
    pub port: u16,
    processes: Processes,
    folder: TempDir,
}

impl Postgrey {
    /// One that defers for so many seconds, and never gets to know a client; `None` where it is not installed.
    pub fn start(seconds: u64) -> Option<Postgrey> {
        let root = rooted::root("postgrey")?;
        let (folder, port) = (listener::folder(), listener::free_port());
        let own = folder.path();
        listener::folder_of("505", own, "db");
        let mut command = rooted::command(&root, own);
        command
            .args(["/usr/sbin/postgrey", "--verbose", "--dbdir=/own/db", "--auto-whitelist-clients=0"])
            .args([format!("--inet=127.0.0.1:{port}"), format!("--delay={seconds}")]);
        let processes = Processes::start(&mut command, &own.join("output"));
        let postgrey = Postgrey { port, processes, folder };
        let has_started = listener::wait_until(|| postgrey.log().contains("Setting uid"));
        assert!(has_started, "Postgrey does not start: {}", postgrey.log());
        Some(postgrey)
    }

    /// How often it deferred a recipient.
    pub fn deferred(&self) -> u64 {
        self.log().lines().filter(|line| line.starts_with("action=greylist,")).count() as u64
    }

    /// Of each recipient that it let pass: how many seconds after the first attempt, by its own clock of whole seconds.
    pub fn delays(&self) -> Vec<u64> {
        let delay = |line: &str| line.split("delay=").nth(1)?.split(',').next()?.trim().parse().ok();
        let log = self.log();
        let passed = log.lines().filter(|line| line.starts_with("action=pass,"));
        passed.map(|line| delay(line).unwrap_or_else(|| panic!("no delay: {line}"))).collect()
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }

    /// Ends it.
    pub fn stop(self) {
        self.processes.signal("TERM");
    }
}
