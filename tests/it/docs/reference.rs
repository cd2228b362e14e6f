//! The pages that are generated from the program: the reference of the profile from its JSON Schema, the conditions
//! from `codes`. `SMTPRESS_UPDATE_DOCS=1 cargo test --test it docs` writes them again. Without it the test fails if a
//! page differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use smtpress::condition::Condition;

use super::slug;
use crate::commands::stage::Stage;

#[test]
fn the_profile_reference_is_what_the_schema_says() {
    let schema = Stage::new().run(&["schema", "profile"]).ended(0).json();
    held("profile.md", &Reference::of(&schema).page());
}

#[test]
fn the_page_of_conditions_is_what_the_program_knows() {
    held("conditions.md", &conditions());
}

/// Every default that the reference gives as one word is the one that `--print-profile` fills in.
#[test]
fn the_defaults_of_the_reference_are_those_that_are_filled_in() {
    let stage = Stage::new();
    let schema = stage.run(&["schema", "profile"]).ended(0).json();
    let resolved = stage.run(&["run", "--target", "embedded", "-c", "2", "--print-profile"]).ended(0).out;
    let resolved: toml::Table = toml::from_str(&resolved).unwrap();
    let mut compared = 0;
    for name in ["target", "timeouts", "session", "message"] {
        let table = definition(&schema, &schema["properties"][name]).unwrap();
        for (key, value) in resolved[name].as_table().unwrap() {
            let (_, default) = told(&table["properties"][key.as_str()]);
            let Some(default) = default.filter(|default| !default.contains(' ')) else { continue };
            let filled = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(default, filled, "[{name}] {key}");
            compared += 1;
        }
    }
    assert!(compared > 15, "only {compared} defaults were compared");
}

/// Checks that a page has this text, or writes it.
fn held(name: &str, must: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("SMTPRESS_UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(&path, must).unwrap();
    }
    let is = fs::read_to_string(&path).unwrap_or_default();
    let different = is.lines().zip(must.lines()).find(|(is, must)| is != must);
    assert!(
        is == must,
        "docs/{name} is not what the program says, first at {different:?}; SMTPRESS_UPDATE_DOCS=1 writes it anew"
    );
}

/// The tables and kinds of values, in the order of their first use.
struct Reference<'s> {
    schema: &'s Value,
    /// The tables that are still to be written: the header in a profile, and the schema.
    tables: Vec<(String, &'s Value)>,
    /// The kinds of plain values that were used so far, by name.
    kinds: BTreeMap<&'s str, &'s Value>,
}

/// The order of the top-level tables, which is that of a profile.
const ORDER: [&str; 12] = [
    "target", "timeouts", "session", "message", "phase", "event", "expect", "assert", "classify", "limits",
    "capacity", "listener",
];

impl<'s> Reference<'s> {
    fn of(schema: &'s Value) -> Reference<'s> {
        Reference { schema, tables: Vec::new(), kinds: BTreeMap::new() }
    }

    fn page(mut self) -> String {
        let mut page = String::from(HEAD);
        page.push_str("## Keys at the top\n\nThey stand before the first table.\n\n");
        let top = self.schema["properties"].as_object().unwrap();
        let is_table = |key: &str| ORDER.contains(&key);
        page.push_str(&self.rows("", top.iter().filter(|(key, _)| !is_table(key))));
        for key in ORDER {
            let node = &top[key];
            let title = if node["type"] == "array" { format!("[[{key}]]") } else { format!("[{key}]") };
            match definition(self.schema, node).or_else(|| definition(self.schema, &node["items"])) {
                Some(table) => self.tables.push((title, table)),
                None => {
                    let kind = self.kind("", &node["additionalProperties"]);
                    let _ = write!(page, "\n## `{title}`\n\n{}\n\nEach value: {kind}.\n", told(node).0);
                }
            }
            // The tables inside a table follow it.
            while !self.tables.is_empty() {
                let (title, table) = self.tables.remove(0);
                let depth = if title.contains('.') { "###" } else { "##" };
                let rows = self
                    .rows(title.trim_matches(['[', ']']), table["properties"].as_object().unwrap().iter());
                let _ = write!(page, "\n{depth} `{title}`\n\n{}\n\n{rows}", told(table).0);
            }
        }
        page.push_str("\n## Kinds of values\n\n| kind | how it is written |\n|---|---|\n");
        let mut done = BTreeSet::new();
        // A kind may refer to other kinds.
        let next = |kinds: &BTreeMap<&'s str, &'s Value>, done: &BTreeSet<&str>| {
            kinds.iter().map(|(name, node)| (*name, *node)).find(|(name, _)| !done.contains(name))
        };
        while let Some((name, node)) = next(&self.kinds, &done) {
            done.insert(name);
            let text = self.explained(node);
            let _ = writeln!(page, "| <a id=\"{0}\"></a>{0} | {text} |", spoken(name));
        }
        page
    }

    /// The rows of a table: key, kind, default, meaning.
    fn rows(&mut self, path: &str, keys: impl Iterator<Item = (&'s String, &'s Value)>) -> String {
        let mut text = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
        for (key, node) in keys {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let kind = self.kind(&below, node);
            let (meaning, default) = told(node);
            let default = default.map_or_else(|| "-".to_owned(), |default| cell(&default));
            let _ = writeln!(text, "| `{key}` | {kind} | {default} | {} |", cell(&meaning));
        }
        text
    }

    /// The possible values of a key, for a cell of a table.
    fn kind(&mut self, path: &str, node: &'s Value) -> String {
        let word = |name: &str| match name {
            "string" => "text",
            "boolean" => "`true` or `false`",
            "integer" => "a whole number",
            "number" => "a number",
            other => panic!("{path}: the kind {other}"),
        };
        if let Some(name) = node["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            let found = &self.schema["$defs"][name];
            if found.get("properties").is_some() {
                self.tables.push((format!("[{path}]"), found));
                return format!("table, [below](#{})", slug(path));
            }
            return match found["oneOf"].as_array() {
                Some(words) => words_of(words),
                None => {
                    self.kinds.insert(name, found);
                    format!("[{0}](#{0})", spoken(name))
                }
            };
        }
        if let Some(either) = node["anyOf"].as_array() {
            let some = either.iter().find(|one| one["type"] != "null").unwrap();
            return self.kind(path, some);
        }
        match &node["type"] {
            Value::Array(either) if either.iter().any(|one| one == "array") => self.list(path, node),
            Value::String(one) if one == "array" => self.list(path, node),
            Value::Array(either) => {
                word(either.iter().find_map(|one| one.as_str().filter(|one| *one != "null")).unwrap())
                    .to_owned()
            }
            Value::String(one) => word(one).to_owned(),
            other => panic!("{path}: {other}"),
        }
    }

    fn list(&mut self, path: &str, node: &'s Value) -> String {
        let is_table = definition(self.schema, &node["items"]).is_some();
        let of = self.kind(path, &node["items"]);
        if is_table {
            let (title, _) = self.tables.last_mut().unwrap();
            *title = format!("[{title}]");
        }
        format!("list of: {of}")
    }

    /// The explanation of a kind of values.
    fn explained(&mut self, node: &'s Value) -> String {
        let mut text = cell(&told(node).0);
        for form in node["anyOf"].as_array().into_iter().flatten() {
            let items = if form["type"] == "array" { &form["items"] } else { form };
            let Some(table) = definition(self.schema, items) else {
                if form.get("$ref").is_some() {
                    let _ = write!(text, "<br>{}", self.kind("", form));
                }
                continue;
            };
            let many = if form["type"] == "array" { "list of " } else { "" };
            let keys = table["properties"].as_object().unwrap().iter();
            let keys: Vec<String> = keys
                .map(|(key, value)| format!("`{key}`: {}", cell(value["description"].as_str().unwrap())))
                .collect();
            let _ = write!(text, "<br>{many}`{{ }}`: {} {}", cell(&told(table).0), keys.join(" "));
        }
        text
    }
}

/// The words of an enum, each with its other spellings and its meaning.
fn words_of(words: &[Value]) -> String {
    let text = |word: &Value, key: &str| cell(word[key].as_str().unwrap());
    let is_alias = |word: &&Value| text(word, "description").starts_with("the same as ");
    let line = |word: &Value| {
        let own = text(word, "const");
        let same = format!("the same as {own}");
        let others = words.iter().filter(|other| text(other, "description") == same);
        let others: String = others.map(|other| format!(", `{}`", text(other, "const"))).collect();
        format!("`{own}`{others}: {}", text(word, "description"))
    };
    words.iter().filter(|word| !is_alias(word)).map(line).collect::<Vec<_>>().join("<br>")
}

/// The table that a node refers to, also through `anyOf`.
fn definition<'s>(schema: &'s Value, node: &'s Value) -> Option<&'s Value> {
    if let Some(either) = node["anyOf"].as_array() {
        return either.iter().find_map(|one| definition(schema, one));
    }
    let name = node["$ref"].as_str()?.strip_prefix("#/$defs/")?;
    Some(&schema["$defs"][name]).filter(|found| found.get("properties").is_some())
}

/// A description and its default. If the default depends on other keys, it is a sentence of the description that begins
/// with `Default` or `Absent:`; otherwise it is in the schema.
fn told(node: &Value) -> (String, Option<String>) {
    let text = node["description"].as_str().unwrap_or_default().replace('\n', " ");
    assert!(!text.is_empty(), "a key without a description: {node}");
    if let Some(default) = node.get("default").and_then(plain) {
        return (text, Some(default));
    }
    for mark in ["Default: ", "Default ", "Absent: ", "absent: "] {
        let Some(at) = text.find(mark) else { continue };
        let begins_sentence =
            text[..at].is_empty() || text[..at].ends_with(". ") || text[..at].ends_with("; ");
        if !begins_sentence {
            continue;
        }
        let after = &text[at + mark.len()..];
        let end = after.find(". ").map_or(after.len(), |end| end + 1);
        let default = after[..end].trim_end_matches('.').to_owned();
        let rest = format!("{}{}", &text[..at], after[end..].trim_start());
        let rest =
            rest.trim_end().strip_suffix(';').map_or(rest.trim_end().to_owned(), |rest| format!("{rest}."));
        return (rest, Some(default));
    }
    (text, None)
}

/// The text of a value in a profile, without quotes; `None` for a table.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            Some(number.as_f64().map_or(number.to_string(), |number| number.to_string()))
        }
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The text with escaped bars, so that it does not end a cell.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// The printed name of a kind: `DistributionOfCount` is printed as `distribution-of-count`.
fn spoken(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

const HEAD: &str = "\
# The profile: every table and key

<!-- Written from the JSON Schema by `SMTPRESS_UPDATE_DOCS=1 cargo test --test it docs`; edit the declarations in src/profile/schema. -->

A profile is a TOML file. It is read strictly: an unknown key, a wrong unit or an impossible value ends smtpress with exit
code 2 before anything is sent, and the place is underlined. `smtpress check PROFILE` does only that;
`smtpress run PROFILE --print-profile` prints a profile with its defaults filled in; `smtpress schema profile` prints the JSON
Schema that this page is written from. Each key can be set from the command line too: `--set phase.steady.rate=200/s`.

`[name]` is a table, `[[name]]` one of a list of tables. A dash in the column of defaults: the key is absent unless it is
given. The smallest profile needs a `[target]` with an `address` and one `[[phase]]` with a `load`:

```toml
schema = 1

[target]
address = \"embedded\"

[[phase]]
load = \"constant-rate\"
rate = \"50/s\"
for = \"10s\"
```

A profile for `smtpress limit` needs no `[[phase]]`; `smtpress limit PROFILE --plan` checks it without sending anything.

";

/// The page of conditions.
fn conditions() -> String {
    let mut page = String::from(
        "\
# The conditions: what each refusal means, and what to do

<!-- Written by `SMTPRESS_UPDATE_DOCS=1 cargo test --test it docs` from src/condition/meaning.rs. -->

Every failure of a run has one of these names, however the listener words its reply. A star marks a limit that `smtpress limit` or
a load can reach. If a refusal is intended, because the limit was set there, put it into an `[[expect]]` of the
[profile](profile.md#expect): then it is not a failure. `smtpress codes` prints the same names with every row of Cisco's list of
bounces. `smtpress classify FILE` names the condition of each reply of a log.

",
    );
    let mut group = None;
    for condition in Condition::ALL {
        if group != Some(condition.group()) {
            group = Some(condition.group());
            let _ = write!(
                page,
                "\n## {}\n\n| condition | meaning | what to do |\n|---|---|---|\n",
                condition.group()
            );
        }
        let star = if condition.is_verifiable_limit() { " *" } else { "" };
        let _ = writeln!(
            page,
            "| `{condition}`{star} | {} | {} |",
            cell(condition.meaning()),
            cell(condition.remedy())
        );
    }
    page.replace("\n\n\n", "\n\n")
}
