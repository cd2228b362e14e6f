//! The search for the largest value that is still served: what to try next, from what was seen so far. No clock, no I/O.
//!
//! # Decisions
//! - What is expected is tried first, and the value after it: where the administrator is right, two trials say so.
//! - Otherwise it doubles until something is refused, then halves the bracket: 2 log2(N) + 2 trials for a limit N.

/// A search over 0, 1, 2, ..., where everything up to the limit is served and nothing beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The largest that was served.
    least: u64,
    /// The smallest that was not.
    beyond: Option<u64>,
    /// Nothing above is tried.
    bound: u64,
    first: u64,
    /// The value that is thought to be the limit.
    guess: Option<u64>,
    trials: u64,
    contradicted: bool,
}

impl Search {
    /// A search from `first` up to `bound`, both included. `guess`: the limit that is expected.
    pub fn new(first: u64, bound: u64, guess: Option<u64>) -> Search {
        let (first, guess) = (first.max(1), guess.filter(|guess| *guess <= bound));
        Search { least: 0, beyond: None, bound, first, guess, trials: 0, contradicted: false }
    }

    /// Everything up to `value` is known to be served without a trial.
    #[must_use]
    pub fn known(mut self, value: u64) -> Search {
        self.least = self.least.max(value);
        self
    }

    /// The value to be tried next; `None`: it is over.
    pub fn next(&self) -> Option<u64> {
        let most = self.beyond.map_or(self.bound, |beyond| beyond - 1);
        if self.contradicted || most <= self.least {
            return None;
        }
        let guesses = self.guess.into_iter().flat_map(|guess| [guess, guess.saturating_add(1)]);
        for guess in guesses {
            if guess > self.least && guess <= most {
                return Some(guess);
            }
        }
        Some(match self.beyond {
            Some(beyond) => self.least + (beyond - self.least) / 2,
            None => self.least.saturating_mul(2).max(self.first).min(self.bound),
        })
    }

    /// What came of a trial.
    pub fn tell(&mut self, value: u64, served: bool) {
        self.trials += 1;
        if served {
            self.contradicted |= self.beyond.is_some_and(|beyond| value >= beyond);
            self.least = self.least.max(value);
        } else {
            self.contradicted |= value <= self.least;
            self.beyond = Some(self.beyond.map_or(value, |beyond| beyond.min(value)));
        }
    }

    /// The largest that is known to be served; 0: none is.
    pub fn at_least(&self) -> u64 {
        self.least
    }

    /// The largest that can be served; `None`: nothing up to the bound was refused.
    pub fn at_most(&self) -> Option<u64> {
        self.beyond.map(|beyond| beyond.saturating_sub(1))
    }

    /// The limit, once it is known exactly.
    pub fn found(&self) -> Option<u64> {
        self.at_most().filter(|most| *most == self.least && !self.contradicted)
    }

    /// A value was served, and another below it was not, or the other way round: there is no one limit.
    pub fn is_contradicted(&self) -> bool {
        self.contradicted
    }

    /// Trials told so far.
    pub fn trials(&self) -> u64 {
        self.trials
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(search: &mut Search, limit: u64) {
        while let Some(value) = search.next() {
            search.tell(value, value <= limit);
        }
    }

    proptest! {
        #[test]
        fn any_limit_is_found_exactly_in_few_trials(limit in 0u64..2_000_000, first in 1u64..100, guess in proptest::option::of(0u64..2_000_000)) {
            let mut search = Search::new(first, 4_000_000, guess);
            run(&mut search, limit);
            prop_assert_eq!(search.found(), Some(limit));
            let most = 2.0 * (limit.max(first) as f64).log2() + 10.0;
            // A guess that is far too large costs the way back from it.
            let most = most + guess.map_or(0.0, |guess| 2.0 + ((guess.max(1)) as f64).log2());
            prop_assert!((search.trials() as f64) <= most, "{} trials for {limit}", search.trials());
        }

        #[test]
        fn a_right_guess_takes_two_trials(limit in 1u64..1_000_000) {
            let mut search = Search::new(1, 2_000_000, Some(limit));
            run(&mut search, limit);
            prop_assert_eq!((search.found(), search.trials()), (Some(limit), 2));
        }

        #[test]
        fn nothing_beyond_the_bound_is_tried(bound in 1u64..1000, limit in 0u64..2000, guess in proptest::option::of(0u64..3000)) {
            let mut search = Search::new(1, bound, guess);
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
        let mut search = Search::new(1, 100, None);
        for (value, served) in [(1, true), (2, true), (4, true), (8, false), (6, true), (7, true)] {
            search.tell(value, served);
        }
        assert_eq!(search.found(), Some(7));
        search.tell(8, true);
        assert!(search.is_contradicted() && search.found().is_none() && search.next().is_none());
    }
}
