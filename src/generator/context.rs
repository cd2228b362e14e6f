//! What the threads of one run share. No lock and no shared counter stands in the path of an arrival; only where a connection is
//! opened under a `connect_rate` a shared moment is taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::clock::Clock;
use super::connector::Connector;
use super::dispatch::ConnectRates;
use super::host::Host;
use super::reachability::Reach;
use super::runner::Stop;
use super::start_barrier::StartBarriers;
use crate::load;
use crate::mail::Mailer;
use crate::plan::Plan;

/// The shared state of a run.
pub(super) struct RunContext {
    pub plan: Arc<Plan>,
    pub mailer: Arc<Mailer>,
    pub connector: Connector,
    pub clock: Clock,
    /// By thread; each writes only its own.
    pub open: Vec<OpenSessions>,
    pub barriers: StartBarriers,
    pub connect_rates: Arc<ConnectRates>,
    pub host: Host,
    /// When the run was stopped, if it was: what comes after is in no rate.
    pub stopped_at: OnceLock<Duration>,
    /// When every thread is to stand still, and for how long: the proof that `lag` shows it (M5).
    pub stall: Option<(Duration, Duration)>,
    pub reach: Reach,
    pub stop: watch::Receiver<Stop>,
}

impl RunContext {
    /// The time since the run's epoch.
    pub fn now(&self) -> Duration {
        self.clock.offset()
    }

    /// When the load of a phase began, or will; `None`: its sessions are not all open yet.
    pub fn load_start(&self, phase: usize) -> Option<Duration> {
        match self.plan.phases.get(phase)?.open_first {
            true => self.barriers.opened(phase),
            false => {
                load::spans(self.plan.phases.iter().map(|phase| &phase.load)).nth(phase).map(|(at, _)| at)
            }
        }
    }

    /// Sessions open over all threads.
    pub fn open_sessions(&self) -> u64 {
        self.open.iter().map(|open| open.0.load(Ordering::Relaxed)).sum()
    }
}

/// The open sessions of one thread, which others read; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct OpenSessions(AtomicU64);

impl OpenSessions {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
