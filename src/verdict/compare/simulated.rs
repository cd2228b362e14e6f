//! Runs with a known true difference: log-normal times, seconds that are correlated with the second before, and runs
//! that differ by 3 %.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::{BLOCK, RunBlocks, TimeBlock};
use crate::collector::histogram::Hist;

/// The factors for the times of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    /// The factor for all times.
    pub(super) all: f64,
    /// The factor for the slowest 4 %.
    pub(super) tail: f64,
    /// The difference from run to run, as a share of the time.
    pub(super) run: f64,
}

pub(super) const ALIKE: Truth = Truth { all: 1.0, tail: 1.0, run: 0.03 };

fn normal(random: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

/// Returns a run of this many blocks at this rate a second, with all arrivals accepted.
pub(super) fn run(random: &mut impl Rng, blocks: usize, rate: u64, truth: Truth) -> RunBlocks {
    let own = truth.all.ln() + truth.run * normal(random);
    let (mut second, mut run) = (0.0, RunBlocks::default());
    for _ in 0..blocks {
        let mut hist = Hist::default();
        for _ in 0..BLOCK.as_secs() {
            second = 0.7 * second + 0.04 * normal(random);
            for _ in 0..rate {
                let place = normal(random);
                // 4 % of the values lie beyond 1.75 standard deviations.
                let tail = if place > 1.75 { truth.tail.ln() } else { 0.0 };
                hist.record((20e6 * (own + second + 0.5 * place + tail).exp()) as u64);
            }
        }
        run.times[0].merge(&hist);
        let count = hist.count();
        run.blocks.push(TimeBlock {
            length: BLOCK,
            times: [hist.buckets().collect(), Vec::new(), Vec::new()],
            accepted: count,
            unexpected: 0,
            ended: count,
        });
        run.window += BLOCK;
    }
    debug_assert!(run.window > Duration::ZERO);
    run
}

/// Returns this many runs.
pub(super) fn runs(
    random: &mut impl Rng,
    n: usize,
    blocks: usize,
    rate: u64,
    truth: Truth,
) -> Vec<RunBlocks> {
    (0..n).map(|_| run(random, blocks, rate, truth)).collect()
}
