//! The bracket of a search: the largest known good value and the smallest known bad value. It chooses the next value by
//! doubling and then halving, and uses no clock and no I/O.

use std::fmt::Debug;

/// A quantity that can be searched: a count or a number of bytes (`u64`), or a load (`f64`).
pub trait Searchable: Copy + PartialOrd + Debug {
    /// Returns twice the value.
    fn doubled(self) -> Self;
    /// Returns the value divided by `of`.
    fn part(self, of: u32) -> Self;
    /// Returns the middle between this value and `high`.
    fn middle(self, high: Self) -> Self;
    /// Whether the gap up to `high` is at most this share of `high`.
    fn is_close(self, high: Self, width: f64) -> bool;
}

impl Searchable for u64 {
    fn doubled(self) -> u64 {
        self.saturating_mul(2)
    }

    fn part(self, of: u32) -> u64 {
        self / u64::from(of)
    }

    fn middle(self, high: u64) -> u64 {
        self + (high - self) / 2
    }

    fn is_close(self, high: u64, width: f64) -> bool {
        (high - self) as f64 <= width * high as f64
    }
}

/// The gap between two loads is halved on a logarithmic scale.
impl Searchable for f64 {
    fn doubled(self) -> f64 {
        2.0 * self
    }

    fn part(self, of: u32) -> f64 {
        self / f64::from(of)
    }

    fn middle(self, high: f64) -> f64 {
        (self * high).sqrt()
    }

    fn is_close(self, high: f64, width: f64) -> bool {
        1.0 - self / high <= width + 1e-9
    }
}

/// The steps of a search.
#[derive(Clone, Copy, Debug)]
pub struct SearchSteps<T> {
    /// The first value.
    pub first: T,
    /// The greatest value.
    pub most: T,
    /// The least value, which limits the search if even the first value is bad.
    pub least: T,
    /// Below the first value, each value is the previous one divided by this number.
    pub down: u32,
    /// The width of the final gap, as a share of its upper end.
    pub width: f64,
    /// Rounds to a value that can be tried.
    pub round: fn(T) -> T,
}

/// The known bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bracket<T> {
    /// The largest known good value.
    pub good: Option<T>,
    /// The smallest known bad value.
    pub bad: Option<T>,
}

impl<T: Searchable> Bracket<T> {
    /// The empty bracket.
    pub const EMPTY: Bracket<T> = Bracket { good: None, bad: None };

    /// Returns the next value; `None`: the bracket is narrow enough, or no new value lies within the bounds.
    pub fn next(&self, steps: &SearchSteps<T>) -> Option<T> {
        let round = |value: T| least((steps.round)(value), steps.most);
        let next = match (self.good, self.bad) {
            (None, None) => round(steps.first),
            (Some(good), None) => round(most(least(good.doubled(), steps.most), steps.first)),
            (None, Some(bad)) => Some(round(bad.part(steps.down))).filter(|next| *next >= steps.least)?,
            (Some(good), Some(bad)) if good >= bad || good.is_close(bad, steps.width) => return None,
            (Some(good), Some(bad)) => round(good.middle(bad)),
        };
        let is_new = self.good.is_none_or(|good| next > good) && self.bad.is_none_or(|bad| next < bad);
        is_new.then_some(next)
    }
}

fn least<T: PartialOrd>(one: T, other: T) -> T {
    if other < one { other } else { one }
}

fn most<T: PartialOrd>(one: T, other: T) -> T {
    if other > one { other } else { one }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Searches to the end; returns the tried values and the bracket.
    fn run<T: Searchable>(steps: &SearchSteps<T>, is_good: impl Fn(T) -> bool) -> (Vec<T>, Bracket<T>) {
        let (mut bracket, mut tried) = (Bracket::EMPTY, Vec::new());
        while let Some(value) = bracket.next(steps) {
            tried.push(value);
            let end = if is_good(value) { &mut bracket.good } else { &mut bracket.bad };
            *end = Some(value);
            assert!(tried.len() < 200, "a search must end: {tried:?}");
        }
        (tried, bracket)
    }

    fn loads(first: f64, most: f64, width: f64) -> SearchSteps<f64> {
        SearchSteps { first, most, least: first / 64.0, down: 4, width, round: |load| load }
    }

    proptest! {
        #[test]
        fn a_count_is_found_exactly(limit in 0u64..2_000_000, first in 1u64..100, most in 1u64..4_000_000) {
            let steps = SearchSteps { first, most, least: 1, down: 2, width: 0.0, round: |count| count };
            let (tried, found) = run(&steps, |count| count <= limit);
            prop_assert!(tried.iter().all(|count| (1..=most).contains(count)));
            if limit >= most {
                prop_assert_eq!(found, Bracket { good: Some(most), bad: None });
            } else {
                prop_assert_eq!(found.bad, Some(limit + 1));
                prop_assert_eq!(found.good, Some(limit).filter(|limit| *limit > 0));
            }
            let trials = 2.0 * (limit.max(first) as f64).log2() + 4.0;
            prop_assert!((tried.len() as f64) <= trials, "{tried:?}");
        }

        #[test]
        fn a_load_is_enclosed_as_closely_as_asked(limit in 0.1f64..1e5, first in 1f64..100.0, width in 0.01f64..0.5) {
            let steps = loads(first, 1e4, width);
            let (tried, found) = run(&steps, |load| load <= limit);
            prop_assert!(tried.iter().all(|load| (steps.least..=steps.most).contains(load)));
            match (found.good, found.bad) {
                (Some(good), None) => prop_assert!(good == steps.most && good <= limit),
                (None, Some(bad)) => prop_assert!(bad > limit && bad / 4.0 < steps.least),
                (Some(good), Some(bad)) => {
                    prop_assert!(good <= limit && limit < bad && 1.0 - good / bad <= width + 1e-9);
                }
                (None, None) => prop_assert!(false, "nothing was tried"),
            }
        }

        #[test]
        fn nothing_that_is_known_is_tried_again(answers in proptest::collection::vec(any::<bool>(), 60)) {
            let steps = SearchSteps { round: f64::round, ..loads(10.0, 1000.0, 0.05) };
            let mut bracket = Bracket::EMPTY;
            let mut answers = answers.into_iter();
            while let (Some(load), Some(is_good)) = (bracket.next(&steps), answers.next()) {
                prop_assert!(bracket.good.is_none_or(|good| load > good) && bracket.bad.is_none_or(|bad| load < bad));
                prop_assert!(load.fract() == 0.0 && load > 0.0);
                if is_good { bracket.good = Some(load) } else { bracket.bad = Some(load) }
            }
        }
    }

    #[test]
    fn it_doubles_goes_down_by_quarters_and_halves_in_log_space() {
        let steps = loads(10.0, 100.0, 0.3);
        assert_eq!(run(&steps, |load| load <= 60.0).0, [10.0, 20.0, 40.0, 80.0, (40.0f64 * 80.0).sqrt()]);
        assert_eq!(run(&steps, |_| true).0, [10.0, 20.0, 40.0, 80.0, 100.0]);
        assert_eq!(run(&steps, |_| false).0, [10.0, 2.5, 0.625, 0.15625]);
    }
}
