//! The numbers of offered and finished arrivals over time, in bounded memory. The growth of a backlog is computed from
//! this series.
//!
//! # Decisions
//! - Both numbers are kept, not only their difference, because only both together distinguish a slow listener from a
//!   random burst of arrivals.
//! - Another thread reads the counts ten times a second, so that the sampling adds no work to an arrival.
//! - When the series is full, every other sample is dropped and the interval is doubled, so that the memory does not
//!   grow with the length of the run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The interval of the samples until the series is full for the first time.
pub const EVERY: Duration = Duration::from_millis(100);
/// The number of samples at which the series is thinned; even.
const MOST: usize = 2048;

/// The counts at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacklogSample {
    /// The number of arrivals that have been scheduled so far.
    pub offered: u64,
    /// The number of these arrivals that have ended or were shed.
    pub finished: u64,
}

impl BacklogSample {
    /// Returns the number of arrivals that are offered and not finished.
    pub fn backlog(self) -> u64 {
        self.offered.saturating_sub(self.finished)
    }
}

/// Samples at 0, `every`, 2 `every`, ... since the epoch of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacklogSeries {
    every: Duration,
    samples: Vec<BacklogSample>,
}

impl Default for BacklogSeries {
    fn default() -> Self {
        BacklogSeries { every: EVERY, samples: Vec::new() }
    }
}

impl BacklogSeries {
    /// Returns the interval of the samples.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Returns the samples.
    pub fn samples(&self) -> &[BacklogSample] {
        &self.samples
    }

    /// Returns the counts at a time, from the last sample at or before it.
    pub fn at(&self, time: Duration) -> BacklogSample {
        let index = (time.as_nanos() / self.every.as_nanos()) as usize;
        self.samples.get(index).or(self.samples.last()).copied().unwrap_or_default()
    }

    /// Returns the time of the last sample.
    pub fn end(&self) -> Duration {
        self.due().saturating_sub(self.every)
    }

    /// Returns the time of the next sample.
    pub fn due(&self) -> Duration {
        self.every * u32::try_from(self.samples.len()).expect("the samples are few")
    }

    /// Stores the counts at `now` as the next sample, if the time of that sample has come. Samples that were missed get the
    /// same counts.
    pub fn take(&mut self, now: Duration, sample: BacklogSample) {
        while self.due() <= now {
            self.samples.push(sample);
            if self.samples.len() == MOST {
                self.thin();
            }
        }
    }

    /// Adds the counts of another series of the same run. The shorter series is continued with its last sample.
    pub fn add(&mut self, mut other: BacklogSeries) {
        while self.every < other.every && !self.samples.is_empty() {
            self.thin();
        }
        while other.every < self.every && !self.samples.is_empty() {
            other.thin();
        }
        self.every = self.every.max(other.every);
        if self.samples.len() < other.samples.len() {
            std::mem::swap(&mut self.samples, &mut other.samples);
        }
        let last = other.samples.last().copied().unwrap_or_default();
        for (own, other) in
            self.samples.iter_mut().zip(other.samples.into_iter().chain(std::iter::repeat(last)))
        {
            own.offered += other.offered;
            own.finished += other.finished;
        }
    }

    fn thin(&mut self) {
        let mut index = 0..;
        self.samples.retain(|_| index.next().is_some_and(|index| index % 2 == 0));
        self.every *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn series(counts: &[(u64, u64)]) -> BacklogSeries {
        let mut series = BacklogSeries::default();
        for (offered, finished) in counts {
            series.take(series.due(), BacklogSample { offered: *offered, finished: *finished });
        }
        series
    }

    #[test]
    fn a_sample_that_was_missed_is_that_of_the_next_moment() {
        let mut series = BacklogSeries::default();
        series.take(ms(3), BacklogSample::default());
        assert_eq!((series.samples().len(), series.due()), (1, ms(100)));
        series.take(ms(99), BacklogSample { offered: 1, finished: 0 });
        assert_eq!(series.samples().len(), 1, "none was due");
        series.take(ms(350), BacklogSample { offered: 7, finished: 4 });
        assert_eq!(series.samples().iter().map(|sample| sample.backlog()).collect::<Vec<_>>(), [0, 3, 3, 3]);
        assert_eq!((series.due(), series.end()), (ms(400), ms(300)));
        assert_eq!([0, 99, 100, 1_000].map(|at| series.at(ms(at)).offered), [0, 0, 7, 7]);
    }

    #[test]
    fn a_day_takes_no_more_than_its_share_of_memory_and_ends_where_it_ended() {
        let mut series = BacklogSeries::default();
        for tenth in 0..864_000 {
            series.take(ms(100 * tenth), BacklogSample { offered: 2 * tenth, finished: tenth });
        }
        assert!(series.samples().len() < MOST);
        for (index, sample) in series.samples().iter().enumerate() {
            let tenths = series.every().as_millis() as u64 / 100 * index as u64;
            assert_eq!(*sample, BacklogSample { offered: 2 * tenths, finished: tenths });
        }
    }

    #[test]
    fn threads_add_up_and_one_that_ended_sooner_stays_where_it_was() {
        let mut sum = BacklogSeries::default();
        sum.add(series(&[(1, 0), (2, 1), (3, 3)]));
        sum.add(series(&[(10, 0), (20, 10)]));
        let expected = [(11, 0), (22, 11), (23, 13)];
        assert_eq!(sum, series(&expected));
        let mut coarse = series(&[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        coarse.thin();
        sum.add(coarse);
        assert_eq!((sum.every(), sum.samples().len()), (ms(200), 3));
        assert_eq!(sum.samples()[1], BacklogSample { offered: 25, finished: 15 });
    }
}
