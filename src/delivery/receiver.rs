//! The receiver behind a relay: listeners on threads of their own, and the account of what they take.
//!
//! # Decisions
//! - A delivered message is compared on the receiver's thread that took it, before the next of its connection: a receiver that
//!   cannot keep up slows the relay down, and its own timers show it (M32).
//! - The account is locked for a few additions, by the receiver's threads and once a second by the thread that adds up; never in
//!   the path of an arrival.
//! - What comes out before a run has started, or after it is over, is foreign to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::integrity;
use super::matching::{Matcher, MessageForm};
use super::notification::{DeliveryAction, Notification, RecipientStatus};
use super::received::{self, Identity};
use super::settings::ReceiverSettings;
use crate::collector::delivery::{
    Altered, BounceCount, Delivered, PhaseDelivery, ReceiverHealth, Transaction,
};
use crate::collector::snapshot::Gauges;
use crate::collector::tally::Tally;
use crate::collector::{Metric, Outcome};
use crate::condition;
use crate::listener::{self, LedgerSnapshot, ListenError, Listener, Sink, TakenMessage};
use crate::mail::Mailer;
use crate::net::address::bind::Bind;
use crate::plan::Plan;
use crate::smtp::{Content, Reply, Step};

/// Threads of each address.
const THREADS: usize = 1;
/// Recipients and messages that are named.
const NAMED: usize = 20;
/// Kinds of bounces that are kept apart.
const KINDS: usize = 100;
/// Characters of a sample that are kept.
const SAMPLE: usize = 500;

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
    id: String,
    epoch: Instant,
    mailer: Arc<Mailer>,
    recipients: u32,
    state: Mutex<ReceivedSoFar>,
}

/// What came out so far.
#[derive(Debug)]
struct ReceivedSoFar {
    matcher: Matcher,
    altered: Vec<Altered>,
    bounces: BTreeMap<(String, String), BounceCount>,
    delayed: u64,
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
        let recipients = plan.mail.recipients;
        let phases = u32::try_from(plan.phases.len()).unwrap_or(u32::MAX);
        let run = RunOfReceiver {
            id: plan.run_id.clone(),
            epoch,
            mailer: Arc::new(Mailer::new(&plan.mail, plan.seed, &plan.run_id, date)),
            recipients,
            state: Mutex::new(ReceivedSoFar {
                matcher: Matcher::new(MessageForm { recipients, phases }),
                altered: Vec::new(),
                bounces: BTreeMap::new(),
                delayed: 0,
            }),
        };
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
        let Some(run) = self.account.run() else { return };
        let mut state = run.lock();
        transactions.iter().for_each(|transaction| state.matcher.answered(transaction));
    }

    /// What came out since the last call, by phase, and the relay's queue when this much of the run was over.
    pub fn second(&self, until: Duration) -> (Tally, u64) {
        let Some(run) = self.account.run() else { return (Tally::new(0), 0) };
        let mut state = run.lock();
        let tally = state.matcher.recorder().snapshot(0, Gauges::default(), false).tally;
        (tally, state.matcher.flow().queued_at(until))
    }

    /// Whether nothing is awaited any more at this time since the run's epoch: no accepted recipient is missing, and of those in
    /// doubt nothing is missing either, or nothing has come out for the length `quiet`.
    pub fn is_settled(&self, now: Duration) -> bool {
        let Some(run) = self.account.run() else { return true };
        let state = run.lock();
        let quiet =
            state.matcher.last_seen().is_none_or(|last| now.saturating_sub(last) >= self.settings.quiet);
        state.matcher.queued() == 0 && (state.matcher.outstanding() == 0 || quiet)
    }

    /// The run is over, at `ended` since its epoch. `windows`: the start and the end of each phase. What is missing is added to
    /// `tally` as times of which only a lower bound is known.
    pub fn finish(
        &self,
        windows: &[(Duration, Duration)],
        ended: Duration,
        cut_short: bool,
        tally: &mut Tally,
    ) -> Delivered {
        let run = self.account.run.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(run) = run else { return Delivered::default() };
        let mut state = run.lock();
        let rest = state.matcher.recorder().snapshot(0, Gauges::default(), true).tally;
        *tally += &rest;
        for missing in state.matcher.missing() {
            let phase = &mut tally.phases[missing.phase as usize];
            for (metric, since) in [(Metric::Transit, missing.answered), (Metric::Delivery, missing.intended)]
            {
                phase
                    .hists
                    .entry((metric, Outcome::Interrupted))
                    .or_default()
                    .time(ended.saturating_sub(since));
            }
        }
        let flow = state.matcher.flow();
        let phase = |(index, (from, to)): (usize, &(Duration, Duration))| PhaseDelivery {
            counts: state.matcher.phase_counts(index),
            queued_max: flow.queue(*from, *to).into_iter().max().unwrap_or_default(),
            queued_growth: flow.growth(*from, *to),
            delivered_in_window: flow.delivered_between(*from, *to),
            drain: state.matcher.drain(index),
        };
        let mut bounces: Vec<BounceCount> = state.bounces.values().cloned().collect();
        bounces.sort_by_key(|bounce| std::cmp::Reverse(bounce.count));
        Delivered {
            phases: windows.iter().enumerate().map(phase).collect(),
            foreign: state.matcher.foreign_messages(),
            delayed: state.delayed,
            ended,
            silent_for: state.matcher.last_seen().map(|last| ended.saturating_sub(last)),
            cut_short,
            missing: state.matcher.missing().take(NAMED).collect(),
            altered: state.altered.clone(),
            bounces,
            receiver: self.health(ended),
        }
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
    fn lock(&self) -> MutexGuard<'_, ReceivedSoFar> {
        lock(&self.state)
    }

    fn take(&self, taken: TakenMessage<'_>) {
        let at = taken.ended.saturating_duration_since(self.epoch);
        let message = received::parse(taken.content);
        let identity = message.as_ref().and_then(Identity::of);
        if let Some(identity) = identity {
            return match identity.run == self.id {
                true => self.delivered(identity.seq, taken, at),
                false => self.lock().matcher.foreign(at),
            };
        }
        match message.as_ref().and_then(Notification::read) {
            Some(notification) if notification.identity.run == self.id => self.notified(&notification, at),
            _ => self.lock().matcher.foreign(at),
        }
    }

    fn delivered(&self, seq: u64, taken: TakenMessage<'_>, at: Duration) {
        let sent = self.content(seq);
        let differences = sent.map(|sent| integrity::differences(&sent, taken.content)).unwrap_or_default();
        let recipients: Vec<Option<u32>> =
            taken.recipients.iter().map(|address| self.recipient(seq, address)).collect();
        let mut state = self.lock();
        if !differences.is_empty() && state.altered.len() < NAMED {
            let what: Vec<String> = differences.iter().map(ToString::to_string).collect();
            state.altered.push(Altered { seq, what: what.join(", ") });
        }
        for recipient in recipients {
            state.matcher.delivered(seq, recipient, at, !differences.is_empty());
        }
    }

    fn notified(&self, notification: &Notification, at: Duration) {
        let seq = notification.identity.seq;
        let ends: Vec<(Option<u32>, &RecipientStatus)> = notification
            .recipients
            .iter()
            .map(|status| (self.recipient(seq, &status.address), status))
            .collect();
        let mut state = self.lock();
        if ends.is_empty() {
            // It names none: the message failed.
            for recipient in 0..self.recipients {
                state.matcher.bounced(seq, Some(recipient), at);
            }
            state.bounce("", "a notification that names no recipient", u64::from(self.recipients));
        }
        for (recipient, status) in ends {
            match status.action {
                DeliveryAction::Failed => {
                    state.matcher.bounced(seq, recipient, at);
                    state.bounce(&status.status, &status.diagnostic, 1);
                }
                DeliveryAction::Delayed => state.delayed += 1,
                DeliveryAction::Delivered | DeliveryAction::Relayed | DeliveryAction::Expanded => {}
            }
        }
    }

    /// The content of a message as it was sent; `None` if it is gone (a file that was removed).
    fn content(&self, seq: u64) -> Option<Vec<u8>> {
        let message = self.mailer.message(seq);
        let size = message.size();
        let (mut content, mut at) = (Vec::with_capacity(usize::try_from(size).unwrap_or(0)), 0);
        while at < size {
            at = message.raw(at, size - at, &mut content).ok()?;
        }
        Some(content)
    }

    /// Which recipient of a message this is; `None`: the relay rewrote the address.
    fn recipient(&self, seq: u64, address: &str) -> Option<u32> {
        let message = self.mailer.message(seq);
        let mut own = Vec::new();
        (0..self.recipients).find(|index| {
            own.clear();
            message.recipient(*index, &mut own);
            own.eq_ignore_ascii_case(address.as_bytes())
        })
    }
}

impl ReceivedSoFar {
    /// Counts recipients of a bounce by its status code and its reply.
    fn bounce(&mut self, status: &str, diagnostic: &str, count: u64) {
        let reply = Reply::parse(diagnostic).ok();
        let condition = reply.as_ref().map(|reply| condition::classify(Some(Step::Rcpt), reply, false));
        let key = (status.to_owned(), condition.map_or_else(String::new, |condition| condition.to_string()));
        if self.bounces.len() >= KINDS && !self.bounces.contains_key(&key) {
            return;
        }
        let kind = self.bounces.entry(key).or_insert_with(|| BounceCount {
            status: status.to_owned(),
            condition,
            count: 0,
            sample: diagnostic.chars().take(SAMPLE).collect(),
        });
        kind.count += count;
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
