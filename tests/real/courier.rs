//! A private Courier: only its `esmtpd`. Accepted messages stay in the queue, because its queue manager does not run.

use std::fmt::Display;
use std::fs;

use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::rooted;

/// Starts it like its own script `esmtpd`, but in the foreground. It relays for any client, and makes no DNS lookups.
const START: &str = r#"
cp -a /etc/courier.packaged /own/etc
cp -a /var/lib/courier.packaged /own/lib
mkdir /own/run
for file in me defaultdomain dsnfrom locals; do echo courier.test >/own/etc/$file; done
cat /own/bofh >/own/etc/bofh
cat /own/settings >>/own/etc/esmtpd
[ ! -e /own/sizelimit ] || cp /own/sizelimit /own/etc/
chown -R courier:courier /own/lib /own/run
printf '127\tallow,RELAYCLIENT\n' >/own/etc/smtpaccess/default
makesmtpaccess
makealiases
set -a
prefix=/usr exec_prefix=/usr sysconfdir=/etc/courier sbindir=/usr/sbin
. /own/etc/esmtpd
exec /usr/sbin/couriertcpd -stderr=/own/run/log -noidentlookup -nodnslookup -user=$MAILUSER -group=$MAILGROUP \
    -address=127.0.0.1 -access=$ACCESSFILE.dat -maxprocs=$MAXDAEMONS -maxperc=$MAXPERC -maxperip=$MAXPERIP \
    $PORT /usr/sbin/courieresmtpd
"#;

/// The settings of a Courier in addition to those of its package, by Courier's names.
#[derive(Default)]
pub struct Settings {
    lines: String,
    bofh: String,
    size: Option<u64>,
}

/// A running Courier.
pub struct Courier {
    pub port: u16,
    pub processes: Processes,
    folder: TempDir,
}

impl Settings {
    /// Adds a line to `esmtpd`; a later line has precedence.
    pub fn set(mut self, name: &str, value: impl Display) -> Settings {
        self.lines.push_str(&format!("{name}={value}\n"));
        self
    }

    /// Adds a line to `bofh`, the file with the limits of a message.
    pub fn bofh(mut self, line: &str) -> Settings {
        self.bofh.push_str(&format!("{line}\n"));
        self
    }

    /// Sets the largest size of a message.
    pub fn size(mut self, bytes: u64) -> Settings {
        self.size = Some(bytes);
        self
    }

    /// Starts it; `None` if it is not installed.
    pub fn start(self) -> Option<Courier> {
        let root = rooted::root("courier")?;
        let (folder, port) = (listener::folder(), listener::free_port());
        let own = folder.path();
        fs::write(own.join("settings"), format!("BOFHCHECKDNS=0\nPORT={port}\n{}", self.lines)).unwrap();
        fs::write(own.join("bofh"), self.bofh).unwrap();
        if let Some(size) = self.size {
            fs::write(own.join("sizelimit"), size.to_string()).unwrap();
        }
        let output = own.join("output");
        let mut command = rooted::command(&root, own);
        command.args(["sh", "-ec", START]);
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(port, &output);
        Some(Courier { port, processes, folder })
    }
}

impl Courier {
    /// The settings of its package.
    pub fn packaged() -> Settings {
        Settings::default()
    }

    /// Settings with enough sessions for a load.
    pub fn plain() -> Settings {
        Courier::packaged().set("MAXDAEMONS", 400).set("MAXPERC", 400).set("MAXPERIP", 400)
    }

    /// The number of messages that it has taken. Each has a control file `C...`, which gets this name before the final
    /// 250.
    pub fn taken(&self) -> u64 {
        let folders = fs::read_dir(self.folder.path().join("lib/tmp")).unwrap();
        folders.map(|folder| listener::files(&folder.unwrap().path(), "C")).sum()
    }
}
