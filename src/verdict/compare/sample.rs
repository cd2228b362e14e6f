//! A phase of a run, prepared for the comparison: its values, and its blocks for the bootstrap.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Measure;
use super::bootstrap::{self, Effort};
use crate::collector::histogram::{Hist, Status, needed, rank};

/// The length of a block: longer than the time over which the seconds of a listener are correlated.
pub const BLOCK: Duration = Duration::from_secs(10);
/// The largest number of blocks. A long run has longer blocks.
const MOST_BLOCKS: usize = 60;

/// The times of accepted arrivals whose quantiles are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeMetric {
    /// From the intended start to the final reply.
    Response,
    /// From the final reply of the relay to the end of the content at the receiver.
    Transit,
    /// From the intended start to the end of the content at the receiver.
    Delivery,
}

impl TimeMetric {
    /// All metrics, by their index.
    pub const ALL: [TimeMetric; 3] = [TimeMetric::Response, TimeMetric::Transit, TimeMetric::Delivery];

    /// Returns the name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            TimeMetric::Response => "response",
            TimeMetric::Transit => "transit",
            TimeMetric::Delivery => "delivery",
        }
    }
}

/// The measurement of one block of time.
#[derive(Clone, Debug, Default)]
pub struct TimeBlock {
    /// The length of the block.
    pub length: Duration,
    /// The times by [`TimeMetric`], of accepted arrivals and of those without an end: (greatest value of the bucket in
    /// nanoseconds, count).
    pub times: [Vec<(u64, u64)>; TimeMetric::ALL.len()],
    /// The number of accepted arrivals.
    pub accepted: u64,
    /// The number of arrivals that ended neither accepted nor as expected, including shed ones.
    pub unexpected: u64,
    /// The number of arrivals that ended, including shed ones.
    pub ended: u64,
}

impl TimeBlock {
    fn add(&mut self, other: &TimeBlock) {
        self.length += other.length;
        self.times.iter_mut().zip(&other.times).for_each(|(own, other)| own.extend_from_slice(other));
        self.accepted += other.accepted;
        self.unexpected += other.unexpected;
        self.ended += other.ended;
    }
}

/// One phase of one run.
#[derive(Clone, Debug, Default)]
pub struct RunBlocks {
    /// The denominator of the rates.
    pub window: Duration,
    /// The times by [`TimeMetric`].
    pub times: [Hist; TimeMetric::ALL.len()],
    /// The times of which only a lower bound is known (M12), by [`TimeMetric`].
    pub censored: [Hist; TimeMetric::ALL.len()],
    /// The blocks, in order.
    pub blocks: Vec<TimeBlock>,
}

/// The value of a metric in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum MetricValue {
    Known(f64),
    /// There are too few values (M18).
    Few,
    /// There is only a lower bound (M12).
    AtLeast,
    /// The window is empty, or no arrival ended.
    Nothing,
    /// There was no receiver behind the relay, or no common clock.
    Unmeasured,
}

impl MetricValue {
    pub(super) fn known(self) -> Option<f64> {
        if let MetricValue::Known(value) = self { Some(value) } else { None }
    }

    pub(super) fn lack(self) -> Option<MetricValue> {
        (self.known().is_none()).then_some(self)
    }

    pub(super) fn words(self, measure: Measure) -> String {
        match (self, measure) {
            (MetricValue::Few, Measure::Time(_, q)) => {
                format!("too few values in a run (needs {})", needed(q))
            }
            (MetricValue::AtLeast, _) => "in a run it falls among arrivals without an end".to_owned(),
            (MetricValue::Unmeasured, _) => "a side has no times of what came out of the relay".to_owned(),
            _ => "nothing was measured in a run".to_owned(),
        }
    }
}

/// A prepared run.
#[derive(Clone, Debug)]
pub(super) struct RunSample {
    /// The values by [`Measure::ALL`].
    pub(super) values: Vec<MetricValue>,
    /// The values of resamples of the run, drawn from its blocks.
    pub(super) pool: Vec<[f64; Measure::ALL.len()]>,
    /// The digest of the values of the whole run.
    pub(super) digest: [u8; 32],
    /// The number of blocks.
    pub(super) blocks: usize,
    /// Whether an arrival was accepted, or all ended as the profile expects.
    pub(super) is_served: bool,
}

impl RunSample {
    pub(super) fn new(run: &RunBlocks, effort: Effort) -> RunSample {
        let blocks = folded(&run.blocks);
        let dense = Dense::new(&blocks, run.window);
        let digest = digest(run.window, &blocks);
        let mut random = bootstrap::stream(&digest);
        let drawn = |_| {
            let picks: Vec<usize> =
                (0..blocks.len()).map(|_| bootstrap::pick(&mut random, blocks.len())).collect();
            dense.values(&picks)
        };
        let pool = if blocks.is_empty() { Vec::new() } else { (0..effort.within).map(drawn).collect() };
        RunSample {
            values: Measure::ALL.map(|measure| value(run, measure)).to_vec(),
            pool,
            digest,
            blocks: blocks.len(),
            is_served: is_served(run),
        }
    }
}

/// Whether an arrival was accepted, in the window or after it, or all ended as the profile expects.
fn is_served(run: &RunBlocks) -> bool {
    let in_window = run.blocks.iter().any(|block| block.accepted > 0);
    let is_as_expected = || run.blocks.iter().all(|block| block.unexpected == 0);
    in_window || run.times[TimeMetric::Response as usize].count() > 0 || is_as_expected()
}

/// Returns the value of the whole run.
pub(super) fn value(run: &RunBlocks, measure: Measure) -> MetricValue {
    let sum = |of: fn(&TimeBlock) -> u64| run.blocks.iter().map(of).sum::<u64>() as f64;
    match measure {
        Measure::Time(metric, q) => {
            let (times, censored) = (&run.times[metric as usize], &run.censored[metric as usize]);
            if metric != TimeMetric::Response && times.count() + censored.count() == 0 {
                return MetricValue::Unmeasured;
            }
            let found = times.quantiles_censored(censored, &[q])[0];
            match found.status {
                Status::Exact => MetricValue::Known(found.value_ns as f64),
                Status::AtLeast => MetricValue::AtLeast,
                Status::NotAvailable => MetricValue::Few,
            }
        }
        Measure::AcceptedRate if run.window.is_zero() => MetricValue::Nothing,
        Measure::AcceptedRate => MetricValue::Known(sum(|block| block.accepted) / run.window.as_secs_f64()),
        Measure::UnexpectedRate if sum(|block| block.ended) == 0.0 => MetricValue::Nothing,
        Measure::UnexpectedRate => {
            MetricValue::Known(sum(|block| block.unexpected) / sum(|block| block.ended))
        }
    }
}

/// Joins neighbouring blocks until there are at most [`MOST_BLOCKS`]. A rest of less than half a block is added to the
/// block before.
fn folded(blocks: &[TimeBlock]) -> Vec<TimeBlock> {
    let joined = blocks.len().div_ceil(MOST_BLOCKS).max(1);
    let mut folded: Vec<TimeBlock> = Vec::new();
    for group in blocks.chunks(joined) {
        let mut whole = TimeBlock::default();
        group.iter().for_each(|block| whole.add(block));
        match folded.last_mut() {
            Some(last) if whole.length * 2 < last.length => last.add(&whole),
            _ => folded.push(whole),
        }
    }
    folded
}

fn digest(window: Duration, blocks: &[TimeBlock]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(window.as_nanos().to_le_bytes());
    for block in blocks {
        hash.update(block.length.as_nanos().to_le_bytes());
        for number in [block.accepted, block.unexpected, block.ended] {
            hash.update(number.to_le_bytes());
        }
        for times in &block.times {
            hash.update((times.len() as u64).to_le_bytes());
            for (value, count) in times {
                hash.update(value.to_le_bytes());
                hash.update(count.to_le_bytes());
            }
        }
    }
    hash.finalize().into()
}

/// The distributions of the blocks over one common list of values, so that a draw is a sum of rows.
struct Dense<'a> {
    blocks: &'a [TimeBlock],
    /// The distributions by [`TimeMetric`].
    times: [DenseTimes; TimeMetric::ALL.len()],
    /// The factor that makes the rate of all blocks equal to the phase's rate. The window of the phase may be shorter
    /// than the time in which its values came.
    stretch: f64,
}

/// The distributions of one metric.
struct DenseTimes {
    /// The values, rising.
    values: Vec<u64>,
    /// The counts by block and by value.
    counts: Vec<Vec<u64>>,
}

impl DenseTimes {
    fn new(blocks: &[TimeBlock], metric: TimeMetric) -> DenseTimes {
        let of = |block: &TimeBlock| block.times[metric as usize].clone();
        let mut values: Vec<u64> = blocks.iter().flat_map(of).map(|(value, _)| value).collect();
        values.sort_unstable();
        values.dedup();
        let row = |block: &TimeBlock| {
            let mut counts = vec![0; values.len()];
            for (value, count) in of(block) {
                counts[values.partition_point(|known| *known < value)] += count;
            }
            counts
        };
        let counts = blocks.iter().map(row).collect();
        DenseTimes { values, counts }
    }

    /// Returns the sum of the counts of these blocks, by value.
    fn pooled(&self, picks: &[usize]) -> Vec<u64> {
        let mut pooled = vec![0; self.values.len()];
        for block in picks {
            pooled.iter_mut().zip(&self.counts[*block]).for_each(|(own, other)| *own += other);
        }
        pooled
    }

    fn quantile(&self, pooled: &[u64], q: f64) -> f64 {
        let (wanted, mut seen) = (rank(q, pooled.iter().sum()), 0);
        let found = pooled.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0.0, |found| self.values[found] as f64)
    }
}

impl Dense<'_> {
    fn new(blocks: &[TimeBlock], window: Duration) -> Dense<'_> {
        let taken: f64 = blocks.iter().map(|block| block.length.as_secs_f64()).sum();
        Dense {
            blocks,
            times: TimeMetric::ALL.map(|metric| DenseTimes::new(blocks, metric)),
            stretch: if window.is_zero() { 0.0 } else { taken / window.as_secs_f64() },
        }
    }

    /// Returns the values of these blocks, by [`Measure::ALL`].
    fn values(&self, picks: &[usize]) -> [f64; Measure::ALL.len()] {
        let mut whole = TimeBlock::default();
        for block in picks {
            let block = &self.blocks[*block];
            whole.length += block.length;
            whole.accepted += block.accepted;
            whole.unexpected += block.unexpected;
            whole.ended += block.ended;
        }
        let pooled = self.times.each_ref().map(|times| times.pooled(picks));
        Measure::ALL.map(|measure| match measure {
            Measure::Time(metric, q) => self.times[metric as usize].quantile(&pooled[metric as usize], q),
            Measure::AcceptedRate => {
                whole.accepted as f64 / whole.length.as_secs_f64().max(1e-9) * self.stretch
            }
            Measure::UnexpectedRate => whole.unexpected as f64 / (whole.ended as f64).max(1.0),
        })
    }
}
