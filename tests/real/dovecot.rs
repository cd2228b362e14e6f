//! A private Dovecot: LMTP over TCP and a unix socket, submission, and AUTH for other listeners, in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::listener::{self, Processes};
use crate::smtpress::{PASSWORD, USER};

pub const PROGRAM: &str = "/usr/sbin/dovecot";

/// Users `user0` to `user4` have a mailbox, and so has `full`, with a very small quota. A wrong login is always refused
/// at once (the penalty for an address is off). ROOT, the ports and the other names in capitals are filled in.
const SETTINGS: &str = "\
base_dir = ROOT/run
state_dir = ROOT/state
log_path = ROOT/log
protocols = lmtp submission
listen = 127.0.0.1
hostname = dovecot.test
ssl = yes
ssl_cert = <CHAIN
ssl_key = <KEY
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-256
auth_failure_delay = 0
auth_username_format = %Ln
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_plugins = quota
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1G
}
passdb {
  driver = passwd-file
  args = username_format=%n ROOT/users
}
userdb {
  driver = passwd-file
  args = username_format=%n ROOT/users
  override_fields = uid=65534 gid=65534 home=ROOT/mail/%n
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
service lmtp {
  client_limit = 1
  process_limit = 50
  unix_listener lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    port = LMTP_PORT
  }
}
service auth {
  unix_listener ROOT/auth {
    mode = 0666
  }
}
service submission-login {
  inet_listener submission {
    port = SUBMISSION_PORT
  }
  inet_listener submissions {
    port = SUBMISSIONS_PORT
    ssl = yes
  }
}
submission_relay_host = 127.0.0.1
submission_relay_port = RELAY_PORT
";

/// A running Dovecot.
pub struct Dovecot {
    /// The port with LMTP.
    pub lmtp: u16,
    /// The port of submission in clear text, with STARTTLS.
    pub submission: u16,
    /// The port of submission with implicit TLS.
    pub submissions: u16,
    pub certificate: Certificate,
    pub processes: Processes,
    folder: TempDir,
}

impl Dovecot {
    /// Starts one that passes submitted messages to `relay`; `None` if it is not installed.
    pub fn start(relay: u16) -> Option<Dovecot> {
        let Some(program) = listener::program(&[PROGRAM]) else {
            return listener::missing("Dovecot is not installed");
        };
        if !listener::is_root() {
            return listener::missing("Dovecot starts as root only");
        }
        let folder = listener::folder();
        let root = folder.path();
        let [lmtp, submission, submissions] = [(); 3].map(|()| listener::free_port());
        let certificate = Certificate::make(root, "root");
        for folder in ["run", "state"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        listener::folder_of("65534:65534", root, "mail");
        let settings = [
            ("ROOT", root.display().to_string()),
            ("CHAIN", certificate.chain.display().to_string()),
            ("KEY", certificate.key.display().to_string()),
            ("LMTP_PORT", lmtp.to_string()),
            ("SUBMISSIONS_PORT", submissions.to_string()),
            ("SUBMISSION_PORT", submission.to_string()),
            ("RELAY_PORT", relay.to_string()),
        ]
        .into_iter()
        .fold(SETTINGS.to_owned(), |text, (name, value)| text.replace(name, &value));
        fs::write(root.join("dovecot.conf"), settings).unwrap();
        fs::write(root.join("users"), users()).unwrap();
        let output = root.join("output");
        let mut command = Command::new(program);
        command.arg("-F").arg("-c").arg(root.join("dovecot.conf")); // in the foreground
        let mut processes = Processes::start(&mut command, &output);
        processes.await_greeting(lmtp, &output);
        Some(Dovecot { lmtp, submission, submissions, certificate, processes, folder })
    }

    /// The unix socket with LMTP.
    pub fn lmtp_socket(&self) -> PathBuf {
        self.folder.path().join("run/lmtp")
    }

    /// The socket that other listeners ask about users.
    pub fn auth(&self) -> PathBuf {
        self.folder.path().join("auth")
    }

    /// The number of messages in this user's mailbox. Each is a file, written before the reply.
    pub fn delivered(&self, user: &str) -> usize {
        let new = self.folder.path().join("mail").join(user).join("Maildir/new");
        fs::read_dir(new).map_or(0, Iterator::count)
    }

    /// The number of messages in all mailboxes.
    pub fn delivered_to_all(&self) -> usize {
        let mailboxes = fs::read_dir(self.folder.path().join("mail")).unwrap();
        mailboxes.map(|mailbox| self.delivered(mailbox.unwrap().file_name().to_str().unwrap())).sum()
    }

    /// Its whole log.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.join("log")).unwrap_or_default()
}

/// NAME:PASSWORD:UID:GID:GECOS:HOME:SHELL:EXTRA
fn users() -> String {
    let mut users = format!("{USER}:{{PLAIN}}{PASSWORD}::::::\n");
    for n in 0..5 {
        users.push_str(&format!("user{n}:{{PLAIN}}{PASSWORD}::::::\n"));
    }
    users.push_str(&format!("full:{{PLAIN}}{PASSWORD}::::::userdb_quota_rule=*:bytes=100\n"));
    users
}
