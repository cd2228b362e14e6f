//! Reads one Rust file far enough to know which modules of this crate it names, and how long it is.
//!
//! A scanner of tokens, not a parser: comments, strings and character literals are gone, and with them every path that is
//! none. It resolves `crate::`, `super::`, `self::` and, for the binary, `smtpress::`, through nested groups.

use std::collections::BTreeSet;

/// A path of this crate as a file names it, from the crate's root: `["net", "target", "Target"]`; `*` for a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub path: Vec<String>,
    pub line: usize,
}

/// What the checks need to know of a file.
#[derive(Debug, Default)]
pub struct Source {
    /// Every path of this crate outside `#[cfg(test)]`.
    pub references: Vec<Reference>,
    /// Modules declared as `#[cfg(test)] mod name;`: their files are tests.
    pub test_modules: Vec<String>,
    /// Lines that are neither blank nor comment.
    pub lines_of_code: usize,
}

impl Source {
    /// Reads `text`, the file of the module at `module` (the crate's root: empty).
    pub fn read(module: &[String], text: &str) -> Source {
        let (tokens, lines) = scan(text);
        let mut source = Source { lines_of_code: lines.len(), ..Source::default() };
        if starts_with(&tokens, &["#", "!", "[", "cfg", "(", "test", ")", "]"]) {
            return source;
        }
        let kept = without_tests(&tokens, &mut source.test_modules);
        source.references = references(module, &kept);
        source
    }
}

/// An identifier or one character of punctuation (`::` is one token), and its line, from 1.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

/// The tokens, and the lines that hold code.
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

/// Behind the closing quote of the string whose opening quote stands at `from`.
fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// Behind a character literal, or behind the quote alone if it begins a lifetime.
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

/// Behind the literal if a prefixed one (`r"`, `br#"`, `b'`, `c"`) begins at `from`.
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

/// The tokens without the items under `#[cfg(test)]`; the names of such modules in files of their own go to `test_modules`.
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

fn references(module: &[String], tokens: &[Token]) -> Vec<Reference> {
    let mut module = module.to_vec();
    let (mut found, mut depth, mut inline) = (Vec::new(), 0, Vec::new());
    let mut i = 0;
    while i < tokens.len() {
        let text = |k: usize| tokens.get(k).map_or("", |token| token.text.as_str());
        // A path inside `a::b` is no beginning; `$crate` and `<crate` are.
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
                    i = expand(tokens, i, &base, &mut found);
                    continue;
                } else if used && start == "crate" {
                    found.push(Reference { path: vec!["crate".to_owned()], line: tokens[i].line });
                }
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// Reads the rest of a path at `i`, groups and all, adds what it leads to, and gives the place behind it.
fn expand(tokens: &[Token], mut i: usize, base: &[String], found: &mut Vec<Reference>) -> usize {
    let mut path = base.to_vec();
    let line = tokens.get(i).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|token| token.text != "}") {
                    let next = expand(tokens, i, &path, found);
                    i = next.max(i + 1);
                    // Behind an element: `as name`, and the comma.
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
    found.push(Reference { path, line });
    i
}
