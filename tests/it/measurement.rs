//! Checks `docs/measurement.md`, the rules of measurement: each rule names tests that exist, and each test and each
//! number in the source that refers to a rule refers to one of the page.
//!
//! `smtpress selftest` proves some rules again on the user's machine. `tests/it/selftest.rs` shows that its checks can
//! fail, with a generator that counts from the wrong moment.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// A rule of the page: its number, and the tests that prove it, each as its file and its name.
#[derive(Debug)]
struct Rule {
    number: String,
    tests: Vec<(String, String)>,
}

/// The rules of a page, in its order: `### M1: ...`, followed by lists of "`file`: `test`, `test`".
fn rules(page: &str) -> Vec<Rule> {
    let mut rules = Vec::<Rule>::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("### M") {
            let number = heading.split(':').next().unwrap_or_default();
            rules.push(Rule { number: format!("M{number}"), tests: Vec::new() });
        } else if let (Some(list), Some(rule)) = (line.strip_prefix("- `"), rules.last_mut()) {
            let (file, tests) = list.split_once("`: ").unwrap_or_else(|| panic!("no tests: {line}"));
            let names = tests.split(", ").map(|name| name.trim_matches('`').to_owned());
            rule.tests.extend(names.map(|name| (file.to_owned(), name)));
        }
    }
    rules
}

fn page() -> Vec<Rule> {
    rules(&read("docs/measurement.md"))
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

/// The tests of a file: the names after `fn` that follow a `#[test]`.
fn tests_in(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
            found.insert(rest.split('(').next().unwrap());
            is_test = false;
        }
    }
    found
}

/// The Rust files of `src` and `tests` except this one.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders =
        ["src", "tests"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).to_vec();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests/it/measurement.rs")
            {
                found.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn every_rule_that_this_version_follows_is_held_by_tests_that_exist() {
    let rules = page();
    let named: Vec<&str> = rules.iter().map(|rule| rule.number.as_str()).collect();
    let mut expected: Vec<String> = (1..=30).map(|number| format!("M{number}")).collect();
    expected.extend(
        ["M5b", "M10b", "M10c", "M10d", "M10e", "M12b", "M29b", "M31", "M32", "M33", "M34"]
            .map(str::to_owned),
    );
    // By number, then by letter.
    expected.sort_by_key(|rule| (rule.trim_end_matches(char::is_alphabetic).len(), rule.clone()));
    assert_eq!(named, expected);
    assert!(rules.iter().all(|rule| !rule.tests.is_empty()), "{rules:#?}");
    let lacking = lacking(&rules);
    assert!(
        lacking.is_empty(),
        "docs/measurement.md names tests that are not there:\n{}",
        lacking.join("\n")
    );
}

/// The tests that a rule names, but that do not exist in the named file.
fn lacking(rules: &[Rule]) -> Vec<String> {
    let tests = rules.iter().flat_map(|rule| rule.tests.iter().map(move |test| (&rule.number, test)));
    tests
        .filter(|(_, (file, test))| !tests_in(&read(file)).contains(test.as_str()))
        .map(|(rule, (file, test))| format!("{rule}: {test} in {file}"))
        .collect()
}

#[test]
fn every_test_named_after_a_rule_stands_below_it() {
    let rules = page();
    let faults: Vec<String> =
        sources().iter().flat_map(|(_, text)| not_below_their_rule(&rules, text)).collect();
    assert!(faults.is_empty(), "tests that docs/measurement.md does not name:\n{}", faults.join("\n"));
}

/// The tests of a file whose name begins with the number of a rule, but that the rule does not name.
fn not_below_their_rule(rules: &[Rule], text: &str) -> Vec<String> {
    let is_named = |test: &str| {
        let number = test.strip_prefix('m').and_then(|rest| rest.split('_').next()?.parse::<u32>().ok());
        let rule = number.and_then(|number| rules.iter().find(|rule| rule.number == format!("M{number}")));
        rule.is_none_or(|rule| rule.tests.iter().any(|(_, name)| name == test))
    };
    tests_in(text).into_iter().filter(|test| !is_named(test)).map(str::to_owned).collect()
}

#[test]
fn every_number_of_a_rule_in_the_source_is_on_the_page() {
    let rules = page();
    let mut found = 0;
    for (path, text) in sources() {
        for number in numbers(&text) {
            let is_there = rules.iter().any(|rule| rule.number == number);
            assert!(is_there, "{}: docs/measurement.md has no {number}", path.display());
            found += 1;
        }
    }
    assert!(found > 30, "only {found} numbers were found");
}

/// The numbers of the rules to which a text refers.
fn numbers(text: &str) -> Vec<String> {
    let number = Regex::new(r"\bM[1-9][0-9]?[a-z]?\b").unwrap();
    number.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

#[test]
fn a_page_that_is_not_true_is_seen() {
    let page = "### M1: a\n\nText.\n\n- `tests/it/measurement.rs`: `a_page_that_is_not_true_is_seen`, `no_such`\n\
                - `no/file.rs`: `m1_x`\n\n### M2b: c\n";
    let rules = rules(page);
    assert_eq!(rules.iter().map(|rule| rule.number.as_str()).collect::<Vec<_>>(), ["M1", "M2b"]);
    assert_eq!(lacking(&rules), ["M1: no_such in tests/it/measurement.rs", "M1: m1_x in no/file.rs"]);
    let named = "#[test]\nfn m1_x() {}\n#[test]\nfn m1_unnamed() {}\n#[test]\nfn m3_no_rule() {}\n";
    assert_eq!(not_below_their_rule(&rules, named), ["m1_unnamed"]);
    assert_eq!(numbers("(M1 to M6, M9b), \"M2: p90\"; not M0, MM3 or M123"), ["M1", "M6", "M9b", "M2"]);
}
