//! Runs for pages: stored runs, changed runs and long runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A run directory with a warm-up, a steady load and a limit that is enforced.
pub const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/reports/golden/schema-1");

/// A folder with pages.
pub struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Stage {
        Stage { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy of the golden run whose result is changed.
    pub fn run(&self, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let to = self.path(name);
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(GOLDEN).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        let mut result = result(&to);
        change(&mut result);
        std::fs::write(to.join("result.json"), result.to_string()).unwrap();
        to
    }

    /// Runs the binary in the folder and returns its exit code and its stdout.
    pub fn smtpress(&self, arguments: &[&str]) -> (i32, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_smtpress"))
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap())
    }

    /// The page of a run, as a URL.
    pub fn page(&self, run: &Path) -> String {
        let page = self.path("page.html");
        let done = Command::new(env!("CARGO_BIN_EXE_smtpress"))
            .args(["report", "--format", "html", "-o"])
            .args([&page, run])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        format!("file://{}", page.display())
    }
}

/// The stored result of a run.
pub fn result(run: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(run.join("result.json")).unwrap()).unwrap()
}
