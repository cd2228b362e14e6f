//! What a run amounts to: per phase the books, three rates, every distribution in numbers, and the conditions met.
//!
//! Plain data, computed once from [`Measured`]; the reports print it and the verdict reads it. Whether the numbers can be
//! trusted at all is said by [`Validity`].
//!
//! # Decisions
//! - Percentiles of response and service times of accepted arrivals count the arrivals that timed out or were interrupted
//!   as censored (M12): leaving out those that never came back would make a listener that hangs look fast. Count, minimum,
//!   maximum and mean, and the stored distribution, remain those of the accepted alone (M22).

mod validity;

use std::time::Duration;

use super::histogram::{Hist, Quantile};
use super::snapshot::{Health, Measured};
use super::tally::{ConditionKey, Counts, PhaseTally};
use super::{Metric, Outcome};

pub use validity::{Code, Reason, Validity};

/// The percentiles that are reported.
pub const QUANTILES: [f64; 6] = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999];

/// What must be known of a phase to sum it up; made from the plan's phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseInfo {
    /// Its name.
    pub name: String,
    /// Never measured (M15).
    pub warmup: bool,
    /// What an arrival is: `session` or `message`.
    pub unit: &'static str,
    /// The load asks the same all the time, so that Little's law must hold (M20).
    pub steady: bool,
    /// Arrivals without a free session are shed, because the profile says so.
    pub sheds: bool,
    /// The most sessions the profile allows at once.
    pub max_sessions: u32,
    /// How long arrivals are due in it; `None`: until they are used up.
    pub length: Option<Duration>,
}

/// A run, summed up.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// By phase index, warm-up phases included.
    pub phases: Vec<PhaseSummary>,
    /// Every condition met, by phase, then the most frequent first.
    pub conditions: Vec<ConditionRow>,
    /// Whether the numbers can be trusted.
    pub validity: Validity,
    /// What is odd and does not make the numbers wrong, in sentences (M20).
    pub warnings: Vec<String>,
    /// How our own process fared.
    pub health: Health,
    /// The 99th percentile of our own lateness over the measured phases, by rank, in nanoseconds; 0 without arrivals.
    pub lag_p99_ns: u64,
    /// The user stopped the run.
    pub interrupted: bool,
    /// An aborting assertion stopped the run; which one.
    pub aborted_by: Option<String>,
}

/// A phase, summed up.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseSummary {
    /// What it is.
    pub info: PhaseInfo,
    /// The denominator of its rates (M21).
    pub window: Duration,
    /// Its books.
    pub counts: Counts,
    /// The most sessions open at once.
    pub peak_sessions: u64,
    /// Arrivals due a second.
    pub offered_per_s: f64,
    /// Arrivals begun a second.
    pub started_per_s: f64,
    /// Arrivals accepted a second.
    pub accepted_per_s: f64,
    /// Every distribution that holds a value, in the order of [`Metric::all`] and [`Outcome::ALL`].
    pub metrics: Vec<MetricRow>,
    /// Per `[[expect]]` of the profile by its index: how many refusals it covered.
    pub expects: Vec<(u32, u64)>,
}

/// A distribution in numbers; all times in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// What was timed.
    pub metric: Metric,
    /// How it ended.
    pub outcome: Outcome,
    /// The number of values.
    pub count: u64,
    /// Values of which only a lower bound is known, counted in the percentiles and nowhere else.
    pub censored: u64,
    /// The exact minimum.
    pub min_ns: u64,
    /// The exact maximum.
    pub max_ns: u64,
    /// The exact mean.
    pub mean_ns: f64,
    /// At [`QUANTILES`].
    pub quantiles: Vec<Quantile>,
}

/// A row of the conditions table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionRow {
    /// The phase's index.
    pub phase: usize,
    /// What it is.
    pub key: ConditionKey,
    /// How often.
    pub count: u64,
    /// When first, since the run's epoch.
    pub first: Duration,
    /// When last.
    pub last: Duration,
    /// The first reply of this kind, or what happened in words.
    pub sample: String,
}

impl ConditionRow {
    /// Whether the profile expects it.
    pub fn expected(&self) -> bool {
        self.key.outcome == Outcome::Expected
    }
}

impl Summary {
    /// Sums up a run. `phases` are the plan's, in its order.
    pub fn new(measured: &Measured, phases: &[PhaseInfo]) -> Summary {
        todo!()
    }

    /// The phases that count (M15).
    pub fn measured_phases(&self) -> impl Iterator<Item = &PhaseSummary> {
        self.phases.iter().filter(|phase| !phase.info.warmup)
    }
}

/// The values that count as censored beside those of this metric and outcome (M12).
pub fn censored(tally: &PhaseTally, metric: Metric, outcome: Outcome) -> Hist {
    todo!()
}
