//! The snapshots that each worker makes once a second, and the measurement of a whole run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::agents::AgentRun;
use super::backlog::BacklogSeries;
use super::delivery::{Delivered, Transaction};
use super::slices::Slices;
use super::tally::Tally;
use super::work::Work;
use crate::event::EventRun;

/// The state of a worker at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// The number of sessions whose socket is open, connecting ones included.
    pub sessions: u64,
    /// The largest number of open sessions at once since the start of the run.
    pub peak_sessions: u64,
    /// The number of arrivals in flight.
    pub in_flight: u64,
    /// The number of arrivals that wait for a session.
    pub waiting: u64,
    /// The number of messages that wait for their next attempt.
    pub retrying: u64,
    /// The number of accepted recipients that the relay has not delivered; `None`: there is no receiver behind the relay.
    pub queued: Option<u64>,
}

/// The counts of one worker since its last snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The index of the worker.
    pub worker: u32,
    /// The index of the second, from the run's epoch, that ends with this snapshot.
    pub second: u64,
    /// The counts, by phase.
    pub tally: Tally,
    /// The transactions that ended since the last snapshot, if the plan asks for them.
    pub transactions: Vec<Transaction>,
    /// The state at the snapshot.
    pub gauges: Gauges,
    /// Whether it is the last snapshot of the worker.
    pub last: bool,
}

/// One second of a run, for all workers together. Progress, windows, time series and interval logs use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// The start, since the run's epoch.
    pub start: Duration,
    /// The length: one second, except for the last interval.
    pub length: Duration,
    /// The counts.
    pub tally: Tally,
    /// The transactions that ended in the interval, in no order, if the plan asks for them.
    pub transactions: Vec<Transaction>,
    /// The state at the end of the interval, summed over the workers.
    pub gauges: Gauges,
}

/// The lateness that the loop of a load thread may exceed in one turn of a hundred (M5b).
pub const LATE: Duration = Duration::from_millis(50);

/// What kept the load threads from running in one phase (M5b). Each delay, stall and wait is that of the worst thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hindrance {
    /// How long the loop of a thread was observed.
    pub watched: Duration,
    /// The lateness of the loop at a timer every 10 ms: the 99th percentile by rank, in nanoseconds.
    pub loop_delay_p99_ns: u64,
    /// The longest of these delays, in nanoseconds.
    pub loop_delay_max_ns: u64,
    /// The number of delays above [`LATE`].
    pub late: u64,
    /// The sum of all stalls but the longest. A stall is a delay of which more than 10 ms are left after the thread's own CPU
    /// time is subtracted; this rest counts.
    pub stalled: Duration,
    /// How long the thread waited for a core.
    pub cpu_wait: Duration,
    /// How often the thread got a core.
    pub cpu_waits: u64,
    /// The number of periods of the control group's CPU quota.
    pub periods: u64,
    /// The number of periods in which the quota was used up.
    pub throttled_periods: u64,
    /// How long the control group was throttled, summed over the cores.
    pub throttled: Duration,
    /// The time that the hypervisor took from the machine (steal), summed over the cores.
    pub stolen: Duration,
}

impl Hindrance {
    /// Combines the values of two threads or two phases: the worse values of the threads, and the sums of the values of the
    /// control group and the hypervisor.
    pub fn worst(self, other: Hindrance) -> Hindrance {
        let share = |own: &Hindrance| own.cpu_wait.as_secs_f64() / own.watched.as_secs_f64().max(1e-9);
        let waiting = if share(&other) > share(&self) { other } else { self };
        Hindrance {
            watched: self.watched.max(other.watched),
            loop_delay_p99_ns: self.loop_delay_p99_ns.max(other.loop_delay_p99_ns),
            loop_delay_max_ns: self.loop_delay_max_ns.max(other.loop_delay_max_ns),
            late: self.late.max(other.late),
            stalled: self.stalled.max(other.stalled),
            cpu_wait: waiting.cpu_wait,
            cpu_waits: waiting.cpu_waits,
            periods: self.periods + other.periods,
            throttled_periods: self.throttled_periods + other.throttled_periods,
            throttled: self.throttled + other.throttled,
            stolen: self.stolen + other.stolen,
        }
    }
}

/// The resource use of this process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The number of cores that the load threads could use: one for each thread, at most those of the process and the quota
    /// of its control group.
    pub allowed_cores: f64,
    /// What kept the load threads from running, by phase index.
    pub hindrances: Vec<Hindrance>,
    /// The share of the allowed cores that the load threads used on average, 0 to 1.
    pub cpu_share: f64,
    /// The share of seconds in which the load threads used more than 85 % of the allowed cores, by phase index.
    pub cpu_saturated: Vec<f64>,
    /// User CPU of the generator's threads, in seconds.
    pub cpu_user_s: f64,
    /// System CPU of the generator's threads, in seconds.
    pub cpu_system_s: f64,
    /// The largest number of open descriptors.
    pub peak_descriptors: u64,
    /// The largest resident memory, in bytes.
    pub peak_rss_bytes: u64,
    /// An upper bound of the local ports used: the number of connections opened.
    pub ports_used: u64,
    /// The difference between the lengths of the run by the wall clock and by the monotonic clock, in nanoseconds.
    pub clock_drift_ns: u64,
    /// The number of workers (or shards) whose last snapshot never came.
    pub lost_workers: u32,
}

/// The measurement of a trial. A runner makes it, `verdict` judges it, and `report` shows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// The sum of all intervals.
    pub tally: Tally,
    /// The length of the window of each phase, over which its rates are computed: from the start of its load until the phase
    /// ends, its last arrival ends (if a total ends it), or the run is stopped.
    pub windows: Vec<Duration>,
    /// How long after the window of each phase its last arrival ended, by phase index.
    pub drained_for: Vec<Duration>,
    /// The start of each phase's load, since the run's epoch: with a start barrier, the time at which it opened.
    pub starts: Vec<Duration>,
    /// Whether the start barrier of a phase never opened, so that its load never started; by phase index.
    pub held_back: Vec<bool>,
    /// The work that was requested and done, by phase index; empty: unknown.
    pub work: Vec<Work>,
    /// The state at the end of the run.
    pub gauges: Gauges,
    /// The largest number of sessions open at once, by phase index.
    pub peak_sessions: Vec<u64>,
    /// The numbers of scheduled and finished arrivals over time.
    pub backlog: BacklogSeries,
    /// The resource use of this process.
    pub health: Health,
    /// Whether the user stopped the run.
    pub interrupted: bool,
    /// The aborting assertion that stopped the run, if one did.
    pub aborted_by: Option<String>,
    /// The wall-clock time of the run's epoch, since the Unix epoch; zero: unknown.
    pub began_at: Duration,
    /// The length of the whole run.
    pub took: Duration,
    /// The transcripts that are kept as evidence: file stem and text.
    pub transcripts: Vec<(String, String)>,
    /// The records of the plan's events, in the order of the plan.
    #[serde(skip)]
    pub events: Vec<EventRun>,
    /// The arrivals in tenths of a second, for a plan with events.
    pub slices: Slices,
    /// The deliveries of the relay; `None`: there was no receiver.
    #[serde(skip)]
    pub delivered: Option<Box<Delivered>>,
    /// The agents of the fleet; empty: one machine ran the trial.
    #[serde(skip)]
    pub agents: Vec<AgentRun>,
    /// How far apart the agents of the fleet started each phase, by phase index.
    #[serde(skip)]
    pub starts_apart: Vec<Duration>,
}
