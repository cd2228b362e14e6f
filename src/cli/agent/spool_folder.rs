//! The folder in which `smtpress agent` keeps reports until the NATS server has them.
//!
//! # Decisions
//! - The agent sends the reports that it finds in the folder. So only this user may write to it: a folder of another user,
//!   or one that other users may write to, is refused.
//! - The default is below the user's folder for state (XDG Base Directory Specification). Any user could take a fixed name
//!   in the folder for temporary files.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

use crate::command::CommandError;

/// The refusal that the owner of the folder can end by changing its mode.
const OTHERS_WRITE: &str = "can be written to by other users";

/// Returns the folder of this user.
pub fn default() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // The home of a service may not exist.
    let home = variable("HOME").filter(|home| access(home, AccessFlags::W_OK).is_ok());
    of_user(variable("XDG_STATE_HOME"), home, &std::env::temp_dir(), geteuid().as_raw())
}

/// Returns the folder of this user, below the first of these folders that the user has.
fn of_user(state: Option<PathBuf>, home: Option<PathBuf>, temporary: &Path, user: u32) -> PathBuf {
    match state.or_else(|| Some(home?.join(".local/state"))) {
        Some(state) => state.join("smtpress/spool"),
        None => temporary.join(format!("smtpress-spool-{user}")),
    }
}

/// Makes the folder for this user alone, unless it exists.
///
/// # Errors
/// The folder belongs to another user, or other users may write to it.
pub fn make(folder: &Path) -> Result<(), CommandError> {
    // If the folder cannot be made, each shard prints a warning.
    DirBuilder::new().recursive(true).mode(0o700).create(folder).ok();
    match refusal(folder, geteuid().as_raw()) {
        Some(why) => {
            let remedy = if why == OTHERS_WRITE { ", or `chmod go-w` it" } else { "" };
            Err(CommandError::usage(format!(
                "the folder for reports {} {why}, who could forge reports: name a folder of this user's own with \
                 --spool{remedy}",
                folder.display()
            )))
        }
        None => Ok(()),
    }
}

/// Returns why a folder is not used by this user; `None`: it can be used, or does not exist.
fn refusal(folder: &Path, user: u32) -> Option<&'static str> {
    let (link, target) = (fs::symlink_metadata(folder).ok()?, fs::metadata(folder).ok()?);
    // systemd gives a link of root to the folder of a service.
    if target.uid() != user || ![user, 0].contains(&link.uid()) {
        return Some("belongs to another user");
    }
    (target.mode() & 0o022 != 0).then_some(OTHERS_WRITE)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn each_user_has_a_folder_of_its_own() {
        let of = |state: Option<&str>, home: Option<&str>| {
            of_user(state.map(PathBuf::from), home.map(PathBuf::from), Path::new("/tmp"), 1007)
        };
        assert_eq!(of(Some("/state"), Some("/home/u")), Path::new("/state/smtpress/spool"));
        assert_eq!(of(None, Some("/home/u")), Path::new("/home/u/.local/state/smtpress/spool"));
        assert_eq!(of(None, None), Path::new("/tmp/smtpress-spool-1007"));
    }

    #[test]
    fn a_folder_that_others_own_or_may_write_to_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (folder, user) = (root.path().join("deep/spool"), geteuid().as_raw());
        assert_eq!(refusal(&folder, user), None, "it is not there yet");
        make(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(folder.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        make(&folder).unwrap();
        let link = root.path().join("link");
        symlink(&folder, &link).unwrap();
        assert_eq!(refusal(&link, user), None);
        assert_eq!(refusal(&folder, user + 1), Some("belongs to another user"));
        for (mode, is_refused) in [(0o755, false), (0o770, true), (0o1777, true), (0o702, true)] {
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            assert_eq!(refusal(&folder, user).is_some(), is_refused, "{mode:o}");
            let made = make(&folder);
            assert_eq!(made.is_err(), is_refused, "{mode:o}");
            if let Err(CommandError::Failed(_, sentence)) = made {
                assert!(sentence.ends_with("--spool, or `chmod go-w` it"), "{sentence}");
            }
        }
    }
}
