//! The outcomes of a run's arrivals in tenths of a second, from which the start and the end of an outage are found.
//!
//! Slices are kept only for a run with events. Each arrival that started is counted twice: by its scheduled time, and by
//! its start and end.
//!
//! # Decisions
//! - Response times are counted in classes that are 2 % wide, because a full histogram takes 100 kB, and there would be
//!   one for each tenth of a second.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::tally::ByOutcome;

/// The length of a slice.
pub const SLICE: Duration = Duration::from_millis(100);
/// The ratio of the bounds of a class of times.
const STEP: f64 = 1.02;

/// The number of a slice, from the run's epoch.
pub type SliceIndex = u64;

/// Returns the slice of a moment.
pub fn slice_of(at: Duration) -> SliceIndex {
    u64::try_from(at.as_nanos() / SLICE.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the start of a slice.
pub fn slice_start(slice: SliceIndex) -> Duration {
    SLICE.saturating_mul(u32::try_from(slice).unwrap_or(u32::MAX))
}

/// The times of one arrival.
#[derive(Clone, Copy, Debug)]
pub struct ArrivalSpan {
    /// The scheduled time, since the run's epoch.
    pub intended: Duration,
    /// The actual start, since the run's epoch.
    pub started: Duration,
    /// The end, since the run's epoch.
    pub ended: Duration,
    /// The outcome.
    pub outcome: Outcome,
}

/// The number of response times in each class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeClasses(BTreeMap<u16, u64>);

impl TimeClasses {
    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        *self.0.entry(class(time)).or_default() += 1;
    }

    /// Returns the number of times.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns the number of times that are certainly longer than this time.
    pub fn above(&self, time: Duration) -> u64 {
        self.0.range(class(time).saturating_add(1)..).map(|(_, count)| count).sum()
    }

    /// Adds those of these times that are certainly not longer than `longest`.
    fn add_up_to(&mut self, other: &TimeClasses, longest: Duration) {
        // The class of `longest` itself has longer times, too.
        other
            .0
            .range(..class(longest))
            .for_each(|(class, count)| *self.0.entry(*class).or_default() += count);
    }

    /// Returns the time of this rank, from 1; zero if there are fewer times. The result is at most 2 % too long.
    pub fn at_rank(&self, rank: u64) -> Duration {
        let mut left = rank;
        for (class, count) in &self.0 {
            if left <= *count {
                return Duration::from_nanos(STEP.powi(i32::from(*class) + 1) as u64);
            }
            left -= count;
        }
        Duration::ZERO
    }
}

impl AddAssign<&TimeClasses> for TimeClasses {
    fn add_assign(&mut self, other: &TimeClasses) {
        other.0.iter().for_each(|(class, count)| *self.0.entry(*class).or_default() += count);
    }
}

fn class(time: Duration) -> u16 {
    let ns = time.as_nanos().max(1) as f64;
    (ns.ln() / STEP.ln()) as u16
}

/// The arrivals scheduled in one or more slices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// The outcomes of the arrivals, `shed` included.
    pub outcomes: ByOutcome,
    /// The response times of the accepted arrivals.
    pub times: TimeClasses,
}

impl Cohort {
    /// Returns the number of arrivals.
    pub fn offered(&self) -> u64 {
        self.outcomes.ended() + self.outcomes.of(Outcome::Shed)
    }

    /// Returns the number of arrivals that were served: accepted, or refused as the profile expects.
    pub fn served(&self) -> u64 {
        self.outcomes.of(Outcome::Accepted) + self.outcomes.of(Outcome::Expected)
    }
}

impl AddAssign<&Cohort> for Cohort {
    fn add_assign(&mut self, other: &Cohort) {
        for outcome in Outcome::ALL {
            self.outcomes.add_many(outcome, other.outcomes.of(outcome));
        }
        self.times += &other.times;
    }
}

/// The numbers of served and failed arrivals that started in the same slice and ended in the same slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Arrivals with the outcome accepted or expected.
    pub served: u64,
    /// Arrivals with any other outcome.
    pub failed: u64,
}

impl AddAssign<&Ends> for Ends {
    fn add_assign(&mut self, other: &Ends) {
        self.served += other.served;
        self.failed += other.failed;
    }
}

/// The arrivals of the measured phases, in tenths of a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slices {
    /// The arrivals by the slice of their scheduled time.
    pub due: BTreeMap<SliceIndex, Cohort>,
    /// The arrivals by the slices of their start and end.
    pub ends: BTreeMap<(SliceIndex, SliceIndex), Ends>,
}

impl Slices {
    /// Counts an arrival that started.
    pub fn ended(&mut self, span: &ArrivalSpan) {
        let cohort = self.due.entry(slice_of(span.intended)).or_default();
        cohort.outcomes.add(span.outcome);
        if span.outcome == Outcome::Accepted {
            cohort.times.add(span.ended.saturating_sub(span.intended));
        }
        let ends = self.ends.entry((slice_of(span.started), slice_of(span.ended))).or_default();
        if span.outcome.is_unexpected() {
            ends.failed += 1;
        } else {
            ends.served += 1;
        }
    }

    /// Counts an arrival that never started.
    pub fn shed(&mut self, intended: Duration) {
        self.due.entry(slice_of(intended)).or_default().outcomes.add(Outcome::Shed);
    }

    /// Returns the arrivals scheduled in the slices from `from` on and before `to`.
    pub fn due_between(&self, from: SliceIndex, to: SliceIndex) -> Cohort {
        let mut sum = Cohort::default();
        if from < to {
            self.due.range(from..to).for_each(|(_, cohort)| sum += cohort);
        }
        sum
    }

    /// Returns the numbers of the arrivals that started in the slices from `from` on and ended before slice `to`.
    pub fn ended_between(&self, from: SliceIndex, to: SliceIndex) -> Ends {
        let mut sum = Ends::default();
        if from < to {
            self.ends
                .range((from, 0)..(to, 0))
                .filter(|((_, end), _)| *end < to)
                .for_each(|(_, ends)| sum += ends);
        }
        sum
    }

    /// Returns the response times of the accepted arrivals that were scheduled in the slices from `from` on and certainly
    /// ended before slice `to`.
    pub fn times_between(&self, from: SliceIndex, to: SliceIndex) -> TimeClasses {
        let mut sum = TimeClasses::default();
        if from < to {
            for (slice, cohort) in self.due.range(from..to) {
                // An arrival may have been scheduled at the very end of its slice.
                sum.add_up_to(&cohort.times, slice_start(to).saturating_sub(slice_start(slice + 1)));
            }
        }
        sum
    }
}

impl AddAssign<&Slices> for Slices {
    fn add_assign(&mut self, other: &Slices) {
        for (slice, cohort) in &other.due {
            *self.due.entry(*slice).or_default() += cohort;
        }
        for (key, ends) in &other.ends {
            *self.ends.entry(*key).or_default() += ends;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_rank_is_at_most_two_percent_off(mut times in vec(1_u64..1 << 40, 1..200), rank in 0_usize..200) {
            let mut classes = TimeClasses::default();
            times.iter().for_each(|ns| classes.add(Duration::from_nanos(*ns)));
            times.sort_unstable();
            let rank = rank % times.len();
            let (found, truth) = (classes.at_rank(rank as u64 + 1).as_nanos() as f64, times[rank] as f64);
            prop_assert!(found >= truth - 1.0 && found <= truth * 1.0201 + 1.0, "{} for {}", found, truth);
            let limit = Duration::from_nanos(times[rank]);
            let above = times.iter().filter(|ns| **ns > times[rank]).count() as u64;
            prop_assert!(classes.above(limit) <= above);
            prop_assert_eq!(classes.count(), times.len() as u64);
        }

        #[test]
        fn what_ended_before_a_slice_is_known_from_the_slices(
            spans in vec((0_u64..5000, 0_u64..500, 0_u64..9000), 0..50),
            to in 0_u64..60,
        ) {
            let mut slices = Slices::default();
            let ms = Duration::from_millis;
            for (at, wait, service) in &spans {
                slices.ended(&ArrivalSpan {
                    intended: ms(*at),
                    started: ms(at + wait),
                    ended: ms(at + wait + service),
                    outcome: Outcome::Accepted,
                });
            }
            let ended_by = |end: u64| {
                spans.iter().filter(|(at, wait, service)| at + wait + service < end).count() as u64
            };
            let end = to * 100;
            prop_assert_eq!(slices.ended_between(0, to).served, ended_by(end));
            let kept = slices.times_between(0, to).count();
            // The scheduled time is known to a slice, and the response time, of at most 9.5 seconds, to 2 %.
            let least = ended_by(end.saturating_sub(300));
            prop_assert!((least..=ended_by(end)).contains(&kept), "{} of {} to {}", kept, least, ended_by(end));
        }

        #[test]
        fn slices_of_parts_add_up_to_those_of_the_whole(
            spans in vec((0_u64..100_000, 0_u64..5000, 0_u64..5000, 0_usize..10), 0..100),
            cut in 0_usize..100,
        ) {
            let ms = Duration::from_millis;
            let spans: Vec<ArrivalSpan> = spans
                .into_iter()
                .map(|(at, wait, service, outcome)| ArrivalSpan {
                    intended: ms(at),
                    started: ms(at + wait),
                    ended: ms(at + wait + service),
                    outcome: Outcome::ALL[outcome],
                })
                .collect();
            let of = |spans: &[ArrivalSpan]| {
                let mut slices = Slices::default();
                spans.iter().for_each(|span| slices.ended(span));
                slices
            };
            let cut = cut.min(spans.len());
            let mut sum = of(&spans[..cut]);
            sum += &of(&spans[cut..]);
            prop_assert_eq!(&sum, &of(&spans));
            prop_assert_eq!(sum.due_between(0, u64::MAX).offered(), spans.len() as u64);
        }
    }
}
