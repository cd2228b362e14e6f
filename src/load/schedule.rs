//! The schedule of a shard: its arrivals from phase to phase, and how many sessions it may have. Reads no clock: every
//! question says what time it is, as an offset from the run's epoch.

use std::time::Duration;

use super::arrival::{Arrival, Walk};
use super::{LoadModel, PhaseLoad, Shard, nanos, spans};

/// The arrivals of one shard of a run, in order.
///
/// Phases run one after the other: each starts where the one before ends. The arrivals of an open phase are all given,
/// however late they are asked for; those of a closed phase only until its end.
#[derive(Clone, Debug)]
pub struct Schedule {
    stretches: Vec<PlacedPhase>,
    shard: Shard,
    /// The stretch that the next arrival comes from.
    current: usize,
    /// The next arrival, once it is known.
    ahead: Option<Arrival>,
}

/// A phase in its place.
#[derive(Clone, Debug)]
struct PlacedPhase {
    /// Since the run's epoch.
    start: Duration,
    /// Since the run's epoch; `Duration::MAX`: it does not end by time.
    end: Duration,
    model: LoadModel,
    walk: Walk,
}

impl Schedule {
    /// The part of the load that belongs to `shard`. The same phases and seed give the same arrivals, whatever the sharding.
    pub fn new(phases: &[PhaseLoad], seed: u64, shard: Shard) -> Schedule {
        let stretches = (0..).zip(phases).zip(spans(phases)).map(|((index, phase), (start, end))| {
            let walk = Walk::new(phase, index, nanos(start), seed, shard);
            PlacedPhase { start, end, model: phase.model.clone(), walk }
        });
        Schedule { stretches: stretches.collect(), shard, current: 0, ahead: None }
    }

    /// The next arrival, without taking it.
    ///
    /// A closed phase that has a length ends when `now` reaches its end: then the next phase's arrival is given.
    pub fn peek(&mut self, now: Duration) -> Option<Arrival> {
        loop {
            let stretch = self.stretches.get_mut(self.current)?;
            if !(stretch.model.is_closed() && now >= stretch.end) {
                self.ahead = self.ahead.or_else(|| stretch.walk.next());
                if self.ahead.is_some() {
                    return self.ahead;
                }
            }
            self.ahead = None;
            self.current += 1;
        }
    }

    /// The next arrival; it is not given again.
    pub fn take(&mut self, now: Duration) -> Option<Arrival> {
        let arrival = self.peek(now);
        self.ahead = None;
        arrival
    }

    /// How many arrivals of this shard the current phase still has, if that is known before it is over: [`LoadModel::Shared`].
    pub fn remaining(&self) -> Option<u64> {
        let stretch = self.stretches.get(self.current)?;
        stretch.model.total().map(|_| stretch.walk.remaining() + u64::from(self.ahead.is_some()))
    }

    /// Whether any arrival of a phase is still to come to this shard.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn has_part(&self, phase: u32) -> bool {
        self.stretches[phase as usize].walk.remaining() > 0
    }

    /// How many sessions this shard may have at `now`: in a closed phase those of its numbers, in an open phase any number
    /// (`u64::MAX`), after the last phase none. A ramp counts as soon as it reaches a whole number.
    pub fn slots(&self, now: Duration) -> u64 {
        let Some(stretch) = self.at(now) else { return 0 };
        stretch.model.sessions_at(now - stretch.start).map_or(u64::MAX, |sessions| self.shard.share(sessions))
    }

    /// The next moment after `now` at which [`slots`](Schedule::slots) changes, or a phase begins or ends.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        let stretch = self.at(now)?;
        let within = if let LoadModel::Sessions { curve, .. } = &stretch.model {
            let (offset, end) = (now - stretch.start, stretch.end - stretch.start);
            curve.next_change(offset, end, |count| self.shard.share(count)).map(|at| stretch.start + at)
        } else {
            None
        };
        within.or(Some(stretch.end).filter(|&end| end < Duration::MAX))
    }

    /// When a phase starts; `Duration::MAX` after one that does not end by time.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn phase_start(&self, phase: u32) -> Duration {
        self.stretches[phase as usize].start
    }

    /// When a phase ends; `None` if not by time.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn phase_end(&self, phase: u32) -> Option<Duration> {
        Some(self.stretches[phase as usize].end).filter(|&end| end < Duration::MAX)
    }

    /// The stretch that `now` lies in.
    fn at(&self, now: Duration) -> Option<&PlacedPhase> {
        self.stretches.get(self.stretches.partition_point(|stretch| stretch.end <= now))
    }
}

#[cfg(test)]
mod tests;
