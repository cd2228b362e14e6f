//! What an event did to the arrivals of a run: how long the listener failed them, and when it was as before again.
//!
//! Pure arithmetic over [`Slices`]; right to a tenth of a second where there are arrivals to see it by.
//!
//! # Decisions
//! - Recovered is the listener at the first window of five seconds of which at least 99 % of the offered arrivals were
//!   accepted, with a 99th percentile of the response time of at most 1.5 times that from before (or 10 ms more, where that
//!   is longer: a listener that answers in a millisecond does not differ from one that takes two). The recovery ends where
//!   that window begins. While the command runs a good window does not count if a bad one follows: it had not started its work.
//! - The outage is the time from the first to the last failed arrival, up to the end of that window. An arrival that was in
//!   flight failed when it ended; one that started later, when it started: a time-out says that the listener was gone when it
//!   began, not when it ran out. Where arrivals failed before the event too, a slice counts only if more than half of
//!   its arrivals failed.
//! - Nothing is known between the last failed arrival and the next that was accepted, nor between the last accepted and the
//!   first failed one: the outage has an upper bound, without end where nothing was accepted any more.
//! - "Before" is the time since the event before, if the listener had recovered from it, else what it was compared with then.
//! - The counts of a run are cut at the events: before one, since the one before; after it, until the next.

use std::collections::BTreeMap;
use std::time::Duration;

use super::flow::{AcceptedStretch, Flow};
use super::histogram::{needed, rank};
use super::slices::{Cohort, SLICE, SliceIndex, Slices, slice_of, slice_start};
use crate::event::EventRun;

/// How long the listener must be as before.
pub const GOOD_FOR: Duration = Duration::from_secs(5);
/// The share of the offered arrivals that must be accepted.
const ACCEPTED: f64 = 0.99;
/// By how much the 99th percentile may be longer than before.
const SLOWER: f64 = 1.5;
const SLOWER_BY: Duration = Duration::from_millis(10);

/// What an event did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEffect {
    /// The arrivals that were due before it.
    pub before: EventSide,
    /// Those that were due after it.
    pub after: EventSide,
    /// The time in which arrivals failed; `None`: none did.
    pub outage: Option<Outage>,
    /// When the listener was as before.
    pub recovery: EventRecovery,
}

/// The arrivals on one side of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSide {
    /// From when on, since the run's epoch.
    pub from: Duration,
    /// Until when.
    pub to: Duration,
    /// What became of them.
    pub arrivals: Cohort,
    /// What became of what a relay accepted in this time; `None` without a receiver behind it.
    pub accepted: Option<AcceptedStretch>,
}

/// The time in which arrivals failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The first failed, since the run's epoch.
    pub from: Duration,
    /// The last failed.
    pub to: Duration,
    /// No longer than this; `None`: nothing was accepted any more.
    pub at_most: Option<Duration>,
    /// How many arrivals failed.
    pub failed: u64,
}

impl Outage {
    /// From the first to the last failed arrival.
    pub fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// When the listener was as before again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventRecovery {
    /// So long after the event.
    After(Duration),
    /// Not in this time, and what came later is too short to say.
    NotWithin(Duration),
    /// It cannot be said, for this reason.
    Unknown(String),
}

/// What each event did, in the order of `events`; `None`: its command did not start. `load`: when the load of the measured
/// phases began and ended. `flow`: what a receiver behind the relay saw.
pub fn effects(
    slices: &Slices,
    flow: Option<&Flow>,
    events: &[EventRun],
    load: (Duration, Duration),
) -> Vec<Option<EventEffect>> {
    let mut order: Vec<(usize, Duration)> =
        events.iter().enumerate().filter_map(|(index, event)| Some((index, event.started?))).collect();
    order.sort_by_key(|(_, started)| *started);
    let mut found = vec![None; events.len()];
    let (mut since, mut baseline): (Duration, Option<Baseline>) = (load.0, None);
    let mut good_from = load.0;
    for (turn, (index, started)) in order.iter().enumerate() {
        let next = order.get(turn + 1).map_or(load.1, |(_, started)| *started).max(*started);
        // From then on the listener was as before, if it is compared with itself anew.
        if good_from <= *started {
            baseline = Some(Baseline::of(slices.due_between(slice_of(good_from), slice_of(*started))));
        }
        let around = Around {
            slices,
            event: *started,
            ended: events[*index].ended.unwrap_or(load.1).max(*started),
            end: slice_of(load.1),
            before: baseline.clone().unwrap_or_default(),
        };
        let (outage, recovery) = around.look();
        let side = |from: Duration, to: Duration| EventSide {
            from,
            to,
            arrivals: slices.due_between(slice_of(from), slice_of(to).max(slice_of(from))),
            accepted: flow.map(|flow| flow.accepted_in(from, to)),
        };
        let last = turn + 1 == order.len();
        let mut after = side(*started, next);
        if last {
            // The slice in which the load ends is of the load.
            after.arrivals = slices.due_between(slice_of(*started), SliceIndex::MAX);
            after.accepted = flow.map(|flow| flow.accepted_in(*started, Duration::MAX));
        }
        good_from = match recovery {
            EventRecovery::After(length) => *started + length,
            _ => Duration::MAX,
        };
        found[*index] = Some(EventEffect { before: side(since, *started), after, outage, recovery });
        since = *started;
    }
    found
}

/// What the listener was like before an event.
#[derive(Clone, Debug, Default)]
struct Baseline {
    offered: u64,
    served: u64,
    accepted: u64,
    p99: Duration,
}

impl Baseline {
    fn of(cohort: Cohort) -> Baseline {
        let accepted = cohort.times.count();
        // Of too few for a 99th percentile (M18) the longest stands for it.
        let rank = if accepted >= needed(0.99) { rank(0.99, accepted) } else { accepted };
        Baseline {
            offered: cohort.offered(),
            served: cohort.served(),
            accepted,
            p99: cohort.times.at_rank(rank),
        }
    }

    fn allowed(&self) -> Duration {
        self.p99.mul_f64(SLOWER).max(self.p99 + SLOWER_BY)
    }

    fn accepts(&self) -> bool {
        self.served as f64 >= ACCEPTED * self.offered as f64
    }
}

/// The surroundings of one event.
struct Around<'a> {
    slices: &'a Slices,
    /// When its command started and ended.
    event: Duration,
    ended: Duration,
    /// The slice in which the load ends.
    end: SliceIndex,
    before: Baseline,
}

impl Around<'_> {
    fn look(&self) -> (Option<Outage>, EventRecovery) {
        let window = slice_of(GOOD_FOR);
        let good = self.first_good(window);
        let limit = good.map_or(SliceIndex::MAX, |slice| slice + window);
        let outage = self.outage(limit);
        (outage, self.recovery(good, outage))
    }

    fn recovery(&self, good: Option<SliceIndex>, outage: Option<Outage>) -> EventRecovery {
        let reached = |at: Duration| at.saturating_sub(self.event);
        if self.before.accepted == 0 {
            return EventRecovery::Unknown("nothing was accepted before it".to_owned());
        }
        match good {
            // A window that begins with the event itself is there at once.
            Some(slice) => EventRecovery::After(
                reached(slice_start(slice)).max(outage.map_or(Duration::ZERO, |outage| reached(outage.to))),
            ),
            None if !self.before.accepts() => EventRecovery::Unknown(format!(
                "only {} of {} arrivals were accepted before it: it asks for 99 %",
                self.before.served, self.before.offered
            )),
            None => EventRecovery::NotWithin(reached(slice_start(self.end)).saturating_sub(GOOD_FOR)),
        }
    }

    /// The first slice with which a good window begins.
    fn first_good(&self, window: SliceIndex) -> Option<SliceIndex> {
        let first = slice_of(self.event);
        let last = self.end.checked_sub(window).filter(|last| *last >= first)?;
        let sums = self.sums(first);
        let is_good = |from: SliceIndex| {
            let at = |slice: SliceIndex| sums[usize::try_from(slice - first).unwrap_or(usize::MAX)];
            let [offered, served, accepted, late] =
                [0, 1, 2, 3].map(|i| (at(from + window)[i] - at(from)[i]) as f64);
            offered > 0.0 && served >= ACCEPTED * offered && late <= (1.0 - ACCEPTED) * accepted
        };
        // While the command runs, what looks good may be what was before.
        let busy = slice_of(self.ended).clamp(first, last);
        let bad = (first..=busy).rev().find(|from| !is_good(*from));
        (bad.map_or(first, |bad| bad + 1)..=last).find(|from| is_good(*from))
    }

    /// From slice `first` on: the arrivals due before each slice, of them served, accepted, and accepted too late.
    fn sums(&self, first: SliceIndex) -> Vec<[u64; 4]> {
        let allowed = self.before.allowed();
        let mut sum = [0; 4];
        let mut sums = vec![sum];
        for slice in first..self.end {
            if let Some(cohort) = self.slices.due.get(&slice) {
                let times = &cohort.times;
                let own = [cohort.offered(), cohort.served(), times.count(), times.above(allowed)];
                (0..4).for_each(|i| sum[i] += own[i]);
            }
            sums.push(sum);
        }
        sums
    }

    /// The failed arrivals from the event on that started before this slice.
    fn outage(&self, limit: SliceIndex) -> Option<Outage> {
        let event = slice_of(self.event);
        let failed_before = self.before.offered > self.before.served;
        // By the slice in which arrivals started: served and failed in all, and failed since the event.
        let mut slices: BTreeMap<SliceIndex, [u64; 3]> = BTreeMap::new();
        for ((start, end), ends) in self.slices.ends.range(..(limit, 0)) {
            let since = if *end >= event { ends.failed } else { 0 };
            let sum = slices.entry(*start).or_default();
            [ends.served, ends.failed, since].iter().zip(sum).for_each(|(own, sum)| *sum += own);
        }
        slices.retain(|_, [served, failed, since]| *since > 0 && (!failed_before || failed > served));
        let (last, _) = slices.last_key_value()?;
        // An arrival that was in flight failed when it ended, one that started since, when it started.
        let of_failing =
            self.slices.ends.iter().filter(|((start, end), ends)| {
                ends.failed > 0 && *end >= event && slices.contains_key(start)
            });
        let (mut first_end, mut first_start) = (SliceIndex::MAX, SliceIndex::MAX);
        for ((start, end), _) in of_failing {
            first_end = first_end.min(*end);
            first_start = first_start.min(if *start >= event { *start } else { *end });
        }
        let served = || self.slices.ends.iter().filter(|(_, ends)| ends.served > 0).map(|(key, _)| key);
        // Of those that started no later: they show that the listener was still there when they ended.
        let earlier = served().filter(|(start, end)| *start <= first_start && *end <= first_end);
        let last_served = earlier.map(|(_, end)| *end).max();
        let next_served = served().map(|(start, _)| *start).filter(|start| start > last).min();
        let from = first_start.max(last_served.unwrap_or(0)).min(first_end);
        let earliest = last_served.unwrap_or(event).max(event).min(from);
        let (from, to) = (slice_start(from).max(self.event), slice_start(*last));
        Some(Outage {
            from,
            to: to.max(from),
            // The slices in which it begins and ends are part of it.
            at_most: next_served.map(|next| {
                (slice_start(next) + SLICE).saturating_sub(slice_start(earliest).max(self.event))
            }),
            failed: slices.values().map(|[_, _, since]| since).sum(),
        })
    }
}

#[cfg(test)]
mod tests;
