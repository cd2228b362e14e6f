//! Reads a stored run in blocks of ten seconds, for comparisons.
//!
//! # Decisions
//! - Deliveries after the last arrival of a phase belong to its last block: blocks without accepted messages would make
//!   the rate look unsteady.

use std::path::Path;
use std::time::Duration;

use super::seconds::{Seconds, SecondsError};
use super::stored::{RunResult, StoredPhase};
use crate::collector::histogram::Hist;
use crate::collector::snapshot::Interval;
use crate::collector::summary::censored;
use crate::collector::tally::PhaseTally;
use crate::collector::{Metric, Outcome};
use crate::verdict::compare::{BLOCK, RunBlocks, TimeBlock, TimeMetric};

/// Returns the blocks of each measured phase of a run directory, with the name of the phase.
///
/// # Errors
/// The time series of the directory cannot be read.
pub fn of_phases(directory: &Path, result: &RunResult) -> Result<Vec<(String, RunBlocks)>, SecondsError> {
    let names: Vec<String> = result.phases.iter().map(|phase| phase.name.clone()).collect();
    let mut growing: Vec<GrowingPhase> = names.iter().map(|_| GrowingPhase::default()).collect();
    for second in Seconds::open(directory, &names)? {
        let second = second?;
        growing.iter_mut().enumerate().for_each(|(phase, growing)| growing.add(phase, &second));
    }
    let measured = result.phases.iter().zip(growing).filter(|(phase, _)| !phase.warmup);
    // Only a changed file has a window that no `Duration` can hold; zero is used instead.
    let window = |s: f64| Duration::try_from_secs_f64(s).unwrap_or_default();
    Ok(measured
        .map(|(phase, growing)| (phase.name.clone(), growing.end(phase, window(phase.window_s))))
        .collect())
}

/// The blocks of a phase while its seconds are read.
#[derive(Default)]
struct GrowingPhase {
    run: RunBlocks,
    /// The start of the first second with an arrival or a response time, and the end of the last.
    life: Option<(Duration, Duration)>,
    /// The times of the current block, by [`TimeMetric`].
    times: [Hist; TimeMetric::ALL.len()],
}

impl GrowingPhase {
    fn add(&mut self, phase: usize, second: &Interval) {
        let tally = &second.tally.phases[phase];
        let arrivals = &tally.counts.arrivals;
        let ended = arrivals.ended() + arrivals.of(Outcome::Shed);
        let responses = tally.hists.contains_key(&(Metric::Response, Outcome::Accepted));
        if tally.counts.scheduled + tally.counts.started + ended == 0 && !responses {
            self.add_times(tally);
            return;
        }
        let first = self.life.map_or(second.start, |life| life.0);
        self.life = Some((first, second.start + second.length));
        let at = (second.start.saturating_sub(first).as_secs() / BLOCK.as_secs()) as usize;
        if at >= self.run.blocks.len() {
            self.close();
            self.run.blocks.resize_with(at + 1, TimeBlock::default);
        }
        self.add_times(tally);
        if let Some(block) = self.run.blocks.last_mut() {
            block.accepted += arrivals.of(Outcome::Accepted);
            let unexpected = Outcome::ALL.into_iter().filter(|outcome| outcome.is_unexpected());
            block.unexpected += unexpected.map(|outcome| arrivals.of(outcome)).sum::<u64>();
            block.ended += ended;
        }
    }

    fn add_times(&mut self, tally: &PhaseTally) {
        for metric in TimeMetric::ALL {
            let stored = match metric {
                TimeMetric::Response => Metric::Response,
                TimeMetric::Transit => Metric::Transit,
                TimeMetric::Delivery => Metric::Delivery,
            };
            let at = metric as usize;
            let without_end = censored(tally, stored, Outcome::Accepted);
            self.run.censored[at].merge(&without_end);
            self.times[at].merge(&without_end);
            if let Some(own) = tally.hists.get(&(stored, Outcome::Accepted)) {
                self.run.times[at].merge(own);
                self.times[at].merge(own);
            }
        }
    }

    /// Stores the times of the finished block.
    fn close(&mut self) {
        if let Some(block) = self.run.blocks.last_mut() {
            block.times = self.times.each_ref().map(|times| times.buckets().collect());
        }
        self.times.iter_mut().for_each(Hist::clear);
    }

    fn end(mut self, phase: &StoredPhase, window: Duration) -> RunBlocks {
        self.close();
        // Arrivals that were accepted after the window are in the last blocks, and count in no rate.
        let mut late = phase.drained.as_ref().map_or(0, |drained| drained.accepted);
        for block in self.run.blocks.iter_mut().rev() {
            let cut = late.min(block.accepted);
            block.accepted -= cut;
            late -= cut;
        }
        let took = self.life.map_or(Duration::ZERO, |(first, last)| last.saturating_sub(first));
        let mut left = took;
        for block in &mut self.run.blocks {
            block.length = left.min(BLOCK);
            left -= block.length;
        }
        RunBlocks { window, ..self.run }
    }
}
