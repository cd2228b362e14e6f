//! A Courier of our own: its `esmtpd` alone. What it takes stays where its queue manager, which does not run, would find it.

use std::fmt::Display;
use std::fs;

use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::rooted;

/// Starts it as its own script `esmtpd` does, but in the foreground. Relays for anyone; looks nobody up.
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

/// What a Courier is to be: what is set beyond what its package sets, by its own names.
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
    /// One line of `esmtpd`; a later one wins.
    pub fn set(mut self, name: &str, value: impl Display) -> Settings {
        self.lines.push_str(&format!("{name}={value}\n"));
        self
    }

    /// One line of `bofh`, where the limits of a message are.
    pub fn bofh(mut self, line: &str) -> Settings {
        self.bofh.push_str(&format!("{line}\n"));
        self
    }

    /// The size of a message.
    pub fn size(mut self, bytes: u64) -> Settings {
        self.size = Some(bytes);
        self
    }

    /// Starts it; `None` where it is not installed.
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
    /// Its package's settings.
    pub fn packaged() -> Settings {
        Settings::default()
    }

    /// Room for a load.
    pub fn plain() -> Settings {
        Courier::packaged().set("MAXDAEMONS", 400).set("MAXPERC", 400).set("MAXPERIP", 400)
    }

    /// The messages it has taken: a control file `C...` each, which has its name before the final 250 is sent.
    pub fn taken(&self) -> u64 {
        let folders = fs::read_dir(self.folder.path().join("lib/tmp")).unwrap();
        folders.map(|folder| listener::files(&folder.unwrap().path(), "C")).sum()
    }
}
