//! Determines what a message from the relay is: a copy of a message of a run, a notification about such a message, or
//! neither.

use super::notification::Notification;
use super::received::{self, Identity};

/// The kind of a message from the relay. The caller compares the run id with its own.
#[derive(Clone, Debug)]
pub enum MessageKind {
    /// A copy of this message.
    Copy(Identity),
    /// A notification about a message of a run.
    About(Notification),
    /// A message that belongs to no run.
    Foreign,
}

impl MessageKind {
    /// Returns the kind of a message without dot stuffing. A copy that names its run is never taken for a notification.
    pub fn of(content: &[u8]) -> MessageKind {
        let message = received::parse(content);
        let about = || message.as_ref().and_then(Notification::read).map(MessageKind::About);
        let copy = message.as_ref().and_then(Identity::of).map(MessageKind::Copy);
        copy.or_else(about).unwrap_or(MessageKind::Foreign)
    }
}
