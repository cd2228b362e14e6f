//! A receiver behind the relay on an agent. The coordinator reads its delivery log piece by piece.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use super::{Agent, busy};
use crate::fleet::message::{AgentAnswer, LogPart, ReceiveOrder};
use crate::fleet::{LEASE, LOST_AFTER};
use crate::generator::clock;

/// A receiver that writes a delivery log; it ends when it is dropped.
pub trait DeliverySource: Send {
    /// Writes the state of the receiver to the log. Called once a second.
    fn mark(&mut self);

    /// Returns at most `most` bytes of the log from this offset on.
    ///
    /// # Errors
    /// The log cannot be read, or a write to it has failed.
    fn read(&mut self, from: u64, most: usize) -> io::Result<Vec<u8>>;
}

/// Starts a receiver whose log is in a private folder below the given folder. The error is a sentence.
pub type Receive = Arc<dyn Fn(&ReceiveOrder, &Path) -> Result<Box<dyn DeliverySource>, String> + Send + Sync>;

/// A receiver at work.
pub(super) struct ReceiverAtWork {
    run: String,
    source: Box<dyn DeliverySource>,
    /// The agent's random number at the start of the receiver. Commands to the receiver carry this number even after
    /// the shard of the same run is over.
    nonce: u64,
    /// The time of the coordinator's last command to the receiver.
    heard: Instant,
    /// The highest number of a command to the receiver.
    number: u64,
}

impl ReceiverAtWork {
    fn is_unheard_for(&self, long: std::time::Duration) -> bool {
        clock::now().saturating_duration_since(self.heard) > long
    }
}

impl Agent {
    /// Returns the random number that commands to the receiver must carry.
    pub(super) fn receiver_nonce(&self) -> Option<u64> {
        self.receiving.as_ref().map(|own| own.nonce)
    }

    /// Starts a receiver.
    pub(super) async fn receive(&mut self, order: ReceiveOrder) -> AgentAnswer {
        if let Some(work) = &self.work {
            return busy(work);
        }
        if let Some(own) = self.receiving.as_ref().filter(|own| !own.is_unheard_for(LOST_AFTER)) {
            return AgentAnswer::Refused(format!("its receiver is busy with run {}", own.run));
        }
        self.receiving = None;
        let (receive, spool, run) =
            (self.settings.receive.clone(), self.settings.spool.clone(), order.run.clone());
        let source = match tokio::task::spawn_blocking(move || receive(&order, &spool)).await {
            Ok(Ok(source)) => source,
            Ok(Err(why)) => return AgentAnswer::Refused(why),
            Err(_) => return AgentAnswer::Refused("it failed to start a receiver".to_owned()),
        };
        (self.settings.say)(&format!("run {run}: receiving behind the relay"));
        let (nonce, heard) = (self.nonce, clock::now());
        self.receiving = Some(ReceiverAtWork { run, source, nonce, heard, number: 0 });
        AgentAnswer::Done
    }

    /// Answers with the next part of the delivery log, from this offset on.
    pub(super) fn deliveries(&mut self, number: u64, from: u64) -> AgentAnswer {
        let most = self.bus.most() / 2;
        let Some(own) = &mut self.receiving else {
            return AgentAnswer::Refused("it has no receiver".to_owned());
        };
        if number <= own.number {
            return AgentAnswer::Refused("this command was given before".to_owned());
        }
        (own.number, own.heard) = (number, clock::now());
        match own.source.read(from, most) {
            Ok(bytes) => {
                let wall = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
                AgentAnswer::Delivered(LogPart { wall, bytes })
            }
            Err(error) => AgentAnswer::Refused(format!("its delivery log: {error}")),
        }
    }

    /// Writes the state of the receiver to its log, and ends a receiver whose log no coordinator has read for
    /// [`LEASE`].
    pub(super) fn look_after_receiver(&mut self) {
        if self.receiving.as_ref().is_some_and(|own| own.is_unheard_for(LEASE)) {
            (self.settings.say)("the coordinator reads no deliveries: the receiver ends");
            self.receiving = None;
        }
        if let Some(own) = &mut self.receiving {
            own.source.mark();
        }
    }
}
