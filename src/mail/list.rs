//! Mailboxes from a CSV file: the first column, or the column with a heading such as `mailbox` or `email`. `message`
//! chooses the mailboxes of each message.
//!
//! # Decisions
//! - A first line `sep=;` sets the separator of the columns. Otherwise the tabs, semicolons or commas in the first line
//!   determine the separator.
//! - `Name <a@b.example>` and `<a@b.example>` are read as the address in them, and `<>` as the null reverse path.
//! - All lines are read before an error is reported, so that one report counts all bad lines and names the first of
//!   them.

use std::fmt;

use super::address::{self, InvalidAddress, Rules};

/// The largest number of mailboxes of a list.
const MOST: usize = 10_000_000;
/// The headings of the column with mailboxes. Case, spaces, hyphens and underscores do not matter.
const HEADINGS: [&str; 5] = ["mailbox", "email", "emailaddress", "mail", "address"];
/// How many bad lines an error names.
const NAMED: usize = 5;

/// Why a file is not a list of mailboxes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidList {
    /// A line that is not CSV.
    #[error("is no CSV: {0}")]
    Csv(String),
    /// Lines without a usable mailbox.
    #[error("{0}")]
    Lines(BadLines),
    /// No mailbox at all.
    #[error("has no mailbox")]
    Empty,
    /// Too many mailboxes.
    #[error("has more than {MOST} mailboxes")]
    Many,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// Its mailbox is invalid.
    #[error("{0}")]
    Mailbox(#[from] InvalidAddress),
    /// Its column is missing or empty.
    #[error("it has no mailbox")]
    Missing,
    /// Each of its columns is a mailbox.
    #[error("it has {0} mailboxes: write one a line, or head the column to use `mailbox`")]
    Several(usize),
    /// It has the null path in a list of recipients.
    #[error("`<>` is the null path: only a sender can be that")]
    Null,
}

/// The lines of a file without a usable mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadLines {
    count: u64,
    /// The first of these lines, with their numbers from 1.
    first: Vec<(u64, BadLine)>,
}

impl BadLines {
    /// Returns the number of these lines.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether one of the first of these addresses could be sent if addresses did not have to follow the grammar.
    pub fn has_sendable(&self) -> bool {
        self.first.iter().any(|(_, line)| matches!(line, BadLine::Mailbox(reason) if reason.is_sendable()))
    }

    fn add(&mut self, line: impl Fn() -> u64, what: BadLine) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push((line(), what));
        }
    }

    /// Returns the first of these lines, each with its number and its fault.
    pub fn named(&self) -> String {
        let named: Vec<String> =
            self.first.iter().map(|(line, what)| format!("line {line}: {what}")).collect();
        let more = match self.count - self.first.len() as u64 {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        named.join("; ") + &more
    }
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, &self.first[..]) {
            (1, [(line, BadLine::Missing)]) => write!(f, "has no mailbox in line {line}"),
            (1, [(line, what)]) => write!(f, "has an invalid mailbox in line {line}: {what}"),
            (count, _) => write!(f, "has {count} lines without a mailbox that can be used: {}", self.named()),
        }
    }
}

/// The rules for a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The rules for its addresses.
    pub rules: Rules,
    /// Whether it is a list of senders, which may hold the null reverse path.
    pub senders: bool,
    /// Whether bad lines are skipped and counted.
    pub skip: bool,
}

/// Mailboxes in the order of their file, at least one. An empty mailbox is the null reverse path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    text: Vec<u8>,
    /// The end of each mailbox in the text.
    ends: Vec<u32>,
    longest: u64,
    skipped: BadLines,
}

impl List {
    /// Parses the file's content: UTF-8, without a byte order mark.
    ///
    /// # Errors
    /// All lines without a usable mailbox, unless they are to be skipped; or why the file is not a list.
    pub fn parse(file: &[u8], reading: Reading) -> Result<List, InvalidList> {
        let whole = file;
        let (delimiter, file) = delimiter(whole);
        let before = whole.len() - file.len();
        let bare = file.split(|byte| matches!(byte, b'\r' | b'\n')).any(begins_with_a_quoted_local_part);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .quoting(!bare)
            .delimiter(delimiter)
            .trim(csv::Trim::All)
            .from_reader(file);
        let mut list = List { text: Vec::new(), ends: Vec::new(), longest: 0, skipped: BadLines::default() };
        let (mut record, mut column, mut first) = (csv::ByteRecord::new(), None, true);
        while reader.read_byte_record(&mut record).map_err(|error| InvalidList::Csv(error.to_string()))? {
            if std::mem::take(&mut first)
                && let Some(headed) = record.iter().position(is_heading)
            {
                column = Some(headed);
                continue;
            }
            match mailbox_of(&record, column, reading) {
                Ok(mailbox) => list.push(&mailbox)?,
                Err(bad) => {
                    let at = record.position().map_or(0, |at| before + at.byte() as usize);
                    list.skipped.add(|| line_of(whole, at), bad);
                }
            }
        }
        if list.skipped.count > 0 && !reading.skip {
            return Err(InvalidList::Lines(list.skipped));
        }
        if list.ends.is_empty() {
            return Err(match list.skipped.count {
                0 => InvalidList::Empty,
                _ => InvalidList::Lines(list.skipped),
            });
        }
        Ok(list)
    }

    fn push(&mut self, mailbox: &str) -> Result<(), InvalidList> {
        self.text.extend_from_slice(mailbox.as_bytes());
        self.longest = self.longest.max(mailbox.len() as u64);
        match u32::try_from(self.text.len()) {
            Ok(end) if self.ends.len() < MOST => self.ends.push(end),
            _ => return Err(InvalidList::Many),
        }
        Ok(())
    }

    /// Returns the skipped lines.
    pub fn skipped(&self) -> &BadLines {
        &self.skipped
    }

    /// Whether an address has characters beyond ASCII.
    pub(super) fn needs_utf8(&self) -> bool {
        !self.text.is_ascii()
    }

    /// Returns the number of mailboxes.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the memory that the list takes, in bytes.
    pub fn memory(&self) -> u64 {
        (self.text.capacity() + 4 * self.ends.capacity()) as u64
    }

    /// Returns the mailbox with this number. After the last mailbox the numbering continues with the first.
    pub(super) fn mailbox(&self, number: u64) -> &[u8] {
        let place = (number % self.ends.len() as u64) as usize;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[start..self.ends[place] as usize]
    }

    /// Returns the size of the longest mailbox in bytes.
    pub(super) fn longest(&self) -> u64 {
        self.longest
    }
}

/// Returns the number of the line, from 1, of the record at an offset. The line number of the CSV reader is one too
/// small after CRLF.
pub fn line_of(file: &[u8], at: usize) -> u64 {
    let skipped = file[at.min(file.len())..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let before = &file[..(at + skipped).min(file.len())];
    // Some old files end their lines in a lone CR.
    let end = if memchr::memchr(b'\n', file).is_some() { b'\n' } else { b'\r' };
    memchr::memchr_iter(end, before).count() as u64 + 1
}

/// Returns the separator of the columns of a CSV file, from a first line `sep=;` or else from the text of its first
/// line, and the rest of the file.
pub fn delimiter(file: &[u8]) -> (u8, &[u8]) {
    let first = file.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.trim_ascii().is_empty());
    let Some(first) = first else { return (b',', file) };
    let said = unquoted(first.trim_ascii());
    if let Some(&[delimiter]) =
        said.get(..4).filter(|name| name.eq_ignore_ascii_case(b"sep=")).map(|_| &said[4..])
        && delimiter.is_ascii()
        && !delimiter.is_ascii_alphanumeric()
    {
        let blank = file.len() - file.trim_ascii_start().len();
        let length = file[blank..].iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let rest = length.map_or(&[][..], |length| &file[blank + length..]);
        return (delimiter, rest.strip_prefix(b"\r\n").or(rest.get(1..)).unwrap_or_default());
    }
    let mut quoted = false;
    let outside: Vec<u8> = first
        .iter()
        .copied()
        .filter(|byte| {
            quoted ^= *byte == b'"';
            !quoted
        })
        .collect();
    let count = |delimiter: u8| memchr::memchr_iter(delimiter, &outside).count();
    let delimiter = match (count(b'\t'), count(b';'), count(b',')) {
        (tabs, ..) if tabs > 0 => b'\t',
        (_, semicolons, commas) if semicolons > 0 && semicolons >= commas => b';',
        _ => b',',
    };
    (delimiter, file)
}

/// Whether a line begins like `"a b"@`, which is a mailbox and not a quoted field.
fn begins_with_a_quoted_local_part(line: &[u8]) -> bool {
    let inner = line.trim_ascii_start().strip_prefix(b"\"");
    inner
        .and_then(|inner| Some(&inner[memchr::memchr(b'"', inner)? + 1..]))
        .is_some_and(|rest| rest.starts_with(b"@"))
}

fn is_heading(field: &[u8]) -> bool {
    let plain: Vec<u8> = unquoted(field)
        .iter()
        .filter(|byte| !matches!(byte, b' ' | b'-' | b'_'))
        .map(u8::to_ascii_lowercase)
        .collect();
    HEADINGS.iter().any(|heading| heading.as_bytes() == plain)
}

/// Returns the field without its quotes.
fn unquoted(field: &[u8]) -> &[u8] {
    match field {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'"') => inner.trim_ascii(),
        _ => field,
    }
}

/// Returns the mailbox of a line: from its first column, or from the column with the heading.
fn mailbox_of(record: &csv::ByteRecord, column: Option<usize>, reading: Reading) -> Result<String, BadLine> {
    let read = |field: &[u8]| -> Result<String, BadLine> {
        let text = String::from_utf8_lossy(unquoted(field));
        let mailbox = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
            Some((_, mailbox)) => mailbox.trim(),
            None => &text,
        };
        match mailbox.is_empty() {
            true if text.trim() != "<>" => return Err(BadLine::Missing),
            true if !reading.senders => return Err(BadLine::Null),
            true => {}
            false => address::check_mailbox(mailbox, reading.rules)?,
        }
        Ok(mailbox.to_owned())
    };
    let filled = || record.iter().filter(|field| !field.is_empty());
    if column.is_none() && filled().nth(1).is_some() && filled().all(|field| read(field).is_ok()) {
        return Err(BadLine::Several(filled().count()));
    }
    record.get(column.unwrap_or(0)).map_or(Err(BadLine::Missing), read)
}

#[cfg(test)]
mod tests;
