//! Classifies a load by its trials (RFC 9971, MLRsearch): lower bound, upper bound or undecided, and computes its
//! conditional throughput.
//!
//! `controller` chooses the next load; `goal` says what makes a trial good.
//!
//! # Decisions
//! - The RFC's "lost frame" is a bad arrival here, and its "forwarding rate" is the rate of good arrivals. The duration of
//!   a trial is the intended one: a trial that was ended early because it could not become good counts with its full
//!   length.

use serde::{Deserialize, Serialize};

/// The result of one trial for one goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialVerdict {
    /// Whether the trial is good (RFC 9971: a low-loss trial).
    pub good: bool,
    /// The share of the trial's arrivals that were bad, 0 to 1.
    pub ratio: f64,
    /// Whether the trial is good although its backlog seems to grow. Then a second trial of the confirming length must
    /// be good, too.
    #[serde(default)]
    pub doubtful: bool,
}

/// The rules by which trials classify a load, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalWeights {
    /// The least length of a full-length trial (RFC 9971: goal final trial duration).
    pub full_s: f64,
    /// The total length of the trials that decide (goal duration sum).
    pub sum_s: f64,
    /// The share of this total that may be bad trials, at least 0 and below 1 (goal exceed ratio).
    pub exceed: f64,
}

/// The class of a load for a goal (RFC 9971, load classification).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadClass {
    /// The load meets the goal, whatever the results of the missing trials are.
    Lower,
    /// The load misses the goal, whatever the results of the missing trials are.
    Upper,
    /// More trials are needed.
    Undecided,
}

/// The total lengths of the trials at one load, by their result for one goal, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Good full-length trials.
    pub good_s: f64,
    /// Bad full-length trials.
    pub bad_s: f64,
    /// Good shorter trials.
    pub short_good_s: f64,
    /// Bad shorter trials.
    pub short_bad_s: f64,
}

impl Sums {
    /// Adds a trial of this many seconds.
    pub fn add(&mut self, weights: &GoalWeights, seconds: f64, good: bool) {
        let sum = match (seconds >= weights.full_s, good) {
            (true, true) => &mut self.good_s,
            (true, false) => &mut self.bad_s,
            (false, true) => &mut self.short_good_s,
            (false, false) => &mut self.short_bad_s,
        };
        *sum += seconds;
    }

    /// Returns the total length of bad full-length trials minus that of good ones.
    pub fn excess_s(&self) -> f64 {
        self.bad_s - self.good_s
    }

    /// Classifies the load (RFC 9971, "Load Classification Logic").
    pub fn class(&self, weights: &GoalWeights) -> LoadClass {
        // Bad short trials count only as far as they exceed what the good short trials balance.
        let balancing_s = self.short_good_s * weights.exceed / (1.0 - weights.exceed);
        let high_loss_s = self.bad_s + (self.short_bad_s - balancing_s).max(0.0);
        let whole_s = (self.good_s + high_loss_s).max(weights.sum_s);
        let allowed_s = whole_s * weights.exceed;
        // The missing trials may all be good, or may all be bad.
        if high_loss_s > allowed_s {
            LoadClass::Upper
        } else if whole_s - self.good_s <= allowed_s {
            LoadClass::Lower
        } else {
            LoadClass::Undecided
        }
    }
}

/// Returns the conditional throughput of a load (RFC 9971): the load times (1 - r). The full-length trials with a bad
/// share of at most r last at least 1 - `exceed` of the deciding time, and r is the least such share. `trials` are
/// (seconds, bad share).
pub fn conditional_throughput(weights: &GoalWeights, load: f64, trials: &[(f64, f64)]) -> f64 {
    let mut full: Vec<(f64, f64)> =
        trials.iter().filter(|(seconds, _)| *seconds >= weights.full_s).copied().collect();
    full.sort_by(|one, other| one.1.total_cmp(&other.1));
    let measured_s: f64 = full.iter().map(|(seconds, _)| seconds).sum();
    let mut remaining_s = measured_s.max(weights.sum_s) * (1.0 - weights.exceed);
    // Missing trials count as completely bad.
    let mut ratio = 1.0;
    for (seconds, bad) in full {
        if remaining_s <= 0.0 {
            break;
        }
        ratio = bad;
        remaining_s -= seconds;
    }
    if remaining_s > 0.0 {
        ratio = 1.0;
    }
    load * (1.0 - ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the goals of the RFC's example search, with the share of bad arrivals that each allows.
    fn goals() -> [(&'static str, GoalWeights, f64); 4] {
        let goal = |full_s, sum_s, exceed| GoalWeights { full_s, sum_s, exceed };
        [
            ("RFC2544", goal(60.0, 60.0, 0.0), 0.0),
            ("TST009", goal(60.0, 120.0, 0.5), 0.0),
            ("1s final", goal(1.0, 120.0, 0.5), 0.005),
            ("20% exceed", goal(60.0, 60.0, 0.2), 0.005),
        ]
    }

    /// The trials in order, as (number of equal trials, seconds, bad share).
    const ADDED: [(usize, f64, f64); 6] =
        [(59, 1.0, 0.0), (1, 1.0, 0.01), (59, 1.0, 0.01), (1, 1.0, 0.0), (1, 60.0, 0.001), (1, 60.0, 0.0)];

    /// The expected classes are those of the tables in the RFC's appendix, with two exceptions. For the goal "20% exceed"
    /// the tables give exceed ratios of 42.857 % and 27.273 % at the last two points, and call the load a lower bound. By
    /// the RFC's own logic and code, and by its authors' library, a load above the goal's 20 % is an upper bound.
    #[test]
    fn rfc_9971_example_search_is_classified_as_its_rules_say() {
        use LoadClass::{Lower, Undecided, Upper};
        let expected = [
            [Undecided, Undecided, Undecided, Undecided],
            [Upper, Undecided, Undecided, Undecided],
            [Upper, Undecided, Undecided, Upper],
            [Upper, Undecided, Lower, Upper],
            [Upper, Undecided, Lower, Upper],
            [Upper, Lower, Lower, Upper],
        ];
        for (column, (name, weights, allowed)) in goals().into_iter().enumerate() {
            let mut sums = Sums::default();
            for (point, (count, seconds, bad)) in ADDED.into_iter().enumerate() {
                (0..count).for_each(|_| sums.add(&weights, seconds, bad <= allowed));
                assert_eq!(sums.class(&weights), expected[point][column], "{name}, point {}", point + 1);
            }
        }
    }

    #[test]
    fn rfc_9971_sums_of_the_third_point() {
        let (_, weights, allowed) = goals()[3];
        let mut sums = Sums::default();
        for (count, seconds, bad) in &ADDED[..3] {
            (0..*count).for_each(|_| sums.add(&weights, *seconds, *bad <= allowed));
        }
        assert_eq!((sums.good_s, sums.bad_s, sums.short_good_s, sums.short_bad_s), (0.0, 0.0, 59.0, 60.0));
    }

    #[test]
    fn rfc_9971_conditional_throughput_of_the_example_search() {
        let trials: Vec<(f64, f64)> = ADDED
            .into_iter()
            .flat_map(|(count, seconds, bad)| std::iter::repeat_n((seconds, bad), count))
            .collect();
        for ((name, weights, _), expected) in
            goals().into_iter().zip([None, Some(1e6), Some(1e6), Some(0.999e6)])
        {
            // For the first goal the load is an upper bound, and the RFC gives no throughput for an upper bound.
            if let Some(expected) = expected {
                let found = conditional_throughput(&weights, 1e6, &trials);
                assert!((found - expected).abs() < 1e-6, "{name}: {found}");
            }
        }
    }

    #[test]
    fn two_good_of_three_make_a_lower_bound_and_two_bad_an_upper_one() {
        let weights = GoalWeights { full_s: 20.0, sum_s: 60.0, exceed: 0.5 };
        let class = |trials: &str| {
            let mut sums = Sums::default();
            trials.chars().for_each(|one| sums.add(&weights, 20.0, one == 'g'));
            sums.class(&weights)
        };
        for (trials, expected) in [
            ("", LoadClass::Undecided),
            ("g", LoadClass::Undecided),
            ("b", LoadClass::Undecided),
            ("gb", LoadClass::Undecided),
            ("bg", LoadClass::Undecided),
            ("gg", LoadClass::Lower),
            ("bb", LoadClass::Upper),
            ("gbg", LoadClass::Lower),
            ("gbb", LoadClass::Upper),
            // Beyond the required sum the trials that were made decide. A bad share of exactly one half is allowed.
            ("bbgg", LoadClass::Lower),
            ("ggbbb", LoadClass::Upper),
        ] {
            assert_eq!(class(trials), expected, "{trials}");
        }
    }

    #[test]
    fn a_load_that_was_hardly_measured_has_no_throughput() {
        let weights = GoalWeights { full_s: 20.0, sum_s: 60.0, exceed: 0.5 };
        assert_eq!(conditional_throughput(&weights, 100.0, &[(20.0, 0.0)]), 0.0);
        assert_eq!(conditional_throughput(&weights, 100.0, &[(20.0, 0.0), (20.0, 0.01)]), 99.0);
        assert_eq!(conditional_throughput(&weights, 100.0, &[]), 0.0);
    }
}
