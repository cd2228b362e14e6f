//! The interface by which a listener passes on delivered messages. A listener with a sink is the receiver behind a
//! relay.

use std::fmt::Debug;
use std::sync::Arc;
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
#[derive(Debug)]
pub(super) struct Kept {
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
    ended: Option<Instant>,
    sink: Arc<dyn Sink>,
}

impl Kept {
    pub fn new(sink: Arc<dyn Sink>) -> Kept {
        Kept { recipients: Vec::new(), content: Vec::new(), ended: None, sink }
    }

    /// Notes that the end of the content was read. Later calls change nothing.
    pub fn ended(&mut self, now: Instant) {
        if self.ended.replace(self.ended.unwrap_or(now)).is_none() {
            self.sink.ended(now);
        }
    }

    /// Passes the message to the sink for some of its recipients, by their indices.
    pub fn hand_over(&self, recipients: std::ops::Range<usize>) {
        if let (Some(recipients), Some(ended)) = (self.recipients.get(recipients), self.ended) {
            self.sink.take(TakenMessage { recipients, content: &self.content, ended });
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(ended) = self.ended {
            self.sink.settled(ended);
        }
    }
}

/// Receives the listener's delivered messages, on the listener's threads.
pub trait Sink: Debug + Send + Sync {
    /// Takes a delivered message.
    fn take(&self, taken: TakenMessage<'_>);

    /// The end of a message's content was read at `at`. The message may be taken later, after the delay of its reply.
    fn ended(&self, at: Instant) {
        let _ = at;
    }

    /// A message whose content ended at `at` was taken, or will not be taken.
    fn settled(&self, at: Instant) {
        let _ = at;
    }

    /// Returns the receiver's own answer to a NOOP with this word, including the code; `None`: the listener answers as
    /// usual.
    fn answer(&self, word: &str) -> Option<String> {
        let _ = word;
        None
    }
}
