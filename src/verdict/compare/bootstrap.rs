//! The hierarchical block bootstrap: draws runs from the runs of a side, and blocks from within each run; the spread of
//! the resulting medians gives their interval.
//!
//! # Decisions
//! - A few hundred resamples of each run are computed once; a side draws its runs from these. That is much cheaper than
//!   new blocks for every draw, and as good if the pool is larger than the number of runs.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::Measure;
use super::sample::RunSample;

/// The number of draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// The number of resamples of each run.
    pub within: usize,
    /// The number of resamples of the sides.
    pub sides: usize,
}

/// The largest number of resamples that a large number of metrics asks for: with hundreds of phases it takes seconds.
const MOST_RESAMPLES: usize = 20_000;

impl Effort {
    /// Returns the effort whose smallest p is below `alpha` after Holm's correction for this many metrics. If that takes
    /// more than [`MOST_RESAMPLES`], it is the given effort.
    pub(super) fn enough_for(self, metrics: usize, alpha: f64) -> Effort {
        let wanted = (2.0 * metrics as f64 / alpha).ceil() as usize;
        if wanted > MOST_RESAMPLES { self } else { Effort { sides: self.sides.max(wanted), ..self } }
    }

    /// Returns the smallest p that the resamples of the sides can give.
    pub(super) fn least_p(self) -> f64 {
        least_p(self.sides)
    }
}

/// Returns the smallest p of this many draws: no draw is on the rarer side.
fn least_p(draws: usize) -> f64 {
    2.0 / (draws + 1) as f64
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { within: 200, sides: 2000 }
    }
}

/// The drawn changes of one metric in rising order, on the inner scale.
pub(super) struct Drawn(Vec<f64>);

impl Drawn {
    /// Returns the 95 % interval. Swapped sides give exactly the opposite.
    pub(super) fn interval(&self) -> (f64, f64) {
        let cut = self.0.len() / 40;
        match (self.0.get(cut), self.0.get(self.0.len().saturating_sub(cut + 1))) {
            (Some(low), Some(high)) => (*low, *high),
            _ => (f64::NAN, f64::NAN),
        }
    }

    /// Returns the two-sided p: twice the share of the draws on the rarer side of no change.
    pub(super) fn p_value(&self) -> f64 {
        let up = self.0.iter().filter(|change| **change >= 0.0).count();
        let down = self.0.iter().filter(|change| **change <= 0.0).count();
        ((up.min(down) + 1) as f64 * least_p(self.0.len())).min(1.0)
    }
}

/// Returns the drawn changes, by [`Measure::ALL`]. With `fixed` the runs are fixed, and only blocks are drawn.
pub(super) fn changes(
    base: &[RunSample],
    candidate: &[RunSample],
    fixed: bool,
    effort: Effort,
) -> Vec<Drawn> {
    let (own, other) = (medians(base, fixed, effort), medians(candidate, fixed, effort));
    let of = |(at, measure): (usize, Measure)| {
        let mut drawn: Vec<f64> =
            own.iter().zip(&other).map(|(own, other)| measure.between(own[at], other[at])).collect();
        drawn.sort_by(f64::total_cmp);
        Drawn(drawn)
    };
    Measure::ALL.into_iter().enumerate().map(of).collect()
}

/// Returns the resampled medians of a side.
fn medians(side: &[RunSample], fixed: bool, effort: Effort) -> Vec<[f64; Measure::ALL.len()]> {
    // The runs are sorted, so that the order of the arguments does not matter.
    let mut runs: Vec<&RunSample> = side.iter().collect();
    runs.sort_by_key(|run| run.digest);
    if runs.is_empty() || runs.iter().any(|run| run.pool.is_empty()) {
        return Vec::new();
    }
    let mut hash = Sha256::new();
    runs.iter().for_each(|run| hash.update(run.digest));
    let mut random = stream(&hash.finalize().into());
    let one = |_| {
        let mut draw = |at: usize| {
            let run = if fixed { runs[at] } else { runs[pick(&mut random, runs.len())] };
            run.pool[pick(&mut random, run.pool.len())]
        };
        let drawn: Vec<[f64; Measure::ALL.len()]> = (0..runs.len()).map(&mut draw).collect();
        std::array::from_fn(|at| median(drawn.iter().map(|values| values[at]).collect()))
    };
    (0..effort.sides).map(one).collect()
}

/// Returns the digests of the runs of a side, independent of their order.
pub(super) fn digests(side: &[RunSample]) -> Vec<[u8; 32]> {
    let mut digests: Vec<[u8; 32]> = side.iter().map(|run| run.digest).collect();
    digests.sort_unstable();
    digests
}

/// Returns the middle value, or the mean of the two middle values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[half],
        _ => (values[half - 1] + values[half]) / 2.0,
    }
}

/// Returns the random generator, seeded by the measurement.
pub(super) fn stream(seed: &[u8; 32]) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(*seed)
}

/// Returns a random index below `n`. For a small `n` the bias of the multiplication is below n / 2^32.
pub(super) fn pick(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(random.next_u32()) * n as u64) >> 32) as usize
}
