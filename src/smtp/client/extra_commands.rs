//! Commands outside transactions: VRFY before the first one, NOOP and RSET after each. This module determines their
//! order and renders them.
//!
//! # Decisions
//! - These commands are sent one at a time: NOOP and VRFY may only be the last command of a group (RFC 2920 3.1).
//! - The commands between two transactions follow the first one at once. So they end before the second transaction is
//!   due, and do not delay its start.

use crate::smtp::command;
use crate::smtp::script::{Aside, Script};

/// A command outside transactions that is written, or to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtraCommand {
    /// The VRFY with this number.
    Verify(u32),
    /// Hello once more, to prove that the replies are in step (see `proof`).
    Again,
    /// The command with this index, of the commands that follow each transaction.
    Between(usize),
}

impl ExtraCommand {
    /// Returns the first command of a session, if there is one.
    pub(super) fn first(script: &Script) -> Option<ExtraCommand> {
        let verify = &script.verify;
        (verify.times > 0 && !verify.whom.is_empty()).then_some(ExtraCommand::Verify(0))
    }

    /// Returns the first command after a transaction, if there is one.
    pub(super) fn after_transaction(script: &Script) -> Option<ExtraCommand> {
        (!script.between.is_empty()).then_some(ExtraCommand::Between(0))
    }

    /// Returns the command after this one, if there is one.
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
            ExtraCommand::Verify(n) => {
                let whom = &script.verify.whom;
                command::verify(out, &whom[n as usize % whom.len()]);
            }
            ExtraCommand::Again => command::hello(out, script.protocol, script.hello, &script.name),
            ExtraCommand::Between(n) => out.extend_from_slice(match script.between[n] {
                Aside::Noop => command::NOOP,
                Aside::Reset => command::RSET,
            }),
        }
    }
}
