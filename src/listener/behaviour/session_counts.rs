//! The counts of a session for limits by session. The policy decides what happens at a limit.

/// The counts of one client's session; another client on it (XCLIENT) starts at zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionCounts {
    /// MAIL commands that took effect.
    pub messages: u32,
    /// Bytes of content that were accepted.
    pub bytes: u64,
    /// Errors (500 to 504) that were answered.
    pub errors: u32,
    /// All errors of the client: protocol errors, unknown recipients and failed logins.
    pub mistakes: u32,
    /// Unknown recipients that were answered.
    pub invalid: u32,
    /// Commands without use (NOOP, RSET, ...) that were answered since the last message.
    pub junk: u32,
    /// The client has said hello.
    pub greeted: bool,
}
