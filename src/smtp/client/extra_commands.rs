//! Commands outside transactions: VRFY before the first one, NOOP and RSET after each. Which is next, and its text.
//!
//! # Decisions
//! - They go one at a time: NOOP and VRFY may only end a group (RFC 2920 3.1).
//! - Those between transactions follow the one that ended instead of preceding the next, so that they are over before the
//!   next is due; its start is not late because of them.

use crate::smtp::command;
use crate::smtp::script::{Aside, Script};

/// Which command outside transactions is written, or to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtraCommand {
    /// This VRFY.
    Verify(u32),
    /// Hello once more, which proves what its reply follows: see `proof`.
    Again,
    /// This one of those that follow each transaction.
    Between(usize),
}

impl ExtraCommand {
    /// The first of a session, if there is one.
    pub(super) fn first(script: &Script) -> Option<ExtraCommand> {
        (script.verify.times > 0).then_some(ExtraCommand::Verify(0))
    }

    /// The first after a transaction, if there is one.
    pub(super) fn after_transaction(script: &Script) -> Option<ExtraCommand> {
        (!script.between.is_empty()).then_some(ExtraCommand::Between(0))
    }

    /// The one after this.
    pub(super) fn next(self, script: &Script) -> Option<ExtraCommand> {
        match self {
            ExtraCommand::Verify(n) => (n + 1 < script.verify.times).then_some(ExtraCommand::Verify(n + 1)),
            ExtraCommand::Again => ExtraCommand::after_transaction(script),
            ExtraCommand::Between(n) => {
                (n + 1 < script.between.len()).then_some(ExtraCommand::Between(n + 1))
            }
        }
    }

    pub(super) fn write(self, script: &Script, out: &mut Vec<u8>) {
        match self {
            ExtraCommand::Verify(n) => command::verify(out, &script.verify.whom, n),
            ExtraCommand::Again => command::hello(out, script.protocol, script.hello, &script.name),
            ExtraCommand::Between(n) => out.extend_from_slice(match script.between[n] {
                Aside::Noop => command::NOOP,
                Aside::Reset => command::RSET,
            }),
        }
    }
}
