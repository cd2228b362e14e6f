//! `[session] misbehave`: misbehaviour of clients on purpose, to test a listener's time-outs and rules.

use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::session::Session;
use crate::profile::table::Word;
use crate::smtp::script::Manners;

pub(super) fn compile(document: &Document, session: &Session) -> Result<Manners, ProfileFault> {
    let written = session.misbehave();
    let stall = match written.stall.as_ref().map(|stall| stall.after.zip(stall.length)) {
        None => None,
        Some(Some((Word(after), length))) => Some((after, length.0)),
        Some(None) => {
            return Err(document.error_at(
                &keys!["session", "misbehave", "stall"],
                "a stall needs a step and a time",
                "write `stall = { after = \"rcpt\", for = \"30s\" }`",
            ));
        }
    };
    Ok(Manners {
        early_talk: written.early_talk(),
        stall,
        garbage: written.garbage().small(),
        half_close: written.half_close.map(|Word(step)| step),
        deaf: written.never_read(),
        // The bounds of the key make it whole and below 2^32.
        trickle: written.trickle.map(|rate| rate.hertz().round() as u32),
    })
}
