//! The schedule of a shard: its arrivals from phase to phase, and how many sessions it may have. It reads no clock: the
//! caller passes the time as an offset from the run's epoch.

use std::time::Duration;

use super::arrival::{Arrival, Walk};
use super::shard::Deal;
use super::{LoadModel, PhaseLoad, Shard, nanos, spans};

/// The arrivals of one shard of a run, in order.
///
/// Phases follow each other: each starts where the one before ends. All arrivals of an open phase are returned, however
/// late they are requested. Those of a closed phase are returned only until its end.
#[derive(Clone, Debug)]
pub struct Schedule {
    stretches: Vec<PlacedPhase>,
    shard: Shard,
    /// The phase from which the next arrival comes.
    current: usize,
    /// The next arrival, once it is known.
    ahead: Option<Arrival>,
}

/// A phase with its start and end.
#[derive(Clone, Debug)]
struct PlacedPhase {
    /// The start since the run's epoch.
    start: Duration,
    /// The end since the run's epoch; `Duration::MAX` if time does not end it.
    end: Duration,
    model: LoadModel,
    walk: Walk,
}

impl Schedule {
    /// Creates the schedule of `shard`. The same phases and seed give the same arrivals for any number of shards.
    pub fn new(phases: &[PhaseLoad], seed: u64, shard: Shard) -> Schedule {
        let stretches = (0..).zip(phases).zip(spans(phases)).map(|((index, phase), (start, end))| {
            let walk = Walk::new(phase, index, nanos(start), seed, shard);
            PlacedPhase { start, end, model: phase.model.clone(), walk }
        });
        Schedule { stretches: stretches.collect(), shard, current: 0, ahead: None }
    }

    /// Deals the arrivals of the machine to its threads in proportion to their sessions, if the shard is one of this many
    /// threads of a machine. `sessions`: the most sessions at once over all machines, by phase.
    #[must_use]
    pub fn among(mut self, threads: u32, sessions: impl IntoIterator<Item = u64>) -> Schedule {
        for (stretch, sessions) in self.stretches.iter_mut().zip(sessions) {
            // The number of arrivals of sessions that work for a length of time is what the listener makes of it.
            if !matches!(stretch.model, LoadModel::Sessions { .. }) {
                stretch.walk = stretch.walk.clone().dealt(Deal::among(self.shard, threads, sessions));
            }
        }
        self
    }

    /// Returns the next arrival, without taking it.
    ///
    /// A closed phase with a length ends when `now` reaches its end. Then the next phase's arrival is returned.
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

    /// Takes the next arrival. It is not returned again.
    pub fn take(&mut self, now: Duration) -> Option<Arrival> {
        let arrival = self.peek(now);
        self.ahead = None;
        arrival
    }

    /// Returns how many arrivals of this shard the current phase still has, if that is known in advance:
    /// [`LoadModel::Shared`].
    pub fn remaining(&self) -> Option<u64> {
        let stretch = self.stretches.get(self.current)?;
        stretch.model.total().map(|_| stretch.walk.remaining() + u64::from(self.ahead.is_some()))
    }

    /// Whether this shard has arrivals of a phase that [`peek`](Schedule::peek) has not returned.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn has_part(&self, phase: u32) -> bool {
        self.stretches[phase as usize].walk.remaining() > 0
    }

    /// Returns how many sessions this shard may have at `now`: in a closed phase its share, in an open phase any number
    /// (`u64::MAX`), and none after the last phase. On a ramp the number of sessions is rounded down.
    pub fn slots(&self, now: Duration) -> u64 {
        let Some(stretch) = self.at(now) else { return 0 };
        stretch.model.sessions_at(now - stretch.start).map_or(u64::MAX, |sessions| self.shard.share(sessions))
    }

    /// Returns the next time after `now` at which [`slots`](Schedule::slots) changes, or a phase begins or ends.
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

    /// Returns when a phase starts; `Duration::MAX` after a phase that time does not end.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn phase_start(&self, phase: u32) -> Duration {
        self.stretches[phase as usize].start
    }

    /// Returns when a phase ends; `None` if time does not end it.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn phase_end(&self, phase: u32) -> Option<Duration> {
        Some(self.stretches[phase as usize].end).filter(|&end| end < Duration::MAX)
    }

    /// Returns the phase at `now`.
    fn at(&self, now: Duration) -> Option<&PlacedPhase> {
        self.stretches.get(self.stretches.partition_point(|stretch| stretch.end <= now))
    }
}

#[cfg(test)]
mod tests;
