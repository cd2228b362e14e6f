//! Listeners in their own root folder: one that `install.sh` makes of Debian's packages, or one that is made for a
//! single program whose paths are compiled in.
//!
//! Those of `install.sh` run in their own namespaces. With a namespace all its mounts and processes end, even processes
//! that have left the process group.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::listener;

/// Makes the files that a program needs: its libraries, the devices that it opens, users and host names.
const MAKE: &str = r#"
set -eu
root=$1 program=$2
cd "$root"
mkdir -p etc dev tmp usr/sbin
chmod 1777 tmp
cp "$program" usr/sbin/
for library in $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p ".${library%/*}"
    cp -L "$library" ".$library"
done
cp /etc/passwd /etc/group etc/
[ ! -e /etc/services ] || cp /etc/services etc/
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/urandom c 1 9
"#;

/// The first process of the namespace. It ignores a signal to its group but passes it to all processes, so that the
/// listener can end in its own way. It ends with the listener, and then all remaining processes end.
const FIRST: &str = r#"
set -eu
root=$1 own=$2
shift 2
mount -t proc proc "$root/proc"
mount --bind "$own" "$root/own"
trap 'kill -s TERM -- -1' TERM
chroot "$root" "$@" &
while kill -0 $! 2>/dev/null; do wait $! || true; done
"#;

/// The root folder of the listener of this name; `None` if it is not installed, or if namespaces are not allowed.
pub fn root(name: &str) -> Option<PathBuf> {
    let Some(own) = listener::program(&[&format!("target/real-listeners/{name}/own")]) else {
        return listener::missing(&format!("{name} is not installed"));
    };
    let can = |flag| {
        let mut unshare = Command::new("unshare");
        unshare.args([flag, "--fork", "true"]).stderr(Stdio::null());
        unshare.status().is_ok_and(|status| status.success())
    };
    if !listener::is_root() || !can("--mount") || !can("--pid") {
        return listener::missing(&format!("{name} starts as root only, who may make namespaces"));
    }
    Some(own.parent().expect("it is in the root folder").to_owned())
}

/// Returns a command in this root folder, which sees `own` as `/own`.
pub fn command(root: &Path, own: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", FIRST, "sh"])
        .args([root, own])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C");
    command
}

/// Runs a command in the root folder, which must succeed.
pub fn run(root: &Path, own: &Path, words: &[&str]) {
    let output = command(root, own).args(words).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{words:?}: {}: {said}", output.status);
}

/// Makes a root folder for a program, which is in `/usr/sbin` there. `script` makes the rest, with the folder as its
/// argument.
pub fn make(root: &Path, program: &Path, script: &str) {
    for script in [MAKE, script] {
        let made = Command::new("sh").args(["-c", script, "sh"]).args([root, program]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}
