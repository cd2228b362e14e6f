//! A private OpenSMTPD. The paths of its spool and socket are compiled in, so it runs in its own root folder
//! (`chroot`).
//!
//! It relays to a closed port, so that messages stay in its queue, or to a port of the test.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::listener::{self, Processes};
use crate::rooted;

/// The program that `install.sh` unpacks.
pub const PROGRAM: &str = "target/real-listeners/opensmtpd/usr/sbin/smtpd";

/// The folders that it needs in its root.
const ROOT: &str = r#"
set -eu
cd "$1"
mkdir -p var/run var/spool var/lib/opensmtpd/empty
chmod 711 var/spool
echo '127.0.0.1 localhost opensmtpd.test' >etc/hosts
echo 'nameserver 127.0.0.1' >etc/resolv.conf
echo opensmtpd.test >etc/mailname
"#;

/// No pauses between the sessions to the next hop, and no limit of messages in a session.
const FAST: &str = "mta limit conn-delay-route 0 reconn-delay-route 0 session-mail-max 1000000";

/// A running OpenSMTPD.
pub struct Opensmtpd {
    /// The port without TLS.
    pub plain: u16,
    /// The port with STARTTLS. Every handshake fails, because Debian's build cannot use its key since OpenSSL 3
    /// (OpenSMTPD issue 1171). So AUTH, which it offers only after TLS, cannot be tested.
    pub starttls: u16,
    /// The port with implicit TLS, where every handshake fails too.
    pub implicit: u16,
    /// The port that requires a PROXY header of version 2.
    pub proxied: u16,
    pub certificate: Certificate,
    pub processes: Processes,
    folder: TempDir,
}

impl Opensmtpd {
    /// Starts one with these additional lines of smtpd.conf; `None` if it is not installed.
    pub fn start(lines: &str) -> Option<Opensmtpd> {
        Opensmtpd::start_with(lines, listener::free_port())
    }

    /// Starts one that delivers every message to this loopback port, notifications to senders included.
    pub fn relay_to(next: u16) -> Option<Opensmtpd> {
        Opensmtpd::start_with(FAST, next)
    }

    fn start_with(lines: &str, next: u16) -> Option<Opensmtpd> {
        let Some(program) = listener::program(&[PROGRAM]) else {
            return listener::missing("OpenSMTPD is not installed");
        };
        if !listener::is_root() {
            return listener::missing("OpenSMTPD starts as root only");
        }
        let folder = listener::folder();
        let root = folder.path();
        rooted::make(root, &program, ROOT);
        let certificate = Certificate::make(root, "root");
        let [plain, starttls, implicit, proxied] = [(); 4].map(|()| listener::free_port());
        let settings = format!(
            r#"
{lines}
pki opensmtpd.test cert "/tls/chain.pem"
pki opensmtpd.test key "/tls/key.pem"
listen on 127.0.0.1 port {starttls} hostname opensmtpd.test tls pki opensmtpd.test
listen on 127.0.0.1 port {implicit} hostname opensmtpd.test smtps pki opensmtpd.test
listen on 127.0.0.1 port {proxied} hostname opensmtpd.test proxy-v2
listen on 127.0.0.1 port {plain} hostname opensmtpd.test
action "relay" relay host "smtp://127.0.0.1:{next}"
match from any for any action "relay"
"#
        );
        fs::write(root.join("etc/smtpd.conf"), settings).unwrap();
        let output = root.join("output");
        let mut command = Command::new("chroot");
        command.arg(root).args(["/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"]); // in the foreground
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(plain, &output);
        Some(Opensmtpd { plain, starttls, implicit, proxied, certificate, processes, folder })
    }

    /// Its log, which is its output.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }

    /// The number of messages that it has taken. Each has a line `smtp message msgid=...`.
    pub fn taken(&self) -> usize {
        self.lines(" smtp message msgid=")
    }

    /// The number of messages and envelopes in its queue.
    pub fn waiting(&self) -> u64 {
        listener::files_below(&self.folder.path().join("var/spool/smtpd/queue"))
    }

    /// The number of lines of its log that contain this.
    pub fn lines(&self, said: &str) -> usize {
        self.log().lines().filter(|line| line.contains(said)).count()
    }
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.join("output")).unwrap_or_default()
}
