//! The receiver behind a relay: listeners on threads of their own, and the account of what they take.
//!
//! # Decisions
//! - A delivered message is compared on the receiver's thread that took it, before the next of its connection: a receiver that
//!   cannot keep up slows the relay down, and its own timers show it (M32).
//! - What comes out before a run has started, or after it is over, is foreign to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::account::{RunAccount, SeenContent};
use super::notification::Notification;
use super::received::{self, Identity};
use super::settings::ReceiverSettings;
use crate::collector::delivery::{Delivered, ReceiverHealth, Transaction};
use crate::collector::tally::Tally;
use crate::listener::{self, LedgerSnapshot, ListenError, Listener, Sink, TakenMessage};
use crate::net::address::bind::Bind;
use crate::plan::Plan;

/// Threads of each address.
const THREADS: usize = 1;

/// A receiver that listens.
#[derive(Debug)]
pub struct Receiver {
    listeners: Vec<Listener>,
    account: Arc<Account>,
    settings: ReceiverSettings,
    /// The ledgers and the processor time at the start of the run.
    before: Mutex<Before>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Before {
    connections: u64,
    refusals: u64,
    accept_errors: u64,
    cpu: f64,
}

/// What the threads of a receiver share.
#[derive(Debug, Default)]
struct Account {
    run: RwLock<Option<Arc<RunOfReceiver>>>,
}

/// The run whose messages are awaited.
#[derive(Debug)]
struct RunOfReceiver {
    epoch: Instant,
    account: RunAccount,
}

impl Receiver {
    /// Starts it on all its addresses. `seed` determines the random draws of its listeners.
    ///
    /// # Errors
    /// An address cannot be bound, or TLS cannot be set up.
    pub fn start(settings: ReceiverSettings, seed: u64) -> Result<Receiver, ListenError> {
        let account = Arc::new(Account::default());
        let listen = |place: &Bind| {
            let sink: Arc<dyn Sink> = account.clone();
            listener::start_with(place, settings.limits.clone(), seed, THREADS, Some(sink))
        };
        let listeners = settings.addresses.iter().map(listen).collect::<Result<_, _>>()?;
        Ok(Receiver { listeners, account, settings, before: Mutex::default() })
    }

    /// Its settings.
    pub fn settings(&self) -> &ReceiverSettings {
        &self.settings
    }

    /// Where it listens, in the order of its addresses.
    pub fn places(&self) -> impl Iterator<Item = &Bind> {
        self.listeners.iter().map(Listener::place)
    }

    /// A run begins, at this epoch: what comes out from now on belongs to it. `date`: the Date of its messages.
    pub fn begin(&self, plan: &Plan, date: &str, epoch: Instant) {
        let run = RunOfReceiver { epoch, account: RunAccount::new(plan, date) };
        let (ledgers, cpu) = self.ledgers();
        *lock(&self.before) = Before {
            connections: sum(&ledgers, |ledger| ledger.connections),
            refusals: sum(&ledgers, refusals),
            accept_errors: sum(&ledgers, |ledger| ledger.accept_errors),
            cpu,
        };
        for listener in &self.listeners {
            listener.timer_delay();
        }
        *self.account.run.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(run));
    }

    /// These transactions have ended.
    pub fn answered(&self, transactions: &[Transaction]) {
        if let Some(run) = self.account.run() {
            run.account.answered(transactions);
        }
    }

    /// What came out since the last call, by phase, and the relay's queue when this much of the run was over.
    pub fn second(&self, until: Duration) -> (Tally, u64) {
        self.account.run().map_or_else(|| (Tally::new(0), 0), |run| run.account.second(until))
    }

    /// Whether nothing is awaited any more at this time since the run's epoch.
    pub fn is_settled(&self, now: Duration) -> bool {
        self.account.run().is_none_or(|run| run.account.is_settled(now, self.settings.quiet))
    }

    /// The run is over: see [`RunAccount::finish`].
    pub fn finish(
        &self,
        windows: &[(Duration, Duration)],
        ended: Duration,
        cut_short: bool,
        tally: &mut Tally,
    ) -> Delivered {
        let run = self.account.run.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(run) = run else { return Delivered::default() };
        let delivered = run.account.finish(windows, ended, cut_short, tally);
        let is_silent = delivered.silent_for.is_none_or(|silent| silent >= self.settings.quiet);
        let is_queue_left = !cut_short && !is_silent && delivered.counts().missing > 0;
        Delivered { receiver: self.health(ended), is_queue_left, ..delivered }
    }

    /// How its own threads fared since the run began, `length` ago.
    fn health(&self, length: Duration) -> ReceiverHealth {
        let before = *lock(&self.before);
        let (ledgers, cpu) = self.ledgers();
        let mut health = ReceiverHealth {
            cpu_share: (cpu - before.cpu)
                / (self.listeners.len() * THREADS) as f64
                / length.as_secs_f64().max(1e-9),
            connections: sum(&ledgers, |ledger| ledger.connections) - before.connections,
            refusals: sum(&ledgers, refusals) - before.refusals,
            accept_errors: sum(&ledgers, |ledger| ledger.accept_errors) - before.accept_errors,
            ..ReceiverHealth::default()
        };
        for listener in &self.listeners {
            let delay = listener.timer_delay();
            health.turns += delay.turns;
            health.late += delay.late;
            health.lag_max = health.lag_max.max(delay.longest);
        }
        health
    }

    fn ledgers(&self) -> (Vec<LedgerSnapshot>, f64) {
        let cpu =
            self.listeners.iter().map(|listener| listener.cpu()).map(|(user, system)| user + system).sum();
        (self.listeners.iter().map(Listener::ledger).collect(), cpu)
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
        let message = received::parse(taken.content);
        if let Some(identity) = message.as_ref().and_then(Identity::of) {
            return match identity.run == account.id() {
                true => {
                    account.delivered(identity.seq, taken.recipients, SeenContent::Whole(taken.content), at)
                }
                false => account.foreign(at),
            };
        }
        match message.as_ref().and_then(Notification::read) {
            Some(notification) if notification.identity.run == account.id() => {
                account.notified(&notification, at)
            }
            _ => account.foreign(at),
        }
    }
}

fn refusals(ledger: &LedgerSnapshot) -> u64 {
    ledger.refused.values().sum()
}

fn sum(ledgers: &[LedgerSnapshot], of: impl Fn(&LedgerSnapshot) -> u64) -> u64 {
    ledgers.iter().map(of).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
