//! What a quick build leaves without optimization: nothing that a load calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The settings of each package that this profile of `Cargo.toml` names.
fn packages(profile: &str) -> BTreeMap<String, toml::Table> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    let packages = manifest["profile"][profile]["package"].as_table().unwrap();
    packages.iter().map(|(name, set)| (name.clone(), set.as_table().unwrap().clone())).collect()
}

/// The level of optimization of each of them.
fn levels(profile: &str) -> BTreeMap<String, toml::Value> {
    packages(profile).into_iter().map(|(name, set)| (name, set["opt-level"].clone())).collect()
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
    assert!(left_out.values().all(|level| level.as_integer() == Some(0)), "{left_out:?}");
    // Of aws-lc-sys this is the code in C, of which a handshake uses some; ciphers are in assembler.
    let wrong: Vec<&String> =
        left_out.keys().filter(|name| *name != "aws-lc-sys" && engine.contains(*name)).collect();
    assert!(wrong.is_empty(), "dependencies of `engine` without optimization: {wrong:?}");
}

#[test]
fn measurements_optimize_everything() {
    let all: BTreeMap<String, toml::Value> =
        levels("release").into_keys().map(|name| (name, 3.into())).collect();
    assert_eq!(levels("bench"), all);
}

#[test]
fn packages_are_stripped_and_optimized_for_size_only_where_no_load_spends_time() {
    let (dist, release) = (packages("dist"), packages("release"));
    let strip = |set: &toml::Table| set.get("strip").cloned();
    assert_eq!(strip(&dist["smtpress"]), Some("symbols".into()), "Cargo strips no package with settings");
    let missing: Vec<&String> = release.keys().filter(|name| !dist.contains_key(*name)).collect();
    assert!(missing.is_empty(), "`dist` inherits no optimization for {missing:?}");
    let levels = levels("dist");
    let fast = |name: &str| levels.get(name).is_none_or(|level| level.as_integer() == Some(3));
    for name in [
        "aho-corasick",
        "aws-lc-rs",
        "aws-lc-sys",
        "bytes",
        "futures-util",
        "hdrhistogram",
        "hashbrown",
        "memchr",
        "mio",
        "rand_chacha",
        "regex-automata",
        "rustls",
        "smtpress-engine",
        "tokio",
        "tokio-rustls",
    ] {
        assert!(fast(name), "a load spends time in {name}");
    }
    let for_size = |level: &toml::Value| level.as_integer() == Some(3) || level.as_str() == Some("z");
    assert!(levels.values().all(for_size), "{levels:?}");
}
