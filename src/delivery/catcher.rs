//! A receiver that keeps whole messages of one run, for `trace`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::kind::MessageKind;
use super::next_hop::NextHop;
use super::notification::{DeliveryAction, Notification};
use super::settings::ReceiverSettings;
use crate::listener::{ListenError, Sink, TakenMessage};
use crate::net::address::bind::Bind;

/// The largest number of messages that are kept.
const KEPT: usize = 100;

/// A receiver that keeps messages.
#[derive(Debug)]
pub struct Catcher {
    next_hop: NextHop,
    caught: Arc<CaughtMessages>,
}

/// A message of the run that came out, or a notification about one.
#[derive(Clone, Debug)]
pub struct CaughtMessage {
    /// The recipients.
    pub recipients: Vec<String>,
    /// The whole message, without dot stuffing.
    pub content: Vec<u8>,
    /// When the end of the message was read.
    pub ended: Instant,
    /// The report, if the message is a notification.
    pub notification: Option<Notification>,
}

#[derive(Debug)]
struct CaughtMessages {
    run: String,
    all: Mutex<Vec<CaughtMessage>>,
}

impl Catcher {
    /// Starts a receiver on all its addresses, for the messages of this run.
    ///
    /// # Errors
    /// An address cannot be bound, or TLS cannot be set up.
    pub fn start(settings: &ReceiverSettings, seed: u64, run: &str) -> Result<Catcher, ListenError> {
        let caught = Arc::new(CaughtMessages { run: run.to_owned(), all: Mutex::default() });
        let sink: Arc<dyn Sink> = caught.clone();
        Ok(Catcher { next_hop: NextHop::start(settings, seed, &sink)?, caught })
    }

    /// Returns the addresses on which the receiver listens, in the given order.
    pub fn places(&self) -> impl Iterator<Item = &Bind> {
        self.next_hop.places()
    }

    /// Returns the messages that came out so far.
    pub fn caught(&self) -> Vec<CaughtMessage> {
        self.caught.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CaughtMessage {
    /// Returns the number of recipients that the message settles: its recipients or, for a notification, the recipients
    /// for which the relay gave up.
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
