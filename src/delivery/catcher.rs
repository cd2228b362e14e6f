//! A receiver that keeps the few messages of one run whole: what `trace` shows of the other end of a relay.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::kind::MessageKind;
use super::next_hop::NextHop;
use super::notification::{DeliveryAction, Notification};
use super::settings::ReceiverSettings;
use crate::listener::{ListenError, Sink, TakenMessage};
use crate::net::address::bind::Bind;

/// Messages that are kept, at most.
const KEPT: usize = 100;

/// A receiver that keeps what it takes.
#[derive(Debug)]
pub struct Catcher {
    next_hop: NextHop,
    caught: Arc<CaughtMessages>,
}

/// A message of the run that came out, or a notification about one.
#[derive(Clone, Debug)]
pub struct CaughtMessage {
    /// For whom.
    pub recipients: Vec<String>,
    /// All of it, dots unstuffed.
    pub content: Vec<u8>,
    /// When its end was read.
    pub ended: Instant,
    /// What it says, if it is a notification.
    pub notification: Option<Notification>,
}

#[derive(Debug)]
struct CaughtMessages {
    run: String,
    all: Mutex<Vec<CaughtMessage>>,
}

impl Catcher {
    /// Starts it on all its addresses, for the messages of this run.
    ///
    /// # Errors
    /// An address cannot be bound, or TLS cannot be set up.
    pub fn start(settings: &ReceiverSettings, seed: u64, run: &str) -> Result<Catcher, ListenError> {
        let caught = Arc::new(CaughtMessages { run: run.to_owned(), all: Mutex::default() });
        let sink: Arc<dyn Sink> = caught.clone();
        Ok(Catcher { next_hop: NextHop::start(settings, seed, &sink)?, caught })
    }

    /// Where it listens, in the order of its addresses.
    pub fn places(&self) -> impl Iterator<Item = &Bind> {
        self.next_hop.places()
    }

    /// What came out so far.
    pub fn caught(&self) -> Vec<CaughtMessage> {
        self.caught.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CaughtMessage {
    /// Of how many recipients it is the end: those that have it, or that the relay gave up on.
    pub fn ends(&self) -> usize {
        let failed = |about: &Notification| {
            about.recipients.iter().filter(|own| own.action == DeliveryAction::Failed).count()
        };
        self.notification.as_ref().map_or(self.recipients.len(), failed)
    }
}

impl Sink for CaughtMessages {
    fn take(&self, taken: TakenMessage<'_>) {
        let (run, notification) = match MessageKind::of(taken.content) {
            MessageKind::Copy(identity) => (identity.run, None),
            MessageKind::About(about) => (about.identity.run.clone(), Some(about)),
            MessageKind::Foreign => return,
        };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if run == self.run && all.len() < KEPT {
            all.push(CaughtMessage {
                recipients: taken.recipients.to_vec(),
                content: taken.content.to_vec(),
                ended: taken.ended,
                notification,
            });
        }
    }
}
