//! The times at which a worker of a closed load stood still: the worker had no session open and could open none.

use std::time::Duration;

/// The resolution. A standstill that is confirmed lasts longer than a pause after a failure, 50 ms by default.
const TICK: Duration = Duration::from_millis(10);

/// The ticks since the start of the run in whose middle a worker stood still, one bit each: a day takes 1 MB.
#[derive(Clone, Debug, Default)]
pub(super) struct StandstillTicks(Vec<u64>);

impl StandstillTicks {
    /// Adds the time from `since` to `until`.
    pub fn add(&mut self, since: Duration, until: Duration) {
        for tick in nearest(since)..nearest(until) {
            let word = tick / 64;
            if word >= self.0.len() {
                self.0.resize(word + 1, 0);
            }
            self.0[word] |= 1 << (tick % 64);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the times at which both this worker and another worker stood still.
    pub fn with(&self, other: &StandstillTicks) -> StandstillTicks {
        StandstillTicks(self.0.iter().zip(&other.0).map(|(one, other)| one & other).collect())
    }

    /// Returns the length of all standstills.
    pub fn length(&self) -> Duration {
        TICK * self.0.iter().map(|word| word.count_ones()).sum::<u32>()
    }
}

/// Returns the first tick whose middle is not before this time.
fn nearest(time: Duration) -> usize {
    usize::try_from((time + TICK / 2).as_nanos().div_ceil(TICK.as_nanos()) - 1).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[(u64, u64)]) -> StandstillTicks {
        let mut standstill = StandstillTicks::default();
        for (since, until) in times {
            standstill.add(Duration::from_millis(*since), Duration::from_millis(*until));
        }
        standstill
    }

    #[test]
    fn a_standstill_of_all_is_the_time_in_which_each_stood_still() {
        let (one, other) = (of(&[(0, 1_000), (2_000, 2_500)]), of(&[(400, 2_200)]));
        assert_eq!(one.length(), Duration::from_millis(1_500));
        assert_eq!(one.with(&other).length(), Duration::from_millis(800));
        assert_eq!(one.with(&StandstillTicks::default()).length(), Duration::ZERO);
        assert_eq!(of(&[(0, 700), (300, 900)]).length(), Duration::from_millis(900), "no time counts twice");
    }

    proptest! {
        #[test]
        fn each_end_is_off_by_half_a_tick_at_most(since in 0_u64..100_000, length in 0_u64..20_000) {
            let found = of(&[(since, since + length)]).length().as_millis() as u64;
            prop_assert!(found.abs_diff(length) <= 10, "{found} for {length}");
            let parts: u64 = [(since, since + length / 3), (since + length / 3, since + length)]
                .iter().map(|part| of(&[*part]).length().as_millis() as u64).sum();
            prop_assert_eq!(parts, found, "two halves are the whole");
        }
    }
}
