//! What a worker hands over once a second, and what a whole run adds up to.

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
    /// Sessions whose socket is open, connecting ones included.
    pub sessions: u64,
    /// The most of them at once since the run began.
    pub peak_sessions: u64,
    /// Arrivals that are started and not ended.
    pub in_flight: u64,
    /// Arrivals that wait for a session.
    pub waiting: u64,
    /// Messages that wait for their next attempt.
    pub retrying: u64,
    /// Accepted recipients that have not come out of the relay; `None`: nobody looks.
    pub queued: Option<u64>,
}

/// What one worker counted since its last snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which worker.
    pub worker: u32,
    /// The index of the second, from the run's epoch, that this snapshot closes.
    pub second: u64,
    /// What was counted in it, by phase.
    pub tally: Tally,
    /// The transactions that ended in it, if the plan asks for them.
    pub transactions: Vec<Transaction>,
    /// The state at its end.
    pub gauges: Gauges,
    /// Whether it is the worker's last.
    pub last: bool,
}

/// One second of a run, all workers together. This is what progress, windows, time series and interval logs read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// Its start, since the run's epoch.
    pub start: Duration,
    /// Its length; one second, but for the last.
    pub length: Duration,
    /// What was counted in it.
    pub tally: Tally,
    /// The transactions that ended in it, if the plan asks for them; in no order.
    pub transactions: Vec<Transaction>,
    /// The state at its end, summed over the workers.
    pub gauges: Gauges,
}

/// By how much the loop may be late in one turn of a hundred (M5b).
pub const LATE: Duration = Duration::from_millis(50);

/// What kept the load threads from running in one phase (M5b). Of delays, stalls and waits those of the worst thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hindrance {
    /// How long the loop was watched.
    pub watched: Duration,
    /// How late the loop came round, by a timer due every 10 ms: the 99th percentile by rank, in nanoseconds.
    pub loop_delay_p99_ns: u64,
    /// The longest of these delays.
    pub loop_delay_max_ns: u64,
    /// How many of them were above [`LATE`].
    pub late: u64,
    /// The sum of those above 10 ms without the longest, less what the thread worked itself meanwhile.
    pub stalled: Duration,
    /// How long the thread had work and no core.
    pub cpu_wait: Duration,
    /// How often it was given one.
    pub cpu_waits: u64,
    /// Periods of the control group's CPU quota.
    pub periods: u64,
    /// Those of them in which the quota was used up.
    pub throttled_periods: u64,
    /// How long the group was held up by it, summed over the cores.
    pub throttled: Duration,
    /// What the hypervisor took from the machine, summed over its cores.
    pub stolen: Duration,
}

impl Hindrance {
    /// Both, of which each is of another thread or another phase.
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

/// The resources that this process used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The cores that the load threads could use: one each, at most those of the process and the quota of its control group.
    pub allowed_cores: f64,
    /// By phase index: what kept them from running.
    pub hindrances: Vec<Hindrance>,
    /// Mean share of the allowance that was used, 0 to 1.
    pub cpu_share: f64,
    /// The share of seconds in which the share was above 85 %, by phase index.
    pub cpu_saturated: Vec<f64>,
    /// User CPU of the generator's threads, in seconds.
    pub cpu_user_s: f64,
    /// System CPU of the generator's threads, in seconds.
    pub cpu_system_s: f64,
    /// The most descriptors open at once.
    pub peak_descriptors: u64,
    /// The most resident memory, in bytes.
    pub peak_rss_bytes: u64,
    /// Different local ports used, at most: connections opened.
    pub ports_used: u64,
    /// The wall clock and the monotonic clock parted by more than this over the run, in nanoseconds.
    pub clock_drift_ns: u64,
    /// Workers (or shards) whose last snapshot never came.
    pub lost_workers: u32,
}

/// All that a trial measured. Made by a Runner; judged by `verdict`, shown by `report`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// The total of all intervals.
    pub tally: Tally,
    /// The measured window of each phase, in seconds: from its start until the last scheduled time of an arrival.
    pub windows: Vec<Duration>,
    /// By phase index: how long after its window the last of its arrivals ended.
    pub drained_for: Vec<Duration>,
    /// Where the load of each phase began, since the run's epoch: behind a start barrier when that opened.
    pub starts: Vec<Duration>,
    /// By phase index: it was to open all its sessions first, they were never all open, and so its load never began.
    pub held_back: Vec<bool>,
    /// By phase index: what was asked for and done; empty if that is not known.
    pub work: Vec<Work>,
    /// The state at the end; `peak_sessions` is of the whole run.
    pub gauges: Gauges,
    /// By phase index: the most sessions open at once.
    pub peak_sessions: Vec<u64>,
    /// Arrivals offered and finished, over the run.
    pub backlog: BacklogSeries,
    /// The resources that this process used.
    pub health: Health,
    /// The user stopped the run.
    pub interrupted: bool,
    /// An aborting assertion stopped the run; which one.
    pub aborted_by: Option<String>,
    /// The wall-clock time of the run's epoch, since the Unix epoch; zero if it is not known.
    pub began_at: Duration,
    /// How long the run took in all.
    pub took: Duration,
    /// The dialogues kept as evidence: file stem and text.
    pub transcripts: Vec<(String, String)>,
    /// What was done to the listener meanwhile, in the order of the plan.
    #[serde(skip)]
    pub events: Vec<EventRun>,
    /// The arrivals in tenths of a second, of a plan with events.
    pub slices: Slices,
    /// What came out of the relay; `None`: there was no receiver behind it.
    #[serde(skip)]
    pub delivered: Option<Box<Delivered>>,
    /// The agents of a fleet; none: it was one machine.
    #[serde(skip)]
    pub agents: Vec<AgentRun>,
    /// By phase index: how far apart the agents of a fleet began it.
    #[serde(skip)]
    pub starts_apart: Vec<Duration>,
}
