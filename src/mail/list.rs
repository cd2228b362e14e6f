//! Mailboxes from a CSV file: the first column, or the one headed `mailbox` or `email`. Which is used when, `message` decides.

use super::address::{self, InvalidAddress};

/// The most mailboxes of a list.
const MOST: usize = 10_000_000;
/// What heads the column of mailboxes, without regard to case.
const HEADINGS: [&str; 2] = ["mailbox", "email"];

/// Why a file is no list of mailboxes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidList {
    /// A line that is none of CSV.
    #[error("is no CSV: {0}")]
    Csv(String),
    /// A line whose mailbox is none.
    #[error("has in line {line} a mailbox that is none: {reason}")]
    Mailbox {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: InvalidAddress,
    },
    /// A line without the column.
    #[error("has in line {0} no mailbox")]
    Missing(u64),
    /// No mailbox at all.
    #[error("has no mailbox")]
    Empty,
    /// Too many.
    #[error("has more than {MOST} mailboxes")]
    Many,
}

/// Mailboxes, in the order of their file; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    text: Vec<u8>,
    /// Where each ends in the text.
    ends: Vec<u32>,
    longest: u64,
}

impl List {
    /// Reads the file's content.
    ///
    /// # Errors
    /// The first line that holds no mailbox (RFC 5321 4.1.2).
    pub fn parse(file: &[u8]) -> Result<List, InvalidList> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(file);
        let mut list = List { text: Vec::new(), ends: Vec::new(), longest: 0 };
        let (mut record, mut column, mut first) = (csv::ByteRecord::new(), 0, true);
        while reader.read_byte_record(&mut record).map_err(|error| InvalidList::Csv(error.to_string()))? {
            let heading =
                |field: &[u8]| HEADINGS.iter().any(|heading| field.eq_ignore_ascii_case(heading.as_bytes()));
            if std::mem::take(&mut first)
                && let Some(headed) = record.iter().position(heading)
            {
                column = headed;
                continue;
            }
            let line = record.position().map_or(0, csv::Position::line);
            match record.get(column) {
                None | Some(b"") => return Err(InvalidList::Missing(line)),
                Some(mailbox) => list.push(mailbox, line)?,
            }
        }
        if list.ends.is_empty() { Err(InvalidList::Empty) } else { Ok(list) }
    }

    fn push(&mut self, mailbox: &[u8], line: u64) -> Result<(), InvalidList> {
        let shown = String::from_utf8_lossy(mailbox);
        address::check_mailbox(&shown).map_err(|reason| InvalidList::Mailbox { line, reason })?;
        self.text.extend_from_slice(mailbox);
        self.longest = self.longest.max(mailbox.len() as u64);
        match u32::try_from(self.text.len()) {
            Ok(end) if self.ends.len() < MOST => self.ends.push(end),
            _ => return Err(InvalidList::Many),
        }
        Ok(())
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Memory in octets.
    pub fn memory(&self) -> u64 {
        (self.text.capacity() + 4 * self.ends.capacity()) as u64
    }

    /// The mailbox of a number: in turn, and again from the first.
    pub(super) fn mailbox(&self, number: u64) -> &[u8] {
        let place = (number % self.ends.len() as u64) as usize;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[start..self.ends[place] as usize]
    }

    /// Octets of the longest.
    pub(super) fn longest(&self) -> u64 {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(file: &str) -> Vec<String> {
        let list = List::parse(file.as_bytes()).unwrap();
        (0..list.len() as u64).map(|n| String::from_utf8_lossy(list.mailbox(n)).into_owned()).collect()
    }

    #[test]
    fn the_column_is_the_first_or_the_one_that_is_headed() {
        assert_eq!(all("a@b\nc@d\n"), ["a@b", "c@d"]);
        assert_eq!(all("a@b,secret\r\n\r\n\"c{n}@d\" , x,y"), ["a@b", "c{n}@d"]);
        assert_eq!(all("name,Email\nA,a@b\nC,c@d\n"), ["a@b", "c@d"]);
        assert_eq!(all("\u{feff}MAILBOX\na@b\n"), ["a@b"]);
    }

    #[test]
    fn they_come_again_from_the_first() {
        let list = List::parse(b"a@b\nlonger@d\n").unwrap();
        assert_eq!(
            [0, 1, 2, u64::MAX].map(|n| list.mailbox(n)),
            [b"a@b".as_slice(), b"longer@d", b"a@b", b"longer@d"]
        );
        assert_eq!(list.longest(), 8);
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_line() {
        let error = |file: &str| List::parse(file.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error("a@b\nbob\n"),
            "has in line 2 a mailbox that is none: `bob` has no domain: write it as local-part@domain"
        );
        assert_eq!(error("name,email\nA,a@b\nC\n"), "has in line 3 no mailbox");
        assert_eq!(error("email\n"), "has no mailbox");
        assert_eq!(error(""), "has no mailbox");
        assert!(error("a@b\n\"x\r\nRCPT TO:<y>\"@d\n").starts_with("has in line 2 a mailbox that is none:"));
        assert!(List::parse(b"a\xff@b\n").is_err());
    }
}
