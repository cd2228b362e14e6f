//! Names of types: no name is used for two types of the crate, and names that cannot be understood are forbidden.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::module_of;
use super::source::Source;

/// Names that cannot be understood without the doc comment of their module, and what to use instead.
const RIDDLES: &[(&str, &str)] = &[
    ("Books", "Counts"),
    ("Course", "Timeline"),
    ("Gates", "StartBarrier"),
    ("Hands", "Probes"),
    ("Heard", "what was heard: a RunEvent, a reply"),
    ("Judged", "what it is: a ClassifiedReply, a TrialVerdict"),
    ("Knock", "a reachability check"),
    ("Letterbox", "a slot of the pool"),
    ("Looks", "Repeats"),
    ("Met", "what it is: a ProbeOutcome, an objective's result"),
    ("Over", "WorkerReport"),
    ("Paper", "Transcript"),
    ("Pen", "a writer"),
    ("Scene", "a fixture, a testbed, a scenario"),
    ("Scribe", "a writer"),
    ("Site", "a fixture, a testbed, a scenario"),
    ("Tape", "Transcript"),
    ("Teller", "Exporter"),
    ("Told", "what it is: a WorkerEvent, a report"),
    ("Underway", "a run in progress"),
];

/// The names that two or more types have: (name, places).
pub fn doubles(sources: &[(PathBuf, String)]) -> Vec<(String, Vec<String>)> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources {
        for declared in Source::read(&module_of(path), text).declarations {
            if !declared.is_module {
                places.entry(declared.name).or_default().push(format!(
                    "src/{}:{}",
                    path.display(),
                    declared.line
                ));
            }
        }
    }
    // Two declarations in one file are one type under two conditions of compilation.
    let file = |place: &String| place.split(':').next().map(str::to_owned);
    let is_double = |places: &[String]| places.iter().any(|place| file(place) != file(&places[0]));
    places.into_iter().filter(|(_, places)| is_double(places)).collect()
}

/// Types and modules with a name of the list: "src/file:line: `Name`: say ...".
pub fn riddles(sources: &[(PathBuf, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in sources {
        for declared in Source::read(&module_of(path), text).declarations {
            let plain = declared.name.replace('_', "");
            if let Some((_, instead)) = RIDDLES.iter().find(|(riddle, _)| riddle.eq_ignore_ascii_case(&plain))
            {
                let (path, line, name) = (path.display(), declared.line, declared.name);
                faults.push(format!("src/{path}:{line}: `{name}`: say {instead}"));
            }
        }
    }
    faults
}

/// Tests of the checks themselves: they find faults, and accept what only looks like one.
mod checked {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<(PathBuf, String)> {
        files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect()
    }

    #[track_caller]
    fn assert_doubles(first: &str, second: &str, expected: &[&str]) {
        let found = doubles(&sources(&[("a.rs", first), ("b/c.rs", second)]));
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected, "{first} / {second}");
    }

    #[test]
    fn two_types_of_one_name_are_seen() {
        assert_doubles("pub struct Row;", "enum Row { A }", &["Row"]);
        assert_doubles("trait Row {}", "pub(crate) type Row = u8;", &["Row"]);
        assert_doubles("struct Row<T>(T);", "fn f() { struct Row; }", &["Row"]);
        assert_doubles(
            "mod m { pub struct Row; pub type Line = u8; }",
            "union Row { a: u8 } struct Line;",
            &["Line", "Row"],
        );
        assert_eq!(
            doubles(&sources(&[("a.rs", "\nstruct Row;"), ("b.rs", "struct Row;")])),
            [("Row".to_owned(), vec!["src/a.rs:2".to_owned(), "src/b.rs:1".to_owned()])]
        );
    }

    #[test]
    fn what_is_no_second_type_is_none() {
        assert_doubles("struct Row;", "mod Row {} fn f(row: Row) -> Row { Row }", &[]);
        assert_doubles("#[cfg(a)] struct Row; #[cfg(not(a))] struct Row;", "", &[]);
        assert_doubles("struct Row;", "#[cfg(test)] mod tests { struct Row; }", &[]);
        assert_doubles("struct Item;", "impl Iterator for A { type Item = u8; }", &[]);
        assert_doubles("struct Item;", "trait A { type Item; fn f() { } }", &[]);
        assert_doubles(
            "struct Row;",
            "// struct Row;\nconst S: &str = \"struct Row;\"; fn f() { a.union(b) }",
            &[],
        );
        assert_doubles("struct Row;", "macro_rules! m { ($name:ident) => { struct $name; } }", &[]);
    }

    #[test]
    fn a_name_that_says_nothing_is_seen() {
        let text = "mod hands;\nstruct Told;\nstruct ToldApart; mod letter_box {} fn met() {}\n#[cfg(test)] struct Met;";
        let found = riddles(&sources(&[("a.rs", text)]));
        let places: Vec<&str> = found.iter().map(|fault| fault.split(": say").next().unwrap()).collect();
        assert_eq!(places, ["src/a.rs:1: `hands`", "src/a.rs:2: `Told`", "src/a.rs:3: `letter_box`"]);
    }
}
