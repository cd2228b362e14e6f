//! The seconds of all shards as the seconds of one run, aligned on the starts of phases.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::collector::snapshot::{Gauges, Interval};
use crate::collector::tally::Tally;
use crate::report::seconds::{Seconds, SecondsError};

/// Reads the seconds of all shards together. The number of seconds in memory grows only with the largest shift between
/// two shards.
pub struct MergedSeconds {
    shards: Vec<ShardSeconds>,
    /// The seconds that are not complete yet, by their start in milliseconds.
    open: BTreeMap<u64, Interval>,
    /// A second is complete when all shards are this many milliseconds beyond it: the largest shift, and one second.
    apart: u64,
    phases: usize,
}

struct ShardSeconds {
    seconds: Seconds,
    /// The shift of this shard's times, in milliseconds, by phase.
    shifts: Vec<i64>,
}

impl MergedSeconds {
    /// Creates a reader of shards in the order of [`super::Shards::shifts`].
    pub fn new(seconds: Vec<Seconds>, shifts: Vec<Vec<i64>>) -> MergedSeconds {
        let phases = shifts.first().map_or(0, Vec::len);
        let apart = shifts.iter().flatten().map(|shift| shift.unsigned_abs()).max().unwrap_or(0);
        let shards = seconds
            .into_iter()
            .zip(shifts)
            .map(|(seconds, shifts)| ShardSeconds {
                seconds,
                shifts: shifts.iter().map(|shift| shift.saturating_mul(1000)).collect(),
            })
            .collect();
        MergedSeconds {
            shards,
            open: BTreeMap::new(),
            apart: apart.saturating_mul(1000).saturating_add(1000),
            phases,
        }
    }

    /// Reads the earliest remaining second of all shards; `None` if no second remains.
    fn take(&mut self) -> Option<Result<(), SecondsError>> {
        // A second that cannot be read comes first, to report the failure.
        let earliest = |shard: &mut ShardSeconds| shard.seconds.next_start().unwrap_or_default();
        let shard = self
            .shards
            .iter_mut()
            .filter_map(|shard| if shard.seconds.is_over() { None } else { Some((earliest(shard), shard)) })
            .min_by_key(|(start, _)| *start)?
            .1;
        match shard.seconds.next()? {
            Ok(second) => {
                let shifts = shard.shifts.clone();
                self.add(second, &shifts);
                Some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn add(&mut self, second: Interval, shifts: &[i64]) {
        let own = u64::try_from(second.start.as_millis()).unwrap_or(u64::MAX);
        let mut gauges_at = own;
        for (index, tally) in second.tally.phases.iter().enumerate() {
            let empty =
                tally.counts == Default::default() && tally.hists.is_empty() && tally.conditions.is_empty();
            if empty {
                continue;
            }
            let at = own.saturating_add_signed(shifts.get(index).copied().unwrap_or(0).saturating_neg());
            gauges_at = at;
            self.at(at, second.length).tally.phases[index] += tally;
        }
        // The gauges describe the whole run. They are shifted as the last phase that has counts in this second.
        let gauges = &mut self.at(gauges_at, second.length).gauges;
        let Gauges { sessions, in_flight, waiting, retrying, queued, .. } = second.gauges;
        if let Some(queued) = queued {
            *gauges.queued.get_or_insert_default() += queued;
        }
        gauges.sessions += sessions;
        gauges.in_flight += in_flight;
        gauges.waiting += waiting;
        gauges.retrying += retrying;
    }

    fn at(&mut self, start: u64, length: Duration) -> &mut Interval {
        let phases = self.phases;
        let interval = self.open.entry(start).or_insert_with(|| Interval {
            start: Duration::from_millis(start),
            length,
            tally: Tally::new(phases),
            transactions: Vec::new(),
            gauges: Gauges::default(),
        });
        interval.length = interval.length.max(length);
        interval
    }
}

impl Iterator for MergedSeconds {
    type Item = Result<Interval, SecondsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.shards.iter_mut().filter_map(|shard| shard.seconds.next_start()).min();
            let next = next.map_or(u64::MAX, |next| u64::try_from(next.as_millis()).unwrap_or(u64::MAX));
            if let Some(first) = self.open.first_entry()
                && first.key().saturating_add(self.apart) <= next
            {
                return Some(Ok(first.remove()));
            }
            match self.take() {
                Some(Ok(())) => {}
                Some(Err(error)) => return Some(Err(error)),
                None => return self.open.pop_first().map(|(_, second)| Ok(second)),
            }
        }
    }
}
