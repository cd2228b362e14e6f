//! The shape of the source: who may import whom, and what every file owes its reader.
//!
//! The rows are those of the architecture's table of arrows. A row that must change is a decision, not a repair.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Reference, Source};

/// What each module may import beside itself. `a::b` allows only what stands under `b`; `*` allows all.
const ARROWS: &[(&str, &[&str])] = &[
    ("smtp", &[]),
    ("load", &[]),
    ("condition", &["smtp"]),
    ("mail", &["smtp"]),
    ("net", &["smtp"]),
    ("collector", &["smtp", "condition"]),
    ("plan", &["smtp", "load", "mail", "net::address", "condition", "collector"]),
    ("generator", &["plan", "smtp", "load", "mail", "net", "condition", "collector"]),
    ("verdict", &["condition", "collector"]),
    (
        "experiment",
        &[
            "plan",
            "smtp",
            "load",
            "mail",
            "net::address",
            RUNNER,
            RUNNER_MODULE,
            PROBE,
            "condition",
            "collector",
            "verdict",
        ],
    ),
    ("listener", &["smtp", "net", "condition", "collector"]),
    (
        "profile",
        &[
            "plan",
            "smtp",
            "load",
            "mail",
            "net::address",
            "condition",
            "collector",
            "verdict",
            "experiment",
            "listener::limits",
        ],
    ),
    ("report", &["plan", "condition", "collector", "verdict", "experiment"]),
    ("telemetry", &["plan", "condition", "collector", "report"]),
    ("fleet", &["plan", RUNNER, RUNNER_MODULE, "condition", "collector"]),
    ("cli", &["*"]),
    ("main", &["cli"]),
];

/// All that an experiment or a fleet may know of the generator.
const RUNNER: &str = "generator::Runner";
/// The same by its module, with the trait's error.
const RUNNER_MODULE: &str = "generator::runner";

/// Sessions that are driven step by step, for searches in which each question depends on the last answer.
const PROBE: &str = "generator::probe";

/// A file holds fewer lines of code than this.
const LINES_OF_CODE: usize = 500;

#[test]
fn modules_import_only_what_their_row_names() {
    let sources = sources();
    let tests: BTreeSet<PathBuf> = sources.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    let faults: Vec<String> = sources
        .iter()
        .filter(|(path, _)| !tests.contains(path))
        .flat_map(|(path, text)| forbidden_arrows(path, text))
        .collect();
    assert!(faults.is_empty(), "arrows that the table does not have:\n{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_answers_for_and_is_short() {
    let sources = sources();
    assert!(sources.len() > 10, "the sources were not found");
    let faults: Vec<String> = sources.iter().flat_map(|(path, text)| form_faults(path, text)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_has_a_row() {
    let faults: Vec<String> = sources()
        .iter()
        .map(|(path, _)| row_name(path))
        .filter(|name| name != "lib" && row(name).is_none())
        .collect();
    assert!(faults.is_empty(), "modules without a row in the table of arrows: {}", faults.join(", "));
}

#[test]
fn no_row_breaks_what_must_never_be() {
    for (from, to) in [("collector", "verdict"), ("generator", "profile"), ("report", "generator")] {
        assert!(!allows(from, &[to.to_owned(), "Any".to_owned()]), "{from} must never import {to}");
    }
    for (from, _) in ARROWS.iter().filter(|(from, _)| !["cli", "main"].contains(from)) {
        assert!(!allows(from, &["cli".to_owned(), "Any".to_owned()]), "{from} must never import cli");
    }
}

/// Every file under `src`, its path from there, in order.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The module of a file: `net/dial.rs` is `["net", "dial"]`, the crate's root is empty.
fn module_of(path: &Path) -> Vec<String> {
    let mut module: Vec<String> = path
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] || module == ["main"] {
        module.pop();
    }
    module
}

/// The first part of the path: the name of the file's row.
fn row_name(path: &Path) -> String {
    let first = path.components().next().expect("a file has a name");
    Path::new(first.as_os_str()).with_extension("").to_string_lossy().into_owned()
}

fn row(name: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

fn allows(from: &str, to: &[String]) -> bool {
    let path = to.join("::");
    row(from).unwrap_or_default().iter().any(|allowed| {
        *allowed == "*"
            || path == *allowed
            || path.strip_prefix(allowed).is_some_and(|rest| rest.starts_with("::"))
    })
}

/// The files that `#[cfg(test)] mod name;` of this file may mean.
fn test_files(path: &Path, text: &str) -> Vec<PathBuf> {
    let module = module_of(path);
    let folder: PathBuf = module.iter().collect();
    let named = Source::read(&module, text).test_modules;
    named
        .iter()
        .flat_map(|name| [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")])
        .collect()
}

fn forbidden_arrows(path: &Path, text: &str) -> Vec<String> {
    let from = row_name(path);
    if from == "lib" {
        return Vec::new(); // the map names every module
    }
    let source = Source::read(&module_of(path), text);
    let is_fault =
        |reference: &&Reference| reference.path.first() != Some(&from) && !allows(&from, &reference.path);
    let tell = |reference: &Reference| {
        let to = if reference.path.is_empty() { "crate".to_owned() } else { reference.path.join("::") };
        format!("src/{}:{}: {from} -> {to}", path.display(), reference.line)
    };
    source.references.iter().filter(is_fault).map(tell).collect()
}

fn form_faults(path: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("src/{}: does not begin with `//!`", path.display()));
    }
    let lines = Source::read(&module_of(path), text).lines_of_code;
    if lines >= LINES_OF_CODE {
        faults.push(format!("src/{}: {lines} lines of code, {LINES_OF_CODE} or more", path.display()));
    }
    faults
}

/// The checks can fail: made-up files with one fault each, and with what only looks like one.
mod checked {
    use super::*;

    #[track_caller]
    fn assert_faults(path: &str, text: &str, expected: &[&str]) {
        let told = forbidden_arrows(Path::new(path), text);
        let arrows: Vec<&str> = told.iter().map(|fault| fault.split_once(": ").unwrap().1).collect();
        assert_eq!(arrows, expected, "{path}: {text}");
    }

    #[test]
    fn a_plain_import_is_seen() {
        assert_faults("collector/tally.rs", "use crate::verdict::Expr;", &["collector -> verdict::Expr"]);
        assert_faults("generator/worker.rs", "use crate::profile;", &["generator -> profile"]);
        assert_faults(
            "report/json.rs",
            "pub use crate::generator::clock::Clock;",
            &["report -> generator::clock::Clock"],
        );
        assert_faults("plan.rs", "use crate::cli::Flags;", &["plan -> cli::Flags"]);
        assert_faults("smtp/mod.rs", "use crate::net::Target;", &["smtp -> net::Target"]);
    }

    #[test]
    fn a_group_is_seen_to_its_leaves() {
        let text = "use crate::{\n  smtp::{self, Reply as Answer, Step},\n  verdict::{grammar::{Expr, Word}, *},\n  plan,\n};\n";
        let expected = [
            "collector -> verdict::grammar::Expr",
            "collector -> verdict::grammar::Word",
            "collector -> verdict::*",
            "collector -> plan",
        ];
        assert_faults("collector/tally.rs", text, &expected);
        let told = forbidden_arrows(Path::new("collector/tally.rs"), text);
        assert!(told[0].starts_with("src/collector/tally.rs:3: "), "{told:?}");
        assert!(told[3].starts_with("src/collector/tally.rs:4: "), "{told:?}");
    }

    #[test]
    fn a_path_in_code_is_seen() {
        let expected = ["load -> smtp::Step"];
        assert_faults(
            "load/curve.rs",
            "fn f() { let step = crate::smtp::Step::Mail; }",
            &["load -> smtp::Step::Mail"],
        );
        assert_faults("load/curve.rs", "impl From<crate::smtp::Step> for Curve {}", &expected);
        assert_faults("load/curve.rs", "fn f<'a>(x: &'a crate::smtp::Step) {}", &expected);
        assert_faults(
            "load/curve.rs",
            "fn f() -> char { '\"' } type S = crate::smtp::Step; const C: char = '\\'';",
            &expected,
        );
        assert_faults("load/curve.rs", "macro_rules! m { () => { $crate::smtp::Step } }", &expected);
        assert_faults("load/curve.rs", "use crate::r#smtp::Step;", &expected);
    }

    #[test]
    fn super_is_followed_upwards() {
        assert_faults("smtp/reply.rs", "use super::Step;", &[]);
        assert_faults("smtp/reply.rs", "use super::super::net::Target;", &["smtp -> net::Target"]);
        assert_faults("smtp/mod.rs", "use super::net::Target;", &["smtp -> net::Target"]);
        assert_faults("plan.rs", "use super::verdict;", &["plan -> verdict"]);
        assert_faults(
            "report/html/page.rs",
            "use super::super::super::{cli::Flags, plan::Plan};",
            &["report -> cli::Flags"],
        );
        // An inline module is one level more.
        assert_faults("smtp/mod.rs", "mod wire { use super::Step; } use super::net;", &["smtp -> net"]);
        assert_faults("smtp/mod.rs", "mod wire { use super::super::net; }", &["smtp -> net"]);
        assert_faults("smtp/mod.rs", "fn f() { self::g(); super::mail::h(); }", &["smtp -> mail::h"]);
    }

    #[test]
    fn the_root_is_no_way_around() {
        assert_faults("smtp/mod.rs", "use crate as root;", &["smtp -> crate"]);
        assert_faults("smtp/mod.rs", "use crate::*;", &["smtp -> *"]);
        assert_faults("smtp/mod.rs", "use super::{self as root};", &["smtp -> crate"]);
        assert_faults("smtp/mod.rs", "use crate::Plan;", &["smtp -> Plan"]);
        assert_faults("main.rs", "fn main() { smtpress::generator::run() }", &["main -> generator::run"]);
        assert_faults("main.rs", "fn main() { smtpress::cli::main() }", &[]);
    }

    #[test]
    fn a_part_of_a_module_is_no_more_than_that() {
        assert_faults("plan.rs", "use crate::net::address::Target;", &[]);
        assert_faults("plan.rs", "use crate::net::{dial, address};", &["plan -> net::dial"]);
        assert_faults("profile/compile.rs", "use crate::listener::limits::Limits;", &[]);
        assert_faults(
            "profile/compile.rs",
            "use crate::listener::limits_of;",
            &["profile -> listener::limits_of"],
        );
        assert_faults("experiment/trial.rs", "use crate::generator::Runner;", &[]);
        assert_faults(
            "experiment/trial.rs",
            "use crate::generator::local::Local;",
            &["experiment -> generator::local::Local"],
        );
    }

    #[test]
    fn what_is_no_path_is_not_seen() {
        let text = r####"
            //! See crate::verdict.
            /* crate::cli /* nested */ crate::cli */
            const A: &str = "crate::cli::x \" crate::cli";
            const B: &str = r##"crate::cli "# "##;
            const C: &[u8] = b"crate::cli"; const D: u8 = b'"'; const E: char = '"';
            pub(crate) fn f() {} pub(super) struct S; pub(in crate::smtp) struct T;
            fn g(&self) { self.h() }
        "####;
        assert_faults("smtp/mod.rs", text, &[]);
    }

    #[test]
    fn tests_may_import_what_they_like_and_only_tests() {
        let tests = "#[cfg(test)]\nmod tests { use crate::cli::x; fn f() { g(); } }\n";
        assert_faults("smtp/mod.rs", tests, &[]);
        assert_faults("smtp/mod.rs", &format!("{tests} use crate::load;"), &["smtp -> load"]);
        assert_faults("smtp/mod.rs", "#[cfg(test)] use crate::cli; use crate::load;", &["smtp -> load"]);
        assert_faults("smtp/mod.rs", "#[cfg(not(test))] use crate::load;", &["smtp -> load"]);
        let files = test_files(Path::new("smtp/mod.rs"), "#[cfg(test)]\nmod dialogues;\nmod reply;");
        assert_eq!(files, [PathBuf::from("smtp/dialogues.rs"), PathBuf::from("smtp/dialogues/mod.rs")]);
        assert_eq!(
            test_files(Path::new("plan.rs"), "#[cfg(test)] mod tests;")[0],
            PathBuf::from("plan/tests.rs")
        );
    }

    #[test]
    fn a_long_file_and_a_silent_one_are_seen() {
        let path = Path::new("plan.rs");
        let long = format!("//! Long.\n{}", "fn f() {} // code\n".repeat(500));
        assert_eq!(form_faults(path, &long), ["src/plan.rs: 500 lines of code, 500 or more"]);
        let mostly_words = format!("//! Words.\n{}", "fn f() {}\n\n// words\n/* words\n */\n".repeat(499));
        assert_eq!(form_faults(path, &mostly_words), [""; 0]);
        let string = format!("//! A string.\nconst S: &str = \"{}\";\n", "line\n".repeat(500));
        assert_eq!(form_faults(path, &string).len(), 1);
        assert_eq!(form_faults(path, "// Silent.\n"), ["src/plan.rs: does not begin with `//!`"]);
    }
}
