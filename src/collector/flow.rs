//! The accepted recipients and the deliveries of a relay in each tenth of a second, and the relay's queue over time.

use std::time::Duration;

use super::backlog::{BacklogSample, BacklogSeries};
use super::growth::{Growth, growth};

/// The length of a tick.
const TICK: Duration = Duration::from_millis(100);
/// The least number of samples from which a growth is computed; fewer only if the stretch has fewer ticks.
const SAMPLES: usize = 40;

/// Counts of recipients by tick since the run's epoch. A tick takes twenty bytes, and a run of ten hours seven megabytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow(Vec<Tick>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tick {
    accepted: u32,
    settled: u32,
    delivered: u32,
    /// The number of recipients accepted in this tick that were delivered, at any time.
    came_out: u32,
    /// The number of recipients accepted in this tick that bounced, at any time, and were not delivered.
    bounced: u32,
}

/// The deliveries of the recipients that were accepted in a stretch of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptedStretch {
    /// The number of recipients accepted in the stretch.
    pub accepted: u64,
    /// The number of these recipients that were delivered, at any time.
    pub delivered: u64,
    /// The number of these recipients that bounced, at any time, and were not delivered.
    pub bounced: u64,
}

/// The number of recipients in the queue at the start of each tick, and after the last one.
#[derive(Clone, Debug)]
pub struct QueueLevels(Vec<u64>);

impl QueueLevels {
    /// Returns the same number as [`Flow::queued_at`], without counting again from the epoch.
    pub fn at(&self, at: Duration) -> u64 {
        self.0.get(index(at)).or(self.0.last()).copied().unwrap_or_default()
    }
}

impl AcceptedStretch {
    /// Returns the number of these recipients that were neither delivered nor bounced.
    pub fn missing(&self) -> u64 {
        self.accepted.saturating_sub(self.delivered + self.bounced)
    }
}

impl Flow {
    /// Counts an accepted recipient.
    pub fn accepted(&mut self, at: Duration) {
        self.tick(at).accepted += 1;
    }

    /// Counts the first delivery or bounce of an accepted recipient.
    pub fn settled(&mut self, at: Duration) {
        self.tick(at).settled += 1;
    }

    /// Counts the first delivery of an accepted recipient.
    pub fn delivered(&mut self, at: Duration) {
        self.tick(at).delivered += 1;
    }

    /// Counts the delivery of a recipient that did not bounce before, in the tick in which it was accepted.
    pub fn came_out(&mut self, accepted: Duration) {
        self.tick(accepted).came_out += 1;
    }

    /// Counts the delivery of a recipient that bounced before, in the tick in which it was accepted.
    pub fn came_out_after_bounce(&mut self, accepted: Duration) {
        let tick = self.tick(accepted);
        tick.came_out += 1;
        tick.bounced = tick.bounced.saturating_sub(1);
    }

    /// Counts the bounce of a recipient that was not delivered before, in the tick in which it was accepted.
    pub fn bounced(&mut self, accepted: Duration) {
        self.tick(accepted).bounced += 1;
    }

    /// Returns the deliveries of the recipients that were accepted between two times. `to` may be after the end of the run.
    pub fn accepted_in(&self, from: Duration, to: Duration) -> AcceptedStretch {
        let mut stretch = AcceptedStretch::default();
        let until = index(to).min(self.0.len());
        for tick in self.0.get(index(from)..until).unwrap_or_default() {
            stretch.accepted += u64::from(tick.accepted);
            stretch.delivered += u64::from(tick.came_out);
            stretch.bounced += u64::from(tick.bounced);
        }
        stretch
    }

    /// Returns the number of recipients in the queue at the start of the tick of a time.
    pub fn queued_at(&self, at: Duration) -> u64 {
        let over = &self.0[..index(at).min(self.0.len())];
        let sum = |of: fn(&Tick) -> u32| over.iter().map(|tick| u64::from(of(tick))).sum::<u64>();
        sum(|tick| tick.accepted).saturating_sub(sum(|tick| tick.settled))
    }

    /// Returns the numbers of recipients in the queue, for many questions.
    pub fn levels(&self) -> QueueLevels {
        let mut sum = BacklogSample::default();
        let level = |tick: &Tick| {
            sum.offered += u64::from(tick.accepted);
            sum.finished += u64::from(tick.settled);
            sum.backlog()
        };
        QueueLevels(std::iter::once(0).chain(self.0.iter().map(level)).collect())
    }

    /// Returns the number of first deliveries between two times.
    pub fn delivered_between(&self, from: Duration, to: Duration) -> u64 {
        self.between(from, to).map(|tick| u64::from(tick.delivered)).sum()
    }

    /// Returns the number of recipients accepted between two times.
    pub fn accepted_between(&self, from: Duration, to: Duration) -> u64 {
        self.between(from, to).map(|tick| u64::from(tick.accepted)).sum()
    }

    /// Returns the number of recipients in the queue at the end of each tick of this stretch.
    pub fn queue(&self, from: Duration, to: Duration) -> Vec<u64> {
        let mut level = self.queued_at(from);
        let step = |tick: Tick| {
            level = (level + u64::from(tick.accepted)).saturating_sub(u64::from(tick.settled));
            level
        };
        self.between(from, to).map(step).collect()
    }

    /// Returns the numbers of accepted and of settled recipients from the epoch to a time.
    pub fn series(&self, until: Duration) -> BacklogSeries {
        let (mut series, mut sum) = (BacklogSeries::default(), BacklogSample::default());
        series.take(Duration::ZERO, sum);
        for (tick, ticks) in self.between(Duration::ZERO, until).zip(1_u32..) {
            sum.offered += u64::from(tick.accepted);
            sum.finished += u64::from(tick.settled);
            series.take(TICK * ticks, sum);
        }
        series
    }

    /// Returns the growth of the queue in this stretch, in recipients a second; `None`: the stretch is too short. The
    /// samples are 1 s apart in a stretch of at least 40 s, and down to 0.1 s apart in a shorter one.
    pub fn growth(&self, from: Duration, to: Duration) -> Option<Growth> {
        let queue = self.queue(from, to);
        let step = (queue.len() / SAMPLES).clamp(1, 10);
        let samples: Vec<f64> =
            queue.chunks_exact(step).filter_map(|chunk| chunk.last()).map(|level| *level as f64).collect();
        growth(&samples, step as f64 * TICK.as_secs_f64())
    }

    fn between(&self, from: Duration, to: Duration) -> impl Iterator<Item = Tick> + '_ {
        (index(from)..index(to)).map(|index| self.0.get(index).copied().unwrap_or_default())
    }

    fn tick(&mut self, at: Duration) -> &mut Tick {
        let index = index(at);
        if self.0.len() <= index {
            self.0.resize(index + 1, Tick::default());
        }
        &mut self.0[index]
    }
}

fn index(at: Duration) -> usize {
    usize::try_from(at.as_millis() / TICK.as_millis()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_queue_is_what_came_in_less_what_went_out() {
        let mut flow = Flow::default();
        (0..10).for_each(|n| flow.accepted(ms(n * 100)));
        (0..4).for_each(|n| flow.settled(ms(500 + n * 100)));
        flow.delivered(ms(550));
        assert_eq!(flow.queue(Duration::ZERO, ms(1_000)), [1, 2, 3, 4, 5, 5, 5, 5, 5, 6]);
        assert_eq!((flow.queued_at(ms(300)), flow.queued_at(ms(5_000))), (3, 6));
        assert_eq!(flow.queue(ms(900), ms(1_200)), [6, 6, 6], "nothing more happened");
        let levels = flow.levels();
        for at in (0..1_300).step_by(50).chain([u64::MAX]) {
            assert_eq!(levels.at(ms(at)), flow.queued_at(ms(at)), "{at}");
        }
        assert_eq!(Flow::default().levels().at(ms(500)), 0);
        assert_eq!(flow.accepted_between(ms(200), ms(400)), 2);
        let series = flow.series(ms(1_200));
        let queue: Vec<u64> = series.samples().iter().map(|sample| sample.backlog()).collect();
        assert_eq!(queue, [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 6, 6, 6]);
        assert_eq!(series.samples()[12], BacklogSample { offered: 10, finished: 4 });
        assert_eq!(
            (flow.delivered_between(ms(0), ms(500)), flow.delivered_between(ms(500), ms(600))),
            (0, 1)
        );
    }

    #[test]
    fn what_was_accepted_is_followed_to_its_end_whenever_that_was() {
        let mut flow = Flow::default();
        (0..10).for_each(|n| flow.accepted(ms(n * 100)));
        (0..4).for_each(|n| flow.came_out(ms(n * 100)));
        flow.bounced(ms(600));
        let of = |from, to| {
            let stretch = flow.accepted_in(ms(from), ms(to));
            (stretch.accepted, stretch.delivered, stretch.bounced, stretch.missing())
        };
        assert_eq!((of(0, 500), of(500, 2_000)), ((5, 4, 0, 1), (5, 0, 1, 4)));
    }

    #[test]
    fn a_queue_that_fills_evenly_grows_by_its_rate() {
        let mut flow = Flow::default();
        for n in 0..3_000_u64 {
            flow.accepted(ms(n * 10));
            if n % 4 == 0 {
                flow.settled(ms(n * 10));
            }
        }
        let grown = flow.growth(Duration::ZERO, ms(30_000)).unwrap();
        assert!((grown.slope - 75.0).abs() < 1.0 && grown.low > 70.0, "{grown:?}");
        let short = flow.growth(ms(1_000), ms(5_000)).unwrap();
        assert!((short.slope - 75.0).abs() < 5.0, "{short:?}");
        assert_eq!(flow.growth(ms(0), ms(500)), None);
    }
}
