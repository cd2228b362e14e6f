//! Checks the reply to a step after the opening: whether it fits, refuses, or is out of step.

use super::event::Failure;
use crate::smtp::machine::{Closed, Insecure};
use crate::smtp::reply::{RawReply, Scanner};
use crate::smtp::step::Step;

/// Whether a failure means that no more reaches the listener than what the kernel took: an orderly close still sends the
/// rest.
pub(super) fn is_cut(failure: &Failure) -> bool {
    match failure {
        Failure::Missing { why, .. } => is_cut(why),
        failure => matches!(failure, Failure::Closed(Closed::Reset | Closed::Gone | Closed::Error(_))),
    }
}

/// Whether a failure means that the replies are out of step, or may be.
pub(super) fn is_strange(failure: &Failure) -> bool {
    matches!(failure, Failure::Malformed(_) | Failure::Unexpected(_) | Failure::Surplus(_))
}

/// What is wrong with a reply to `step` after the opening, if anything is. Only the first digit counts (RFC 5321 4.2),
/// with three exceptions. Boxed: most replies fit, and each passes through several functions.
pub(super) fn failure(step: Step, raw: RawReply<'_>) -> Option<Box<Failure>> {
    refusal(raw).or_else(|| match (raw.code, raw.code / 100) {
        _ if raw.is_contradictory() => Some(unexpected(raw)),
        (354, _) if step == Step::Data => None,
        (221, _) if step == Step::Quit => None,
        (220 | 221, _) => Some(unexpected(raw)),
        (_, 2) if step != Step::Data => None,
        _ => Some(unexpected(raw)),
    })
}

pub(super) fn refusal(raw: RawReply<'_>) -> Option<Box<Failure>> {
    matches!(raw.code / 100, 4 | 5).then(|| Box::new(Failure::Reply(raw.to_reply())))
}

pub(super) fn unexpected(raw: RawReply<'_>) -> Box<Failure> {
    Box::new(Failure::Unexpected(raw.to_reply()))
}

/// A reply that answers no command.
pub(super) fn surplus(raw: RawReply<'_>) -> Box<Failure> {
    Box::new(Failure::Surplus(raw.to_reply()))
}

/// Whether it is a reply that refuses.
pub(super) fn is_refusal(failure: &Failure) -> bool {
    matches!(failure, Failure::Reply(_) | Failure::Challenged { .. })
}

/// Why there is no secure stream. A listener that refuses on its implicit-TLS port often does so in clear text: that is the
/// reply it is.
pub(super) fn insecure(why: Insecure) -> Failure {
    let refused = match &why {
        Insecure::ClearText(bytes) => match Scanner::default().scan(&mut &bytes[..]) {
            Some(Ok(raw)) => refusal(raw),
            _ => None,
        },
        _ => None,
    };
    refused.map_or(Failure::Insecure(why), |refusal| *refusal)
}
