//! The interface by which a listener passes on delivered messages. A listener with a sink is the receiver behind a
//! relay.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

/// The largest content in bytes that is kept for a sink of a listener without a limit of its own.
const MOST_CONTENT: usize = 256 << 20;
/// The largest number of recipients of a message that are kept for a sink.
const MOST_RECIPIENTS: usize = 100_000;

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
///
/// A client cannot fill the memory with it: a message beyond the bounds is not kept, and must be refused.
#[derive(Debug)]
pub(super) struct Kept {
    recipients: Vec<String>,
    /// The content so far; `None` once it is larger than `most`.
    content: Option<Vec<u8>>,
    /// The largest content in bytes.
    most: usize,
    ended: Option<Instant>,
    sink: Arc<dyn Sink>,
}

impl Kept {
    /// Creates an empty message. `max_message_size` is the listener's limit in bytes, above which it refuses contents.
    pub fn new(sink: Arc<dyn Sink>, max_message_size: Option<u64>) -> Kept {
        let most = max_message_size.map_or(MOST_CONTENT, |max| usize::try_from(max).unwrap_or(usize::MAX));
        Kept { recipients: Vec::new(), content: Some(Vec::new()), most, ended: None, sink }
    }

    /// Whether no further recipient is kept.
    pub fn is_full(&self) -> bool {
        self.recipients.len() >= MOST_RECIPIENTS
    }

    /// Adds a recipient, unless the message is full.
    pub fn add_recipient(&mut self, path: &str) {
        if !self.is_full() {
            self.recipients.push(path.to_owned());
        }
    }

    /// Returns the number of recipients that are kept.
    pub fn recipients(&self) -> usize {
        self.recipients.len()
    }

    /// Adds a part of the content. If the content becomes too large, all of it is dropped.
    pub fn add_content(&mut self, bytes: &[u8]) {
        match &mut self.content {
            Some(content) if content.len() + bytes.len() <= self.most => content.extend_from_slice(bytes),
            content => *content = None,
        }
    }

    /// Whether the content is too large, so that it was dropped.
    pub fn is_too_large(&self) -> bool {
        self.content.is_none()
    }

    /// Notes that the end of the content was read. Later calls change nothing.
    pub fn ended(&mut self, now: Instant) {
        if self.ended.replace(self.ended.unwrap_or(now)).is_none() {
            self.sink.ended(now);
        }
    }

    /// Passes the message to the sink for some of its recipients, by their indices.
    pub fn hand_over(&self, recipients: std::ops::Range<usize>) {
        if let (Some(recipients), Some(content), Some(ended)) =
            (self.recipients.get(recipients), &self.content, self.ended)
        {
            self.sink.take(TakenMessage { recipients, content, ended });
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing.
    #[derive(Debug)]
    struct NoSink;

    impl Sink for NoSink {
        fn take(&self, _taken: TakenMessage<'_>) {}
    }

    #[test]
    fn a_content_above_the_limit_is_dropped() {
        let kept = |contents: &[&[u8]]| {
            let mut kept = Kept::new(Arc::new(NoSink), Some(5));
            contents.iter().for_each(|bytes| kept.add_content(bytes));
            kept
        };
        assert_eq!(kept(&[b"abc", b"de"]).content.as_deref(), Some(&b"abcde"[..]));
        let dropped = kept(&[b"abc", b"def", b"g"]);
        assert!(dropped.is_too_large() && dropped.content.is_none(), "no byte of it is held");
        for (max, most) in [(None, MOST_CONTENT), (Some(5), 5), (Some(300 << 20), 300 << 20)] {
            assert_eq!(Kept::new(Arc::new(NoSink), max).most, most, "a limit above the default is kept, too");
        }
    }

    #[test]
    fn recipients_above_the_bound_are_not_kept() {
        let mut kept = Kept::new(Arc::new(NoSink), None);
        (0..MOST_RECIPIENTS + 5).for_each(|n| kept.add_recipient(&n.to_string()));
        assert!(kept.is_full());
        assert_eq!(kept.recipients(), MOST_RECIPIENTS);
    }
}
