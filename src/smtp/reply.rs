//! Replies: the bounded incremental scanner, the reply as it came, and its enhanced code.
//!
//! It reads what a listener sent and keeps malformed input as evidence; what a reply *means* is the
//! business of `condition`.
//!
//! # Decisions
//! - A reply that arrives whole in one read is parsed in place, without a copy; only a partial one is kept.
//! - Any three digits are a code (RFC 5321 4.2 allows 2yz to 5yz, real listeners send 440 or 999); the judgement is the
//!   classifier's. A bare LF ends a line, as many listeners send it.
//! - RFC 5321 4.2.1 gives all lines of a reply one code. Listeners that began with a banner and then met a limit send
//!   `220-` and end with `421`: the last line's code counts, and that the others differ is kept ([`RawReply::is_mixed`]).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest line kept, in octets (RFC 5321 4.5.3.1.5 asks for 512).
pub const MAX_LINE: usize = 4096;
/// The longest reply kept, all lines together, in bytes.
pub const MAX_REPLY: usize = 64 * 1024;

/// An enhanced status code (RFC 3463). `None` stands for a literal `x`, as Cisco's `4.x.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999.
    pub subject: Option<u16>,
    /// 0 to 999.
    pub detail: Option<u16>,
}

impl Enhanced {
    /// Reads `4.7.0`, `4.x.2`, `5.7.606`; the whole of `text` must be the code.
    pub fn parse(text: &str) -> Option<Enhanced> {
        let (code, rest) = Enhanced::prefix(text.as_bytes())?;
        rest.is_empty().then_some(code)
    }

    /// Reads a code at the start of `bytes`; returns it with what follows.
    fn prefix(bytes: &[u8]) -> Option<(Enhanced, &[u8])> {
        let (&class, rest) = bytes.split_first()?;
        if !matches!(class, b'2' | b'4' | b'5') {
            return None;
        }
        let (subject, rest) = number(rest.strip_prefix(b".")?)?;
        let (detail, rest) = number(rest.strip_prefix(b".")?)?;
        // An address or a version (`4.3.2.1`, `5.7.1beta`) only looks like a code.
        let ends = rest.first().is_none_or(|&b| !(b.is_ascii_alphanumeric() || b == b'.' && rest.len() > 1));
        ends.then_some((Enhanced { class: class - b'0', subject, detail }, rest))
    }
}

/// One to three digits, or a literal `x`.
fn number(bytes: &[u8]) -> Option<(Option<u16>, &[u8])> {
    if let Some(rest) = bytes.strip_prefix(b"x").or_else(|| bytes.strip_prefix(b"X")) {
        return Some((None, rest));
    }
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 3 {
        return None;
    }
    let value = bytes[..digits].iter().fold(0u16, |n, b| n * 10 + u16::from(b - b'0'));
    Some((Some(value), &bytes[digits..]))
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.class)?;
        match self.subject {
            Some(n) => write!(f, "{n}.")?,
            None => f.write_str("x.")?,
        }
        match self.detail {
            Some(n) => write!(f, "{n}"),
            None => f.write_str("x"),
        }
    }
}

/// A complete reply, owned. `Display` gives the wire form, lines separated by `\n`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The three-digit code, 0 to 999.
    pub code: u16,
    /// The text of each line after code and separator; at least one line, perhaps empty.
    pub lines: Vec<String>,
    /// The enhanced code: the last line's if it has one, else the nearest before it.
    pub enhanced: Option<Enhanced>,
    /// The code of each line, where they differ; else empty.
    pub mixed: Vec<u16>,
}

impl Reply {
    /// A reply of these lines (texts without code).
    pub fn new(code: u16, lines: Vec<String>) -> Reply {
        let enhanced = lines.iter().rev().find_map(|line| find_enhanced(line).map(|(code, _, _)| code));
        Reply { code, lines, enhanced, mixed: Vec::new() }
    }

    /// Reads a reply as people write it down: `421 text`, or several lines `250-a\n250 b`. ReplyLine ends may be CRLF.
    ///
    /// # Errors
    /// The first line that is no reply line.
    pub fn parse(text: &str) -> Result<Reply, Malformed> {
        let mut bytes = text.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
        bytes.extend_from_slice(b"\r\n");
        let mut scanner = Scanner::default();
        let mut input = bytes.as_slice();
        match scanner.scan(&mut input) {
            Some(Ok(raw)) if input.is_empty() => Ok(raw.to_reply()),
            Some(Ok(_)) => Err(Malformed::new(ReplyFault::Trailing, &bytes)),
            Some(Err(malformed)) => Err(malformed),
            None => Err(Malformed::new(ReplyFault::Unfinished, &bytes)),
        }
    }

    /// The first digit of the code.
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// The text of all lines joined by a space, without the enhanced codes: what a person would read.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let (before, after) = match find_enhanced(line) {
                Some((_, start, end)) => (line[..start].trim(), line[end..].trim()),
                None => (line.trim(), ""),
            };
            for part in [before, after] {
                if !part.is_empty() {
                    if !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(part);
                }
            }
        }
        text
    }
}

/// The enhanced code of a line and the byte range it fills: at the start (with or without Cisco's `#`), or as `(#4.3.0)`.
fn find_enhanced(line: &str) -> Option<(Enhanced, usize, usize)> {
    let bytes = line.as_bytes();
    let lead = bytes.iter().take_while(|b| **b == b' ').count();
    let start = lead + usize::from(bytes.get(lead) == Some(&b'#'));
    if let Some((code, rest)) = Enhanced::prefix(&bytes[start..]) {
        return Some((code, lead, bytes.len() - rest.len()));
    }
    let open = line.rfind("(#")?;
    let (code, rest) = Enhanced::prefix(&bytes[open + 2..])?;
    (rest.first() == Some(&b')')).then(|| (code, open, bytes.len() - rest.len() + 1))
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.lines.iter().enumerate() {
            let last = i + 1 == self.lines.len();
            let code = self.mixed.get(i).copied().unwrap_or(self.code);
            if i > 0 {
                f.write_str("\n")?;
            }
            match (last, line.is_empty()) {
                (true, true) => write!(f, "{code:03}")?,
                _ => write!(f, "{code:03}{}{line}", if last { ' ' } else { '-' })?,
            }
        }
        Ok(())
    }
}

/// What is wrong with malformed input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyFault {
    /// A line that does not begin with three digits.
    NoCode,
    /// Something else than a space, `-` or the line's end after the code.
    Separator,
    /// More than [`MAX_LINE`] bytes without a line end.
    LineTooLong,
    /// More than [`MAX_REPLY`] bytes without a last line.
    ReplyTooLong,
    /// The last line is missing (only when parsing stored text).
    Unfinished,
    /// More than one reply (only when parsing stored text).
    Trailing,
}

/// Input that is no reply, kept as evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: \"{}\"", self.describe(), self.evidence)]
pub struct Malformed {
    /// What is wrong.
    pub fault: ReplyFault,
    /// The first bytes of the offending input, at most 256, as lossy text.
    pub evidence: String,
}

impl Malformed {
    fn new(fault: ReplyFault, bytes: &[u8]) -> Malformed {
        let bytes = &bytes[..bytes.len().min(256)];
        Malformed {
            fault,
            evidence: String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']).to_owned(),
        }
    }

    /// The fault in words.
    pub fn describe(&self) -> &'static str {
        match self.fault {
            ReplyFault::NoCode => "a line without a reply code",
            ReplyFault::Separator => "no space or hyphen after the reply code",
            ReplyFault::LineTooLong => "a reply line over 4096 bytes",
            ReplyFault::ReplyTooLong => "a reply over 65536 bytes",
            ReplyFault::Unfinished => "a reply without its last line",
            ReplyFault::Trailing => "more than one reply",
        }
    }
}

/// A complete reply, still in the input or in the scanner's buffer.
#[derive(Clone, Copy, Debug)]
pub struct RawReply<'a> {
    /// The three-digit code; the last line's, if they differ.
    pub code: u16,
    mixed: bool,
    bytes: &'a [u8],
}

impl RawReply<'_> {
    /// Whether its lines have different codes.
    pub fn is_mixed(self) -> bool {
        self.mixed
    }

    /// Whether its lines have codes of different classes, so that it says yes and no at once.
    pub fn is_contradictory(self) -> bool {
        self.mixed && self.codes().any(|code| code / 100 != self.code / 100)
    }

    /// The code of each line.
    fn codes(self) -> impl Iterator<Item = u16> {
        self.bytes.split_inclusive(|&b| b == b'\n').map(code_of)
    }

    /// A number that stands for what it says: that of two replies is the same if their bytes are.
    pub fn fingerprint(self) -> u64 {
        use std::hash::{DefaultHasher, Hasher};
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        hasher.finish()
    }

    /// A number that stands for how it is worded: its codes and words, but for those words that hold a digit, an address or a
    /// bracket, as queue numbers and recipients do.
    pub fn wording(self) -> u64 {
        use std::hash::{DefaultHasher, Hasher};
        let mut hasher = DefaultHasher::new();
        for line in self.bytes.split_inclusive(|&b| b == b'\n') {
            let line = trim_line_end(line);
            let (code, text) = line.split_at(line.len().min(4));
            hasher.write(code);
            for (at, word) in text.split(u8::is_ascii_whitespace).enumerate() {
                let varies = |b: &u8| b.is_ascii_digit() || b"@<>[]()=".contains(b);
                let is_enhanced = at == 0 && Enhanced::prefix(word).is_some_and(|(_, rest)| rest.is_empty());
                if is_enhanced || !word.iter().any(varies) {
                    hasher.write(word);
                }
                hasher.write_u8(b' ');
            }
            hasher.write_u8(b'\n');
        }
        hasher.finish()
    }

    /// The owned form.
    pub fn to_reply(self) -> Reply {
        let lines = self
            .bytes
            .split_inclusive(|&b| b == b'\n')
            .map(|line| {
                let text = trim_line_end(line);
                String::from_utf8_lossy(text.get(4..).unwrap_or_default()).into_owned()
            })
            .collect();
        let mixed = if self.mixed { self.codes().collect() } else { Vec::new() };
        Reply { mixed, ..Reply::new(self.code, lines) }
    }
}

/// The code that a line begins with; its digits were seen before.
fn code_of(line: &[u8]) -> u16 {
    line.iter().take(3).fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
}

/// Reads replies incrementally, however the bytes are cut, within [`MAX_LINE`] and [`MAX_REPLY`].
#[derive(Debug, Default)]
pub struct Scanner {
    /// The reply so far, when it did not come whole.
    partial: Vec<u8>,
    /// Where the unfinished line begins in `partial`.
    line: usize,
    /// The code of the lines so far.
    code: Option<u16>,
    /// They had different ones.
    mixed: bool,
    spent: bool,
}

/// What one line says.
enum ReplyLine {
    Last(u16),
    More(u16),
}

impl Scanner {
    /// Takes bytes off the front of `input`. `Some(Ok)`: a complete reply. `Some(Err)`: the dialogue is out of step and
    /// cannot go on. `None`: all input was taken and the reply is not complete yet.
    pub fn scan<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Result<RawReply<'s>, Malformed>> {
        if self.spent {
            // The buffer is given back rather than kept: a session at rest holds none.
            *self = Scanner::default();
        }
        if self.partial.is_empty() {
            let whole = *input;
            let mut at = 0;
            while let Some(end) = memchr::memchr(b'\n', &whole[at..]) {
                let line = &whole[at..at + end + 1];
                at += end + 1;
                match Scanner::line(line, at) {
                    Err(malformed) => return Some(Err(malformed)),
                    Ok(ReplyLine::Last(code)) => {
                        *input = &whole[at..];
                        let mixed = self.note(code);
                        (self.code, self.mixed) = (None, false);
                        return Some(Ok(RawReply { code, mixed, bytes: &whole[..at] }));
                    }
                    Ok(ReplyLine::More(code)) => _ = self.note(code),
                }
            }
            self.partial.extend_from_slice(whole);
            self.line = at;
        } else {
            while let Some(end) = memchr::memchr(b'\n', input) {
                self.partial.extend_from_slice(&input[..end + 1]);
                *input = &input[end + 1..];
                match Scanner::line(&self.partial[self.line..], self.partial.len()) {
                    Err(malformed) => return Some(Err(malformed)),
                    Ok(ReplyLine::Last(code)) => {
                        self.spent = true;
                        let mixed = self.note(code);
                        return Some(Ok(RawReply { code, mixed, bytes: &self.partial }));
                    }
                    Ok(ReplyLine::More(code)) => {
                        self.note(code);
                        self.line = self.partial.len();
                    }
                }
            }
            self.partial.extend_from_slice(input);
        }
        *input = &[];
        // What can never become a reply is said now, not at the time-out.
        let rest = &self.partial[self.line..];
        earliest_fault(rest, self.line).map(|fault| Err(Malformed::new(fault, rest)))
    }

    /// Whether part of a reply was read and the rest is missing.
    pub fn is_partial(&self) -> bool {
        !self.spent && !self.partial.is_empty()
    }

    /// What was read of an unfinished reply, as evidence.
    pub fn evidence(&self) -> String {
        Malformed::new(ReplyFault::Unfinished, if self.spent { &[] } else { &self.partial }).evidence
    }

    /// Takes note of the code of a line; whether the reply's lines have had different ones.
    fn note(&mut self, code: u16) -> bool {
        self.mixed |= self.code.is_some_and(|before| before != code);
        self.code = Some(code);
        self.mixed
    }

    /// Judges one line with its end; `total` is the reply's length so far.
    fn line(line: &[u8], total: usize) -> Result<ReplyLine, Malformed> {
        // Nearly all are so; the rest decides the same.
        if let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ (b' ' | b'-'), ..] = *line
            && line.len() <= MAX_LINE
            && total <= MAX_REPLY
        {
            let code = [a, b, c].into_iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
            return Ok(if after == b' ' { ReplyLine::Last(code) } else { ReplyLine::More(code) });
        }
        let text = trim_line_end(line);
        if let Some(fault) = earliest_fault(line, total - line.len()) {
            return Err(Malformed::new(fault, text));
        }
        let [_, _, _, rest @ ..] = text else { return Err(Malformed::new(ReplyFault::NoCode, text)) };
        let code = code_of(text);
        match rest.first() {
            None | Some(b' ') => Ok(ReplyLine::Last(code)),
            Some(b'-') => Ok(ReplyLine::More(code)),
            Some(_) => Err(Malformed::new(ReplyFault::Separator, text)),
        }
    }
}

/// What is wrong with a line, or the beginning of one, that stands after `before` bytes of the reply, as far as that is seen
/// before its end. Of several faults it is the one whose byte comes first: so it does not depend on how the bytes were cut.
fn earliest_fault(line: &[u8], before: usize) -> Option<ReplyFault> {
    let no_code = line.iter().take(3).position(|byte| !byte.is_ascii_digit());
    // A CR there may belong to the line's end.
    let most = MAX_LINE + usize::from(line.get(MAX_LINE) == Some(&b'\r'));
    let line_too_long = Some(most).filter(|at| line.get(*at).is_some_and(|byte| *byte != b'\n'));
    let reply_too_long = (before + line.len() > MAX_REPLY).then(|| MAX_REPLY.saturating_sub(before));
    [
        (no_code, ReplyFault::NoCode),
        (line_too_long, ReplyFault::LineTooLong),
        (reply_too_long, ReplyFault::ReplyTooLong),
    ]
    .into_iter()
    .filter_map(|(at, fault)| Some((at?, fault)))
    .min_by_key(|(at, _)| *at)
    .map(|(_, fault)| fault)
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
