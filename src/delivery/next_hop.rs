//! The listeners of a receiver, and the health of their threads.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::ReceiverSettings;
use crate::collector::delivery::ReceiverHealth;
use crate::listener::{self, LedgerSnapshot, ListenError, Listener, Sink};
use crate::net::address::bind::Bind;

/// The number of threads of each address.
const THREADS: usize = 1;

/// The listeners of a receiver, one for each address.
#[derive(Debug)]
pub(super) struct NextHop(Vec<Listener>);

/// The health of a receiver's threads. Turns, late turns and the longest lateness count since the last reading, all
/// other values since the start of the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HopHealth {
    /// The number of threads.
    pub threads: u64,
    /// The CPU time of the threads.
    pub cpu_s: f64,
    /// The number of connections.
    pub connections: u64,
    /// The number of refusing replies.
    pub refusals: u64,
    /// The number of connections that failed because no descriptor was free.
    pub accept_errors: u64,
    /// The number of turns of the threads' timers.
    pub turns: u64,
    /// The number of turns that were late by more than 50 ms.
    pub late: u64,
    /// The longest lateness.
    pub lag_max_ms: f64,
    /// How long the threads waited for room in the queue of the log.
    pub waited_ms: f64,
}

impl NextHop {
    /// Starts the listeners. `seed` determines the random draws of the listeners; `sink` gets the messages.
    pub fn start(
        settings: &ReceiverSettings,
        seed: u64,
        sink: &Arc<dyn Sink>,
    ) -> Result<NextHop, ListenError> {
        let listen = |place: &Bind| {
            listener::start_with(place, settings.limits.clone(), seed, THREADS, Some(Arc::clone(sink)))
        };
        settings.addresses.iter().map(listen).collect::<Result<_, _>>().map(NextHop)
    }

    /// Returns the addresses of the listeners, in the given order.
    pub fn places(&self) -> impl Iterator<Item = &Bind> {
        self.0.iter().map(Listener::place)
    }

    /// Returns the health of the listeners' threads.
    pub fn health(&self) -> HopHealth {
        let mut health = HopHealth { threads: (self.0.len() * THREADS) as u64, ..HopHealth::default() };
        for listener in &self.0 {
            let (user, system) = listener.cpu();
            let LedgerSnapshot { connections, accept_errors, refused, .. } = listener.ledger();
            health.cpu_s += user + system;
            health.connections += connections;
            health.refusals += refused.values().sum::<u64>();
            health.accept_errors += accept_errors;
            let delay = listener.timer_delay();
            health.turns += delay.turns;
            health.late += delay.late;
            health.lag_max_ms = health.lag_max_ms.max(delay.longest.as_secs_f64() * 1e3);
        }
        health
    }

    /// Ends every session and thread.
    pub fn stop(self) {
        self.0.into_iter().for_each(|listener| drop(listener.stop()));
    }
}

impl HopHealth {
    /// Returns the health over the time of this length since the reading `before`.
    pub fn since(&self, before: &HopHealth, length: Duration) -> ReceiverHealth {
        let cores = self.threads.max(1) as f64 * length.as_secs_f64();
        let time = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default();
        ReceiverHealth {
            cpu_share: if cores > 0.0 { (self.cpu_s - before.cpu_s) / cores } else { 0.0 },
            lag_max: time(self.lag_max_ms).max(time(self.waited_ms - before.waited_ms)),
            late: self.late,
            turns: self.turns,
            connections: self.connections.saturating_sub(before.connections),
            refusals: self.refusals.saturating_sub(before.refusals),
            accept_errors: self.accept_errors.saturating_sub(before.accept_errors),
        }
    }
}
