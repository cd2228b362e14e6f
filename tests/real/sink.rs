//! smtp-sink, the test listener of Postfix: it accepts and counts all messages, stores none, and has no limits.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::listener::{self, Processes};

/// A running smtp-sink.
pub struct Sink {
    pub port: u16,
    pub processes: Processes,
    counters: PathBuf,
    _folder: TempDir,
}

impl Sink {
    /// Starts one; `None` if it is not installed.
    pub fn start() -> Option<Sink> {
        let Some(program) = listener::program(&["/usr/sbin/smtp-sink"]) else {
            return listener::missing("smtp-sink is not installed");
        };
        let (folder, port) = (listener::folder(), listener::free_port());
        let counters = folder.path().join("counters");
        let mut command = Command::new(program);
        command.arg("-c"); // print counters as they change
        if listener::is_root() {
            command.args(["-u", "postfix"]);
        }
        command.arg(format!("127.0.0.1:{port}")).arg("4096"); // the backlog
        let mut processes = Processes::start(&mut command, &counters);
        processes.await_greeting(port, &counters);
        Some(Sink { port, processes, counters, _folder: folder })
    }

    /// The number of messages whose final dot it has read. It counts before it replies.
    pub fn messages(&self) -> u64 {
        // `sess=1 quit=1 mesg=1\rsess=2 ...`: the last complete counter is used.
        let text = fs::read_to_string(&self.counters).unwrap();
        let whole = text.rsplit_once('\r').map_or("", |(whole, _)| whole);
        whole.rsplit_once("mesg=").map_or(0, |(_, count)| count.trim().parse().unwrap())
    }
}
