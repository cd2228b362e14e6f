//! Replies: the bounded incremental scanner, a reply as it was received, and its enhanced code.
//!
//! This module reads what a listener sent and keeps malformed input as evidence. `condition` decides what a reply
//! *means*.
//!
//! # Decisions
//! - A reply that arrives whole in one read is parsed in place, without a copy. Only a partial reply is stored.
//! - Any three digits are a code: RFC 5321 4.2 allows 2yz to 5yz, but real listeners send 440 or 999. The classifier
//!   judges them. A bare LF ends a line, because many listeners send it.
//! - RFC 5321 4.2.1 gives all lines of a reply one code. A listener that reaches a limit while it sends its banner
//!   sends `220-` and ends with `421`. The code of the last line counts, and [`RawReply::is_mixed`] reports that the
//!   codes differ.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest line that is accepted, in bytes without its line end (RFC 5321 4.5.3.1.5 asks for 512 with CRLF).
pub const MAX_LINE: usize = 4096;
/// The longest reply that is accepted, all lines together, in bytes.
pub const MAX_REPLY: usize = 64 * 1024;

/// An enhanced status code (RFC 3463). `None` stands for a literal `x`, as in Cisco's `4.x.2`.
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
    /// Parses `4.7.0`, `4.x.2` or `5.7.606`. The whole of `text` must be the code.
    pub fn parse(text: &str) -> Option<Enhanced> {
        let (code, rest) = Enhanced::prefix(text.as_bytes())?;
        rest.is_empty().then_some(code)
    }

    /// Parses a code at the start of `bytes`. Returns it with the rest.
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

/// Parses one to three digits, or a literal `x`.
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
    /// The text of each line after code and separator. There is at least one line, which may be empty.
    pub lines: Vec<String>,
    /// The enhanced code of the last line, or else of the nearest line before it that has one.
    pub enhanced: Option<Enhanced>,
    /// The code of each line if the codes differ, else empty.
    pub mixed: Vec<u16>,
}

impl Reply {
    /// Creates a reply of these lines (texts without code).
    pub fn new(code: u16, lines: Vec<String>) -> Reply {
        let enhanced = lines.iter().rev().find_map(|line| find_enhanced(line).map(|(code, _, _)| code));
        Reply { code, lines, enhanced, mixed: Vec::new() }
    }

    /// Parses a reply as people write it: `421 text`, or several lines `250-a\n250 b`. Lines may end in CRLF.
    ///
    /// # Errors
    /// The first fault of the text.
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

    /// Whether the lines have codes of different classes, so that the reply accepts and refuses at once.
    pub fn is_contradictory(&self) -> bool {
        self.mixed.iter().any(|code| code / 100 != self.class())
    }

    /// Returns the first digit of the code.
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// Returns the text that a person would read: all lines joined by a space, without the enhanced codes.
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

/// Finds the enhanced code of a line and the range of its bytes: at the start (with or without Cisco's `#`), or as
/// `(#4.3.0)`.
fn find_enhanced(line: &str) -> Option<(Enhanced, usize, usize)> {
    let bytes = line.as_bytes();
    let lead = bytes.iter().take_while(|b| **b == b' ').count();
    let start = lead + usize::from(bytes.get(lead) == Some(&b'#'));
    if let Some((code, rest)) = Enhanced::prefix(&bytes[start..]) {
        return Some((code, lead, bytes.len() - rest.len()));
    }
    let mut end = bytes.len();
    let open = loop {
        let open = memchr::memrchr(b'(', &bytes[..end])?;
        if bytes.get(open + 1) == Some(&b'#') {
            break open;
        }
        end = open;
    };
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

/// The fault of malformed input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyFault {
    /// A line that does not begin with three digits.
    NoCode,
    /// The byte after the code is not a space, `-` or the line end.
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

/// Input that is not a reply, kept as evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: \"{}\"", self.describe(), self.evidence)]
pub struct Malformed {
    /// The fault.
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

    /// Returns the fault in words.
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

/// A complete reply that is still in the input or in the scanner's buffer.
#[derive(Clone, Copy, Debug)]
pub struct RawReply<'a> {
    /// The three-digit code; that of the last line if the codes differ.
    pub code: u16,
    mixed: bool,
    bytes: &'a [u8],
}

impl RawReply<'_> {
    /// Whether the lines have different codes.
    pub fn is_mixed(self) -> bool {
        self.mixed
    }

    /// Whether the lines have codes of different classes, so that the reply accepts and refuses at once.
    pub fn is_contradictory(self) -> bool {
        self.mixed && self.codes().any(|code| code / 100 != self.code / 100)
    }

    /// Returns the code of each line.
    fn codes(self) -> impl Iterator<Item = u16> {
        self.bytes.split_inclusive(|&b| b == b'\n').map(code_of)
    }

    /// Returns a hash of the reply: equal for two replies with the same bytes.
    pub fn fingerprint(self) -> u64 {
        use std::hash::{DefaultHasher, Hasher};
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        hasher.finish()
    }

    /// Returns a hash of the wording: of the codes and words, except words that hold a digit, an address or a bracket,
    /// such as queue numbers and recipients.
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

    /// Returns an owned copy.
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

/// Returns the code at the start of a line. The caller has checked the digits.
fn code_of(line: &[u8]) -> u16 {
    line.iter().take(3).fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
}

/// Reads replies incrementally, however the bytes are split, within [`MAX_LINE`] and [`MAX_REPLY`].
#[derive(Debug, Default)]
pub struct Scanner {
    /// The reply so far, if it did not arrive whole.
    partial: Vec<u8>,
    /// Where the unfinished line begins in `partial`.
    line: usize,
    /// The code of the last complete line.
    code: Option<u16>,
    /// Whether the lines so far have different codes.
    mixed: bool,
    spent: bool,
}

/// The kind of one line.
enum ReplyLine {
    Last(u16),
    More(u16),
}

impl Scanner {
    /// Removes bytes from the front of `input`. Returns `Some(Ok)` for a complete reply. Returns `Some(Err)` for
    /// malformed input, after which the dialogue cannot go on. Returns `None` if all input was taken and the reply is
    /// not complete yet.
    pub fn scan<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Result<RawReply<'s>, Malformed>> {
        if self.spent {
            // The buffer is freed rather than kept, so that an idle session holds none.
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
        // A line that can never become a reply line is reported at once, not at the time-out.
        let rest = &self.partial[self.line..];
        earliest_fault(rest, self.line).map(|fault| Err(Malformed::new(fault, rest)))
    }

    /// Whether part of a reply was read and the rest is missing.
    pub fn is_partial(&self) -> bool {
        !self.spent && !self.partial.is_empty()
    }

    /// Returns the part of an unfinished reply, as evidence.
    pub fn evidence(&self) -> String {
        Malformed::new(ReplyFault::Unfinished, if self.spent { &[] } else { &self.partial }).evidence
    }

    /// Returns the unfinished reply as if its last line were complete, if that line refuses: for a stream that has ended.
    /// A positive reply is never taken so, because its line may have been meant to say more.
    pub fn refusal_without_end(&self) -> Option<Reply> {
        let line = self.partial.get(self.line..).filter(|_| self.is_partial()).map(trim_line_end)?;
        let refuses = matches!(
            line,
            [b'4' | b'5', b'0'..=b'9', b'0'..=b'9'] | [b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' ', ..]
        );
        let code = refuses.then(|| code_of(line))?;
        let mixed = self.mixed || self.code.is_some_and(|before| before != code);
        Some(RawReply { code, mixed, bytes: &self.partial }.to_reply())
    }

    /// Notes the code of a line. Returns whether the codes of the reply differ.
    fn note(&mut self, code: u16) -> bool {
        self.mixed |= self.code.is_some_and(|before| before != code);
        self.code = Some(code);
        self.mixed
    }

    /// Classifies one line with its end. `total` is the length of the reply so far.
    fn line(line: &[u8], total: usize) -> Result<ReplyLine, Malformed> {
        // A fast path for nearly all lines. The code below gives the same result.
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

/// Returns the fault of a line, or of the beginning of a line, after `before` bytes of the reply. If there are several
/// faults, the fault at the earliest byte is returned, so that the result does not depend on how the bytes were split.
fn earliest_fault(line: &[u8], before: usize) -> Option<ReplyFault> {
    let no_code = line.iter().take(3).position(|byte| !byte.is_ascii_digit());
    // A CR at this place may belong to the line end.
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
