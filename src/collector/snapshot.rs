//! What a worker hands over once a second, and what a whole run adds up to.

use std::time::Duration;

use super::tally::Tally;
use super::work::Work;

/// The state of a worker at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions whose socket is open, connecting ones included.
    pub sessions: u64,
    /// The most of them at once since the run began.
    pub peak_sessions: u64,
    /// Arrivals that are started and not ended.
    pub in_flight: u64,
    /// Arrivals that are due and wait for a session.
    pub waiting: u64,
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
    /// The state at its end.
    pub gauges: Gauges,
    /// Whether it is the worker's last.
    pub last: bool,
}

/// One second of a run, all workers together. This is what progress, windows, time series and interval logs read.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Its start, since the run's epoch.
    pub start: Duration,
    /// Its length; one second, but for the last.
    pub length: Duration,
    /// What was counted in it.
    pub tally: Tally,
    /// The state at its end, summed over the workers.
    pub gauges: Gauges,
}

/// How our own process fared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Mean share of the allowance (threads of the generator, at most the cores) that was used, 0 to 1.
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

/// All that a trial measured. Made by a Runner; judged by `verdict`, told by `report`.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The total of all intervals.
    pub tally: Tally,
    /// The measured window of each phase, in seconds: from its start until its last arrival was due.
    pub windows: Vec<Duration>,
    /// Where the load of each phase began, since the run's epoch: behind a gate when that was opened.
    pub starts: Vec<Duration>,
    /// By phase index: it was to open all its sessions first, they were never all open, and so its load never began.
    pub held_back: Vec<bool>,
    /// By phase index: what was asked for and done; empty if nobody knows.
    pub work: Vec<Work>,
    /// The state at the end; `peak_sessions` is of the whole run.
    pub gauges: Gauges,
    /// By phase index: the most sessions open at once.
    pub peak_sessions: Vec<u64>,
    /// How our own process fared.
    pub health: Health,
    /// The user stopped the run.
    pub interrupted: bool,
    /// An aborting assertion stopped the run; which one.
    pub aborted_by: Option<String>,
    /// How long the run took in all.
    pub took: Duration,
    /// The dialogues kept as evidence: file stem and text.
    pub transcripts: Vec<(String, String)>,
}
