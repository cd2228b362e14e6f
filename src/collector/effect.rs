//! Computes the effect of an event on the arrivals of a run: the outage and the recovery.
//!
//! The times are computed from [`Slices`], and are precise to a tenth of a second if arrivals are frequent enough.
//!
//! # Decisions
//! - A window of five seconds is good if at least 99 % of the offered arrivals are served and the 99th percentile of
//!   their response times is at most 1.5 times that from before the event. An increase of up to 10 ms is always allowed,
//!   because a change from one to two milliseconds is no difference.
//! - The listener has recovered at the start of the first good window. While the command runs, a good window does not
//!   count if a bad window follows, because the command may have had no effect yet. It has not recovered before the end of
//!   the outage, unless only arrivals that were in flight at the event failed.
//! - The outage is the time from the first to the last failed arrival, up to the end of that window. An arrival that was
//!   in flight at the event failed at its end. An arrival that started later failed at its start, because its time-out
//!   shows that the listener was gone then. If arrivals failed before the event, too, a slice counts only if more than
//!   half of its arrivals failed.
//! - Nothing is known about the listener between a failed arrival and the nearest served arrival. So the outage has an
//!   upper bound, which is infinite if nothing was served later.
//! - The time "before the event" begins when the listener has recovered from the previous event. If it has not recovered,
//!   the reference values of the previous event are kept. An event before which nothing was accepted (in a warm-up, or the
//!   start of the listener) has none; the next event has them if a good window lies between, good by what was served.
//! - The reference values are those of the arrivals that ended before the event. An arrival that was in flight at the event
//!   shows what the event did to it, not what the listener was like before: one that a stopped listener accepts late would
//!   make each later one seem fast enough, and one that a kill drops would hide an outage.
//! - The counts of an event cover the time since the previous event, and the time until the next event.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Outcome;
use super::flow::{AcceptedStretch, Flow};
use super::histogram::{needed, rank};
use super::slices::{Cohort, Ends, SLICE, SliceIndex, Slices, slice_of, slice_start};
use crate::event::EventRun;

/// The length of a good window.
pub const GOOD_FOR: Duration = Duration::from_secs(5);
/// The share of the offered arrivals that must be served: accepted, or refused as the profile expects.
const SERVED: f64 = 0.99;
/// The factor and the difference by which the 99th percentile may be longer than before the event; the larger bound counts.
const SLOWER: f64 = 1.5;
const SLOWER_BY: Duration = Duration::from_millis(10);

/// The effect of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEffect {
    /// The arrivals scheduled between the previous event and this event.
    pub before: EventSide,
    /// The arrivals scheduled between this event and the next.
    pub after: EventSide,
    /// The time in which arrivals failed; `None`: no arrival failed.
    pub outage: Option<Outage>,
    /// The recovery of the listener.
    pub recovery: EventRecovery,
}

/// The arrivals on one side of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSide {
    /// The start, since the run's epoch.
    pub from: Duration,
    /// The end.
    pub to: Duration,
    /// The outcomes of these arrivals.
    pub arrivals: Cohort,
    /// The deliveries of the recipients that a relay accepted in this time; `None` without a receiver.
    pub accepted: Option<AcceptedStretch>,
}

/// The time in which arrivals failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The time of the first failed arrival, since the run's epoch.
    pub from: Duration,
    /// The time of the last failed arrival.
    pub to: Duration,
    /// The upper bound of the length of the outage; `None`: nothing was served any more.
    pub at_most: Option<Duration>,
    /// The number of failed arrivals.
    pub failed: u64,
}

impl Outage {
    /// Returns the time from the first to the last failed arrival.
    pub fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// The recovery of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventRecovery {
    /// The listener recovered this long after the start of the event's command.
    After(Duration),
    /// The listener did not recover within this time; the rest of the run is too short to decide.
    NotWithin(Duration),
    /// The recovery cannot be decided, for this reason.
    Unknown(String),
}

/// Returns the effect of each event, in the order of `events`; `None`: the command of the event did not start. `load`: the
/// start and the end of the load of the measured phases. `flow`: the deliveries to a receiver behind the relay.
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
        // If the listener has recovered from the previous event, the comparison begins at that recovery.
        if good_from <= *started {
            let fresh = Baseline::of(slices, slice_of(good_from), slice_of(*started));
            // Between two events that follow each other closely no arrival may have started and ended.
            if baseline.is_none() || fresh.accepted > 0 {
                baseline = Some(fresh);
            }
        }
        let around = Around {
            slices,
            event: *started,
            ended: events[*index].ended.unwrap_or(load.1).max(*started),
            end: slice_of(load.1),
            before: baseline.clone().unwrap_or_default(),
        };
        let (outage, recovery, recovered) = around.look();
        let side = |from: Duration, to: Duration| EventSide {
            from,
            to,
            arrivals: slices.due_between(slice_of(from), slice_of(to).max(slice_of(from))),
            accepted: flow.map(|flow| flow.accepted_in(from, to)),
        };
        let last = turn + 1 == order.len();
        let mut after = side(*started, next);
        if last {
            // The load may end within a slice: the arrivals of that slice count, too.
            after.arrivals = slices.due_between(slice_of(*started), SliceIndex::MAX);
            after.accepted = flow.map(|flow| flow.accepted_in(*started, Duration::MAX));
        }
        // In the slice of the recovery arrivals may still have failed.
        good_from = recovered.map_or(Duration::MAX, |at| at + SLICE);
        found[*index] = Some(EventEffect { before: side(since, *started), after, outage, recovery });
        since = *started;
    }
    found
}

/// The behaviour of the listener before an event, from the arrivals that ended before it.
#[derive(Clone, Debug, Default)]
struct Baseline {
    /// The arrivals that started.
    ended: Ends,
    /// The number of arrivals that were scheduled and never started.
    shed: u64,
    /// The number of accepted arrivals with a response time.
    accepted: u64,
    p99: Duration,
}

impl Baseline {
    fn of(slices: &Slices, from: SliceIndex, event: SliceIndex) -> Baseline {
        let times = slices.times_between(from, event);
        let accepted = times.count();
        // With too few values for a 99th percentile (M18) the longest time is used.
        let rank = if accepted >= needed(0.99) { rank(0.99, accepted) } else { accepted };
        Baseline {
            ended: slices.ended_between(from, event),
            shed: slices.due_between(from, event).outcomes.of(Outcome::Shed),
            accepted,
            p99: times.at_rank(rank),
        }
    }

    fn offered(&self) -> u64 {
        self.ended.served + self.ended.failed + self.shed
    }

    /// Returns the longest time that is not slower than before; with nothing to compare with, any time.
    fn allowed(&self) -> Duration {
        if self.accepted == 0 {
            return Duration::MAX;
        }
        self.p99.mul_f64(SLOWER).max(self.p99 + SLOWER_BY)
    }

    fn serves(&self) -> bool {
        self.ended.served as f64 >= SERVED * self.offered() as f64
    }
}

/// The input for one event.
struct Around<'a> {
    slices: &'a Slices,
    /// When the command of the event started, and when it ended.
    event: Duration,
    ended: Duration,
    /// The slice in which the load ends.
    end: SliceIndex,
    before: Baseline,
}

impl Around<'_> {
    /// Returns the outage, the recovery, and when the listener recovered, which may be known although the recovery cannot be
    /// decided.
    fn look(&self) -> (Option<Outage>, EventRecovery, Option<Duration>) {
        let window = slice_of(GOOD_FOR);
        let good = self.first_good(window);
        let limit = good.map_or(SliceIndex::MAX, |slice| slice + window);
        let outage = self.outage(limit);
        // Arrivals in flight at the event may fail at their time-outs, when the listener has long been back.
        let failed_later = outage.filter(|(_, last)| *last >= slice_of(self.event));
        let failed_until = failed_later.map_or(self.event, |(outage, _)| outage.to);
        // A good window at the event itself means a recovery time of zero.
        let recovered = good.map(|slice| slice_start(slice).max(failed_until).max(self.event));
        (outage.map(|(outage, _)| outage), self.recovery(recovered), recovered)
    }

    fn recovery(&self, recovered: Option<Duration>) -> EventRecovery {
        if self.before.accepted == 0 {
            return EventRecovery::Unknown("nothing was accepted before the event".to_owned());
        }
        match recovered {
            Some(at) => EventRecovery::After(at.saturating_sub(self.event)),
            None if !self.before.serves() => EventRecovery::Unknown(format!(
                "only {} of {} arrivals were served before the event; a recovery needs 99 %",
                self.before.ended.served,
                self.before.offered()
            )),
            None => EventRecovery::NotWithin(
                slice_start(self.end).saturating_sub(self.event).saturating_sub(GOOD_FOR),
            ),
        }
    }

    /// Returns the first slice at which a good window starts.
    fn first_good(&self, window: SliceIndex) -> Option<SliceIndex> {
        let first = slice_of(self.event);
        let last = self.end.checked_sub(window).filter(|last| *last >= first)?;
        let sums = self.sums(first);
        let is_good = |from: SliceIndex| {
            let at = |slice: SliceIndex| sums[usize::try_from(slice - first).unwrap_or(usize::MAX)];
            let [offered, served, accepted, late] =
                [0, 1, 2, 3].map(|i| (at(from + window)[i] - at(from)[i]) as f64);
            offered > 0.0 && served >= SERVED * offered && late <= (1.0 - SERVED) * accepted
        };
        // A good window that starts while the command runs may be from before the effect of the command.
        let busy = slice_of(self.ended).clamp(first, last);
        let bad = (first..=busy).rev().find(|from| !is_good(*from));
        (bad.map_or(first, |bad| bad + 1)..=last).find(|from| is_good(*from))
    }

    /// Returns running sums from slice `first` on: the numbers of offered, served, accepted, and too slowly accepted
    /// arrivals that were scheduled before each slice.
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

    /// Returns the outage, from the arrivals that started before slice `limit` and failed after the event, and the slice in
    /// which the last of them started.
    fn outage(&self, limit: SliceIndex) -> Option<(Outage, SliceIndex)> {
        let event = slice_of(self.event);
        let failed_before = self.before.ended.failed > 0;
        // For each slice, the arrivals that started in it: the numbers that were served, that failed, and that failed
        // after the event.
        let mut slices: BTreeMap<SliceIndex, [u64; 3]> = BTreeMap::new();
        for ((start, end), ends) in self.slices.ends.range(..(limit, 0)) {
            let since = if *end >= event { ends.failed } else { 0 };
            let sum = slices.entry(*start).or_default();
            [ends.served, ends.failed, since].iter().zip(sum).for_each(|(own, sum)| *sum += own);
        }
        slices.retain(|_, [served, failed, since]| *since > 0 && (!failed_before || failed > served));
        let (last, _) = slices.last_key_value()?;
        // An arrival in flight at the event failed at its end, a later one at its start.
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
        // A served arrival that started no later than the first failed arrival shows that the listener worked when the
        // served arrival ended.
        let earlier = served().filter(|(start, end)| *start <= first_start && *end <= first_end);
        let last_served = earlier.map(|(_, end)| *end).max();
        let from = first_start.max(last_served.unwrap_or(0)).min(first_end);
        let next_served =
            |after: SliceIndex| served().map(|(start, _)| *start).filter(|start| *start > after).min();
        // If only arrivals in flight at the event failed, the last one started before it. They may also have failed after
        // the last arrival of the run started.
        let next_served = next_served(from.max(*last)).or_else(|| next_served(*last));
        let earliest = last_served.unwrap_or(event).max(event).min(from);
        let (from, to) = (slice_start(from).max(self.event), slice_start(*last));
        let outage = Outage {
            from,
            to: to.max(from),
            // The bound includes the whole slices in which the outage may have started and ended.
            at_most: next_served.map(|next| {
                (slice_start(next) + SLICE).saturating_sub(slice_start(earliest).max(self.event))
            }),
            failed: slices.values().map(|[_, _, since]| since).sum(),
        };
        Some((outage, *last))
    }
}

#[cfg(test)]
mod tests;
