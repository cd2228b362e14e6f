//! Tests that a plain `cargo test` ignores: each one is run by `.ci/run`, or by another test that its reason names.

use std::fs;
use std::path::{Path, PathBuf};

/// An ignored test: its target, its path in the target, and the reason.
struct Ignored {
    target: String,
    path: String,
    reason: String,
}

/// The ignored tests of a file; `path` is relative to the crate's root.
fn ignored(path: &Path, text: &str) -> Vec<Ignored> {
    let parts: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let (target, module) = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tests", target, ..] => (format!("--test {target}"), &parts[2..]),
        _ => ("--lib".to_owned(), &parts[1..]),
    };
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("#[ignore") else { continue };
        let function = lines.find_map(|line| line.strip_prefix("fn ")?.split('(').next()).unwrap();
        found.push(Ignored {
            target: target.clone(),
            path: [module, &[function.to_owned()]].concat().join("::"),
            reason: rest.to_owned(),
        });
    }
    found
}

/// Whether this line of a script runs the ignored test.
fn runs(line: &str, test: &Ignored) -> bool {
    let Some((cargo, harness)) = line.split_once(" -- ") else { return false };
    // `tests` is the script's function that passes its arguments to `cargo test`.
    let Some((_, arguments)) = cargo.split_once("cargo test ").or(cargo.split_once("{ tests ")) else {
        return false;
    };
    let harness: Vec<&str> = harness.trim_end_matches([';', ' ', '}']).split(' ').collect();
    if !harness.contains(&"--ignored") || !cargo.contains(&test.target) {
        return false;
    }
    let skipped = harness.windows(2).filter(|words| words[0] == "--skip").map(|words| words[1]);
    let skipped: Vec<&str> = skipped.collect();
    if skipped.iter().any(|word| test.path.contains(word)) {
        return false;
    }
    let is_filter =
        |word: &&str| !word.starts_with('-') && word.parse::<u32>().is_err() && !skipped.contains(word);
    let mut filters: Vec<&str> = harness.into_iter().filter(is_filter).collect();
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let is_value = |at: usize| at > 0 && ["--test", "--features"].contains(&words[at - 1]);
    filters.extend(
        words.iter().enumerate().filter(|(at, word)| is_filter(word) && !is_value(*at)).map(|(_, word)| word),
    );
    filters.is_empty() || filters.iter().any(|filter| test.path.contains(filter))
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut found) = (vec![root.join("src"), root.join("tests")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found
}

#[test]
fn each_ignored_test_is_run_somewhere() {
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run")).unwrap();
    let sources = sources();
    let tests: Vec<Ignored> = sources.iter().flat_map(|(path, text)| ignored(path, text)).collect();
    assert!(tests.len() > 10, "the ignored tests were not found");
    for test in tests {
        let by_another = test.reason.split_once("run by ").is_some_and(|(_, name)| {
            let name = name.trim_end_matches(['"', ']']);
            sources.iter().any(|(_, text)| text.contains(&format!("fn {name}()")))
        });
        let by_script = script.lines().any(|line| runs(line, &test));
        assert!(by_another || by_script, "nothing runs {} {}: {}", test.target, test.path, test.reason);
    }
}

#[test]
fn a_test_that_nothing_runs_is_seen() {
    let text = "#[test]\n#[ignore = \"takes minutes\"]\nfn slow() {}\n#[test]\nfn quick() {}\n";
    let found = ignored(Path::new("tests/real/capacity.rs"), text);
    let [slow] = &found[..] else { panic!("one test is ignored") };
    assert_eq!((slow.target.as_str(), slow.path.as_str()), ("--test real", "capacity::slow"));
    for (line, expected) in [
        ("all() { cargo test --test real -- --ignored --test-threads 4; }", true),
        ("some() { cargo test --test real limits -- --ignored; }", false),
        ("some() { cargo test --test real capacity -- --ignored; }", true),
        ("some() { cargo test --lib --test real -- --ignored slow; }", true),
        ("some() { cargo test --lib --test real -- --ignored at_full_length; }", false),
        ("other() { cargo test --test it -- --ignored; }", false),
        ("all() { cargo test --test real -- --ignored --test-threads 4 --skip limits; }", true),
        ("all() { cargo test --test real -- --ignored --skip capacity; }", false),
        ("all() { tests --test real -- --ignored; }", true),
        ("other() { cargo check --test real -- --ignored; }", false),
        ("plain() { cargo test --test real -- --test-threads 4; }", false),
    ] {
        assert_eq!(runs(line, slow), expected, "{line}");
    }
}
