//! `classify` finds the conditions of replies, `codes` lists all conditions.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;

use encoding_rs_io::DecodeReaderBytesBuilder;
use serde_json::{Value, json};

use super::args::{ClassifyArgs, CodesArgs};
use super::screen::Screen;
use crate::command::CommandError;
use crate::condition::Condition;
use crate::condition::cisco::{self, Certainty, Provocation};
use crate::condition::triage::{self, InputFormat, OutputFormat};
use crate::condition::{Classifier, Group};
use crate::verdict::ExitCode;

/// Runs `smtpress classify`.
pub fn classify(args: &ClassifyArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let path = args.file.as_deref().filter(|path| *path != Path::new("-"));
    let input: Box<dyn BufRead> = match path {
        None => {
            if io::stdin().is_terminal() {
                screen.note("smtpress: reading replies from the terminal, one a line; Ctrl-D ends them");
            }
            Box::new(io::stdin().lock())
        }
        Some(path) => Box::new(BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?)),
    };
    // A byte order mark does not belong to the first reply; UTF-16 is decoded, too.
    let decoded = DecodeReaderBytesBuilder::new().utf8_passthru(true).strip_bom(true).build(input);
    let input: Box<dyn BufRead> = Box::new(BufReader::new(decoded));
    let kind = if args.jsonl { InputFormat::Json } else { InputFormat::Lines };
    let rendering = if args.json { OutputFormat::Json } else { OutputFormat::Table };
    // Flushes each line, so that `tail -f | smtpress classify` prints each result at once.
    let mut out = screen.out();
    triage::triage(input, kind, &Classifier::default(), rendering, &mut out).map_err(|error| match path {
        Some(path) if error.kind() == io::ErrorKind::IsADirectory => unreadable(path, &error),
        _ => error.into(),
    })?;
    Ok(ExitCode::Success)
}

fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::usage(format!("failed to read {}: {error}; give a file of replies", path.display()))
}

/// Runs `smtpress codes`.
pub fn codes(args: &CodesArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let mut out = io::BufWriter::new(screen.out());
    if args.json {
        writeln!(out, "{:#}", as_json())?;
    } else {
        as_text(screen.colour_out(), &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::Success)
}

fn as_json() -> Value {
    let conditions = Condition::ALL.iter().map(|condition| {
        json!({
            "condition": condition.as_str(),
            "group": condition.group().as_str(),
            "verifiable_limit": condition.is_verifiable_limit(),
            "meaning": condition.meaning(),
            "remedy": condition.remedy(),
        })
    });
    let rows = cisco::BOUNCES.iter().map(|row| {
        json!({
            "row": row.number,
            "reply": row.reply,
            "condition": row.condition.as_str(),
            "group": row.condition.group().as_str(),
            "certainty": match row.certainty {
                Certainty::Exact => "exact",
                Certainty::Reconstructed => "reconstructed",
            },
            "provoked": match row.provocation {
                Provocation::Smtp(_) => "by-smtp",
                Provocation::NotYet(_) => "not-yet",
                Provocation::Outside(_) => "not-by-a-client",
            },
            "how": row.provocation.describe(),
        })
    });
    json!({ "conditions": conditions.collect::<Vec<_>>(), "cisco": rows.collect::<Vec<_>>() })
}

fn as_text(colour: bool, out: &mut impl Write) -> io::Result<()> {
    let paint = |code: &str, text: &str| match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    writeln!(out, "{}  (*: `smtpress limit` can measure it)", paint("1", "Conditions"))?;
    let mut group: Option<Group> = None;
    for condition in Condition::ALL {
        if group.replace(condition.group()) != Some(condition.group()) {
            writeln!(out, "\n  {}", paint("1;36", condition.group().as_str()))?;
        }
        let mark = if condition.is_verifiable_limit() { '*' } else { ' ' };
        writeln!(out, "  {mark} {}", paint("1", condition.as_str()))?;
        writeln!(out, "      {}", condition.meaning())?;
        writeln!(out, "      {}", paint("2", condition.remedy()))?;
    }
    writeln!(out, "\n{}", paint("1", "Cisco's list of conversational bounces, and how a client gets each"))?;
    for row in cisco::BOUNCES {
        let how = match row.provocation {
            Provocation::Smtp(how) => how.to_owned(),
            Provocation::NotYet(why) => format!("not in this version: {why}"),
            Provocation::Outside(why) => format!("not by a client: {why}"),
        };
        let restored = if row.certainty == Certainty::Reconstructed { "  (text reconstructed)" } else { "" };
        writeln!(out, "\n  {:>2}  {}{restored}", row.number, row.reply)?;
        writeln!(out, "      {}", paint("36", row.condition.as_str()))?;
        writeln!(out, "      {}", paint("2", &how))?;
    }
    Ok(())
}
