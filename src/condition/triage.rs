//! The logic of `smtpress classify`: reads replies from lines or JSON objects, makes a record of each, and renders it.
//!
//! This module reads from a given reader and writes to a given writer. The CLI handles files, options and colours.
//!
//! # Decisions
//! - Any bytes are accepted: a line is read as lossy UTF-8 and cut at [`MAX_LINE`], so that a binary file is not fatal.
//! - A line that begins with a reply code is a reply, whatever follows. Any other line is searched for a reply behind a
//!   log prefix. There a code counts only in the places where logs have it: after `said:` and similar words, after a
//!   bracket or a colon, or with an enhanced code behind it. If no code stands in such a place, the first 4yz or 5yz
//!   that a letter follows counts.

use std::io::{self, BufRead, Write};

use serde_json::{Map, Value};

use super::{Classifier, Condition};
use crate::smtp::{Enhanced, Reply, Step};

/// The longest line that is kept, in bytes before the conversion to UTF-8. The rest of a longer line is skipped.
pub const MAX_LINE: usize = 64 * 1024;
/// The largest number of lines of one reply. A further continuation line starts a new reply.
const MAX_LINES: usize = 256;

/// The format of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// One reply on each line. Continuation lines (`421-`) belong to the last line of their reply.
    Lines,
    /// One JSON object on each line: `reply` (lines separated by `\n`), optionally `step`, and any other fields.
    Json,
}

/// The format of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// One line for each reply, with columns for people.
    Table,
    /// One JSON object for each reply: the input's fields and `code, enhanced, condition, group`.
    Json,
}

/// The meaning of one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The fields of the input object; for plain lines, only `reply`.
    pub fields: Map<String, Value>,
    /// The reply code; `None` if the input is not a reply.
    pub code: Option<u16>,
    /// The enhanced code.
    pub enhanced: Option<Enhanced>,
    /// The condition.
    pub condition: Condition,
}

impl Record {
    /// Returns the reply, or the line that is not one, as it was read.
    pub fn text(&self) -> &str {
        self.fields.get("reply").and_then(Value::as_str).unwrap_or_default()
    }

    fn of(mut fields: Map<String, Value>, text: &str, classifier: &Classifier) -> Record {
        let step = fields.get("step").and_then(Value::as_str).and_then(|name| name.parse::<Step>().ok());
        fields.entry("reply").or_insert_with(|| Value::from(text));
        let parsed = Reply::parse(text).ok().or_else(|| Reply::parse(find_reply(text)?).ok());
        match parsed {
            Some(reply) => Record {
                fields,
                code: Some(reply.code),
                enhanced: reply.enhanced,
                condition: classifier.classify(step, &reply, false),
            },
            None => Record { fields, code: None, enhanced: None, condition: Condition::MalformedReply },
        }
    }

    fn to_json(&self) -> Value {
        let mut object = self.fields.clone();
        object.insert("code".into(), self.code.map_or(Value::Null, Value::from));
        object.insert("enhanced".into(), self.enhanced.map_or(Value::Null, |e| Value::from(e.to_string())));
        object.insert("condition".into(), Value::from(self.condition.as_str()));
        object.insert("group".into(), Value::from(self.condition.group().as_str()));
        Value::Object(object)
    }
}

/// Reads records from lines, one reply at a time.
#[derive(Debug)]
pub struct Records<'c, R> {
    source: R,
    input: InputFormat,
    classifier: &'c Classifier,
    /// A line that was read already and belongs to the next reply.
    ahead: Option<String>,
}

impl<'c, R: BufRead> Records<'c, R> {
    /// Creates the records of the content of `source`.
    pub fn new(source: R, input: InputFormat, classifier: &'c Classifier) -> Records<'c, R> {
        Records { source, input, classifier, ahead: None }
    }

    fn next_record(&mut self) -> io::Result<Option<Record>> {
        let Some(first) = self.next_line()? else { return Ok(None) };
        if self.input == InputFormat::Json {
            return Ok(Some(match serde_json::from_str::<Map<String, Value>>(&first) {
                Ok(fields) => {
                    let text = fields.get("reply").and_then(Value::as_str).unwrap_or_default().to_owned();
                    Record::of(fields, &text, self.classifier)
                }
                Err(_) => not_a_reply(&first),
            }));
        }
        let mut text = first;
        let Some(code) = continued(&text).map(str::to_owned) else {
            return Ok(Some(Record::of(Map::new(), &text, self.classifier)));
        };
        for _ in 1..MAX_LINES {
            let Some(line) = self.next_line()? else { break };
            let same = line.starts_with(&code);
            let more = same && continued(&line).is_some();
            if same {
                text.push('\n');
                text.push_str(&line);
            } else {
                self.ahead = Some(line);
            }
            if !more {
                break;
            }
        }
        Ok(Some(Record::of(Map::new(), &whole(text), self.classifier)))
    }

    /// Returns the next line that is not blank, without its end, cut at [`MAX_LINE`].
    fn next_line(&mut self) -> io::Result<Option<String>> {
        if let Some(line) = self.ahead.take() {
            return Ok(Some(line));
        }
        loop {
            let mut line: Vec<u8> = Vec::new();
            let mut any = false;
            loop {
                let available = match self.source.fill_buf() {
                    Ok(available) => available,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                if available.is_empty() {
                    break;
                }
                any = true;
                let end = memchr::memchr(b'\n', available);
                let taken = end.map_or(available.len(), |at| at + 1);
                let room = MAX_LINE.saturating_sub(line.len());
                line.extend_from_slice(&available[..taken.min(room)]);
                self.source.consume(taken);
                if end.is_some() {
                    break;
                }
            }
            if !any {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']).trim_start_matches('\u{feff}');
            if !text.trim().is_empty() {
                return Ok(Some(text.to_owned()));
            }
        }
    }
}

impl<R: BufRead> Iterator for Records<'_, R> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<io::Result<Record>> {
        self.next_record().transpose()
    }
}

/// Reads every reply of `source` and writes its record to `out`. Returns the number of replies.
///
/// # Errors
/// Reading or writing failed. What was written before stays valid.
pub fn triage(
    source: impl BufRead,
    input: InputFormat,
    classifier: &Classifier,
    rendering: OutputFormat,
    out: &mut impl Write,
) -> io::Result<u64> {
    let mut count = 0;
    for record in Records::new(source, input, classifier) {
        let record = record?;
        match rendering {
            OutputFormat::Json => writeln!(out, "{}", record.to_json())?,
            OutputFormat::Table => {
                if count == 0 {
                    writeln!(
                        out,
                        "{:<4} {:<8} {:<33} {:<17} reply",
                        "code", "enhanced", "condition", "group"
                    )?;
                }
                let code = record.code.map_or("-".into(), |code| format!("{code:03}"));
                let enhanced = record.enhanced.map_or("-".into(), |enhanced| enhanced.to_string());
                let group = record.condition.group();
                let text = one_line(record.text());
                writeln!(out, "{code:<4} {enhanced:<8} {:<33} {group:<17} {text}", record.condition)?;
            }
        }
        count += 1;
    }
    Ok(count)
}

/// Returns the record of a line that could not be parsed in the input's format.
fn not_a_reply(line: &str) -> Record {
    let fields = Map::from_iter([("reply".to_owned(), Value::from(line))]);
    Record { fields, code: None, enhanced: None, condition: Condition::MalformedReply }
}

/// Returns the code of a continuation line (`421-text`).
fn continued(line: &str) -> Option<&str> {
    let bytes = line.as_bytes();
    (bytes.len() > 3 && bytes[..3].iter().all(u8::is_ascii_digit) && bytes[3] == b'-').then(|| &line[..3])
}

/// Completes a reply whose last line is missing (a log that was cut): its last line counts as the final one.
fn whole(mut text: String) -> String {
    let last = text.rfind('\n').map_or(0, |at| at + 1);
    if continued(&text[last..]).is_some() {
        text.replace_range(last + 3..last + 4, " ");
    }
    text
}

/// Finds a reply within a log line that does not begin with one.
fn find_reply(line: &str) -> Option<&str> {
    let bytes = line.as_bytes();
    let mut weak = None;
    for at in 1..bytes.len().saturating_sub(3) {
        let code = &bytes[at..at + 3];
        let is_code = matches!(code[0], b'2'..=b'5')
            && matches!(code[1], b'0'..=b'5' | b'9')
            && code[2].is_ascii_digit();
        if !is_code
            || !matches!(bytes[at + 3], b' ' | b'-')
            || !matches!(bytes[at - 1], b' ' | b'"' | b'\'' | b'(' | b':' | b'=' | b'<')
        {
            continue;
        }
        let rest = &line[at..];
        let before = line[..at].trim_end_matches([' ', '"', '\'', '(', '<']);
        let introduced = before.ends_with([':', '=', '>', ']'])
            || ["said", "S", "responded", "reply", "response", "error"]
                .iter()
                .any(|word| before.ends_with(word));
        let enhanced =
            rest[4..].trim_start_matches('#').split([' ', ':']).next().and_then(Enhanced::parse).is_some();
        if introduced || enhanced {
            return Some(rest);
        }
        if weak.is_none()
            && matches!(code[0], b'4' | b'5')
            && rest[4..].starts_with(|c: char| c.is_alphabetic())
        {
            weak = Some(rest);
        }
    }
    weak
}

/// Returns a reply on one line of a table, with visible control characters.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '↵',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(input: &[u8], kind: InputFormat) -> Vec<Record> {
        let classifier = Classifier::default();
        Records::new(input, kind, &classifier).map(Result::unwrap).collect()
    }

    fn said(input: &str) -> Vec<(Option<u16>, &'static str)> {
        records(input.as_bytes(), InputFormat::Lines).iter().map(|r| (r.code, r.condition.as_str())).collect()
    }

    #[test]
    fn continuation_lines_are_joined_to_their_last() {
        let input = "421-mx.example.net\r\n421 4.7.0 Too many connections from your IP\r\n\r\n550 5.1.1 User unknown\n";
        assert_eq!(said(input), [(Some(421), "too-many-connections-from-host"), (Some(550), "unknown-user")]);
        // A reply that was cut does not swallow the next.
        assert_eq!(
            said("452-4.3.1 Mail queue is full\n550 5.1.1 User unknown"),
            [(Some(452), "queue-full"), (Some(550), "unknown-user")]
        );
        assert_eq!(said("421-Too much load"), [(Some(421), "resource-low")]);
        let endless = "421-more\n".repeat(10_000);
        assert_eq!(said(&endless).len(), 10_000_usize.div_ceil(MAX_LINES));
    }

    #[test]
    fn a_reply_is_found_behind_the_prefix_of_a_log() {
        let cases = [
            (
                "Nov 23 13:00:01 mx postfix/smtp[4211]: A1B2: to=<a@b.example>, status=deferred (host m[192.0.2.1] said: 421 4.7.0 Too many connections (in reply to end of DATA command))",
                421,
            ),
            ("2026-11-23T13:00:01Z S: 452 4.5.3 Too many recipients", 452),
            ("smtp; 550 5.1.1 User unknown", 550),
            ("<- \"554 Too many hops\"", 554),
            ("[12:00:00] remote: 451 try again later", 451),
            ("server refused 250 of our messages: 421 Too many connections", 421),
        ];
        for (line, code) in cases {
            assert_eq!(said(line)[0].0, Some(code), "{line}");
        }
    }

    #[test]
    fn a_plain_reply_is_never_searched_and_other_lines_are_not_replies() {
        // The code at the start has precedence over the quoted code.
        assert_eq!(said("550 host m said: 421 4.7.0 Too many connections")[0].0, Some(550));
        for line in
            ["hello", "we sent 300 mails", "12345 421", "421", "42", "port 587", "\u{1f600}421 ab", "é 421"]
        {
            let expected = if line == "421" { Some(421) } else { None };
            assert_eq!(said(line)[0].0, expected, "{line}");
            if expected.is_none() {
                assert_eq!(said(line)[0].1, "malformed-reply", "{line}");
            }
        }
    }

    #[test]
    fn objects_keep_their_fields_and_phase_is_no_step() {
        let input = br#"{"id": 7, "reply": "550-no\n550 go away", "phase": "rcpt"}
{"reply": "550 ?", "step": "rcpt"}
{"reply": "550 ?", "step": "nonsense"}
{"reply": 5}
{"id": 8}
[1]
not json
"#;
        let records = records(input, InputFormat::Json);
        assert_eq!(records.len(), 7);
        assert_eq!((records[0].code, records[0].fields["id"].as_u64()), (Some(550), Some(7)));
        assert_eq!(records[0].fields["phase"], "rcpt");
        assert_eq!(records[1].condition, Condition::UnknownUser);
        assert_eq!(records[2].condition, Condition::RejectedUnspecified);
        for record in &records[3..] {
            assert_eq!(record.condition, Condition::MalformedReply);
        }
    }

    #[test]
    fn any_bytes_are_read_and_long_lines_are_bounded() {
        let mut input = b"421 \xff\xfe Too many connections\n\x00\x01\x02\n".to_vec();
        input.extend_from_slice(b"452 queue full ");
        input.extend(std::iter::repeat_n(b'x', 3 * MAX_LINE));
        input.extend_from_slice(b"\n550 5.1.1 User unknown");
        let records = records(&input, InputFormat::Lines);
        assert_eq!(records.iter().map(|r| r.code).collect::<Vec<_>>(), [Some(421), None, None, Some(550)]);
        assert!(records.iter().all(|r| r.text().len() <= MAX_LINE));
    }

    #[test]
    fn renderings_say_the_same() {
        let classifier = Classifier::default();
        let mut out = Vec::new();
        let input = b"421 #4.4.5 Too many connections to this listener\ngarbage\n".as_slice();
        assert_eq!(triage(input, InputFormat::Lines, &classifier, OutputFormat::Json, &mut out).unwrap(), 2);
        let lines: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["condition"], "too-many-connections-to-listener");
        assert_eq!(lines[0]["group"], "connection-limit");
        assert_eq!((&lines[0]["code"], &lines[0]["enhanced"]), (&Value::from(421), &Value::from("4.4.5")));
        assert_eq!((&lines[1]["code"], &lines[1]["group"]), (&Value::Null, &Value::from("transport")));

        let mut out = Vec::new();
        triage(input, InputFormat::Lines, &classifier, OutputFormat::Table, &mut out).unwrap();
        let table = String::from_utf8(out).unwrap();
        assert!(
            table.lines().nth(1).unwrap().starts_with("421  4.4.5    too-many-connections-to-listener"),
            "{table}"
        );
        assert_eq!(table.lines().count(), 3);
    }

    /// Returns a configuration that gives the same inputs on each run.
    fn seeded() -> proptest::test_runner::Config {
        proptest::test_runner::Config {
            rng_seed: proptest::test_runner::RngSeed::Fixed(5321),
            failure_persistence: None,
            ..Default::default()
        }
    }

    proptest::proptest! {
        #![proptest_config(seeded())]

        #[test]
        fn no_input_breaks_it(input in proptest::collection::vec(proptest::num::u8::ANY, 0..400), json: bool) {
            records(&input, if json { InputFormat::Json } else { InputFormat::Lines });
        }

        #[test]
        fn no_reply_breaks_the_classifier(code in 0_u16..1000, text in "\\PC{0,120}") {
            let reply = Reply::new(code, vec![text]);
            super::super::classify(None, &reply, false);
        }
    }
}
