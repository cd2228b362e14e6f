//! `[session] misbehave`: how clients behave badly on purpose, so that a listener's time-outs and rules can be tested.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Document, keys};
use super::error::ProfileError;
use super::rule;
use super::schema::{Session, tables};
use super::units::{Count, Rate, Time};
use crate::smtp::Step;
use crate::smtp::script::Manners;

tables! {
    /// Bad manners of a session, on purpose.
    Misbehave {
        /// Say hello before the greeting has come. Default false.
        early_talk: bool,
        /// Say nothing for a time, whenever a step is accepted.
        stall: Stall,
        /// Lines of nonsense after the greeting, each timed as the step `command`. Default 0.
        garbage: Count,
        /// End the sending side once the command of this step is out, and read what is owed: hello, mail, rcpt, data, body
        /// (its final dot) or quit.
        half_close: String,
        /// Once mail can be sent, say NOOP without end and read no reply. Default false.
        never_read: bool,
        /// Write no faster than so many octets in a time, as in 100/s.
        trickle: Rate,
    }
    /// A silence of the client.
    Stall {
        /// The step: greeting, hello, starttls, tls, auth, mail, rcpt, data or body.
        after: String,
        /// How long.
        #[serde(rename = "for")]
        length: Time,
    }
}

pub(super) fn compile(document: &Document, session: &Session) -> Result<Manners, ProfileError> {
    let written = session.misbehave.clone().unwrap_or_default();
    let stall = match &written.stall {
        None => None,
        Some(stall) => Some(self::stall(document, stall)?),
    };
    Ok(Manners {
        early_talk: written.early_talk.unwrap_or(false),
        stall,
        garbage: garbage(document, written.garbage)?,
        half_close: match &written.half_close {
            None => None,
            Some(step) => Some(half_close(document, step)?),
        },
        deaf: written.never_read.unwrap_or(false),
        trickle: match written.trickle {
            None => None,
            Some(rate) => Some(trickle(document, rate)?),
        },
    })
}

fn garbage(document: &Document, lines: Option<Count>) -> Result<u32, ProfileError> {
    let lines = lines.map_or(0, |Count(lines)| lines);
    u32::try_from(lines).ok().filter(|lines| *lines <= 1_000_000).ok_or_else(|| {
        let at = keys!["session", "misbehave", "garbage"];
        document.error_at(&at, format!("{lines} lines of nonsense in a session"), "write at most 1,000,000")
    })
}

fn half_close(document: &Document, step: &str) -> Result<Step, ProfileError> {
    let at = keys!["session", "misbehave", "half_close"];
    let step = rule::step(document, &at, step)?;
    match step {
        Step::Hello | Step::Mail | Step::Rcpt | Step::Data | Step::Body | Step::Quit => Ok(step),
        _ => Err(document.error_at(
            &at,
            format!("the sending side cannot be ended after `{step}`"),
            "choose hello, mail, rcpt, data, body or quit",
        )),
    }
}

fn trickle(document: &Document, rate: Rate) -> Result<u32, ProfileError> {
    let octets = rate.hertz().round();
    if !(1.0..=1e9).contains(&octets) {
        return Err(document.error_at(
            &keys!["session", "misbehave", "trickle"],
            format!("a client that writes {octets} octets a second"),
            "write at least 1/s and at most 1000000000/s",
        ));
    }
    // Whole and below 2^32 by the check above.
    Ok(octets as u32)
}

fn stall(document: &Document, stall: &Stall) -> Result<(Step, std::time::Duration), ProfileError> {
    let at = keys!["session", "misbehave", "stall"];
    let (Some(after), Some(length)) = (&stall.after, stall.length) else {
        return Err(document.error_at(
            &at,
            "a stall needs a step and a time",
            "write `stall = { after = \"rcpt\", for = \"30s\" }`",
        ));
    };
    let place = keys!["session", "misbehave", "stall", "after"];
    let step = rule::step(document, &place, after)?;
    if matches!(step, Step::Dns | Step::Connect | Step::Quit | Step::Idle) {
        return Err(document.error_at(
            &place,
            format!("there is nothing to be silent about after `{step}`"),
            "choose greeting, hello, starttls, tls, auth, mail, rcpt, data or body",
        ));
    }
    Ok((step, length.0))
}
