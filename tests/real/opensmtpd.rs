//! An OpenSMTPD of our own. Its spool and its socket are compiled in, so it stands in a root folder of its own (`chroot`).
//!
//! It relays to a port where nobody listens, and what it has taken stays in its queue; or to one that a test gives.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::listener::{self, Processes};
use crate::rooted;

/// Where `install.sh` unpacks it.
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

/// No pause between the sessions to the next hop, and no limit on what one of them carries.
const FAST: &str = "mta limit conn-delay-route 0 reconn-delay-route 0 session-mail-max 1000000";

/// A running OpenSMTPD.
pub struct Opensmtpd {
    /// Without TLS.
    pub plain: u16,
    /// With STARTTLS. Every handshake fails: Debian's build cannot use its key since OpenSSL 3 (OpenSMTPD issue 1171). AUTH,
    /// which it offers behind TLS only, is out of reach.
    pub starttls: u16,
    /// With TLS from the first byte, of which the same is true.
    pub implicit: u16,
    /// Behind the PROXY protocol, version 2.
    pub proxied: u16,
    pub certificate: Certificate,
    pub processes: Processes,
    folder: TempDir,
}

impl Opensmtpd {
    /// Starts one, with these further lines of smtpd.conf; `None` where it is not installed.
    pub fn start(lines: &str) -> Option<Opensmtpd> {
        Opensmtpd::start_with(lines, listener::free_port())
    }

    /// Starts one that hands every message on to this loopback port, notifications to senders included.
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

    /// The messages it has taken: a line `smtp message msgid=...` each.
    pub fn taken(&self) -> usize {
        self.lines(" smtp message msgid=")
    }

    /// The messages and envelopes in its queue.
    pub fn waiting(&self) -> u64 {
        listener::files_below(&self.folder.path().join("var/spool/smtpd/queue"))
    }

    /// The lines of its log that say this.
    pub fn lines(&self, said: &str) -> usize {
        self.log().lines().filter(|line| line.contains(said)).count()
    }
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.join("output")).unwrap_or_default()
}
