//! `[session] misbehave`: how clients behave badly on purpose, so that a listener's time-outs and rules can be tested.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Document, keys};
use super::error::ProfileError;
use super::rule;
use super::schema::{Session, tables};
use super::units::Time;
use crate::smtp::Step;
use crate::smtp::script::Manners;

tables! {
    /// Bad manners of a session, on purpose.
    Misbehave {
        /// Say hello before the greeting has come. Default false.
        early_talk: bool,
        /// Say nothing for a time, whenever a step is accepted.
        stall: Stall,
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
    Ok(Manners { early_talk: written.early_talk.unwrap_or(false), stall })
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
