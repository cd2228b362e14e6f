//! A private Postgrey: the greylist that a Postfix asks at RCPT.

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
    /// Starts one that defers for this many seconds, and never whitelists a client; `None` if it is not installed.
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

    /// The number of deferred attempts.
    pub fn deferred(&self) -> u64 {
        self.log().lines().filter(|line| line.starts_with("action=greylist,")).count() as u64
    }

    /// The seconds from the first attempt to the acceptance of each recipient, by its clock in whole seconds.
    pub fn delays(&self) -> Vec<u64> {
        let delay = |line: &str| line.split("delay=").nth(1)?.split(',').next()?.trim().parse().ok();
        let log = self.log();
        let passed = log.lines().filter(|line| line.starts_with("action=pass,"));
        passed.map(|line| delay(line).unwrap_or_else(|| panic!("no delay: {line}"))).collect()
    }

    /// Its output.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }

    /// Ends it.
    pub fn stop(self) {
        self.processes.signal("TERM");
    }
}
