//! The schedule of `[session.retry]`: when a message that was not accepted is tried again.
//!
//! # Decisions
//! - Every schedule is a list of pauses, each from the end of one attempt to the intended start of the next. After the last
//!   pause there is one more attempt, and then the message is given up.
//! - `postfix` and `exim` are the schedules of these MTAs with their defaults, if each attempt takes no time. Postfix
//!   checks its queue every 300 s, and Exim every 30 min on Debian. The additional delay that this causes is not part
//!   of the schedule.

use std::fmt;
use std::time::Duration;

/// The most attempts that a schedule may have.
pub const MOST_ATTEMPTS: u32 = 10_000;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The pauses between the attempts of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    pauses: Vec<Duration>,
}

impl RetrySchedule {
    /// Returns a schedule of these pauses, one after the other.
    pub fn listed(pauses: Vec<Duration>) -> RetrySchedule {
        RetrySchedule { pauses }
    }

    /// Returns a schedule of `attempts` attempts. The pauses grow from `first` by `factor` each, up to `max`.
    pub fn growing(first: Duration, factor: f64, max: Duration, attempts: u32) -> RetrySchedule {
        let mut pause = first.min(max);
        let pauses = (1..attempts.min(MOST_ATTEMPTS)).map(|_| {
            let longer = Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(max);
            std::mem::replace(&mut pause, longer.min(max))
        });
        RetrySchedule { pauses: pauses.collect() }
    }

    /// Returns the schedule of Postfix (qmgr(8)). The pause is the age of the message, at least `minimal_backoff_time`
    /// (300s) and at most `maximal_backoff_time` (4000s), until the message is as old as `maximal_queue_lifetime` (5d).
    pub fn postfix() -> RetrySchedule {
        RetrySchedule::by_age(|age, _| (age < 5 * DAY).then(|| age.clamp(300, 4000)))
    }

    /// Returns the schedule of Exim's default rule `F,2h,15m; G,16h,1h,1.5; F,4d,6h`: every 15 minutes in the first 2
    /// hours, then after 1 hour and 1.5 times as long each time for 16 hours, then every 6 hours for 4 days.
    pub fn exim() -> RetrySchedule {
        RetrySchedule::by_age(|age, last| match age {
            _ if age <= 2 * HOUR => Some(15 * MINUTE),
            _ if age <= 16 * HOUR && last < HOUR => Some(HOUR),
            _ if age <= 16 * HOUR => Some(last * 3 / 2),
            _ if age <= 4 * DAY => Some(6 * HOUR),
            _ => None,
        })
    }

    /// Returns the pauses that `pause` computes from the age of a message at an attempt and the length of the last
    /// pause, in seconds.
    fn by_age(pause: impl Fn(u64, u64) -> Option<u64>) -> RetrySchedule {
        let (mut age, mut last) = (0, 0);
        let pauses = std::iter::from_fn(|| {
            last = pause(age, last)?;
            age += last;
            Some(Duration::from_secs(last))
        });
        RetrySchedule { pauses: pauses.collect() }
    }

    /// Returns the same schedule with every pause times `scale`, so that hours fit a test.
    #[must_use]
    pub fn scaled(&self, scale: f64) -> RetrySchedule {
        let scaled = |pause: &Duration| {
            Duration::try_from_secs_f64(pause.as_secs_f64() * scale).unwrap_or(Duration::MAX)
        };
        RetrySchedule { pauses: self.pauses.iter().map(scaled).collect() }
    }

    /// Returns the pause after the attempt with this number, from 1; `None` after the last attempt.
    pub fn pause_after(&self, attempt: u32) -> Option<Duration> {
        self.pauses.get(usize::try_from(attempt.checked_sub(1)?).ok()?).copied()
    }

    /// Returns the pauses, in order.
    pub fn pauses(&self) -> &[Duration] {
        &self.pauses
    }

    /// Returns the most attempts of a message.
    pub fn attempts(&self) -> usize {
        self.pauses.len() + 1
    }
}

impl fmt::Display for RetrySchedule {
    /// Writes `up to 3 attempts, with pauses of 300s, 900s`. Of more than 6 pauses, the first 6 and the last are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        write!(f, "up to {} attempts, with pauses of ", self.attempts())?;
        for (index, pause) in self.pauses.iter().take(SHOWN).enumerate() {
            write!(f, "{}{pause:?}", if index == 0 { "" } else { ", " })?;
        }
        match self.pauses.last() {
            Some(last) if self.pauses.len() > SHOWN => write!(f, ", ... {last:?}"),
            _ => Ok(()),
        }
    }
}

/// How messages are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The schedule.
    pub schedule: RetrySchedule,
    /// How long after the last phase retries are still started; `None` for its `graceful_stop`.
    pub wait: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minutes(schedule: &RetrySchedule) -> Vec<f64> {
        schedule.pauses().iter().map(|pause| pause.as_secs_f64() / 60.0).collect()
    }

    fn total(schedule: &RetrySchedule) -> Duration {
        schedule.pauses().iter().sum()
    }

    #[test]
    fn postfix_doubles_the_age_of_a_message_between_its_bounds_for_five_days() {
        let postfix = RetrySchedule::postfix();
        let seconds: Vec<u64> = postfix.pauses().iter().map(Duration::as_secs).collect();
        assert_eq!(seconds[..7], [300, 300, 600, 1200, 2400, 4000, 4000]);
        assert!(seconds[5..].iter().all(|pause| *pause == 4000));
        let (all, five_days) = (total(&postfix).as_secs(), 5 * DAY);
        assert!((five_days..five_days + 4000).contains(&all), "{all}");
    }

    #[test]
    fn exim_follows_its_three_rules_for_four_days() {
        let exim = RetrySchedule::exim();
        let minutes = minutes(&exim);
        assert!(minutes[..9].iter().all(|pause| *pause == 15.0), "at 2 h the first rule still holds");
        assert_eq!(minutes[9..13], [60.0, 90.0, 135.0, 202.5]);
        let sixth = minutes.iter().position(|pause| *pause == 360.0).unwrap();
        let age: f64 = minutes[..sixth].iter().sum();
        assert!(age > 16.0 * 60.0, "{age}");
        assert!(minutes[sixth..].iter().all(|pause| *pause == 360.0));
        let four_days = 4.0 * 24.0 * 60.0;
        let all: f64 = minutes.iter().sum();
        assert!((four_days..=four_days + 360.0).contains(&all), "{all}");
    }

    #[test]
    fn a_schedule_says_its_attempts_and_pauses() {
        let at = Duration::from_secs;
        let listed = RetrySchedule::listed(vec![at(300), at(900)]);
        assert_eq!(listed.to_string(), "up to 3 attempts, with pauses of 300s, 900s");
        let grown = RetrySchedule::growing(at(1), 2.0, at(5), 5);
        assert_eq!(grown.pauses(), [at(1), at(2), at(4), at(5)]);
        assert_eq!(
            (grown.pause_after(4), grown.pause_after(5), grown.pause_after(0)),
            (Some(at(5)), None, None)
        );
    }

    fn schedules() -> impl Strategy<Value = RetrySchedule> {
        let pause = (0_u64..1 << 40).prop_map(Duration::from_nanos);
        prop_oneof![
            Just(RetrySchedule::postfix()),
            Just(RetrySchedule::exim()),
            prop::collection::vec(pause.clone(), 1..20).prop_map(RetrySchedule::listed),
            (pause.clone(), 1.0..1000.0, pause, 2_u32..200).prop_map(|(first, factor, max, attempts)| {
                RetrySchedule::growing(first, factor, max, attempts)
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_schedule_ends_and_each_attempt_but_the_last_has_a_pause(schedule in schedules()) {
            let attempts = u32::try_from(schedule.attempts()).unwrap();
            prop_assert!(attempts <= MOST_ATTEMPTS);
            for attempt in 1..attempts {
                prop_assert!(schedule.pause_after(attempt).is_some());
            }
            prop_assert_eq!(schedule.pause_after(attempts), None);
        }

        #[test]
        fn growing_pauses_never_shrink_and_never_pass_their_bound(
            first in 0_u64..1 << 40,
            factor in 1.0..1000.0,
            max in 0_u64..1 << 40,
            attempts in 2_u32..300,
        ) {
            let max = Duration::from_nanos(max);
            let schedule = RetrySchedule::growing(Duration::from_nanos(first), factor, max, attempts);
            prop_assert_eq!(schedule.attempts(), attempts as usize);
            prop_assert!(schedule.pauses().is_sorted());
            prop_assert!(schedule.pauses().iter().all(|pause| *pause <= max));
        }

        #[test]
        fn a_scaled_schedule_has_as_many_attempts_and_its_time_is_scaled(
            schedule in schedules(),
            scale in 0.0001..10.0,
        ) {
            let scaled = schedule.scaled(scale);
            prop_assert_eq!(scaled.attempts(), schedule.attempts());
            let (asked, got) = (total(&schedule).as_secs_f64() * scale, total(&scaled).as_secs_f64());
            // Each pause loses at most a nanosecond.
            prop_assert!((asked - got).abs() <= 1e-9 * schedule.attempts() as f64 + asked * 1e-9, "{asked} {got}");
        }
    }
}
