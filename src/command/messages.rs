//! Messages to the user while a command runs.

use std::fmt;
use std::sync::Arc;

/// Where messages go, one line each. `cli` prints them on stderr, above the bars if there are any.
#[derive(Clone)]
pub struct Messages(Arc<dyn Fn(&str) + Send + Sync>);

impl Messages {
    /// To this function.
    pub fn new(print: impl Fn(&str) + Send + Sync + 'static) -> Messages {
        Messages(Arc::new(print))
    }

    /// To nobody.
    pub fn none() -> Messages {
        Messages::new(|_| ())
    }

    /// Sends one line.
    pub fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Messages")
    }
}
