//! Transcripts: the dialogues of a few sessions, kept as evidence for their conditions.
//!
//! # Decisions
//! - It is unknown beforehand which session will fail. So the first sessions of a worker are recorded, and later
//!   sessions while a condition has too few transcripts; other sessions cost nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::condition::Condition;
use crate::smtp::dialogue::{Dialogue, DialoguePart};

/// The largest number of transcripts that each worker keeps of one condition.
const KEPT: u32 = 2;
/// The largest number of sessions that each worker records at once.
const LIVE: u32 = 16;
/// A transcript of this size, in bytes, gets no further line of the dialogue.
const LENGTH: usize = 32 * 1024;
/// A transcript of this size, in bytes, gets no further remark.
const WITH_NOTES: usize = 2 * LENGTH;
/// The largest number of lines of a content that are shown. All commands and replies are shown.
const CONTENT_LINES: usize = 12;

/// The dialogue of one session.
#[derive(Debug)]
pub(super) struct SessionTranscript {
    text: String,
    dialogue: Dialogue,
    /// The number of shown lines of the current content.
    content: usize,
    /// The numbers of lines and bytes of the current content that are left out.
    left_out: (usize, usize),
    full: bool,
}

impl SessionTranscript {
    /// Adds a remark. Remarks have room of their own after the dialogue, because the failure at the end of a long
    /// session must be in its transcript.
    pub fn note(&mut self, at: Duration, note: &str) {
        self.end_content(at);
        if self.text.len() < WITH_NOTES {
            self.line(at, "--", note);
        }
    }

    /// Adds bytes that were sent.
    pub fn sent(&mut self, at: Duration, bytes: &[u8]) {
        if self.full {
            return;
        }
        let mut dialogue = std::mem::take(&mut self.dialogue);
        for (part, piece) in dialogue.sent(bytes) {
            if part == DialoguePart::Content && self.content >= CONTENT_LINES {
                self.left_out.0 += 1;
                self.left_out.1 += piece.len();
                continue;
            }
            if part == DialoguePart::Content {
                self.content += 1;
            } else {
                self.end_content(at);
            }
            self.bytes(at, "C:", piece);
        }
        self.dialogue = dialogue;
    }

    /// Adds bytes that were read.
    pub fn received(&mut self, at: Duration, bytes: &[u8]) {
        if self.full {
            return;
        }
        self.end_content(at);
        self.dialogue.received(bytes);
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            self.bytes(at, "S:", line);
        }
    }

    /// Adds a note on the lines of a content that are left out.
    fn end_content(&mut self, at: Duration) {
        let (lines, bytes) = std::mem::take(&mut self.left_out);
        self.content = 0;
        if lines > 0 && !self.full {
            self.line(at, "C:", &format!("[{lines} more lines of content, {bytes} bytes]"));
        }
    }

    fn bytes(&mut self, at: Duration, who: &str, line: &[u8]) {
        if self.text.len() < LENGTH {
            self.line(at, who, String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']));
        } else if !self.full {
            self.full = true;
            self.line(at, "--", "the transcript is full: the rest of the dialogue is left out");
        }
    }

    fn line(&mut self, at: Duration, who: &str, line: &str) {
        write!(self.text, "{:>12.6} {who} ", at.as_secs_f64()).expect("a string takes all");
        for char in line.chars().take(1000) {
            match char {
                ' '..='~' => self.text.push(char),
                // Invisible and control characters are escaped.
                _ => self.text.extend(char.escape_default()),
            }
        }
        self.text.push('\n');
    }
}

/// The transcripts of one worker.
#[derive(Debug, Default)]
pub(super) struct Transcripts {
    kept: BTreeMap<Condition, u32>,
    /// Conditions with too few transcripts.
    wanted: BTreeMap<Condition, ()>,
    first: u32,
    live: u32,
    /// The number of kept sessions without a condition.
    good: u32,
    transcripts: Vec<(String, String)>,
}

impl Transcripts {
    /// Returns a transcript for a new session, if it is to be recorded.
    pub fn start(&mut self) -> Option<Box<SessionTranscript>> {
        if self.live >= LIVE || self.first >= 2 && self.wanted.is_empty() {
            return None;
        }
        self.first += 1;
        self.live += 1;
        Some(Box::new(SessionTranscript {
            text: String::new(),
            dialogue: Dialogue::default(),
            content: 0,
            left_out: (0, 0),
            full: false,
        }))
    }

    /// Notes a condition.
    pub fn met(&mut self, condition: Condition) {
        if self.kept.get(&condition).is_none_or(|kept| *kept < KEPT) {
            self.wanted.entry(condition).or_default();
        }
    }

    /// Takes the transcript of a session that ended at `now`; `condition`: its first condition.
    pub fn over(
        &mut self,
        now: Duration,
        transcript: &mut SessionTranscript,
        worker: u32,
        condition: Option<Condition>,
    ) {
        self.live -= 1;
        transcript.end_content(now);
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
                self.good = self.good.saturating_add(1);
                ("no-failure", self.good)
            }
        };
        if count <= KEPT {
            self.transcripts.push((format!("{stem}-w{worker}-{count}"), transcript.text.clone()));
        }
    }

    /// Returns the transcripts kept since the last call: file stem and text.
    pub fn take(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.transcripts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stands_as_it_is_and_what_cannot_be_seen_is_spelled_out() {
        let mut transcript = Transcripts::default().start().unwrap();
        transcript.received(Duration::from_micros(1_500_001), b"250 \"a\\b\" it's\t\x1b[0m \xc3\xa4\r\n");
        assert_eq!(transcript.text, "    1.500001 S: 250 \"a\\b\" it's\\t\\u{1b}[0m \\u{e4}\n");
    }

    #[test]
    fn a_group_in_the_write_of_the_content_is_shown_whole_and_only_content_is_shortened() {
        let mut transcript = Transcripts::default().start().unwrap();
        let at = Duration::ZERO;
        let recipients: String =
            (0..30).map(|n| format!("RCPT TO:<user{n}@recipient.example>\r\n")).collect();
        let content: String = (0..100).map(|n| format!("line {n}\r\n")).collect();
        transcript.sent(at, format!("MAIL FROM:<a@b>\r\n{recipients}DATA\r\n").as_bytes());
        transcript.received(at, format!("250 ok\r\n{}354 go\r\n", "250 ok\r\n".repeat(30)).as_bytes());
        transcript.sent(at, content.as_bytes());
        transcript.sent(at, b"last\r\n.\r\nMAIL FROM:<second@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
        transcript.received(at, b"452 4.3.1 queue full\r\n");
        let shown = |wanted: &str| transcript.text.lines().filter(|line| line.contains(wanted)).count();
        assert_eq!((shown("C: RCPT TO:<user"), shown("S: 250 ok")), (30, 31));
        assert_eq!((shown("C: line "), shown("C: [89 more lines of content, 798 bytes]")), (12, 1));
        assert_eq!((shown("C: ."), shown("MAIL FROM:<second@b>"), shown("C: DATA")), (1, 1, 2));
        let order: Vec<usize> = ["[89 more", "C: .", "second@b", "452 "]
            .iter()
            .map(|text| transcript.text.find(text).unwrap())
            .collect();
        assert!(order.is_sorted(), "{}", transcript.text);

        // A chunk (RFC 3030) is followed by its group without a line end between them.
        let mut transcript = Transcripts::default().start().unwrap();
        let chunk = "x\r\n".repeat(50) + "end";
        transcript
            .sent(at, format!("BDAT {} LAST\r\n{chunk}MAIL FROM:<third@b>\r\n", chunk.len()).as_bytes());
        assert!(
            transcript.text.contains("C: [39 more lines of content, 117 bytes]\n"),
            "{}",
            transcript.text
        );
        assert!(transcript.text.ends_with("C: MAIL FROM:<third@b>\n"));
    }

    #[test]
    fn a_full_transcript_still_takes_the_failure_and_stays_bounded() {
        let mut transcripts = Transcripts::default();
        let mut transcript = transcripts.start().unwrap();
        (0..10_000).for_each(|_| transcript.sent(Duration::ZERO, b"NOOP is said again and again\r\n"));
        assert!(transcript.text.len() < LENGTH + 1100);
        assert!(transcript.text.ends_with("left out\n"));
        transcript.note(Duration::ZERO, "body: queue-full (deferred): 452 4.3.1 queue full");
        assert!(transcript.text.ends_with("452 4.3.1 queue full\n"));
        (0..10_000).for_each(|_| transcript.note(Duration::ZERO, "again"));
        assert!(transcript.text.len() < WITH_NOTES + 1100);
    }

    #[test]
    fn what_is_left_out_of_a_content_is_noted_even_if_the_session_ends_in_it() {
        let mut transcripts = Transcripts::default();
        let at = Duration::ZERO;
        let mut lost = |noted: bool| {
            let mut transcript = transcripts.start().unwrap();
            transcript.sent(at, b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
            transcript.received(at, b"250 ok\r\n250 ok\r\n354 go\r\n");
            transcript.sent(at, "line\r\n".repeat(20).as_bytes());
            if noted {
                transcript.note(at, "body: connection-dropped (dropped)");
            }
            transcripts.over(at, &mut transcript, 0, None);
            transcripts.take().remove(0).1
        };
        let left_out = "C: [8 more lines of content, 48 bytes]\n";
        let text = lost(false);
        assert!(text.ends_with(left_out), "{text}");
        let text = lost(true);
        assert!(text.ends_with("-- body: connection-dropped (dropped)\n"), "{text}");
        assert_eq!(text.matches(left_out).count(), 1, "{text}");
        assert!(text.find(left_out) < text.find("-- body"), "{text}");
    }
}
