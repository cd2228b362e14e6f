//! An OpenSMTPD of our own. Its spool and its socket are compiled in, so it stands in a root folder of its own (`chroot`).
//!
//! It relays to a port where nobody listens: what it has taken stays in its queue.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::listener::{self, Processes};

/// Where `install.sh` unpacks it.
pub const PROGRAM: &str = "target/real-listeners/opensmtpd/usr/sbin/smtpd";

/// What it needs around it: folders, the two devices it opens, its libraries.
const ROOT: &str = r#"
set -eu
root=$1 program=$2
cd "$root"
mkdir -p etc dev tmp usr/sbin var/run var/spool var/lib/opensmtpd/empty
chmod 711 var/spool
cp "$program" usr/sbin/smtpd
for library in $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p ".${library%/*}"
    cp -L "$library" ".$library"
done
cp /etc/passwd /etc/group etc/
[ ! -e /etc/services ] || cp /etc/services etc/
echo '127.0.0.1 localhost opensmtpd.test' >etc/hosts
echo 'nameserver 127.0.0.1' >etc/resolv.conf
echo opensmtpd.test >etc/mailname
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/urandom c 1 9
"#;

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
        let Some(program) = listener::program(&[PROGRAM]) else {
            return listener::missing("OpenSMTPD is not installed");
        };
        if !listener::is_root() {
            return listener::missing("OpenSMTPD starts as root only");
        }
        let folder = listener::folder();
        let root = folder.path();
        let made = Command::new("sh").args(["-c", ROOT, "sh"]).arg(root).arg(&program).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let certificate = Certificate::make(root, "root");
        let [plain, starttls, implicit, proxied, nobody] = [(); 5].map(|()| listener::free_port());
        let settings = format!(
            r#"
{lines}
pki opensmtpd.test cert "/tls/chain.pem"
pki opensmtpd.test key "/tls/key.pem"
listen on 127.0.0.1 port {starttls} hostname opensmtpd.test tls pki opensmtpd.test
listen on 127.0.0.1 port {implicit} hostname opensmtpd.test smtps pki opensmtpd.test
listen on 127.0.0.1 port {proxied} hostname opensmtpd.test proxy-v2
listen on 127.0.0.1 port {plain} hostname opensmtpd.test
action "relay" relay host "smtp://127.0.0.1:{nobody}"
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

    /// The lines of its log that say this.
    pub fn lines(&self, said: &str) -> usize {
        self.log().lines().filter(|line| line.contains(said)).count()
    }
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.join("output")).unwrap_or_default()
}
