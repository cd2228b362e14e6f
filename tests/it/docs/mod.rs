//! Tests of the guide: its profiles pass `check`, its command lines are valid, its links have targets, and its tables
//! agree with the program.

mod deploy;
mod deploy_agents;
mod reference;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use smtpress::collector::summary::Code;

use crate::commands::stage::Stage;

/// The README and every page of the guide: its path and its text.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.push(root.join("README.md"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// A fenced block: its language and its lines.
struct Block {
    language: String,
    lines: Vec<String>,
}

/// The fenced blocks of a page, and the lines between them.
fn blocks(text: &str) -> (Vec<Block>, Vec<&str>) {
    let (mut blocks, mut prose, mut open) = (Vec::new(), Vec::new(), None::<Block>);
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { language: language.trim().to_owned(), lines: Vec::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => prose.push(line),
        }
    }
    assert!(open.is_none(), "a block that is not closed");
    (blocks, prose)
}

/// The anchor that GitHub makes of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_profile_of_the_guide_passes_check() {
    /// The beginning of a profile, to which a part of one is appended.
    const REST: &str = "schema = 1\n[target]\naddress = \"embedded\"\n[[phase]]\nname = \"steady\"\nload = \"constant-rate\"\n\
                        rate = \"50/s\"\nfor = \"2s\"\n[[phase]]\nname = \"storm\"\nload = \"burst\"\nsize = 80\nfor = \"1s\"\n";
    let stage = Stage::new();
    let mut checked = 0;
    for (path, text) in pages() {
        for block in blocks(&text).0.into_iter().filter(|block| block.language == "toml") {
            let own = block.lines.join("\n");
            let whole = own.lines().any(|line| line.starts_with("schema"));
            stage.put("page.toml", if whole { own } else { format!("{REST}{own}") });
            // A profile with only limits has no load that `check` could preview.
            let is_run = stage.read("page.toml").contains("[[phase]]");
            let said =
                stage.run(if is_run { &["check", "page.toml"] } else { &["limit", "page.toml", "--plan"] });
            assert_eq!(said.code, Some(0), "{}: {}\n{}", path.display(), said.err, stage.read("page.toml"));
            checked += 1;
        }
    }
    assert!(checked >= 4, "only {checked} profiles were found");
}

#[test]
fn every_command_line_of_the_guide_is_understood() {
    let mut understood = BTreeSet::new();
    for (path, text) in pages() {
        for block in blocks(&text).0 {
            if !["sh", "console", "yaml", "groovy"].contains(&block.language.as_str()) {
                continue;
            }
            let text = block.lines.join("\n").replace("\\\n", " ");
            for line in text.lines() {
                // In a block of the console only the lines after `$` are commands.
                if block.language == "console" && !line.starts_with("$ ") {
                    continue;
                }
                for arguments in commands(line) {
                    let words = arguments.iter().map(OsString::from);
                    let read = smtpress::cli::understands(words);
                    assert!(read.is_ok(), "{}: {line}\n{}", path.display(), read.unwrap_err());
                    understood.extend(arguments.get(1).cloned());
                }
            }
        }
    }
    let must = ["run", "limit", "capacity", "compare", "report", "trace", "check"];
    assert!(must.iter().all(|command| understood.contains(*command)), "only {understood:?} were found");
}

/// The command lines of smtpress in one line of shell.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '|' | ';' | '&' | '>') => {
                words.extend(word.take().map(Some));
                if c != ' ' {
                    words.push(None);
                }
            }
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.map(Some));
    let commands =
        words.split(|word| word.is_none()).map(|words| words.iter().flatten().cloned().collect::<Vec<_>>());
    let mine = |words: Vec<String>| {
        let cargo = words
            .iter()
            .position(|word| word == "--" && words[..3.min(words.len())].contains(&"cargo".to_owned()));
        let begin = cargo.or_else(|| {
            let before = |word: &String| ["$", "-", "run:", "do", "if", "then", "!"].contains(&word.as_str());
            words
                .iter()
                .position(|word| !before(word))
                .filter(|at| words[*at].rsplit('/').next() == Some("smtpress"))
        })?;
        Some(words[begin..].to_vec())
    };
    commands.filter_map(mine).collect()
}

#[test]
fn a_line_of_a_shell_is_taken_apart() {
    let one = commands("- run: ./smtpress run mx.toml --assert 'p99 < 5s' # told | apart");
    assert_eq!(one, [["./smtpress", "run", "mx.toml", "--assert", "p99 < 5s"]]);
    let two = commands("$ for i in 1 2; do smtpress check a; done && cargo run --release -- run b >> out");
    assert_eq!(two, [vec!["smtpress", "check", "a"], vec!["--", "run", "b"]]);
    assert_eq!(commands("ls smtpress-runs smtpress"), Vec::<Vec<String>>::new());
}

#[test]
fn every_link_of_the_guide_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let own_anchor = Regex::new(r#"<a id="([^"]+)">"#).unwrap();
    let anchors = |text: &str| -> BTreeSet<String> {
        let headings = blocks(text).1.into_iter().filter(|line| line.starts_with('#'));
        let own = own_anchor.captures_iter(text).map(|found| found[1].to_owned());
        headings.map(|line| slug(line.trim_start_matches('#'))).chain(own).collect()
    };
    let mut followed = 0;
    for (path, text) in pages() {
        for line in blocks(&text).1 {
            for found in link.captures_iter(line) {
                let target = &found[1];
                if target.starts_with("http") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
                assert!(to.exists(), "{}: nothing is at {target}", path.display());
                if !anchor.is_empty() {
                    let there = anchors(&fs::read_to_string(&to).unwrap());
                    assert!(there.contains(anchor), "{}: no heading for {target}", path.display());
                }
                followed += 1;
            }
        }
    }
    assert!(followed > 50, "only {followed} links were found");
}

#[test]
fn every_page_is_reached_from_the_index_and_the_index_from_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(fs::read_to_string(root.join("README.md")).unwrap().contains("](docs/README.md)"));
    let index = fs::read_to_string(root.join("docs/README.md")).unwrap();
    for (path, _) in pages().iter().filter(|(path, _)| path.starts_with(root.join("docs"))) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            name == "README.md" || index.contains(&format!("]({name})")),
            "docs/README.md does not lead to {name}"
        );
    }
}

/// The guide explains each code of a reason that a run, a merge or a search can give.
#[test]
fn every_reason_of_an_invalid_run_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let search = fs::read_to_string(root.join("src/verdict/search.rs")).unwrap();
    let of_search = Regex::new(r#"\.because\("([a-z-]+)","#).unwrap();
    let mut codes: BTreeSet<String> =
        of_search.captures_iter(&search).map(|found| found[1].to_owned()).collect();
    assert!(codes.len() >= 4, "only {codes:?} were found in src/verdict/search.rs");
    codes.extend(Code::ALL.iter().map(Code::to_string));
    let page = fs::read_to_string(root.join("docs/invalid.md")).unwrap();
    for code in codes {
        assert!(
            page.lines().any(|line| line == format!("### `{code}`")),
            "docs/invalid.md does not explain {code}"
        );
    }
}

#[test]
fn the_readme_is_read_in_a_few_minutes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lines = fs::read_to_string(root.join("README.md")).unwrap().lines().count();
    assert!(lines < 200, "README.md has {lines} lines");
    let picture = fs::metadata(root.join("docs/report.png")).unwrap().len();
    assert!(picture < 200 * 1024, "docs/report.png has {picture} bytes");
}
