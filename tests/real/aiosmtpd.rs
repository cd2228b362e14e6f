//! aiosmtpd, the Python library, run by `listener_in_python.py`: STARTTLS with AUTH, implicit TLS, LMTP, PROXY.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::listener::{self, Processes};
use crate::smtpress::{PASSWORD, USER};

/// The interpreter of the virtual environment that `install.sh` makes.
pub const PROGRAM: &str = "target/real-listeners/aiosmtpd/bin/python";

/// A running aiosmtpd.
pub struct Aiosmtpd {
    /// The port with STARTTLS, and AUTH after it.
    pub starttls: u16,
    /// The port with implicit TLS.
    pub implicit: u16,
    /// The port with LMTP.
    pub lmtp: u16,
    /// The port that requires a PROXY header.
    pub proxied: u16,
    pub certificate: Certificate,
    pub processes: Processes,
    output: PathBuf,
    _folder: TempDir,
}

impl Aiosmtpd {
    /// Starts one; `None` if it is not installed.
    pub fn start() -> Option<Aiosmtpd> {
        let Some(python) = listener::program(&[PROGRAM]) else {
            return listener::missing("aiosmtpd is not installed");
        };
        let folder = listener::folder();
        let [starttls, implicit, lmtp, proxied] = [(); 4].map(|()| listener::free_port());
        let certificate = Certificate::make(folder.path(), "root");
        let output = folder.path().join("output");
        let mut command = Command::new(python);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/listener_in_python.py"))
            .args([&certificate.chain, &certificate.key])
            .args([USER, PASSWORD])
            .args([starttls, implicit, lmtp, proxied].map(|port| port.to_string()));
        let mut processes = Processes::start(&mut command, &output);
        // This port is opened last.
        processes.await_greeting_to("PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n", proxied, &output);
        Some(Aiosmtpd { starttls, implicit, lmtp, proxied, certificate, processes, output, _folder: folder })
    }

    /// The number of messages that it has taken. It prints `message rcpt=1 tls=.. user=.. source=..` for each, before
    /// the final 250.
    pub fn taken(&self) -> usize {
        self.taken_with("")
    }

    /// The number of messages whose line contains this text.
    pub fn taken_with(&self, said: &str) -> usize {
        let log = fs::read_to_string(&self.output).unwrap();
        log.lines().filter(|line| line.starts_with("message ") && line.contains(said)).count()
    }
}
