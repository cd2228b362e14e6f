//! Checks the reply to a step after the opening: it fits the step, refuses it, or does not belong to it.

use super::event::Failure;
use crate::smtp::machine::{Closed, Insecure};
use crate::smtp::reply::{RawReply, Scanner};
use crate::smtp::step::Step;

/// Returns whether a failure means that the listener receives at most what the kernel had taken by then. Other failures lead
/// to an orderly close, which still sends the rest.
pub(super) fn is_cut(failure: &Failure) -> bool {
    match failure {
        Failure::Missing { why, .. } => is_cut(why),
        Failure::Closed(how, _) => matches!(how, Closed::Reset | Closed::Gone | Closed::Error(_)),
        failure => is_time_out(failure),
    }
}

/// Returns whether the time of a step or of the session is over. Then a session whose bytes the kernel has not all taken is
/// reset.
pub(super) fn is_time_out(failure: &Failure) -> bool {
    match failure {
        Failure::Missing { why, .. } => is_time_out(why),
        failure => matches!(failure, Failure::TimedOut(_) | Failure::SessionTimedOut),
    }
}

/// Returns whether a failure means that it is no longer certain which command each reply answers.
pub(super) fn is_strange(failure: &Failure) -> bool {
    matches!(failure, Failure::Malformed(_) | Failure::Unexpected(_) | Failure::Surplus(_))
}

/// Returns what is wrong with a reply to `step` after the opening; `None` if it fits. The failure is boxed to keep the result
/// small: most replies fit, and the result of each passes through several functions.
pub(super) fn failure(step: Step, raw: RawReply<'_>) -> Option<Box<Failure>> {
    refusal(raw).or_else(|| {
        let fits = is_positive(step, raw.code) && !raw.is_contradictory();
        (!fits).then(|| unexpected(raw))
    })
}

/// Returns whether a reply with this code accepts the command of `step`, after the opening. Only the first digit counts
/// (RFC 5321 4.2), except for 220, 221 and 354.
pub fn is_positive(step: Step, code: u16) -> bool {
    match code {
        354 => step == Step::Data,
        221 => step == Step::Quit,
        220 => false,
        code => code / 100 == 2 && step != Step::Data,
    }
}

pub(super) fn refusal(raw: RawReply<'_>) -> Option<Box<Failure>> {
    matches!(raw.code / 100, 4 | 5).then(|| Box::new(Failure::Reply(raw.to_reply())))
}

pub(super) fn unexpected(raw: RawReply<'_>) -> Box<Failure> {
    Box::new(Failure::Unexpected(raw.to_reply()))
}

/// Returns the failure for a reply that answers no command.
pub(super) fn surplus(raw: RawReply<'_>) -> Box<Failure> {
    Box::new(Failure::Surplus(raw.to_reply()))
}

/// Returns whether the failure is a reply that refuses (4yz or 5yz).
pub(super) fn is_refusal(failure: &Failure) -> bool {
    matches!(failure, Failure::Reply(_) | Failure::Challenged { .. })
}

/// Returns the failure for a stream that did not become secure. A listener often refuses in clear text on its implicit-TLS
/// port. That counts as a refusing reply, not as a TLS failure.
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
