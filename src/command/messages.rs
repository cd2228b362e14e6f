//! Messages to the user while a command runs.

use std::fmt;
use std::sync::Arc;

/// Where messages go, one line each. `cli` prints them on stderr, above the bars if there are any.
#[derive(Clone)]
pub struct MessageSink(Arc<dyn Fn(&str) + Send + Sync>);

impl MessageSink {
    /// Returns a sink that calls this function.
    pub fn new(print: impl Fn(&str) + Send + Sync + 'static) -> MessageSink {
        MessageSink(Arc::new(print))
    }

    /// Returns a sink that drops all messages.
    pub fn none() -> MessageSink {
        MessageSink::new(|_| ())
    }

    /// Sends one line.
    pub fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for MessageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageSink")
    }
}
