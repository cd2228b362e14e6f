//! `connect_rate`: when a shard may open its next connection.
//!
//! # Decisions
//! - Several shards have one grid of moments, k/rate after the start of the phase, and moment k belongs to shard k mod `of`,
//!   as arrival k does. So all of them together open no more in any stretch of time than one process would; parts of the rate
//!   that each shard kept for itself would let all of them open one at the same moment. The price: a shard that opens few
//!   connections may wait for its next moment, up to `of`/rate.
//! - One shard alone has no one to agree with: its grid begins anew with each connection that comes later than it might.
//! - A late shard catches up by [`CATCH_UP`] at the most: lateness must not lower the rate, and a rest is no credit.
//! - A connection keeps to the rate of the phase of its arrival and to that of the phase that is on, as with `max_sessions`.

use std::time::Duration;

use crate::load::{Schedule, Shard};
use crate::plan::Phase;

/// Moments that passed unused longer ago are not made up for.
const CATCH_UP: Duration = Duration::from_millis(100);

/// The connect rates of all phases, as one shard keeps to them.
#[derive(Debug)]
pub(super) struct ConnectRates {
    phases: Vec<Option<ConnectGrid>>,
}

impl ConnectRates {
    pub fn new(phases: &[Phase], schedule: &Schedule, shard: Shard) -> ConnectRates {
        let grid = |(index, phase): (u32, &Phase)| {
            let start = schedule.phase_start(index);
            phase.connect_rate.map(|rate| ConnectGrid::new(start, rate, shard))
        };
        ConnectRates { phases: (0..).zip(phases).map(grid).collect() }
    }

    /// Whether a connection of these phases may be opened: that of its arrival, and that of `now`.
    pub fn allow(&self, now: Duration, [arrival, current]: [u32; 2]) -> bool {
        let allows =
            |phase: u32| self.phases[phase as usize].as_ref().is_none_or(|grid| grid.next(now) <= now);
        allows(arrival) && allows(current)
    }

    /// One is being opened.
    pub fn opened(&mut self, now: Duration, [arrival, current]: [u32; 2]) {
        for phase in
            [Some(arrival), Some(current).filter(|current| *current != arrival)].into_iter().flatten()
        {
            if let Some(grid) = &mut self.phases[phase as usize] {
                grid.opened(now);
            }
        }
    }

    /// When they may allow what they do not now.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        self.phases.iter().flatten().map(|grid| grid.next(now)).filter(|at| *at > now).min()
    }
}

/// The moments at which a shard may open a connection in one phase. Times are since the run's epoch.
#[derive(Debug)]
struct ConnectGrid {
    /// The phase's.
    start: Duration,
    /// Connections a second of all shards together.
    rate: f64,
    shard: Shard,
    /// The first moment that is not used up.
    unused: Duration,
}

impl ConnectGrid {
    fn new(start: Duration, rate: f64, shard: Shard) -> ConnectGrid {
        let mut grid = ConnectGrid { start, rate, shard, unused: start };
        grid.unused = grid.own_from(start);
        grid
    }

    /// The moment that the next connection may use; it may have passed.
    fn next(&self, now: Duration) -> Duration {
        let oldest = now.saturating_sub(CATCH_UP);
        match self.unused >= oldest {
            true => self.unused,
            false => self.own_from(oldest),
        }
    }

    /// A connection uses up the next moment.
    fn opened(&mut self, now: Duration) {
        let used = self.next(now);
        self.unused = match self.shard.of {
            0 | 1 => used.saturating_add(self.after(1)),
            _ => self.own_from(used.saturating_add(Duration::from_nanos(1))),
        };
    }

    /// The first moment of this shard that is not before `at`.
    fn own_from(&self, at: Duration) -> Duration {
        let Shard { index, of } = self.shard;
        if of <= 1 {
            return at;
        }
        let (index, of) = (u64::from(index), u64::from(of));
        let passed = at.saturating_sub(self.start).as_secs_f64() * self.rate;
        // Rounding may have it one too far.
        let mut turn = (passed as u64 / of).saturating_sub(1);
        loop {
            let moment = self.start.saturating_add(self.after(turn.saturating_mul(of).saturating_add(index)));
            if moment >= at || moment == Duration::MAX {
                return moment;
            }
            turn += 1;
        }
    }

    /// How long `count` connections take.
    fn after(&self, count: u64) -> Duration {
        // At a rate of one in more than all time there is no second one.
        Duration::try_from_secs_f64(count as f64 / self.rate).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grids(start: Duration, rate: f64, of: u32) -> Vec<ConnectGrid> {
        (0..of).map(|index| ConnectGrid::new(start, rate, Shard { index, of })).collect()
    }

    /// Opens as many as are allowed at `now`.
    fn open(grid: &mut ConnectGrid, now: Duration) -> u64 {
        let mut opened = 0;
        while grid.next(now) <= now {
            grid.opened(now);
            opened += 1;
        }
        opened
    }

    #[test]
    fn the_connect_rate_is_kept_on_average() {
        let mut grid = ConnectGrid::new(Duration::ZERO, 333.0, Shard::WHOLE);
        let opened: u64 = (0..10_000).map(|ms| open(&mut grid, Duration::from_millis(ms))).sum();
        assert!((3325..=3366).contains(&opened), "{opened}");
    }

    #[test]
    fn one_shard_alone_waits_for_no_moment_of_a_grid() {
        let mut grid = ConnectGrid::new(Duration::ZERO, 1.0, Shard::WHOLE);
        for (now, opens) in [(0, 1), (900, 0), (1000, 1), (7_250, 1), (8_149, 0), (8_150, 1)] {
            assert_eq!(open(&mut grid, Duration::from_millis(now)), opens, "at {now} ms");
        }
    }

    #[test]
    fn a_rate_beyond_all_time_opens_one_connection_in_all_shards_together() {
        for of in [1, 3] {
            let mut grids = grids(Duration::from_secs(1), 1e-300, of);
            let opened: u64 = grids.iter_mut().map(|grid| open(grid, Duration::from_secs(1))).sum();
            let later: u64 = grids.iter_mut().map(|grid| open(grid, Duration::from_secs(1 << 40))).sum();
            assert_eq!((opened, later), (1, 0), "{of} shards");
        }
    }

    proptest! {
        /// Shards that open as many as they may, in time: the union is the grid, nothing more and nothing less.
        #[test]
        fn the_union_of_shards_that_are_in_time_is_what_one_opens(
            rate in 0.5_f64..3000.0, of in 1_u32..8, start in 0_u64..5000,
        ) {
            let start = Duration::from_millis(start);
            let union = |of: u32| {
                let mut opened = Vec::new();
                for mut grid in grids(start, rate, of) {
                    let mut now = grid.next(start);
                    while now < start + Duration::from_secs(3) {
                        grid.opened(now);
                        opened.push(now);
                        now = grid.next(now);
                    }
                }
                opened.sort();
                opened
            };
            let (whole, shared) = (union(1), union(of));
            // The last of one alone may stand a rounding beyond the end.
            prop_assert!(whole.len().abs_diff(shared.len()) <= 1, "{} and {}", whole.len(), shared.len());
            for (one, other) in whole.iter().zip(&shared) {
                // One alone adds up its pauses.
                prop_assert!(one.abs_diff(*other) < Duration::from_micros(10), "{one:?} and {other:?}");
            }
        }

        /// However late and irregular the shards ask: in no stretch of time do they open more than the rate allows, beyond
        /// what is made up for.
        #[test]
        fn no_stretch_of_time_has_more_than_the_rate(
            rate in 0.5_f64..500.0,
            of in 1_u32..8,
            asked in proptest::collection::vec((0_u64..4000, 0_usize..7, 1_u64..9), 1..400),
        ) {
            let mut asked = asked;
            asked.sort();
            let mut grids = grids(Duration::from_millis(250), rate, of);
            let mut opened: Vec<Duration> = Vec::new();
            for (ms, shard, wanted) in asked {
                let now = Duration::from_millis(250 + ms);
                let grid = &mut grids[shard % of as usize];
                for _ in 0..wanted {
                    if grid.next(now) <= now {
                        grid.opened(now);
                        opened.push(now);
                    }
                }
            }
            for (i, from) in opened.iter().enumerate() {
                for (j, to) in opened.iter().enumerate().skip(i) {
                    let most = ((*to - *from + CATCH_UP).as_secs_f64() * rate + 1e-6).floor() + 1.0;
                    let found = (j - i + 1) as f64;
                    prop_assert!(found <= most, "{found} from {from:?} to {to:?}, {most} allowed at {rate}/s");
                }
            }
        }
    }
}
