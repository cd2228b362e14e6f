//! The counts of a session for the limits of one session. The policy decides what happens at a limit.

/// The counts of one session. They start at zero again when XCLIENT announces another client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionCounts {
    /// MAIL commands that took effect.
    pub messages: u32,
    /// Bytes of content that were accepted.
    pub bytes: u64,
    /// Protocol errors (`RequestFault`) that were answered.
    pub errors: u32,
    /// All errors of the client: protocol errors, unknown recipients and failed logins.
    pub mistakes: u32,
    /// Unknown recipients that were answered.
    pub invalid: u32,
    /// Junk commands (NOOP, RSET, ...) that were answered since the last accepted message.
    pub junk: u32,
    /// Whether a hello was accepted.
    pub greeted: bool,
}
