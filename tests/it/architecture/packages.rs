//! What a quick build leaves without optimization: nothing that a load calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The level of optimization of each package that this profile of `Cargo.toml` names.
fn levels(profile: &str) -> BTreeMap<String, i64> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    let packages = manifest["profile"][profile]["package"].as_table().unwrap();
    packages.iter().map(|(name, set)| (name.clone(), set["opt-level"].as_integer().unwrap())).collect()
}

/// The packages that `engine` is made of.
fn engine() -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args("tree --offline --locked --package smtpress-engine --edges normal --prefix none".split(' '));
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap();
    listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn a_quick_build_optimizes_all_that_a_load_calls() {
    let (left_out, engine) = (levels("release"), engine());
    assert!(engine.contains("smtpress-engine") && engine.contains("tokio"), "{engine:?}");
    assert!(left_out.values().all(|level| *level == 0), "{left_out:?}");
    // Of aws-lc-sys this is the code in C, of which a handshake uses some; ciphers are in assembler.
    let wrong: Vec<&String> =
        left_out.keys().filter(|name| *name != "aws-lc-sys" && engine.contains(*name)).collect();
    assert!(wrong.is_empty(), "dependencies of `engine` without optimization: {wrong:?}");
}

#[test]
fn packages_and_measurements_optimize_everything() {
    let all: BTreeMap<String, i64> = levels("release").into_keys().map(|name| (name, 3)).collect();
    assert_eq!(levels("dist"), all);
    assert_eq!(levels("bench"), all);
}
