//! Arrivals: their numbers, their scheduled times, and the walk through the arrivals of one phase. `schedule` knows the
//! current phase, and when a closed phase is over.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::curve::Inverse;
use super::random::{self, LoadDraw};
use super::shard::{Deal, DealtArrival};
use super::{Curve, LoadModel, PhaseLoad, Shard, Spacing, Think, nanos};

/// The difference between the numbers of two consecutive phases: arrival n of phase p has the number p * 10^12 + n. A
/// phase has at most this many arrivals (11 days at a million a second).
///
/// The number of arrivals of a closed phase is not known before it is over, so numbers cannot continue from phase to
/// phase. The decimal stride keeps them readable: 17 is an arrival of the first phase, 2000000000017 one of the third.
pub const PHASE_STRIDE: u64 = 1_000_000_000_000;

/// One arrival of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The number: unique in the run, and the same for any number of shards. See [`PHASE_STRIDE`].
    pub seq: u64,
    /// The index of the phase, from 0.
    pub phase: u32,
    /// When the arrival is to start.
    pub due: Due,
}

/// When an arrival is to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Open: at this offset from the run's epoch, whatever the target does.
    At(Duration),
    /// Closed: when a session is free and its think time is over.
    WhenIdle {
        /// Not before this offset from the run's epoch: the phase's start.
        not_before: Duration,
        /// The think time of the session before the arrival.
        think: Duration,
    },
}

/// Returns how many arrivals a phase has: the exact number for even spacing, bursts and held sessions, the mean for a
/// Poisson process, and the total of [`LoadModel::Shared`]. `None` for [`LoadModel::Sessions`], whose number depends on
/// the listener, and for an open load without a length.
pub fn expected_arrivals(phase: &PhaseLoad) -> Option<u64> {
    let whole = Walk::new(phase, 0, 0, 0, Shard::WHOLE);
    match &whole.steps {
        ArrivalSteps::Uniform { .. } | ArrivalSteps::Burst { .. } => phase.length.map(|_| whole.limit),
        ArrivalSteps::Poisson { inverse, .. } => phase.length.map(|_| inverse.area().round() as u64),
        ArrivalSteps::Closed { .. } => phase.model.total().map(|_| whole.limit),
    }
}

/// Returns the arrivals of a single phase with this `index` in the run, which begins at this offset from the run's
/// epoch.
pub fn arrivals(phase: &PhaseLoad, index: u32, start: Duration, seed: u64) -> impl Iterator<Item = Arrival> {
    Walk::new(phase, index, nanos(start), seed, Shard::WHOLE)
}

/// The arrivals of one phase that belong to one shard, in order.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    phase: u32,
    /// The phase's start, in nanoseconds since the run's epoch.
    start: u64,
    deal: Deal,
    /// The next arrival of this shard.
    next: DealtArrival,
    /// The upper limit of the index.
    limit: u64,
    steps: ArrivalSteps,
}

/// How a phase steps from arrival to arrival.
#[derive(Clone, Debug)]
enum ArrivalSteps {
    /// Arrival n is at the time when the area under the rate curve is n.
    Uniform { inverse: Inverse },
    /// Arrival n is at the time when the area is the sum of the first n + 1 exponential numbers.
    Poisson { inverse: Inverse, stream: Box<ChaCha8Rng>, drawn: u64, area: f64 },
    /// Arrival n belongs to burst n / size.
    Burst { size: u64, every: u64 },
    /// Arrival n starts when a session is free.
    Closed { think: Think, stream: Box<ChaCha8Rng> },
}

impl Walk {
    /// Creates the walk through `phase`, which has this `index` in the run and starts at `start` nanoseconds.
    pub(super) fn new(phase: &PhaseLoad, index: u32, start: u64, seed: u64, shard: Shard) -> Walk {
        let length = phase.length.map_or(u64::MAX, nanos);
        let stream = |purpose| Box::new(random::stream(seed, index, purpose));
        let closed = |think| ArrivalSteps::Closed { think, stream: stream(LoadDraw::Think) };
        let (limit, steps) = match &phase.model {
            LoadModel::Rate { curve, spacing: Spacing::Uniform } => uniform(curve, length),
            LoadModel::Rate { curve, spacing: Spacing::Poisson } => {
                let inverse = Inverse::new(curve, length);
                let stream = stream(LoadDraw::Spacing);
                (PHASE_STRIDE, ArrivalSteps::Poisson { inverse, stream, drawn: 0, area: 0.0 })
            }
            LoadModel::Burst { size, every } => burst(*size, nanos(*every), length),
            LoadModel::Held { sessions, rate } if rate.is_infinite() => burst(*sessions, 0, length),
            LoadModel::Held { sessions, rate } => {
                let (limit, steps) = uniform(&Curve::constant(*rate), length);
                (limit.min(*sessions), steps)
            }
            LoadModel::Sessions { think, .. } => (if length == 0 { 0 } else { PHASE_STRIDE }, closed(*think)),
            LoadModel::Shared { total, think, .. } => (if length == 0 { 0 } else { *total }, closed(*think)),
        };
        let deal = Deal::whole(shard);
        let limit = limit.min(PHASE_STRIDE);
        Walk { phase: index, start, next: deal.first(), deal, limit, steps }
    }

    /// Returns the walk with other arrivals of the phase, from the first one on.
    pub(super) fn dealt(self, deal: Deal) -> Walk {
        Walk { next: deal.first(), deal, ..self }
    }

    /// Returns how many arrivals of the shard are left below the limit.
    pub(super) fn remaining(&self) -> u64 {
        self.deal.count(self.limit) - self.deal.count(self.next.n.min(self.limit))
    }
}

impl Iterator for Walk {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let n = self.next.n;
        if n >= self.limit {
            return None;
        }
        let at = |offset: u64| Due::At(Duration::from_nanos(self.start.saturating_add(offset)));
        let due = match &mut self.steps {
            ArrivalSteps::Uniform { inverse } => at(inverse.at(n as f64)?),
            ArrivalSteps::Poisson { inverse, stream, drawn, area } => {
                // The arrivals of the other shards are drawn too, because all shards share one process.
                while *drawn <= n {
                    *area += random::exponential(stream);
                    *drawn += 1;
                }
                at(inverse.at(*area)?)
            }
            ArrivalSteps::Burst { size, every } => at((n / *size).saturating_mul(*every)),
            ArrivalSteps::Closed { think, stream } => Due::WhenIdle {
                not_before: Duration::from_nanos(self.start),
                think: random::think(stream, *think, n),
            },
        };
        self.next = self.deal.after(self.next);
        Some(Arrival {
            seq: u64::from(self.phase).wrapping_mul(PHASE_STRIDE).wrapping_add(n),
            phase: self.phase,
            due,
        })
    }
}

/// Returns the number of arrivals and their steps for even spacing under the curve. The first arrival is at the start.
fn uniform(curve: &Curve, length: u64) -> (u64, ArrivalSteps) {
    let inverse = Inverse::new(curve, length);
    (inverse.area().ceil() as u64, ArrivalSteps::Uniform { inverse })
}

/// Returns the number of arrivals and their steps for bursts of `size`. All bursts that start before the end of the
/// phase count; if `every` is 0, there is one.
fn burst(size: u64, every: u64, length: u64) -> (u64, ArrivalSteps) {
    let bursts = match every {
        0 => u64::from(length > 0),
        every => length.div_ceil(every),
    };
    (size.saturating_mul(bursts), ArrivalSteps::Burst { size: size.max(1), every })
}

#[cfg(test)]
mod tests;
