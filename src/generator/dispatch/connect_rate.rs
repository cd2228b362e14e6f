//! `connect_rate`: decides when a shard may open its next connection.
//!
//! # Decisions
//! - Several shards have one grid of moments. Moment k is k/rate after the start of the phase and belongs to shard k
//!   mod `of`, as arrival k does. So all shards together open no more connections in any stretch of time than one
//!   process would. If each shard kept its own part of the rate, all shards could open a connection at the same moment.
//!   The cost: a shard that opens few connections may wait up to `of`/rate for its next moment.
//! - A single shard needs no agreement: its grid restarts when a connection comes more than [`CATCH_UP`] after its moment.
//! - The threads of a process share one grid: the thread that asks first gets the next moment. A thread keeps the
//!   moment for which it waits, so that no thread wakes in vain or is passed over.
//! - A late thread catches up by [`CATCH_UP`] at most: lateness must not lower the rate, but an idle time must not
//!   allow a burst.
//! - A connection obeys the rate of its arrival's phase and the rate of the current phase, as with `max_sessions`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Dispatch;
use crate::load::{self, Shard};
use crate::plan::Plan;

/// Moments that passed longer ago than this are lost.
const CATCH_UP: Duration = Duration::from_millis(100);

/// The connect rates of all phases, shared by the threads of a process.
#[derive(Debug)]
pub struct ConnectRates {
    phases: Vec<Option<ConnectGrid>>,
}

impl ConnectRates {
    /// Returns the connect rates of the plan's shard.
    pub fn new(plan: &Plan) -> ConnectRates {
        let spans = load::spans(plan.phases.iter().map(|phase| &phase.load));
        let grids = plan.phases.iter().zip(spans).map(|(phase, (start, _))| {
            phase.connect_rate.map(|rate| ConnectGrid::new(start, rate, plan.shard))
        });
        ConnectRates { phases: grids.collect() }
    }
}

/// The connect rates as one thread sees them.
#[derive(Debug)]
pub(super) struct ConnectTurns {
    rates: Arc<ConnectRates>,
    /// The moment that the thread has taken and not used yet, by phase.
    taken: Vec<Option<Duration>>,
}

impl ConnectTurns {
    pub fn new(rates: Arc<ConnectRates>) -> ConnectTurns {
        ConnectTurns { taken: vec![None; rates.phases.len()], rates }
    }

    /// Whether a connection may be opened by the rates of its arrival's phase and of the current phase. If not, the
    /// moments for the connection are kept.
    pub fn allow(&mut self, now: Duration, phases: [u32; 2]) -> bool {
        // Both rates are evaluated, so that the waits for both moments overlap.
        each(phases).map(|phase| self.turn(now, phase)).fold(Duration::ZERO, Duration::max) <= now
    }

    /// Notes that a connection is being opened.
    pub fn opened(&mut self, phases: [u32; 2]) {
        each(phases).for_each(|phase| self.taken[phase] = None);
    }

    /// Returns the time at which the next connection may be allowed.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        self.taken.iter().flatten().copied().filter(|at| *at > now).min()
    }

    /// Returns the moment for the next connection of a phase; it may be in the past.
    fn turn(&mut self, now: Duration, phase: usize) -> Duration {
        let Some(grid) = &self.rates.phases[phase] else { return Duration::ZERO };
        let taken = &mut self.taken[phase];
        match taken.filter(|at| *at >= oldest(now)) {
            Some(at) => at,
            None => *taken.insert(grid.take(now)),
        }
    }
}

fn each([arrival, current]: [u32; 2]) -> impl Iterator<Item = usize> {
    let other = Some(current).filter(|current| *current != arrival);
    [Some(arrival), other].into_iter().flatten().map(|phase| phase as usize)
}

/// Returns the oldest moment that may still be used; earlier ones are lost.
fn oldest(now: Duration) -> Duration {
    now.saturating_sub(CATCH_UP)
}

impl Dispatch {
    /// Uses the connect rates that all threads of the process share.
    #[must_use]
    pub fn with_connect_rates(mut self, rates: Arc<ConnectRates>) -> Dispatch {
        self.connects = ConnectTurns::new(rates);
        self
    }

    /// Whether a connection may be opened for an arrival of this phase.
    pub(super) fn may_connect(&mut self, now: Duration, phase: u32) -> bool {
        let current = self.phase_at(now);
        self.connects.allow(now, [phase, current])
    }
}

/// The grid of moments at which a shard may open a connection in one phase. Times are since the run's epoch.
#[derive(Debug)]
struct ConnectGrid {
    /// The start of the phase.
    start: Duration,
    /// Connections a second of all shards together.
    rate: f64,
    shard: Shard,
    /// The first moment that no thread has taken, in nanoseconds; `u64::MAX`: never.
    free: AtomicU64,
}

impl ConnectGrid {
    fn new(start: Duration, rate: f64, shard: Shard) -> ConnectGrid {
        let mut grid = ConnectGrid { start, rate, shard, free: AtomicU64::default() };
        grid.free = nanos(grid.own_from(start)).into();
        grid
    }

    /// Takes the next moment, which may be in the past.
    fn take(&self, now: Duration) -> Duration {
        let next = |free: u64| {
            let free = Duration::from_nanos(free);
            if free >= oldest(now) { free } else { self.own_from(oldest(now)) }
        };
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            let taken = next(free);
            let after = nanos(self.following(taken));
            match self.free.compare_exchange_weak(free, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(other) => free = other,
            }
        }
    }

    /// Returns the moment of this shard that follows `moment`.
    fn following(&self, moment: Duration) -> Duration {
        match self.shard.of {
            0 | 1 => moment.saturating_add(self.after(1)),
            _ => self.own_from(moment.saturating_add(Duration::from_nanos(1))),
        }
    }

    /// Returns the first moment of this shard that is not before `at`.
    fn own_from(&self, at: Duration) -> Duration {
        let Shard { index, of } = self.shard;
        if of <= 1 {
            return at;
        }
        let (index, of) = (u64::from(index), u64::from(of));
        let passed = at.saturating_sub(self.start).as_secs_f64() * self.rate;
        // Starts one turn earlier, because rounding may give one turn too many.
        let mut turn = (passed as u64 / of).saturating_sub(1);
        loop {
            let moment = self.start.saturating_add(self.after(turn.saturating_mul(of).saturating_add(index)));
            if moment >= at || moment == Duration::MAX {
                return moment;
            }
            turn += 1;
        }
    }

    /// Returns the length of `count` intervals between connections.
    fn after(&self, count: u64) -> Duration {
        // A tiny rate has no second connection.
        Duration::try_from_secs_f64(count as f64 / self.rate).unwrap_or(Duration::MAX)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the turns of `threads` threads for each of `of` shards, with one phase of this rate.
    fn turns(start: Duration, rate: f64, of: u32, threads: usize) -> Vec<ConnectTurns> {
        let shards = (0..of).map(|index| {
            let grid = ConnectGrid::new(start, rate, Shard { index, of });
            Arc::new(ConnectRates { phases: vec![Some(grid)] })
        });
        shards.flat_map(|rates| vec![rates; threads]).map(ConnectTurns::new).collect()
    }

    /// Opens as many connections as are allowed at `now`, and returns their number.
    fn open(turns: &mut ConnectTurns, now: Duration) -> u64 {
        let mut opened = 0;
        while turns.allow(now, [0, 0]) {
            turns.opened([0, 0]);
            opened += 1;
        }
        opened
    }

    #[test]
    fn the_connect_rate_is_kept_on_average() {
        for threads in [1, 3] {
            let mut all = turns(Duration::ZERO, 333.0, 1, threads);
            let at = |ms| all.iter_mut().map(|own| open(own, Duration::from_millis(ms))).sum::<u64>();
            let opened: u64 = (0..10_000).map(at).sum();
            assert!((3325..=3366).contains(&opened), "{opened}");
        }
    }

    #[test]
    fn a_process_alone_waits_for_no_moment_of_a_grid() {
        for threads in [1, 2] {
            let mut all = turns(Duration::ZERO, 1.0, 1, threads);
            // A thread that was idle does not wait for a turn.
            let own = all.last_mut().unwrap();
            for (now, opens) in [(0, 1), (900, 0), (1000, 1), (7_250, 1), (8_149, 0), (8_150, 1)] {
                assert_eq!(open(own, Duration::from_millis(now)), opens, "at {now} ms");
            }
        }
    }

    #[test]
    fn threads_take_turns_in_the_order_in_which_they_ask() {
        let at = Duration::from_millis;
        let mut all = turns(at(0), 10.0, 1, 3);
        let [first, second, third] = &mut all[..] else { unreachable!("there are three") };
        assert!(second.allow(at(0), [0, 0]) && !first.allow(at(0), [0, 0]) && !third.allow(at(0), [0, 0]));
        assert_eq!(
            [&*first, &*second, &*third].map(|own| own.next_change(at(0))),
            [Some(at(100)), None, Some(at(200))]
        );
        // No thread wakes for the moment of another.
        assert!(!third.allow(at(100), [0, 0]) && first.allow(at(100), [0, 0]));
    }

    #[test]
    fn a_rate_beyond_all_time_opens_one_connection_in_all_shards_together() {
        for of in [1, 3] {
            let mut all = turns(Duration::from_secs(1), 1e-300, of, 2);
            let mut at = |s| all.iter_mut().map(|own| open(own, Duration::from_secs(s))).sum::<u64>();
            assert_eq!((at(1), at(1 << 30)), (1, 0), "{of} shards");
        }
    }

    proptest! {
        /// Shards that use every moment in time together use exactly the moments of one process.
        #[test]
        fn the_union_of_shards_that_are_in_time_is_what_one_opens(
            rate in 0.5_f64..3000.0, of in 1_u32..8, threads in 1_usize..4, start in 0_u64..5000,
        ) {
            let start = Duration::from_millis(start);
            let union = |of, threads| {
                let (mut opened, mut now) = (Vec::new(), start);
                let mut all = turns(start, rate, of, threads);
                while now < start + Duration::from_secs(1) {
                    for own in &mut all {
                        opened.extend((0..open(own, now)).map(|_| now));
                    }
                    now = all.iter().filter_map(|own| own.next_change(now)).min().unwrap();
                }
                opened
            };
            let (whole, shared) = (union(1, 1), union(of, threads));
            // The last moment of a single shard may be a rounding error beyond the end.
            prop_assert!(whole.len().abs_diff(shared.len()) <= 1, "{} and {}", whole.len(), shared.len());
            for (one, other) in whole.iter().zip(&shared) {
                // A single shard adds up its pauses.
                prop_assert!(one.abs_diff(*other) < Duration::from_micros(10), "{one:?} and {other:?}");
            }
        }

        /// For late and irregular requests: in no stretch of time do all threads of all shards open more than the rate
        /// allows, plus the catch-up.
        #[test]
        fn no_stretch_of_time_has_more_than_the_rate(
            rate in 0.5_f64..500.0,
            of in 1_u32..8,
            threads in 1_usize..4,
            asked in proptest::collection::vec((0_u64..4000, 0_usize..21, 1_u64..9), 1..400),
        ) {
            let mut asked = asked;
            asked.sort();
            let mut all = turns(Duration::from_millis(250), rate, of, threads);
            let mut opened: Vec<Duration> = Vec::new();
            for (ms, thread, wanted) in asked {
                let now = Duration::from_millis(250 + ms);
                let count = all.len();
                let own = &mut all[thread % count];
                for _ in 0..wanted {
                    if own.allow(now, [0, 0]) {
                        own.opened([0, 0]);
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
