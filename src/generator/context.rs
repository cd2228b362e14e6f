//! The state that the threads of one run share. The path of an arrival has no lock and writes no shared counter. Only a
//! connection under a `connect_rate` takes a moment of a grid that all threads share.

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
    /// One entry for each thread, written only by that thread.
    pub open: Vec<OpenSessions>,
    pub barriers: StartBarriers,
    pub connect_rates: Arc<ConnectRates>,
    pub host: Host,
    /// When the run was stopped. Later events count in no rate.
    pub stopped_at: OnceLock<Duration>,
    /// The start and the length of a standstill. The self-test stops every thread for this time, to prove that `lag`
    /// shows it (M5).
    pub stall: Option<(Duration, Duration)>,
    pub reach: Reach,
    pub stop: watch::Receiver<Stop>,
}

impl RunContext {
    /// Returns the state of a run that starts now, with this many threads, for an embedded listener that is not there.
    #[cfg(test)]
    pub fn of_test(plan: Plan, threads: u32) -> Arc<RunContext> {
        use super::connector::EmbeddedListener;
        use crate::net::dial::Destination;

        let place = Destination::Tcp { host: "127.0.0.1".to_owned(), port: 2525 };
        let embedded = EmbeddedListener { place, certificate: None };
        let connector = Connector::new(&plan, Some(&embedded)).expect("the plan needs no files");
        Arc::new(RunContext {
            plan: connector.plan().clone(),
            mailer: Arc::new(Mailer::new(&plan.mail, plan.seed, &plan.run_id, "")),
            connector,
            clock: Clock::new(super::clock::now()),
            open: (0..threads).map(|_| OpenSessions::default()).collect(),
            barriers: StartBarriers::new(plan.phases.len(), threads),
            connect_rates: Arc::new(ConnectRates::new(&plan)),
            host: Host::find(),
            stopped_at: OnceLock::new(),
            stall: None,
            reach: Reach::new(false, Duration::ZERO),
            stop: watch::channel(Stop::Run).1,
        })
    }

    /// Returns the time since the run's epoch.
    pub fn now(&self) -> Duration {
        self.clock.offset()
    }

    /// Returns when the load of a phase starts; `None`: unknown, because its sessions are not all open yet.
    pub fn load_start(&self, phase: usize) -> Option<Duration> {
        match self.plan.phases.get(phase)?.open_first {
            true => self.barriers.opened(phase),
            false => {
                load::spans(self.plan.phases.iter().map(|phase| &phase.load)).nth(phase).map(|(at, _)| at)
            }
        }
    }

    /// Returns the number of sessions open over all threads.
    pub fn open_sessions(&self) -> u64 {
        self.open.iter().map(|open| open.0.load(Ordering::Relaxed)).sum()
    }
}

/// The number of open sessions of one thread, which other threads read. It has a cache line of its own.
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
