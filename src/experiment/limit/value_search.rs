//! The search for the largest value that is still served: it chooses the next value by the trials so far, without clock and
//! I/O.
//!
//! # Decisions
//! - The expected value is tried first, and then the value after it. If the expectation is right, two trials show it.
//! - Otherwise the value is doubled until a trial is refused, and then the bracket is halved. A limit N takes about
//!   2 log2(N) trials.

use crate::experiment::bracket::{Bracket, SearchSteps};

/// A search over 0, 1, 2, ... All values up to the limit are served, and no greater value.
#[derive(Clone, Debug)]
pub struct ValueSearch {
    bracket: Bracket<u64>,
    first: u64,
    /// The highest value that is tried.
    bound: u64,
    /// The expected limit.
    guess: Option<u64>,
    contradicted: bool,
}

impl ValueSearch {
    /// Creates a search from `first` up to `bound`, both included. `guess` is the expected limit.
    pub fn new(first: u64, bound: u64, guess: Option<u64>) -> ValueSearch {
        let bracket = Bracket { good: Some(0), bad: None };
        let (first, guess) = (first.max(1), guess.filter(|guess| *guess <= bound));
        ValueSearch { bracket, first, bound, guess, contradicted: false }
    }

    /// Notes that all values up to `value` are served, which needs no trial.
    #[must_use]
    pub fn known(mut self, value: u64) -> ValueSearch {
        self.bracket.good = self.bracket.good.max(Some(value));
        self
    }

    /// Returns the next value to try; `None`: the search has ended.
    pub fn next(&self) -> Option<u64> {
        if self.contradicted {
            return None;
        }
        let most = self.at_most().unwrap_or(self.bound);
        let guesses = self.guess.into_iter().flat_map(|guess| [guess, guess.saturating_add(1)]);
        let steps = SearchSteps {
            first: self.first,
            most: self.bound,
            least: 0,
            down: 2,
            width: 0.0,
            round: |value| value,
        };
        guesses
            .into_iter()
            .find(|guess| *guess > self.at_least() && *guess <= most)
            .or_else(|| self.bracket.next(&steps))
    }

    /// Takes the result of a trial.
    pub fn tell(&mut self, value: u64, served: bool) {
        if served {
            self.contradicted |= self.bracket.bad.is_some_and(|bad| value >= bad);
            self.bracket.good = self.bracket.good.max(Some(value));
        } else {
            self.contradicted |= value <= self.at_least();
            self.bracket.bad = Some(self.bracket.bad.map_or(value, |bad| bad.min(value)));
        }
    }

    /// Returns the largest value that is known to be served; 0: no trial was served.
    pub fn at_least(&self) -> u64 {
        self.bracket.good.unwrap_or(0)
    }

    /// Returns the largest value that can be served; `None`: no value up to the bound was refused.
    pub fn at_most(&self) -> Option<u64> {
        self.bracket.bad.map(|bad| bad.saturating_sub(1))
    }

    /// Returns the limit, once it is known exactly.
    pub fn found(&self) -> Option<u64> {
        self.at_most().filter(|most| *most == self.at_least() && !self.contradicted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Searches to the end; returns the number of trials.
    fn run(search: &mut ValueSearch, limit: u64) -> u64 {
        let mut trials = 0;
        while let Some(value) = search.next() {
            search.tell(value, value <= limit);
            trials += 1;
        }
        trials
    }

    proptest! {
        #[test]
        fn any_limit_is_found_exactly_in_few_trials(limit in 0u64..2_000_000, first in 1u64..100, guess in proptest::option::of(0u64..2_000_000)) {
            let mut search = ValueSearch::new(first, 4_000_000, guess);
            let trials = run(&mut search, limit);
            prop_assert_eq!(search.found(), Some(limit));
            let most = 2.0 * (limit.max(first) as f64).log2() + 10.0;
            // If the guess is far too large, the search must come back from it.
            let most = most + guess.map_or(0.0, |guess| 2.0 + ((guess.max(1)) as f64).log2());
            prop_assert!((trials as f64) <= most, "{trials} trials for {limit}");
        }

        #[test]
        fn a_right_guess_takes_two_trials(limit in 1u64..1_000_000) {
            let mut search = ValueSearch::new(1, 2_000_000, Some(limit));
            let trials = run(&mut search, limit);
            prop_assert_eq!((search.found(), trials), (Some(limit), 2));
        }

        #[test]
        fn nothing_beyond_the_bound_is_tried(bound in 1u64..1000, limit in 0u64..2000, guess in proptest::option::of(0u64..3000)) {
            let mut search = ValueSearch::new(1, bound, guess);
            let mut tried = 0;
            while let Some(value) = search.next() {
                tried = tried.max(value);
                search.tell(value, value <= limit);
            }
            prop_assert!(tried <= bound);
            prop_assert_eq!(search.found(), (limit < bound).then_some(limit));
            prop_assert_eq!(search.at_least(), limit.min(bound));
        }
    }

    #[test]
    fn answers_that_contradict_each_other_end_it_without_a_limit() {
        let mut search = ValueSearch::new(1, 100, None);
        for (value, served) in [(1, true), (2, true), (4, true), (8, false), (6, true), (7, true)] {
            search.tell(value, served);
        }
        assert_eq!(search.found(), Some(7));
        search.tell(8, true);
        assert!(search.contradicted && search.found().is_none() && search.next().is_none());
    }
}
