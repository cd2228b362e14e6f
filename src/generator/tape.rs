//! Transcripts: the dialogue of a few sessions, kept as evidence for the conditions they met.
//!
//! # Decisions
//! - Nobody knows beforehand which session will fail. So the first sessions of a worker are taped, and after that new ones
//!   whenever a condition was met that has no transcripts yet; the others cost nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::collector::Condition;

/// Transcripts kept of one condition, by each worker.
const KEPT: u32 = 2;
/// Sessions taped at once, by each worker.
const LIVE: u32 = 16;
/// What one tape holds of the dialogue, in octets, and with our remarks.
const LENGTH: usize = 32 * 1024;
const WITH_NOTES: usize = 2 * LENGTH;

/// The dialogue of one session.
#[derive(Debug)]
pub(super) struct Tape {
    text: String,
}

impl Tape {
    /// A line of our own remarks. There is room for them when there is none for the dialogue any more: the failure that a
    /// long session ends with is what its transcript is kept for.
    pub fn note(&mut self, at: Duration, note: &str) {
        if self.text.len() < WITH_NOTES {
            self.line(at, "--", note);
        }
    }

    /// Octets that were sent.
    pub fn sent(&mut self, at: Duration, bytes: &[u8]) {
        self.bytes(at, "C:", bytes);
    }

    /// Octets that were read.
    pub fn received(&mut self, at: Duration, bytes: &[u8]) {
        self.bytes(at, "S:", bytes);
    }

    fn bytes(&mut self, at: Duration, who: &str, bytes: &[u8]) {
        const HEAD: usize = 12;
        if self.text.len() >= LENGTH {
            return;
        }
        let mut lines = bytes.split_inclusive(|b| *b == b'\n');
        for line in lines.by_ref().take(HEAD) {
            self.line(at, who, String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']));
        }
        let rest: usize = lines.map(<[u8]>::len).sum();
        if rest > 0 {
            self.line(at, who, &format!("[{rest} more octets]"));
        }
    }

    fn line(&mut self, at: Duration, who: &str, line: &str) {
        write!(self.text, "{:>12.6} {who} ", at.as_secs_f64()).expect("a string takes all");
        for char in line.chars().take(1000) {
            match char {
                ' '..='~' => self.text.push(char),
                // What would not be seen, or do something on a terminal, is spelled out.
                _ => self.text.extend(char.escape_default()),
            }
        }
        self.text.push('\n');
    }
}

/// The tapes of one worker.
#[derive(Debug, Default)]
pub(super) struct Tapes {
    kept: BTreeMap<Condition, u32>,
    /// Conditions that were met and have too few transcripts.
    wanted: BTreeMap<Condition, ()>,
    first: u32,
    live: u32,
    transcripts: Vec<(String, String)>,
}

impl Tapes {
    /// A tape for a new session, if it should have one.
    pub fn tape(&mut self) -> Option<Box<Tape>> {
        if self.live >= LIVE || self.first >= 2 && self.wanted.is_empty() {
            return None;
        }
        self.first += 1;
        self.live += 1;
        Some(Box::new(Tape { text: String::new() }))
    }

    /// A condition was met.
    pub fn met(&mut self, condition: Condition) {
        if self.kept.get(&condition).is_none_or(|kept| *kept < KEPT) {
            self.wanted.entry(condition).or_default();
        }
    }

    /// A taped session is over; `condition`: the first it met.
    pub fn over(&mut self, tape: &Tape, worker: u32, condition: Option<Condition>) {
        self.live -= 1;
        let (stem, count) = match condition {
            Some(condition) => {
                let kept = self.kept.entry(condition).or_default();
                *kept += 1;
                if *kept >= KEPT {
                    self.wanted.remove(&condition);
                }
                (condition.as_str(), *kept)
            }
            None => {
                let good = self.transcripts.iter().filter(|(stem, _)| stem.starts_with("no-failure")).count();
                ("no-failure", u32::try_from(good).unwrap_or(u32::MAX - 1) + 1)
            }
        };
        if count <= KEPT {
            self.transcripts.push((format!("{stem}-w{worker}-{count}"), tape.text.clone()));
        }
    }

    /// All that was kept: file stem and text.
    pub fn take(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.transcripts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stands_as_it_is_and_what_cannot_be_seen_is_spelled_out() {
        let mut tape = Tapes::default().tape().unwrap();
        tape.received(Duration::from_micros(1_500_001), b"250 \"a\\b\" it's\t\x1b[0m \xc3\xa4\r\n");
        assert_eq!(tape.text, "    1.500001 S: 250 \"a\\b\" it's\\t\\u{1b}[0m \\u{e4}\n");
    }

    #[test]
    fn a_full_tape_still_takes_the_failure_and_stays_bounded() {
        let mut tapes = Tapes::default();
        let mut tape = tapes.tape().unwrap();
        (0..10_000).for_each(|_| tape.sent(Duration::ZERO, b"NOOP is said again and again\r\n"));
        assert!(tape.text.len() < LENGTH + 1100);
        tape.note(Duration::ZERO, "body: queue-full (deferred): 452 4.3.1 queue full");
        assert!(tape.text.ends_with("452 4.3.1 queue full\n"));
        (0..10_000).for_each(|_| tape.note(Duration::ZERO, "again"));
        assert!(tape.text.len() < WITH_NOTES + 1100);
    }
}
