//! How much a session has had of what is limited by session. Numbers only: what happens at a limit is the policy's.

/// The counts of one client's session; another client on it (XCLIENT) begins at nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionCounts {
    /// MAIL commands that took effect.
    pub messages: u32,
    /// Bytes of content that were accepted.
    pub bytes: u64,
    /// Errors (500 to 504) that were answered.
    pub errors: u32,
    /// Whatever the client did wrong: errors, unknown recipients and failed logins.
    pub mistakes: u32,
    /// Recipients that nobody knows, and that were answered.
    pub invalid: u32,
    /// Commands without use that were answered since the last message.
    pub junk: u32,
    /// The client has said hello.
    pub greeted: bool,
}
