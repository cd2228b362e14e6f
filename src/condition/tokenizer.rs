//! Turns a reply into words. Words with a meaning are brought to one form, and names of places and things are removed.
//!
//! This module knows English (and a little about mail), and no conditions. `lexicon` holds the vocabulary, and
//! `classify` uses the result.
//!
//! # Decisions
//! - Host names, addresses, URLs and identifiers become a *kind* (`anip`, `ahost`, `anaddr`) or are removed. A host
//!   called `queue-full.example` must not look like a full queue, while "from 192.0.2.10" does mean "from your
//!   address".
//! - A light stemmer folds endings and spellings. It need not be linguistically right, only the same for the vocabulary
//!   and the reply.

use crate::smtp::Reply;

/// The largest number of pieces between blanks that are read from one reply. The rest of a longer text adds nothing.
const MAX_WORDS: usize = 400;

/// The items of a reply, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyToken<'a> {
    /// A stemmed word.
    Word(&'a str),
    /// The end of a sentence.
    Stop,
    /// From here on another host is quoted ("host X said: ...").
    Quote,
    /// A stemmed word from the path of a link. It gives the topic of a reply that only says "see http://...".
    Link(&'a str),
}

/// Public names that tell the topic of a refusal, wherever they stand in a host name or URL.
const TELLING_NAMES: &[(&str, &str)] = &[
    ("spamhaus", "spamhaus"),
    ("spamcop", "spamcop"),
    ("barracudacentral", "spamhaus"),
    ("sorbs.net", "spamhaus"),
    ("uceprotect", "spamhaus"),
    ("abuseat", "spamhaus"),
    ("spamrats", "spamhaus"),
    ("mailspike", "spamhaus"),
    ("senderscore", "spamhaus"),
    ("dnsbl", "dnsbl"),
    ("openspf", "spf"),
    ("smtplf", "smtplf"),
];

/// Passes every item of the reply to `take`.
pub(super) fn read(reply: &Reply, mut take: impl FnMut(ReplyToken<'_>)) {
    let mut scratch = String::with_capacity(64);
    let mut words = 0;
    for (at, line) in reply.lines.iter().enumerate() {
        let line = without_enhanced(line);
        let mut first = at == 0 || reply.lines.len() == at + 1;
        let mut before = "";
        let mut chunks = line.split([' ', '\t', ',', '"', '|']).filter(|c| !c.is_empty()).peekable();
        while let Some(chunk) = chunks.next() {
            if words >= MAX_WORDS {
                return;
            }
            words += 1;
            let next = chunks.peek().copied();
            if !is_label(chunk, before) {
                read_chunk(chunk, first, next, reply.code, &mut scratch, &mut take);
            }
            before = chunk;
            // A server puts its own host name first, alone or after a tag with a colon. Any other piece ends the search
            // for the name.
            first &= chunk.ends_with(':') && !chunk.contains('.');
        }
    }
}

/// Returns the line without the enhanced code at its start.
fn without_enhanced(line: &str) -> &str {
    let trimmed = line.trim_start();
    let code = trimmed.strip_prefix('#').unwrap_or(trimmed);
    let length = code.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == 'x')).unwrap_or(code.len());
    match code[..length].matches('.').count() {
        2 | 3 if code.starts_with(['2', '4', '5']) && code[1..].starts_with('.') => &code[length..],
        _ => trimmed,
    }
}

/// Reads one piece between blanks.
fn read_chunk(
    chunk: &str,
    first: bool,
    next: Option<&str>,
    code: u16,
    scratch: &mut String,
    take: &mut impl FnMut(ReplyToken<'_>),
) {
    let open = ['(', '[', '{', '\'', '<', '*', '`'];
    let close = [')', ']', '}', '\'', '>', '*', '`', '.', ':', ';', '!', '?'];
    let core = chunk.trim_start_matches(open).trim_end_matches(close);
    let tail = &chunk[chunk.trim_end_matches(close).len()..];
    let ends = tail.contains(['.', '!', '?', ';']) && !matches!(core, "e.g" | "i.e" | "no" | "No");
    let word = |take: &mut dyn FnMut(ReplyToken<'_>), text: &str| take(ReplyToken::Word(text));

    if core.contains("://") || core.starts_with("www.") || core.starts_with("http") && core.len() > 8 {
        telling(core, scratch, take);
        read_path(core, code, scratch, take);
    } else if chunk.starts_with('<') && tail.starts_with(">:") && !is_line_end(core) {
        // Postfix: "<subject>: text".
        word(take, "asubj");
    } else if let Some((_, host)) = core.split_once('@') {
        word(take, "anaddr");
        // Barracuda: "(user@example.com:blocked)".
        if let Some((_, reason)) = host.split_once(':') {
            split_words(reason, code, scratch, take);
        }
    } else if is_address(core) {
        word(take, "anip");
    } else if is_host(core) && !is_identifier(core) {
        if !first {
            telling(core, scratch, take);
            word(take, "ahost");
        }
    } else if matches!(core, "said" | "responded" | "replied" | "says")
        && (tail.starts_with(':') || next.is_some_and(|n| n.as_bytes()[0].is_ascii_digit()))
    {
        take(ReplyToken::Quote);
        return;
    } else {
        let bracketed = chunk.starts_with(['(', '[']) && tail.contains([')', ']']);
        if !(bracketed
            && core.bytes().any(|b| b.is_ascii_digit())
            && core.bytes().any(|b| b.is_ascii_alphabetic()))
        {
            split_words(core, code, scratch, take);
        }
    }
    if ends {
        take(ReplyToken::Stop);
    }
}

/// Whether the piece is a tag that only says that an error follows. "Protocol error:" names the error, so it is not
/// such a tag.
fn is_label(chunk: &str, before: &str) -> bool {
    let same = |names: &[&str], word: &str| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    let Some(core) = chunk.strip_suffix(':') else { return false };
    same(&["error", "err", "sorry", "warning", "smtp", "esmtp"], core)
        && !same(&["protocol", "syntax", "server", "internal", "command", "system", "tls", "ssl"], before)
}

/// Whether the text names a line ending, as in `bare <LF>`.
fn is_line_end(core: &str) -> bool {
    ["cr", "lf", "crlf", "cr/lf", "cr><lf", "crlf>.<crlf"].iter().any(|end| core.eq_ignore_ascii_case(end))
}

/// Whether the text is an IPv4 or IPv6 address, a network, or `client.example.net[192.0.2.10]`.
fn is_address(core: &str) -> bool {
    let core = core.rsplit('[').next().unwrap_or(core);
    let core = core.strip_prefix("IPv6:").unwrap_or(core);
    let v4 = core.matches('.').count() == 3
        && core.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'/' | b':' | b'*' | b'x'));
    let v6 = core.matches(':').count() >= 2
        && core.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'/'));
    v4 || v6
}

/// Whether the text has dots that do not end a sentence: a host, a version, a file, an enhanced code.
fn is_host(core: &str) -> bool {
    let bytes = core.as_bytes();
    let Some(dot) = core.find('.') else { return false };
    let tls = core.get(..3).is_some_and(|start| ["tls", "ssl"].iter().any(|t| start.eq_ignore_ascii_case(t)));
    let sentence = dot > 0
        && bytes[dot - 1].is_ascii_lowercase()
        && bytes.get(dot + 1).is_some_and(|b| b.is_ascii_uppercase())
        && bytes.get(dot + 2).is_none_or(|b| b.is_ascii_lowercase());
    !tls && !sentence && bytes.get(dot + 1).is_some_and(|b| b.is_ascii_alphanumeric())
}

/// Whether the text is a dotted identifier of a program
/// ("Store.Submission.Exception:SubmissionQuotaExceededException"), whose parts are words. A host name has no capitals
/// inside.
fn is_identifier(core: &str) -> bool {
    let capital = |w: &[u8]| {
        w[0].is_ascii_lowercase()
            && w[1].is_ascii_lowercase()
            && w[2].is_ascii_uppercase()
            && w[3].is_ascii_lowercase()
    };
    core.as_bytes().windows(4).any(capital)
}

/// Reads the words of a URL's path, without file endings and the host.
fn read_path(url: &str, code: u16, scratch: &mut String, take: &mut impl FnMut(ReplyToken<'_>)) {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    let Some((_, path)) = after.split_once('/') else { return };
    let path = [".html", ".htm", ".php", ".aspx", ".md", ".txt"]
        .iter()
        .find_map(|ending| path.strip_suffix(ending))
        .unwrap_or(path);
    split_words(path, code, scratch, &mut |item| {
        if let ReplyToken::Word(word) = item {
            take(ReplyToken::Link(word));
        }
    });
}

/// Reads the words of [`TELLING_NAMES`] in a host name or URL.
fn telling(core: &str, scratch: &mut String, take: &mut impl FnMut(ReplyToken<'_>)) {
    scratch.clear();
    scratch.extend(core.chars().map(|c| c.to_ascii_lowercase()));
    for (name, word) in TELLING_NAMES {
        if scratch.contains(name) {
            take(ReplyToken::Word(word));
            return;
        }
    }
}

/// Splits the text at everything that is not a letter or digit, at `camelCase`, and between a number and its unit.
fn split_words(core: &str, code: u16, scratch: &mut String, take: &mut impl FnMut(ReplyToken<'_>)) {
    scratch.clear();
    let mut last = ' ';
    let mut lower_run = 0;
    let mut upper = true;
    let core = core.strip_suffix("'s").or_else(|| core.strip_suffix("’s")).unwrap_or(core);
    // The French article: "d'authentification".
    let core = core.strip_prefix("d'").or_else(|| core.strip_prefix("l'")).unwrap_or(core);
    for c in core.chars() {
        if matches!(c, '\'' | '’' | '`') {
            continue;
        }
        let camel = c.is_ascii_uppercase() && lower_run >= 2;
        let unit =
            last.is_ascii_digit() && c.is_ascii_alphabetic() && scratch.bytes().all(|b| b.is_ascii_digit());
        if !c.is_alphanumeric() || camel || unit {
            // "e-mail" is one word. A full stop inside belongs to a sentence.
            if !(c == '-' && scratch == "e") {
                flush(scratch, upper, code, take);
                upper = true;
            }
            if c == '.' {
                take(ReplyToken::Stop);
            }
        }
        if c.is_alphanumeric() {
            upper &= c.is_ascii_uppercase();
            scratch.push(c.to_ascii_lowercase());
        }
        lower_run = if c.is_ascii_lowercase() { lower_run + 1 } else { 0 };
        last = c;
    }
    flush(scratch, upper, code, take);
}

fn flush(scratch: &mut String, upper: bool, code: u16, take: &mut impl FnMut(ReplyToken<'_>)) {
    if scratch.is_empty() {
        return;
    }
    if scratch.bytes().all(|b| b.is_ascii_digit()) {
        take(ReplyToken::Word(match scratch.as_str() {
            "24" => "24",
            _ if scratch.parse() == Ok(code) => "codnum",
            _ => "0",
        }));
    } else if upper && matches!(scratch.as_str(), "mail" | "data" | "auth") {
        // In capitals the word names the command.
        scratch.push_str("cmd");
        take(ReplyToken::Word(scratch));
    } else {
        stem(scratch);
        take(ReplyToken::Word(scratch));
    }
    scratch.clear();
}

/// Folds endings: "exceeded", "exceeds", "exceeding" become "exceed"; "authorisation" and "authorized" become
/// "authoriz".
pub(super) fn stem(word: &mut String) {
    // "not accepting" means that the service is closed, "not accepted" that a thing is refused. "loading" is not a
    // load.
    if word.len() < 4 || !word.is_ascii() || matches!(word.as_str(), "accepting" | "loading") {
        return;
    }
    if word.ends_with("ies") || word.ends_with("ied") {
        word.truncate(word.len() - 3);
        word.push('y');
    } else if word.ends_with('s') && !["ss", "us", "is"].iter().any(|end| word.ends_with(end)) {
        word.truncate(word.len() - 1);
    }
    for end in ["ation", "ing", "ed", "ion"] {
        if word.len() >= end.len() + 3 && word.ends_with(end) && !word.ends_with("eed") {
            word.truncate(word.len() - end.len());
            if end == "ation" {
                word.push_str("at");
            }
            break;
        }
    }
    if word.len() > 4 && word.ends_with("at") && word.contains("iz") || word.ends_with("isat") {
        word.truncate(word.len() - 2);
    }
    if word.len() > 3 && word.ends_with('e') {
        word.truncate(word.len() - 1);
    }
    if word.len() > 4 && word.ends_with("is") {
        word.truncate(word.len() - 1);
        word.push('z');
    }
    let bytes = word.as_bytes();
    if let [.., a, b] = bytes
        && a == b
        && word.len() > 3
        && !matches!(b, b'l' | b's' | b'e' | b'o')
    {
        word.truncate(word.len() - 1);
    }
}
