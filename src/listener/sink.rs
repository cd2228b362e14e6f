//! The interface by which a listener passes on delivered messages. A listener with a sink is the receiver behind a
//! relay.

use std::fmt::Debug;
use std::time::Instant;

/// A message that the listener accepted: its 250 was queued for writing.
#[derive(Clone, Copy, Debug)]
pub struct TakenMessage<'a> {
    /// The recipients for which the message was accepted, without angle brackets.
    pub recipients: &'a [String],
    /// The content, without dot stuffing.
    pub content: &'a [u8],
    /// The time at which the end of its content was read.
    pub ended: Instant,
}

/// A message that is being received for a sink.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
    pub ended: Option<Instant>,
}

impl Kept {
    /// Passes the message to the sink for some of its recipients, by their indices.
    pub fn hand_over(&self, recipients: std::ops::Range<usize>, sink: &dyn Sink) {
        if let (Some(recipients), Some(ended)) = (self.recipients.get(recipients), self.ended) {
            sink.take(TakenMessage { recipients, content: &self.content, ended });
        }
    }
}

/// Receives the listener's delivered messages, on the listener's threads.
pub trait Sink: Debug + Send + Sync {
    /// Takes a delivered message.
    fn take(&self, taken: TakenMessage<'_>);

    /// Returns the receiver's own answer to a NOOP with this word, including the code; `None`: the listener answers as
    /// usual.
    fn answer(&self, word: &str) -> Option<String> {
        let _ = word;
        None
    }
}
