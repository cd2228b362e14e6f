//! Independent readers in Python, from the virtual environment that `.ci/run` makes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the Python that has the package. Without one a message is printed; with `SMTPRESS_REAL=required` the test
/// fails.
pub fn python_with(package: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci-tools/bin/python");
    let python = std::env::var_os("SMTPRESS_PYTHON").map_or(own, PathBuf::from);
    let import = format!("import {package}");
    let has = Command::new(&python).args(["-c", &import]).output().is_ok_and(|done| done.status.success());
    if has {
        return Some(python);
    }
    let missing = format!("no Python with the package {package} at {}", python.display());
    assert!(std::env::var("SMTPRESS_REAL").as_deref() != Ok("required"), "{missing}");
    // `eprintln!` is not used, because the test harness captures it.
    writeln!(std::io::stderr(), "skipped: {missing}").ok();
    None
}

/// Runs a program with arguments, which must succeed. Returns its output.
#[track_caller]
pub fn run(python: &Path, program: &str, arguments: &[&str]) -> String {
    let done = Command::new(python).args(["-c", program]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    said
}
