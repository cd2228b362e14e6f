//! Reads from one Rust file which modules of this crate it names, which types it declares, and its number of lines.
//!
//! This is a scanner of tokens and not a parser. It skips comments, strings and character literals, because a path in
//! them is no reference. It resolves `crate::`, `super::`, `self::` and, for the binary, `smtpress::`, through nested
//! groups.

use std::collections::{BTreeMap, BTreeSet};

/// A path of this crate that a file names, from the crate's root: `["net", "target", "Target"]`; `*` for a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub path: Vec<String>,
    pub line: usize,
    /// The name that a `use` gives to it; empty for a path in the code.
    pub alias: String,
    /// Whether it is a `pub use` of an item that the file does not use itself.
    pub is_export: bool,
}

/// A type or an inline module that a file declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    pub name: String,
    pub is_module: bool,
    pub line: usize,
}

/// The properties of a file that the checks need.
#[derive(Debug, Default)]
pub struct Source {
    /// Every path of this crate outside `#[cfg(test)]` that begins with `crate`, `super` or `self`.
    pub references: Vec<Reference>,
    /// Every other path of this crate: it begins with a module that this file declares, or with a name that it imports.
    pub short_references: Vec<Reference>,
    /// Types and modules declared outside `#[cfg(test)]`.
    pub declarations: Vec<Declaration>,
    /// Modules declared as `#[cfg(test)] mod name;`: their files are tests.
    pub test_modules: Vec<String>,
    /// Lines that are neither blank nor comment.
    pub lines_of_code: usize,
}

impl Source {
    /// Reads `text`, the file of the module at path `module`, which is empty for the crate's root.
    pub fn read(module: &[String], text: &str) -> Source {
        let (tokens, lines) = scan(text);
        let mut source = Source { lines_of_code: lines.len(), ..Source::default() };
        if starts_with(&tokens, &["#", "!", "[", "cfg", "(", "test", ")", "]"]) {
            return source;
        }
        let kept = without_tests(&tokens, &mut source.test_modules);
        source.references = references(module, &kept, &BTreeMap::new());
        source.declarations = declarations(&kept);
        let declared = source.declarations.iter().filter(|declared| declared.is_module);
        let mut names: BTreeMap<String, Vec<String>> = declared
            .map(|declared| (declared.name.clone(), [module, std::slice::from_ref(&declared.name)].concat()))
            .collect();
        let imports = source.references.iter().filter(|reference| !reference.alias.is_empty());
        names.extend(imports.map(|import| (import.alias.clone(), import.path.clone())));
        source.short_references = references(module, &kept, &names);
        source.short_references.retain(|reference| !source.references.contains(reference));
        source
    }
}

/// An identifier or one character of punctuation (`::` is one token), and its line, from 1.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

/// The tokens, and the numbers of the lines that contain code.
fn scan(text: &str) -> (Vec<Token>, BTreeSet<usize>) {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut tokens, mut lines) = (Vec::new(), BTreeSet::new());
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let (start, first_line) = (i, line);
        let mut token = None;
        let mut is_code = true;
        match at(i) {
            c if c.is_whitespace() => (i, is_code) = (i + 1, false),
            '/' if at(i + 1) == '/' => {
                i += chars[i..].iter().take_while(|&&c| c != '\n').count();
                is_code = false;
            }
            '/' if at(i + 1) == '*' => (i, is_code) = (end_of_block_comment(&chars, i), false),
            '"' => i = end_of_string(&chars, i),
            '\'' => i = end_of_quote(&chars, i),
            'r' | 'b' | 'c' if literal_prefix(&chars, i).is_some() => {
                i = literal_prefix(&chars, i).expect("the guard has seen it");
            }
            'r' if at(i + 1) == '#' && is_word(at(i + 2)) => {
                i += 2 + word_length(&chars, i + 2);
                token = Some(chars[start + 2..i].iter().collect());
            }
            c if is_word(c) => {
                i += word_length(&chars, i);
                token = Some(chars[start..i].iter().collect());
            }
            ':' if at(i + 1) == ':' => (i, token) = (i + 2, Some("::".to_owned())),
            c => (i, token) = (i + 1, Some(c.to_string())),
        }
        line += chars[start..i].iter().filter(|&&c| c == '\n').count();
        if is_code {
            lines.extend(first_line..=line);
        }
        tokens.extend(token.map(|text| Token { text, line: first_line }));
    }
    (tokens, lines)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_length(chars: &[char], from: usize) -> usize {
    chars[from..].iter().take_while(|&&c| is_word(c)).count()
}

fn end_of_block_comment(chars: &[char], from: usize) -> usize {
    let (mut i, mut depth) = (from, 0);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (i, depth) = (i + 2, depth + 1),
            ('*', Some('/')) => (i, depth) = (i + 2, depth - 1),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

/// The position after the closing quote of the string whose opening quote is at `from`.
fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The position after a character literal, or after the quote if it begins a lifetime.
fn end_of_quote(chars: &[char], from: usize) -> usize {
    let at = |i: usize| chars.get(i).copied();
    match (at(from + 1), at(from + 2)) {
        (Some('\\'), _) => {
            let rest = &chars[(from + 3).min(chars.len())..];
            (from + 4 + rest.iter().take_while(|&&c| c != '\'').count()).min(chars.len())
        }
        (Some(_), Some('\'')) => from + 3,
        _ => from + 1,
    }
}

/// The position after the prefixed literal (`r"`, `br#"`, `b'`, `c"`) at `from`; `None` if there is none.
fn literal_prefix(chars: &[char], from: usize) -> Option<usize> {
    if from > 0 && is_word(chars[from - 1]) {
        return None;
    }
    let at = |i: usize| chars.get(i).copied();
    let mut i = from;
    if matches!(at(i), Some('b' | 'c')) {
        i += 1;
        match at(i) {
            Some('"') => return Some(end_of_string(chars, i)),
            Some('\'') if at(from) == Some('b') => return Some(end_of_quote(chars, i)),
            _ => {}
        }
    }
    if at(i) != Some('r') {
        return None;
    }
    let hashes = chars[i + 1..].iter().take_while(|&&c| c == '#').count();
    if at(i + 1 + hashes) != Some('"') {
        return None;
    }
    i += 2 + hashes;
    while i < chars.len() {
        let closes =
            chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        i += 1;
        if closes {
            return Some(i + hashes);
        }
    }
    Some(i)
}

fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// The tokens without the items under `#[cfg(test)]`. If such an item is a module in its own file, its name is added to
/// `test_modules`.
fn without_tests(tokens: &[Token], test_modules: &mut Vec<String>) -> Vec<Token> {
    let (mut kept, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        if !starts_with(&tokens[i..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        i += 7;
        let item = i;
        let mut depth = 0_usize;
        // An item ends with a semicolon or with the brace that closes its body.
        while let Some(token) = tokens.get(i) {
            i += 1;
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                ")" | "]" => depth = depth.saturating_sub(1),
                "}" if depth <= 1 => break,
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
        }
        let item = &tokens[item..i];
        if let Some(at) = item.iter().position(|token| token.text == "mod")
            && item.get(at + 2).is_some_and(|token| token.text == ";")
        {
            test_modules.push(item[at + 1].text.clone());
        }
    }
    kept
}

/// The types that the tokens declare (not the types of an `impl` or a trait), and the modules.
fn declarations(tokens: &[Token]) -> Vec<Declaration> {
    let (mut found, mut braces, mut is_module) = (Vec::new(), Vec::new(), false);
    for (i, token) in tokens.iter().enumerate() {
        let text = |k: usize| tokens.get(k).map_or("", |token| token.text.as_str());
        let is_keyword = i == 0 || !matches!(text(i - 1), "." | "::" | "$");
        match token.text.as_str() {
            "{" => {
                braces.push(is_module);
                is_module = false;
            }
            "}" => _ = braces.pop(),
            word @ ("struct" | "enum" | "union" | "trait" | "type" | "mod")
                if is_keyword && text(i + 1).starts_with(is_word) =>
            {
                let counts = match word {
                    "type" => braces.iter().all(|is_module| *is_module),
                    "union" => matches!(text(i + 2), "{" | "<"),
                    _ => true,
                };
                is_module = word == "mod" && text(i + 2) == "{";
                if counts {
                    let (name, line) = (text(i + 1).to_owned(), token.line);
                    found.push(Declaration { name, is_module: word == "mod", line });
                }
            }
            _ => {}
        }
    }
    found
}

/// The paths of this crate. `names` are the words besides `crate`, `super` and `self` that begin a path, each with the
/// path that it stands for.
fn references(module: &[String], tokens: &[Token], names: &BTreeMap<String, Vec<String>>) -> Vec<Reference> {
    let mut module = module.to_vec();
    let (mut found, mut depth, mut inline) = (Vec::<Reference>::new(), 0, Vec::new());
    let (mut i, mut is_import, mut before_use, mut first) = (0, false, "", 0);
    while i < tokens.len() {
        let text = |k: usize| tokens.get(k).map_or("", |token: &Token| token.text.as_str());
        // A word after `::` does not begin a path; `$crate` and `<crate` do.
        let begins = i == 0 || text(i - 1) != "::";
        match text(i) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            "mod" if text(i + 2) == "{" => {
                module.push(text(i + 1).to_owned());
                inline.push(depth);
            }
            start @ ("crate" | "super" | "self" | "smtpress") if begins => {
                let used = i > 0 && text(i - 1) == "use";
                if text(i + 1) == "::" {
                    let mut base = match start {
                        "super" => module[..module.len().saturating_sub(1)].to_vec(),
                        "self" => module.clone(),
                        _ => Vec::new(),
                    };
                    i += 2;
                    while text(i) == "super" && text(i + 1) == "::" {
                        base.pop();
                        i += 2;
                    }
                    i = expand(tokens, i, &base, is_import, &mut found);
                    continue;
                } else if used && start == "crate" {
                    let (path, line) = (vec!["crate".to_owned()], tokens[i].line);
                    found.push(Reference { path, line, alias: String::new(), is_export: false });
                }
            }
            name if begins && text(i + 1) == "::" && names.contains_key(name) => {
                i = expand(tokens, i + 2, &names[name], is_import, &mut found);
                continue;
            }
            "use" => {
                is_import = true;
                first = found.len();
                before_use = if i == 0 { "" } else { text(i - 1) };
            }
            ";" if is_import => {
                is_import = false;
                let is_public = matches!(before_use, "pub" | ")");
                for reference in found[first..].iter_mut().filter(|_| is_public) {
                    let named = tokens.iter().filter(|token| token.text == reference.alias).count();
                    reference.is_export = named == 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// Reads the rest of a path at `i`, with its groups, adds the references, and returns the position after it.
fn expand(
    tokens: &[Token],
    mut i: usize,
    base: &[String],
    is_import: bool,
    found: &mut Vec<Reference>,
) -> usize {
    let mut path = base.to_vec();
    let line = tokens.get(i).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|token| token.text != "}") {
                    let next = expand(tokens, i, &path, is_import, found);
                    i = next.max(i + 1);
                    // After an element: `as name`, and the comma.
                    while tokens.get(i).is_some_and(|token| token.text != "," && token.text != "}") {
                        i += 1;
                    }
                    if tokens.get(i).is_some_and(|token| token.text == ",") {
                        i += 1;
                    }
                }
                return i + 1;
            }
            "*" => {
                path.push("*".to_owned());
                i += 1;
                break;
            }
            "self" => i += 1,
            word if word.starts_with(is_word) => {
                path.push(word.to_owned());
                i += 1;
            }
            _ => break,
        }
        if tokens.get(i).is_none_or(|token| token.text != "::") {
            break;
        }
        i += 1;
    }
    let alias = match tokens.get(i..i + 2) {
        _ if !is_import => String::new(),
        Some([word, name]) if word.text == "as" => name.text.clone(),
        _ => path.last().cloned().unwrap_or_default(),
    };
    found.push(Reference { path, line, alias, is_export: false });
    i
}
