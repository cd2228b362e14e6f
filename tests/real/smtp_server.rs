//! smtp-server, the JavaScript library, run by `listener_in_node.cjs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::haraka::NODE;
use crate::listener::{self, Processes};

/// The folder of the module that `install.sh` installs.
const MODULES: &str = "target/real-listeners/npm/node_modules/smtp-server";

/// A running smtp-server.
pub struct SmtpServer {
    pub port: u16,
    pub processes: Processes,
    output: PathBuf,
    _folder: TempDir,
}

impl SmtpServer {
    /// Starts one with these options of its constructor; `None` if it is not installed.
    pub fn start(options: &Value) -> Option<SmtpServer> {
        let (Some(node), Some(module)) = (listener::program(&[NODE]), listener::program(&[MODULES])) else {
            return listener::missing("smtp-server is not installed");
        };
        let (folder, port) = (listener::folder(), listener::free_port());
        let output = folder.path().join("output");
        let mut command = Command::new(node);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/listener_in_node.cjs"))
            .args([port.to_string(), options.to_string()])
            .env("NODE_PATH", module.parent().expect("it is in node_modules"));
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(port, &output);
        Some(SmtpServer { port, processes, output, _folder: folder })
    }

    /// The number of messages that it has taken. Each has a line `message ...`, printed before the final 250.
    pub fn taken(&self) -> u64 {
        let log = fs::read_to_string(&self.output).unwrap();
        log.lines().filter(|line| line.starts_with("message ")).count() as u64
    }
}
