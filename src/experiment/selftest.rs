//! The self-test: shows by loads with known results that the measurements are correct on this machine.
//!
//! This module plans the scenarios and judges the measurements. The caller provides the testbed (listener, threads,
//! clock).
//!
//! # Decisions
//! - Every scenario is judged by lower bounds that can be computed exactly. Upper bounds are used only against faults
//!   that exceed them by far: a wrong time origin, or waits of the generator. So a busy machine makes a scenario
//!   invalid, not wrong.
//! - If the listener stalls for S during a constant open load of length T, the response time at quantile q is at least
//!   S - (1 - q)T (M1).

mod ceiling;
mod scenarios;

use std::time::Duration;

use crate::collector::histogram::Hist;
use crate::collector::snapshot::Measured;
use crate::collector::{Metric, Outcome};
use crate::generator::runner::RunError;
use crate::plan::Plan;

pub use ceiling::{Ceiling, LAG_LIMIT, ceilings, rate_ceiling};
pub use scenarios::{Scenario, scenarios};

/// The behaviour of the listener in a scenario, and a block of the generator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ListenerSetting {
    /// The delay of the listener's reply to the final dot.
    pub body: Duration,
    /// The start and the length of a stall, in which the listener reads and accepts nothing.
    pub stall: Option<(Duration, Duration)>,
    /// The share of messages that are answered with 4yz; the same share is answered with 5yz.
    pub errors: f64,
    /// The largest number of sessions at once from one host.
    pub per_host: Option<u32>,
    /// The start and the length of a block of all threads of the generator.
    pub block: Option<(Duration, Duration)>,
}

/// The result of one run on the testbed.
#[derive(Clone, Debug)]
pub struct ScenarioResult {
    /// The measurement of the generator.
    pub measured: Measured,
    /// The listener's count of accepted messages.
    pub delivered: u64,
}

/// The testbed of the scenarios.
pub trait Testbed {
    /// Runs `plan` against a listener with this `setting`.
    ///
    /// # Errors
    /// smtpress itself cannot continue.
    fn measure(&mut self, plan: &Plan, setting: &ListenerSetting) -> Result<ScenarioResult, RunError>;

    /// Returns the resident memory of the generator's process in bytes; 0 if unknown.
    fn resident_bytes(&self) -> u64;
}

/// A figure of a check, with its bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The name.
    pub name: &'static str,
    /// The value, in `unit`.
    pub value: f64,
    /// The lower bound.
    pub at_least: Option<f64>,
    /// The upper bound.
    pub at_most: Option<f64>,
    /// The unit: `ms`, or empty for counts.
    pub unit: &'static str,
}

impl Figure {
    fn new(name: &'static str, value: f64, unit: &'static str) -> Figure {
        Figure { name, value, at_least: None, at_most: None, unit }
    }

    fn at_least(mut self, bound: f64) -> Figure {
        self.at_least = Some(bound);
        self
    }

    fn at_most(mut self, bound: f64) -> Figure {
        self.at_most = Some(bound);
        self
    }

    /// Whether the value is within its bounds.
    pub fn holds(&self) -> bool {
        self.at_least.is_none_or(|bound| self.value >= bound)
            && self.at_most.is_none_or(|bound| self.value <= bound)
    }
}

/// The result of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The name.
    pub name: &'static str,
    /// The rule that the scenario proves, in a sentence.
    pub shows: &'static str,
    /// The figures.
    pub figures: Vec<Figure>,
}

impl Check {
    /// Whether all figures hold.
    pub fn holds(&self) -> bool {
        self.figures.iter().all(Figure::holds)
    }
}

/// Returns the distribution of a metric over all outcomes of the first phase.
fn all(measured: &Measured, metric: Metric) -> Hist {
    let mut hist = Hist::default();
    for ((name, _), values) in &measured.tally.phases[0].hists {
        if *name == metric {
            hist.merge(values);
        }
    }
    hist
}

/// Returns the value of rank ceil(q n) in milliseconds; 0 if there are no values.
fn quantile_ms(hist: &Hist, q: f64) -> f64 {
    let count = hist.count();
    if count == 0 {
        return 0.0;
    }
    let rank = ((q * count as f64).ceil() as u64).clamp(1, count);
    hist.at_rank(rank) as f64 / 1e6
}

fn max_ms(hist: &Hist) -> f64 {
    if hist.count() == 0 { 0.0 } else { hist.max_ns() as f64 / 1e6 }
}

/// Returns figures that must be zero in every run: the differences of counts that must be equal (M10), and the number of
/// messages by which the counts disagree with the listener's ledger (M10b).
fn reconciliation(observed: &ScenarioResult) -> Vec<Figure> {
    let counts = &observed.measured.tally.phases[0].counts;
    let off = |left: u64, right: u64| left.abs_diff(right) as f64;
    let accepted = counts.transactions.of(Outcome::Accepted);
    let in_doubt = counts.transactions.of(Outcome::InDoubt);
    let beyond =
        accepted.saturating_sub(observed.delivered) + observed.delivered.saturating_sub(accepted + in_doubt);
    vec![
        Figure::new(
            "scheduled - shed - started",
            off(counts.scheduled, counts.started + counts.arrivals.of(Outcome::Shed)),
            "",
        )
        .at_most(0.0),
        Figure::new("started - ended", off(counts.started, counts.arrivals.ended()), "").at_most(0.0),
        Figure::new("ledger off", beyond as f64, "").at_most(0.0),
    ]
}
