//! The receiver behind a relay, in the process of the run.
//!
//! # Decisions
//! - A delivered message is compared on the thread that took it, before the next message of the connection is read: a
//!   receiver that cannot keep up slows the relay down, and its late timers show that (M32).
//! - Messages that come out while no run is in progress are not counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::account::{RunAccount, SeenContent};
use super::kind::MessageKind;
use super::next_hop::{HopHealth, NextHop};
use super::settings::ReceiverSettings;
use crate::collector::delivery::{Delivered, Transaction};
use crate::collector::tally::Tally;
use crate::listener::{ListenError, Sink, TakenMessage};
use crate::net::address::bind::Bind;
use crate::plan::Plan;

/// A receiver in the process of the run.
#[derive(Debug)]
pub struct Receiver {
    next_hop: NextHop,
    account: Arc<Account>,
    quiet: Duration,
    /// The health of the receiver's threads at the start of the run.
    before: Mutex<HopHealth>,
}

/// The state that the threads of a receiver share.
#[derive(Debug, Default)]
struct Account {
    run: RwLock<Option<Arc<RunOfReceiver>>>,
}

/// The run whose messages are counted.
#[derive(Debug)]
struct RunOfReceiver {
    epoch: Instant,
    account: RunAccount,
}

impl Receiver {
    /// Starts a receiver on all its addresses. `seed` determines the random draws of its listeners.
    ///
    /// # Errors
    /// An address cannot be bound, or TLS cannot be set up.
    pub fn start(settings: &ReceiverSettings, seed: u64) -> Result<Receiver, ListenError> {
        let account = Arc::new(Account::default());
        let sink: Arc<dyn Sink> = account.clone();
        let next_hop = NextHop::start(settings, seed, &sink)?;
        Ok(Receiver { next_hop, account, quiet: settings.quiet, before: Mutex::default() })
    }

    /// Returns the addresses on which the receiver listens, in the given order.
    pub fn places(&self) -> impl Iterator<Item = &Bind> {
        self.next_hop.places()
    }

    /// Returns how long without a delivery the relay counts as silent.
    pub fn quiet(&self) -> Duration {
        self.quiet
    }

    /// Begins a run at this epoch: messages that come out from now on belong to it. `date` is the Date of its messages.
    pub fn begin(&self, plan: &Plan, date: &str, epoch: Instant) {
        let run = RunOfReceiver { epoch, account: RunAccount::new(plan, date, true) };
        *lock(&self.before) = self.next_hop.health();
        *self.account.run.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(run));
    }

    /// Processes transactions that have ended.
    pub fn answered(&self, transactions: &[Transaction]) {
        if let Some(run) = self.account.run() {
            run.account.answered(transactions);
        }
    }

    /// Returns the deliveries since the last call, by phase, and the relay's queue at this time of the run.
    pub fn second(&self, until: Duration) -> (Tally, Option<u64>) {
        self.account.run().map_or_else(|| (Tally::new(0), None), |run| run.account.second(until))
    }

    /// Whether the wait for deliveries can end at this time since the run's epoch.
    pub fn is_settled(&self, now: Duration) -> bool {
        self.account.run().is_none_or(|run| run.account.is_settled(now, self.quiet))
    }

    /// Closes the account: see [`RunAccount::finish`].
    pub fn finish(
        &self,
        windows: &[(Duration, Duration)],
        ended: Duration,
        cut_short: bool,
        tally: &mut Tally,
    ) -> Delivered {
        let run = self.account.run.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(run) = run else { return Delivered::default() };
        let receiver = self.next_hop.health().since(&lock(&self.before), ended);
        Delivered { receiver, ..run.account.finish(windows, ended, cut_short, tally) }
    }
}

impl Account {
    fn run(&self) -> Option<Arc<RunOfReceiver>> {
        self.run.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Account {
    fn take(&self, taken: TakenMessage<'_>) {
        if let Some(run) = self.run() {
            run.take(taken);
        }
    }
}

impl RunOfReceiver {
    fn take(&self, taken: TakenMessage<'_>) {
        let at = taken.ended.saturating_duration_since(self.epoch);
        let account = &self.account;
        match MessageKind::of(taken.content) {
            MessageKind::Copy(identity) if identity.run == account.id() => {
                account.delivered(identity.seq, taken.recipients, SeenContent::Whole(taken.content), at)
            }
            MessageKind::About(notification) if notification.identity.run == account.id() => {
                account.notified(&notification, at)
            }
            _ => account.foreign(at),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
