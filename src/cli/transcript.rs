//! Writes the transcript of `trace`: lines with their times, and below each exchange its duration and meaning.

use std::io::{self, Write};
use std::time::Duration;

use crate::condition::Condition;
use crate::net::address::Target;
use crate::net::dial::Endpoint;
use crate::report::format;
use crate::smtp::Step;
use crate::smtp::dialogue::DialoguePart;

/// The number of first lines that are shown of a long content; the last two are shown, too.
const FIRST_LINES: usize = 14;
const LAST_LINES: usize = 2;

/// The side that sent a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// smtpress, the client.
    Client,
    /// The listener.
    Listener,
}

impl Speaker {
    /// Returns the name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Speaker::Client => "client",
            Speaker::Listener => "listener",
        }
    }
}

/// Writes a session. A failure to write is kept for [`TranscriptWriter::finish`], and the session goes on.
pub struct TranscriptWriter {
    out: Box<dyn Write>,
    colour: bool,
    /// Whether all lines of a content are shown.
    full: bool,
    broken: Option<io::Error>,
}

impl TranscriptWriter {
    /// Returns a writer without lines.
    pub fn new(out: Box<dyn Write>, colour: bool, full: bool) -> TranscriptWriter {
        TranscriptWriter { out, colour, full, broken: None }
    }

    /// Writes the head: the peer of the session.
    pub fn title(&mut self, target: &Target, endpoint: &Endpoint) {
        let title = if target.is_embedded() {
            format!("{target} listener at {}", endpoint.place)
        } else {
            target.to_string()
        };
        let title = self.paint("1", &title);
        self.write(&title);
        let legend = self.paint("2", "      time  C: client, S: listener, = duration and meaning");
        self.write(&legend);
        self.write("");
    }

    /// Writes lines that were sent together: all of them content, or none. Only content is shortened, with a note.
    pub fn said(&mut self, side: Speaker, part: DialoguePart, at: Duration, lines: &[String]) {
        let who = match side {
            Speaker::Client => self.paint("36", "C:"),
            Speaker::Listener => self.paint("33", "S:"),
        };
        let left_out = lines.len().saturating_sub(FIRST_LINES + LAST_LINES);
        // A note in place of a single line would save nothing.
        let left_out = if left_out > 1 && part == DialoguePart::Content && !self.full { left_out } else { 0 };
        for (index, line) in lines.iter().enumerate() {
            if left_out > 0 && (FIRST_LINES..FIRST_LINES + left_out).contains(&index) {
                if index == FIRST_LINES {
                    let lines = format::counted(left_out as u64, "more line");
                    let note = format!("{:>10}     ... {lines} of content; --full shows them", "");
                    let note = self.paint("2", &note);
                    self.write(&note);
                }
                continue;
            }
            // The dot that ends a content is always shown.
            let time = if index == 0 || line == "." { millis(at) } else { String::new() };
            let time = self.paint("2", &format!("{time:>10}"));
            // Blanks at the end of a content line belong to it.
            let line =
                if line.is_empty() { format!("{time}  {who}") } else { format!("{time}  {who} {line}") };
            self.write(&line);
        }
    }

    /// Writes the duration of a step, and the meaning of its reply or failure.
    pub fn step(&mut self, step: Step, took: Duration, code: Option<u16>, condition: Option<Condition>) {
        let took = format::duration(took.as_nanos() as f64);
        let meaning = code.map(|code| match meaning(code) {
            Some(meaning) => format!("{code:03} {meaning}"),
            None => format!("{code:03}"),
        });
        match condition {
            None => {
                let meaning = meaning.map(|meaning| format!(": {meaning}")).unwrap_or_default();
                let text = self.paint("2", &format!("= {step} took {took}{meaning}"));
                self.write(&format!("{:>12}{text}", ""));
            }
            Some(condition) => {
                let meaning = meaning.map(|meaning| format!(": {meaning}")).unwrap_or_default();
                let text = self.paint("1;31", &format!("= {step} failed after {took}{meaning}"));
                self.write(&format!("{:>12}{text}", ""));
                let text = self.paint("31", &format!("{condition}: {}", condition.meaning()));
                self.write(&format!("{:>14}{text}", ""));
                let text = self.paint("2", condition.remedy());
                self.write(&format!("{:>14}{text}", ""));
            }
        }
    }

    /// Writes a remark on the last step; `good`: it reports no fault.
    pub fn remark(&mut self, text: &str, good: bool) {
        let text = self.paint(if good { "2" } else { "31" }, text);
        self.write(&format!("{:>14}{text}", ""));
    }

    /// Writes how the session ended.
    pub fn end(&mut self, word: &str, good: bool, total: Duration, longest: Option<(Duration, Step)>) {
        self.write("");
        let word = self.paint(if good { "1;32" } else { "1;31" }, word);
        let total = format::duration(total.as_nanos() as f64);
        let longest = longest.map_or(String::new(), |(took, step)| {
            format!("; the longest step was {step}, {}", format::duration(took.as_nanos() as f64))
        });
        self.write(&format!("{word} after {total}{longest}"));
    }

    /// Returns the first failure to write, if there was one.
    pub fn finish(mut self) -> io::Result<()> {
        match self.broken.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn write(&mut self, line: &str) {
        if self.broken.is_none()
            && let Err(error) = writeln!(self.out, "{line}")
        {
            self.broken = Some(error);
        }
    }
}

/// Formats a time since the start, always in the same unit, so that lines can be compared.
fn millis(at: Duration) -> String {
    format!("{:.2} ms", at.as_secs_f64() * 1e3)
}

/// Returns the meaning of a reply code (RFC 5321 4.2.3, RFC 4954, RFC 3207, RFC 3463).
const fn meaning(code: u16) -> Option<&'static str> {
    Some(match code {
        211 => "system status",
        214 => "help",
        220 => "service ready",
        221 => "goodbye, closing the connection",
        235 => "authenticated",
        250 => "done",
        251 => "not local, will forward",
        252 => "cannot verify, but will try",
        334 => "go on with AUTH",
        354 => "start the message, end it with a dot on its own line",
        421 => "service not available, closing the connection; try again later",
        432 => "a password change is needed",
        450 => "mailbox busy or blocked for now; try again later",
        451 => "local error while processing; try again later",
        452 => "not enough storage, or a limit is reached; try again later",
        454 => "not available for now; try again later",
        455 => "cannot take these parameters for now",
        500 => "syntax error, or an unknown command",
        501 => "syntax error in the arguments",
        502 => "command not implemented",
        503 => "bad sequence of commands",
        504 => "parameter not implemented",
        521 => "this host accepts no mail",
        530 => "authentication or TLS is needed first",
        534 => "this way to authenticate is too weak",
        535 => "wrong user or password",
        538 => "encryption is needed to authenticate so",
        550 => "refused: no such mailbox, no access, or policy",
        551 => "not local; try the address it names",
        552 => "exceeds the storage or size allowed",
        553 => "this mailbox name is not allowed",
        554 => "refused",
        555 => "parameters of MAIL or RCPT not known",
        556 => "the domain accepts no mail",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_codes_that_servers_use_has_words() {
        for code in [220, 221, 250, 354, 421, 450, 451, 452, 500, 503, 530, 550, 552, 554] {
            assert!(meaning(code).is_some(), "{code}");
        }
        assert_eq!(meaning(299), None);
    }

    #[test]
    fn times_are_reported_in_one_unit() {
        assert_eq!(millis(Duration::from_micros(1340)), "1.34 ms");
        assert_eq!(millis(Duration::from_secs(30)), "30000.00 ms");
    }
}
