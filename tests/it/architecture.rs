//! The shape of the source: which module may import which, which words and names are forbidden, and what
//! every file states.
//!
//! The table of imports is that of the architecture. To change a row is a decision about the design, and not a way to
//! repair this test.

mod circles;
mod names;
mod packages;
mod source;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::{Reference, Source};

/// What each module may import from other modules. `a::b` allows only what is below `b`; `*` allows all.
const ARROWS: &[(&str, &[&str])] = &[
    ("smtp", &[]),
    ("load", &[]),
    ("condition", &["smtp"]),
    ("mail", &["smtp"]),
    ("net", &["smtp"]),
    ("event", &[]),
    ("collector", &["smtp", "condition", "event"]),
    ("plan", &["smtp", "load", "mail", "net::address", "condition", "collector", "event"]),
    ("generator", &["plan", "smtp", "load", "mail", "net", "condition", "collector"]),
    ("verdict", &["condition", "collector", "event"]),
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
            "event",
            "verdict",
        ],
    ),
    ("listener", &["smtp", "net", "condition", "collector"]),
    ("delivery", &["listener", "mail", "smtp", "net::address", "condition", "collector", "plan"]),
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
            "event",
            "verdict",
            "experiment",
            "listener::limits",
            "delivery::settings",
        ],
    ),
    ("report", &["plan", "condition", "collector", "event", "verdict", "experiment"]),
    ("telemetry", &["plan", "condition", "collector", "event", "report"]),
    ("fleet", &["plan", RUNNER, RUNNER_MODULE, PROBE, "generator::clock", "condition", "collector"]),
    (
        "command",
        &[
            "plan",
            "smtp",
            "load",
            "net",
            "generator",
            "condition",
            "collector",
            "event",
            "listener",
            "delivery",
            "experiment",
            "verdict",
            "profile",
            "report",
            "telemetry",
            "fleet",
        ],
    ),
    ("cli", &["*"]),
    ("main", &["cli"]),
];

/// The only item of the generator that an experiment or a fleet may import.
const RUNNER: &str = "generator::Runner";
/// The module of that item, which also has the trait's error.
const RUNNER_MODULE: &str = "generator::runner";

/// Sessions that are driven step by step, for searches in which each question depends on the last answer.
const PROBE: &str = "generator::probe";

/// A file has fewer lines of code than this.
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
        .filter(|name| !is_root(name) && row(name).is_none())
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

#[test]
fn no_word_of_the_list_comes_back() {
    let mut faults = Vec::new();
    for (path, text) in texts() {
        let found = words::phrases(&text).into_iter();
        faults.extend(found.map(|(line, phrase, instead)| {
            format!("{}:{line}: \"{phrase}\": say: {instead}", path.display())
        }));
    }
    for (command, help) in help_texts() {
        let found = words::phrases(&help).into_iter();
        faults.extend(found.map(|(line, phrase, instead)| {
            format!("`{command}`, line {line}: \"{phrase}\": say: {instead}")
        }));
    }
    assert!(faults.is_empty(), "{}", by_folder(&faults));
}

#[test]
fn no_two_types_have_one_name_and_each_name_says_something() {
    let sources = product_sources();
    let mut faults: Vec<String> = names::riddles(&sources);
    faults.extend(names::doubles(&sources).into_iter().flat_map(|(name, places)| {
        let others = places.join(", ");
        let fault = move |place: &String| format!("{place}: `{name}` is one of {others}");
        places.iter().map(fault).collect::<Vec<_>>()
    }));
    assert!(faults.is_empty(), "{}", by_folder(&faults));
}

#[test]
fn no_more_than_two_files_import_each_other_in_a_circle() {
    let found = circles::circles(&product_sources());
    assert!(found.is_empty(), "{}", found.iter().map(ToString::to_string).collect::<String>());
}

/// The faults, grouped by folder with the number of faults in each. Each fault begins with its path.
fn by_folder(faults: &[String]) -> String {
    let mut folders: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for fault in faults {
        let path = Path::new(fault.split(':').next().unwrap_or_default());
        let folder: PathBuf = path.components().take(2).collect();
        folders.entry(folder.display().to_string()).or_default().push(fault);
    }
    let list = |(folder, faults): (String, Vec<&str>)| {
        format!("{folder}: {} faults\n  {}\n", faults.len(), faults.join("\n  "))
    };
    folders.into_iter().map(list).collect()
}

/// Every file of `src` that is part of the program: its path relative to `src` and its text, sorted by path.
fn product_sources() -> Vec<(PathBuf, String)> {
    without_test_files(sources())
}

/// The sources without the files that only tests use.
fn without_test_files(mut sources: Vec<(PathBuf, String)>) -> Vec<(PathBuf, String)> {
    let tests: Vec<PathBuf> = sources
        .iter()
        .flat_map(|(path, text)| test_files(path, text))
        .map(|path| module_of(&path).iter().collect())
        .collect();
    sources.retain(|(path, _)| {
        let module: PathBuf = module_of(path).iter().collect();
        !tests.iter().any(|test| module.starts_with(test))
    });
    sources
}

/// Every file below `src`: its path relative to `src` and its text, sorted by path.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let relative = |(path, text): (PathBuf, String)| (path.strip_prefix(&root).unwrap().to_owned(), text);
    files(&root, &["rs"]).into_iter().map(relative).collect()
}

/// All files that people read. Exempt are recorded replies and their words, stored results, and the lists of forbidden
/// words and names.
fn texts() -> Vec<(PathBuf, String)> {
    const EXEMPT: &[&str] = &[
        "src/condition/lexicon.txt",
        "src/condition/weights.txt",
        "tests/data",
        "tests/it/architecture/names.rs",
        "tests/it/architecture/words.rs",
        "tests/it/reports/golden",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kinds = &["rs", "md", "html", "js", "css", "toml", "txt", "snap", "py", "sh"];
    let found =
        ["src", "docs", "tests", "benches", "profiles"].map(|folder| files(&root.join(folder), kinds));
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    let readme = root.join("README.md");
    found.push((readme.clone(), fs::read_to_string(readme).unwrap()));
    let mut found: Vec<_> =
        found.into_iter().map(|(path, text)| (path.strip_prefix(root).unwrap().to_owned(), text)).collect();
    found.retain(|(path, _)| !EXEMPT.iter().any(|exempt| path.starts_with(exempt)));
    found
}

/// The files below `folder` with one of these extensions, sorted by path.
fn files(folder: &Path, extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|its| extensions.iter().any(|extension| its == *extension))
            {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// The output of `--help`, of the program and of each command.
fn help_texts() -> Vec<(String, String)> {
    let help = |command: &str| {
        let mut smtpress = Command::new(env!("CARGO_BIN_EXE_smtpress"));
        let output = smtpress.args(command.split_whitespace()).arg("--help").output().unwrap();
        assert!(output.status.success(), "smtpress {command} --help");
        (format!("smtpress {command} --help"), String::from_utf8(output.stdout).unwrap())
    };
    let whole = help("");
    let listed = whole.1.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = listed.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let commands: Vec<&str> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(commands.contains(&"run") && commands.len() > 5, "commands: {commands:?}");
    let each: Vec<_> = commands.into_iter().map(help).collect();
    std::iter::once(whole).chain(each).collect()
}

/// The module of a file: `net/dial.rs` is `["net", "dial"]`, the crate's root is empty.
fn module_of(path: &Path) -> Vec<String> {
    let mut module: Vec<String> = path
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod")
        || module == ["main"]
        || module.len() == 1 && is_root(&module[0])
    {
        module.pop();
    }
    module
}

/// Whether a file of this name is the root of a crate: of the program, or of its measuring half.
fn is_root(name: &str) -> bool {
    ["lib", "engine"].contains(&name)
}

/// The name of the file's row in the table: the first part of its path.
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
    if is_root(&from) {
        return Vec::new(); // the maps name every module
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

/// Tests of the checks themselves: each made-up file has one fault, or something that only looks like a fault.
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
