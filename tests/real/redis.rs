//! A private Redis, in which Haraka counts.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use tempfile::TempDir;

use crate::listener::{self, Processes};

const PROGRAM: &str = "target/real-listeners/redis/usr/bin/redis-server";

/// A running Redis.
pub struct Redis {
    pub port: u16,
    _processes: Processes,
    _folder: TempDir,
}

impl Redis {
    /// Starts one that stores nothing on disk; `None` if it is not installed.
    pub fn start() -> Option<Redis> {
        let Some(program) = listener::program(&[PROGRAM]) else {
            return listener::missing("Redis is not installed");
        };
        let (folder, port) = (listener::folder(), listener::free_port());
        let mut command = Command::new(program);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(port.to_string())
            .current_dir(folder.path());
        let processes = Processes::start(&mut command, &folder.path().join("output"));
        let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        assert!(listener::wait_until(answers), "Redis does not listen on port {port}");
        Some(Redis { port, _processes: processes, _folder: folder })
    }
}
